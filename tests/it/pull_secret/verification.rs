//! The pull secret is verified before it is written.

use standin::{Fault, FaultAction, RequestKind};

use super::{READER, READS, pull_secret_command, push, reader};
use crate::support::google::Google;
use crate::support::run::Outcome;
use crate::support::skopeo::pull;

const GCR_IO: &str = "gcr.io/acme/app:1";
const PKG_DEV: &str = "us-docker.pkg.dev/acme/containers/app:1";

fn wrote_nothing(outcome: &Outcome) -> bool {
    !outcome.directory.path().join("secret.yaml").exists()
}

#[test]
fn skopeo_pulls_from_every_host_with_the_secret() {
    let google = Google::start();
    let outcome = push(&google, &format!("{GCR_IO}\n{PKG_DEV}"))
        .set("pull_secret_format", "dockerconfigjson")
        .succeeds();
    let login = outcome.directory.path().join("secret.yaml");
    let login = format!("--src-authfile={}", login.display());
    let folder = tempfile::tempdir().unwrap();
    let environment = google.environment(folder.path());
    google.standin.expire_tokens();
    for image in [GCR_IO, PKG_DEV] {
        let pulled = pull(image, &environment, &[&login]);
        assert_eq!(pulled.files.len(), 12, "{image}");
    }
}

#[test]
fn secret_is_verified_as_a_kubelet_would_use_it() {
    let google = Google::start();
    push(&google, &format!("{GCR_IO}\n{PKG_DEV}")).succeeds();
    let requests = google.standin.requests();
    let start =
        |request: &standin::Request| request.authorization.as_deref() == Some("Basic _json_key");
    for host in ["gcr.io", "us-docker.pkg.dev"] {
        let first = requests
            .iter()
            .position(|r| r.host == host && start(r))
            .unwrap();
        let verification: Vec<_> = requests[first..]
            .iter()
            .filter(|r| r.host == host && r.kind != RequestKind::Connect)
            .collect();
        assert_eq!(verification[0].kind, RequestKind::Token);
        assert!(
            verification[0].query.ends_with("%3Apull"),
            "{}",
            verification[0].query
        );
        assert_eq!(verification[1].kind, RequestKind::ManifestGet);
        assert!(verification[1].path.ends_with("/manifests/1"));
        // The children, without the attestation.
        let of = |kind| {
            verification
                .iter()
                .filter(move |request| request.kind == kind)
        };
        assert_eq!(of(RequestKind::ManifestGet).count(), 3);
        // Two configs and five layers.
        assert_eq!(of(RequestKind::BlobGet).count(), 7);
        for blob in of(RequestKind::BlobGet).chain(of(RequestKind::BlobDownload)) {
            assert_eq!(blob.headers["range"], "bytes=0-0");
        }
    }
}

