//! How a failure is told and what the process exits with.
//!
//! Each stage has its own error type in its own file; this one gathers them. A message says what
//! was being done to which thing; the cause is in `source()`, never also in the text; what to do
//! about it is a hint, given by the type that knows.

use crate::diagnostics::render::causes;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::AuthError;
use crate::commands::doctor::Problem;
use crate::commands::interrupt::Interrupted;
use crate::commands::list::ListError;
use crate::commands::mirror::MirrorError;
use crate::commands::pull_secret::PullSecretError;
use crate::commands::setup::SetupError;
use crate::config::ConfigError;
use crate::config::cli::CliError;
use crate::diagnostics::Diagnostic;
use crate::diagnostics::ExitCode;
use crate::diagnostics::render::{chain, indented};
use crate::image::SourceError;
use crate::oci::reference::{Endpoint, ReferenceError};
use crate::push::PushError;
use crate::push::verify::VerifyError;
use crate::registry::{OpenError, RegistryError};

/// Everything that can end a run, one variant a stage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error(transparent)]
    Cli(#[from] CliError),
    /// The request is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `push` without a source.
    #[error("there is no image to push: `image` is not set")]
    NoImage,
    /// The source cannot be read.
    #[error(transparent)]
    Source(SourceError),
    /// The source's own names and the request make no destination.
    #[error("cannot tell where to push the image")]
    Target(#[source] ReferenceError),
    /// Signing in failed.
    #[error(transparent)]
    Auth(AuthError),
    /// A registry does not answer as one.
    #[error("{}", .1.headline(.0))]
    Connect(Endpoint, #[source] OpenError),
    /// What failed for all that need it, and is not tried again.
    #[error(transparent)]
    ForAll(Arc<Self>),
    /// A registry does not let us in.
    #[error("could not sign in to `{0}`")]
    SignIn(Endpoint, #[source] RegistryError),
    /// An examination found something wrong.
    #[error(transparent)]
    Doctor(Box<Problem>),
    /// The image did not arrive.
    #[error(transparent)]
    Push(PushError),
    /// The image is not there afterwards.
    #[error(transparent)]
    Verify(VerifyError),
    /// A listing could not be had.
    #[error(transparent)]
    List(ListError),
    /// Many images could not be planned.
    #[error(transparent)]
    Mirror(MirrorError),
    /// The pull secret could not be written.
    #[error(transparent)]
    PullSecret(PullSecretError),
    /// The Google side could not be set up.
    #[error(transparent)]
    Setup(SetupError),
    /// Standard output, or a file that was asked for, cannot be written.
    #[error("could not write the result to standard output")]
    Output(#[source] io::Error),
    /// A file that was asked for cannot be written.
    #[error("could not write `{}`", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A file was asked for in a folder that is not there.
    #[error("`{}` could not be written: there is no folder `{}`", file.display(), folder.display())]
    NoFolder {
        /// The file.
        file: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// It was ended before it was done.
    #[error(transparent)]
    Stopped(Interrupted),
    /// The system does not give the threads that the run needs.
    #[error("could not start")]
    Start(#[source] io::Error),
}

impl Diagnostic for Error {
    /// What the process exits with.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Cli(error) => error.exit_code(),
            Self::Config(error) => error.exit_code(),
            Self::NoImage | Self::Target(_) | Self::NoFolder { .. } => ExitCode::Usage,
            Self::Source(error) => error.exit_code(),
            Self::Auth(error) => error.exit_code(),
            Self::Connect(_, error) => error.exit_code(),
            Self::ForAll(error) => error.exit_code(),
            Self::SignIn(_, error) => error.exit_code(),
            Self::Doctor(finding) => finding.exit_code(),
            Self::Push(error) => error.exit_code(),
            Self::Verify(error) => error.exit_code(),
            Self::List(error) => error.exit_code(),
            Self::Mirror(error) => error.exit_code(),
            Self::PullSecret(error) => error.exit_code(),
            Self::Setup(error) => error.exit_code(),
            Self::Stopped(error) => error.exit_code(),
            Self::Output(_) | Self::File(..) | Self::Start(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Cli(error) => error.hints(),
            Self::Config(error) => error.hints(),
            Self::Source(error) => error.hints(),
            Self::Auth(error) => error.hints(),
            Self::Connect(_, error) => error.hints(),
            Self::ForAll(error) => error.hints(),
            Self::SignIn(_, error) => error.hints(),
            Self::Doctor(finding) => finding.hints(),
            Self::Push(error) => error.hints(),
            Self::Verify(error) => error.hints(),
            Self::List(error) => error.hints(),
            Self::Mirror(error) => error.hints(),
            Self::PullSecret(error) => error.hints(),
            Self::Setup(error) => error.hints(),
            Self::Stopped(error) => error.hints(),
            Self::NoImage => vec![
                "for example `image: docker-archive:image.tar`, `oci-archive:image.tar`, \
                 `oci:layout`, `docker://NAME` or `docker-daemon:NAME`"
                    .to_owned(),
            ],
            Self::Target(ReferenceError::NoName) => vec![
                "an image that is saved or asked for by its ID brings no name of its own, and an OCI \
                 layout often no more than a tag"
                    .to_owned(),
            ],
            Self::Target(ReferenceError::Tag(..)) => {
                vec!["the tag is the archive's own: choose another with `tags`".to_owned()]
            }
            Self::Target(ReferenceError::Repository(..)) => {
                vec!["the name is the archive's own: choose another with `name`".to_owned()]
            }
            // A file of that name is in the way, and is the user's to judge.
            Self::NoFolder { folder, .. } if folder.exists() => Vec::new(),
            Self::NoFolder { folder, .. } => {
                vec![format!("make it first: `mkdir -p {}`", folder.display())]
            }
            Self::File(..) => {
                vec![
                    "the push itself is done; only what it was to leave here is missing".to_owned(),
                ]
            }
            Self::Target(_) | Self::Output(_) | Self::Start(_) => Vec::new(),
        }
    }
}

/// The errors that a run ends with, at least one.
#[derive(Debug)]
pub struct Failure {
    errors: Vec<Error>,
    is_reported: bool,
}

impl Failure {
    /// A failure of these errors; none when there are none.
    pub fn of(errors: Vec<Error>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self {
            errors,
            is_reported: false,
        })
    }

    /// A failure of `errors`, which the report of the run tells, and of what could not be written;
    /// none when there is neither.
    pub fn reported(mut errors: Vec<Error>, unwritten: Vec<Error>) -> Option<Self> {
        let is_reported = unwritten.is_empty();
        errors.extend(unwritten);
        Self::of(errors).map(|failure| Self {
            is_reported,
            ..failure
        })
    }

    /// True where the report of the run and the summary of its step have all of it already.
    pub fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// True where it failed in nothing but that it was stopped.
    pub fn is_of_stop(&self) -> bool {
        self.errors.iter().all(|e| matches!(e, Error::Stopped(_)))
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        let codes = self.errors.iter().map(Error::exit_code);
        codes.fold(ExitCode::Done, ExitCode::worst)
    }

    /// Every error as [`texts`] tells it.
    pub fn texts(&self) -> Vec<String> {
        texts(&self.errors)
    }
}

/// Every error with its causes and hints as one text, without a line break at its end; one that
/// many had in common once.
pub fn texts(errors: &[Error]) -> Vec<String> {
    let mut told: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for error in errors {
        let reason = (causes(error), error.hints());
        if !seen.insert((error.to_string(), reason.clone())) {
            continue;
        }
        texts.push(if !reason.0.is_empty() && told.contains(&reason) {
            let error = indented(&error.to_string());
            format!("error: {error}, for the same reason")
        } else {
            chain(error, &reason.1)
        });
        told.push(reason);
    }
    texts
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            errors: vec![error],
            is_reported: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_exit_code_order_is_2_3_1_4() {
        use ExitCode::{Denied, Done, Failed, Interrupted, Temporary, Usage};
        let order = [Interrupted, Usage, Denied, Failed, Temporary, Done];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(first.worst(*second), *first);
                assert_eq!(second.worst(*first), *first);
            }
        }
    }
}
