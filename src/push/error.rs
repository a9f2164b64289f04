//! The errors of a push, with their exit codes and hints.

use std::io;
use std::time::Duration;

use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{RetryKind, Retryable};
use crate::image::{Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use crate::push::compress::CompressError;
use crate::registry::RegistryError;

/// The kind of source that returned bytes with the wrong digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedIn {
    /// An archive, or the export of a container engine.
    Archive,
    /// An OCI layout in a directory.
    Directory,
    /// A registry.
    Registry,
}

/// Why an image could not be pushed to a destination.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused a request, or the connection failed.
    #[error("could not push to `{destination}`")]
    Registry {
        /// `host/repository`, followed by the tag or digest if the request named one.
        destination: String,
        /// The error of the registry.
        #[source]
        cause: RegistryError,
    },
    /// The source could not be read.
    #[error("could not read the image")]
    Source(#[source] SourceError),
    /// The image does not have a requested platform.
    #[error("the image does not exist for {}, only for {}", .missing.join(", "), .present.join(", "))]
    NoPlatform {
        /// The requested platforms that the source does not have.
        missing: Vec<String>,
        /// The platforms of the source.
        present: Vec<String>,
    },
    /// The only requested platform matches several images.
    #[error("`{wanted}` matches several images here: {}", .present.join(", "))]
    SeveralPlatforms {
        /// The requested platform.
        wanted: String,
        /// The platforms of the source that match it.
        present: Vec<String>,
    },
    /// The bytes of a layer do not have the digest that the image states.
    #[error("{what} is damaged: the bytes of its layer `{stated}` hash to `{actual}`")]
    Damaged {
        /// The source, as messages call it.
        what: String,
        /// The digest that the image states.
        stated: Digest,
        /// The digest of the bytes.
        actual: Digest,
        /// The kind of source that returned the bytes.
        origin: DamagedIn,
    },
    /// The registry received other bytes than were sent.
    #[error("a blob was changed on the way to `{destination}`")]
    Changed {
        /// `host/repository`.
        destination: String,
        /// The error of the registry.
        #[source]
        cause: RegistryError,
    },
    /// A blob of an earlier image is no longer in the registry.
    #[error("the blob {0} of an earlier image is no longer in the registry")]
    Vanished(Digest),
    /// A blob could not be read from a repository that should have it, to send it to another.
    #[error("could not read the blob {digest} back from `{holder}`")]
    NotReadBack {
        /// The digest of the blob.
        digest: Digest,
        /// `host/repository`.
        holder: String,
        /// The error of the registry.
        #[source]
        cause: Box<RegistryError>,
    },
    /// The source was written without this layer, and the destination does not have it either.
    #[error("{what} does not contain the layer {digest}, and `{destination}` does not have it")]
    Absent {
        /// The source, as messages call it.
        what: String,
        /// The digest of the layer.
        digest: Digest,
        /// `host/repository`.
        destination: String,
    },
    /// The registry refuses the manifest because it lacks a foreign (non-distributable) layer.
    #[error(
        "`{destination}` requires the layer {digest}, which is not pushed because it is available \
         from `{from}`"
    )]
    Foreign {
        /// `host/repository`.
        destination: String,
        /// The digest of the layer.
        digest: Digest,
        /// The URLs of the layer in the manifest.
        from: String,
        /// The error of the registry.
        #[source]
        cause: Box<RegistryError>,
    },
    /// The tag points at another digest, and `existing_tag` is `fail`.
    #[error("`{reference}` already exists as {found}, {}", other_than(.digest.as_ref()))]
    TagExists {
        /// The tag with its repository.
        reference: String,
        /// The digest that it points at.
        found: Digest,
        /// The digest of the image. `None` if its manifest is not built yet.
        digest: Option<Digest>,
    },
    /// A best-effort destination made no progress, so the push to it was cancelled.
    #[error(
        "`{destination}` was given up: no data was transferred for {} s after the others finished",
        after.as_secs()
    )]
    TimedOut {
        /// `host/repository`.
        destination: String,
        /// How long it made no progress.
        after: Duration,
    },
    /// The manifest of the image cannot be built, or exceeds the limits of a registry.
    #[error("could not write a manifest for the image")]
    Manifest(#[source] ManifestError),
    /// A layer could not be compressed.
    #[error("could not compress the layer `{diff_id}`")]
    Compress {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Why the compression failed.
        #[source]
        cause: CompressError,
    },
}

fn other_than(digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("not {digest}"),
        None => "which is another image".to_owned(),
    }
}

