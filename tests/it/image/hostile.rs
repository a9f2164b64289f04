//! Truncated archives, and archives with path traversal, link loops and the like.

use insta::assert_snapshot;
use serde_json::json;
use tar::EntryType;

use super::Archive;
use crate::support::images::{TarFile, TestImage, classic_archive};

#[test]
fn truncated_archive_error_names_what_is_missing() {
    let whole = classic_archive(&[(&TestImage::new("app", 2), &["app:v1"])]);
    for (cut, _) in [(whole.len() - 1024 - 512, 0), (3000, 0), (1024 + 100, 0)] {
        let archive = Archive::of(&whole[..cut]);
        let error = archive.error_text(archive.open());
        assert!(error.contains("is cut off"), "{error}");
    }
    let tar = TarFile::new().file("manifest.json", &[b' '; 600]).finish();
    let archive = Archive::of(&tar[..1000]);
    assert_snapshot!(archive.error_text(archive.open()), @r"
    error: `app.tar` is cut off: at least 112 bytes are missing, of the member `manifest.json`

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
    let archive = Archive::of(&[&tar[..1536], &whole[..100]].concat());
    assert_snapshot!(archive.error_text(archive.open()), @r"
    error: `app.tar` is cut off: at least 412 bytes are missing, of the header after `manifest.json`

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
    let tar = TarFile::new().file("a", b"b").unfinished();
    let archive = Archive::of(&tar);
    assert_snapshot!(archive.error_text(archive.open()), @r"
    error: `app.tar` is cut off: at least 1024 bytes are missing, of its end mark

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    exit code 1
    ");
}

#[test]
fn hostile_archive_is_refused() {
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
        archive.error_text(archive.docker(None))
    })
    .collect();
    assert_snapshot!(all.join("\n\n"), @r"
    error: `app.tar` is refused: it contains the member `../../etc/passwd`: its name leads out of the archive

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: it contains the member `/etc/passwd`: its name is absolute

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: it contains the member `a/../../b`: its name leads out of the archive

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: its `a/layer.tar` is a link to `/etc/shadow`

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: its `a/layer.tar` is a link to `../../b`

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: its `a` is a link to `../b`

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: it contains `manifest.json` twice, and programs do not agree which one to use

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is refused: its `##\[x]` is a link to `/y`

    hint: no image builder writes such an archive: find out who created it
    exit code 1

    error: `app.tar` is damaged at byte 1024: a link or directory has a size

    hint: create the archive again, or download it again: its bytes were changed
    exit code 1

    error: `app.tar` has the sparse member `a`, which cannot be read in place

    hint: pack the archive again without `--sparse`
    exit code 1

    error: `app.tar` is cut off: at least 9223372036854774783 bytes are missing, of the member `a`

    hint: create the archive again: its writer or its download was stopped, or the disk was full
    exit code 1

    error: `app.tar` is damaged at byte 1024: the name of a member is too long

    hint: create the archive again, or download it again: its bytes were changed
    exit code 1

    error: `app.tar` is damaged at byte 1024: the checksum of a header is wrong

    hint: create the archive again, or download it again: its bytes were changed
    exit code 1
    ");
}

#[test]
fn link_loops_and_paths_outside_are_refused() {
    let test_image = TestImage::new("app", 1);
    let entry = |layer: &str| {
        json!([{"Config": "c.json", "RepoTags": null, "Layers": [layer]}])
            .to_string()
            .into_bytes()
    };
    for layer in ["a", "../x", "/x", "nowhere.tar"] {
        let bytes = TarFile::new()
            .file("c.json", &test_image.config)
            .symlink("a", "b")
            .symlink("b", "a")
            .file("manifest.json", &entry(layer))
            .finish();
        let archive = Archive::of(&bytes);
        let error = archive.error_text(archive.open());
        let expected = match layer {
            "a" => "is a link to itself",
            "nowhere.tar" => "does not contain `nowhere.tar`, which `manifest.json` names",
            _ => "leads out of the archive",
        };
        assert!(error.contains(expected), "{error}");
    }
}
