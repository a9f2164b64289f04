//! The errors of a Docker engine, with their exit codes and hints.

use std::error::Error;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::NetworkError;
use crate::oci::json;

/// Why a Docker engine does not export an image. `engine` is its address in the form of
/// `DOCKER_HOST`.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EngineError {
    /// The HTTP client could not be built.
    #[error(transparent)]
    Setup(NetworkError),
    /// No engine listens at the address, or access is denied.
    #[error("no Docker engine answers at `{engine}`")]
    Unreachable {
        engine: String,
        /// False if the path exists but is not a socket.
        is_socket: bool,
        #[source]
        cause: io::Error,
    },
    /// The connection was opened, but no response arrived.
    #[error("the Docker engine at `{engine}` did not answer `GET {path}`")]
    NoResponse {
        engine: String,
        path: String,
        #[source]
        cause: io::Error,
    },
    /// The server is not a Docker engine.
    #[error("what answers at `{engine}` is no Docker engine: it tells no version of its API")]
    NotAnEngine { engine: String },
    /// The engine requires TLS.
    #[error("the Docker engine at `{engine}` wants TLS, which is not spoken to engines")]
    Tls { engine: String },
    /// The image does not exist. `similar` lists images that do.
    #[error("the Docker engine at `{engine}` has no image `{reference}`")]
    NoImage {
        engine: String,
        reference: String,
        similar: Vec<String>,
    },
    /// Any other error status, with the engine's message.
    #[error("the Docker engine at `{engine}` refused `GET {path}`: {status}")]
    Refused {
        engine: String,
        path: String,
        status: StatusCode,
        #[source]
        cause: Option<EngineMessage>,
    },
    /// A response that is not as the API specifies.
    #[error("cannot understand how the Docker engine at `{engine}` answered `GET {path}`")]
    Unexpected {
        engine: String,
        path: String,
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The export ended early.
    #[error(
        "the Docker engine at `{engine}` broke off the export of `{reference}` after {received} bytes"
    )]
    Broken {
        engine: String,
        reference: String,
        received: u64,
        #[source]
        cause: io::Error,
    },
    /// The export ended with an error message of the engine.
    #[error(
        "the Docker engine at `{engine}` gave up the export of `{reference}` after {received} bytes"
    )]
    Stopped {
        engine: String,
        reference: String,
        received: u64,
        #[source]
        cause: EngineMessage,
    },
}

/// An error message of an engine.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(&redact(.0)))]
pub struct EngineMessage(pub(super) String);

impl EngineError {
    /// Builds the error for a status other than 200. The body is `{"message":"…"}` from an engine,
    /// and a line of text from a proxy in front of one.
    pub(super) fn refused(engine: &str, path: &str, status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            message: String,
        }

        let message = match json::from_slice::<Body>(body) {
            Ok(body) => Some(body.message),
            Err(_) => String::from_utf8_lossy(body)
                .lines()
                .map(|line| line.trim().chars().take(200).collect::<String>())
                .find(|line| !line.is_empty()),
        };
        // This text is in Go's net/http/server.go.
        let wants_tls = |text: &String| text.contains("HTTP request to an HTTPS server");
        if message.as_ref().is_some_and(wants_tls) {
            return Self::Tls {
                engine: engine.to_owned(),
            };
        }
        Self::Refused {
            engine: engine.to_owned(),
            path: path.to_owned(),
            status,
            cause: message.map(EngineMessage),
        }
    }

    /// Marks an unreachable address whose path is not a socket.
    pub(super) fn of_socket(self, socket: Option<&Path>) -> Self {
        let is_other = |path: &Path| {
            path.metadata()
                .is_ok_and(|metadata| !metadata.file_type().is_socket())
        };
        match self {
            Self::Unreachable { engine, cause, .. } => Self::Unreachable {
                engine,
                is_socket: !socket.is_some_and(is_other),
                cause,
            },
            other => other,
        }
    }
}

impl Diagnostic for EngineError {
    fn exit_code(&self) -> ExitCode {
        use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
        match self {
            Self::Unreachable {
                is_socket: false, ..
            }
            | Self::NotAnEngine { .. }
            | Self::Tls { .. }
            | Self::NoImage { .. } => ExitCode::Usage,
            Self::Unreachable { cause, .. } => match cause.kind() {
                NotFound | InvalidInput => ExitCode::Usage,
                PermissionDenied => ExitCode::Denied,
                _ => ExitCode::Temporary,
            },
            Self::Refused { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ExitCode::Denied,
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Self::NoResponse { .. } | Self::Broken { .. } => ExitCode::Temporary,
            Self::Setup(_) | Self::Unexpected { .. } | Self::Stopped { .. } => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        const WITHOUT: &str = "no engine is needed here: where the image is, `docker save --output image.tar NAME` \
             writes it to a file, and `docker-archive:image.tar` reads it";
        const ADDRESS: &str =
            "if it answers elsewhere, set `DOCKER_HOST`: `docker context inspect` tells where";
        let hint = match self {
            Self::Unreachable {
                is_socket: false, ..
            } => "what is there is no socket: set `DOCKER_HOST` to the engine's".to_owned(),
            Self::Unreachable { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied => {
                    return vec![
                        "run as root, or as a member of the group that the socket belongs to"
                            .to_owned(),
                        WITHOUT.to_owned(),
                    ];
                }
                io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
                    return vec![ADDRESS.to_owned(), WITHOUT.to_owned()];
                }
                _ => {
                    return vec![
                        "if the engine is still starting, try again".to_owned(),
                        ADDRESS.to_owned(),
                    ];
                }
            },
            Self::NotAnEngine { .. } => ADDRESS.to_owned(),
            Self::Tls { .. } => {
                "let the Docker client do the talking: `docker save --output image.tar NAME`, and \
                 name `docker-archive:image.tar`"
                    .to_owned()
            }
            Self::NoImage { similar, .. } if !similar.is_empty() => {
                let similar: Vec<String> = similar
                    .iter()
                    .map(|name| format!("`{}`", sanitize(name)))
                    .collect();
                format!("it has {}", similar.join(", "))
            }
            Self::NoImage { .. } => {
                "build or pull it with this engine first; a builder of its own, as buildx makes \
                 them, hands the image over only with `--load` (`load: true`)"
                    .to_owned()
            }
            Self::Broken { .. } | Self::NoResponse { .. } => {
                "the engine's own log may tell why: it may have been stopped, or its disk be full"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// The cause of a timeout in an error chain.
pub(super) fn timeout_error(limit: Duration) -> io::Error {
    let text = format!("nothing came for {} s", limit.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
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
