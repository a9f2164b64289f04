//! Google's refusals, quoted, with the command that fixes the cause.

use standin::{Behaviour, DeniedWording, Fault, FaultAction, NotMigrated, RequestKind};

use super::{docker, error_text, oci, refused, without_digests};
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::Run;

const WRITER: &str = "roles/artifactregistry.writer";

/// Google without any role for [`ACCOUNT`].
fn without_a_role() -> Google {
    let google = Google::start();
    let role = "roles/artifactregistry.createOnPushWriter";
    google.standin.revoke(ACCOUNT, role, "projects/acme");
    google
}

fn push(google: &Google, image: Vec<u8>, tag: &str) -> Run {
    google
        .run()
        .file("image.tar", image)
        .set("image", "image.tar")
        .set("tags", tag)
}

const PKG_DEV: &str = "us-docker.pkg.dev/acme/containers/app:1";
const GCR_IO: &str = "gcr.io/acme/app:1";

#[test]
fn account_without_role_is_reported_with_the_needed_role() {
    let google = without_a_role();
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 3), @r#"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    "#);
    insta::assert_snapshot!(refused(&google, push(&google, oci(), GCR_IO), 3), @r#"
    error: could not push to `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    "#);
    insta::assert_snapshot!(refused(&google, push(&google, docker(), GCR_IO), 3), @r#"
    error: could not push to `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    "#);
}

#[test]
fn reader_account_is_reported_with_the_writer_role() {
    let google = without_a_role();
    let reader = "roles/artifactregistry.reader";
    google.standin.grant(ACCOUNT, reader, "projects/acme");
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 3), @"
    error: pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`; it takes effect within minutes
    ");
    insta::assert_snapshot!(refused(&google, push(&google, docker(), PKG_DEV), 3), @"
    error: pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`; it takes effect within minutes
    ");
}

#[test]
fn newer_permission_wording_of_google_is_understood() {
    let google = without_a_role();
    google
        .standin
        .change(|behaviour| behaviour.denied_wording = DeniedWording::Troubleshooter);
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 3), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission 'artifactregistry.repositories.downloadArtifacts' denied on resource (or it may not exist). Remediate access with this Troubleshooter URL or share it with your administrator - https://console.cloud.google.com/iam-admin/troubleshooter;errorId=0123456789abcdef

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    ");
}

