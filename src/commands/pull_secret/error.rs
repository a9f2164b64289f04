//! The errors of `pull-secret`.

use std::io;
use std::path::PathBuf;

use super::VerificationError;
use crate::auth::AuthError;
use crate::ci::output::OutputError;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::kubernetes::{KubernetesError, MAX_SECRET_SIZE};

/// An error of creating, verifying, writing or applying a pull secret.
#[derive(Debug, thiserror::Error)]
pub enum PullSecretError {
    /// The configured credentials are invalid.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The Secret is larger than Kubernetes accepts.
    #[error(
        "the pull secret would have {0} bytes, but Kubernetes accepts at most \
             {MAX_SECRET_SIZE}"
    )]
    TooLarge(usize),
    /// A login could not be obtained.
    #[error("could not get the login for the pull secret")]
    Login(#[source] AuthError),
    /// No destination has a login.
    #[error("the pull secret would be empty: no destination has a login")]
    NoLogin,
    /// The logins in it do not pull an image.
    #[error(transparent)]
    Verification(Box<VerificationError>),
    /// The output is a directory, a device or a pipe.
    #[error("could not write the pull secret to `{}`: it exists, and is not a regular file", .0.display())]
    NoFile(PathBuf),
    /// The file could not be written.
    #[error("could not write the pull secret to `{}`", file.display())]
    Write {
        /// The output file.
        file: PathBuf,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
    /// Standard output could not be written.
    #[error("could not print the pull secret")]
    Print(#[source] io::Error),
    /// The Secret could not be applied to the cluster.
    #[error(transparent)]
    Kubernetes(KubernetesError),
}

impl Diagnostic for PullSecretError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::TooLarge(_) | Self::NoLogin | Self::NoFile(_) => ExitCode::Usage,
            Self::Auth(error) | Self::Login(error) => error.exit_code(),
            Self::Output(error) => error.exit_code(),
            Self::Verification(error) => error.exit_code(),
            Self::Kubernetes(error) => error.exit_code(),
            Self::Write { .. } | Self::Print(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::TooLarge(_) => {
                vec![
                    "a service-account key has about 2400 bytes; check that this is the right \
                      file"
                        .to_owned(),
                ]
            }
            Self::NoLogin => vec![
                "for registries that are not Google's, set `pull_secret_allow_push_key: true`: \
                 the pull secret then gets the logins of `docker_config`"
                    .to_owned(),
            ],
            Self::Auth(error) | Self::Login(error) => error.hints(),
            Self::Output(error) => error.hints(),
            Self::Verification(error) => error.hints(),
            Self::Kubernetes(error) => error.hints(),
            Self::NoFile(_) => {
                vec!["set `pull_secret_file` to a file, such as `pull-secret.yaml`".to_owned()]
            }
            Self::Write { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                vec!["the directory must exist".to_owned()]
            }
            Self::Write { .. } | Self::Print(_) => Vec::new(),
        }
    }
}
