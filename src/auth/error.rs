//! What keeps us from signing in, and what to do about it.

use std::path::PathBuf;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;

use super::claims::JwtClaims;
use super::docker_config::DockerConfigError;
use super::exchange::ExchangeError;
use super::refusal;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, NetworkError};
use crate::oci::reference::Endpoint;

/// Signing in failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A Google host and nothing to show it.
    #[error("there is no credential for `{0}`")]
    NoCredential(Endpoint, Vec<String>),
    /// An API of Google's and no token to show it.
    #[error("there is no token for Google's APIs")]
    NoToken,
    /// The Docker config's entry cannot be used.
    #[error("could not take the login from the Docker config in `{0}`")]
    DockerConfig(&'static str, #[source] DockerConfigError),
    /// The key signs nothing.
    #[error("could not make the service-account key ready to sign")]
    Key(#[source] std::io::Error),
    /// No token was sold.
    #[error("could not {step} {} {endpoint}", step.preposition())]
    Exchange {
        /// What was being done.
        step: Operation,
        /// Where.
        endpoint: String,
        /// What the other side said.
        #[source]
        cause: ExchangeError,
    },
    /// The OIDC token that was given has run out.
    #[error("the OIDC token in `{variable}` ran out at {}", clock(*.at))]
    OidcExpired {
        /// The variable that it was given in.
        variable: &'static str,
        /// When it ran out, by its own words.
        at: SystemTime,
    },
    /// The access token that was given has run out.
    #[error("`access_token` ran out at {}", clock(*.at))]
    TokenExpired {
        /// When it ran out, by its own words.
        at: SystemTime,
    },
    /// The file that the CI's token is in cannot be read.
    #[error("could not read the OIDC token from {}", .0.display())]
    SubjectFile(PathBuf, #[source] std::io::Error),
    /// The HTTP client could not be built.
    #[error("could not make ready to sign in")]
    Network(#[source] NetworkError),
    /// A URL that is no URL.
    #[error("could not make ready to sign in")]
    Url(#[source] url::ParseError),
}

/// What was being done when an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A service account's key was to buy a token.
    Key(String),
    /// A person's refresh token was.
    User,
    /// The CI was asked for its OIDC token.
    Subject,
    /// That token was to be traded for Google's.
    Federation {
        /// The provider that vouches for it.
        audience: String,
        /// What the token says of itself.
        claims: Box<JwtClaims>,
    },
    /// A service account was to be acted as.
    Impersonation {
        /// The service account.
        account: String,
        /// Who wants to act as it, in IAM's words.
        member: Option<String>,
    },
    /// The metadata server was asked for its account's token.
    Metadata(String),
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(account) | Self::Metadata(account) => {
                write!(formatter, "get an access token for `{}`", sanitize(account))
            }
            Self::User => formatter.write_str("get an access token for the user of the login"),
            Self::Subject => formatter.write_str("get an OIDC token"),
            Self::Federation { .. } => {
                formatter.write_str("trade the OIDC token for an access token")
            }
            Self::Impersonation { account, .. } => {
                write!(formatter, "act as `{}`", sanitize(account))
            }
        }
    }
}

impl Operation {
    fn preposition(&self) -> &'static str {
        match self {
            Self::Federation { .. } | Self::Impersonation { .. } => "at",
            _ => "from",
        }
    }
}

/// A time as it may stand in a sentence.
fn clock(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(at)
        .format(format)
        .unwrap_or_else(|_| "a time out of mind".to_owned())
}

impl AuthError {
    /// What a connection to where tokens are sold failed on, if it was that.
    pub(crate) fn connection_failure(&self) -> Option<ConnectionFailure> {
        match self {
            Self::Exchange {
                cause: ExchangeError::Connection(cause),
                ..
            } => Some(ConnectionFailure::of(&**cause)),
            _ => None,
        }
    }
}

/// What helps against a refusal that passes.
const LATER: &str = "the trouble is not ours: run this again in a few minutes";

/// What lives longer than a token that is given as text.
const OIDC_LIVES_LONGER: [&str; 2] = [
    "with `service_account` the token that it buys lives an hour, whatever becomes of the OIDC \
     token; on GitLab the OIDC token itself lives as long as the job's `timeout`",
    "on GitHub leave `oidc_token` out and give the job `permissions: id-token: write`: then the \
     token is asked for anew each time",
];

impl Diagnostic for AuthError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCredential(..)
            | Self::NoToken
            | Self::DockerConfig(..)
            | Self::Key(_)
            | Self::OidcExpired { .. }
            | Self::TokenExpired { .. }
            | Self::SubjectFile(..) => ExitCode::Denied,
            Self::Exchange { cause, .. } => match cause {
                ExchangeError::Connection(cause) => ConnectionFailure::of(&**cause).exit_code(),
                cause if cause.is_temporary() => ExitCode::Temporary,
                _ => ExitCode::Denied,
            },
            Self::Network(_) | Self::Url(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoToken => vec![
                "give `access_token`, as `gcloud auth print-access-token` prints it, or \
                 `credentials_json` (a service-account key)"
                    .to_owned(),
            ],
            Self::NoCredential(_, advice) => advice.clone(),
            Self::DockerConfig(_, error) => error.hint().into_iter().collect(),
            Self::OidcExpired { .. } => OIDC_LIVES_LONGER.map(str::to_owned).to_vec(),
            Self::TokenExpired { .. } => vec![
                "a service-account key in `credentials_json`, or `workload_identity_provider`, is \
                 renewed for as long as it takes"
                    .to_owned(),
            ],
            Self::SubjectFile(path, cause)
                if cause.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                vec![format!(
                    "let the user that gcr-push runs as read it: `chmod o+r {}`, or run as the \
                     file's owner",
                    path.display()
                )]
            }
            Self::Key(_) | Self::SubjectFile(..) | Self::Network(_) | Self::Url(_) => Vec::new(),
            Self::Exchange {
                step,
                endpoint,
                cause,
            } => match cause {
                ExchangeError::Refused(refused) => {
                    let hints = refusal::hints(step, refused);
                    if hints.is_empty() && refused.is_temporary() {
                        vec![LATER.to_owned()]
                    } else {
                        hints
                    }
                }
                ExchangeError::Connection(cause) => {
                    let connection_failure = ConnectionFailure::of(&**cause);
                    vec![connection_failure.hint(host(endpoint))]
                }
                ExchangeError::TimedOut => {
                    vec!["the other side or the network stood still: try again".to_owned()]
                }
                ExchangeError::Status(_) if *step == Operation::Subject => refusal::of_subject(),
                ExchangeError::Status(_) if !cause.is_temporary() => vec![format!(
                    "check that no proxy or firewall refuses `{}`: this is not how Google answers",
                    host(endpoint)
                )],
                ExchangeError::Answer | ExchangeError::Status(_) => vec![
                    "run this again in a few minutes; where it stays so, check that no proxy or \
                     sign-in page answers in Google's place"
                        .to_owned(),
                ],
            },
        }
    }
}

/// The host of an URL that was checked to have one.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}