#[test]
fn access_token_refusal_invents_no_account() {
    let google = without_a_role();
    let run = google
        .with_environment(Run::new())
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("tags", PKG_DEV)
        .set("access_token", google.standin.access_token(ACCOUNT));
    insta::assert_snapshot!(refused(&google, run, 3), @r#"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ACCOUNT --role=roles/artifactregistry.writer`, where ACCOUNT is the account of the token
    hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    "#);
}

#[test]
fn missing_repository_is_reported_with_the_create_command() {
    let google = Google::start();
    google.standin.grant(ACCOUNT, WRITER, "projects/acme");
    let missing = "us-docker.pkg.dev/acme/nowhere/app:1";
    insta::assert_snapshot!(refused(&google, push(&google, oci(), missing), 1), @r#"
    error: could not push to `us-docker.pkg.dev/acme/nowhere/app`
      caused by: POST https://us-docker.pkg.dev/v2/acme/nowhere/app/blobs/uploads/: 404 NAME_UNKNOWN
      caused by: Repository "nowhere" not found

    hint: create the repository: `gcloud artifacts repositories create nowhere --repository-format=docker --location=us --project=acme`
    "#);
    insta::assert_snapshot!(refused(&google, push(&google, docker(), missing), 1), @r#"
    error: could not push to `us-docker.pkg.dev/acme/nowhere/app`
      caused by: POST https://us-docker.pkg.dev/v2/acme/nowhere/app/blobs/uploads/: 404 NAME_UNKNOWN
      caused by: Repository "nowhere" not found

    hint: create the repository: `gcloud artifacts repositories create nowhere --repository-format=docker --location=us --project=acme`
    "#);
}

#[test]
fn gcr_io_without_permission_to_create_is_reported() {
    let google = without_a_role();
    google.standin.grant(ACCOUNT, WRITER, "projects/acme");
    insta::assert_snapshot!(refused(&google, push(&google, oci(), GCR_IO), 3), @"
    error: could not push to `gcr.io/acme/app`
      caused by: POST https://gcr.io/v2/acme/app/blobs/uploads/: 403 DENIED
      caused by: gcr.io repo does not exist. Creating on push requires the artifactregistry.repositories.createOnPush permission

    hint: create the repository: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    hint: or allow the push to create it: `gcloud projects add-iam-policy-binding acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.createOnPushWriter --condition=None`
    ");
    let eu = "eu.gcr.io/acme/app:1";
    insta::assert_snapshot!(refused(&google, push(&google, docker(), eu), 3), @"
    error: could not push to `eu.gcr.io/acme/app`
      caused by: POST https://eu.gcr.io/v2/acme/app/blobs/uploads/: 403 DENIED
      caused by: gcr.io repo does not exist. Creating on push requires the artifactregistry.repositories.createOnPush permission

    hint: create the repository: `gcloud artifacts repositories create eu.gcr.io --repository-format=docker --location=europe --project=acme`
    hint: or allow the push to create it: `gcloud projects add-iam-policy-binding acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.createOnPushWriter --condition=None`
    ");
}

#[test]
fn disabled_api_is_reported_with_the_enable_command() {
    let google = Google::with(Behaviour {
        api_off: true,
        ..Behaviour::default()
    });
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 3), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Artifact Registry API has not been used in project 123456789012 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/artifactregistry.googleapis.com/overview?project=123456789012 then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.

    hint: enable the API: `gcloud services enable artifactregistry.googleapis.com --project=acme`
    ");
}

#[test]
fn unmigrated_gcr_io_is_reported() {
    for stage in [NotMigrated::TokenAndManifests, NotMigrated::Manifests] {
        let google = Google::with(Behaviour {
            not_migrated: stage,
            ..Behaviour::default()
        });
        let message = refused(&google, push(&google, oci(), GCR_IO), 1);
        match stage {
            NotMigrated::TokenAndManifests => insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push: 412 Precondition Failed
              caused by: Container Registry is deprecated and shutting down, please use the auto migration tool to migrate to Artifact Registry (gcloud artifacts docker upgrade migrate --projects='acme'). For more details see: https://cloud.google.com/artifact-registry/docs/transition/auto-migrate-gcr-ar

            hint: the gcr.io names of `acme` were never moved to Artifact Registry: run `gcloud artifacts docker upgrade migrate --projects=acme --quiet`, or push to a `LOCATION-docker.pkg.dev` host
            "),
            _ => insta::assert_snapshot!(message, @"
            error: could not push to `gcr.io/acme/app:1`
              caused by: GET https://gcr.io/v2/acme/app/manifests/1: 412 Precondition Failed
              caused by: Container Registry is deprecated and shutting down, please use the auto migration tool to migrate to Artifact Registry (gcloud artifacts docker upgrade migrate --projects='acme'). For more details see: https://cloud.google.com/artifact-registry/docs/transition/auto-migrate-gcr-ar

            hint: the gcr.io names of `acme` were never moved to Artifact Registry: run `gcloud artifacts docker upgrade migrate --projects=acme --quiet`, or push to a `LOCATION-docker.pkg.dev` host
            "),
        }
    }
}

#[test]
fn immutable_tag_is_reported() {
    let google = Google::with(Behaviour {
        immutable_tags: true,
        ..Behaviour::default()
    });
    push(&google, oci(), PKG_DEV).succeeds();
    let other = classic_archive(&[(&TestImage::new("other", 1), &[])]);
    let outcome = push(&google, other, PKG_DEV).fails_with(1);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: PUT https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 400 MANIFEST_INVALID
      caused by: cannot update tag 1. The repository has enabled tag immutability

    hint: the repository does not allow tags to change: push a new tag, or keep this one with `existing_tag: keep`
    ");
}

#[test]
fn exhausted_quota_is_retryable() {
    let google = Google::start();
    let fault = FaultAction::status(429);
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestHead, fault.clone()));
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestGet, fault));
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 4), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 429 TOOMANYREQUESTS
      caused by: Quota exceeded for quota metric 'Requests per project per region' and limit 'Requests per project per region per minute per region' of service 'artifactregistry.googleapis.com' for consumer 'project_number:123456789012'.

    hint: there were too many requests in a short time: try again in a few minutes, with a lower `concurrency`, or set `requests_per_minute`
    ");
}

