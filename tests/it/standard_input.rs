//! `-`: an archive from a pipe arrives, and nothing is left behind.

use std::io::Write as _;
use std::path::Path;

use insta::assert_snapshot;

use gcr_push::oci::digest::Digest;

use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive, gzip};
use crate::support::run::Run;
use crate::support::skopeo::pull_plain;

/// A run whose temporary directory is `spool` in its folder.
fn run() -> Run {
    let run = Run::new();
    let spool = run.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    run.variable("TMPDIR", spool.display().to_string())
}

fn assert_is_empty(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn piped_archive_arrives_like_a_file() {
    let registry = DockerRegistry::start();
    let test_image = TestImage::new("app", 3);
    let archive = classic_archive(&[(&test_image, &["app:1.2"])]);
    let push = |run: Run, image: &str, name: &str| {
        let outcome = run
            .set("image", image)
            .set("registry", registry.address())
            .set("name", name)
            .set("digest_file", "digest")
            .succeeds();
        let pulled = pull_plain(&format!("{}/{name}:1.2", registry.address()));
        let digest = Digest::of(&pulled.manifest).to_string();
        assert_eq!(outcome.read("digest"), digest);
        (pulled, outcome)
    };
    let (from_file, _) = push(run().file("image.tar", &archive), "image.tar", "file");
    for (number, (image, input)) in [
        ("-", archive.clone()),
        ("-", gzip(&archive)),
        ("docker-archive:-", archive.clone()),
        ("docker-archive:-:app:1.2", gzip(&archive)),
        ("/dev/stdin", archive.clone()),
        ("docker-archive:/dev/stdin", gzip(&archive)),
    ]
    .into_iter()
    .enumerate()
    {
        let (piped, outcome) = push(run().input(input), image, &format!("piped-{number}"));
        assert_eq!(piped.manifest, from_file.manifest, "{image}");
        assert_eq!(piped.files, from_file.files, "{image}");
        assert_is_empty(&outcome.directory.path().join("spool"));
    }
}

#[test]
fn piped_oci_archive_keeps_its_digest() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    for tag in ["1", "2"] {
        let manifest = layout.image(
            &TestImage::new(&format!("app-{tag}"), 2),
            LayerCompression::Gzip,
        );
        layout.list(&manifest, Some(tag));
    }
    let name = format!("{}/app:2", registry.address());
    run()
        .input(layout.archive())
        .set("image", "oci-archive:-:2")
        .set("tags", &name)
        .succeeds();
    let digest = Digest::of(&pull_plain(&name).manifest);
    assert_eq!(layout.listed[1]["digest"], digest.as_str());

    let ambiguous = run()
        .input(layout.archive())
        .set("image", "-")
        .set("tags", &name)
        .fails_with(2);
    assert_snapshot!(ambiguous.error(), @r"
    error: standard input contains 2 images, and `image` does not say which

    hint: write `oci-archive:-:REF`, where REF is one of `1` (linux/amd64), `2` (linux/amd64)
    ");
}

#[test]
fn empty_pipe_error_blames_the_program_before_it() {
    let outcome = run()
        .set("image", "-")
        .set("tags", "127.0.0.1:1/app:1")
        .fails_with(2);
    assert_snapshot!(outcome.error(), @"
    error: standard input is not an image archive: it is empty

    hint: the command that writes it wrote nothing: check its output
    ");
}

#[test]
fn truncated_pipe_is_reported_and_leaves_nothing() {
    let archive = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    for cut in [archive.len() / 2, archive.len() - 1024] {
        let outcome = run()
            .input(&archive[..cut])
            .set("image", "-")
            .set("tags", "127.0.0.1:1/app:1")
            .fails_with(1);
        let error = outcome.error();
        assert!(
            error.starts_with("error: standard input is cut off"),
            "{error}"
        );
        assert_is_empty(&outcome.directory.path().join("spool"));
    }
}

#[test]
fn full_disk_is_reported_with_the_fix() {
    let archive = classic_archive(&[(&TestImage::new("app", 9), &["app:1"])]);
    let outcome = run()
        .with_file_size_limit(16 * 1024)
        .input(archive)
        .set("image", "-")
        .set("tags", "127.0.0.1:1/app:1")
        .fails_with(1);
    // How much a pipe delivers at once varies.
    let error = outcome.error();
    let (_, rest) = error.split_once("after ").unwrap();
    let (bytes, _) = rest.split_once(' ').unwrap();
    assert_snapshot!(error.replacen(bytes, "[BYTES]", 1), @r"
    error: cannot copy standard input to `[FOLDER]/spool`, after [BYTES] bytes
      caused by: File too large (os error 27)

    hint: set `TMPDIR` to a directory on a disk with more space; an uncompressed archive file needs no space
    ");
    assert_is_empty(&outcome.directory.path().join("spool"));
}

#[test]
fn killed_run_leaves_nothing() {
    let run = run();
    let spool = run.path().join("spool");
    let mut running = run
        .set("image", "-")
        .set("tags", "127.0.0.1:1/app:1")
        .start();
    // A pipe holds 64 KiB: when this write returns, most of it has been copied.
    running.input.write_all(&[7; 1 << 20]).unwrap();
    let directory = running.kill();
    assert!(spool.starts_with(directory.path()));
    assert_is_empty(&spool);
}
