//! The hint for an API that is disabled in a project.

use crate::diagnostics::sanitize::sanitize;
use crate::http::ErrorResponse;

use super::quota;

/// The words of Google's message for a disabled API.
const DISABLED: &str = "has not been used in project";

/// True if the API is disabled, or was enabled so recently that not all servers know it.
pub(crate) fn is_disabled(response: &ErrorResponse) -> bool {
    !quota::is_missing(&response.message)
        && (response.reason() == Some("SERVICE_DISABLED")
            || (response.status.as_u16() == 403 && response.contains(DISABLED)))
}

/// The command that enables a disabled API. `None` if no API is disabled, or the response does not
/// name it and its project.
pub(crate) fn enable_hint(response: &ErrorResponse) -> Option<String> {
    if quota::is_missing(&response.message) {
        return None;
    }
    let (service, project) = of_reason(response).or_else(|| of_message(&response.message))?;
    Some(enable(service, project))
}

/// The hint with the command that enables an API in a project.
pub(crate) fn enable(service: &str, project: &str) -> String {
    format!(
        "enable the API: `gcloud services enable {} --project={}`; if you just enabled it, wait a \
         few minutes",
        sanitize(service),
        sanitize(project)
    )
}

/// The service and its project, as the reason of the error names them.
fn of_reason(response: &ErrorResponse) -> Option<(&str, &str)> {
    if response.reason() != Some("SERVICE_DISABLED") {
        return None;
    }
    let consumer = response.metadata("consumer")?;
    let project = consumer.strip_prefix("projects/")?;
    Some((response.metadata("service")?, project))
}

/// The service and its project, as Google's message names them.
fn of_message(message: &str) -> Option<(&str, &str)> {
    let (_, project) = message.split_once(DISABLED)?;
    let (_, address) = message.split_once("/apis/api/")?;
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
    let first = |text: &str| text.find(is_outside).unwrap_or(text.len());
    let project = project.trim_start();
    let (service, project) = (&address[..first(address)], &project[..first(project)]);
    (!service.is_empty() && !project.is_empty()).then_some((service, project))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    #[test]
    fn disabled_api_names_the_project_of_the_answer() {
        let message = "X API has not been used in project 42 before or it is disabled. Enable it \
                        by visiting https://console.developers.google.com/apis/api/\
                        x.googleapis.com/overview?project=42 then retry.";
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "metadata": {"service": "y.googleapis.com", "consumer": "projects/43"},
        });
        for (details, expected) in [
            (json!([]), "enable x.googleapis.com --project=42`"),
            (json!([info]), "enable y.googleapis.com --project=43`"),
        ] {
            let body = json!({"error": {"message": message, "details": details}}).to_string();
            let headers = HeaderMap::new();
            let refused = ErrorResponse::parse(StatusCode::FORBIDDEN, &headers, body.as_bytes());
            let hint = enable_hint(&refused);
            assert!(hint.is_some_and(|hint| hint.contains(expected)), "{body}");
        }
        assert_eq!(of_message("no."), None);
    }
}
