//! OCI layouts, as directories and as archives.

use gcr_push::image::location::ImageSource;
use gcr_push::oci::manifest::AnyManifest;
use insta::{allow_duplicates, assert_snapshot};
use serde_json::json;

use super::{Archive, LayoutDirectory, open, read, run, tree};
use crate::support::images::{
    LayerCompression, Layout, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, TestImage, digest,
};

#[test]
fn only_image_of_a_layout_is_read_byte_for_byte() {
    let test_image = TestImage::new("app", 2);
    let mut layout = Layout::default();
    let manifest = layout.image(&test_image, LayerCompression::Gzip);
    layout.list(&manifest, Some("v1"));
    let directory = LayoutDirectory::of(&layout);
    let archive = Archive::of(&layout.archive());
    for source in [
        directory.open(None).unwrap(),
        directory.open(Some("v1")).unwrap(),
        directory.open(Some(digest(&manifest).as_str())).unwrap(),
        open(ImageSource::Path(directory.path())).unwrap(),
        archive.open().unwrap(),
        archive.oci(None).unwrap(),
        archive.docker(None).unwrap(),
    ] {
        assert_eq!(source.image().names, [":v1"]);
        let AnyManifest::Manifest(root) = &tree(&source).root else {
            panic!("a manifest");
        };
        assert_eq!(root.bytes, layout.get(&manifest));
        assert_eq!(root.blobs().len(), 3);
        for blob in root.blobs() {
            let bytes = &layout.blobs[&blob.digest];
            assert_eq!(&read(&source, &blob.digest, 0), bytes);
            assert_eq!(read(&source, &blob.digest, 9), bytes[9..]);
            assert_eq!(run(source.hash(&blob.digest)).unwrap(), blob.digest);
        }
    }
}

#[test]
fn uncompressed_layout_is_unchanged() {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Tar);
    layout.list(&manifest, None);
    for source in [
        Archive::of(&layout.archive()).open().unwrap(),
        Archive::of(&layout.archive()).docker(None).unwrap(),
    ] {
        assert_eq!(tree(&source).root.bytes(), layout.get(&manifest));
    }
}

#[test]
fn one_image_with_many_names_needs_no_choice() {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("v1"));
    layout.list(&manifest, Some("latest"));
    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    assert_eq!(source.image().names, [":v1", ":latest"]);
}

