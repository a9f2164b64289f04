//! The errors of authentication, with their exit codes and hints.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::macros::format_description;

use super::claims::JwtClaims;
use super::docker_config::DockerConfigError;
use super::hints;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, HttpError, HttpErrorKind, NetworkError};
use crate::oci::reference::Endpoint;

/// Why authentication failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no credential for a Google host.
    #[error("there is no credential for `{0}`")]
    NoCredential(Endpoint, Vec<String>),
    /// There is no token for a Google API.
    #[error("there is no token for Google's APIs")]
    NoToken,
    /// An entry of the Docker config cannot be used.
    #[error("could not read the login from the Docker config in `{0}`")]
    DockerConfig(&'static str, #[source] DockerConfigError),
    /// The key cannot sign.
    #[error("could not load the service-account key")]
    Key(#[source] std::io::Error),
    /// No token was issued.
    #[error("could not {step}")]
    Exchange {
        /// The step that failed.
        step: AuthOperation,
        /// The error of the request.
        #[source]
        cause: Box<HttpError>,
    },
    /// The OIDC token in a variable has expired.
    #[error("the OIDC token in `{variable}` expired at {}", clock(*.at))]
    OidcExpired {
        /// The variable.
        variable: &'static str,
        /// The time in its `exp` claim.
        at: SystemTime,
    },
    /// The access token in a variable has expired.
    #[error("`access_token` expired at {}", clock(*.at))]
    TokenExpired {
        /// The time in its `exp` claim.
        at: SystemTime,
    },
    /// The file with the CI's token cannot be read.
    #[error("could not read the OIDC token from {}", .0.display())]
    SubjectFile(PathBuf, #[source] std::io::Error),
    /// The HTTP client could not be built.
    #[error("could not prepare the sign-in")]
    Network(#[source] NetworkError),
    /// A URL is invalid.
    #[error("could not prepare the sign-in")]
    Url(#[source] url::ParseError),
}

/// The step of a token exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthOperation {
    /// Requesting a token with a service account's key.
    Key(String),
    /// Requesting a token with a user's refresh token.
    User,
    /// Requesting an OIDC token from the CI.
    Subject,
    /// Exchanging the OIDC token for a Google token.
    Federation {
        /// The workload identity provider.
        audience: String,
        /// The claims of the OIDC token.
        claims: Box<JwtClaims>,
    },
    /// Impersonating a service account.
    Impersonation {
        /// The service account.
        account: String,
        /// The IAM member that impersonates it.
        member: Option<String>,
    },
    /// Requesting a token from the metadata server.
    Metadata(String),
}

impl std::fmt::Display for AuthOperation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(account) | Self::Metadata(account) => {
                write!(formatter, "get an access token for `{}`", sanitize(account))
            }
            Self::User => formatter.write_str("get an access token for the logged-in user"),
            Self::Subject => formatter.write_str("get an OIDC token"),
            Self::Federation { .. } => {
                formatter.write_str("exchange the OIDC token for an access token")
            }
            Self::Impersonation { account, .. } => {
                write!(formatter, "impersonate `{}`", sanitize(account))
            }
        }
    }
}

/// Formats a time for messages.
fn clock(at: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(at)
        .format(format)
        .unwrap_or_else(|_| "an unknown time".to_owned())
}

impl AuthError {
    /// The wait that the token endpoint requests before another try.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exchange { cause, .. } => cause.response()?.retry_after,
            _ => None,
        }
    }

    /// The connection failure of the token request, if that is what failed.
    pub(crate) fn connection_failure(&self) -> Option<ConnectionFailure> {
        match self {
            Self::Exchange { cause, .. } if cause.is_broken() => Some(cause.connection_failure()),
            _ => None,
        }
    }
}

/// Hints for an OIDC token that expires too early.
const OIDC_LIVES_LONGER: [&str; 2] = [
    "set `service_account`: the access token is then valid for an hour, even if the OIDC token \
     expires; on GitLab the OIDC token is valid as long as the job's `timeout`",
    "on GitHub, remove `oidc_token` and give the job `permissions: id-token: write`: gcr-push then \
     requests a new token each time",
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
            Self::Exchange { cause, .. } => match &cause.kind {
                HttpErrorKind::Response(response) if !response.is_temporary() => ExitCode::Denied,
                // What answered may be a proxy during an outage.
                HttpErrorKind::Protocol => ExitCode::Temporary,
                _ => cause.exit_code(),
            },
            Self::Network(_) | Self::Url(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoToken => vec![
                "set `access_token` (from `gcloud auth print-access-token`), or `credentials_json` \
                 (a service-account key)"
                    .to_owned(),
            ],
            Self::NoCredential(_, advice) => advice.clone(),
            Self::DockerConfig(_, error) => error.hint().into_iter().collect(),
            Self::OidcExpired { .. } => OIDC_LIVES_LONGER.map(str::to_owned).to_vec(),
            Self::TokenExpired { .. } => vec![
                "use `credentials_json` (a service-account key) or `workload_identity_provider`, \
                 which gcr-push renews"
                    .to_owned(),
            ],
            Self::SubjectFile(path, cause)
                if cause.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                vec![format!(
                    "allow the user that runs gcr-push to read it: `chmod o+r {}`, or run gcr-push \
                     as the file's owner",
                    path.display()
                )]
            }
            Self::Key(_) | Self::SubjectFile(..) | Self::Network(_) | Self::Url(_) => Vec::new(),
            Self::Exchange { step, cause } => hints::exchange_hints(step, cause),
        }
    }
}
