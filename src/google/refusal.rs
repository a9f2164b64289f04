//! What the error responses of Google's APIs mean, and hints for them.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::google::disabled_api::{enable, enable_hint};
use crate::auth::{NARROW_SCOPES, general_hint, service_controls};
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;
use crate::http::ErrorResponse;

/// `google.rpc.Status`, the error of an operation.
#[derive(Debug, Deserialize)]
pub(super) struct Rpc {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Value,
}

impl From<Rpc> for ErrorResponse {
    /// The error of an operation, presented as an error of the request.
    fn from(rpc: Rpc) -> Self {
        let (status, code) = http_status(rpc.code);
        Self {
            status,
            code: Some(code.to_owned()),
            message: redact(&rpc.message),
            details: rpc.details,
            retry_after: None,
        }
    }
}

/// True if VPC Service Controls forbid the request, which no retry changes.
pub(super) fn is_blocked_by_service_controls(response: &ErrorResponse) -> bool {
    service_controls(&response.message).is_some()
        || response.reason() == Some("SECURITY_POLICY_VIOLATED")
        || response
            .violations()
            .any(|kind| kind == "VPC_SERVICE_CONTROLS")
}

/// True if a later retry may succeed. A limit stays exceeded.
pub(super) fn is_temporary(response: &ErrorResponse) -> bool {
    response.is_temporary() && !response.message.starts_with(LIMIT)
}

/// The constraint of the organisation policy that forbids the request.
///
/// Predefined constraints are in a violation; managed and custom ones have a reason of their own.
/// <https://cloud.google.com/resource-manager/docs/organization-policy/creating-managing-custom-constraints>
pub(super) fn constraint(response: &ErrorResponse) -> Option<&str> {
    let is_name =
        |name: &&str| name.starts_with("constraints/") || name.starts_with("customConstraints/");
    if let Some(name) = response.violations().find(is_name) {
        return Some(name);
    }
    // If the details do not name it, the message does.
    let is_outside = |c: char| c.is_whitespace() || "\"'`[](),:;".contains(c);
    let in_message = || {
        let mut words = response.message.split(is_outside);
        words.find(is_name).map(|name| name.trim_end_matches('.'))
    };
    let unnamed = || {
        let reason = response.reason();
        reason.filter(|reason| *reason == "CUSTOM_ORG_POLICY_VIOLATION")
    };
    let named = response.metadata("customConstraints");
    named.or_else(in_message).or_else(unnamed)
}

/// Returns hints, the most useful first.
pub(super) fn hints(response: &ErrorResponse) -> Vec<String> {
    let of = |name: &str| response.metadata(name).map(sanitize);
    let reason = response.reason().unwrap_or_default();
    if let Some(hint) = general_hint(response).or_else(|| enable_hint(response)) {
        return vec![hint];
    }
    if reason == "SERVICE_DISABLED" {
        let consumer = response.metadata("consumer").unwrap_or_default();
        let project = consumer.strip_prefix("projects/").unwrap_or("PROJECT");
        let service = response.metadata("service").unwrap_or("SERVICE");
        return vec![enable(service, project)];
    }
    if let Some(constraint) = constraint(response) {
        return vec![format!(
            "the organisation's policy `{}` forbids it: ask the administrator of the policies to \
             exempt the project",
            sanitize(constraint)
        )];
    }
    let mut violations = response.violations();
    if reason == "UREQ_PROJECT_BILLING_NOT_FOUND"
        || violations.any(|kind| kind.ends_with("billing-enabled"))
    {
        let project = of("project").unwrap_or_else(|| "PROJECT".to_owned());
        return vec![format!(
            "the project has no billing account: link one with `gcloud billing projects link \
             {project} --billing-account=ACCOUNT`; `gcloud billing accounts list` lists the \
             accounts"
        )];
    }
    if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT" {
        return vec![NARROW_SCOPES.to_owned()];
    }
    match response.status.as_u16() {
        401 => vec![
            "the token is invalid or has expired: `gcloud auth print-access-token` prints one that \
             is valid for an hour"
                .to_owned(),
        ],
        403 => match of("permission") {
            Some(permission) => {
                vec![format!(
                    "grant a role that has the permission `{permission}`"
                )]
            }
            None => Vec::new(),
        },
        429 if response.message.starts_with(LIMIT) => vec![
            "delete what is not used, or request a higher limit: \
             https://console.cloud.google.com/iam-admin/quotas"
                .to_owned(),
        ],
        429 if response.contains("uota") || reason == "RATE_LIMIT_EXCEEDED" => {
            vec!["the project's quota is used up for now: try again in a few minutes".to_owned()]
        }
        408 | 429 | 500.. => {
            vec!["Google has a temporary problem; try again in a few minutes".to_owned()]
        }
        _ => Vec::new(),
    }
}

/// The start of Google's message for a limit that waiting does not lift.
const LIMIT: &str = "Maximum number of ";

/// Maps `google.rpc.Code` to its HTTP status and its name.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
fn http_status(code: u16) -> (StatusCode, &'static str) {
    match code {
        3 => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        4 => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        5 => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        6 => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        7 => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        8 => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        9 => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
        10 => (StatusCode::CONFLICT, "ABORTED"),
        14 => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        16 => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    }
}
