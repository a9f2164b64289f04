//! `list` at registries other than Google's.

use serde_json::json;
use standin::{Fault, FaultAction, RequestKind, Standin};

use super::rows;
use crate::mirror::{PLAIN, seed};
use crate::support::docker_registry::DockerRegistry;
use crate::support::gitlab::{REGISTRY, gitlab_with};
use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive};
use crate::support::run::Run;

fn list(address: &str) -> Run {
    Run::command("list").set("registry", address)
}

fn put(standin: &Standin, repository: &str) {
    let mut layout = Layout::default();
    let root = layout.image(
        &TestImage::on("arm64", repository, 1),
        LayerCompression::Gzip,
    );
    seed(standin, PLAIN, repository, &layout, &root, "1");
}

#[test]
fn catalog_lists_images_over_many_pages() {
    let standin = Standin::start();
    for number in 0..25 {
        put(&standin, &format!("acme/app{number:02}"));
    }
    put(&standin, "other/app");
    standin.change(|behaviour| behaviour.page_limit = Some(7));
    let address = standin.plain_address();
    let outcome = list(&address).succeeds();
    assert_eq!(
        rows(&outcome),
        [[format!("{address}/acme")], [format!("{address}/other")]]
    );
    let outcome = list(&address).set("project_id", "acme").succeeds();
    assert_eq!(rows(&outcome).len(), 25);
    let nothing = list(&address).set("project_id", "acm").fails_with(1);
    assert!(
        nothing.error().contains("there is nothing at"),
        "{}",
        nothing.error()
    );
    let outcome = list(&address)
        .set("project_id", "acme")
        .set("list_recursive", "true")
        .succeeds();
    let rows = rows(&outcome);
    assert_eq!(rows.len(), 25);
    assert!(
        rows.iter()
            .all(|row| row[2] == "1" && row[6] == "linux/arm64"),
        "{rows:?}"
    );
}

#[test]
fn image_is_named_as_for_a_push() {
    let standin = Standin::start();
    put(&standin, "acme/app");
    let address = standin.plain_address();
    let list = |image: &str| Run::command("list").set("image", image);
    for image in [
        format!("{address}/acme/app"),
        format!("docker://{address}/acme/app:1"),
    ] {
        let rows = rows(&list(&image).succeeds());
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0][1], "1");
    }
    let message = list("oci-archive:app.tar").fails_with(2).error();
    insta::assert_snapshot!(message, @"
    error: an input cannot be used
      `image`: `list` reads only registries, as in `gcr.io/acme/api`: `oci-archive:app.tar` has no registry: write the registry first, as in `gcr.io/PROJECT/NAME:TAG`; a tag cannot contain `/` (GCR_PUSH_IMAGE)

    hint: `gcr-push list --help` describes every variable
    ");
}

#[test]
fn folder_of_images_is_listed_by_name() {
    let standin = Standin::start();
    put(&standin, "acme/team/app");
    put(&standin, "acme/other");
    let address = standin.plain_address();
    let list = |path: &str| Run::command("list").set("image", format!("{address}/{path}"));
    assert_eq!(
        rows(&list("acme").succeeds()),
        [
            [format!("{address}/acme/other")],
            [format!("{address}/acme/team")]
        ]
    );
    let nothing = list("acm").fails_with(1).error();
    assert!(nothing.contains("there is nothing at"), "{nothing}");
}

#[test]
fn public_image_host_is_listed_without_login() {
    const HOST: &str = "mirror.gcr.io";
    let standin = Standin::builder().name(HOST).start();
    let google = Google::start();
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    seed(&standin, PLAIN, "library/alpine", &layout, &root, "3");
    let reach = |run: Run| {
        run.variable("HTTPS_PROXY", standin.proxy_url())
            .set("ca_certificates", standin.ca_pem())
            // A login that gcloud once wrote for that host.
            .set(
                "docker_config",
                r#"{"credHelpers":{"mirror.gcr.io":"gcloud"}}"#,
            )
            .set("credentials_json", &google.key)
    };
    let image = format!("{HOST}/library/alpine");
    let listed = reach(Run::command("list")).set("image", &image).succeeds();
    assert_eq!(rows(&listed)[0][1], "3");
    let registry = DockerRegistry::start();
    for image in [format!("{image}:3"), format!("docker://{image}:3")] {
        reach(Run::new())
            .set("image", image)
            .set("tags", format!("{}/alpine:3", registry.address()))
            .succeeds();
    }
    let file = format!(
        "destinations: [{}/copies]\nimages: [{{from: {image}:3}}]\n",
        registry.address()
    );
    reach(Run::command("mirror"))
        .file("gcr-push.yaml", file)
        .succeeds();
    let requests = standin.requests();
    assert!(requests.iter().all(|one| one.authorization.is_none()));
}

#[test]
fn public_google_image_is_listed_without_credential() {
    let google = Google::start();
    put(&google.standin, "other/app");
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    seed(
        &google.standin,
        "gcr.io",
        "distroless/static",
        &layout,
        &root,
        "latest",
    );
    google.standin.grant(
        "allUsers",
        "roles/artifactregistry.reader",
        "projects/distroless",
    );
    let list = |image: &str| {
        google
            .with_environment(Run::command("list"))
            .set("image", image)
    };
    let listed = list("gcr.io/distroless/static").succeeds();
    assert_eq!(rows(&listed)[0][1], "latest");
    let refused = list("gcr.io/acme/app").fails_with(3).error();
    assert!(
        refused.contains("no credentials were sent to `gcr.io`"),
        "{refused}"
    );
}

