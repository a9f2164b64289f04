//! The errors of a Docker engine, with their exit codes and hints.

use std::error::Error;
use std::io;

use reqwest::StatusCode;

use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ErrorResponse, NetworkError, bounded_text};
use crate::image::location::EngineAddress;

pub(super) type Cause = Box<dyn Error + Send + Sync>;

/// Why a Docker engine does not export an image.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EngineError {
    /// The HTTP client could not be built.
    #[error(transparent)]
    Setup(NetworkError),
    /// No engine listens at the address, access is denied, no response arrived, or not the one of
    /// an engine.
    #[error("no Docker engine answers at `{engine}`")]
    NoAnswer {
        engine: EngineAddress,
        #[source]
        cause: io::Error,
    },
    /// The image does not exist. `similar` lists images that do.
    #[error("the Docker engine at `{engine}` has no image `{reference}`")]
    NoImage {
        engine: EngineAddress,
        reference: String,
        similar: Vec<String>,
    },
    /// Any other error status, with the engine's message.
    #[error("the Docker engine at `{engine}` refused `GET {path}`: {status}")]
    Refused {
        engine: EngineAddress,
        path: String,
        status: StatusCode,
        #[source]
        cause: Option<EngineMessage>,
    },
    /// The export ended early, perhaps with an error message of the engine.
    #[error(
        "the Docker engine at `{engine}` stopped the export of `{reference}` after {received} bytes"
    )]
    Broken {
        engine: EngineAddress,
        reference: String,
        received: u64,
        #[source]
        cause: Cause,
    },
}

/// An error message of an engine.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(&bounded_text(.0)))]
pub struct EngineMessage(pub(super) String);

impl EngineError {
    /// Builds the error for a status other than 200.
    pub(super) fn refused(engine: &EngineAddress, path: &str, response: ErrorResponse) -> Self {
        let message = Some(response.message).filter(|message| !message.is_empty());
        Self::Refused {
            engine: engine.clone(),
            path: path.to_owned(),
            status: response.status,
            cause: message.map(EngineMessage),
        }
    }
}

impl Diagnostic for EngineError {
    fn exit_code(&self) -> ExitCode {
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
        match self {
            Self::NoAnswer { cause, .. } => match cause.kind() {
                NotFound | InvalidInput => ExitCode::Usage,
                PermissionDenied => ExitCode::Denied,
                _ => ExitCode::Temporary,
            },
            Self::NoImage { .. } => ExitCode::Usage,
            Self::Refused { status, .. } => match status.as_u16() {
                400 => ExitCode::Usage,
                401 | 403 => ExitCode::Denied,
                502..=504 => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Self::Broken { .. } => ExitCode::Temporary,
            Self::Setup(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        const WITHOUT: &str = "you do not need an engine here: run `docker save --output image.tar \
                               NAME` where the image is, and use `docker-archive:image.tar`";
        const ADDRESS: &str = "if it uses another address, set `DOCKER_HOST`: `docker context \
                               inspect` prints the address";
        const GROUP: &str = "run as root, or as a member of the group that owns the socket";
        const STARTING: &str = "if the engine is still starting, try again";
        const TLS: &str = "it requires TLS, which gcr-push does not use for engines";
        const LOAD: &str = "build or pull it with this engine first; a builder of buildx loads the \
                            image into the engine only with `--load` (`load: true`)";
        const LOG: &str =
            "check the engine's log: it may have been stopped, or its disk may be full";
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
        let hints: &[&str] = match self {
            Self::NoAnswer { cause, .. } => match cause.kind() {
                PermissionDenied => &[GROUP, WITHOUT],
                NotFound | InvalidInput => &[ADDRESS, WITHOUT],
                _ => &[STARTING, ADDRESS],
            },
            Self::NoImage { similar, .. } if similar.is_empty() => &[LOAD],
            Self::NoImage { similar, .. } => {
                let quoted = similar.iter().map(|name| format!("`{}`", sanitize(name)));
                return vec![format!("it has {}", quoted.collect::<Vec<_>>().join(", "))];
            }
            // This text is in Go's net/http/server.go.
            Self::Refused {
                cause: Some(EngineMessage(text)),
                ..
            } if text.contains("HTTP request to an HTTPS server") => &[TLS, WITHOUT],
            Self::Broken { .. } => &[LOG],
            Self::Setup(_) | Self::Refused { .. } => &[],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}

/// Returns the innermost cause of a reqwest error: an error of the operating system, or of hyper.
/// The outer errors only say that a request was sent.
pub(super) fn io_error(error: reqwest::Error) -> io::Error {
    let error = error.without_url();
    let mut innermost: &(dyn Error + 'static) = &error;
    let mut kind = io::ErrorKind::Other;
    loop {
        if let Some(io) = innermost.downcast_ref::<io::Error>() {
            kind = io.kind();
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => return io::Error::new(kind, innermost.to_string()),
        }
    }
}
