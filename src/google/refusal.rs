//! What Google's APIs say when they refuse, read out of their envelopes, and what to do about it.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::google::quota;
use crate::auth::service_controls;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;

/// An error in Google's own form (<https://google.aip.dev/193>).
#[derive(Debug, Default)]
pub(super) struct GoogleRefusal {
    pub(super) status: u16,
    /// `PERMISSION_DENIED`, …; in the storage API's older form, its reason.
    pub(super) code: Option<String>,
    pub(super) message: String,
    /// `SERVICE_DISABLED`, …, where the error tells one.
    pub(super) reason: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) violations: Vec<Violation>,
}

/// A condition that was not met: an organisation's policy, missing billing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Violation {
    /// What kind of condition it is: `constraints/iam.disableServiceAccountKeyCreation`, ….
    #[serde(default, rename = "type")]
    pub kind: String,
    /// What it is about.
    #[serde(default)]
    pub subject: String,
}

/// `google.rpc.Status`, as it ends an operation.
#[derive(Debug, Deserialize)]
pub(super) struct Rpc {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Value>,
}

impl GoogleRefusal {
    /// True where the organisation's VPC Service Controls forbid the request, which no waiting
    /// changes.
    pub(super) fn is_of_service_controls(&self) -> bool {
        service_controls(&self.message).is_some()
            || self.reason.as_deref() == Some("SECURITY_POLICY_VIOLATED")
            || self
                .violations
                .iter()
                .any(|violation| violation.kind == "VPC_SERVICE_CONTROLS")
    }

    /// The error of an operation, told as if the request had been refused.
    pub(super) fn of_operation(rpc: Rpc) -> Self {
        let (status, code) = meaning(rpc.code);
        let mut refused = Self {
            status,
            code: Some(code.to_owned()),
            message: redact(&rpc.message),
            ..Self::default()
        };
        refused.take_details(rpc.details);
        refused
    }

    /// True where the same request may do better later; a limit that is reached stays so.
    pub(super) fn is_temporary(&self) -> bool {
        match self.status {
            429 => !self.message.starts_with(LIMIT),
            408 | 500.. => true,
            _ => false,
        }
    }

    /// Takes what is of use out of an error's details (<https://google.aip.dev/193#errorinfo>).
    fn take_details(&mut self, details: Vec<Value>) {
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

    /// The constraint of an organisation that forbids it, where one does.
    ///
    /// Predefined ones are told as a violation, managed and custom ones by a reason of their own.
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
        let told = self.metadata.get("customConstraints").map(String::as_str);
        // Where no detail names it, the sentence does.
        let is_outside = |c: char| c.is_whitespace() || "\"'`[](),:;".contains(c);
        let mut words = self.message.split(is_outside);
        let named = told.or_else(|| words.find(is_name).map(|name| name.trim_end_matches('.')));
        named.or_else(|| self.reason.as_deref().filter(|reason| *reason == MANAGED))
    }

    /// What to do about it, most useful first.
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

/// How Google begins to tell of a limit that no waiting lifts.
const LIMIT: &str = "Maximum number of ";

/// Reads `{"error":{"code","message","status","details"}}`, and the storage API's older form of it
/// with `errors`.
pub(super) fn read(status: StatusCode, body: &[u8]) -> GoogleRefusal {
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
    let mut refused = GoogleRefusal {
        status: status.as_u16(),
        ..GoogleRefusal::default()
    };
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { error }) => {
            let older = error
                .errors
                .first()
                .and_then(|first| first["reason"].as_str());
            refused.code = error.status.or(older.map(str::to_owned));
            refused.message = redact(&error.message);
            refused.take_details(error.details);
        }
        Err(_) if body.trim_ascii_start().starts_with(b"<") => {
            refused.message = "the answer is a web page".to_owned();
        }
        Err(_) => {
            let text = redact(&String::from_utf8_lossy(body));
            refused.message = text.trim().chars().take(1000).collect();
        }
    }
    refused
}

/// `google.rpc.Code` as the HTTP status that it maps to, and its name.
/// <https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>
fn meaning(code: u16) -> (u16, &'static str) {
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
