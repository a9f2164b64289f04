//! Invalid documents and blobs.

use std::fs;

use gcr_push::oci::digest::Digest;
use insta::assert_snapshot;
use serde_json::json;

use super::{Archive, LayoutDirectory, run};
use crate::support::images::{
    LayerCompression, Layout, OCI_CONFIG, TarFile, TestImage, digest, docker25_archive,
};

#[test]
fn unfitting_config_is_reported() {
    let test_image = TestImage::new("app", 2);
    let entries = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": null, "Layers": layers}])
            .to_string()
            .into_bytes()
    };
    let archive = |config: &str, bytes: &[u8], layers: &[&str]| {
        let tar = TarFile::new()
            .file(config, bytes)
            .file("0.tar", &test_image.layers[0])
            .file("1.tar", b"\xfd7zXZ\0 and more")
            .file("manifest.json", &entries(config, layers));
        let archive = Archive::of(&tar.finish());
        archive
            .error_text(archive.open())
            .replace(test_image.id().hex(), "HEX")
    };
    assert_snapshot!(archive("c.json", &test_image.config, &["0.tar"]), @r"
    error: `app.tar` names 1 layer for an image whose config has 2 diff IDs
    exit code 1
    ");
    assert_snapshot!(archive("c.json", &test_image.config, &["0.tar", "1.tar"]), @r"
    error: the layer `1.tar` of `app.tar` is compressed with xz, which is not allowed in an image

    hint: create the image again with gzip, zstd or uncompressed layers
    exit code 1
    ");
    assert_snapshot!(archive("c.json", b"{\"rootfs\":{\"diff_ids\":[\"sha512:x\"]}}", &[]), @r"
    error: could not parse `c.json` of `app.tar`
      caused by: the digest algorithm `sha512` is not supported, only `sha256`
    exit code 1
    ");
    assert_snapshot!(archive("c.json", b"{}", &[]), @r"
    error: could not parse `c.json` of `app.tar`
      caused by: missing field `rootfs`
    exit code 1
    ");
}

#[test]
fn invalid_oversized_or_unknown_documents_are_reported() {
    let large = vec![b' '; 5 << 20];
    let version = br#"{"imageLayoutVersion":"2.0.0"}"#;
    let all: Vec<String> = [
        TarFile::new().file("manifest.json", b"[{]"),
        TarFile::new().file("manifest.json", b"[]"),
        TarFile::new().file("manifest.json", b"null"),
        TarFile::new().file("manifest.json", &large),
        TarFile::new().file("oci-layout", version),
        TarFile::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ]
    .map(|tar| {
        let archive = Archive::of(&tar.finish());
        archive.error_text(archive.open())
    })
    .to_vec();
    assert_snapshot!(all.join("\n\n"), @r"
    error: could not parse `manifest.json` of `app.tar`
      caused by: key must be a string at line 1 column 3
    exit code 1

    error: `app.tar` does not list an image
    exit code 1

    error: `app.tar` does not list an image
    exit code 1

    error: `manifest.json` of `app.tar` has 5242880 bytes, more than the limit of 4194304
    exit code 1

    error: `app.tar` is an OCI layout of version `2.0.0`, and only 1.0.0 is supported
    exit code 1

    error: `app.tar` does not contain `index.json`, which every OCI layout has

    hint: create the archive again, with all its layers
    exit code 1
    ");
}

#[test]
fn blobs_unlike_their_digest_or_size_are_reported() {
    let test_image = TestImage::new("app", 1);
    let mut layout = Layout::default();
    let manifest = layout.image(&test_image, LayerCompression::Gzip);
    layout.list(&manifest, Some("v1"));
    let config = test_image.id();
    let hide = |text: String, digest: &Digest| text.replace(digest.hex(), "HEX");

    let mut damaged = layout.clone();
    let bytes = damaged.blobs.get_mut(&digest(&manifest)).unwrap();
    *bytes = bytes.to_ascii_uppercase();
    let actual = Digest::of(bytes);
    let directory = LayoutDirectory::of(&damaged);
    let text = directory
        .error_text(directory.open(None))
        .replace(actual.hex(), "ACTUAL");
    assert_snapshot!(hide(text, &digest(&manifest)), @r"
    error: `blobs/sha256/HEX` of `app` is damaged: its digest is sha256:ACTUAL and should be sha256:HEX

    hint: write the layout again, or copy it again: its bytes were changed
    exit code 1
    ");

    let mut short = layout.clone();
    short.blobs.get_mut(&config).unwrap().pop();
    let archive = Archive::of(&short.archive());
    assert_snapshot!(hide(archive.error_text(archive.open()), &config), @r"
    error: `blobs/sha256/HEX` of `app.tar` is damaged: it has 181 bytes and should have 182

    hint: create the archive again, or download it again: its bytes were changed
    exit code 1
    ");

    let mut lost = layout.clone();
    lost.blobs.remove(&config);
    let archive = Archive::of(&lost.archive());
    let text = hide(archive.error_text(archive.open()), &config);
    assert_snapshot!(text.replace(digest(&manifest).hex(), "MANIFEST"), @r"
    error: `app.tar` does not contain `blobs/sha256/HEX`, which the manifest sha256:MANIFEST names

    hint: create the archive again, with all its layers
    exit code 1
    ");

    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    let error = run(source.open_blob(&config, 1 << 30)).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("or less than 1073741824 bytes of it")
    );
}

#[test]
fn schema_1_and_index_of_layers_are_refused_with_advice() {
    let mut layout = Layout::default();
    let old = layout.manifest(json!({"schemaVersion": 1, "name": "app", "fsLayers": []}));
    layout.list(&old, None);
    let directory = LayoutDirectory::of(&layout);
    let text = directory.error_text(directory.open(None));
    assert_snapshot!(text.replace(digest(&old).hex(), "HEX"), @r"
    error: cannot push the manifest sha256:HEX of `app`
      caused by: it is a Docker schema 1 manifest, which Google's registries no longer accept

    hint: pull the image with a current Docker, or copy it with `skopeo copy --format v2s2`, and save it again
    exit code 1
    ");

    // The cache format of BuildKit.
    let mut layout = Layout::default();
    let cache = layout.blob(OCI_CONFIG, b"{\"layers\":[]}".to_vec());
    let index = layout.index(std::slice::from_ref(&cache));
    layout.list(&index, None);
    let directory = LayoutDirectory::of(&layout);
    let text = directory.error_text(directory.open(None));
    assert_snapshot!(text.replace(digest(&cache).hex(), "HEX"), @r"
    error: cannot push the manifest sha256:HEX of `app`
      caused by: it is neither an image manifest nor an index: it has neither `config` nor `manifests`

    hint: if it is a build cache (`--cache-to`), export the image itself: `docker buildx build --output type=oci,dest=…`
    exit code 1
    ");
}

#[test]
fn file_changed_while_read_is_an_error() {
    use futures_util::TryStreamExt as _;

    let test_image = TestImage::new("app", 2);
    let archive = Archive::of(&docker25_archive(&[(&test_image, &["app:v1"])]));
    let source = archive.open().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(archive.path())
        .unwrap()
        .set_len(600)
        .unwrap();
    let error = run(async {
        let stream = source
            .open_blob(&test_image.diff_ids()[1], 0)
            .await
            .unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "the file became shorter while it was read"
    );
}
