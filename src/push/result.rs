//! What came of a push at each of its destinations.

use std::sync::Arc;

use serde::Serialize;

use crate::diagnostics::render::causes;
use crate::diagnostics::{Diagnostic, SharedError};
use crate::google::preflight::MissingRole;
use crate::oci::reference::Endpoint;
use crate::push::destinations::Target;
use crate::push::verify::{Verified, VerifyError};
use crate::push::{PushError, Pushed};
use crate::registry::RegistryError;
use crate::registry::pool::PoolError;

/// What came of an image at one destination, or at all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was done; the rest says what would be.
    DryRun,
    /// There was no credential to push with, which fails nothing.
    Skipped,
    /// It is there, under a tag that did not point at it before.
    Pushed,
    /// It was there under all its tags already.
    Unchanged,
    /// Every tag stays at another image, as `existing_tag` says.
    Kept,
    /// It is at some of the destinations alone, or something else failed after it was there.
    Partial,
    /// It is nowhere.
    Failed,
}

/// An image at one destination, and what the registry said afterwards.
#[derive(Clone, Debug)]
pub struct PushedImage {
    /// What was pushed.
    pub pushed: Pushed,
    /// What was checked. `None` when `verify` is `off`.
    pub verified: Option<Verified>,
    /// True if the push would not have failed without it.
    pub best_effort: bool,
}

impl PushedImage {
    /// What came of it here, or in a dry run would.
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

/// A destination that did not get the image.
#[derive(Clone, Debug)]
pub struct FailedDestination {
    /// `host/repository`.
    pub name: String,
    /// The tags that it was to get.
    pub tags: Vec<String>,
    /// True if its failure fails nothing.
    pub best_effort: bool,
    /// Why, shared by all destinations that fail for the same reason.
    pub error: SharedError,
}

impl FailedDestination {
    /// The failure of `target`.
    pub fn new(target: &Target, error: SharedError) -> Self {
        Self {
            name: format!("{}/{}", target.endpoint, target.repository),
            tags: target.tags.clone(),
            best_effort: target.best_effort,
            error,
        }
    }

    /// The error and its causes in one line.
    pub fn reason(&self) -> String {
        let causes = causes(&self.error).into_iter();
        causes.fold(self.error.to_string(), |text, cause| {
            format!("{text}: {cause}")
        })
    }
}

/// Why a destination did not get the image.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// Its registry could not be opened.
    #[error(transparent)]
    Open(Arc<PoolError>),
    /// Its registry refuses the credential.
    #[error("could not sign in to `{0}`")]
    SignIn(Endpoint, #[source] RegistryError),
    /// Google says that the credential may not push there.
    #[error(transparent)]
    MissingRole(Box<MissingRole>),
    /// The push failed.
    #[error(transparent)]
    Push(PushError),
    /// The image is not there afterwards.
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