#[test]
fn real_registry_is_listed_with_manifest_details() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let image = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    Run::new()
        .file("image.tar", image)
        .set("image", "image.tar")
        .set(
            "tags",
            format!("{address}/team/app:1,{address}/team/app:latest"),
        )
        .succeeds();
    let outcome = list(address).set("list_recursive", "true").succeeds();
    let rows = rows(&outcome);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0][0], format!("{address}/team/app"));
    assert_eq!(rows[0][2], "1,latest");
    assert!(rows[0][6].starts_with("linux/"), "{rows:?}");
    assert_eq!(
        list(address).succeeds().stdout,
        format!("NAME\n{address}/team\n")
    );
}

#[test]
fn invalid_catalog_names_are_skipped_and_reported() {
    let standin = Standin::start();
    let address = standin.plain_address();
    put(&standin, "acme/app");
    let long = "a".repeat(100 * 1024);
    let names = ["acme/app", "..", "/etc", "a/../b", &long];
    let catalog = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some(serde_json::json!({"repositories": names}).to_string()),
        headers: Vec::new(),
    };
    standin.fault(Fault::always(RequestKind::Catalog, catalog));
    let outcome = list(&address).set("list_recursive", "true").succeeds();
    assert_eq!(rows(&outcome).len(), 1);
    assert!(
        outcome
            .stderr
            .contains("lists 4 names in its catalog that no registry allows"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn index_size_is_the_sum_of_its_platforms() {
    let registry = DockerRegistry::start();
    let address = registry.address();
    let push = |tag: &str, layout: Layout| {
        Run::new()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("tags", format!("{address}/app:{tag}"))
            .succeeds();
    };
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 2), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 2), LayerCompression::Gzip);
    let attestation = layout.attestation(&amd64);
    let root = layout.index(&[amd64.clone(), arm64, attestation]);
    layout.list(&root, Some("app:all"));
    push("all", layout);
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 2), LayerCompression::Gzip);
    layout.list(&amd64, Some("app:one"));
    push("one", layout);
    let outcome = Run::command("list")
        .set("image", format!("{address}/app"))
        .set("list_format", "json")
        .succeeds();
    let images: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).unwrap();
    let of = |tag: &str| images.iter().find(|image| image["tags"][0] == tag).unwrap();
    let (all, one) = (of("all"), of("one"));
    let size = |image: &serde_json::Value| image["size_bytes"].as_u64().unwrap();
    assert!(size(all) > size(one), "{images:#?}");
    assert_eq!(all["platforms"].as_array().unwrap().len(), 2);
}

#[test]
fn gitlab_group_is_listed_by_its_api() {
    let gitlab = gitlab_with(put);
    let login = |user: &str, password: &str| {
        let auths = json!({"auths": {REGISTRY: {"username": user, "password": password}}});
        list(REGISTRY)
            .variable("HTTPS_PROXY", gitlab.proxy_url())
            .set("ca_certificates", gitlab.ca_pem())
            .set("docker_config", auths.to_string())
            .set("project_id", "acme")
    };
    let of_group = || login("bot", "glpat-acme-reads-all-of-it");
    assert_eq!(
        rows(&of_group().succeeds()),
        [
            [format!("{REGISTRY}/acme/api")],
            [format!("{REGISTRY}/acme/team")]
        ]
    );
    let all = rows(&of_group().set("list_recursive", "true").succeeds());
    assert_eq!(all.len(), 3, "{all:?}");
    let message = login("gitlab-ci-token", "glcbt-of-a-job")
        .fails_with(3)
        .error();
    insta::assert_snapshot!(message, @"
    error: the login for GitLab's `registry.gitlab.com/acme` is the job token, which cannot list a group

    hint: for that registry, use a group access token or a personal access token as the password, with the role Reporter and the scopes `read_api` and `read_registry`: CI_JOB_TOKEN and deploy tokens cannot list a group
    hint: or to list the tags of an image, set `name`, or set `tags` to the image with its registry
    ");
}

#[test]
fn refused_catalog_is_reported() {
    let standin = Standin::start();
    let address = standin.plain_address();
    for status in [401, 404] {
        standin.clear_faults();
        standin.fault(Fault::always(
            RequestKind::Catalog,
            FaultAction::status(status),
        ));
        let outcome = list(&address).fails_with(if status == 401 { 3 } else { 1 });
        let error = outcome.error();
        assert!(error.contains("does not list its images"), "{error}");
        assert!(
            error.contains("to list the tags of an image, set `name`"),
            "{error}"
        );
    }
    let hub = Run::command("list")
        .set("registry", "docker.io")
        .fails_with(2);
    assert!(
        hub.error().contains("`docker.io` does not list its images"),
        "{}",
        hub.error()
    );
}

#[test]
fn google_login_is_not_used_elsewhere() {
    let google = Google::start();
    let address = google.standin.plain_address();
    put(&google.standin, "app");
    let outcome = google
        .with_environment(list(&address))
        .set("credentials_json", &google.key)
        .succeeds();
    assert_eq!(rows(&outcome), [[format!("{address}/app")]]);
}
