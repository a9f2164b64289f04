//! Parses the error responses of Google's APIs, and provides hints for them.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::google::quota;
use crate::auth::service_controls;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;
use crate::http::plain_text;

/// An error in Google's format (<https://google.aip.dev/193>).
#[derive(Debug, Default)]
pub(super) struct ApiError {
    pub(super) status: u16,
    /// `PERMISSION_DENIED`, …, or in the storage API's older format the reason.
    pub(super) code: Option<String>,
    pub(super) message: String,
    /// `SERVICE_DISABLED`, …, if the error states one.
    pub(super) reason: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) violations: Vec<Violation>,
}

/// A precondition that failed, such as an organisation policy or missing billing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Violation {
    /// The type of the precondition: `constraints/iam.disableServiceAccountKeyCreation`, ….
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The resource that it applies to.
    #[serde(default)]
    pub subject: String,
}

/// `google.rpc.Status`, the error of an operation.
#[derive(Debug, Deserialize)]
pub(super) struct Rpc {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Value>,
}

impl ApiError {
    /// True if VPC Service Controls forbid the request, which no retry changes.
    pub(super) fn is_blocked_by_service_controls(&self) -> bool {
        service_controls(&self.message).is_some()
            || self.reason.as_deref() == Some("SECURITY_POLICY_VIOLATED")
            || self
                .violations
                .iter()
                .any(|violation| violation.kind == "VPC_SERVICE_CONTROLS")
    }

    /// The error of an operation, presented as an error of the request.
    pub(super) fn from_operation(rpc: Rpc) -> Self {
        let (status, code) = http_status(rpc.code);
        let mut error = Self {
            status,
            code: Some(code.to_owned()),
            message: redact(&rpc.message),
            ..Self::default()
        };
        error.read_details(rpc.details);
        error
    }

    /// True if a later retry may succeed. A limit stays exceeded.
    pub(super) fn is_temporary(&self) -> bool {
        match self.status {
            429 => !self.message.starts_with(LIMIT),
            408 | 500.. => true,
            _ => false,
        }
    }

    /// Reads the useful details of an error (<https://google.aip.dev/193#errorinfo>).
    fn read_details(&mut self, details: Vec<Value>) {
        for mut detail in details {
            let kind = detail["@type"].as_str().unwrap_or_default();
            if kind.ends_with("google.rpc.ErrorInfo") && self.reason.is_none() {
                self.reason = detail["reason"].as_str().map(str::to_owned);
                self.metadata =
                    serde_json::from_value(detail["metadata"].take()).unwrap_or_default();
            } else if kind.ends_with("google.rpc.PreconditionFailure") {
                let violations = serde_json::from_value(detail["violations"].take());
                self.violations
                    .extend(violations.unwrap_or_else(|_| Vec::<Violation>::new()));
            }
        }
    }

    /// The constraint of the organisation policy that forbids the request.
    ///
    /// Predefined constraints are in a violation; managed and custom ones have a reason of their
    /// own.
    /// <https://cloud.google.com/resource-manager/docs/organization-policy/creating-managing-custom-constraints>
    pub(super) fn constraint(&self) -> Option<&str> {
        let is_name = |name: &&str| {
            name.starts_with("constraints/") || name.starts_with("customConstraints/")
        };
        let mut violated = self.violations.iter().map(|one| one.kind.as_str());
        if let Some(name) = violated.find(is_name) {
            return Some(name);
        }
        const MANAGED: &str = "CUSTOM_ORG_POLICY_VIOLATION";
        let in_metadata = self.metadata.get("customConstraints").map(String::as_str);
        // If the details do not name it, the message does.
        let is_outside = |c: char| c.is_whitespace() || "\"'`[](),:;".contains(c);
        let mut words = self.message.split(is_outside);
        let named =
            in_metadata.or_else(|| words.find(is_name).map(|name| name.trim_end_matches('.')));
        named.or_else(|| self.reason.as_deref().filter(|reason| *reason == MANAGED))
    }

