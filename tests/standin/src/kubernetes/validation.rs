//! Validation of objects before they are stored (kubernetes, `pkg/apis/core/validation`).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::object::ObjectKey;
use super::status::Status;

/// The maximum size of all values of a Secret together.
const LARGEST_SECRET: usize = 1 << 20;

/// Checks an object before it is stored, and that immutable fields of the one it replaces are
/// unchanged.
pub(super) fn check(
    object_key: &ObjectKey,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let invalid = |field: &str, what: &str| {
        Err(Status::invalid(
            object_key.kind(),
            &object_key.name,
            field,
            what,
        ))
    };
    let longest = if object_key.resource == "namespaces" {
        63
    } else {
        253
    };
    let dots = object_key.resource != "namespaces";
    if !is_name(&object_key.name, longest, dots) {
        return invalid(
            "metadata.name",
            "Invalid value: a lowercase RFC 1123 name is needed",
        );
    }
    if object_key.resource != "secrets" {
        return Ok(());
    }
    let kind = |object: &Value| object["type"].as_str().unwrap_or("Opaque").to_owned();
    if let Some(old) = old {
        if kind(old) != kind(new) {
            let what = format!("Invalid value: \"{}\": field is immutable", kind(new));
            return invalid("type", &what);
        }
        if old["immutable"] == true && old["data"] != new["data"] {
            return invalid(
                "data",
                "Forbidden: field is immutable when `immutable` is set",
            );
        }
    }
    let mut size = 0;
    for (_, value) in new["data"].as_object().into_iter().flatten() {
        let decoded = value
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        let Some(decoded) = decoded else {
            let message = "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 \
                           data at input byte 0";
            return Err(Status::bad_request(message));
        };
        size += decoded.len();
    }
    if size > LARGEST_SECRET {
        return invalid("data", "Too long: may not be more than 1048576 bytes");
    }
    if kind(new) == "kubernetes.io/dockerconfigjson" {
        let Some(text) = new["data"][".dockerconfigjson"].as_str() else {
            return invalid("data[.dockerconfigjson]", "Required value");
        };
        let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
        if serde_json::from_slice::<Value>(&bytes).is_err() {
            return invalid(
                "data[.dockerconfigjson]",
                "Invalid value: \"<secret contents redacted>\"",
            );
        }
    }
    Ok(())
}

/// Checks that an applied configuration has its kind, and only fields of the schema.
pub(super) fn check_applied(object_key: &ObjectKey, applied: &Value) -> Result<(), Status> {
    check_kind(object_key, applied)?;
    let name = applied["metadata"]["name"].as_str();
    if name.is_some_and(|name| name != object_key.name) {
        return Err(Status::bad_request(
            "the name of the object does not match the name on the URL",
        ));
    }
    let namespace = applied["metadata"]["namespace"].as_str();
    if namespace.is_some_and(|namespace| namespace != object_key.namespace) {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let declared: &[&str] = match object_key.resource {
        "secrets" => &[
            "apiVersion",
            "kind",
            "metadata",
            "type",
            "data",
            "stringData",
            "immutable",
        ],
        _ => &[
            "apiVersion",
            "kind",
            "metadata",
            "secrets",
            "imagePullSecrets",
        ],
    };
    let mut keys = applied
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key);
    match keys.find(|key| !declared.contains(&key.as_str())) {
        Some(key) => Err(Status::undeclared(object_key, key)),
        None => Ok(()),
    }
}

/// Checks the `kind` and `apiVersion` of an object.
pub(super) fn check_kind(object_key: &ObjectKey, object: &Value) -> Result<(), Status> {
    let says = |key: &str, expected: &str| object[key].as_str() == Some(expected);
    if says("apiVersion", "v1") && says("kind", object_key.kind()) {
        Ok(())
    } else {
        Err(Status::bad_request(
            "apiVersion and kind must be set and match the path",
        ))
    }
}

fn is_name(name: &str, longest: usize, dots: bool) -> bool {
    let end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|b| end(b) || b == b'-')
            && label.bytes().next().is_some_and(end)
            && label.bytes().last().is_some_and(end)
    };
    name.len() <= longest
        && if dots {
            name.split('.').all(label)
        } else {
            label(name)
        }
}
