//! `gcr-push list`: the images of a project, and the tags and manifests of an image.

mod gcloud;
mod other_registries;
mod pagination;

use serde_json::Value;
use standin::{Behaviour, Fault, FaultAction, RequestKind};

use crate::mirror::seed;
use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::{Outcome, Run};

const HOST: &str = "us-docker.pkg.dev";

fn list(google: &Google) -> Run {
    google
        .with_environment(Run::command("list"))
        .set("credentials_json", &google.key)
        .set("project_id", "acme")
}

/// `list` of the repository `containers`.
fn containers(google: &Google) -> Run {
    list(google)
        .set("registry", HOST)
        .set("repository", "containers")
}

/// Puts an image of one platform.
fn put(google: &Google, host: &str, repository: &str, tag: &str) {
    let mut layout = Layout::default();
    let root = layout.image(
        &TestImage::on("amd64", &format!("{repository}{tag}"), 1),
        LayerCompression::Gzip,
    );
    seed(&google.standin, host, repository, &layout, &root, tag);
}

/// Puts an index of two platforms and an attestation.
fn put_index(google: &Google, host: &str, repository: &str, tag: &str) {
    let mut layout = Layout::default();
    let amd64 = layout.image(
        &TestImage::on("amd64", repository, 1),
        LayerCompression::Gzip,
    );
    let arm64 = layout.image(
        &TestImage::on("arm64", repository, 1),
        LayerCompression::Gzip,
    );
    let attestation = layout.attestation(&amd64);
    let root = layout.index(&[amd64, arm64, attestation]);
    seed(&google.standin, host, repository, &layout, &root, tag);
}

/// Refuses Google's API from now on, which leaves the registry only.
fn without_api(google: &Google) {
    let refused = FaultAction::status(403);
    google
        .standin
        .fault(Fault::always(RequestKind::Api, refused));
}

/// The rows of a table as words, without the headings.
fn rows(outcome: &Outcome) -> Vec<Vec<String>> {
    let lines = outcome.stdout.lines().skip(1);
    let words = |line: &str| {
        line.split("  ")
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect()
    };
    lines.map(words).collect()
}

fn json(run: Run) -> Vec<Value> {
    let outcome = run.set("list_format", "json").succeeds();
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn project_is_listed_one_level_deep_or_recursively() {
    let google = Google::start();
    for name in ["app", "team/api", "team/web"] {
        put(&google, "gcr.io", &format!("acme/{name}"), "1");
    }
    let outcome = list(&google).succeeds();
    assert_eq!(outcome.stdout, "NAME\ngcr.io/acme/app\ngcr.io/acme/team\n");
    let outcome = list(&google).set("list_recursive", "true").succeeds();
    let mut names: Vec<_> = rows(&outcome)
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "gcr.io/acme/app",
            "gcr.io/acme/team/api",
            "gcr.io/acme/team/web"
        ]
    );
    // An image and everything below it.
    let below = list(&google)
        .set("name", "team")
        .set("list_recursive", "true");
    assert_eq!(rows(&below.succeeds()).len(), 2);
}

#[test]
fn folder_of_images_shows_its_content() {
    let google = Google::start();
    for name in ["team/api", "team/web/x"] {
        put(&google, "gcr.io", &format!("acme/{name}"), "1");
    }
    let outcome = list(&google).set("name", "team").succeeds();
    assert_eq!(
        outcome.stdout,
        "NAME\ngcr.io/acme/team/api\ngcr.io/acme/team/web\n"
    );
    assert!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
    // The API knows an image in it by a name with a slash.
    google.standin.clear_requests();
    let outcome = list(&google).set("name", "team/api").succeeds();
    assert_eq!(rows(&outcome).len(), 1);
    let requests = google.standin.requests();
    let tags_requests = requests.iter().any(|r| r.kind == RequestKind::TagsList);
    assert!(!tags_requests, "{requests:#?}");
}

