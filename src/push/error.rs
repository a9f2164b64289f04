//! Why an image did not arrive, and what to do about it.

use std::io;
use std::time::Duration;

use crate::diagnostics::{Diagnostic, ExitCode};
use crate::image::{Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use crate::push::compress::CompressError;
use crate::registry::{RegistryError, RetryKind, Retryable};

/// Where bytes came from that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagedIn {
    /// An archive, or an engine's export.
    Archive,
    /// A layout in a directory.
    Directory,
    /// A registry.
    Registry,
}

/// An image that did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused, or the connection did not hold.
    #[error("could not push to `{destination}`")]
    Registry {
        /// `host/repository`, with the tag where one was being put.
        destination: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// The source could not be read.
    #[error("could not read the image")]
    Source(#[source] SourceError),
    /// A platform was asked for that the image does not have.
    #[error("the image is not there for {}, only for {}", .missing.join(", "), .present.join(", "))]
    NoPlatform {
        /// What was asked for.
        missing: Vec<String>,
        /// What the source holds.
        present: Vec<String>,
    },
    /// The one platform that was asked for is that of several images.
    #[error("`{wanted}` means several images here: {}", .present.join(", "))]
    SeveralPlatforms {
        /// What was asked for.
        wanted: String,
        /// What the source holds of it.
        present: Vec<String>,
    },
    /// A layer's bytes are not the ones that the image names.
    #[error("{what} is damaged: the bytes of its layer `{stated}` hash to `{actual}`")]
    Damaged {
        /// The source, as messages call it.
        what: String,
        /// What the image says.
        stated: Digest,
        /// What the bytes are.
        actual: Digest,
        /// Where they came from.
        origin: DamagedIn,
    },
    /// What arrived is not what was sent.
    #[error("a blob was changed on the way to `{destination}`")]
    Changed {
        /// `host/repository`.
        destination: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// A blob that an earlier image names is not there after all.
    #[error("the blob {0} of an earlier image is gone from the registry")]
    Vanished(Digest),
    /// A blob of an earlier image could not be read from a registry that has it, for one that
    /// lacks it.
    #[error("could not read the blob {digest} of an earlier image back from `{holder}`")]
    NotReadBack {
        /// The blob.
        digest: Digest,
        /// `host/repository`.
        holder: String,
        /// What the registry said.
        #[source]
        cause: Box<RegistryError>,
    },
    /// A layer that the image was written without, because a registry has it, and that this one does
    /// not have.
    #[error("{what} does not hold the layer {digest}, and `{destination}` does not either")]
    Absent {
        /// The source, as messages call it.
        what: String,
        /// The layer.
        digest: Digest,
        /// `host/repository`.
        destination: String,
    },
    /// A manifest that is refused because a layer is not there that its owner lets nobody pass on.
    #[error(
        "`{destination}` wants the layer {digest}, which is not pushed because it can be had from `{from}`"
    )]
    Foreign {
        /// `host/repository`.
        destination: String,
        /// The layer.
        digest: Digest,
        /// Where the manifest says that it is.
        from: String,
        /// What the registry said.
        #[source]
        cause: Box<RegistryError>,
    },
    /// A tag that is there with another digest, where that was not to be.
    #[error("`{reference}` is there already, as {found}, {}", other_than(.digest.as_ref()))]
    TagExists {
        /// The tag with its repository.
        reference: String,
        /// Where it points.
        found: Digest,
        /// Where it was to point, if the image had been made by then.
        digest: Option<Digest>,
    },
    /// A destination that nobody waits for fell behind the others; it gets the blob later.
    #[error("it fell behind the others")]
    Behind,
    /// A destination that nobody waits for was given up.
    #[error(
        "`{destination}` was given up: nothing had moved for {} s since the others were done",
        after.as_secs()
    )]
    Late {
        /// `host/repository`.
        destination: String,
        /// How long it stood still.
        after: Duration,
    },
    /// The manifest that the image needs is none that a registry takes.
    #[error("could not write a manifest for the image")]
    Manifest(#[source] ManifestError),
    /// A layer could not be compressed.
    #[error("could not compress the layer `{diff_id}`")]
    Compress {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Why.
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
    /// A layer of `source` whose bytes do not hash to what the image says.
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

    /// True when it may be the media type of Docker's manifest that was refused.
    pub(super) fn may_be_of_form(&self) -> bool {
        matches!(self, Self::Registry { cause, .. } if cause.refuses_manifest())
    }

    /// True when it would not have happened without layers of earlier images.
    pub(super) fn is_of_reuse(&self) -> bool {
        matches!(self, Self::Vanished(_) | Self::NotReadBack { .. })
    }
}

impl Retryable for PushError {
    fn retry(&self) -> RetryKind {
        match self {
            Self::Registry { cause, .. } => cause.retry(),
            // The image is sound, so it was changed on the way.
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
            Self::Vanished(_) | Self::Changed { .. } | Self::Behind | Self::Late { .. } => {
                ExitCode::Temporary
            }
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
                "this registry takes no image without all its layers: push it to another, or \
                 build it on a base whose layers may be passed on"
                    .to_owned(),
            ],
            Self::Damaged {
                origin: DamagedIn::Registry,
                ..
            } => vec![
                "the registry hands out other bytes than the image names, or something on the way \
                 changes them: push the image to it again, from where it was built"
                    .to_owned(),
            ],
            Self::Damaged {
                origin: DamagedIn::Directory,
                ..
            } => vec![
                "write the layout again; if it was handed from job to job as an artifact, it may \
                 have been damaged on the way"
                    .to_owned(),
            ],
            Self::Damaged { .. } => vec![
                "write the archive again; if it was handed from job to job as an artifact, it may \
                 have been damaged on the way"
                    .to_owned(),
            ],
            Self::Changed { .. } => vec![
                "the image itself is sound: run this again; where it stays so, a proxy rewrites \
                 what goes through it"
                    .to_owned(),
            ],
            Self::NoPlatform { .. } => vec![
                "ask for those that are there in `platforms`; an archive may name platforms that it \
                 does not hold, and has to be saved from where they were built"
                    .to_owned(),
            ],
            Self::SeveralPlatforms { present, .. } => vec![format!(
                "name one of them in `platforms`, as `{}`; several make a smaller index",
                present.first().map_or("", String::as_str)
            )],
            Self::Vanished(_) => vec![
                "push again with `layer_reuse: off`, which sends every layer that is missing"
                    .to_owned(),
            ],
            Self::Compress {
                cause: CompressError::Spool { cause, .. },
                ..
            } if cause.kind() != io::ErrorKind::StorageFull => vec![
                "compressed layers need a folder that can be written to: name one in `TMPDIR`"
                    .to_owned(),
            ],
            Self::Compress {
                cause: CompressError::Spool { .. },
                ..
            } => vec![
                "compressed layers need room there: free some, or set `TMPDIR` to a larger disk"
                    .to_owned(),
            ],
            Self::TagExists { .. } => vec![
                "`existing_tag: fail` has it so: push under a new tag, or choose `overwrite` or `keep`"
                    .to_owned(),
            ],
            Self::Late { .. } => vec!["run this again when it answers".to_owned()],
            Self::Manifest(_) | Self::Compress { .. } | Self::Behind => Vec::new(),
        }
    }
}
