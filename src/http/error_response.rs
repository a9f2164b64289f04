//! Parses error responses into one form, whoever sent them: a registry, a Google API, an OAuth
//! server, GitHub, GitLab or Kubernetes.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error_text::{PAGE, bounded_text, plain_text};
use super::retry_after::retry_after;
use crate::diagnostics::secret::redact;
use crate::oci::json;

/// A response with an error status.
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// `DENIED`, `PERMISSION_DENIED`, `invalid_grant`, `Forbidden`, ….
    pub code: Option<String>,
    /// The message, without secrets. Empty if there is none. It may list what is missing, and is
    /// shortened where it is shown.
    pub message: String,
    /// The details: a list in the format of Google's APIs, an object in that of Kubernetes.
    pub(crate) details: Value,
    /// The value of `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

/// The code, the message and the details of a response.
type Parts = (String, String, Value);

impl ErrorResponse {
    /// Parses a response. A body of no known format is the message itself, unless it is a web page.
    pub(crate) fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let known = of_registry(body)
            .or_else(|| of_google(body))
            .or_else(|| of_oauth(body))
            .or_else(|| of_kubernetes(body));
        let (code, message, details) = match known {
            Some((code, message, details)) => (bounded_text(&code), redact(&message), details),
            None => (String::new(), plain_text(body), Value::Null),
        };
        Self {
            status,
            code: Some(code).filter(|code| !code.is_empty()),
            message,
            details,
            retry_after: retry_after(headers),
        }
    }

    /// True if the service itself did not answer, but a proxy or an outage did: there is nothing to
    /// read but a web page.
    pub(crate) fn is_foreign(&self) -> bool {
        self.code.is_none() && (self.message.is_empty() || self.message == PAGE)
    }

    /// True if the message contains these words.
    pub(crate) fn contains(&self, words: &str) -> bool {
        self.message.contains(words)
    }

    /// True if a retry may succeed. RFC 6749 (section 4.1.2.1) defines two of the codes, Google the
    /// others.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 500..)
            || matches!(
                self.code.as_deref(),
                Some(
                    "internal_failure"
                        | "server_error"
                        | "temporarily_unavailable"
                        | "UNAVAILABLE"
                        | "INTERNAL"
                        | "RESOURCE_EXHAUSTED"
                        | "DEADLINE_EXCEEDED"
                )
            )
    }

    /// The reason of an error of a Google API: `SERVICE_DISABLED`, ….
    /// <https://google.aip.dev/193#errorinfo>
    pub(crate) fn reason(&self) -> Option<&str> {
        self.error_info()?["reason"].as_str()
    }

    /// A value in the metadata of that reason: `service`, `permission`, `consumer`, ….
    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.error_info()?["metadata"][name].as_str()
    }

    /// The types of the preconditions that failed, in an error of a Google API:
    /// `constraints/iam.disableServiceAccountKeyCreation`, ….
    pub(crate) fn violations(&self) -> impl Iterator<Item = &str> {
        self.details_of_type("google.rpc.PreconditionFailure")
            .filter_map(|detail| detail["violations"].as_array())
            .flatten()
            .map(|violation| violation["type"].as_str().unwrap_or_default())
    }

    fn error_info(&self) -> Option<&Value> {
        self.details_of_type("google.rpc.ErrorInfo").next()
    }

    fn details_of_type(&self, name: &'static str) -> impl Iterator<Item = &Value> {
        let is_named = move |detail: &&Value| {
            let kind = detail["@type"].as_str();
            kind.is_some_and(|kind| kind.ends_with(name))
        };
        self.details
            .as_array()
            .into_iter()
            .flatten()
            .filter(is_named)
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    json::from_slice(body).ok()
}

