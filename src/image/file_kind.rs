//! Detects what a file is by its first bytes.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::tar::header::is_tar;

/// The number of bytes of a file that are examined.
pub(super) const START: usize = 4096;

/// Reads as much of the start of `file` as there is, at most [`START`] bytes.
pub(super) fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; START];
    let mut filled = 0;
    while filled < START {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompressionFormat {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl CompressionFormat {
    /// Detects the format by its magic number.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let zstd_skippable =
            start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
        if start.starts_with(&[0x1f, 0x8b, 0x08]) {
            Some(Self::Gzip)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || zstd_skippable {
            Some(Self::Zstd)
        } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Some(Self::Xz)
        } else if start.len() >= 10
            && start.starts_with(b"BZh")
            && start[3].is_ascii_digit()
            && (start[4..10] == [0x31, 0x41, 0x59, 0x26, 0x53, 0x59]
                || start[4..10] == [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])
        {
            Some(Self::Bzip2)
        } else {
            None
        }
    }

    /// The name of the format and of its command-line program.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

/// What a file that is not an image looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described by its text, right below")]
pub enum FileKind {
    Empty,
    /// Standard input was at its end at once.
    NoInput,
    Terminal,
    Zeros,
    Dockerfile,
    Json,
    Html,
    GitLfs,
    Program,
    Zip,
    Squashfs,
    Script,
    Text,
    Unknown,
    /// A tar file of a file system.
    FileSystem,
    /// A tar file with a layout in a folder.
    LayoutInFolder,
    /// A tar file of another kind.
    OtherTar,
    /// The format that Docker wrote before 1.10.
    OldSave,
    /// Compressed twice.
    Compressed(&'static str),
}

impl FileKind {
    /// Detects the kind by the first bytes of a file that is not an archive.
    pub(super) fn of(start: &[u8]) -> Self {
        if let Some(packing) = CompressionFormat::of(start) {
            return Self::Compressed(packing.name());
        }
        if is_tar(start) {
            return Self::OtherTar;
        }
        let magic = |magic: &[u8]| start.starts_with(magic);
        if start.is_empty() {
            return Self::Empty;
        } else if start.iter().all(|byte| *byte == 0) {
            return Self::Zeros;
        } else if magic(b"\x7fELF") || magic(b"MZ") || magic(&[0xcf, 0xfa, 0xed, 0xfe]) {
            return Self::Program;
        } else if magic(b"PK\x03\x04") || magic(b"PK\x05\x06") {
            return Self::Zip;
        } else if magic(b"hsqs") {
            return Self::Squashfs;
        } else if magic(b"version https://git-lfs") {
            return Self::GitLfs;
        } else if magic(b"#!") {
            return Self::Script;
        }
        // The examined bytes may end in the middle of a character.
        let text = match std::str::from_utf8(start) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return Self::Unknown,
        };
        if text.contains('\0') {
            return Self::Unknown;
        }
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let upper = |length: usize| -> String {
            text.chars().take(length).collect::<String>().to_uppercase()
        };
        if text.starts_with(['{', '[']) {
            Self::Json
        } else if upper(9) == "<!DOCTYPE" || upper(5) == "<HTML" {
            Self::Html
        } else if text
            .lines()
            .any(|line| line.len() > 5 && line.as_bytes()[..5].eq_ignore_ascii_case(b"FROM "))
        {
            Self::Dockerfile
        } else {
            Self::Text
        }
    }

    /// Detects the kind by the names of the members of a tar file without an image at its top
    /// level.
    pub(super) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut looks = Self::OtherTar;
        let mut empty = true;
        for name in names {
            empty = false;
            if name == "repositories" {
                return Self::OldSave;
            }
            if name.ends_with("/oci-layout") || name.ends_with("/manifest.json") {
                return Self::LayoutInFolder;
            }
            let top = name.split('/').next().unwrap_or_default();
            if ["bin", "etc", "usr", "lib", "var", ".dockerenv"].contains(&top) {
                looks = Self::FileSystem;
            }
        }
        if empty { Self::Empty } else { looks }
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Dockerfile => {
                "build it first, then name what `docker save`, `buildah push oci-archive:…` or \
                 `docker buildx build --output type=oci,dest=…` wrote"
            }
            Self::GitLfs => "fetch the file itself: `git lfs pull`, or `lfs: true` in the checkout",
            Self::Html => "the download brought a web page, perhaps a sign-in form: download again",
            Self::FileSystem => {
                "`docker export` writes the files of a container; `docker save` writes an image"
            }
            Self::LayoutInFolder => {
                "pack what is in the folder, not the folder: `tar -C FOLDER -cf image.tar .`"
            }
            Self::OldSave => "load it with a current Docker, and save it again",
            Self::Zip => "unzip it, and name the archive inside",
            Self::NoInput => {
                "the command in front of the pipe wrote nothing: it may have told why above"
            }
            Self::Terminal => "give it an archive: `docker save app | gcr-push`",
            Self::Compressed(_) => "unpack it once, so that at most one compression is left",
            _ => "name what `docker save` wrote, an OCI archive, or a directory with an OCI layout",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty | Self::NoInput => "is empty",
            Self::Terminal => "is a terminal",
            Self::Zeros => "starts with nothing but zeros",
            Self::Dockerfile => "looks like a Dockerfile",
            Self::Json => "looks like JSON",
            Self::Html => "looks like a web page",
            Self::GitLfs => "is a Git LFS pointer, not the file that it stands for",
            Self::Program => "looks like a program",
            Self::Zip => "looks like a zip file",
            Self::Squashfs => "looks like a squashfs image of a file system",
            Self::Script => "looks like a script",
            Self::Text => "looks like text",
            Self::Unknown => "is no tar file, compressed or not",
            Self::FileSystem => "is a tar file of a file system",
            Self::LayoutInFolder => "is a tar file that has the image in a folder",
            Self::OtherTar => {
                "is a tar file with neither `manifest.json` nor `oci-layout` at its top"
            }
            Self::OldSave => "was saved by a Docker older than 1.10, and has no `manifest.json`",
            Self::Compressed(name) => {
                return write!(formatter, "is compressed with {name} more than once");
            }
        })
    }
}
