//! Indexes with missing, selected or stripped children.

use gcr_push::image::Tree;
use gcr_push::oci::manifest::AnyManifest;
use insta::assert_snapshot;
use serde_json::Value;

use super::{LayoutDirectory, tree};
use crate::support::images::{LayerCompression, Layout, TestImage, digest, docker29_layout};

/// An index of three platforms with an attestation each, and its children.
fn three_platforms() -> (Layout, Value, Vec<Value>) {
    let mut layout = Layout::default();
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64", "s390x"] {
        let manifest = layout.image(
            &TestImage::on(architecture, "app", 1),
            LayerCompression::Gzip,
        );
        children.push(manifest.clone());
        children.push(layout.attestation(&manifest));
    }
    let index = layout.index(&children);
    layout.list(&index, Some("v1"));
    (layout, index, children)
}

fn open(layout: &Layout) -> Tree {
    let source = LayoutDirectory::of(layout).open(None).unwrap();
    tree(&source).clone()
}

fn children(tree: &Tree) -> Vec<Value> {
    let document: Value = serde_json::from_slice(tree.root.bytes()).unwrap();
    document["manifests"].as_array().unwrap().clone()
}

#[test]
fn complete_index_is_kept_byte_for_byte() {
    let (layout, index, _) = three_platforms();
    let part = open(&layout).available();
    assert!(part.rewritten.is_none());
    assert_eq!(part.tree.root.bytes(), layout.get(&index));
    assert_eq!(part.tree.children.len(), 6);
}

#[test]
fn one_platform_with_attestation_is_an_index_of_both() {
    let (mut layout, index, there) = docker29_layout(&TestImage::new("app", 2), "app", "v1");
    let tree_there = open(&layout);
    let part = tree_there.available();
    let smaller = part.rewritten.unwrap();
    assert_eq!(smaller.from, digest(&index));
    assert_eq!(&smaller.to, part.tree.root.digest());
    assert_eq!(part.tree.root.media_type(), tree_there.root.media_type());
    let error = smaller
        .to_string()
        .replace(smaller.from.hex(), "FROM")
        .replace(smaller.to.hex(), "TO");
    assert_snapshot!(error, @"the index sha256:FROM became sha256:TO with linux/amd64; left out: linux/arm64");
    let left = children(&part.tree);
    assert_eq!(left[0], there);
    assert_eq!(
        left[1]["annotations"]["vnd.docker.reference.digest"],
        there["digest"]
    );
    assert_eq!(left.len(), 2);
    let document: Value = serde_json::from_slice(part.tree.root.bytes()).unwrap();
    assert_eq!(document["annotations"]["kept"], "as it is");

    // Without the attestation it is the manifest itself.
    layout.remove_blob(&left[1]);
    let part = open(&layout).available();
    assert_eq!(part.tree.root.bytes(), layout.get(&there));
    assert!(matches!(part.tree.root, AnyManifest::Manifest(_)));
    assert!(part.tree.children.is_empty());
    assert!(part.tree.missing.is_empty());
}

#[test]
fn incomplete_platform_is_missing_with_its_attestation() {
    let (mut layout, _, all) = three_platforms();
    let manifest: Value = serde_json::from_slice(layout.get(&all[2])).unwrap();
    layout.remove_blob(&manifest["layers"][0]);
    let tree = open(&layout);
    assert_eq!(tree.missing.len(), 1);
    let part = tree.available();
    let left = children(&part.tree);
    assert_eq!(
        left,
        [
            all[0].clone(),
            all[1].clone(),
            all[4].clone(),
            all[5].clone()
        ]
    );
    assert_eq!(part.rewritten.unwrap().kept, ["linux/amd64", "linux/s390x"]);
    assert_eq!(part.tree.children.len(), 4);
}

#[test]
fn platforms_are_kept_and_attestations_stripped() {
    let (layout, _, all) = three_platforms();
    let tree = open(&layout);
    let is = |architecture: &'static str| {
        move |child: &gcr_push::oci::manifest::Descriptor| {
            let platform = child.platform.as_ref().unwrap();
            child.is_attestation() || platform.architecture == architecture
        }
    };
    let part = tree.filter(is("arm64")).unwrap();
    assert_eq!(children(&part.tree), all[2..4]);
    let part = tree.filter(|child| !child.is_attestation()).unwrap();
    assert_eq!(children(&part.tree).len(), 3);
    let part = tree
        .filter(|child| is("arm64")(child) && !child.is_attestation())
        .unwrap();
    assert_eq!(part.tree.root.digest(), &digest(&all[2]));
    assert!(tree.filter(is("riscv64")).is_none());
}

#[test]
fn nested_index_is_filtered_within_its_parent() {
    let mut layout = Layout::default();
    let images: Vec<Value> = ["amd64", "arm64", "s390x"]
        .map(|architecture| {
            layout.image(
                &TestImage::on(architecture, "app", 1),
                LayerCompression::Gzip,
            )
        })
        .to_vec();
    let inner = layout.index(&images);
    let outer = layout.index(&[inner.clone(), inner, images[0].clone()]);
    layout.list(&outer, None);
    layout.remove_blob(&images[2]);
    let part = open(&layout).available();
    let left = children(&part.tree);
    assert_eq!(left.len(), 3);
    assert_eq!(left[0], left[1]);
    let AnyManifest::Index(inner) = &part.tree.children[&digest(&left[0])] else {
        panic!("an index");
    };
    assert_eq!(inner.bytes.len() as u64, left[0]["size"].as_u64().unwrap());
    assert_eq!(inner.manifests.len(), 2);
    assert_eq!(part.tree.children.len(), 3);

    layout.remove_blob(&images[1]);
    let part = open(&layout).available();
    assert_eq!(part.tree.root.digest(), &digest(&images[0]));
}

#[test]
fn index_without_any_platform_is_refused() {
    let (mut layout, _, all) = three_platforms();
    for platform in [0, 2, 4] {
        layout.remove_blob(&all[platform]);
    }
    let directory = LayoutDirectory::of(&layout);
    let error = directory.error_text(directory.open(None));
    assert_snapshot!(error.replace(open_digest(&layout).as_str(), "DIGEST"), @r"
    error: `app` contains none of the platforms of its index DIGEST: linux/amd64, linux/arm64, linux/s390x

    hint: save it on a machine that has the platform: `docker save --platform linux/amd64 …`
    exit code 1
    ");
}

fn open_digest(layout: &Layout) -> gcr_push::oci::digest::Digest {
    digest(&layout.listed[0])
}
