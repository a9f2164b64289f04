//! Sends requests to token endpoints and parses their responses.
//!
//! Three services of Google issue tokens, with two formats of errors: OAuth's (RFC 6749, section
//! 5.2), and that of Google's APIs (<https://google.aip.dev/193>). Any other response is from a
//! proxy, or shows an outage.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::AuthError;
use super::error_response::ErrorResponse;
use crate::diagnostics::secret::Secret;
use crate::http::{BodyError, Network, WINDOW, bounded_text, date, read_bounded, retry_after};

/// The only OAuth scope that Artifact Registry documents for pushing and pulling.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication>
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The maximum time of one exchange.
pub(super) const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The maximum size of a response. A token has a few KiB.
const MAX_RESPONSE: usize = 256 * 1024;

/// The HTTP clients for token endpoints.
#[derive(Clone)]
pub(crate) struct Exchange {
    http: reqwest::Client,
    link_local: reqwest::Client,
}

/// A token that was just issued.
pub(crate) struct IssuedToken {
    pub(super) secret: Secret,
    /// The remaining lifetime. `None` if the response does not state it.
    pub(super) lifetime: Option<Duration>,
}

/// A successful response.
pub(super) struct TokenResponse {
    pub(super) body: Bytes,
    /// The server's `Date`.
    pub(super) date: Option<SystemTime>,
}

impl Exchange {
    pub(super) fn new(network: &Network) -> Result<Self, AuthError> {
        Ok(Self {
            http: network.exchange_client().map_err(AuthError::Network)?,
            link_local: network.link_local_client().map_err(AuthError::Network)?,
        })
    }

    /// The client for a URL. Plain HTTP is used only for this machine and link-local addresses, and
    /// never through a proxy.
    pub(super) fn client(&self, url: &Url) -> &reqwest::Client {
        if url.scheme() == "http" {
            &self.link_local
        } else {
            &self.http
        }
    }

    /// Sends a request and returns the response if it is successful.
    pub(super) async fn send(request: RequestBuilder) -> Result<TokenResponse, ExchangeError> {
        let exchange = async {
            let response = request.send().await.map_err(connection_failed)?;
            let status = response.status();
            let (date, retry_after) = (date(response.headers()), retry_after(response.headers()));
            let body = read_body(response).await?;
            if status.is_success() {
                Ok(TokenResponse { body, date })
            } else {
                Err(ExchangeError::from_response(status, retry_after, &body))
            }
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, exchange)
            .await
            .map_err(|_| ExchangeError::TimedOut)?
    }

    /// Reads the plain-text message of a response whose status was already checked.
    pub(super) async fn message(response: Response) -> Option<String> {
        message(&read_body(response).await.ok()?)
    }

    /// Reads the JSON of a response whose status was already checked.
    pub(super) async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ExchangeError> {
        let body = read_body(response).await?;
        serde_json::from_slice(&body).map_err(|_| ExchangeError::Answer)
    }
}

impl TokenResponse {
    /// Parses the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ExchangeError> {
        serde_json::from_slice(&self.body).map_err(|_| ExchangeError::Answer)
    }

    /// Parses an OAuth token response (RFC 6749, section 5.1).
    pub(super) fn oauth_token(&self) -> Result<IssuedToken, ExchangeError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: Value,
        }
        let response: Answer = self.json()?;
        issued(response.access_token, seconds(&response.expires_in))
    }
}

/// The maximum lifetime that is assumed, whatever a response states. Google's tokens live twelve
/// hours at most, and with this limit no clock or calendar overflows.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Parses a number of seconds, limited to the maximum lifetime. `None` if it is not a number. Some
/// servers write it as text; Google's own library accepts both.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let seconds = seconds.filter(|seconds: &f64| !seconds.is_nan())?;
    Some(Duration::from_secs_f64(
        seconds.clamp(0.0, MAX_LIFETIME.as_secs_f64()),
    ))
}

/// Checks that a token can be sent in a header.
pub(super) fn issued(
    token: String,
    lifetime: Option<Duration>,
) -> Result<IssuedToken, ExchangeError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ExchangeError::Answer);
    }
    Ok(IssuedToken {
        secret: Secret::new(token),
        lifetime: lifetime.map(|lifetime| lifetime.min(MAX_LIFETIME)),
    })
}

fn connection_failed(error: reqwest::Error) -> ExchangeError {
    ExchangeError::Connection(Box::new(error.without_url()))
}

async fn read_body(response: Response) -> Result<Bytes, ExchangeError> {
    let body = read_bounded(response, MAX_RESPONSE, WINDOW).await;
    body.map_err(|error| match error {
        BodyError::Broken(error) => ExchangeError::Connection(Box::new(error)),
        BodyError::TooSlow(error) => ExchangeError::Connection(Box::new(error)),
        BodyError::TooLong(_) => ExchangeError::Answer,
    })
}

/// Returns the message of a plain-text response, such as the metadata server's. `None` for a web
/// page, JSON or binary data.
fn message(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let is_text = !text.is_empty() && !text.starts_with(['<', '{', '[']) && !text.contains('\0');
    is_text.then(|| bounded_message(text))
}

/// Prepares text of a server for messages: on one line, shortened, and without secrets.
fn bounded_message(text: &str) -> String {
    bounded_text(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The server refused with a message.
    #[error("{0}")]
    ErrorResponse(Box<ErrorResponse>),
    /// A response that is neither a token nor a message, with its `Retry-After`.
    #[error("the answer is {0}")]
    Status(StatusCode, Option<Duration>),
    /// No response in time.
    #[error("no answer within {} s", EXCHANGE_TIMEOUT.as_secs())]
    TimedOut,
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A response that is not OAuth's.
    #[error("the answer is no OAuth token; a proxy or an outage may have answered instead")]
    Answer,
}

impl ExchangeError {
    fn from_response(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
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
            // The format of GitHub and GitLab.
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
        let error_response = |code: &str, description: &str, details: &[Value]| {
            Self::ErrorResponse(Box::new(ErrorResponse::new(
                status,
                retry_after,
                &bounded_message(code),
                bounded_message(description),
                details,
            )))
        };
        match serde_json::from_slice(body) {
            Ok(Document::Google { error }) => {
                error_response(&error.status, &error.message, &error.details)
            }
            Ok(Document::OAuth {
                error,
                error_description,
            }) => error_response(&error, &error_description.unwrap_or_default(), &[]),
            Ok(Document::Message { message }) => error_response("", &message, &[]),
            Err(_) => match message(body) {
                Some(message) => error_response("", &message, &[]),
                None => Self::Status(status, retry_after),
            },
        }
    }

    /// True if a retry may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::ErrorResponse(error_response) => error_response.is_temporary(),
            Self::Status(status, _) => is_temporary(*status),
            Self::TimedOut | Self::Answer => true,
            Self::Connection(_) => false,
        }
    }

    /// The wait that the server requests before another try.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ErrorResponse(response) => response.retry_after,
            Self::Status(_, retry_after) => *retry_after,
            Self::TimedOut | Self::Connection(_) | Self::Answer => None,
        }
    }
}

/// True for a status that may be temporary.
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
            let error = ExchangeError::from_response(status, None, body.as_bytes());
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
            let error = ExchangeError::from_response(status, None, body.as_bytes());
            assert_eq!(error.to_string(), expected);
        }
    }
}
