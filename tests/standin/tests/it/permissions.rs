//! Permissions, and Google's texts for missing ones.

use standin::{Behaviour, DeniedWording, NotMigrated, RepositoryOptions, Standin};

use crate::http_client::{Answer, Client};
use crate::images::{GCR, OCI_MANIFEST, PUSHER, push_blob};

const READER: &str = "roles/artifactregistry.reader";
const WRITER: &str = "roles/artifactregistry.writer";
const CREATING: &str = "roles/artifactregistry.createOnPushWriter";

fn client<'a>(standin: &'a Standin, host: &str) -> Client<'a> {
    Client::at(standin, host).bearer(&standin.access_token(PUSHER))
}

fn start_upload(standin: &Standin, host: &str, name: &str) -> Answer {
    let path = format!("/v2/{name}/blobs/uploads/");
    client(standin, host).send("POST", &path, &[], b"")
}

#[test]
fn each_method_needs_its_own_permission() {
    let standin = Standin::start();
    standin.create_repository(GCR, RepositoryOptions::default());
    standin.put_manifest("gcr.io", "proj/i", "t", OCI_MANIFEST, b"{}");
    let client = client(&standin, "gcr.io");
    for (method, path, permission) in [
        ("GET", "/v2/proj/i/tags/list", "downloadArtifacts"),
        ("GET", "/v2/proj/i/manifests/t", "downloadArtifacts"),
        ("POST", "/v2/proj/i/blobs/uploads/", "uploadArtifacts"),
        ("PUT", "/v2/proj/i/manifests/t", "uploadArtifacts"),
        ("DELETE", "/v2/proj/i/manifests/t", "deleteArtifacts"),
    ] {
        let answer = client.send(method, path, &[], b"");
        assert_eq!(
            answer.refusal(),
            (403, "DENIED".to_owned()),
            "{method} {path}"
        );
        assert_eq!(
            answer.message(),
            format!(
                "Permission \"artifactregistry.repositories.{permission}\" denied on resource \
                 \"{GCR}\" (or it may not exist)"
            )
        );
    }
    standin.grant(PUSHER, READER, GCR);
    assert_eq!(client.get("/v2/proj/i/manifests/t").status, 200);
    let path = "/v2/proj/i/blobs/uploads/";
    assert_eq!(client.send("POST", path, &[], b"").status, 403);
    standin.grant(PUSHER, WRITER, "projects/proj");
    assert_eq!(client.send("POST", path, &[], b"").status, 202);
    let path = "/v2/proj/i/manifests/t";
    assert_eq!(client.send("DELETE", path, &[], b"").status, 403);
    standin.revoke(PUSHER, WRITER, "projects/proj");
    assert_eq!(client.send("PUT", path, &[], b"").status, 403);
}

#[test]
fn newer_wording_names_no_resource() {
    let behaviour = Behaviour {
        denied_wording: DeniedWording::Troubleshooter,
        ..Behaviour::default()
    };
    let standin = Standin::builder().behaviour(behaviour).start();
    let message = start_upload(&standin, "gcr.io", "proj/i").message();
    let start = "Permission 'artifactregistry.repositories.uploadArtifacts' denied on resource \
                 (or it may not exist). Remediate access";
    assert!(message.starts_with(start), "{message}");
    assert!(!message.contains("projects/"), "{message}");
}

#[test]
fn each_host_has_its_location_and_repository() {
    let standin = Standin::start();
    for (host, name, resource) in [
        (
            "gcr.io",
            "p/i",
            "projects/p/locations/us/repositories/gcr.io",
        ),
        (
            "us.gcr.io",
            "p/i",
            "projects/p/locations/us/repositories/us.gcr.io",
        ),
        (
            "eu.gcr.io",
            "p/i",
            "projects/p/locations/europe/repositories/eu.gcr.io",
        ),
        (
            "asia.gcr.io",
            "p/i/j",
            "projects/p/locations/asia/repositories/asia.gcr.io",
        ),
        (
            "us-docker.pkg.dev",
            "p/r/i",
            "projects/p/locations/us/repositories/r",
        ),
        (
            "us-docker.pkg.dev",
            "p/gcr.io/i",
            "projects/p/locations/us/repositories/gcr.io",
        ),
        (
            "europe-west1-docker.pkg.dev",
            "p/r/i/j",
            "projects/p/locations/europe-west1/repositories/r",
        ),
        (
            "gcr.io",
            "example.com/p/i",
            "projects/example.com:p/locations/us/repositories/gcr.io",
        ),
        (
            "us-docker.pkg.dev",
            "example.com/p/r/i",
            "projects/example.com:p/locations/us/repositories/r",
        ),
    ] {
        let message = start_upload(&standin, host, name).message();
        let named = format!("denied on resource \"{resource}\"");
        assert!(message.contains(&named), "{host}/{name}: {message}");
    }
}

