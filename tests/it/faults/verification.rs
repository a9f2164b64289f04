//! Verification after a push: what it requests, how long it waits, and what it finds.

use serde_json::json;
use standin::{Fault, FaultAction, RequestKind};

use super::{archive, complete_digest, push};
use crate::support::google::Google;
use crate::support::images::{
    LayerCompression, Layout, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, TestImage, classic_archive, gzip,
};

#[test]
fn every_blob_is_read_back_and_hashed_on_request() {
    let google = Google::start();
    push(&google, &TestImage::new("app", 3), "1")
        .set("verify", "blobs")
        .succeeds();
    let requests = google.standin.requests();
    let mut read: Vec<_> = requests
        .iter()
        .filter(|request| request.kind == RequestKind::BlobGet)
        .map(|request| request.path.clone())
        .collect();
    read.sort();
    read.dedup();
    assert_eq!(read.len(), 4, "{read:?}");
}

#[test]
fn blob_served_with_other_bytes_is_detected() {
    let google = Google::start();
    let changed = FaultAction::CorruptByte(30);
    google
        .standin
        .fault(Fault::always(RequestKind::BlobDownload, changed));
    let outcome = push(&google, &TestImage::new("app", 1), "1")
        .set("verify", "blobs")
        .fails_with(1);
    let message = outcome.error();
    assert!(
        message.contains("has other bytes after the push"),
        "{message}"
    );
}

#[test]
fn bytes_changed_on_download_are_read_again() {
    let google = Google::start();
    let changed = FaultAction::CorruptByte(30);
    google
        .standin
        .fault(Fault::once(RequestKind::BlobDownload, changed).times(2));
    push(&google, &TestImage::new("app", 1), "1")
        .set("verify", "blobs")
        .succeeds();
}

/// Puts an earlier image whose config falsely claims the diff ID of `test_image`'s layer.
fn put_false_image(google: &Google, test_image: &TestImage) {
    let put = |bytes: &[u8]| google.standin.put_blob("gcr.io", "acme/app", bytes);
    let layer = gzip(b"something else altogether");
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [test_image.diff_ids()[0]]},
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": put(config.as_bytes()), "size": config.len()},
        "layers": [{
            "mediaType": format!("{OCI_LAYER}+gzip"), "digest": put(&layer), "size": layer.len(),
        }],
    })
    .to_string();
    google
        .standin
        .put_manifest("gcr.io", "acme/app", "1", OCI_MANIFEST, manifest.as_bytes());
}

#[test]
fn previous_image_with_false_layer_is_detected() {
    let google = Google::start();
    let test_image = TestImage::new("app", 1);
    put_false_image(&google, &test_image);
    let run = |name: &str, value: &str| {
        google
            .run()
            .file("image.tar", classic_archive(&[(&test_image, &["app:1"])]))
            .set("image", "image.tar")
            .set("verify", "blobs")
            .set(name, value)
    };
    let outcome = run("layer_reuse", "auto").fails_with(1);
    let message = outcome.error();
    assert!(
        message.contains("is not what the image's config says"),
        "{message}"
    );
    assert!(message.contains("layer_reuse: off"), "{message}");
    run("layer_reuse", "off").succeeds();
}

#[test]
fn lagging_registry_is_waited_for() {
    let google = Google::start();
    let absent = FaultAction::status(404);
    // The first two requests come before the push: for the tag and for the digest.
    google.standin.fault(
        Fault::once(RequestKind::ManifestHead, absent)
            .after(2)
            .times(4),
    );
    let outcome = push(&google, &TestImage::new("app", 1), "1").succeeds();
    assert!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
}

#[test]
fn tag_of_another_image_is_reported_with_both_digests() {
    let google = Google::start();
    let (other, _) = archive(&TestImage::new("other", 1));
    google
        .run()
        .file("image.tar", other)
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/app:other")
        .succeeds();
    let other_digest = complete_digest(&google.standin, "gcr.io", "acme/app", "other").unwrap();
    let lagging = FaultAction::Header {
        name: "docker-content-digest".to_owned(),
        value: Some(other_digest.clone()),
    };
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestHead, lagging).after(2));
    let outcome = push(&google, &TestImage::new("app", 1), "1").fails_with(1);
    let (_, pushed) = archive(&TestImage::new("app", 1));
    let message = outcome.error();
    assert!(
        message.contains(&other_digest) && message.contains(&pushed),
        "{message}"
    );
}

#[test]
fn missing_child_of_index_after_push_is_reported() {
    let google = Google::start();
    let mut layout = Layout::default();
    let children = ["amd64", "arm64"].map(|architecture| {
        let test_image = TestImage::on(architecture, "app", 1);
        let mut child = layout.image(&test_image, LayerCompression::Gzip);
        child["platform"] = json!({"os": "linux", "architecture": architecture});
        child
    });
    let index = layout.index(&children);
    layout.list(&index, Some("app:1"));
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestHead, FaultAction::status(404)).after(4));
    let outcome = google
        .run()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .fails_with(4);
    let message = outcome.error();
    assert!(
        message.contains("does not exist after the push"),
        "{message}"
    );
}
