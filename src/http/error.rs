//! The error of an HTTP request: method, redacted URL, status, code and message.

use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use super::connection_failure::ConnectionFailure;
use super::error_response::ErrorResponse;
use super::error_text::bounded_text;
use super::url_text::{host, redacted};
use crate::diagnostics::ExitCode;
use crate::diagnostics::sanitize::sanitize;

/// A request that failed, whatever service it was sent to.
#[derive(Debug, thiserror::Error)]
pub struct HttpError {
    /// The method of the request.
    pub(crate) method: Method,
    /// Its URL, which may contain secrets: see [`redacted`].
    pub(crate) url: Box<Url>,
    /// The other host that the request was redirected to.
    pub(crate) redirected_to: Option<Box<str>>,
    /// How it failed.
    pub(crate) kind: HttpErrorKind,
    /// The number of tries and their duration, if there was more than one.
    attempts: Option<Box<(u32, Duration)>>,
    #[source]
    cause: Option<BoxError>,
}

/// The cause of an error, of any type.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a request failed.
#[derive(Debug)]
pub(crate) enum HttpErrorKind {
    /// The response has an error status.
    Response(Box<ErrorResponse>),
    /// No response, or an incomplete one. The cause is classified by [`ConnectionFailure`].
    Connection,
    /// No token could be obtained for the request, which was not sent. The cause says why.
    Auth,
    /// A response that the protocol of the service does not allow.
    Protocol,
    /// A response with another body than requested, for example because bytes were changed in
    /// transit.
    Corrupt,
    /// The body of the request could not be read.
    Source,
}

/// The text of a cause.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(.0))]
struct Message(String);

impl HttpError {
    /// A failure with its cause.
    pub(crate) fn new(
        method: Method,
        url: Url,
        kind: HttpErrorKind,
        cause: impl Into<BoxError>,
    ) -> Self {
        Self {
            method,
            url: Box::new(url),
            redirected_to: None,
            kind,
            attempts: None,
            cause: Some(cause.into()),
        }
    }

    /// A response with an error status. Its message is the cause.
    pub(crate) fn refused(method: Method, url: Url, response: ErrorResponse) -> Self {
        let message = Some(bounded_text(&response.message)).filter(|text| !text.is_empty());
        Self {
            method,
            url: Box::new(url),
            redirected_to: None,
            kind: HttpErrorKind::Response(Box::new(response)),
            attempts: None,
            cause: message.map(|text| Message(text).into()),
        }
    }

    /// No response, or an incomplete one.
    pub(crate) fn broken(method: Method, url: Url, cause: impl Into<BoxError>) -> Self {
        Self::new(method, url, HttpErrorKind::Connection, cause)
    }

    /// No response in time.
    pub(crate) fn timed_out(method: Method, url: Url, limit: Duration) -> Self {
        let text = format!("no response within {} s", limit.as_secs());
        Self::broken(method, url, io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// A response that the protocol of the service does not allow.
    pub(crate) fn protocol(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::new(method, url, HttpErrorKind::Protocol, Message(what.into()))
    }

    /// A response whose bytes are not the requested ones.
    pub(crate) fn corrupt(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::new(method, url, HttpErrorKind::Corrupt, Message(what.into()))
    }

    /// Records the number of tries.
    pub(crate) fn note_tries(&mut self, times: u32, during: Duration) {
        self.attempts = (times > 1).then(|| Box::new((times, during)));
    }

    /// The response, if it has an error status.
    pub(crate) fn response(&self) -> Option<&ErrorResponse> {
        match &self.kind {
            HttpErrorKind::Response(response) => Some(response),
            _ => None,
        }
    }

    /// The HTTP status of an error response.
    pub fn status(&self) -> Option<StatusCode> {
        self.response().map(|response| response.status)
    }

    /// The code of an error response.
    pub fn code(&self) -> Option<&str> {
        self.response()?.code.as_deref()
    }

    /// The message of an error response. Empty if there is none.
    pub fn message(&self) -> &str {
        self.response()
            .map_or("", |response| response.message.as_str())
    }

    /// True if there was no response, or an incomplete one.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, HttpErrorKind::Connection)
    }

    /// Why the connection failed.
    pub(crate) fn connection_failure(&self) -> ConnectionFailure {
        match &self.cause {
            Some(cause) => ConnectionFailure::of(&**cause),
            None => ConnectionFailure::Broken,
        }
    }

    /// The cause, if it is of this type.
    pub(crate) fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.cause.as_ref()?.downcast_ref()
    }

    /// The host and port of the URL, for messages.
    pub(crate) fn host(&self) -> String {
        host(&self.url)
    }

    /// The exit code, where the service has no rules of its own.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match &self.kind {
            HttpErrorKind::Response(response) => match response.status.as_u16() {
                401 | 403 => ExitCode::Denied,
                _ if response.is_temporary() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            HttpErrorKind::Connection => self.connection_failure().exit_code(),
            _ => ExitCode::Failed,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, &self.cause) {
            (HttpErrorKind::Auth, Some(cause)) => return write!(formatter, "{cause}"),
            (HttpErrorKind::Source, _) => {
                return formatter.write_str("could not read the image during the upload");
            }
            _ => {}
        }
        let url = redacted(&self.method, &self.url);
        write!(formatter, "{} {url}", self.method)?;
        if let Some(host) = &self.redirected_to {
            write!(formatter, " (redirected to `{}`)", sanitize(host))?;
        }
        if let Some(ErrorResponse { status, code, .. }) = self.response() {
            write!(formatter, ": {}", status.as_u16())?;
            match (code, status.canonical_reason()) {
                (Some(code), _) => write!(formatter, " {}", sanitize(code))?,
                (None, Some(reason)) => write!(formatter, " {reason}")?,
                (None, None) => {}
            }
        }
        match self.attempts.as_deref() {
            Some((times, during)) if during.as_secs() > 0 => {
                write!(formatter, " ({times} tries in {} s)", during.as_secs())
            }
            Some((times, _)) => write!(formatter, " ({times} tries)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn long_message_is_shortened_only_where_it_is_shown() {
        let message = "sha256:0123456789 ".repeat(200);
        let body = serde_json::json!({"errors": [{"code": "BLOB_UNKNOWN", "message": message}]});
        let body = body.to_string();
        let status = StatusCode::NOT_FOUND;
        let response = ErrorResponse::parse(status, &HeaderMap::new(), body.as_bytes());
        let url = "https://gcr.io/v2/acme/app/manifests/1?x=secret".parse();
        let error = HttpError::refused(Method::PUT, url.unwrap(), response);
        assert_eq!(error.message(), message);
        assert_eq!(error.source().unwrap().to_string().len(), 1_000);
        let line = "PUT https://gcr.io/v2/acme/app/manifests/1: 404 BLOB_UNKNOWN";
        assert_eq!(error.to_string(), line);
    }
}
