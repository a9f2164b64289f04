//! What ends a run: one variant a command, beside what goes wrong before a command starts.

use crate::ci::output::OutputError;
use crate::commands::doctor::DoctorError;
use crate::commands::interrupt::{Interrupted, StartError};
use crate::commands::list::ListError;
use crate::commands::mirror::MirrorError;
use crate::commands::pull_secret::PullSecretError;
use crate::commands::push::PushCommandError;
use crate::commands::setup::SetupError;
use crate::config::ConfigError;
use crate::config::cli::CliError;
use crate::diagnostics::Diagnostic;

/// Everything that can end a run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Error {
    /// The command line is wrong.
    Cli(#[from] CliError),
    /// The help could not be printed.
    Output(#[from] OutputError),
    /// The request is wrong.
    Config(#[from] ConfigError),
    /// The system does not give the threads that a run needs.
    Start(#[from] StartError),
    /// A signal or the time limit ended it.
    Interrupted(#[from] Interrupted),
    /// `push` failed.
    Push(#[from] PushCommandError),
    /// `mirror` failed.
    Mirror(#[from] MirrorError),
    /// `list` failed.
    List(#[from] ListError),
    /// `pull-secret` failed.
    PullSecret(#[from] PullSecretError),
    /// `setup` failed.
    Setup(#[from] SetupError),
    /// `doctor` failed, or found something wrong.
    Doctor(#[from] DoctorError),
}

impl Diagnostic for Error {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Cli(error) => error,
            Self::Output(error) => error,
            Self::Config(error) => error,
            Self::Start(error) => error,
            Self::Interrupted(error) => error,
            Self::Push(error) => error,
            Self::Mirror(error) => error,
            Self::List(error) => error,
            Self::PullSecret(error) => error,
            Self::Setup(error) => error,
            Self::Doctor(error) => error,
        })
    }
}
