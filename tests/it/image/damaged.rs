//! Truncated, changed and random archives: an error or an image, never a panic, never half an
//! image.

use gcr_push::image::{Content, LayerFormat, Source};
use gcr_push::oci::manifest::AnyManifest;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Archive, read};
use crate::support::images::{
    LayerCompression, Layout, TarFile, TestImage, classic_archive, docker25_archive,
    docker29_layout,
};

/// One archive of each kind.
fn archives() -> Vec<Vec<u8>> {
    let (one, two) = (TestImage::new("one", 2), TestImage::new("two", 1));
    let mut layout = Layout::default();
    let manifest = layout.image(&one, LayerCompression::Gzip);
    layout.list(&manifest, Some("v1"));
    vec![
        classic_archive(&[(&one, &["one:v1"])]),
        docker25_archive(&[(&one, &["one:v1"])]),
        docker29_layout(&two, "two", "v1").0.archive(),
        layout.archive(),
    ]
}

/// Reads every blob that an image names.
fn read_all(source: &Source) {
    let digests: Vec<_> = match &source.image().content {
        Content::Uncompressed(image) => image
            .layers
            .iter()
            .filter(|layer| !matches!(layer.format, LayerFormat::Foreign(_)))
            .map(|layer| layer.diff_id.clone())
            .collect(),
        Content::Manifests(tree) => std::iter::once(&tree.root)
            .chain(tree.children.values())
            .filter_map(|manifest| match manifest {
                AnyManifest::Manifest(manifest) => Some(manifest.blobs()),
                AnyManifest::Index(_) => None,
            })
            .flatten()
            .map(|blob| blob.digest.clone())
            .collect(),
    };
    for digest in digests {
        let bytes = read(source, &digest, 0);
        assert_eq!(bytes.len() as u64, source.blob_size(&digest).unwrap());
    }
}

/// A description of an image, without the path it was read from.
fn what_it_is(source: &Source) -> String {
    match &source.image().content {
        Content::Uncompressed(image) => format!("{image:?}"),
        Content::Manifests(tree) => format!("{} {:?}", tree.root.digest(), tree.missing),
    }
}

#[test]
fn truncated_archive_opens_whole_or_not_at_all() {
    for archive in archives() {
        let whole = what_it_is(&Archive::of(&archive).open().unwrap());
        let blocks = archive.len() / 512;
        for cut in (0..blocks).flat_map(|block| [0, 1, 100, 511].map(|more| block * 512 + more)) {
            if let Ok(source) = Archive::of(&archive[..cut]).open() {
                // Only part of the end mark may be missing.
                assert!(cut > archive.len() - 1024, "{cut} of {}", archive.len());
                assert_eq!(what_it_is(&source), whole);
                read_all(&source);
            }
        }
    }
}

/// JSON built from the keys of the documents, in the wrong places.
fn document() -> impl Strategy<Value = Value> {
    let digest = TestImage::new("one", 1).id().to_string();
    let word = prop::sample::select(vec![
        json!(null),
        json!(-1),
        json!(u64::MAX),
        json!(""),
        json!("manifest.json"),
        json!("../x"),
        json!("blobs/sha256/x"),
        json!("application/vnd.oci.image.index.v1+json"),
        json!("application/vnd.oci.image.manifest.v1+json"),
        json!(digest),
        json!("sha256:x"),
    ]);
    let key = prop::sample::select(vec![
        "Config",
        "Layers",
        "RepoTags",
        "LayerSources",
        "manifests",
        "mediaType",
        "digest",
        "size",
        "annotations",
        "platform",
        "config",
        "layers",
        "rootfs",
        "diff_ids",
        "schemaVersion",
    ]);
    word.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_bytes_are_an_error_or_an_image(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = archives().swap_remove(which);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(source) = Archive::of(&bytes).open() {
            read_all(&source);
        }
    }

    #[test]
    fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Archive::of(&bytes).open().is_err());
    }

    #[test]
    fn random_documents_are_an_error_or_an_image(
        docker in document(), index in document(), blob in document(),
    ) {
        let blob = blob.to_string();
        let digest = gcr_push::oci::digest::Digest::of(blob.as_bytes());
        let named = json!({"mediaType": "", "digest": digest, "size": blob.len()});
        let config = format!("blobs/sha256/{}", digest.hex());
        for (docker, index) in [
            (docker.clone(), index.clone()),
            (docker.clone(), json!({"manifests": [named]})),
            (json!([{"Config": config, "Layers": [docker]}]), index),
        ] {
            let tar = TarFile::new()
                .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
                .file("index.json", index.to_string().as_bytes())
                .file("manifest.json", docker.to_string().as_bytes())
                .file(&config, blob.as_bytes());
            let archive = Archive::of(&tar.finish());
            for source in [archive.open(), archive.oci(None)].into_iter().flatten() {
                read_all(&source);
            }
        }
    }
}
