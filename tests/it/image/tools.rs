//! Archives and layouts written by the tools of this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use gcr_push::image::location::ImageSource;
use gcr_push::image::{Content, LayerFormat, Source};
use gcr_push::oci::digest::Digest;
use gcr_push::oci::manifest::AnyManifest;
use serde_json::Value;

use super::{open, read, tree, unpacked};
use crate::support::images::{LayerCompression, Layout, TestImage, digest};

/// Runs a tool in a folder. False if it is not installed.
fn tool(folder: &Path, line: &str) -> bool {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    match Command::new(program)
        .args(words)
        .current_dir(folder)
        // The files that a tool keeps for its user are removed with the test.
        .env("HOME", folder)
        .output()
    {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {stderr}");
            true
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            false
        }
    }
}

fn path(folder: &Path, name: &str) -> Source {
    open(ImageSource::Path(folder.join(name))).unwrap()
}

/// Checks every layer's bytes against its digest.
fn check_layers(source: &Source) -> usize {
    match &source.image().content {
        Content::Uncompressed(image) => {
            for layer in &image.layers {
                assert_eq!(layer.format, LayerFormat::Tar);
                assert_eq!(Digest::of(&read(source, &layer.diff_id, 0)), layer.diff_id);
            }
            image.layers.len()
        }
        Content::Manifests(tree) => {
            let AnyManifest::Manifest(manifest) = &tree.root else {
                panic!("a manifest");
            };
            for blob in manifest.blobs() {
                assert_eq!(Digest::of(&read(source, &blob.digest, 0)), blob.digest);
            }
            manifest.layers.len()
        }
    }
}

#[test]
fn skopeo_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let test_image = TestImage::new("app", 3);
    let mut layout = Layout::default();
    let manifest = layout.image(&test_image, LayerCompression::Gzip);
    layout.list(&manifest, Some("v1"));
    layout.write(&folder.join("layout"));
    let skopeo = |from: &str, to: &str| {
        tool(
            folder,
            &format!("skopeo --insecure-policy copy {from} {to}"),
        )
    };
    if !skopeo("oci:layout:v1", "docker-archive:docker.tar:gcr.io/p/app:v1") {
        return;
    }
    let source = path(folder, "docker.tar");
    assert_eq!(source.image().names, ["gcr.io/p/app:v1"]);
    assert_eq!(check_layers(&source), 3);
    let diff_ids: Vec<Digest> = unpacked(&source)
        .layers
        .iter()
        .map(|l| l.diff_id.clone())
        .collect();
    assert_eq!(diff_ids, test_image.diff_ids());

    for (to, name, names) in [
        ("oci-archive:oci.tar:v2", "oci.tar", &[":v2"][..]),
        ("oci-archive:nameless.tar", "nameless.tar", &[]),
        ("oci:copy:v3", "copy", &[":v3"]),
    ] {
        skopeo("oci:layout:v1", to);
        let source = path(folder, name);
        assert_eq!(source.image().names, names);
        assert_eq!(tree(&source).root.digest(), &digest(&manifest));
        assert_eq!(check_layers(&source), 3);
    }

    skopeo(
        "--dest-compress-format zstd --dest-compress oci:layout:v1",
        "oci:zstd:v1",
    );
    assert_eq!(check_layers(&path(folder, "zstd")), 3);
    skopeo("--format v2s2 oci:layout:v1", "oci:docker2");
    assert_eq!(check_layers(&path(folder, "docker2")), 3);
    // A second image in the same layout, and an archive of both.
    let other = TestImage::new("other", 1);
    let mut second = Layout::default();
    let listed = second.image(&other, LayerCompression::Gzip);
    second.list(&listed, Some("v1"));
    second.write(&folder.join("second"));
    skopeo("oci:second:v1", "oci:copy:other");
    for (reference, layers) in [("v3", 3), ("other", 1)] {
        let source = ImageSource::OciLayout(folder.join("copy"), Some(reference.to_owned()));
        assert_eq!(check_layers(&open(source).unwrap()), layers);
    }
    tool(folder, "tar -C copy -czf both.tar.gz .");
    let source = ImageSource::OciArchive(folder.join("both.tar.gz"), Some("other".to_owned()));
    assert_eq!(check_layers(&open(source).unwrap()), 1);
}

#[test]
fn skopeo_archive_of_an_index_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut layout = Layout::default();
    let children: Vec<Value> = ["amd64", "arm64"]
        .map(|architecture| {
            layout.image(
                &TestImage::on(architecture, "app", 1),
                LayerCompression::Gzip,
            )
        })
        .to_vec();
    let index = layout.index(&children);
    layout.list(&index, Some("v1"));
    layout.write(&folder.join("layout"));
    if tool(
        folder,
        "skopeo --insecure-policy copy --all oci:layout:v1 oci-archive:all.tar:v1",
    ) {
        let source = path(folder, "all.tar");
        assert_eq!(tree(&source).root.digest(), &digest(&index));
        assert_eq!(tree(&source).children.len(), 2);
    }
}

#[test]
fn buildah_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let buildah = |line: &str| {
        let common = "--storage-driver vfs --root root --runroot run";
        tool(folder, &format!("buildah {common} {line}"))
    };
    fs::write(folder.join("hello"), b"hello\n").unwrap();
    fs::write(
        folder.join("Dockerfile"),
        "FROM scratch\nCOPY hello /one\nCOPY hello /two\nCMD [\"/one\"]\n",
    )
    .unwrap();
    if !buildah("bud --isolation chroot --layers -t app:v1 .") {
        return;
    }
    for (to, name) in [
        ("docker-archive:docker.tar:gcr.io/p/app:v1", "docker.tar"),
        ("oci-archive:oci.tar:v1", "oci.tar"),
        ("oci:layout:v1", "layout"),
    ] {
        buildah(&format!("push app:v1 {to}"));
        assert_eq!(check_layers(&path(folder, name)), 2, "{to}");
    }
    // The archive also lists the earlier names of the image.
    let names = path(folder, "docker.tar").image().names.clone();
    assert_eq!(names[0], "gcr.io/p/app:v1");
}

#[test]
fn umoci_layout_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    if !tool(folder, "umoci init --layout layout") {
        return;
    }
    tool(folder, "umoci new --image layout:v1");
    fs::write(folder.join("hello"), b"hello\n").unwrap();
    tool(
        folder,
        "umoci insert --rootless --image layout:v1 hello /hello",
    );
    tool(folder, "umoci tag --image layout:v1 v2");
    let source = path(folder, "layout");
    assert_eq!(source.image().names, [":v1", ":v2"]);
    assert_eq!(check_layers(&source), 1);
    tool(
        folder,
        "tar -cf layout.tar -C layout blobs index.json oci-layout",
    );
    assert_eq!(check_layers(&path(folder, "layout.tar")), 1);
}

#[test]
fn other_tar_programs_and_formats_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, None);
    layout.write(&folder.join("layout"));
    for format in ["gnu", "pax", "ustar", "oldgnu", "v7"] {
        let options = match format {
            "pax" => "--format pax --xattrs --pax-option=globexthdr.name=g,comment=hello",
            _ => &format!("--format {format}"),
        };
        if tool(
            folder,
            &format!("tar {options} -C layout -cf {format}.tar ."),
        ) {
            assert_eq!(check_layers(&path(folder, &format!("{format}.tar"))), 2);
        }
    }
}
