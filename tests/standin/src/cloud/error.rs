//! Refusals in the envelope of Google's APIs (google.aip.dev/193), and in the older one that the
//! storage API has.

use serde_json::{Value, json};

use crate::answer::Refusal;

/// `{"error":{"code","message","status","details"}}`; `details` is left out if there are none.
pub(crate) fn rpc(code: u16, status: &str, message: &str, details: Value) -> Refusal {
    let mut error = json!({"code": code, "message": message, "status": status});
    if details
        .as_array()
        .is_some_and(|details| !details.is_empty())
    {
        error["details"] = details;
    }
    Refusal::json(code, &json!({"error": error}))
}

/// 400 INVALID_ARGUMENT.
pub(crate) fn invalid(message: &str) -> Refusal {
    rpc(400, "INVALID_ARGUMENT", message, json!([]))
}

/// 400 FAILED_PRECONDITION.
pub(crate) fn precondition(message: &str, details: Value) -> Refusal {
    rpc(400, "FAILED_PRECONDITION", message, details)
}

/// 404 NOT_FOUND.
pub(crate) fn not_found(message: &str) -> Refusal {
    rpc(404, "NOT_FOUND", message, json!([]))
}

/// 409 ALREADY_EXISTS.
pub(crate) fn exists(message: &str) -> Refusal {
    rpc(409, "ALREADY_EXISTS", message, json!([]))
}

/// The storage API's envelope.
pub(crate) fn storage(code: u16, reason: &str, message: &str) -> Refusal {
    let one = json!({"message": message, "domain": "global", "reason": reason});
    let error = json!({"code": code, "message": message, "errors": [one]});
    Refusal::json(code, &json!({"error": error}))
}

/// A missing permission, or a missing resource.
pub(crate) fn denied(permission: &str, resource: &str) -> Refusal {
    let message =
        format!("Permission '{permission}' denied on resource '{resource}' (or it may not exist).");
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": {"permission": permission, "resource": resource},
    });
    rpc(403, "PERMISSION_DENIED", &message, json!([info]))
}

/// An API that is disabled or has not propagated.
pub(crate) fn disabled(service: &str, number: &str) -> Refusal {
    let title = match service {
        "artifactregistry.googleapis.com" => "Artifact Registry API",
        "iam.googleapis.com" => "Identity and Access Management (IAM) API",
        "iamcredentials.googleapis.com" => "IAM Service Account Credentials API",
        "cloudresourcemanager.googleapis.com" => "Cloud Resource Manager API",
        "serviceusage.googleapis.com" => "Service Usage API",
        other => other,
    };
    let url = format!(
        "https://console.developers.google.com/apis/api/{service}/overview?project={number}"
    );
    let message = format!(
        "{title} has not been used in project {number} before or it is disabled. Enable it by \
         visiting {url} then retry. If you enabled this API recently, wait a few minutes for the \
         action to propagate to our systems and retry."
    );
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {
            "service": service,
            "consumer": format!("projects/{number}"),
            "activationUrl": url,
            "serviceTitle": title,
        },
    });
    rpc(403, "PERMISSION_DENIED", &message, json!([info]))
}

/// No credential, or an unknown one.
pub(crate) fn unauthenticated() -> Refusal {
    rpc(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login \
         cookie or other valid authentication credential. See \
         https://developers.google.com/identity/sign-in/web/devconsole-project.",
        json!([]),
    )
}