/// `{"errors":[{"code","message"}]}` (distribution specification, "Error Codes").
fn of_registry(body: &[u8]) -> Option<Parts> {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(Default, Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let document: Document = parsed(body)?;
    let first = document.errors.into_iter().next().unwrap_or_default();
    Some((first.code, first.message, Value::Null))
}

/// `{"error":{"status","message","details"}}` (<https://google.aip.dev/193>), and the older format
/// of the storage API, with `errors`.
fn of_google(body: &[u8]) -> Option<Parts> {
    #[derive(Deserialize)]
    struct Document {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        status: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        details: Vec<Value>,
        #[serde(default)]
        errors: Vec<Value>,
    }
    let Document { error } = parsed(body)?;
    let code = match (error.status.as_str(), error.errors.first()) {
        ("", Some(first)) => first["reason"].as_str().unwrap_or_default().to_owned(),
        _ => error.status,
    };
    Some((code, error.message, error.details.into()))
}

/// `{"error","error_description"}` (RFC 6749, section 5.2).
fn of_oauth(body: &[u8]) -> Option<Parts> {
    #[derive(Deserialize)]
    struct Document {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let document: Document = parsed(body)?;
    Some((document.error, document.error_description, Value::Null))
}

/// `{"reason","message","details"}`, the `Status` of Kubernetes. GitHub and GitLab send `message`
/// alone.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>
fn of_kubernetes(body: &[u8]) -> Option<Parts> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        reason: String,
        message: String,
        #[serde(default)]
        details: Value,
    }
    let document: Document = parsed(body)?;
    Some((document.reason, document.message, document.details))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oci::json::variants;

    fn read(body: &[u8]) -> (Option<String>, String) {
        let response = ErrorResponse::parse(StatusCode::FORBIDDEN, &HeaderMap::new(), body);
        (response.code, response.message)
    }

    proptest! {
        #[test]
        fn registry_error_is_read_with_any_spelling_of_fields(
            text in variants::of(
                json!({"errors": [{"message": "no"}]}),
                variants::Fields {
                    all: &["errors", "code", "message"],
                    optional: &["code", "detail"],
                },
            )
        ) {
            prop_assert_eq!(read(text.as_bytes()), (None, "no".to_owned()));
        }

        #[test]
        fn any_body_can_be_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (code, message) = read(&body);
            prop_assert!(code.is_none() && message.chars().count() <= 1_000);
        }
    }

    #[test]
    fn every_format_has_its_code_and_message() {
        for (body, code, message) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X","message":"y"}]}"#,
                Some("DENIED"),
                "no",
            ),
            (r#"{"errors":[]}"#, None, ""),
            (
                r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}"#,
                Some("PERMISSION_DENIED"),
                "no",
            ),
            (
                r#"{"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet"}]}}"#,
                Some("conditionNotMet"),
                "no",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"no"}"#,
                Some("invalid_grant"),
                "no",
            ),
            (r#"{"error":"invalid_grant"}"#, Some("invalid_grant"), ""),
            (
                r#"{"kind":"Status","reason":"Forbidden","message":"no","details":{"causes":[]}}"#,
                Some("Forbidden"),
                "no",
            ),
            (r#"{"message":"no"}"#, None, "no"),
            ("", None, ""),
            ("No.\nNot here.\n", None, "No. Not here."),
            ("<html>no</html>", None, PAGE),
        ] {
            let expected = (code.map(str::to_owned), message.to_owned());
            assert_eq!(read(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn retryability_follows_from_status_or_code() {
        for (status, body, expected) in [
            (429, r#"{"error":"rate_limit"}"#, true),
            (503, r#"{"error":{"status":"ABORTED"}}"#, true),
            (500, "<html>", true),
            (400, r#"{"error":"temporarily_unavailable"}"#, true),
            (400, r#"{"error":"invalid_grant"}"#, false),
            (403, r#"{"error":{"status":"PERMISSION_DENIED"}}"#, false),
            (403, "<html>blocked by policy</html>", false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = ErrorResponse::parse(status, &HeaderMap::new(), body.as_bytes());
            assert_eq!(response.is_temporary(), expected, "{status} {body}");
        }
    }
}
