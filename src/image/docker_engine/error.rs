//! Why an engine does not hand out an image, and what to do about it.

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

/// Why an engine does not hand out an image. `engine` is its address, as `DOCKER_HOST` has it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum EngineError {
    /// The HTTP client could not be built.
    #[error(transparent)]
    Setup(NetworkError),
    /// Nobody is there, or nobody who lets us in.
    #[error("no Docker engine answers at `{engine}`")]
    Unreachable {
        engine: String,
        /// False for a path that is there and is no socket.
        is_socket: bool,
        #[source]
        cause: io::Error,
    },
    /// A connection, and no answer on it.
    #[error("the Docker engine at `{engine}` did not answer `GET {path}`")]
    NoAnswer {
        engine: String,
        path: String,
        #[source]
        cause: io::Error,
    },
    /// Somebody else.
    #[error("what answers at `{engine}` is no Docker engine: it tells no version of its API")]
    Stranger { engine: String },
    /// An engine that is spoken to over TLS.
    #[error("the Docker engine at `{engine}` wants TLS, which is not spoken to engines")]
    Tls { engine: String },
    /// No such image; `similar` are images that it has.
    #[error("the Docker engine at `{engine}` has no image `{reference}`")]
    NoImage {
        engine: String,
        reference: String,
        similar: Vec<String>,
    },
    /// Any other refusal, with what the engine says about it.
    #[error("the Docker engine at `{engine}` refused `GET {path}`: {status}")]
    Refused {
        engine: String,
        path: String,
        status: StatusCode,
        #[source]
        cause: Option<Sentence>,
    },
    /// An answer that no engine gives.
    #[error("cannot understand how the Docker engine at `{engine}` answered `GET {path}`")]
    Unexpected {
        engine: String,
        path: String,
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// An export without its end.
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
    /// An export with an error for its end.
    #[error(
        "the Docker engine at `{engine}` gave up the export of `{reference}` after {received} bytes"
    )]
    Stopped {
        engine: String,
        reference: String,
        received: u64,
        #[source]
        cause: Sentence,
    },
}

/// What an engine says.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(&redact(.0)))]
pub struct Sentence(pub(super) String);

impl EngineError {
    /// An answer other than 200, with its body: `{"message":"…"}` from an engine, a line of text
    /// from what stands in front of one.
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
        // Go's own words, in net/http/server.go.
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
            cause: message.map(Sentence),
        }
    }

    /// The same, where nobody answered at a path that is no socket.
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
            | Self::Stranger { .. }
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
            Self::NoAnswer { .. } | Self::Broken { .. } => ExitCode::Temporary,
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
            Self::Stranger { .. } => ADDRESS.to_owned(),
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
            Self::Broken { .. } | Self::NoAnswer { .. } => {
                "the engine's own log may tell why: it may have been stopped, or its disk be full"
                    .to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

/// What stands for a time-out in a chain of causes.
pub(super) fn nothing_came(patience: Duration) -> io::Error {
    let text = format!("nothing came for {} s", patience.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// What lies at the ground of reqwest's error: what the system said, or else hyper. What is above
/// it only says that a request was sent.
pub(super) fn io_error(error: reqwest::Error) -> io::Error {
    let error = error.without_url();
    let mut ground: &(dyn Error + 'static) = &error;
    let mut kind = io::ErrorKind::Other;
    loop {
        if let Some(io) = ground.downcast_ref::<io::Error>() {
            kind = io.kind();
        }
        match ground.source() {
            Some(source) => ground = source,
            None => return io::Error::new(kind, ground.to_string()),
        }
    }
}
