//! Faults of a registry and of the machine: retries, kills, signals, verification.

mod concurrent_pushes;
mod endless_answers;
mod garbage_collection;
mod killed;
mod matrix;
mod retries;
mod signals;
mod verification;

use standin::Standin;

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

/// An OCI archive of an image, and the digest under which it arrives.
fn archive(test_image: &TestImage) -> (Vec<u8>, String) {
    let mut layout = Layout::default();
    let manifest = layout.image(test_image, LayerCompression::Gzip);
    layout.list(&manifest, None);
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    (layout.archive(), digest)
}

/// A push of an image to one or several tags.
fn push(google: &Google, test_image: &TestImage, tags: &str) -> Run {
    google
        .run()
        .file("image.tar", archive(test_image).0)
        .set("image", "image.tar")
        .set("name", "app")
        .set("tags", tags)
}

/// Checks that the manifest of the tag and everything it names is there, each under its own digest.
/// Returns the digest, or `None` if there is no such tag.
fn complete_digest(standin: &Standin, host: &str, repository: &str, tag: &str) -> Option<String> {
    use gcr_push::oci::digest::Digest;

    let tags = standin.tags(host, repository);
    let root = tags.get(tag)?.clone();
    let mut manifests = vec![root.clone()];
    while let Some(digest) = manifests.pop() {
        let (_, bytes) = standin
            .manifest(host, repository, &digest)
            .unwrap_or_else(|| panic!("{tag} needs the manifest {digest}"));
        assert_eq!(Digest::of(&bytes).as_str(), digest);
        let manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let named = |list: &str| {
            let list = manifest[list].as_array().cloned().unwrap_or_default();
            list.into_iter()
                .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        };
        manifests.extend(named("manifests"));
        let config = manifest["config"]["digest"].as_str().map(str::to_owned);
        for digest in named("layers").chain(config) {
            let bytes = standin
                .blob(host, repository, &digest)
                .unwrap_or_else(|| panic!("{tag} needs the blob {digest}"));
            assert_eq!(Digest::of(&bytes).as_str(), digest);
        }
    }
    Some(root)
}
