//! The errors of `push`.

use std::sync::Arc;

use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::commands::pull_secret::PullSecretError;
use crate::diagnostics::{Diagnostic, SharedError};
use crate::image::SourceError;
use crate::push::PushError;
use crate::push::targets::TargetError;
use crate::registry::pool::PoolError;

/// An error of `push`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum PushCommandError {
    /// There is no credential for a destination.
    Auth(#[from] AuthError),
    /// The registry of the source cannot be opened.
    Open(#[from] Arc<PoolError>),
    /// The image cannot be read.
    Source(#[from] SourceError),
    /// The destinations are invalid.
    Target(#[from] TargetError),
    /// The image could not be pushed to any destination.
    Push(#[from] PushError),
    /// The push to a destination failed.
    Destination(SharedError),
    /// The pull secret could not be created.
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
