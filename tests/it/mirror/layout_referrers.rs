//! Signatures, SBOMs and attestations in an OCI layout or archive.

use serde_json::json;
use standin::{Referrers, RequestKind, Standin};

use super::referrers::{SignedImage, standin, tag_of};
use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{
    self, LayerCompression, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, TestImage,
};

/// A push of a layout in a directory.
fn push(layout: &Layout, destinations: &str) -> Run {
    let files = layout.files();
    let run = files.iter().fold(Run::new(), |run, (name, bytes)| {
        run.file(&format!("layout/{name}"), bytes)
    });
    run.set("image", "oci:layout")
        .set("tags", destinations)
        .set("referrers", "true")
}

#[test]
fn referrers_in_index_json_are_copied() {
    let mut signed = SignedImage::new();
    // As `oras copy --recursive --to-oci-layout` writes it: everything is listed, the image by
    // name.
    signed.layout.list(&signed.root, Some("1"));
    for referrer in [&signed.of_arm64, &signed.sbom, &signed.of_sbom] {
        signed.layout.list(referrer, None);
    }
    let (api, plain) = (Standin::start(), DockerRegistry::start());
    let destinations = [api.plain_address(), plain.address().to_owned()];
    let tags = destinations
        .clone()
        .map(|destination| format!("{destination}/app:1"))
        .join("\n");
    let archive = Run::new()
        .file("image.tar", signed.layout.archive())
        .set("image", "image.tar")
        .set("tags", &tags)
        .set("referrers", "true");
    for run in [push(&signed.layout, &tags), archive] {
        let outcome = run.succeeds();
        let line = format!(
            "3 manifests that refer to the image are at `{}/app` too",
            destinations[0]
        );
        assert!(outcome.stdout.contains(&line), "{}", outcome.stdout);
    }
    for destination in &destinations {
        assert_holds(destination, "app", &signed.layout);
    }
    let list = tagged(plain.address(), "app", &tag_of(&signed.root, "")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["manifests"][0]["digest"], signed.sbom["digest"]);
}

#[test]
fn fallback_tags_of_a_layout_are_copied_as_they_are() {
    let mut signed = SignedImage::new();
    // As regctl writes it: the fallback tags are listed, their referrers are not in `index.json`.
    signed.layout.list(&signed.root, Some("1"));
    let mut lists = Vec::new();
    for (about, referrer) in [
        (signed.root.clone(), signed.sbom.clone()),
        (signed.sbom.clone(), signed.of_sbom.clone()),
        (signed.arm64.clone(), signed.of_arm64.clone()),
    ] {
        let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [referrer]});
        let list = signed.layout.blob(OCI_INDEX, list.to_string().into_bytes());
        signed.layout.list(&list, Some(&tag_of(&about, "")));
        lists.push((about, list));
    }
    let destination = standin(Referrers::Missing);
    push(
        &signed.layout,
        &format!("{}/app:1", destination.plain_address()),
    )
    .succeeds();
    assert_holds(&destination.plain_address(), "app", &signed.layout);
    for (about, list) in &lists {
        let there = tagged(&destination.plain_address(), "app", &tag_of(about, "")).unwrap();
        assert_eq!(there, signed.layout.get(list));
    }
}

/// A layout with an image and its cosign signature, not listed yet.
fn cosign_layout() -> (Layout, Value, Value) {
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    let config = layout.blob(OCI_CONFIG, b"{}".to_vec());
    let simple = "application/vnd.dev.cosign.simplesigning.v1+json";
    let layer = layout.blob(simple, b"signed".to_vec());
    let signature = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
    }));
    (layout, root, signature)
}

#[test]
fn cosign_signatures_are_copied_by_tag_or_type() {
    let (mut tagged_so, root, signature) = cosign_layout();
    let mut saved = tagged_so.clone();
    tagged_so.list(&root, Some("app:1"));
    tagged_so.list(&signature, Some(&tag_of(&root, ".sig")));
    // As `cosign save` writes it: nothing has a name.
    for (mut one, kind) in [(root.clone(), "image"), (signature.clone(), "sigs")] {
        one["annotations"]["kind"] = format!("dev.cosignproject.cosign/{kind}").into();
        saved.list(&one, None);
    }
    for layout in [&tagged_so, &saved] {
        let destination = Standin::start();
        push(layout, &format!("{}/app:1", destination.plain_address())).succeeds();
        let (address, tag) = (destination.plain_address(), tag_of(&root, ".sig"));
        assert_eq!(tagged(&address, "app", "1").unwrap(), layout.get(&root));
        assert_eq!(
            tagged(&address, "app", &tag).unwrap(),
            layout.get(&signature)
        );
        assert_holds(&address, "app", layout);
    }
}

#[test]
fn unnamed_image_is_found_among_its_referrers() {
    let mut signed = SignedImage::new();
    for one in [&signed.sbom, &signed.root, &signed.of_sbom] {
        signed.layout.list(one, None);
    }
    let destination = Standin::start();
    push(
        &signed.layout,
        &format!("{}/app:1", destination.plain_address()),
    )
    .set("referrers", "false")
    .succeeds();
    let there = tagged(&destination.plain_address(), "app", "1").unwrap();
    assert_eq!(there, signed.layout.get(&signed.root));
    let sbom = images::digest(&signed.sbom);
    assert_eq!(destination.manifest(PLAIN, "app", sbom.as_str()), None);
}

#[test]
fn incomplete_referrers_are_skipped_and_reported() {
    let mut signed = SignedImage::new();
    signed.layout.list(&signed.root, Some("1"));
    signed.layout.list(&signed.sbom, None);
    let sbom: Value = serde_json::from_slice(signed.layout.get(&signed.sbom)).unwrap();
    signed.layout.remove_blob(&sbom["layers"][0]);
    let destination = Standin::start();
    let outcome = push(
        &signed.layout,
        &format!("{}/app:1", destination.plain_address()),
    )
    .succeeds();
    let note = format!(
        "note: {}, which refers to {}, is incomplete",
        images::digest(&signed.sbom),
        images::digest(&signed.root)
    );
    assert!(outcome.stdout.contains(&note), "{}", outcome.stdout);
}

#[test]
fn docker_archive_without_signatures_is_not_compressed() {
    let destination = Standin::start();
    let archive = images::classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    let outcome = Run::new()
        .file("image.tar", archive)
        .set("image", "image.tar")
        .set("tags", format!("{}/app:1", destination.plain_address()))
        .set("referrers", "true")
        .fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not read the image
      caused by: `image.tar` contains nothing that refers to an image, because Docker does not save it

    hint: with `referrers: true`, use a source that can have signatures: `docker://NAME`, `oci:DIR` or `oci-archive:FILE`
    ");
    assert!(!outcome.stderr.contains("compressed"), "{}", outcome.stderr);
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::UploadStart).len(),
        0
    );
}
