use std::sync::Arc;

use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::commands::pull_secret::PullSecretError;
use crate::diagnostics::{Diagnostic, SharedError};
use crate::image::SourceError;
use crate::push::PushError;
use crate::push::destinations::TargetError;
use crate::registry::pool::PoolError;

/// What `push` can end with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum PushCommandError {
    /// There is no credential for a destination.
    Auth(#[from] AuthError),
    /// The registry of the source cannot be opened.
    Open(#[from] Arc<PoolError>),
    /// The image cannot be read.
    Source(#[from] SourceError),
    /// The names make no destination.
    Target(#[from] TargetError),
    /// The image could not be pushed anywhere.
    Push(#[from] PushError),
    /// A destination did not get the image.
    Destination(SharedError),
    /// The pull secret could not be made.
    PullSecret(#[from] PullSecretError),
    /// A result could not be written.
    Output(#[from] OutputError),
}

impl Diagnostic for PushCommandError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Auth(error) => error,
            Self::Open(error) => &**error,
            Self::Source(error) => error,
            Self::Target(error) => error,
            Self::Push(error) => error,
            Self::Destination(error) => &**error,
            Self::PullSecret(error) => error,
            Self::Output(error) => error,
        })
    }
}
