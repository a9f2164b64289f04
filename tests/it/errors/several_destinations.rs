//! Several destinations of which some fail: the image arrives at the others.

use standin::{Fault, FaultAction, RequestKind};

use super::{docker, oci};
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::{ACCOUNT, Google};

#[test]
fn other_destinations_arrive_when_one_fails() {
    for image in [oci(), docker()] {
        let google = Google::start();
        let registry = DockerRegistry::start();
        let reader = "roles/artifactregistry.createOnPushWriter";
        google.standin.revoke(ACCOUNT, reader, "projects/acme");
        let europe = "projects/acme/locations/europe/repositories/containers";
        google
            .standin
            .grant(ACCOUNT, "roles/artifactregistry.writer", europe);
        let outcome = google
            .run()
            .file("image.tar", &image)
            .set("image", "image.tar")
            .set(
                "tags",
                format!(
                    "us-docker.pkg.dev/acme/containers/app:1\n\
                     europe-docker.pkg.dev/acme/containers/app:1\n\
                     {}/app:1",
                    registry.address()
                ),
            )
            .set("report_file", "report.json")
            .fails_with(3);
        assert!(!registry.is_untouched());
        let tags = google
            .standin
            .tags("europe-docker.pkg.dev", "acme/containers/app");
        assert!(tags.contains_key("1"));
        let tags = google
            .standin
            .tags("us-docker.pkg.dev", "acme/containers/app");
        assert!(tags.is_empty());
        assert!(
            outcome
                .stdout
                .contains("europe-docker.pkg.dev/acme/containers/app")
        );
        assert!(
            outcome
                .stdout
                .contains("failed: us-docker.pkg.dev/acme/containers/app: ")
        );
        assert!(
            outcome
                .read("report.json")
                .contains("europe-docker.pkg.dev")
        );
        if image == oci() {
            insta::assert_snapshot!(outcome.error(), @r#"
            error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
              caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
              caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

            hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
            hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
            "#);
        } else {
            insta::assert_snapshot!(outcome.error(), @r#"
            error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
              caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
              caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

            hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
            hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
            "#);
        }
    }
}

#[test]
fn all_failures_are_reported_and_worst_sets_exit_code() {
    let google = Google::start();
    google.standin.fault(
        Fault::always(RequestKind::ManifestPut, FaultAction::status(503)).at("us-docker.pkg.dev"),
    );
    google.standin.fault(
        Fault::always(RequestKind::ManifestPut, FaultAction::status(403))
            .at("europe-docker.pkg.dev"),
    );
    let outcome = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set(
            "registry",
            "us-docker.pkg.dev, gcr.io, europe-docker.pkg.dev",
        )
        .set("repository", "containers")
        .fails_with(3);
    assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: PUT https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes

    error: could not push to `europe-docker.pkg.dev/acme/containers/app:1`
      caused by: PUT https://europe-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission denied

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=europe --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `containers` does not exist in `europe`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=europe --project=acme`
    ");
}

#[test]
fn forbidden_destination_does_not_stop_the_others() {
    let google = Google::start();
    let registry = DockerRegistry::with_login();
    let outcome = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set(
            "tags",
            format!("{}/app:1\ngcr.io/acme/app:1", registry.address()),
        )
        .fails_with(3);
    assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `127.0.0.1:[PORT]/app:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `127.0.0.1:[PORT]` in `username` and `password`, or in `docker_config`
    ");
}

#[test]
fn unreachable_destination_does_not_stop_the_others() {
    let google = Google::start();
    let outcome = google
        .run()
        .file("image.tar", docker())
        .set("image", "image.tar")
        .set(
            "tags",
            "127.0.0.1:9/app:1\n127.0.0.1:9/other:1\ngcr.io/acme/app:1",
        )
        .fails_with(4);
    assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
    insta::assert_snapshot!(outcome.error(), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET https://127.0.0.1:[PORT]/v2/
      caused by: Connection refused (os error 111)

    hint: check that `127.0.0.1:[PORT]` is correct and that this machine can reach it; if it needs a proxy, set `HTTPS_PROXY`
    ");
}

#[test]
fn key_refused_everywhere_is_reported_once() {
    let google = Google::start();
    google.standin.delete_keys(ACCOUNT);
    let outcome = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("registry", "gcr.io, us.gcr.io, eu.gcr.io")
        .fails_with(3);
    assert!(google.is_untouched());
    insta::assert_snapshot!(outcome.error(), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 400 invalid_grant
      caused by: Invalid JWT Signature.

    hint: this key was deleted, or belongs to another account: create a new one with `gcloud iam service-accounts keys create key.json --iam-account=ci@acme.iam.gserviceaccount.com`

    error: could not sign in to `us.gcr.io`, for the same reason

    error: could not sign in to `eu.gcr.io`, for the same reason
    ");
}
