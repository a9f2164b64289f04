//! The policy for existing tags, with archives whose digest is unknown until their layers are
//! compressed.

use standin::{RequestKind, Standin};

use super::*;
use crate::support::images::{self, LayerCompression, TestImage, classic_archive};
use crate::support::run::Outcome;

/// A registry with another image as `app:1`, and that image's digest.
fn destination() -> (Standin, String) {
    let destination = Standin::start();
    let mut other = Layout::default();
    let root = other.image(&TestImage::new("other", 1), LayerCompression::Gzip);
    seed(&destination, PLAIN, "app", &other, &root, "1");
    (destination, images::digest(&root).to_string())
}

fn push(destination: &Standin, tags: &str, policy: &str) -> Run {
    Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 3), &["app:0"])]),
        )
        .set("image", "image.tar")
        .set("registry", destination.plain_address())
        .set("name", "app")
        .set("tags", tags)
        .set("existing_tag", policy)
        .set("report_file", "report.json")
}

fn assert_nothing_compressed_or_sent(outcome: &Outcome, destination: &Standin) {
    assert!(
        !outcome.stderr.contains("compressed layer"),
        "{}",
        outcome.stderr
    );
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::UploadStart).len(),
        0
    );
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::ManifestPut).len(),
        0
    );
}

#[test]
fn tag_of_another_image_fails_before_compression() {
    for (layer_reuse, tags) in [("auto", "2, 1"), ("off", "1")] {
        let (destination, other) = destination();
        let outcome = push(&destination, tags, "fail")
            .set("layer_reuse", layer_reuse)
            .fails_with(1);
        insta::allow_duplicates!(insta::assert_snapshot!(
            outcome.error().replace(&other, "[OTHER]"), @"
        error: `127.0.0.1:[PORT]/app:1` already exists as [OTHER], which is another image

        hint: `existing_tag: fail` does not allow this: push a new tag, or use `overwrite` or `keep`
        "));
        assert_nothing_compressed_or_sent(&outcome, &destination);
    }
}

#[test]
fn kept_tag_needs_no_compression() {
    let (destination, other) = destination();
    let outcome = push(&destination, "1", "keep").succeeds();
    assert_nothing_compressed_or_sent(&outcome, &destination);
    let note = format!(
        "note: the tag `{}/app:1` stays at {other}",
        destination.plain_address()
    );
    assert!(outcome.stdout.contains(&note), "{}", outcome.stdout);
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["destinations"][0]["tags"][0]["kept"], other.as_str());
    assert_eq!(destination.tags(PLAIN, "app")["1"], other);
}

#[test]
fn missing_content_is_pushed_beside_a_kept_tag() {
    let (destination, other) = destination();
    push(&destination, "1, 2", "keep").succeeds();
    let tags = destination.tags(PLAIN, "app");
    assert_eq!(tags["1"], other);
    assert_ne!(tags["2"], other);
    for policy in ["keep", "fail"] {
        destination.clear_requests();
        let outcome = push(&destination, "2", policy).succeeds();
        assert_nothing_compressed_or_sent(&outcome, &destination);
        assert!(!outcome.stdout.contains("stays at"), "{}", outcome.stdout);
    }
}

#[test]
fn tag_kept_at_one_destination_moves_at_the_others() {
    let ((kept, other), empty) = (destination(), Standin::start());
    let registries = format!("{}, {}", kept.plain_address(), empty.plain_address());
    push(&kept, "1", "keep")
        .set("registry", &registries)
        .succeeds();
    assert_eq!(of_kind(&kept.requests(), RequestKind::UploadStart).len(), 0);
    assert_eq!(kept.tags(PLAIN, "app")["1"], other);
    assert!(empty.tags(PLAIN, "app").contains_key("1"));

    let outcome = push(&kept, "1", "fail")
        .set("registry", &registries)
        .fails_with(1);
    assert!(
        outcome.stderr.contains("which is another image"),
        "{}",
        outcome.stderr
    );
}