#[test]
fn account_without_read_permission_writes_no_secret() {
    let google = Google::start();
    let run = push(&google, PKG_DEV);
    google.standin.revoke(READER, READS, "projects/acme");
    let outcome = run.fails_with(3);
    assert!(wrote_nothing(&outcome));
    // The image itself is there and reported.
    assert!(
        outcome
            .stdout
            .contains("us-docker.pkg.dev/acme/containers/app")
    );
    insta::assert_snapshot!(outcome.error(), @r#"
    error: the pull secret was not written: its login cannot pull `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:pull@acme.iam.gserviceaccount.com --role=roles/artifactregistry.reader`
    "#);
}

#[test]
fn deleted_key_writes_no_secret() {
    let google = Google::start();
    let run = push(&google, GCR_IO);
    google.standin.delete_keys(READER);
    let outcome = run.fails_with(3);
    assert!(wrote_nothing(&outcome));
    insta::assert_snapshot!(outcome.error(), @"
    error: the pull secret was not written: its login cannot pull `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull: 401 UNAUTHORIZED
      caused by: authentication failed

    hint: the key was deleted, or `pull@acme.iam.gserviceaccount.com` is disabled: create a new key with `gcloud iam service-accounts keys create key.json --iam-account=pull@acme.iam.gserviceaccount.com`
    ");
}

#[test]
fn key_of_another_project_is_noted() {
    let google = Google::start();
    let key = google
        .standin
        .service_account("pull@other.iam.gserviceaccount.com", "other");
    let outcome = push(&google, GCR_IO)
        .set("pull_secret_credentials_json", key)
        .fails_with(3);
    assert!(wrote_nothing(&outcome));
    insta::assert_snapshot!(outcome.error(), @r#"
    error: the pull secret was not written: its login cannot pull `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:pull@other.iam.gserviceaccount.com --role=roles/artifactregistry.reader`
    hint: `pull@other.iam.gserviceaccount.com` is from another project than the image, which is in `acme`: check that it is the right key
    "#);
}

#[test]
fn missing_layer_is_noticed() {
    let google = Google::start();
    push(&google, GCR_IO).succeeds();
    let manifest = google.standin.requests();
    let blob = manifest
        .iter()
        .find(|r| r.kind == RequestKind::BlobGet)
        .unwrap();
    let digest = blob.path.rsplit('/').next().unwrap();
    google.standin.forget_blob("gcr.io", "acme/app", digest);
    let outcome = pull_secret_command(&google, GCR_IO)
        .set("pull_secret_credentials_json", reader(&google))
        .set("pull_secret_file", "secret.yaml")
        .fails_with(1);
    assert!(wrote_nothing(&outcome));
    insta::assert_snapshot!(outcome.error().replace(digest, "[DIGEST]"), @"
    error: the pull secret was not written: its login cannot pull `gcr.io/acme/app:1`
      caused by: the registry has no blob [DIGEST], which the manifest names

    hint: another job may have changed or deleted it: push it again
    ");
}

#[test]
fn reader_with_push_permission_is_reported() {
    let google = Google::start();
    let run = push(&google, GCR_IO);
    google
        .standin
        .grant(READER, "roles/artifactregistry.writer", "projects/acme");
    google.standin.clear_requests();
    let outcome = run.succeeds();
    assert!(
        outcome
            .stderr
            .contains("can also push to `gcr.io/acme/app`"),
        "{}",
        outcome.stderr
    );
    // The connection pool may open one more connection for a waiting request, in any order.
    let kinds: Vec<_> = google
        .standin
        .requests()
        .iter()
        .map(|request| request.kind)
        .filter(|kind| *kind != RequestKind::Connect)
        .collect();
    assert!(
        kinds.ends_with(&[RequestKind::UploadStart, RequestKind::UploadCancel]),
        "{kinds:?}"
    );
    // A read-only account is tested too, and not blamed.
    google
        .standin
        .revoke(READER, "roles/artifactregistry.writer", "projects/acme");
    let outcome = push(&google, GCR_IO).succeeds();
    assert!(!outcome.stderr.contains("can push"), "{}", outcome.stderr);
}

#[test]
fn dry_run_checks_the_reader_and_changes_nothing() {
    let google = Google::start();
    push(&google, GCR_IO).succeeds();
    let dry = || {
        pull_secret_command(&google, GCR_IO)
            .set("pull_secret_credentials_json", reader(&google))
            .set("pull_secret_file", "secret.yaml")
            .set("dry_run", "true")
            .succeeds()
    };
    google.standin.clear_requests();
    let outcome = dry();
    assert!(wrote_nothing(&outcome));
    assert!(!outcome.stderr.contains("can push"), "{}", outcome.stderr);
    google
        .standin
        .grant(READER, "roles/artifactregistry.writer", "projects/acme");
    let outcome = dry();
    assert!(wrote_nothing(&outcome));
    assert!(
        outcome
            .stderr
            .contains("can also push to `gcr.io/acme/app`"),
        "{}",
        outcome.stderr
    );
    let requests = google.standin.requests();
    let uploads = requests.iter().find(|request| {
        matches!(
            request.kind,
            RequestKind::UploadStart | RequestKind::UploadCancel
        )
    });
    assert!(uploads.is_none(), "{uploads:?}");
}

#[test]
fn pushing_key_is_used_only_when_allowed() {
    let google = Google::start();
    let run = || push(&google, GCR_IO).set("pull_secret_credentials_json", &google.key);
    run().fails_with(2);
    let outcome = run().set("pull_secret_allow_push_key", "true").succeeds();
    assert!(
        outcome.stderr.contains("contains the pushing key"),
        "{}",
        outcome.stderr
    );
    assert!(!wrote_nothing(&outcome));
}

#[test]
fn secret_is_written_before_the_image_exists() {
    let google = Google::start();
    push(&google, GCR_IO).succeeds();
    let outcome = pull_secret_command(&google, "gcr.io/acme/app:2")
        .set("pull_secret_credentials_json", reader(&google))
        .set("pull_secret_file", "secret.yaml")
        .succeeds();
    assert!(
        outcome
            .stderr
            .contains("`gcr.io/acme/app:2` does not exist"),
        "{}",
        outcome.stderr
    );
    assert!(!wrote_nothing(&outcome));
}

#[test]
fn host_without_image_is_reported_unverified() {
    let google = Google::start();
    let outcome = google
        .with_environment(crate::support::run::Run::command("pull-secret"))
        .set("registry", "eu.gcr.io")
        .set("pull_secret", "gcr-pull")
        .set("pull_secret_credentials_json", reader(&google))
        .set("pull_secret_file", "secret.yaml")
        .succeeds();
    assert!(
        outcome.stderr.contains("no image at `eu.gcr.io`"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn registry_out_of_order_is_retryable() {
    let google = Google::start();
    push(&google, GCR_IO).succeeds();
    let broken = Fault::always(RequestKind::BlobGet, FaultAction::status(503));
    google.standin.fault(broken);
    let outcome = pull_secret_command(&google, GCR_IO)
        .set("pull_secret_credentials_json", reader(&google))
        .set("pull_secret_file", "secret.yaml")
        .fails_with(4);
    assert!(wrote_nothing(&outcome));
}

#[test]
fn other_registry_login_is_used_only_when_allowed() {
    let google = Google::start();
    let plain = google.standin.plain_address();
    google.standin.basic_user("robot", "hunter2");
    google
        .standin
        .change(|behaviour| behaviour.plain_auth = standin::PlainAuth::Basic);
    let run = || {
        let config =
            format!(r#"{{"auths":{{"{plain}":{{"username":"robot","password":"hunter2"}}}}}}"#);
        push(&google, &format!("{plain}/team/app:1, {GCR_IO}"))
            .set("docker_config", config)
            .set("pull_secret_format", "dockerconfigjson")
    };
    let outcome = run().succeeds();
    assert!(
        outcome
            .stderr
            .contains(&format!("has no login for `{plain}`")),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.read("secret.yaml").contains(&plain));
    let outcome = run().set("pull_secret_allow_push_key", "true").succeeds();
    let file: serde_json::Value = serde_json::from_str(&outcome.read("secret.yaml")).unwrap();
    assert_eq!(file["auths"][&plain]["username"], "robot");
    assert_eq!(file["auths"]["gcr.io"]["username"], "_json_key");
}
