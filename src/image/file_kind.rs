//! Detects what a file is by its first bytes.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

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

/// What is handed over in place of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described by its text, right below")]
pub enum FileKind {
    Empty,
    /// A Dockerfile, or a tar file with one.
    BuildInput,
    /// What a download brings that needs a login.
    WebPage,
    GitLfsPointer,
    /// A tar file of a file system, as `docker export` writes it.
    FileSystem,
    /// A tar file of the folder that the image is in.
    ImageInFolder,
    /// Any other tar file.
    OtherTar,
    /// Anything else.
    Other,
    /// Standard input that nothing is piped into.
    Terminal,
}

impl FileKind {
    /// Detects the kind by the first bytes of a file that is not a tar file.
    pub(super) fn of(start: &[u8]) -> Self {
        let text = String::from_utf8_lossy(start);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let starts_with = |text: &str, word: &str| {
            let start = text.get(..word.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        if start.is_empty() {
            Self::Empty
        } else if text.starts_with("version https://git-lfs") {
            Self::GitLfsPointer
        } else if starts_with(text, "<!doctype") || starts_with(text, "<html") {
            Self::WebPage
        } else if !start.contains(&0) && text.lines().any(|line| starts_with(line, "FROM ")) {
            Self::BuildInput
        } else {
            Self::Other
        }
    }

    /// Detects the kind by the names of the members of a tar file without an image at its top
    /// level.
    pub(super) fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut kind = Self::Empty;
        for name in names {
            if name.ends_with("/oci-layout") || name.ends_with("/manifest.json") {
                return Self::ImageInFolder;
            }
            kind = match name.split('/').next().unwrap_or_default() {
                "bin" | "etc" | "usr" | "lib" | "var" | ".dockerenv" => Self::FileSystem,
                "Dockerfile" | "Containerfile" => Self::BuildInput,
                _ if kind == Self::Empty => Self::OtherTar,
                _ => kind,
            };
        }
        kind
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Empty => "the command that writes it wrote nothing: check its output",
            Self::BuildInput => {
                "build it first, then use the file that `docker save`, `buildah push \
                 oci-archive:…` or `docker buildx build --output type=oci,dest=…` wrote"
            }
            Self::WebPage => "the download may be a sign-in page: download it again",
            Self::GitLfsPointer => "fetch the file: `git lfs pull`, or `lfs: true` in the checkout",
            Self::FileSystem => {
                "use `docker save`, which writes an image; `docker export` writes the files of a \
                 container"
            }
            Self::ImageInFolder => {
                "pack the content of the folder, not the folder: `tar -C FOLDER -cf image.tar .`"
            }
            Self::OtherTar | Self::Other => {
                "use the file that `docker save` wrote, an OCI archive, or a directory with an OCI \
                 layout"
            }
            Self::Terminal => "pipe an archive into it: `docker save app | gcr-push`",
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "is empty",
            Self::BuildInput => "is the input of a build",
            Self::WebPage => "is a web page",
            Self::GitLfsPointer => "is a Git LFS pointer, not the file itself",
            Self::FileSystem => "is a tar file of a file system",
            Self::ImageInFolder => "is a tar file that has the image in a folder",
            Self::OtherTar => {
                "is a tar file with neither `manifest.json` nor `oci-layout` at its top"
            }
            Self::Other => "is not a tar file, or is compressed more than once",
            Self::Terminal => "is a terminal",
        })
    }
}
