//! One request to a token endpoint, and what is understood of the answer.
//!
//! Three services of Google sell tokens, in two dialects of error: OAuth's (RFC 6749, section 5.2),
//! and that of Google's APIs (<https://google.aip.dev/193>). Whoever else answers is a proxy or an
//! outage.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::AuthError;
use crate::error::harmless;
use crate::network::{BodyError, Network, WINDOW, read_bounded};
use crate::secret::Secret;

/// The one OAuth scope that Artifact Registry documents for pushing and pulling.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication>
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long one exchange may take.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of an answer: a token is a few KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// The ways to a token endpoint.
#[derive(Clone)]
pub(super) struct Exchange {
    http: reqwest::Client,
    neighbour: reqwest::Client,
}

/// A token that was just sold.
pub(super) struct Issued {
    pub(super) secret: Secret,
    /// For how long it works, from now on; none where nobody said.
    pub(super) lifetime: Option<Duration>,
}

/// An answer that grants.
pub(super) struct Granted {
    pub(super) body: Bytes,
    /// The other side's clock.
    pub(super) date: Option<SystemTime>,
}

impl Exchange {
    pub(super) fn new(network: &Network) -> Result<Self, AuthError> {
        Ok(Self {
            http: network.exchange_client().map_err(AuthError::Network)?,
            neighbour: network.neighbour_client().map_err(AuthError::Network)?,
        })
    }

    /// The client for a URL: plain HTTP is spoken to this machine and its neighbours alone, and
    /// never through a proxy.
    pub(super) fn client(&self, url: &Url) -> &reqwest::Client {
        if url.scheme() == "http" {
            &self.neighbour
        } else {
            &self.http
        }
    }

    /// Sends a request and gives the answer if it grants. `shown` is what the request holds and no
    /// error may repeat.
    pub(super) async fn ask(
        request: RequestBuilder,
        shown: &[&Secret],
    ) -> Result<Granted, ExchangeError> {
        let asking = async {
            let answer = request.send().await.map_err(broken)?;
            let status = answer.status();
            let date = date(&answer);
            let body = bounded(answer).await?;
            if status.is_success() {
                Ok(Granted { body, date })
            } else {
                Err(ExchangeError::of_answer(status, &body, shown))
            }
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, asking)
            .await
            .map_err(|_| ExchangeError::TimedOut)?
    }

    /// The JSON of an answer that was looked at already.
    pub(super) async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, ExchangeError> {
        let body = bounded(answer).await?;
        serde_json::from_slice(&body).map_err(|_| ExchangeError::Answer)
    }
}

impl Granted {
    /// The answer's JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ExchangeError> {
        serde_json::from_slice(&self.body).map_err(|_| ExchangeError::Answer)
    }

    /// The token of an OAuth answer (RFC 6749, section 5.1).
    pub(super) fn oauth_token(&self) -> Result<Issued, ExchangeError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: Option<Seconds>,
        }
        // Some servers write the number as text; Google's own library takes both.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Seconds {
            Number(u64),
            Text(String),
        }
        let answer: Answer = self.json()?;
        let seconds = match answer.expires_in {
            Some(Seconds::Number(seconds)) => Some(seconds),
            Some(Seconds::Text(text)) => text.parse().ok(),
            None => None,
        };
        issued(answer.access_token, seconds.map(Duration::from_secs))
    }
}

/// A token as it may go into a header.
pub(super) fn issued(token: String, lifetime: Option<Duration>) -> Result<Issued, ExchangeError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ExchangeError::Answer);
    }
    Ok(Issued {
        secret: Secret::new(token),
        lifetime,
    })
}

fn broken(error: reqwest::Error) -> ExchangeError {
    ExchangeError::Connection(Box::new(error.without_url()))
}

async fn bounded(answer: Response) -> Result<Bytes, ExchangeError> {
    let body = read_bounded(answer, MAX_ANSWER, WINDOW).await;
    body.map_err(|error| match error {
        BodyError::Broken(error) => ExchangeError::Connection(Box::new(error)),
        BodyError::Drips(error) => ExchangeError::Connection(Box::new(error)),
        BodyError::TooLong(_) => ExchangeError::Answer,
    })
}

/// The `Date` of an answer (RFC 9110, section 6.6.1).
fn date(answer: &Response) -> Option<SystemTime> {
    let text = answer.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    OffsetDateTime::parse(text, &Rfc2822)
        .ok()
        .map(SystemTime::from)
}

/// Why no token was sold.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The other side's own words.
    #[error("{code}{}", sentence(description))]
    Refused {
        /// `invalid_grant`, `PERMISSION_DENIED`, …
        code: String,
        /// `error_description`, or the `message`.
        description: String,
    },
    /// An answer that is neither a token nor a refusal in words.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// No answer in time.
    #[error("no answer within {} s", EXCHANGE_TIMEOUT.as_secs())]
    TimedOut,
    /// No connection.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer that is not OAuth's.
    #[error("the answer is no OAuth token; a proxy or an outage may have answered instead")]
    Answer,
}

fn sentence(description: &str) -> String {
    match description {
        "" => String::new(),
        text => format!(": {}", harmless(text)),
    }
}

impl ExchangeError {
    fn of_answer(status: StatusCode, body: &[u8], shown: &[&Secret]) -> Self {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Refusal {
            Google {
                error: GoogleError,
            },
            OAuth {
                error: String,
                #[serde(default)]
                error_description: String,
            },
        }
        #[derive(Deserialize)]
        struct GoogleError {
            #[serde(default)]
            message: String,
            #[serde(default)]
            status: String,
        }
        let mut text = String::from_utf8_lossy(body).into_owned();
        for secret in shown {
            text = text.replace(secret.expose(), "***");
        }
        let (code, description) = match serde_json::from_str(&text) {
            Ok(Refusal::Google { error }) => (error.status, error.message),
            Ok(Refusal::OAuth {
                error,
                error_description,
            }) => (error, error_description),
            Err(_) => return Self::Status(status),
        };
        let code = match code.as_str() {
            "" => status.as_u16().to_string(),
            code => code.to_owned(),
        };
        let code = code.chars().take(100).collect();
        let description = description.chars().take(1000).collect();
        Self::Refused { code, description }
    }

    /// True where another try may do (RFC 6749 knows two such codes; the third is Google's).
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "internal_failure"
                    | "server_error"
                    | "temporarily_unavailable"
                    | "UNAVAILABLE"
                    | "INTERNAL"
                    | "RESOURCE_EXHAUSTED"
                    | "DEADLINE_EXCEEDED"
            ),
            Self::Status(status) => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 429)
            }
            Self::TimedOut | Self::Answer => true,
            Self::Connection(_) => false,
        }
    }
}
