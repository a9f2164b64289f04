//! Error responses of token endpoints, as far as hints depend on them.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::exchange::is_temporary;
use super::google::quota;
use crate::diagnostics::sanitize::sanitize;

/// An error response with a message.
#[derive(Debug)]
pub struct ErrorResponse {
    pub(super) status: StatusCode,
    /// The wait that `Retry-After` requests.
    pub(super) retry_after: Option<Duration>,
    /// `invalid_grant`, `PERMISSION_DENIED`, … `None` if the response has no code.
    pub(super) code: Option<String>,
    /// `error_description`, `message`, or the whole of a plain text.
    pub(super) description: String,
    /// `SERVICE_DISABLED`, … in a response of a Google API
    /// (<https://google.aip.dev/193#errorinfo>).
    pub(super) reason: Option<String>,
    /// The disabled API, and the project that it is disabled in.
    disabled_api: Option<(String, String)>,
}

impl ErrorResponse {
    pub(super) fn new(
        status: StatusCode,
        retry_after: Option<Duration>,
        code: &str,
        description: String,
        details: &[Value],
    ) -> Self {
        let is_info = |detail: &&Value| {
            let kind = detail["@type"].as_str();
            kind.is_some_and(|kind| kind.ends_with("google.rpc.ErrorInfo"))
        };
        let info = details.iter().find(is_info).unwrap_or(&Value::Null);
        let reason = info["reason"].as_str().map(str::to_owned);
        let named = || {
            let metadata = &info["metadata"];
            let consumer = metadata["consumer"].as_str()?;
            let project = consumer.strip_prefix("projects/")?;
            Some((metadata["service"].as_str()?.to_owned(), project.to_owned()))
        };
        let disabled_api = match reason.as_deref() {
            _ if quota::is_missing(&description) => None,
            Some("SERVICE_DISABLED") => named().or_else(|| disabled_service(&description)),
            _ => disabled_service(&description),
        };
        Self {
            status,
            retry_after,
            code: Some(code.chars().take(100).collect()).filter(|code: &String| !code.is_empty()),
            description,
            reason,
            disabled_api,
        }
    }

    /// True if a retry may succeed. RFC 6749 defines two such codes; the others are Google's.
    pub(super) fn is_temporary(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        is_temporary(self.status)
            || matches!(
                code,
                "internal_failure"
                    | "server_error"
                    | "temporarily_unavailable"
                    | "UNAVAILABLE"
                    | "INTERNAL"
                    | "RESOURCE_EXHAUSTED"
                    | "DEADLINE_EXCEEDED"
            )
    }

    /// True if the message contains these words.
    pub(super) fn contains(&self, words: &str) -> bool {
        self.description.contains(words)
    }

    /// The command that enables the API, if it is disabled.
    pub(super) fn enable(&self) -> Option<String> {
        let (service, project) = self.disabled_api.as_ref()?;
        Some(format!(
            "enable the API: `gcloud services enable {} --project={}`; where it was enabled just \
             now, it takes a few minutes to be known everywhere",
            sanitize(service),
            sanitize(project)
        ))
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            // Every OAuth error has this status.
            Some(code) if self.status == StatusCode::BAD_REQUEST => {
                formatter.write_str(&sanitize(code))?;
            }
            Some(code) => write!(formatter, "{} {}", self.status.as_u16(), sanitize(code))?,
            None => write!(formatter, "{}", self.status)?,
        }
        match self.description.as_str() {
            "" => Ok(()),
            text => write!(formatter, ": {}", sanitize(text)),
        }
    }
}

/// Returns the disabled service and its project from Google's message.
fn disabled_service(message: &str) -> Option<(String, String)> {
    if !message.contains("has not been used in project") {
        return None;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    let name = |rest: &str| {
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        Some(name).filter(|name| !name.is_empty())
    };
    let (_, address) = message.split_once("/apis/api/")?;
    let (_, project) = message.split_once("has not been used in project ")?;
    Some((name(address)?, name(project)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn disabled_api_names_the_project_of_the_answer() {
        let message = "X API has not been used in project 42 before or it is disabled. Enable it \
                        by visiting https://console.developers.google.com/apis/api/\
                        x.googleapis.com/overview?project=42 then retry.";
        let details = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "metadata": {"service": "y.googleapis.com", "consumer": "projects/43"},
        }]);
        let details = details.as_array().unwrap();
        for (details, expected) in [
            (&[][..], Some(("x.googleapis.com", "42"))),
            (details.as_slice(), Some(("y.googleapis.com", "43"))),
        ] {
            let refused =
                ErrorResponse::new(StatusCode::FORBIDDEN, None, "", message.to_owned(), details);
            let disabled_api = refused.disabled_api.as_ref();
            assert_eq!(
                disabled_api.map(|(a, b)| (a.as_str(), b.as_str())),
                expected
            );
        }
        assert_eq!(disabled_service("no."), None);
    }
}
