//! Bad input: one clear error each, with the way out.

use std::fs;

use gcr_push::config::ImageSource;
use gcr_push::digest::Digest;
use insta::assert_snapshot;
use serde_json::json;
use tar::EntryType;

use super::{Archive, LayoutDirectory, open, run, told};
use crate::support::images::{
    Layout, OCI_CONFIG, Packed, Picture, TarFile, classic_archive, digest, docker25_archive,
};

#[test]
fn a_path_that_is_not_there_is_told_with_what_is() {
    let archive = Archive::of(b"");
    for name in ["b.tar.gz", "c.txt", "a.tar"] {
        fs::write(archive.folder.path().join(name), b"").unwrap();
    }
    let path = archive.folder.path().join("image.tar");
    assert_snapshot!(archive.told(open(ImageSource::Path(path))), @r"
    error: there is no file or directory `image.tar`

    hint: these are there: `a.tar`, `app.tar`, `b.tar.gz`
    exit code 2
    ");
    let path = archive.folder.path().join("nowhere/image.tar");
    assert_snapshot!(archive.told(open(ImageSource::DockerArchive(path, None))), @r"
    error: there is no file or directory `nowhere/image.tar`

    hint: check that the step that builds the image ran in this job, or that its artifact was downloaded
    exit code 2
    ");
}

#[test]
fn a_file_that_is_no_archive_is_told_by_what_it_looks_like() {
    let pack = |name: &str| {
        TarFile::new()
            .file(name, b"x")
            .symlink("etc/mtab", "/proc/mounts")
            .finish()
    };
    let all: Vec<String> = [
        &b""[..],
        b"# syntax=docker/dockerfile:1\nFROM alpine\nRUN true\n",
        b"\x7fELF\x02\x01\x01",
        b"{\"schemaVersion\": 2}",
        b"<!doctype html><html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        b"PK\x03\x04abc",
        b"#!/bin/sh\n",
        b"hello\n",
        &[0; 2048],
        &[0x80, 0xff, 1, 2, 3],
        &pack("etc/passwd"),
        &pack("image/oci-layout"),
        &pack("repositories"),
        &TarFile::new().file("x", b"").finish(),
    ]
    .iter()
    .map(|bytes| {
        let archive = Archive::of(bytes);
        archive.told(archive.open())
    })
    .collect();
    assert_snapshot!(all.join("\n\n"), @r"
    error: `app.tar` is no image archive: it is empty

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it looks like a Dockerfile

    hint: build it first, then name what `docker save`, `buildah push oci-archive:…` or `docker buildx build --output type=oci,dest=…` wrote
    exit code 2

    error: `app.tar` is no image archive: it looks like a program

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it looks like JSON

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it looks like a web page

    hint: the download brought a web page, perhaps a sign-in form: download again
    exit code 2

    error: `app.tar` is no image archive: it is a Git LFS pointer, not the file that it stands for

    hint: fetch the file itself: `git lfs pull`, or `lfs: true` in the checkout
    exit code 2

    error: `app.tar` is no image archive: it looks like a zip file

    hint: unzip it, and name the archive inside
    exit code 2

    error: `app.tar` is no image archive: it looks like a script

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it looks like text

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it starts with nothing but zeros

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it is no tar file, compressed or not

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is no image archive: it is a tar file of a file system

    hint: `docker export` writes the files of a container; `docker save` writes an image
    exit code 2

    error: `app.tar` is no image archive: it is a tar file that has the image in a folder

    hint: pack what is in the folder, not the folder: `tar -C FOLDER -cf image.tar .`
    exit code 2

    error: `app.tar` is no image archive: it was saved by a Docker older than 1.10, and has no `manifest.json`

    hint: load it with a current Docker, and save it again
    exit code 2

    error: `app.tar` is no image archive: it is a tar file with neither `manifest.json` nor `oci-layout` at its top

    hint: name what `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2
    ");
}

#[test]
fn a_source_of_another_kind_than_it_is_said_to_be_is_told_how_to_write_it() {
    let classic = Archive::of(&classic_archive(&[(&Picture::new("app", 1), &[])]));
    assert_snapshot!(classic.told(classic.oci(None)), @r"
    error: `app.tar` is a Docker archive without an OCI layout in it, but `oci-archive:` takes an OCI archive

    hint: write `docker-archive:app.tar`
    exit code 2
    ");
    let as_layout = open(ImageSource::OciLayout(classic.path(), None));
    assert_snapshot!(classic.told(as_layout), @r"
    error: `app.tar` is a file, but `oci:` takes a directory

    hint: write `oci-archive:app.tar`
    exit code 2
    ");
    let folder = classic.folder.path().to_owned();
    let as_archive = open(ImageSource::OciArchive(folder, None));
    assert_snapshot!(classic.told(as_archive), @r"
    error: `FOLDER` is a directory, but `oci-archive:` takes a file

    hint: write `oci:FOLDER`
    exit code 2
    ");
}

#[test]
fn a_directory_that_is_no_layout_is_told_by_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = || open(ImageSource::Path(folder.path().to_owned()));
    let mut all = vec![told(folder.path(), open())];
    for name in ["Dockerfile", "manifest.json", "version"] {
        fs::write(folder.path().join(name), b"").unwrap();
        all.push(told(folder.path(), open()));
    }
    assert_snapshot!(all.join("\n\n"), @r"
    error: `FOLDER` is no OCI layout: it has no `oci-layout`

    hint: name the directory that holds `oci-layout` and `index.json`
    exit code 2

    error: `FOLDER` is no OCI layout: it has no `oci-layout`

    hint: it is the input of a build; build the image first
    exit code 2

    error: `FOLDER` is no OCI layout: it has no `oci-layout`

    hint: it is an unpacked Docker archive; pack it again: `tar -C FOLDER -cf image.tar .`
    exit code 2

    error: `FOLDER` is no OCI layout: it has no `oci-layout`

    hint: it is in skopeo's `dir:` form; `skopeo copy dir:… oci:…` makes a layout of it
    exit code 2
    ");
}

#[test]
fn a_cut_archive_is_told_with_what_is_missing() {
    let whole = classic_archive(&[(&Picture::new("app", 2), &["app:v1"])]);
    for (cut, _) in [(whole.len() - 1024 - 512, 0), (3000, 0), (1024 + 100, 0)] {
        let archive = Archive::of(&whole[..cut]);
        let told = archive.told(archive.open());
        assert!(told.contains("is cut off"), "{told}");
    }
    let tar = TarFile::new().file("manifest.json", &[b' '; 600]).finish();
    let archive = Archive::of(&tar[..1000]);
    assert_snapshot!(archive.told(archive.open()), @r"
    error: `app.tar` is cut off: at least 112 bytes are missing, of the member `manifest.json`

    hint: make the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
    let archive = Archive::of(&[&tar[..1536], &whole[..100]].concat());
    assert_snapshot!(archive.told(archive.open()), @r"
    error: `app.tar` is cut off: at least 412 bytes are missing, of the header after `manifest.json`

    hint: make the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
    let tar = TarFile::new().file("a", b"b").unfinished();
    let archive = Archive::of(&tar);
    assert_snapshot!(archive.told(archive.open()), @r"
    error: `app.tar` is cut off: at least 1024 bytes are missing, of its end mark

    hint: make the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
}

#[test]
fn an_archive_that_plays_tricks_is_refused() {
    let good = || TarFile::new().file("manifest.json", b"[]");
    let mut sized = good();
    sized.header(EntryType::Symlink, b"a", b"b", 512);
    sized.bytes(&[1; 512]);
    let mut sparse = good();
    sparse.header(EntryType::GNUSparse, b"a", b"", 0);
    let mut endless = good();
    endless.header(EntryType::Regular, b"a", b"", u64::MAX >> 1);
    let mut long = good();
    long.header(EntryType::GNULongName, b"././@LongLink", b"", 1 << 20);
    long.bytes(&vec![b'a'; 1 << 20]);
    let mut wrong = good().unfinished();
    wrong.resize(2048, b'x');
    let all: Vec<String> = [
        good().file("../../etc/passwd", b"").finish(),
        good().file("/etc/passwd", b"").finish(),
        good().file("a/../../b", b"").finish(),
        good().symlink("a/layer.tar", "/etc/shadow").finish(),
        good().symlink("a/layer.tar", "../../b").finish(),
        good().hard_link("a", "../b").finish(),
        good().file("manifest.json", b"[]").finish(),
        good()
            .file("::error::\x1b[2J", b"")
            .symlink("##[x]", "/y")
            .finish(),
        sized.finish(),
        sparse.finish(),
        endless.finish(),
        long.finish(),
        wrong,
    ]
    .iter()
    .map(|bytes| {
        let archive = Archive::of(bytes);
        archive.told(archive.docker(None))
    })
    .collect();
    assert_snapshot!(all.join("\n\n"), @r"
    error: `app.tar` is refused, it holds the member `../../etc/passwd`: its name climbs out of the archive

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused, it holds the member `/etc/passwd`: its name is absolute

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused, it holds the member `a/../../b`: its name climbs out of the archive

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused: its `a/layer.tar` is a link to `/etc/shadow`

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused: its `a/layer.tar` is a link to `../../b`

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused: its `a` is a link to `../b`

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused: it holds `manifest.json` twice, and readers disagree on which counts

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is refused: its `##\[x]` is a link to `/y`

    hint: no image builder writes such an archive: find out who made it
    exit code 1

    error: `app.tar` is damaged at byte 1024: a link or directory has a size

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1

    error: `app.tar` has the sparse member `a`, which cannot be read in place

    hint: pack the archive again without `--sparse`
    exit code 1

    error: `app.tar` is cut off: at least 9223372036854774783 bytes are missing, of the member `a`

    hint: make the archive again: its writer or its download was stopped, or the disk was full
    exit code 1

    error: `app.tar` is damaged at byte 1024: the name of a member is too long

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1

    error: `app.tar` is damaged at byte 1024: the checksum of a header is wrong

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1
    ");
}

#[test]
fn links_that_run_in_circles_and_paths_out_of_the_archive_are_refused() {
    let picture = Picture::new("app", 1);
    let entry = |layer: &str| {
        json!([{"Config": "c.json", "RepoTags": null, "Layers": [layer]}])
            .to_string()
            .into_bytes()
    };
    for layer in ["a", "../x", "/x", "nowhere.tar"] {
        let bytes = TarFile::new()
            .file("c.json", &picture.config)
            .symlink("a", "b")
            .symlink("b", "a")
            .file("manifest.json", &entry(layer))
            .finish();
        let archive = Archive::of(&bytes);
        let told = archive.told(archive.open());
        let expected = match layer {
            "a" => "is a link to itself",
            "nowhere.tar" => "does not hold `nowhere.tar`, which `manifest.json` names",
            _ => "leads out of the archive",
        };
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_config_that_does_not_fit_is_told() {
    let picture = Picture::new("app", 2);
    let entries = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": null, "Layers": layers}])
            .to_string()
            .into_bytes()
    };
    let archive = |config: &str, bytes: &[u8], layers: &[&str]| {
        let tar = TarFile::new()
            .file(config, bytes)
            .file("0.tar", &picture.layers[0])
            .file("1.tar", b"\xfd7zXZ\0 and more")
            .file("manifest.json", &entries(config, layers));
        let archive = Archive::of(&tar.finish());
        archive
            .told(archive.open())
            .replace(picture.id().hex(), "HEX")
    };
    let hex = format!("{}.json", picture.id().hex());
    assert_snapshot!(archive("c.json", &picture.config, &["0.tar"]), @r"
    error: `app.tar` names 1 layer for an image whose config has 2 diff IDs
    exit code 1
    ");
    assert_snapshot!(archive("c.json", &picture.config, &["0.tar", "1.tar"]), @r"
    error: the layer `1.tar` of `app.tar` is compressed with xz, which images cannot have

    hint: make the image again with gzip, zstd or uncompressed layers
    exit code 1
    ");
    assert_snapshot!(archive(&hex, b"{}", &["0.tar"]), @r"
    error: `HEX.json` of `app.tar` is damaged: its digest is sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a and should be sha256:HEX

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1
    ");
    assert_snapshot!(archive("c.json", b"{\"rootfs\":{\"diff_ids\":[\"sha512:x\"]}}", &[]), @r"
    error: cannot understand `c.json` of `app.tar`
      caused by: `sha512:x` is no digest: expected `sha256:` and 64 hexadecimal digits at line 1 column 34
    exit code 1
    ");
    assert_snapshot!(archive("c.json", b"{}", &[]), @r"
    error: cannot understand `c.json` of `app.tar`
      caused by: missing field `rootfs` at line 1 column 2
    exit code 1
    ");
}

#[test]
fn documents_that_are_no_json_too_large_or_of_another_version_are_told() {
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
        archive.told(archive.open())
    })
    .to_vec();
    assert_snapshot!(all.join("\n\n"), @r"
    error: cannot understand `manifest.json` of `app.tar`
      caused by: key must be a string at line 1 column 3
    exit code 1

    error: `app.tar` lists no image
    exit code 1

    error: `app.tar` lists no image
    exit code 1

    error: `manifest.json` of `app.tar` has 5242880 bytes, more than the 4194304 that are read
    exit code 1

    error: `app.tar` is an OCI layout of version `2.0.0`, and only 1.0.0 is known
    exit code 1

    error: `app.tar` does not hold `index.json`, which every OCI layout has

    hint: make the archive again, with all its layers in it
    exit code 1
    ");
}

#[test]
fn blobs_that_are_not_what_their_digest_and_size_say_are_told() {
    let picture = Picture::new("app", 1);
    let mut layout = Layout::default();
    let manifest = layout.image(&picture, Packed::Gzip);
    layout.list(&manifest, Some("v1"));
    let config = picture.id();
    let hide = |text: String, digest: &Digest| text.replace(digest.hex(), "HEX");

    let mut damaged = layout.clone();
    let bytes = damaged.blobs.get_mut(&digest(&manifest)).unwrap();
    *bytes = bytes.to_ascii_uppercase();
    let actual = Digest::of(bytes);
    let directory = LayoutDirectory::of(&damaged);
    let text = directory
        .told(directory.open(None))
        .replace(actual.hex(), "ACTUAL");
    assert_snapshot!(hide(text, &digest(&manifest)), @r"
    error: `blobs/sha256/HEX` of `app` is damaged: its digest is sha256:ACTUAL and should be sha256:HEX

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1
    ");

    let mut short = layout.clone();
    short.blobs.get_mut(&config).unwrap().pop();
    let archive = Archive::of(&short.archive());
    assert_snapshot!(hide(archive.told(archive.open()), &config), @r"
    error: `blobs/sha256/HEX` of `app.tar` is damaged: it has 181 bytes and should have 182

    hint: make the archive again, or fetch it again: its bytes were changed
    exit code 1
    ");

    let mut lost = layout.clone();
    lost.blobs.remove(&config);
    let archive = Archive::of(&lost.archive());
    let text = hide(archive.told(archive.open()), &config);
    assert_snapshot!(text.replace(digest(&manifest).hex(), "MANIFEST"), @r"
    error: `app.tar` does not hold `blobs/sha256/HEX`, which the manifest sha256:MANIFEST names

    hint: make the archive again, with all its layers in it
    exit code 1
    ");

    let source = LayoutDirectory::of(&layout).open(None).unwrap();
    let error = run(source.open_blob(&config, 1 << 30)).err().unwrap();
    assert!(error.to_string().contains("or not 1073741824 bytes of it"));
}

#[test]
fn schema_1_and_an_index_of_layers_are_refused_with_what_to_do() {
    let mut layout = Layout::default();
    let old = layout.manifest(json!({"schemaVersion": 1, "name": "app", "fsLayers": []}));
    layout.list(&old, None);
    let directory = LayoutDirectory::of(&layout);
    let text = directory.told(directory.open(None));
    assert_snapshot!(text.replace(digest(&old).hex(), "HEX"), @r"
    error: cannot push the manifest sha256:HEX of `app`
      caused by: it is a Docker schema 1 manifest, which Google's registries no longer take

    hint: pull the image with a current Docker, or copy it with `skopeo copy --format v2s2`, and save it again
    exit code 1
    ");

    // The cache that BuildKit exports.
    let mut layout = Layout::default();
    let cache = layout.blob(OCI_CONFIG, b"{\"layers\":[]}".to_vec());
    let index = layout.index(std::slice::from_ref(&cache));
    layout.list(&index, None);
    let directory = LayoutDirectory::of(&layout);
    let text = directory.told(directory.open(None));
    assert_snapshot!(text.replace(digest(&cache).hex(), "HEX"), @r"
    error: cannot push the manifest sha256:HEX of `app`
      caused by: it is neither an image manifest nor an index: it has neither `config` nor `manifests`

    hint: if it is a build cache (`--cache-to`), export the image itself: `docker buildx build --output type=oci,dest=…`
    exit code 1
    ");
}

#[test]
fn a_file_that_is_changed_while_it_is_read_is_an_error_of_the_stream() {
    use futures_util::TryStreamExt as _;

    let picture = Picture::new("app", 2);
    let archive = Archive::of(&docker25_archive(&[(&picture, &["app:v1"])]));
    let source = archive.open().unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(archive.path())
        .unwrap()
        .set_len(600)
        .unwrap();
    let error = run(async {
        let stream = source.open_blob(&picture.diff_ids()[1], 0).await.unwrap();
        stream.try_collect::<Vec<_>>().await.unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "the file became shorter while it was read"
    );
}