#[test]
fn gcr_io_and_its_pkg_dev_name_show_the_same_images() {
    let standin = crate::images::ready();
    let image = crate::images::Image::new("same");
    image.push(&crate::images::pusher(&standin), "proj/app", "v1");
    let other = client(&standin, "us-docker.pkg.dev");
    let answer = other.get("/v2/proj/gcr.io/app/manifests/v1");
    assert_eq!(answer.body, image.manifest);
    let stored = standin.manifest("us-docker.pkg.dev", "proj/gcr.io/app", "v1");
    assert_eq!(stored, standin.manifest("gcr.io", "proj/app", "v1"));
}

#[test]
fn missing_repository_is_reported_to_authorized_users_only() {
    let standin = Standin::start();
    let denied = start_upload(&standin, "us-docker.pkg.dev", "proj/r/i");
    assert_eq!(denied.refusal(), (403, "DENIED".to_owned()));
    standin.grant(PUSHER, WRITER, "projects/proj");
    let unknown = start_upload(&standin, "us-docker.pkg.dev", "proj/r/i");
    assert_eq!(unknown.refusal(), (404, "NAME_UNKNOWN".to_owned()));
    assert_eq!(unknown.message(), "Repository \"r\" not found");
    let unknown = client(&standin, "gcr.io").get("/v2/proj/tags/list");
    assert_eq!(unknown.refusal(), (404, "NAME_UNKNOWN".to_owned()));
    assert_eq!(unknown.message(), "Repository \"gcr.io\" not found");
}

#[test]
fn first_push_creates_gcr_io_repository_if_permitted() {
    let standin = Standin::start();
    standin.grant(PUSHER, WRITER, "projects/proj");
    let refused = start_upload(&standin, "gcr.io", "proj/i");
    assert_eq!(refused.refusal(), (403, "DENIED".to_owned()));
    assert_eq!(
        refused.message(),
        "gcr.io repo does not exist. Creating on push requires the \
         artifactregistry.repositories.createOnPush permission"
    );
    standin.grant(PUSHER, CREATING, "projects/proj");
    let elsewhere = start_upload(&standin, "us-docker.pkg.dev", "proj/gcr.io/i");
    assert_eq!(elsewhere.refusal(), (404, "NAME_UNKNOWN".to_owned()));
    assert!(!standin.has_repository(GCR));
    assert_eq!(
        push_blob(&client(&standin, "gcr.io"), "proj/i", b"x").status,
        201
    );
    assert!(standin.has_repository(GCR));
    standin.change(|behaviour| behaviour.create_on_push = false);
    let off = start_upload(&standin, "eu.gcr.io", "proj/i");
    assert_eq!(off.refusal(), (404, "NAME_UNKNOWN".to_owned()));
}

#[test]
fn disabled_api_error_says_how_to_enable_it() {
    let standin = crate::images::ready();
    standin.change(|behaviour| behaviour.api_off = true);
    let answer = start_upload(&standin, "gcr.io", "proj/i");
    assert_eq!(answer.refusal(), (403, "DENIED".to_owned()));
    let message = answer.message();
    let start = "Artifact Registry API has not been used in project 123456789012 before or it is \
                 disabled. Enable it by visiting https://console.developers.google.com/apis/api/\
                 artifactregistry.googleapis.com/overview?project=123456789012 then retry.";
    assert!(message.starts_with(start), "{message}");
}

#[test]
fn unmigrated_project_answers_412_in_plain_text() {
    let standin = crate::images::ready();
    let client = client(&standin, "gcr.io");
    let token = "/v2/token?scope=repository:proj/i:pull";
    let manifest = "/v2/proj/i/manifests/t";
    standin.change(|behaviour| behaviour.not_migrated = NotMigrated::Manifests);
    assert_eq!(client.anonymous().get(token).status, 403);
    assert_eq!(client.get(manifest).status, 412);
    standin.change(|behaviour| behaviour.not_migrated = NotMigrated::TokenAndManifests);
    for path in [token, manifest] {
        let answer = client.anonymous().get(path);
        assert_eq!(answer.status, 412);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        let start = "Container Registry is deprecated and shutting down, please use the auto \
                     migration tool";
        assert!(answer.text().starts_with(start), "{}", answer.text());
        assert!(answer.text().contains("--projects='proj'"));
    }
    let elsewhere = self::client(&standin, "us-docker.pkg.dev");
    assert_eq!(elsewhere.get("/v2/proj/gcr.io/i/manifests/t").status, 404);
}