impl PushError {
    /// Creates the error for a layer of `source` whose bytes do not have the stated digest.
    pub(crate) fn damaged(source: &Source, stated: Digest, actual: Digest) -> Self {
        Self::Damaged {
            what: source.what().to_owned(),
            stated,
            actual,
            origin: match source.repository() {
                Some(_) => DamagedIn::Registry,
                None if source.is_directory() => DamagedIn::Directory,
                None => DamagedIn::Archive,
            },
        }
    }

    /// Returns whether the registry may have refused the media type of a Docker manifest.
    pub(super) fn may_reject_docker_manifest(&self) -> bool {
        matches!(self, Self::Registry { cause, .. } if cause.refuses_manifest())
    }

    /// Returns whether a blob that should be in a repository is not there or cannot be read.
    pub(super) fn is_caused_by_reuse(&self) -> bool {
        matches!(self, Self::Vanished(_) | Self::NotReadBack { .. })
    }
}

impl Retryable for PushError {
    fn retry(&self) -> RetryKind {
        match self {
            Self::Registry { cause, .. } => cause.retry(),
            // The source has the right bytes, so they were changed in transit.
            Self::Changed { .. } => RetryKind::Limited,
            _ => RetryKind::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        match &mut self {
            Self::Registry { cause, .. } | Self::Changed { cause, .. } => {
                cause.note_tries(times, during);
            }
            Self::Foreign { cause, .. } => cause.note_tries(times, during),
            _ => {}
        }
        self
    }
}

impl Diagnostic for PushError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry { cause, .. } => cause.exit_code(),
            Self::Source(cause) => cause.exit_code(),
            Self::Damaged { .. } | Self::Manifest(_) | Self::Compress { .. } => ExitCode::Failed,
            Self::NoPlatform { .. } | Self::SeveralPlatforms { .. } => ExitCode::Usage,
            Self::TagExists { .. } | Self::Absent { .. } | Self::Foreign { .. } => ExitCode::Failed,
            Self::NotReadBack { cause, .. } => cause.exit_code(),
            Self::Vanished(_) | Self::Changed { .. } | Self::TimedOut { .. } => ExitCode::Temporary,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Registry { cause, .. } => cause.hints(),
            Self::NotReadBack { cause, .. } => cause.hints(),
            Self::Source(cause) => cause.hints(),
            Self::Absent { .. } => vec![
                "push it to a registry that has the base image, or write the image with all its \
                 layers"
                    .to_owned(),
            ],
            Self::Foreign { .. } => vec![
                "this registry accepts only images with all their layers: push it to another \
                 registry, or use a base image whose layers can be redistributed"
                    .to_owned(),
            ],
            Self::Damaged {
                origin: DamagedIn::Registry,
                ..
            } => vec![
                "the registry returns different bytes than the image names, or a proxy changes \
                 them: push the image to it again from the machine that built it"
                    .to_owned(),
            ],
            Self::Damaged {
                origin: DamagedIn::Directory,
                ..
            } => vec![
                "write the layout again; if it was passed between jobs as an artifact, it may have \
                 been damaged there"
                    .to_owned(),
            ],
            Self::Damaged { .. } => vec![
                "write the archive again; if it was passed between jobs as an artifact, it may \
                 have been damaged there"
                    .to_owned(),
            ],
            Self::Changed { .. } => vec![
                "the image itself is intact: try again; if the problem continues, check whether a \
                 proxy changes the data"
                    .to_owned(),
            ],
            Self::NoPlatform { .. } => vec![
                "set `platforms` to platforms that exist; if an archive names platforms that it \
                 does not contain, save it on the machine that built them"
                    .to_owned(),
            ],
            Self::SeveralPlatforms { present, .. } => vec![format!(
                "set `platforms` to one of them, such as `{}`; several make a smaller index",
                present.first().map_or("", String::as_str)
            )],
            Self::Vanished(_) => vec![
                "push again with `layer_reuse: off`, which sends every layer that is missing"
                    .to_owned(),
            ],
            Self::Compress {
                cause: CompressError::Spool { cause, .. },
                ..
            } if cause.kind() != io::ErrorKind::StorageFull => {
                vec!["compressed layers need a writable folder: set `TMPDIR` to one".to_owned()]
            }
            Self::Compress {
                cause: CompressError::Spool { .. },
                ..
            } => vec![
                "compressed layers need space there: free some space, or set `TMPDIR` to a larger \
                 disk"
                    .to_owned(),
            ],
            Self::TagExists { .. } => vec![
                "`existing_tag: fail` does not allow this: push a new tag, or use `overwrite` or \
                 `keep`"
                    .to_owned(),
            ],
            Self::TimedOut { .. } => vec!["try again when it responds".to_owned()],
            Self::Manifest(_) | Self::Compress { .. } => Vec::new(),
        }
    }
}