#[test]
fn named_image_is_chosen_else_all_are_listed() {
    let mut layout = Layout::default();
    let one = layout.image(&TestImage::new("one", 1), LayerCompression::Gzip);
    let two = layout.image(&TestImage::new("two", 1), LayerCompression::Gzip);
    let nameless = layout.image(&TestImage::new("three", 1), LayerCompression::Gzip);
    layout.list(&one, Some("v1"));
    layout.list_for_docker(&two, "two", "v2");
    layout.list(&nameless, None);
    let directory = LayoutDirectory::of(&layout);
    for (reference, manifest) in [
        ("v1", &one),
        ("v2", &two),
        ("two:v2", &two),
        ("docker.io/library/two:v2", &two),
        (digest(&nameless).as_str(), &nameless),
    ] {
        let source = directory.open(Some(reference)).unwrap();
        assert_eq!(
            tree(&source).root.digest(),
            &digest(manifest),
            "{reference}"
        );
    }
    assert_snapshot!(directory.error_text(directory.open(None)), @r"
    error: `app` contains 2 images, and `image` does not say which

    hint: write `oci:app:REF`, where REF is one of `v1` (linux/amd64), `docker.io/library/two:v2` (linux/amd64)
    exit code 2
    ");
    assert_snapshot!(directory.error_text(directory.open(Some("v3"))), @r"
    error: `app` does not contain the image `v3`

    hint: it contains `v1` (linux/amd64), `docker.io/library/two:v2` (linux/amd64), `sha256:62b874f75b2c5caa64b452a0953f23e7783c0bf2b120e7ddcc06dd3f9eb3070a` (linux/amd64)
    exit code 2
    ");
}

#[test]
fn named_image_is_chosen_among_nameless_referrers() {
    let mut layout = Layout::default();
    let image = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    let signature = layout.image(&TestImage::new("signature", 1), LayerCompression::Gzip);
    layout.list(&signature, None);
    layout.list(&image, Some("v1"));
    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    assert_eq!(tree(&source).root.digest(), &digest(&image));
}

#[test]
fn flat_platform_list_is_one_image_only_on_request() {
    let mut layout = Layout::default();
    for architecture in ["amd64", "arm64"] {
        let manifest = layout.image(
            &TestImage::on(architecture, "app", 1),
            LayerCompression::Gzip,
        );
        layout.list(&manifest, None);
    }
    let directory = LayoutDirectory::of(&layout);
    assert_snapshot!(directory.error_text(directory.open(None)), @r"
    error: `app` contains 2 images, and `image` does not say which

    hint: write `oci:app:REF`, where REF is one of `sha256:a5aa33d7a1c13e8524a88501ac8c618b4b3a697f6428d613008d41f0c47ea920` (linux/amd64), `sha256:f7f647056eb93f8c198f43e3cdea17339d7e07ccb77376b8c9f7ef767e7c0e5e` (linux/arm64), `index.json` (all as one multi-platform image)
    exit code 2
    ");
    let source = directory.open(Some("index.json")).unwrap();
    assert_eq!(tree(&source).root.bytes(), &layout.files()["index.json"]);
    assert_eq!(tree(&source).children.len(), 2);
}

#[test]
fn images_of_one_name_are_chosen_by_digest_or_position() {
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 1), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 1), LayerCompression::Gzip);
    layout.list(&amd64, Some("v1"));
    layout.list(&arm64, Some("v1"));
    let directory = LayoutDirectory::of(&layout);
    let hide = |text: String| {
        let text = text.replace(digest(&amd64).hex(), "AMD64");
        text.replace(digest(&arm64).hex(), "ARM64")
    };
    assert_snapshot!(hide(directory.error_text(directory.open(Some("v1")))), @r"
    error: `app` contains 2 images under `v1`, and `image` does not say which

    hint: write `oci:app:REF`, where REF is one of `@sha256:AMD64` (linux/amd64), `@sha256:ARM64` (linux/arm64)
    exit code 2
    ");
    assert_snapshot!(hide(directory.error_text(directory.open(None))), @r"
    error: `app` contains 2 images, and `image` does not say which

    hint: write `oci:app:REF`, where REF is one of `@sha256:AMD64` (linux/amd64), `@sha256:ARM64` (linux/arm64)
    exit code 2
    ");
    let by_digest = format!("@{}", digest(&arm64));
    for (reference, image) in [(by_digest.as_str(), &arm64), ("@0", &amd64), ("@1", &arm64)] {
        let source = directory.open(Some(reference)).unwrap();
        assert_eq!(tree(&source).root.digest(), &digest(image), "{reference}");
    }
    for wrong in ["@2", "@", "@-1", "@+1", "@v1"] {
        assert!(directory.open(Some(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn unreadable_entries_do_not_block_the_others() {
    let mut layout = Layout::default();
    let image = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    let other = layout.blob("application/vnd.example.thing+json", b"{}".to_vec());
    let mut sha512 = image.clone();
    sha512["digest"] = format!("sha512:{}", "0".repeat(128)).into();
    layout.list(&other, None);
    layout.list(&image, None);
    layout.list(&sha512, Some("strong"));
    let directory = LayoutDirectory::of(&layout);
    let source = directory.open(None).unwrap();
    assert_eq!(tree(&source).root.digest(), &digest(&image));
    for reference in ["strong", "@2"] {
        allow_duplicates! {
        assert_snapshot!(directory.error_text(directory.open(Some(reference))), @r"
        error: `app` uses sha512 for the digest of its image `strong`, and only sha256 is supported

        hint: write the layout with sha256 digests, which every registry accepts
        exit code 1
        ");
        }
    }
}

#[test]
fn nested_indexes_are_read_to_their_leaves() {
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 1), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 1), LayerCompression::Gzip);
    let inner = layout.index(&[amd64.clone(), arm64]);
    let outer = layout.index(&[inner, amd64]);
    layout.list(&outer, Some("v1"));
    let source = Archive::of(&layout.archive()).oci(None).unwrap();
    assert_eq!(tree(&source).root.bytes(), layout.get(&outer));
    assert_eq!(tree(&source).children.len(), 3);
    assert!(tree(&source).missing.is_empty());
    assert!(tree(&source).available().rewritten.is_none());
}

#[test]
fn artifact_that_is_no_image_is_unchanged() {
    let mut layout = Layout::default();
    let config = layout.blob("application/vnd.cncf.helm.config.v1+json", b"{}".to_vec());
    let chart = layout.blob(
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        b"x".to_vec(),
    );
    let manifest = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [chart],
    }));
    layout.list(&manifest, Some("1.0.0"));
    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    assert_eq!(tree(&source).root.bytes(), layout.get(&manifest));
}

#[test]
fn zstd_foreign_and_docker_layers_are_accepted() {
    let mut layout = Layout::default();
    let config = layout.blob(
        "application/vnd.docker.container.image.v1+json",
        b"{}".to_vec(),
    );
    let zstd = layout.blob(&format!("{OCI_LAYER}+zstd"), b"zstd".to_vec());
    let docker = layout.blob(
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        b"gzip".to_vec(),
    );
    let foreign = layout.blob(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        b"foreign".to_vec(),
    );
    layout.remove_blob(&foreign);
    let manifest = layout.manifest(json!({
        "schemaVersion": 2, "config": config, "layers": [zstd, docker, foreign],
    }));
    layout.list(&manifest, None);
    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    assert_eq!(source.blob_size(&digest(&zstd)), Some(4));
    assert_eq!(source.blob_size(&digest(&foreign)), None);
}

#[test]
fn readers_of_one_archive_are_independent() {
    use futures_util::{StreamExt as _, TryStreamExt as _};

    let layer: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let test_image = TestImage::of("amd64", vec![layer.clone()]);
    let mut layout = Layout::default();
    let manifest = layout.image(&test_image, LayerCompression::Tar);
    layout.list(&manifest, None);
    let (directory, archive) = (LayoutDirectory::of(&layout), Archive::of(&layout.archive()));
    for source in [directory.open(None).unwrap(), archive.open().unwrap()] {
        let digest = &test_image.diff_ids()[0];
        run(async {
            let mut first = source.open_blob(digest, 0).await.unwrap();
            let start = first.next().await.unwrap().unwrap();
            let others = (1..8_u64).map(|n| {
                let source = source.clone();
                async move {
                    let stream = source.open_blob(digest, n * 1_000_003).await.unwrap();
                    let pieces: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
                    pieces.concat()
                }
            });
            let others = futures_util::future::join_all(others).await;
            for (n, bytes) in (1..).zip(others) {
                assert!(bytes == layer[n * 1_000_003..], "{n}");
            }
            let rest: Vec<bytes::Bytes> = first.try_collect().await.unwrap();
            assert!([start, rest.concat().into()].concat() == layer);
        });
    }
}

#[test]
fn inner_link_is_followed_and_outer_link_refused() {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, None);
    let directory = LayoutDirectory::of(&layout);
    let blob = directory
        .path()
        .join(format!("blobs/sha256/{}", digest(&manifest).hex()));
    let inside = directory.path().join("elsewhere");
    std::fs::rename(&blob, &inside).unwrap();
    std::os::unix::fs::symlink("../../elsewhere", &blob).unwrap();
    directory.open(None).unwrap();

    let outside = directory.folder.path().join("outside");
    std::fs::rename(&inside, &outside).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    let error = directory.error_text(directory.open(None));
    let error = error.replace(digest(&manifest).hex(), "HEX");
    assert_snapshot!(error, @r"
    error: `app` is refused: its `blobs/sha256/HEX` is a link out of it, to `outside`

    hint: copy the layout with `cp -RL`, which follows its links, and use the copy
    exit code 1
    ");
}

#[test]
fn pipe_in_place_of_a_blob_is_refused() {
    let mut layout = Layout::default();
    let config = layout.blob(OCI_CONFIG, b"{}".to_vec());
    let manifest = layout.manifest(json!({"schemaVersion": 2, "config": config, "layers": []}));
    layout.list(&manifest, None);
    let directory = LayoutDirectory::of(&layout);
    let blob = directory
        .path()
        .join(format!("blobs/sha256/{}", digest(&config).hex()));
    std::fs::remove_file(&blob).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&blob).status();
    assert!(made.unwrap().success());
    let error = directory.error_text(directory.open(None));
    assert_snapshot!(error.replace(digest(&config).hex(), "HEX"), @r"
    error: `blobs/sha256/HEX` of `app` is not a regular file
    exit code 1
    ");
}
