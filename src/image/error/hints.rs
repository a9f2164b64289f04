//! Exit codes and hints for images that cannot be read.

use std::io;

use super::{Fault, SourceError, list};
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::image::file_kind::FileKind;
use crate::oci::manifest::ManifestError;

impl Diagnostic for SourceError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Registry { cause, .. } => Some(&**cause),
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing { .. }
            | Self::NotImage { .. }
            | Self::NotLayout { .. }
            | Self::WrongKind { .. }
            | Self::Ambiguous { .. }
            | Self::NoSuchImage { .. }
            | Self::NoImage { .. }
            | Self::ReferrersUnsupported { .. } => ExitCode::Usage,
            _ => self.source_exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { similar, .. } if !similar.is_empty() => {
                format!("these exist: {}", similar.join(", "))
            }
            Self::Missing { .. } => {
                "check that the step that builds the image ran in this job, or that its artifact \
                 was downloaded"
                    .to_owned()
            }
            Self::NotImage { kind, .. } => kind.advice().to_owned(),
            Self::NotLayout { advice, .. } => advice.clone(),
            Self::WrongKind { instead, .. } => format!("write `{instead}`"),
            Self::Cut { .. }
            | Self::Unpack {
                fault: Fault::Cut, ..
            } => "create the archive again: its writer or its download was stopped, or the disk \
                  was full"
                .to_owned(),
            Self::Absent {
                is_directory: true, ..
            } => "write the layout again, with all its blobs".to_owned(),
            Self::Absent { .. } => "create the archive again, with all its layers".to_owned(),
            Self::Spool { cause, .. } if is_full(cause) => {
                "set `TMPDIR` to a directory on a disk with more space; an uncompressed archive \
                 file needs no space"
                    .to_owned()
            }
            Self::Spool { .. } => "set `TMPDIR` to a writable directory".to_owned(),
            Self::Unpack {
                fault: Fault::Memory,
                ..
            } => "decompress it first with its own tool".to_owned(),
            Self::WrongContent {
                is_directory: true, ..
            } => "write the layout again, or copy it again: its bytes were changed".to_owned(),
            Self::Damaged { .. } | Self::Unpack { .. } | Self::WrongContent { .. } => {
                "create the archive again, or download it again: its bytes were changed".to_owned()
            }
            Self::Hostile { .. } => {
                "no image builder writes such an archive: find out who created it".to_owned()
            }
            Self::Outside { .. } => {
                "copy the layout with `cp -RL`, which follows its links, and use the copy"
                    .to_owned()
            }
            Self::TooManyMembers { .. } => FileKind::FileSystem.advice().to_owned(),
            Self::Sparse { .. } => "pack the archive again without `--sparse`".to_owned(),
            Self::Manifest {
                cause: ManifestError::Schema1,
                ..
            } => "pull the image with a current Docker, or copy it with `skopeo copy --format \
                  v2s2`, and save it again"
                .to_owned(),
            Self::Manifest { cause, .. } => match cause.hint() {
                Some(hint) => hint.to_owned(),
                None => return Vec::new(),
            },
            Self::OtherAlgorithm { .. } => {
                "write the layout with sha256 digests, which every registry accepts".to_owned()
            }
            Self::AllMissing { .. } => {
                "save it on a machine that has the platform: `docker save --platform linux/amd64 …`"
                    .to_owned()
            }
            Self::LayerCompression { .. } => {
                "create the image again with gzip, zstd or uncompressed layers".to_owned()
            }
            Self::Ambiguous {
                address, choices, ..
            } => format!(
                "write `{}:REF`, where REF is one of {}",
                sanitize(address),
                list(choices)
            ),
            Self::NoSuchImage { choices, .. } => format!("it contains {}", list(choices)),
            Self::NoImage { .. } => {
                "check the name and the tag or digest in `image`, and check that the step that \
                 pushes it ran before"
                    .to_owned()
            }
            Self::ReferrersUnsupported { .. } => {
                "with `referrers: true`, use a source that can have signatures: `docker://NAME`, \
                 `oci:DIR` or `oci-archive:FILE`"
                    .to_owned()
            }
            _ => return self.source_hints(),
        };
        vec![hint]
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
