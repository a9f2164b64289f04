//! Archives that are compressed as a whole, and archives from pipes.

use std::fs;
use std::io::{self, Cursor, Read};
use std::process::{Command, Stdio};

use gcr_push::image::Source;
use gcr_push::image::location::{ArchiveKind, ImageSource};
use insta::assert_snapshot;

use super::{Archive, open, open_with, read, run, tree, unpacked};
use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive, gzip};

/// Pipes `bytes` through a program. `None` if it is not installed.
fn through(program: &str, arguments: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, bytes).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .stdin(fs::File::open(&input).unwrap())
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success());
            Some(output.stdout)
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

#[test]
fn compressed_archive_is_read_like_any_other() {
    let test_image = TestImage::new("app", 2);
    let classic = classic_archive(&[(&test_image, &["app:v1"])]);
    let mut layout = Layout::default();
    let manifest = layout.image(&test_image, LayerCompression::Gzip);
    layout.list(&manifest, None);
    for (program, arguments) in [
        ("gzip", &["-c"][..]),
        ("zstd", &["-c", "-q"]),
        ("zstd", &["-c", "-q", "--long=27"]),
        ("xz", &["-c"]),
        ("xz", &["-c", "-9e", "-C", "sha256"]),
        ("bzip2", &["-c"]),
    ] {
        let Some(compression) = through(program, arguments, &classic) else {
            continue;
        };
        let source = Archive::of(&compression).open().unwrap();
        assert_eq!(source.image().names, ["app:v1"]);
        assert_eq!(
            read(&source, &test_image.diff_ids()[1], 5),
            test_image.layers[1][5..]
        );
        // Parallel compressors write several streams in sequence.
        let (one, two) = classic.split_at(classic.len() / 2);
        let streams = [one, two].map(|part| through(program, arguments, part).unwrap());
        let source = Archive::of(&streams.concat()).docker(None).unwrap();
        assert_eq!(unpacked(&source).config, test_image.config);

        let compression = through(program, arguments, &layout.archive()).unwrap();
        let source = Archive::of(&compression).oci(None).unwrap();
        assert_eq!(tree(&source).root.bytes(), layout.get(&manifest));
    }
}

#[test]
fn truncated_compressed_archive_is_reported() {
    let archive = classic_archive(&[(&TestImage::new("app", 2), &["app:v1"])]);
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        let Some(compression) = through(program, &["-c"], &archive) else {
            continue;
        };
        for cut in [20, compression.len() / 2, compression.len() - 1] {
            let archive = Archive::of(&compression[..cut]);
            let error = archive.error_text(archive.open());
            assert!(
                error.starts_with(&format!(
                    "error: cannot decompress `app.tar`: its {program} stream is cut off"
                )),
                "{program} at {cut}: {error}"
            );
        }
        let mut bytes = compression.clone();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8].copy_from_slice(&[0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0]);
        let archive = Archive::of(&bytes);
        let error = archive.error_text(archive.open());
        assert!(
            error.contains("is damaged") || error.contains("is cut off"),
            "{program}: {error}"
        );
    }
}

#[test]
fn stream_with_excessive_memory_need_is_refused() {
    let archive = classic_archive(&[(&TestImage::new("app", 1), &["app:v1"])]);
    if let Some(compression) = through("xz", &["-c", "--lzma2=dict=1536MiB"], &archive) {
        let archive = Archive::of(&compression);
        assert_snapshot!(archive.error_text(archive.open()), @r"
        error: cannot decompress `app.tar`: its xz stream needs more than 128 MiB of memory
          caused by: needed memory too big for mem_limit_kb

        hint: decompress it first with its own tool
        exit code 1
        ");
    }
    let huge = [archive.as_slice(), &vec![7; 200 << 20]].concat();
    if let Some(compression) = through("zstd", &["-c", "-q", "--ultra", "--long=30"], &huge) {
        let archive = Archive::of(&compression);
        assert_snapshot!(archive.error_text(archive.open()), @r"
        error: cannot decompress `app.tar`: its zstd stream needs more than 128 MiB of memory
          caused by: Frame requires too much memory for decoding

        hint: decompress it first with its own tool
        exit code 1
        ");
    }
}

#[test]
fn piped_archive_is_read_compressed_or_not() {
    /// A reader that returns a few bytes at a time, as a pipe may.
    struct ShortReads(Cursor<Vec<u8>>);

    impl Read for ShortReads {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(7);
            self.0.read(&mut buffer[..length])
        }
    }

    let test_image = TestImage::new("app", 1);
    let archive = classic_archive(&[(&test_image, &["app:v1"])]);
    for bytes in [archive.clone(), gzip(&archive)] {
        let spool = tempfile::tempdir().unwrap();
        let source = run(Source::open_reader(
            ShortReads(Cursor::new(bytes)),
            "the pipe",
            Some("app:v1"),
            spool.path(),
        ))
        .unwrap();
        assert_eq!(source.what(), "the pipe");
        assert_eq!(unpacked(&source).config, test_image.config);
        assert_eq!(
            read(&source, &test_image.diff_ids()[0], 0),
            test_image.layers[0]
        );
        assert_eq!(fs::read_dir(spool.path()).unwrap().count(), 0);
    }
}

#[test]
fn named_pipe_is_read_to_its_end() {
    let test_image = TestImage::new("app", 1);
    let archive = classic_archive(&[(&test_image, &["app:v1"])]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let path = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(path, archive).unwrap());
    let source = open(ImageSource::Path(pipe)).unwrap();
    assert_eq!(unpacked(&source).config, test_image.config);
    writer.join().unwrap();
}

#[test]
fn missing_spool_directory_is_reported() {
    let archive = Archive::of(&gzip(&classic_archive(&[(&TestImage::new("a", 1), &[])])));
    let nowhere = archive.folder.path().join("nowhere");
    let result = open_with(&ImageSource::Path(archive.path()), &nowhere);
    assert_snapshot!(archive.error_text(result), @r"
    error: cannot copy `app.tar` to `nowhere`, after 0 bytes
      caused by: No such file or directory (os error 2)

    hint: set `TMPDIR` to a writable directory
    exit code 1
    ");
}

/// Standard input belongs to a process, so this test runs itself again with another one.
#[test]
fn standard_input_is_a_pipe_or_a_file_read_in_place() {
    const INNER: &str = "GCR_PUSH_TEST_READS_STANDARD_INPUT";
    if std::env::var_os(INNER).is_some() {
        let source = open(ImageSource::StandardInput(ArchiveKind::Any, None)).unwrap();
        assert_eq!(source.what(), "standard input");
        assert_eq!(source.image().names, ["app:v1"]);
        let layer = &unpacked(&source).layers[0];
        assert_eq!(run(source.hash(&layer.diff_id)).unwrap(), layer.diff_id);
        return;
    }
    let classic = classic_archive(&[(&TestImage::new("app", 1), &["app:v1"])]);
    for (bytes, is_piped) in [
        (classic.clone(), true),
        (gzip(&classic), true),
        (classic.clone(), false),
        (gzip(&classic), false),
    ] {
        let archive = Archive::of(&bytes);
        let stdin = if is_piped {
            Stdio::piped()
        } else {
            fs::File::open(archive.path()).unwrap().into()
        };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "image::streams::standard_input_is_a_pipe_or_a_file_read_in_place",
            ])
            .env(INNER, "1")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            io::Write::write_all(&mut stdin, &bytes).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && stdout.contains("1 passed"),
            "{stdout}"
        );
    }
}
