//! A pull secret that cannot be made, proven, written or applied.

use std::io;
use std::path::PathBuf;

use super::VerificationError;
use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::kubernetes::{KubernetesError, MAX_SECRET_SIZE};

/// A pull secret that cannot be made, proven, written or applied.
#[derive(Debug, thiserror::Error)]
pub enum PullSecretError {
    /// What was given makes no credential.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Larger than Kubernetes takes.
    #[error("the pull secret would hold {0} bytes, and Kubernetes takes {MAX_SECRET_SIZE}")]
    TooLarge(usize),
    /// A login for it cannot be had.
    #[error("could not get the login for the pull secret")]
    Login(#[source] AuthError),
    /// There is nothing to put into it.
    #[error("the pull secret would be empty: no destination has a login")]
    NoLogin,
    /// What is in it does not pull.
    #[error(transparent)]
    Proof(Box<VerificationError>),
    /// A directory, a device or a pipe.
    #[error("could not write the pull secret to `{}`: it is there, and no regular file", .0.display())]
    NoFile(PathBuf),
    /// The file system refused.
    #[error("could not write the pull secret to `{}`", file.display())]
    Write {
        /// The file that was to be written.
        file: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Standard output is gone.
    #[error("could not print the pull secret")]
    Print(#[source] io::Error),
    /// The cluster does not take it.
    #[error(transparent)]
    Kubernetes(KubernetesError),
}

impl Diagnostic for PullSecretError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::TooLarge(_) | Self::NoLogin | Self::NoFile(_) => ExitCode::Usage,
            Self::Auth(error) | Self::Login(error) => error.exit_code(),
            Self::Output(error) => error.exit_code(),
            Self::Proof(error) => error.exit_code(),
            Self::Kubernetes(error) => error.exit_code(),
            Self::Write { .. } | Self::Print(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::TooLarge(_) => {
                vec!["a service-account key has about 2400 bytes: is it the right file?".to_owned()]
            }
            Self::NoLogin => vec![
                "registries that are not Google's get the login of `docker_config`, with \
                 `pull_secret_allow_push_key: true`"
                    .to_owned(),
            ],
            Self::Auth(error) | Self::Login(error) => error.hints(),
            Self::Output(error) => error.hints(),
            Self::Proof(error) => error.hints(),
            Self::Kubernetes(error) => error.hints(),
            Self::NoFile(_) => {
                vec!["name a file in `pull_secret_file`, such as `pull-secret.yaml`".to_owned()]
            }
            Self::Write { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                vec!["the directory must be there already".to_owned()]
            }
            Self::Write { .. } | Self::Print(_) => Vec::new(),
        }
    }
}
