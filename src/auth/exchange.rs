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
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::AuthError;
use super::refused::TokenRefusal;
use crate::diagnostics::secret::{self, Secret};
use crate::http::{BodyError, Network, WINDOW, read_bounded};

/// The one OAuth scope that Artifact Registry documents for pushing and pulling.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication>
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long one exchange may take.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of an answer: a token is a few KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// The ways to a token endpoint.
#[derive(Clone)]
pub(crate) struct Exchange {
    http: reqwest::Client,
    neighbour: reqwest::Client,
}

/// A token that was just sold.
pub(crate) struct Issued {
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
            neighbour: network.link_local_client().map_err(AuthError::Network)?,
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

    /// Sends a request and gives the answer if it grants.
    pub(super) async fn ask(request: RequestBuilder) -> Result<Granted, ExchangeError> {
        let asking = async {
            let answer = request.send().await.map_err(broken)?;
            let status = answer.status();
            let date = date(&answer);
            let body = bounded(answer).await?;
            if status.is_success() {
                Ok(Granted { body, date })
            } else {
                Err(ExchangeError::of_answer(status, &body))
            }
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, asking)
            .await
            .map_err(|_| ExchangeError::TimedOut)?
    }

    /// What an answer that was looked at already says in plain text.
    pub(super) async fn sentence(answer: Response) -> Option<String> {
        sentence(&bounded(answer).await.ok()?)
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
            #[serde(default)]
            expires_in: Value,
        }
        let answer: Answer = self.json()?;
        issued(answer.access_token, seconds(&answer.expires_in))
    }
}

/// The longest that a token is taken to live, whatever is said: Google's longest live twelve hours,
/// and no clock or calendar overflows by it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A number of seconds, within what a token may live; none for what is no number. Some servers
/// write it as text; Google's own library takes both.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|seconds: &f64| !seconds.is_nan())?;
    Some(Duration::from_secs_f64(
        seconds.clamp(0.0, LONGEST.as_secs_f64()),
    ))
}

/// A token as it may go into a header.
pub(super) fn issued(token: String, lifetime: Option<Duration>) -> Result<Issued, ExchangeError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ExchangeError::Answer);
    }
    Ok(Issued {
        secret: Secret::new(token),
        lifetime: lifetime.map(|lifetime| lifetime.min(LONGEST)),
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

/// The sentence of an answer in plain text, as the metadata server's are; none of a web page, and of
/// what is no text.
fn sentence(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let is_text = !text.is_empty() && !text.starts_with(['<', '{', '[']) && !text.contains('\0');
    is_text.then(|| bounded_sentence(text))
}

/// A text of the other side as it may be told: in one line, of bounded length, and without what it
/// was shown.
fn bounded_sentence(text: &str) -> String {
    let text: String = text.chars().take(16 * 1024).collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    secret::redact(&line).chars().take(1000).collect()
}

/// Why no token was sold.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The other side's own words.
    #[error("{0}")]
    Refused(Box<TokenRefusal>),
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

impl ExchangeError {
    fn of_answer(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Document {
            Google {
                error: GoogleError,
            },
            OAuth {
                error: String,
                #[serde(default)]
                error_description: Option<String>,
            },
            // GitHub's and GitLab's.
            Message {
                message: String,
            },
        }
        #[derive(Deserialize)]
        struct GoogleError {
            #[serde(default)]
            message: String,
            #[serde(default)]
            status: String,
            #[serde(default)]
            details: Vec<Value>,
        }
        let refused = |code: &str, description: &str, details: &[Value]| {
            Self::Refused(Box::new(TokenRefusal::new(
                status,
                &bounded_sentence(code),
                bounded_sentence(description),
                details,
            )))
        };
        match serde_json::from_slice(body) {
            Ok(Document::Google { error }) => {
                refused(&error.status, &error.message, &error.details)
            }
            Ok(Document::OAuth {
                error,
                error_description,
            }) => refused(&error, &error_description.unwrap_or_default(), &[]),
            Ok(Document::Message { message }) => refused("", &message, &[]),
            Err(_) => match sentence(body) {
                Some(sentence) => refused("", &sentence, &[]),
                None => Self::Status(status),
            },
        }
    }

    /// True where another try may do.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.is_temporary(),
            Self::Status(status) => is_temporary(*status),
            Self::TimedOut | Self::Answer => true,
            Self::Connection(_) => false,
        }
    }
}

/// True for a status that another try may do without.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lifetime_is_bounded() {
        for (said, expected) in [
            (json!(3599), Some(3599)),
            (json!("3599"), Some(3599)),
            (json!(3599.9), Some(3599)),
            (json!(1_000_000_000_000_000_000_u64), Some(86_400)),
            (json!(1e300), Some(86_400)),
            (json!(u64::MAX), Some(86_400)),
            (json!(-1), Some(0)),
            (json!("soon"), None),
            (json!("NaN"), None),
            (Value::Null, None),
        ] {
            let read = seconds(&said).map(|lifetime| lifetime.as_secs());
            assert_eq!(read, expected, "{said}");
        }
    }

    #[test]
    fn retryability_follows_from_status_or_code() {
        for (status, body, expected) in [
            (
                429,
                r#"{"error":"rate_limit","error_description":"x"}"#,
                true,
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"x","status":"ABORTED"}}"#,
                true,
            ),
            (500, "<html>", true),
            (400, r#"{"error":"temporarily_unavailable"}"#, true),
            (400, r#"{"error":"invalid_grant"}"#, false),
            (
                403,
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#,
                false,
            ),
            (403, "<html>blocked by policy</html>", false),
            (404, "Unable to generate access token", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = ExchangeError::of_answer(status, body.as_bytes());
            assert_eq!(error.is_temporary(), expected, "{status} {body}");
        }
    }

    #[test]
    fn error_message_is_shown_in_one_line_and_a_page_is_not() {
        for (status, body, expected) in [
            (403, "No.\nNot here.\n", "403 Forbidden: No. Not here."),
            (401, r#"{"message":"No."}"#, "401 Unauthorized: No."),
            (400, r#"{"error":"invalid_grant"}"#, "invalid_grant"),
            (
                403,
                r#"{"error":{"message":"No.","status":"PERMISSION_DENIED"}}"#,
                "403 PERMISSION_DENIED: No.",
            ),
            (403, "<html>No.</html>", "the answer is 403 Forbidden"),
            (502, "", "the answer is 502 Bad Gateway"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = ExchangeError::of_answer(status, body.as_bytes());
            assert_eq!(error.to_string(), expected);
        }
    }
}
