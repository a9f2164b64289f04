//! Paths that hold no image, or another kind than was named: one clear error each, with the fix.

use std::fs;

use gcr_push::image::location::ImageSource;
use insta::assert_snapshot;

use super::{Archive, error_text, open};
use crate::support::images::{TarFile, TestImage, classic_archive};

#[test]
fn missing_path_error_lists_alternatives() {
    let archive = Archive::of(b"");
    for name in ["b.tar.gz", "c.txt", "a.tar"] {
        fs::write(archive.folder.path().join(name), b"").unwrap();
    }
    let path = archive.folder.path().join("image.tar");
    assert_snapshot!(archive.error_text(open(ImageSource::Path(path))), @r"
    error: there is no file or directory `image.tar`

    hint: these exist: `a.tar`, `app.tar`, `b.tar.gz`
    exit code 2
    ");
    let path = archive.folder.path().join("nowhere/image.tar");
    assert_snapshot!(archive.error_text(open(ImageSource::DockerArchive(path, None))), @r"
    error: there is no file or directory `nowhere/image.tar`

    hint: check that the step that builds the image ran in this job, or that its artifact was downloaded
    exit code 2
    ");
}

#[test]
fn file_that_is_no_archive_is_named_by_its_kind() {
    let pack = |name: &str| {
        TarFile::new()
            .file(name, b"x")
            .symlink("mtab", "/proc/mounts")
            .finish()
    };
    let all: Vec<String> = [
        &b""[..],
        b"# syntax=docker/dockerfile:1\nFROM alpine\nRUN true\n",
        b"<!doctype html><html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        b"\x7fELF\x02\nFROM \0",
        b"hello\n",
        &[0; 2048],
        &pack("etc/passwd"),
        &pack("image/oci-layout"),
        &pack("Dockerfile"),
        &TarFile::new().file("x", b"").finish(),
    ]
    .iter()
    .map(|bytes| {
        let archive = Archive::of(bytes);
        archive.error_text(archive.open())
    })
    .collect();
    assert_snapshot!(all.join("\n\n"), @"
    error: `app.tar` is not an image archive: it is empty

    hint: the command that writes it wrote nothing: check its output
    exit code 2

    error: `app.tar` is not an image archive: it is the input of a build

    hint: build it first, then use the file that `docker save`, `buildah push oci-archive:…` or `docker buildx build --output type=oci,dest=…` wrote
    exit code 2

    error: `app.tar` is not an image archive: it is a web page

    hint: the download may be a sign-in page: download it again
    exit code 2

    error: `app.tar` is not an image archive: it is a Git LFS pointer, not the file itself

    hint: fetch the file: `git lfs pull`, or `lfs: true` in the checkout
    exit code 2

    error: `app.tar` is not an image archive: it is not a tar file, or is compressed more than once

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is not an image archive: it is not a tar file, or is compressed more than once

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is not an image archive: it is not a tar file, or is compressed more than once

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2

    error: `app.tar` is not an image archive: it is a tar file of a file system

    hint: use `docker save`, which writes an image; `docker export` writes the files of a container
    exit code 2

    error: `app.tar` is not an image archive: it is a tar file that has the image in a folder

    hint: pack the content of the folder, not the folder: `tar -C FOLDER -cf image.tar .`
    exit code 2

    error: `app.tar` is not an image archive: it is the input of a build

    hint: build it first, then use the file that `docker save`, `buildah push oci-archive:…` or `docker buildx build --output type=oci,dest=…` wrote
    exit code 2

    error: `app.tar` is not an image archive: it is a tar file with neither `manifest.json` nor `oci-layout` at its top

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    exit code 2
    ");
}

#[test]
fn wrong_transport_error_shows_the_right_one() {
    let classic = Archive::of(&classic_archive(&[(&TestImage::new("app", 1), &[])]));
    assert_snapshot!(classic.error_text(classic.oci(None)), @r"
    error: `app.tar` is a Docker archive without an OCI layout in it, but `oci-archive:` requires an OCI archive

    hint: write `docker-archive:app.tar`
    exit code 2
    ");
    let as_layout = open(ImageSource::OciLayout(classic.path(), None));
    assert_snapshot!(classic.error_text(as_layout), @r"
    error: `app.tar` is a file, but `oci:` requires a directory

    hint: write `oci-archive:app.tar`
    exit code 2
    ");
    let folder = classic.folder.path().to_owned();
    let as_archive = open(ImageSource::OciArchive(folder, None));
    assert_snapshot!(classic.error_text(as_archive), @r"
    error: `FOLDER` is a directory, but `oci-archive:` requires a file

    hint: write `oci:FOLDER`
    exit code 2
    ");
}

#[test]
fn directory_without_layout_is_described_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let open = || open(ImageSource::Path(folder.path().to_owned()));
    let mut all = vec![error_text(folder.path(), open())];
    for name in ["Dockerfile", "manifest.json", "version"] {
        fs::write(folder.path().join(name), b"").unwrap();
        all.push(error_text(folder.path(), open()));
    }
    assert_snapshot!(all.join("\n\n"), @"
    error: `FOLDER` is not an OCI layout: it has no `oci-layout`

    hint: use the directory that contains `oci-layout` and `index.json`
    exit code 2

    error: `FOLDER` is not an OCI layout: it has no `oci-layout`

    hint: build it first, then use the file that `docker save`, `buildah push oci-archive:…` or `docker buildx build --output type=oci,dest=…` wrote
    exit code 2

    error: `FOLDER` is not an OCI layout: it has no `oci-layout`

    hint: it is an unpacked Docker archive; pack it again: `tar -C FOLDER -cf image.tar .`
    exit code 2

    error: `FOLDER` is not an OCI layout: it has no `oci-layout`

    hint: it is in skopeo's `dir:` format; convert it with `skopeo copy dir:… oci:…`
    exit code 2
    ");
}
