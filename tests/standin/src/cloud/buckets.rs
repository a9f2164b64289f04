//! The storage JSON API, for the buckets of Container Registry.

use serde_json::{Value, json};

use super::{ApiRequest, error};
use crate::answer::Refusal;

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    let bucket = request.variable("bucket");
    let project = request.state().buckets.get(bucket).cloned();
    let Some(project) = project else {
        let message = "The specified bucket does not exist.";
        return Err(error::storage(404, "notFound", message));
    };
    let resource = format!("projects/{project}/buckets/{bucket}");
    let need = |permission: &str| {
        if may(request, permission, &project, &resource) {
            return Ok(());
        }
        let message = format!(
            "{} does not have {permission} access to the Google Cloud Storage bucket. Permission \
             '{permission}' denied on resource (or it may not exist).",
            request.member
        );
        Err(error::storage(403, "forbidden", &message))
    };
    match method {
        "buckets.get" => {
            need("storage.buckets.get")?;
            Ok(json!({"kind": "storage#bucket", "id": bucket, "name": bucket}))
        }
        "buckets.getIamPolicy" => {
            need("storage.buckets.getIamPolicy")?;
            let version = request.query("optionsRequestedPolicyVersion");
            let version = version.and_then(|version| version.parse().ok());
            Ok(as_storage(bucket, request.get_policy(&resource, version)))
        }
        "buckets.setIamPolicy" => {
            need("storage.buckets.setIamPolicy")?;
            let set = request.set_policy(&resource, &request.body, 412)?;
            Ok(as_storage(bucket, set))
        }
        "buckets.testIamPermissions" => {
            let requested = request.call.query.all("permissions");
            let held: Vec<&str> = requested
                .filter(|permission| may(request, permission, &project, &resource))
                .collect();
            let mut answer = json!({"kind": "storage#testIamPermissionsResponse"});
            if !held.is_empty() {
                answer["permissions"] = json!(held);
            }
            Ok(answer)
        }
        "objects.list" => {
            need("storage.objects.list")?;
            Ok(json!({"kind": "storage#objects"}))
        }
        other => unreachable!("{other} is in no document"),
    }
}

/// A bucket's own policy names the project's owners as such.
fn may(request: &ApiRequest<'_>, permission: &str, project: &str, resource: &str) -> bool {
    if request.may(permission, resource) {
        return true;
    }
    let grants = &request.call.shared.grants;
    let on = format!("projects/{project}");
    [("Owner", "roles/owner"), ("Editor", "roles/editor")]
        .iter()
        .any(|(name, role)| {
            let stands_for = format!("project{name}:{project}");
            grants.has_role(&request.member, role, &on)
                && grants.allow_named(Some(&stands_for), permission, resource)
        })
}

fn as_storage(bucket: &str, mut policy: Value) -> Value {
    policy["kind"] = "storage#policy".into();
    policy["resourceId"] = format!("projects/_/buckets/{bucket}").into();
    policy
}