#[test]
fn image_shows_manifests_newest_first_with_details() {
    let google = Google::start();
    put(&google, HOST, "acme/containers/app", "1");
    put_index(&google, HOST, "acme/containers/app", "2");
    for is_there in [true, false] {
        if !is_there {
            without_api(&google);
        }
        let outcome = containers(&google)
            .set("name", "app")
            .set("list_platforms", "true")
            .succeeds();
        assert!(outcome.stdout.starts_with("DIGEST"), "{}", outcome.stdout);
        let rows = rows(&outcome);
        // The index, its two images, the attestation, and the earlier image.
        assert_eq!(rows.len(), 5);
        let of = |tag: &str| rows.iter().find(|row| row[1] == tag).unwrap();
        assert_eq!(of("2")[5], "linux/amd64,linux/arm64");
        assert_eq!(of("1")[5], "linux/amd64");
        assert!(of("1")[4].ends_with(" B"), "{rows:?}");
        let position = |tag: &str| rows.iter().position(|row| row[1] == tag);
        assert!(position("2") < position("1"), "{rows:?}");
        let uploaded: Vec<_> = rows.iter().map(|row| row[3].clone()).collect();
        assert!(uploaded.is_sorted_by(|a, b| a >= b), "{uploaded:?}");
        let alone: Vec<_> = rows
            .iter()
            .filter(|row| row[1] == "-")
            .map(|row| row[5].as_str())
            .collect();
        assert!(alone.contains(&"linux/arm64"), "{alone:?}");
    }
}

#[test]
fn platforms_are_read_only_on_request() {
    let google = Google::start();
    put(&google, HOST, "acme/containers/app", "1");
    put_index(&google, HOST, "acme/containers/app", "2");
    for is_there in [true, false] {
        if !is_there {
            without_api(&google);
        }
        google.standin.clear_requests();
        let outcome = containers(&google).set("list_recursive", "true").succeeds();
        assert_eq!(rows(&outcome).len(), 5);
        assert!(!outcome.stderr.contains("platforms"), "{}", outcome.stderr);
        let requests = google.standin.requests();
        let reads = requests
            .iter()
            .filter(|r| matches!(r.kind, RequestKind::ManifestGet | RequestKind::BlobGet));
        assert_eq!(reads.count(), 0, "{requests:#?}");
    }
}

/// Answers every tags listing with this document from now on.
fn lists_always(google: &Google, document: &Value) {
    let listing = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some(document.to_string()),
        headers: Vec::new(),
    };
    let always = Fault::always(RequestKind::TagsList, listing);
    google.standin.fault(always);
}

