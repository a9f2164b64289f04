//! Docker archives of every version.

use gcr_push::image::LayerFormat;
use gcr_push::oci::digest::Digest;
use insta::{allow_duplicates, assert_snapshot};
use serde_json::json;
use tar::EntryType;

use super::{Archive, read, tree, unpacked};
use crate::support::images::{
    LayerCompression, Layout, TarFile, TestImage, classic_archive, digest, docker25_archive,
    docker29_layout, gzip,
};

#[test]
fn classic_archive_is_read_in_place() {
    let test_image = TestImage::new("app", 3);
    let archive = Archive::of(&classic_archive(&[(&test_image, &["app:v1", "app:v2"])]));
    let source = archive.open().unwrap();
    assert_eq!(source.image().names, ["app:v1", "app:v2"]);
    let image = unpacked(&source);
    assert_eq!(image.config, test_image.config);
    assert!(image.manifest.is_none());
    let diff_ids: Vec<Digest> = image.layers.iter().map(|l| l.diff_id.clone()).collect();
    assert_eq!(diff_ids, test_image.diff_ids());
    for (layer, bytes) in image.layers.iter().zip(&test_image.layers) {
        assert_eq!(layer.format, LayerFormat::Tar);
        assert_eq!(layer.size, bytes.len() as u64);
        assert_eq!(&read(&source, &layer.diff_id, 0), bytes);
        assert_eq!(read(&source, &layer.diff_id, 700), bytes[700..]);
        assert_eq!(source.blob_size(&layer.diff_id), Some(layer.size));
        assert_eq!(read(&source, &layer.diff_id, layer.size), b"");
    }
    assert_eq!(read(&source, &test_image.id(), 0), test_image.config);
}

#[test]
fn linked_layers_are_followed() {
    let one = TestImage::new("one", 2);
    let two = TestImage::of("amd64", one.layers.clone());
    let mut two = two;
    two.config.push(b'\n');
    let archive = Archive::of(&classic_archive(&[
        (&one, &["one:latest"]),
        (&two, &["two:latest"]),
    ]));
    let source = archive.docker(Some("two")).unwrap();
    assert_eq!(unpacked(&source).config, two.config);
    assert_eq!(read(&source, &one.diff_ids()[1], 0), one.layers[1]);

    let layer = &one.layers[0];
    let config = TestImage::of("amd64", vec![layer.clone()]).config;
    let entries = r#"[{"Config":"c.json","RepoTags":null,"Layers":["b/layer.tar"]}]"#;
    let linked = TarFile::new()
        .file("./a/layer.tar", layer)
        .hard_link("b/layer.tar", "a/layer.tar")
        .file("c.json", &config)
        .file("manifest.json", entries.as_bytes());
    let source = Archive::of(&linked.finish()).open().unwrap();
    assert_eq!(&read(&source, &Digest::of(layer), 0), layer);
}

