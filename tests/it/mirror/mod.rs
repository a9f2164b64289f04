//! Copies from registry to registry.

mod existing_tag;
mod failover;
mod gitlab;
mod layout_referrers;
mod many_destinations;
mod many_images;
mod memory;
mod one_image;
mod platforms;
mod quota;
mod referrers;
mod resumed;
mod unchanged;
mod workloads;

use serde_json::Value;
use standin::{Request, RequestKind, Standin};

use crate::support::curl;
use crate::support::images::Layout;
use crate::support::run::Run;

/// The name of a stand-in's plain registry where a host is required.
pub const PLAIN: &str = "plain";

/// True for a manifest or an index.
fn is_manifest(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.get("schemaVersion").is_some())
}

/// Puts the content of a layout into a repository of a stand-in, and its root under a tag.
pub fn seed(
    standin: &Standin,
    host: &str,
    repository: &str,
    layout: &Layout,
    root: &Value,
    tag: &str,
) {
    for bytes in layout.blobs.values() {
        if is_manifest(bytes) {
            let manifest: Value = serde_json::from_slice(bytes).unwrap();
            let media_type = manifest["mediaType"].as_str().unwrap();
            standin.put_manifest(host, repository, ":", media_type, bytes);
        } else {
            standin.put_blob(host, repository, bytes);
        }
    }
    let media_type = root["mediaType"].as_str().unwrap();
    standin.put_manifest(host, repository, tag, media_type, layout.get(root));
}

/// Checks that a repository holds every manifest and blob of a layout, byte for byte.
fn assert_holds(address: &str, repository: &str, layout: &Layout) {
    for (digest, bytes) in &layout.blobs {
        let kind = if is_manifest(bytes) {
            "manifests"
        } else {
            "blobs"
        };
        let url = format!("http://{address}/v2/{repository}/{kind}/{digest}");
        assert_eq!(curl::get(&url).as_ref(), Some(bytes), "{url}");
    }
}

/// The manifest of a tag.
fn tagged(address: &str, repository: &str, tag: &str) -> Option<Vec<u8>> {
    curl::get(&format!("http://{address}/v2/{repository}/manifests/{tag}"))
}

/// A run that mirrors an image of a plain registry.
fn mirror(source: &str, destinations: &str) -> Run {
    Run::new()
        .set("image", format!("docker://{source}"))
        .set("tags", destinations)
}

fn of_kind(requests: &[Request], kind: RequestKind) -> Vec<&Request> {
    requests
        .iter()
        .filter(|request| request.kind == kind)
        .collect()
}

/// The bytes of blobs that a registry sent.
fn bytes_sent(standin: &Standin) -> u64 {
    let requests = standin.requests();
    let blobs = requests.iter().filter(|request| {
        matches!(
            request.kind,
            RequestKind::BlobGet | RequestKind::BlobDownload
        )
    });
    blobs.map(|request| request.sent_bytes).sum()
}

/// The bytes of all blobs of a layout, without manifests.
fn blob_bytes(layout: &Layout) -> u64 {
    let blobs = layout.blobs.values().filter(|bytes| !is_manifest(bytes));
    blobs.map(|bytes| bytes.len() as u64).sum()
}
