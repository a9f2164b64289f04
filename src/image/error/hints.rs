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
                format!("these are there: {}", similar.join(", "))
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
            } => "make the archive again: its writer or its download was stopped, or the disk was \
                 full"
                .to_owned(),
            Self::Absent {
                is_directory: true, ..
            } => "write the layout again, with all its blobs in it".to_owned(),
            Self::Absent { .. } => "make the archive again, with all its layers in it".to_owned(),
            Self::Spool { cause, .. } if is_full(cause) => {
                "set `TMPDIR` to a directory on a disk with more room; an archive file that is not \
                 compressed is read in place, and needs none"
                    .to_owned()
            }
            Self::Spool { .. } => "set `TMPDIR` to a directory that can be written to".to_owned(),
            Self::Unpack {
                fault: Fault::Memory,
                ..
            } => "decompress it with its own tool beforehand".to_owned(),
            Self::WrongContent {
                is_directory: true, ..
            } => "write the layout again, or copy it again: its bytes were changed".to_owned(),
            Self::Damaged { .. } | Self::Unpack { .. } | Self::WrongContent { .. } => {
                "make the archive again, or fetch it again: its bytes were changed".to_owned()
            }
            Self::Hostile { .. } => {
                "no image builder writes such an archive: find out who made it".to_owned()
            }
            Self::Outside { .. } => {
                "copy the layout with its links followed, `cp -RL`, and name the copy".to_owned()
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
                "write the layout with sha256 digests, which is what every registry takes"
                    .to_owned()
            }
            Self::AllMissing { .. } => {
                "save it from where the platform is: `docker save --platform linux/amd64 …`"
                    .to_owned()
            }
            Self::LayerCompression { .. } => {
                "make the image again with gzip, zstd or uncompressed layers".to_owned()
            }
            Self::Ambiguous {
                address, choices, ..
            } => format!(
                "write `{}:REF`, where REF is one of {}",
                sanitize(address),
                list(choices)
            ),
            Self::NoSuchImage { choices, .. } => format!("it holds {}", list(choices)),
            Self::NoImage { .. } => {
                "check the name and the tag or digest in `image`, and that the step that \
                pushes it there ran before"
                    .to_owned()
            }
            Self::ReferrersUnsupported { .. } => {
                "`referrers: true` takes what can hold signatures: `docker://NAME`, `oci:DIR` or \
                 `oci-archive:FILE`"
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