#[test]
fn image_is_chosen_by_any_name_or_id() {
    let (one, two) = (TestImage::new("one", 1), TestImage::new("two", 1));
    for bytes in [
        classic_archive(&[
            (&one, &["one:v1", "gcr.io/p/one:v1"]),
            (&two, &["two:latest"]),
        ]),
        docker25_archive(&[
            (&one, &["one:v1", "gcr.io/p/one:v1"]),
            (&two, &["two:latest"]),
        ]),
    ] {
        let archive = Archive::of(&bytes);
        for (reference, test_image) in [
            ("one:v1", &one),
            ("docker.io/library/one:v1", &one),
            ("gcr.io/p/one:v1", &one),
            ("two", &two),
            (two.id().as_str(), &two),
            (&two.id().hex()[..12], &two),
            (&two.id().as_str()[..19], &two),
            ("@0", &one),
            ("@1", &two),
        ] {
            let source = archive.docker(Some(reference)).unwrap();
            assert_eq!(unpacked(&source).config, test_image.config, "{reference}");
        }
        allow_duplicates! {
        assert_snapshot!(archive.error_text(archive.docker(None)), @r"
        error: `app.tar` contains 2 images, and `image` does not say which

        hint: write `docker-archive:app.tar:REF`, where REF is one of `one:v1` or `gcr.io/p/one:v1`, `two:latest`
        exit code 2
        ");
        assert_snapshot!(archive.error_text(archive.docker(Some("two:v2"))), @r"
        error: `app.tar` does not contain the image `two:v2`

        hint: it contains `one:v1` or `gcr.io/p/one:v1`, `two:latest`
        exit code 2
        ");
        }
    }
}

#[test]
fn images_of_one_name_are_chosen_by_id() {
    let (one, two) = (TestImage::new("one", 1), TestImage::new("two", 1));
    let archive = Archive::of(&classic_archive(&[(&one, &["app:1"]), (&two, &["app:1"])]));
    let error = archive.error_text(archive.docker(Some("app:1")));
    let error = error
        .replace(one.id().hex(), "ONE")
        .replace(two.id().hex(), "TWO");
    assert_snapshot!(error, @r"
    error: `app.tar` contains 2 images under `app:1`, and `image` does not say which

    hint: write `docker-archive:app.tar:REF`, where REF is one of `@sha256:ONE`, `@sha256:TWO`
    exit code 2
    ");
    let source = archive.docker(Some(&format!("@{}", two.id()))).unwrap();
    assert_eq!(unpacked(&source).config, two.config);
}

#[test]
fn docker_25_archive_is_read() {
    let test_image = TestImage::new("app", 2);
    let archive = Archive::of(&docker25_archive(&[(&test_image, &["app:v1", "app:v2"])]));
    let source = archive.open().unwrap();
    assert_eq!(source.image().names, ["app:v1", "app:v2"]);
    let image = unpacked(&source);
    let manifest = image.manifest.as_ref().unwrap();
    assert_eq!(manifest.config.digest, test_image.id());
    assert_eq!(manifest.digest, Digest::of(&manifest.bytes));
    for layer in &manifest.layers {
        assert_eq!(read(&source, &layer.digest, 0).len() as u64, layer.size);
    }

    // `oci-archive:` reads the layout only.
    let source = archive.oci(Some("v2")).unwrap();
    assert_eq!(tree(&source).root.digest(), &manifest.digest);
}

#[test]
fn docker_25_0_manifest_without_layers_is_not_trusted() {
    let test_image = TestImage::new("app", 2);
    let mut layout = Layout::default();
    let whole = layout.image(&test_image, LayerCompression::Tar);
    layout.docker_entry(&whole, &["app:v1"]);
    layout.remove_blob(&whole);
    let config = layout.blob(
        "application/vnd.oci.image.config.v1+json",
        test_image.config.clone(),
    );
    let empty = layout.manifest(json!({"schemaVersion": 2, "config": config, "layers": null}));
    layout.list_for_docker(&empty, "app", "v1");
    let source = Archive::of(&layout.archive()).open().unwrap();
    assert_eq!(unpacked(&source).layers.len(), 2);
    assert!(unpacked(&source).manifest.is_none());
}

#[test]
fn docker_29_index_is_kept_with_missing_platforms_noted() {
    let test_image = TestImage::new("app", 2);
    let (layout, index, there) = docker29_layout(&test_image, "app", "v1");
    let source = Archive::of(&layout.archive()).open().unwrap();
    assert_eq!(source.image().names, ["app:v1"]);
    let tree = tree(&source);
    assert_eq!(tree.root.bytes(), layout.get(&index));
    assert_eq!(tree.root.digest(), &digest(&index));
    assert_eq!(tree.children.len(), 2);
    assert_eq!(tree.children[&digest(&there)].bytes(), layout.get(&there));
    let absent: Vec<String> = tree
        .missing
        .iter()
        .map(|child| child.platform.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(absent, ["linux/arm64"]);
}

#[test]
fn compressed_layers_are_recognized_by_their_bytes() {
    let test_image = TestImage::new("app", 2);
    let entries = json!([{"Config": "sha256:".to_owned() + test_image.id().hex(),
        "RepoTags": ["gcr.io/p/app:v1"], "Layers": ["0.tar.gz", "1.tar.gz"]}]);
    let (zero, one) = (gzip(&test_image.layers[0]), &test_image.layers[1]);
    let bytes = TarFile::new()
        .file(
            &format!("sha256:{}", test_image.id().hex()),
            &test_image.config,
        )
        .file("0.tar.gz", &zero)
        .file("1.tar.gz", one)
        .file("manifest.json", entries.to_string().as_bytes())
        .finish();
    let source = Archive::of(&bytes).open().unwrap();
    let layers = &unpacked(&source).layers;
    assert_eq!(layers[0].format, LayerFormat::Gzip);
    assert_eq!(layers[0].size, zero.len() as u64);
    assert_eq!(layers[1].format, LayerFormat::Tar);
    let hash = super::run(source.hash(&layers[0].diff_id)).unwrap();
    assert_eq!(hash, Digest::of(&zero));
}

#[test]
fn foreign_layers_have_no_content_in_an_archive() {
    let test_image = TestImage::new("app", 2);
    let base = json!({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": Digest::of(b"base"), "size": 4, "urls": ["https://example.com/base"]});
    let entries = json!([{"Config": "c.json", "RepoTags": [], "Layers": ["0.tar", "1.tar"],
        "LayerSources": {test_image.diff_ids()[0].as_str(): base}}]);
    let bytes = TarFile::new()
        .file("c.json", &test_image.config)
        .file("1.tar", &test_image.layers[1])
        .file("manifest.json", entries.to_string().as_bytes())
        .finish();
    let source = Archive::of(&bytes).open().unwrap();
    let layers = &unpacked(&source).layers;
    assert!(matches!(&layers[0].format, LayerFormat::Foreign(base) if base.size == 4));
    assert_eq!(source.blob_size(&layers[0].diff_id), None);
    assert_eq!(layers[1].format, LayerFormat::Tar);
}

#[test]
fn long_names_and_pax_records_are_understood() {
    let test_image = TestImage::new("app", 1);
    let long = format!("{}/layer.tar", "l".repeat(120));
    let entries = json!([{"Config": "c.json", "RepoTags": [], "Layers": [long]}]);
    let mut tar = TarFile::new().file(&long, &test_image.layers[0]);
    let mut record = format!(
        " path=c.json\n SCHILY.xattr.a=1\n2\n size={}\n",
        test_image.config.len()
    );
    record = record
        .replace(" path=c.json\n", "15 path=c.json\n")
        .replace(" SCHILY.xattr.a=1\n2\n", "22 SCHILY.xattr.a=1\n2\n");
    let size = format!("size={}\n", test_image.config.len());
    record = record.replace(&format!(" {size}"), &format!("{} {size}", size.len() + 3));
    tar.header(
        EntryType::XHeader,
        b"PaxHeaders/x",
        b"",
        record.len() as u64,
    );
    tar.bytes(record.as_bytes());
    tar.header(EntryType::Regular, b"short", b"", 0);
    tar.bytes(&test_image.config);
    let tar = tar.file("manifest.json", entries.to_string().as_bytes());
    let source = Archive::of(&tar.finish()).open().unwrap();
    assert_eq!(unpacked(&source).config, test_image.config);
}
