//! The result of a push at each destination, and its errors.

use std::sync::Arc;

use serde::Serialize;

use crate::diagnostics::render::causes;
use crate::diagnostics::{Diagnostic, SharedError};
use crate::google::preflight::MissingRole;
use crate::oci::digest::Digest;
use crate::oci::reference::Endpoint;
use crate::push::PushError;
use crate::push::targets::Target;
use crate::push::verify::{Verified, VerifyError};
use crate::registry::RegistryError;
use crate::registry::pool::PoolError;

/// The result for an image at one destination, or at all destinations together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A dry run: nothing was written.
    DryRun,
    /// There was no credential to push with, and the options allow that.
    Skipped,
    /// The image was pushed, or a tag was moved to it.
    Pushed,
    /// All tags pointed at the image before.
    Unchanged,
    /// Every tag still points at another image, because `existing_tag` is `keep`.
    Kept,
    /// Only some destinations have the image, or a later step failed.
    Partial,
    /// No destination has the image.
    Failed,
}

/// The result of a push at one destination.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `host/repository`.
    pub name: String,
    /// The tags of the destination, and whether this push moved each.
    pub tags: Vec<PushedTag>,
    /// The digest that the tags point at.
    pub digest: Digest,
    /// The bytes of the blobs that were sent. A blob that was sent twice counts twice.
    pub sent_bytes: u64,
    /// The bytes of the blobs that were mounted from another repository of the registry.
    pub mounted_bytes: u64,
    /// The bytes of the blobs that the repository already had.
    pub present_bytes: u64,
    /// The number of blobs that were read from the source again for this destination, and their
    /// bytes.
    pub reread: (u64, u64),
    /// The number of referrers of the image at the destination; in a dry run, after a real push.
    pub referrers: usize,
    /// The tags of those referrers that have one, with their digests.
    pub referrer_tags: Vec<(String, Digest)>,
}

/// A tag after the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag, without the repository.
    pub tag: String,
    /// Whether this push moved the tag. False if it pointed at the digest before, or is kept.
    pub moved: bool,
    /// The other digest that it still points at, if `existing_tag` is `keep`.
    pub kept: Option<Digest>,
}

/// A pushed image at one destination, with the result of the verification.
#[derive(Clone, Debug)]
pub struct PushedImage {
    /// The result of the push.
    pub pushed: Pushed,
    /// The result of the verification. `None` if `verify` is `off`.
    pub verified: Option<Verified>,
    /// Whether it is a best-effort destination, whose failure does not fail the run.
    pub best_effort: bool,
}

impl PushedImage {
    /// Returns the status at this destination; in a dry run, the status after a real push.
    pub fn status(&self) -> Status {
        let tags = &self.pushed.tags;
        if tags.is_empty() || tags.iter().any(|tag| tag.moved) {
            Status::Pushed
        } else if tags.iter().all(|tag| tag.kept.is_some()) {
            Status::Kept
        } else {
            Status::Unchanged
        }
    }
}

/// A destination where the push failed.
#[derive(Clone, Debug)]
pub struct FailedDestination {
    /// `host/repository`.
    pub name: String,
    /// The tags that should have been set.
    pub tags: Vec<String>,
    /// Whether its failure does not fail the run.
    pub best_effort: bool,
    /// The error; destinations that fail for the same reason share it.
    pub error: SharedError,
}

impl FailedDestination {
    /// Creates the failure of `target`.
    pub fn new(target: &Target, error: SharedError) -> Self {
        Self {
            name: target.name(),
            tags: target.tags.clone(),
            best_effort: target.best_effort,
            error,
        }
    }

    /// Returns the error and its causes as one line.
    pub fn reason(&self) -> String {
        let causes = causes(&self.error).into_iter();
        causes.fold(self.error.to_string(), |text, cause| {
            format!("{text}: {cause}")
        })
    }
}

/// Why the push to a destination failed.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The registry could not be opened.
    #[error(transparent)]
    Open(Arc<PoolError>),
    /// The registry refuses the credential.
    #[error("could not sign in to `{0}`")]
    SignIn(Endpoint, #[source] RegistryError),
    /// Google reports that the credential may not write to the repository.
    #[error(transparent)]
    MissingRole(Box<MissingRole>),
    /// The image could not be pushed.
    #[error(transparent)]
    Push(PushError),
    /// The verification after the push failed.
    #[error(transparent)]
    Verify(VerifyError),
}

impl Diagnostic for DestinationError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Open(error) => &**error,
            Self::SignIn(_, error) => error,
            Self::MissingRole(error) => &**error,
            Self::Push(error) => error,
            Self::Verify(error) => error,
        })
    }
}
