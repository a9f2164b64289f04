//! Answers and refusals in the forms of Google's services.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{BodyBroken, Outgoing, Source};

/// What a handler returns to the connection.
pub(crate) type Answer = Response<Outgoing>;

/// An answer with this status and no body.
pub(crate) fn empty(status: u16) -> Answer {
    with_source(status, Source::Empty)
}

/// An answer with this body.
pub(crate) fn bytes(status: u16, content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let mut answer = with_source(status, Source::Whole(body.into()));
    set(&mut answer, header::CONTENT_TYPE, content_type);
    answer
}

/// A JSON answer.
pub(crate) fn json_body(status: u16, value: &Value) -> Answer {
    bytes(status, "application/json", value.to_string())
}

/// An answer with any body. It has a length, so that a HEAD can keep the header.
pub(crate) fn with_source(status: u16, source: Source) -> Answer {
    let length = source.length();
    let mut answer = Response::new(Outgoing::new(source));
    *answer.status_mut() = StatusCode::from_u16(status).expect("statuses are written by us");
    if status != 204 {
        set(&mut answer, header::CONTENT_LENGTH, &length.to_string());
    }
    answer
}

/// Sets a header whose value is our own text.
pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("header values are plain text");
    answer.headers_mut().insert(name, value);
}

/// A refusal, before it becomes an answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    content_type: &'static str,
    body: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    /// A refusal in the registry's envelope (OCI distribution-spec, "Error Codes").
    pub(crate) fn registry(status: u16, code: &str, message: impl Into<String>) -> Self {
        let envelope = json!({"errors": [{"code": code, "message": message.into()}]});
        Self::new(status, "application/json", envelope.to_string())
    }

    /// A refusal in any other envelope.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=UTF-8", body.to_string())
    }

    /// A refusal in the envelope of OAuth 2.0 (RFC 6749, section 5.2).
    pub(crate) fn oauth(status: u16, error: &str, description: &str) -> Self {
        let body = json!({"error": error, "error_description": description});
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// A refusal in plain text, as Google's 412 for an unmigrated project.
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// The page of a front end that did not reach the service behind it.
    pub(crate) fn page(status: u16, title: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html>\n<html lang=en>\n<title>Error {status} ({title})!!1</title>\n"
        );
        Self::new(status, "text/html; charset=UTF-8", body)
    }

    fn new(status: u16, content_type: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut answer = bytes(refusal.status, refusal.content_type, refusal.body);
        for (name, value) in refusal.headers {
            set(&mut answer, name, &value);
        }
        answer
    }
}

impl From<BodyBroken> for Refusal {
    fn from(_: BodyBroken) -> Self {
        Self::registry(
            400,
            "BLOB_UPLOAD_INVALID",
            "the body of the request broke off",
        )
    }
}