#[test]
fn registry_out_of_order_is_retryable() {
    let google = Google::start();
    let down = FaultAction::status(503);
    google
        .standin
        .fault(Fault::always(RequestKind::Ping, down.clone()));
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 4), @"
    error: `us-docker.pkg.dev` refused the first request
      caused by: GET https://us-docker.pkg.dev/v2/: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::Token, down.clone()));
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 4), @"
    error: could not sign in to `us-docker.pkg.dev`
      caused by: GET https://us-docker.pkg.dev/v2/token?scope=repository:acme/containers/app:pull,push: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::OAuthToken, down.clone()));
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 4), @"
    error: could not sign in to `us-docker.pkg.dev`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: Google has a temporary problem; try again in a few minutes
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::UploadStart, down.clone()));
    insta::assert_snapshot!(refused(&google, push(&google, oci(), PKG_DEV), 4), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app`
      caused by: POST https://us-docker.pkg.dev/v2/acme/containers/app/blobs/uploads/: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, down.clone()));
    let text = refused(&google, push(&google, oci(), PKG_DEV), 4);
    insta::assert_snapshot!(without_digests(&text), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app`
      caused by: PUT https://us-docker.pkg.dev/artifacts-uploads/namespaces/acme/repositories/containers/uploads/...?digest=[DIGEST]: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, down));
    let outcome = push(&google, oci(), PKG_DEV).fails_with(4);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: PUT https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: the registry has a temporary problem; try again in a few minutes
    ");
    assert!(
        google
            .standin
            .tags("us-docker.pkg.dev", "acme/containers/app")
            .is_empty()
    );
}

#[test]
fn required_login_of_plain_registry_is_reported() {
    let registry = DockerRegistry::with_login();
    let push = |run: Run| {
        run.file("image.tar", oci())
            .set("image", "image.tar")
            .set("tags", format!("{}/app:1", registry.address()))
            .fails_with(3)
    };
    insta::assert_snapshot!(error_text(&push(Run::new())), @"
    error: could not push to `127.0.0.1:[PORT]/app:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `127.0.0.1:[PORT]` in `username` and `password`, or in `docker_config`
    ");
    let wrong = format!(
        r#"{{"auths":{{"{}":{{"username":"robot","password":"hunter2"}}}}}}"#,
        registry.address()
    );
    insta::assert_snapshot!(error_text(&push(Run::new().set("docker_config", wrong))), @"
    error: could not push to `127.0.0.1:[PORT]/app:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: the registry does not accept the password of `robot` from `docker_config`
    ");
    assert!(registry.is_untouched());
}

#[test]
fn missing_or_forbidden_listing_is_reported() {
    let google = Google::start();
    let list = || {
        google
            .with_environment(Run::command("list"))
            .set("credentials_json", &google.key)
    };
    insta::assert_snapshot!(error_text(&list().set("name", "nothing").fails_with(1)), @"
    error: there is nothing at `gcr.io/acme/nothing`

    hint: check `image`, or `project_id`, `repository` and `name`
    ");
    insta::assert_snapshot!(error_text(&list().set("project_id", "other").fails_with(3)), @r#"
    error: could not list `gcr.io/other`
      caused by: GET https://gcr.io/v2/other/tags/list?n=10000: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/other/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=other --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.reader`
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=other`
    "#);
}
