//! Images that cannot be read, or differ from their digests.

use serde_json::{Value, json};
use standin::{Fault, FaultAction, RequestKind};

use super::{docker, error_text, oci, refused, without_digests};
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{
    LayerCompression, Layout, TarFile, TestImage, classic_archive, docker25_archive, gzip,
};
use crate::support::run::Run;

/// The error and exit code of pushing these bytes as `image.tar`.
fn push_error(bytes: &[u8], code: i32) -> String {
    let google = Google::start();
    let run = google
        .run()
        .file("image.tar", bytes)
        .set("image", "image.tar")
        .set("name", "app");
    refused(&google, run, code)
}

#[test]
fn push_without_image_says_what_to_set() {
    let google = Google::start();
    insta::assert_snapshot!(refused(&google, google.run(), 2), @"
    error: an input is missing
      `image`: set it to the image to push: `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input (GCR_PUSH_IMAGE)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn missing_path_error_lists_archives_beside_it() {
    let google = Google::start();
    let run = google.run().set("image", "build/image.tar");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: there is no file or directory `build/image.tar`

    hint: check that the step that builds the image ran in this job, or that its artifact was downloaded
    ");
    let run = google
        .run()
        .file("build/app.tar", docker())
        .set("image", "docker-archive:build/image.tar");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: there is no file or directory `build/image.tar`

    hint: these exist: `build/app.tar`
    ");
    let run = google.run().set("image", "app:1.2");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: an input cannot be used
      `image`: `app:1.2` is not a path, because a path here cannot contain `:`; expected `docker-archive:image.tar`, `oci-archive:image.tar`, `oci:DIRECTORY`, `docker://NAME`, `docker-daemon:NAME`, a path, or `-` for standard input (GCR_PUSH_IMAGE)

    hint: for an image in a Docker engine, use `docker-daemon:NAME`; for an image in a registry, begin with the registry, as in `ghcr.io/acme/api:1.2`
    ");
}

#[test]
fn file_that_is_no_archive_is_named_by_its_kind() {
    insta::assert_snapshot!(push_error(b"hello, world\n", 2), @"
    error: `image.tar` is not an image archive: it is not a tar file, or is compressed more than once

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    ");
    insta::assert_snapshot!(push_error(b"", 2), @"
    error: `image.tar` is not an image archive: it is empty

    hint: the command that writes it wrote nothing: check its output
    ");
    let files = TarFile::new().file("etc/passwd", b"root").finish();
    insta::assert_snapshot!(push_error(&files, 2), @"
    error: `image.tar` is not an image archive: it is a tar file of a file system

    hint: use `docker save`, which writes an image; `docker export` writes the files of a container
    ");
    insta::assert_snapshot!(push_error(&gzip(b"hello"), 2), @"
    error: `image.tar` is not an image archive: it is not a tar file, or is compressed more than once

    hint: use the file that `docker save` wrote, an OCI archive, or a directory with an OCI layout
    ");
}

#[test]
fn truncated_archive_is_reported_at_any_length() {
    for whole in [docker(), oci()] {
        for part in [3, 5, 8] {
            let message = push_error(&whole[..whole.len() * part / 10 + 100], 1);
            assert!(message.contains("is cut off: at least "), "{message}");
        }
    }
    let whole = docker();
    insta::assert_snapshot!(push_error(&whole[..whole.len() / 2], 1), @"
    error: `image.tar` is cut off: at least 1024 bytes are missing, of its end mark

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    ");
    let compression = gzip(&whole);
    insta::assert_snapshot!(push_error(&compression[..compression.len() / 2], 1), @"
    error: cannot decompress `image.tar`: its gzip stream is cut off
      caused by: incomplete deflate stream

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    ");
}

#[test]
fn layout_layer_unlike_its_digest_is_refused() {
    let mut layout = Layout::default();
    let test_image = TestImage::new("app", 2);
    let manifest = layout.image(&test_image, LayerCompression::Gzip);
    layout.list(&manifest, Some("1"));
    let named: Value = serde_json::from_slice(layout.get(&manifest)).unwrap();
    let digest = crate::support::images::digest(&named["layers"][1]);
    let bytes = layout.blobs.get_mut(&digest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;

    let google = Google::start();
    let run = google
        .run()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .set("name", "app");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: `image.tar` is damaged: the bytes of its layer `sha256:b43a36403397ed25b79fbf8004c2f3add786868133d859a1df1ba8821b6ca2dd` hash to `sha256:1520352f77c1630971375a05e563026259081f5b5878644f4b173be8d78e72ec`

    hint: write the archive again; if it was passed between jobs as an artifact, it may have been damaged there
    ");
    assert!(google.standin.tags("gcr.io", "acme/app").is_empty());

    let registry = DockerRegistry::start();
    let run = Run::new();
    layout.write(&run.path().join("layout"));
    let outcome = run
        .set("image", "oci:layout")
        .set("tags", format!("{}/app:1", registry.address()))
        .fails_with(1);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: `layout` is damaged: the bytes of its layer `sha256:b43a36403397ed25b79fbf8004c2f3add786868133d859a1df1ba8821b6ca2dd` hash to `sha256:1520352f77c1630971375a05e563026259081f5b5878644f4b173be8d78e72ec`

    hint: write the layout again; if it was passed between jobs as an artifact, it may have been damaged there
    ");
    assert!(registry.is_untouched());
}

#[test]
fn docker_archive_layer_unlike_its_diff_id_is_refused() {
    let mut test_image = TestImage::new("app", 2);
    // One is valid and one is not, whichever is compressed first.
    for (number, archive) in [classic_archive, docker25_archive].into_iter().enumerate() {
        let last = test_image.layers.len() - 1;
        test_image.layers[last][600] ^= 1;
        let bytes = archive(&[(&test_image, &["app:1"])]);
        test_image.layers[last][600] ^= 1;
        let google = Google::start();
        let run = google
            .run()
            .file("image.tar", &bytes)
            .set("image", "image.tar");
        let at_google = refused(&google, run, 1);
        assert!(google.standin.tags("gcr.io", "acme/app").is_empty());
        let registry = DockerRegistry::start();
        let outcome = Run::new()
            .file("image.tar", &bytes)
            .set("image", "image.tar")
            .set("registry", registry.address())
            .fails_with(1);
        assert!(registry.is_untouched());
        assert_eq!(error_text(&outcome), at_google);
        match number {
            0 => insta::assert_snapshot!(at_google, @"
            error: `image.tar` is damaged: the bytes of its layer `sha256:621dd0cf3f59bb82b3ee9214dd4a505966f85d01dade6b03f37011cbad336b28` hash to `sha256:3a266228671082117f055934489ff2bee504ec718311716672291c443bcc2fa6`

            hint: write the archive again; if it was passed between jobs as an artifact, it may have been damaged there
            "),
            _ => insta::assert_snapshot!(at_google, @"
            error: `image.tar` is damaged: the bytes of its layer `sha256:621dd0cf3f59bb82b3ee9214dd4a505966f85d01dade6b03f37011cbad336b28` hash to `sha256:3a266228671082117f055934489ff2bee504ec718311716672291c443bcc2fa6`

            hint: write the archive again; if it was passed between jobs as an artifact, it may have been damaged there
            "),
        }
    }
}

#[test]
fn damaged_layer_sent_as_is_is_reported() {
    let mut test_image = TestImage::new("app", 2);
    test_image.layers[0][600] ^= 1;
    let bytes = classic_archive(&[(&test_image, &["app:1"])]);
    let google = Google::start();
    let run = google
        .run()
        .file("image.tar", &bytes)
        .set("image", "image.tar")
        .set("compression", "none");
    test_image.layers[0][600] ^= 1;
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: `image.tar` is damaged: the bytes of its layer `sha256:dabe3f9a2a1433978afe46d660ebccbe47ac4529823c43b8a73b07c2adf4756d` hash to `sha256:872cf350e23afe47bcc53dffe1bc25fea1642f85f6d8a25a923baed208e88840`

    hint: write the archive again; if it was passed between jobs as an artifact, it may have been damaged there
    ");
}

#[test]
fn archive_manifest_that_is_not_json_is_reported() {
    let tar = TarFile::new()
        .file("manifest.json", b"[{\"Config\": \"x")
        .finish();
    insta::assert_snapshot!(push_error(&tar, 1), @"
    error: could not parse `manifest.json` of `image.tar`
      caused by: EOF while parsing a string at line 1 column 14
    ");
    let tar = TarFile::new().file("manifest.json", b"{}").finish();
    insta::assert_snapshot!(push_error(&tar, 1), @"
    error: could not parse `manifest.json` of `image.tar`
      caused by: invalid type: map, expected a sequence
    ");
    let tar = TarFile::new().file("manifest.json", b"[]").finish();
    insta::assert_snapshot!(push_error(&tar, 1), @"error: `image.tar` does not list an image");
}

#[test]
fn missing_layer_of_an_archive_is_named() {
    let test_image = TestImage::new("app", 1);
    let entries =
        json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["gone/layer.tar"]}]);
    let tar = TarFile::new()
        .file("c.json", &test_image.config)
        .file("manifest.json", entries.to_string().as_bytes())
        .finish();
    insta::assert_snapshot!(push_error(&tar, 1), @"
    error: `image.tar` does not contain `gone/layer.tar`, which `manifest.json` names

    hint: create the archive again, with all its layers
    ");
}

#[test]
fn archive_with_path_traversal_is_refused() {
    let test_image = TestImage::new("app", 1);
    let entries = |layer: &str| {
        json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": [layer]}]).to_string()
    };
    let with = |layer: &str| {
        TarFile::new()
            .file("c.json", &test_image.config)
            .file("manifest.json", entries(layer).as_bytes())
    };
    let climbing = with("l/layer.tar")
        .file("l/layer.tar", &test_image.layers[0])
        .file("../../etc/cron.d/x", b"* * * * * root true");
    insta::assert_snapshot!(push_error(&climbing.finish(), 1), @"
    error: `image.tar` is refused: it contains the member `../../etc/cron.d/x`: its name leads out of the archive

    hint: no image builder writes such an archive: find out who created it
    ");
    let absolute = with("/etc/passwd").file("/etc/passwd", &test_image.layers[0]);
    insta::assert_snapshot!(push_error(&absolute.finish(), 1), @"
    error: `image.tar` is refused: it contains the member `/etc/passwd`: its name is absolute

    hint: no image builder writes such an archive: find out who created it
    ");
    let named_alone = with("../../../etc/passwd");
    insta::assert_snapshot!(push_error(&named_alone.finish(), 1), @"
    error: `image.tar` is refused: it contains the member `../../../etc/passwd`: it leads out of the archive

    hint: no image builder writes such an archive: find out who created it
    ");
    let linked = with("l/layer.tar").symlink("l/layer.tar", "/etc/passwd");
    insta::assert_snapshot!(push_error(&linked.finish(), 1), @"
    error: `image.tar` is refused: its `l/layer.tar` is a link to `/etc/passwd`

    hint: no image builder writes such an archive: find out who created it
    ");
    let climbing_link = with("l/layer.tar").symlink("l/layer.tar", "../../secret");
    insta::assert_snapshot!(push_error(&climbing_link.finish(), 1), @"
    error: `image.tar` is refused: its `l/layer.tar` is a link to `../../secret`

    hint: no image builder writes such an archive: find out who created it
    ");
    let hard = with("l/layer.tar").hard_link("l/layer.tar", "/etc/shadow");
    insta::assert_snapshot!(push_error(&hard.finish(), 1), @"
    error: `image.tar` is refused: its `l/layer.tar` is a link to `/etc/shadow`

    hint: no image builder writes such an archive: find out who created it
    ");
}

#[test]
fn layout_symlink_out_of_itself_is_refused() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("1"));
    let run = Run::new().file("secret", b"not for a registry");
    let folder = run.path().join("layout");
    layout.write(&folder);
    let named: Value = serde_json::from_slice(layout.get(&manifest)).unwrap();
    let digest = crate::support::images::digest(&named["layers"][0]);
    let blob = folder.join("blobs/sha256").join(digest.hex());
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink("../../../secret", &blob).unwrap();
    let outcome = run
        .set("image", "oci:layout")
        .set("tags", format!("{}/app:1", registry.address()))
        .fails_with(1);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: `layout` is refused: its `blobs/sha256/bda66f45cef5c1324ee40b5a7f58037d7dfba45e2f1283bfd39ab670fae76883` is a link out of it, to `[FOLDER]/secret`

    hint: copy the layout with `cp -RL`, which follows its links, and use the copy
    ");
    assert!(registry.is_untouched());
}

#[test]
fn damaged_layer_of_source_registry_is_reported() {
    let google = Google::start();
    google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/app:1")
        .succeeds();
    let changed = Fault::always(RequestKind::BlobDownload, FaultAction::CorruptByte(20));
    google.standin.fault(changed.at("gcr.io"));
    let outcome = google
        .run()
        .set("image", "docker://gcr.io/acme/app:1")
        .set("tags", "eu.gcr.io/acme/app:1")
        .fails_with(1);
    insta::assert_snapshot!(without_digests(&outcome.error()), @"
    error: `gcr.io/acme/app:1` is damaged: the bytes of its layer `[DIGEST]` hash to `[DIGEST]`

    hint: the registry returns different bytes than the image names, or a proxy changes them: push the image to it again from the machine that built it
    ");
}
