//! Sends requests to token endpoints and parses their responses.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::AuthError;
use crate::diagnostics::secret::Secret;
use crate::http::{
    BodyError, BoxError, ErrorResponse, HttpError, Network, WINDOW, date, read_bounded,
};

/// The only OAuth scope that Artifact Registry documents for pushing and pulling.
/// <https://cloud.google.com/artifact-registry/docs/docker/authentication>
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The maximum time of one exchange.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The maximum size of a response. A token has a few KiB.
const MAX_RESPONSE: usize = 256 * 1024;

/// The HTTP clients for token endpoints.
#[derive(Clone)]
pub(crate) struct Exchange {
    http: Client,
    link_local: Client,
}

/// A token that was just issued.
pub(crate) struct IssuedToken {
    pub(super) secret: Secret,
    /// The remaining lifetime. `None` if the response does not state it.
    pub(super) lifetime: Option<Duration>,
}

/// A successful response.
pub(super) struct TokenResponse {
    method: Method,
    url: Url,
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

    /// Builds a request. Plain HTTP is used only for this machine and link-local addresses, and
    /// never through a proxy.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let client = if url.scheme() == "http" {
            &self.link_local
        } else {
            &self.http
        };
        client.request(method, url.clone())
    }

    /// Sends a form and returns the response if it is successful.
    pub(super) async fn post_form(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
    ) -> Result<TokenResponse, HttpError> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.send(Method::POST, url, |request| {
            request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form)
        })
        .await
    }

    /// Sends a request and returns the response if it is successful.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<TokenResponse, HttpError> {
        let broken = |cause: BoxError| HttpError::broken(method.clone(), url.clone(), cause);
        let exchange = async {
            let request = complete(self.request(method.clone(), url));
            let response = request.send().await;
            let response = response.map_err(|error| broken(error.without_url().into()))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = read_body(response).await.map_err(|error| match error {
                BodyError::TooLong(_) => no_token(method.clone(), url.clone()),
                BodyError::Broken(_) | BodyError::TooSlow(_) => broken(error.into()),
            })?;
            if !status.is_success() {
                let response = ErrorResponse::parse(status, &headers, &body);
                return Err(HttpError::refused(method.clone(), url.clone(), response));
            }
            Ok(TokenResponse {
                method: method.clone(),
                url: url.clone(),
                body,
                date: date(&headers),
            })
        };
        match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => {
                let (method, url) = (method.clone(), url.clone());
                Err(HttpError::timed_out(method, url, EXCHANGE_TIMEOUT))
            }
        }
    }
}

/// Reads the body of a response of a token endpoint.
pub(super) async fn read_body(response: Response) -> Result<Bytes, BodyError> {
    read_bounded(response, MAX_RESPONSE, WINDOW).await
}

/// The error of a successful response that is no token.
fn no_token(method: Method, url: Url) -> HttpError {
    let what = "the response is not an OAuth token; a proxy or an outage may have answered instead";
    HttpError::protocol(method, url, what)
}

impl TokenResponse {
    /// The error if the response is no token.
    pub(super) fn is_no_token(&self) -> HttpError {
        no_token(self.method.clone(), self.url.clone())
    }

    /// Parses the body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|_| self.is_no_token())
    }

    /// Parses an OAuth token response (RFC 6749, section 5.1).
    pub(super) fn oauth_token(&self) -> Result<IssuedToken, HttpError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            #[serde(default)]
            expires_in: Value,
        }
        let response: Answer = self.json()?;
        self.issued(response.access_token, seconds(&response.expires_in))
    }

    /// Checks that a token of this response can be sent in a header.
    pub(super) fn issued(
        &self,
        token: String,
        lifetime: Option<Duration>,
    ) -> Result<IssuedToken, HttpError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(self.is_no_token());
        }
        Ok(IssuedToken {
            secret: Secret::new(token),
            lifetime: lifetime.map(|lifetime| lifetime.min(MAX_LIFETIME)),
        })
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
}
