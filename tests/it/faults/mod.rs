//! A registry that blinks is no reason for a push to fail, and a run that is stopped says where it
//! was.

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
use crate::support::images::{Layout, Packed, Picture};
use crate::support::run::Run;

/// An OCI archive of a picture, byte for byte as it is pushed, and its digest.
fn archive(picture: &Picture) -> (Vec<u8>, String) {
    let mut layout = Layout::default();
    let manifest = layout.image(picture, Packed::Gzip);
    layout.list(&manifest, None);
    let digest = manifest["digest"].as_str().unwrap().to_owned();
    (layout.archive(), digest)
}

/// A push of a picture to a tag or to several.
fn push(google: &Google, picture: &Picture, tags: &str) -> Run {
    google
        .run()
        .file("image.tar", archive(picture).0)
        .set("image", "image.tar")
        .set("name", "app")
        .set("tags", tags)
}

/// Fails unless what the tag points at is there with all that it names, each under its own digest.
/// Returns the digest; none when there is no such tag.
fn whole(standin: &Standin, host: &str, repository: &str, tag: &str) -> Option<String> {
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