#[test]
fn endless_listing_is_reported() {
    let google = Google::start();
    without_api(&google);
    lists_always(
        &google,
        &serde_json::json!({"child": ["a"], "manifest": {}, "tags": []}),
    );
    let run = list(&google).set("list_recursive", "true").fails_with(1);
    insta::assert_snapshot!(run.error(), @"
    error: could not list `gcr.io/acme`
      caused by: GET https://gcr.io/v2/acme/tags/list
      caused by: the list below it has more than 32 levels

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
    assert!(google.standin.requests().len() < 50);
}

#[test]
fn invalid_children_are_skipped_and_reported() {
    let google = Google::start();
    without_api(&google);
    let long = "a".repeat(100 * 1024);
    let children = ["..", "/etc", "a/../b", "", "A", "a\u{1b}[31m", &long];
    lists_always(
        &google,
        &serde_json::json!({"child": children, "manifest": {}, "tags": []}),
    );
    let run = list(&google).set("list_recursive", "true").succeeds();
    let warned = "gcr.io lists 7 names below `acme` that no registry allows";
    assert!(run.stderr.contains(warned), "{}", run.stderr);
    assert!(run.stderr.len() < 2000);
    let requests = google.standin.requests();
    let tags_requests = requests.iter().filter(|r| r.kind == RequestKind::TagsList);
    assert_eq!(tags_requests.count(), 1);
}

#[test]
fn json_goes_to_standard_output_and_report_file() {
    let google = Google::start();
    put_index(&google, HOST, "acme/containers/team/app", "2");
    let run = || containers(&google).set("list_recursive", "true");
    let images = json(run());
    let index = images
        .iter()
        .find(|image| image["tags"] == serde_json::json!(["2"]))
        .unwrap();
    assert_eq!(index["image"], "us-docker.pkg.dev/acme/containers/team/app");
    assert_eq!(
        index["platforms"],
        serde_json::json!(["linux/amd64", "linux/arm64"])
    );
    assert_eq!(
        index["media_type"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert!(index["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(index["size_bytes"].as_u64().unwrap() > 0);
    assert!(index["uploaded"].as_str().unwrap().ends_with('Z'));
    let outcome = run().set("report_file", "list.json").succeeds();
    let file: Vec<Value> = serde_json::from_str(&outcome.read("list.json")).unwrap();
    assert_eq!(file, images);
    let names = json(containers(&google));
    assert_eq!(
        names,
        [serde_json::json!({"image": "us-docker.pkg.dev/acme/containers/team"})]
    );
    assert_eq!(
        json(
            list(&google)
                .set("registry", "europe-docker.pkg.dev")
                .set("repository", "containers")
        ),
        [] as [Value; 0]
    );
}

#[test]
fn location_without_repository_lists_all_repositories() {
    let google = Google::start();
    put(&google, HOST, "acme/containers/app", "1");
    put(&google, "us.gcr.io", "acme/old", "1");
    let outcome = list(&google).set("registry", HOST).succeeds();
    assert_eq!(
        outcome.stdout,
        "NAME\nus-docker.pkg.dev/acme/containers\nus-docker.pkg.dev/acme/us.gcr.io\n"
    );
    let outcome = list(&google)
        .set("registry", HOST)
        .set("list_recursive", "true")
        .succeeds();
    assert_eq!(rows(&outcome).len(), 2);
}

#[test]
fn registry_listing_is_used_when_the_api_fails() {
    let google = Google::start();
    for name in ["app", "team/api", "team/web"] {
        put(&google, "gcr.io", &format!("acme/{name}"), "1");
    }
    without_api(&google);
    let outcome = list(&google).succeeds();
    assert_eq!(outcome.stdout, "NAME\ngcr.io/acme/app\ngcr.io/acme/team\n");
    assert!(
        outcome
            .stderr
            .contains("request to Artifact Registry's API failed"),
        "{}",
        outcome.stderr
    );
    let outcome = list(&google)
        .set("list_recursive", "true")
        .set("list_platforms", "true")
        .succeeds();
    let rows = rows(&outcome);
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row[6] == "linux/amd64"), "{rows:?}");
}

#[test]
fn unlistable_image_does_not_stop_the_others() {
    let google = Google::start();
    put(&google, "gcr.io", "acme/app", "1");
    let outcome = list(&google)
        .set("tags", "gcr.io/acme/none, gcr.io/acme/app")
        .fails_with(1);
    assert_eq!(rows(&outcome).len(), 1);
    insta::assert_snapshot!(outcome.error(), @"
    error: there is nothing at `gcr.io/acme/none`

    hint: check `image`, or `project_id`, `repository` and `name`
    ");
}

#[test]
fn public_image_is_listed_without_credential() {
    let google = Google::with(Behaviour {
        anonymous_pull: true,
        ..Behaviour::default()
    });
    put(&google, HOST, "acme/containers/app", "1");
    let outcome = google
        .with_environment(Run::command("list"))
        .set("image", format!("{HOST}/acme/containers/app"))
        .succeeds();
    assert_eq!(rows(&outcome).len(), 1, "{}", outcome.stdout);
    let google = Google::start();
    put(&google, HOST, "acme/containers/app", "1");
    let refused = google
        .with_environment(Run::command("list"))
        .set("image", format!("{HOST}/acme/containers/app"))
        .fails_with(3);
    insta::assert_snapshot!(refused.error(), @r#"
    error: could not list `us-docker.pkg.dev/acme/containers/app`
      caused by: GET https://us-docker.pkg.dev/v2/token?scope=repository:acme/containers/app:pull: 403 DENIED
      caused by: Unauthenticated request. Unauthenticated requests do not have permission "artifactregistry.repositories.downloadArtifacts" on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: no credentials were sent to `us-docker.pkg.dev`: set `credentials_json` (a service-account key), `access_token`, or `workload_identity_provider`
    hint: grant the role to that account: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ACCOUNT --role=roles/artifactregistry.reader`, where ACCOUNT is its address
    hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    "#);
}
