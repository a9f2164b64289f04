//! The pull secret: verified as a kubelet uses it, written as kubectl writes it, applied to a
//! cluster.

mod after_mirror;
mod apply;
mod cluster_access;
mod outputs;
mod refresher;
mod refusals;
mod tokens;
mod verification;

use serde_json::Value;
use standin::Standin;

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

/// The account with read permission only.
const READER: &str = "pull@acme.iam.gserviceaccount.com";
const READS: &str = "roles/artifactregistry.reader";

/// The reader's key. Grants its role.
fn reader(google: &Google) -> String {
    google.standin.grant(READER, READS, "projects/acme");
    google.standin.service_account(READER, "acme")
}

/// An archive of an index with two platforms and an attestation, `app:1`.
fn image() -> Vec<u8> {
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 2), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 3), LayerCompression::Gzip);
    let attestation = layout.attestation(&amd64);
    let index = layout.index(&[amd64, arm64, attestation]);
    layout.list(&index, Some("app:1"));
    layout.archive()
}

/// A push of [`image`] that writes a pull secret with the reader's key to `secret.yaml`.
fn push(google: &Google, tags: &str) -> Run {
    google
        .run()
        .file("image.tar", image())
        .set("image", "oci-archive:image.tar")
        .set("tags", tags)
        .set("pull_secret", "gcr-pull")
        .set("pull_secret_credentials_json", reader(google))
        .set("pull_secret_file", "secret.yaml")
}

/// `pull-secret` for an image that was pushed before.
fn pull_secret_command(google: &Google, tags: &str) -> Run {
    google
        .with_environment(Run::command("pull-secret"))
        .set("tags", tags)
        .set("pull_secret", "gcr-pull")
}

/// The docker config of an applied Secret.
fn applied(standin: &Standin, namespace: &str, name: &str) -> Value {
    use base64::Engine as _;
    let secret = standin.cluster().get("secrets", namespace, name).unwrap();
    let data = secret["data"][".dockerconfigjson"].as_str().unwrap();
    let json = base64::engine::general_purpose::STANDARD
        .decode(data)
        .unwrap();
    serde_json::from_slice(&json).unwrap()
}
