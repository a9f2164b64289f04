//! Refusals as kube-apiserver words them (apimachinery, `pkg/api/errors`).

use serde_json::{Value, json};

use super::object::{ObjectKey, Path};
use super::rbac::Access;
use crate::answer::{self, Answer};

/// A `Status` of a failure.
#[derive(Debug)]
pub(super) struct Status {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Value) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details,
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    pub(super) fn forbidden(user: &str, wanted: Access<'_>) -> Self {
        let Access {
            verb,
            resource,
            namespace,
            name,
        } = wanted;
        let object = match name {
            "" => resource.to_owned(),
            name => format!("{resource} \"{name}\""),
        };
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let message = format!(
            "{object} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API \
             group \"\" {scope}"
        );
        Self::new(
            403,
            "Forbidden",
            message,
            json!({ "name": name, "kind": resource }),
        )
    }

    pub(super) fn terminating(object_key: &ObjectKey) -> Self {
        let ObjectKey {
            resource,
            namespace,
            name,
        } = object_key;
        let why = format!("namespace {namespace} is being terminated");
        let message = format!(
            "{resource} \"{name}\" is forbidden: unable to create new content in namespace \
             {namespace} because it is being terminated"
        );
        let cause = json!({
            "reason": "NamespaceTerminating", "message": why, "field": "metadata.namespace",
        });
        let details = json!({ "name": name, "kind": resource, "causes": [cause] });
        Self::new(403, "Forbidden", message, details)
    }

    pub(super) fn not_found(resource: &str, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" not found");
        Self::new(
            404,
            "NotFound",
            message,
            json!({ "name": name, "kind": resource }),
        )
    }

    pub(super) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, json!({}))
    }

    pub(super) fn no_such_method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, json!({}))
    }

    pub(super) fn expired() -> Self {
        let message =
            "The provided continue parameter is too old to display a consistent list result.";
        Self::new(410, "Expired", message, Value::Null)
    }

    pub(super) fn already_exists(object_key: &ObjectKey) -> Self {
        let message = format!(
            "{} \"{}\" already exists",
            object_key.resource, object_key.name
        );
        let details = json!({ "name": object_key.name, "kind": object_key.resource });
        Self::new(409, "AlreadyExists", message, details)
    }

    pub(super) fn modified(object_key: &ObjectKey) -> Self {
        Self::conflict(
            object_key,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    pub(super) fn conflict(object_key: &ObjectKey, why: &str) -> Self {
        let ObjectKey { resource, name, .. } = object_key;
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(
            409,
            "Conflict",
            message,
            json!({ "name": name, "kind": resource }),
        )
    }

    pub(super) fn apply_conflict(conflicts: &[(String, Path)]) -> Self {
        let field = |path: &Path| format!(".{}", path.join("."));
        let causes: Vec<_> = conflicts
            .iter()
            .map(|(manager, path)| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with \"{manager}\" using v1"),
                    "field": field(path),
                })
            })
            .collect();
        let message = match conflicts {
            [(manager, path)] => format!(
                "Apply failed with 1 conflict: conflict with \"{manager}\" using v1: {}",
                field(path)
            ),
            several => {
                let lines: Vec<_> = several
                    .iter()
                    .map(|(manager, path)| format!("\"{manager}\" using v1: {}", field(path)))
                    .collect();
                let count = several.len();
                format!(
                    "Apply failed with {count} conflicts: conflicts with {}",
                    lines.join(", ")
                )
            }
        };
        Self::new(409, "Conflict", message, json!({ "causes": causes }))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, Value::Null)
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types \
                       include: application/json-patch+json, application/merge-patch+json, \
                       application/strategic-merge-patch+json, application/apply-patch+yaml";
        Self::new(415, "UnsupportedMediaType", message, json!({}))
    }

    /// A field that is not in the schema.
    pub(super) fn undeclared(object_key: &ObjectKey, field: &str) -> Self {
        let message = format!(
            "failed to create typed patch object ({}/{}; /v1, Kind={}): .{field}: field not \
             declared in schema",
            object_key.namespace,
            object_key.name,
            object_key.kind()
        );
        Self::new(500, "InternalError", message, Value::Null)
    }

    /// An invalid value of a field.
    pub(super) fn invalid(kind: &str, name: &str, field: &str, what: &str) -> Self {
        let message = format!("{kind} \"{name}\" is invalid: {field}: {what}");
        let cause = json!({ "reason": "FieldValueInvalid", "message": what, "field": field });
        let details = json!({ "name": name, "kind": kind, "causes": [cause] });
        Self::new(422, "Invalid", message, details)
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        let mut object = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": status.message,
            "reason": status.reason,
            "code": status.code,
        });
        if !status.details.is_null() {
            object["details"] = status.details;
        }
        answer::json_body(status.code, &object)
    }
}