    /// Returns hints, the most useful first.
    pub(super) fn hints(&self) -> Vec<String> {
        let of = |name: &str| self.metadata.get(name).map(|text| sanitize(text));
        let says = |words: &str| self.message.contains(words);
        let reason = self.reason.as_deref().unwrap_or_default();
        let general = service_controls(&self.message)
            .or_else(|| quota::hint(&self.message, self.reason.as_deref()));
        if let Some(hint) = general {
            return vec![hint];
        }
        if reason == "SERVICE_DISABLED" {
            let service = of("service").unwrap_or_else(|| "SERVICE".to_owned());
            let consumer = of("consumer").unwrap_or_default();
            let project = consumer.strip_prefix("projects/").unwrap_or("PROJECT");
            return vec![format!(
                "enable the API: `gcloud services enable {service} --project={project}`; where it \
                 was enabled just now, it takes a few minutes to be known everywhere"
            )];
        }
        if let Some(constraint) = self.constraint() {
            return vec![format!(
                "the organisation's policy `{}` forbids it: who administers the organisation's \
                 policies can exempt the project",
                sanitize(constraint)
            )];
        }
        let billing = |violation: &Violation| violation.kind.ends_with("billing-enabled");
        if reason == "UREQ_PROJECT_BILLING_NOT_FOUND" || self.violations.iter().any(billing) {
            let project = of("project").unwrap_or_else(|| "PROJECT".to_owned());
            return vec![format!(
                "the project has no billing account: `gcloud billing projects link {project} \
                 --billing-account=ACCOUNT` gives it one, and `gcloud billing accounts list` \
                 shows which there are"
            )];
        }
        if reason == "ACCESS_TOKEN_SCOPE_INSUFFICIENT" {
            return vec![
                "the token was made for less: it needs the scope \
                 `https://www.googleapis.com/auth/cloud-platform`"
                    .to_owned(),
            ];
        }
        match self.status {
            401 => vec![
                "the token is not valid, or no longer: `gcloud auth print-access-token` gives one \
                 that lives an hour"
                    .to_owned(),
            ],
            403 => match of("permission") {
                Some(permission) => {
                    vec![format!(
                        "it takes a role that has the permission `{permission}`"
                    )]
                }
                None => Vec::new(),
            },
            429 if self.message.starts_with(LIMIT) => vec![
                "delete what nobody uses, or have the limit raised: \
                 https://console.cloud.google.com/iam-admin/quotas"
                    .to_owned(),
            ],
            429 if says("uota") || reason == "RATE_LIMIT_EXCEEDED" => {
                vec![
                    "the project's quota is used up for now: try again in a few minutes".to_owned(),
                ]
            }
            408 | 429 | 500.. => {
                vec!["the trouble is Google's: run this again in a few minutes".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// The start of Google's message for a limit that waiting does not lift.
const LIMIT: &str = "Maximum number of ";

/// Parses `{"error":{"code","message","status","details"}}`, and the storage API's older format
/// with `errors`.
pub(super) fn parse_error(status: StatusCode, body: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Envelope {
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        message: String,
        status: Option<String>,
        #[serde(default)]
        details: Vec<Value>,
        #[serde(default)]
        errors: Vec<Value>,
    }
    let mut refusal = ApiError {
        status: status.as_u16(),
        ..ApiError::default()
    };
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { error }) => {
            let older = error
                .errors
                .first()
                .and_then(|first| first["reason"].as_str());
            refusal.code = error.status.or(older.map(str::to_owned));
            refusal.message = redact(&error.message);
            refusal.read_details(error.details);
        }
        Err(_) => refusal.message = plain_text(body),
    }
    refusal
}

/// Maps `google.rpc.Code` to its HTTP status and its name.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
fn http_status(code: u16) -> (u16, &'static str) {
    match code {
        3 => (400, "INVALID_ARGUMENT"),
        4 => (504, "DEADLINE_EXCEEDED"),
        5 => (404, "NOT_FOUND"),
        6 => (409, "ALREADY_EXISTS"),
        7 => (403, "PERMISSION_DENIED"),
        8 => (429, "RESOURCE_EXHAUSTED"),
        9 => (400, "FAILED_PRECONDITION"),
        10 => (409, "ABORTED"),
        14 => (503, "UNAVAILABLE"),
        16 => (401, "UNAUTHENTICATED"),
        _ => (500, "INTERNAL"),
    }
}
