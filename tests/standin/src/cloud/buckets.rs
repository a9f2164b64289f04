//! The storage JSON API, as far as a bucket that was once a registry is concerned.

use serde_json::{Value, json};

use super::{Ask, error};
use crate::answer::Refusal;

pub(super) fn answer(ask: &Ask<'_>, method: &str) -> Result<Value, Refusal> {
    let bucket = ask.variable("bucket");
    let project = ask.state().buckets.get(bucket).cloned();
    let Some(project) = project else {
        let told = "The specified bucket does not exist.";
        return Err(error::storage(404, "notFound", told));
    };
    let resource = format!("projects/{project}/buckets/{bucket}");
    let need = |permission: &str| {
        if may(ask, permission, &project, &resource) {
            return Ok(());
        }
        let told = format!(
            "{} does not have {permission} access to the Google Cloud Storage bucket. Permission \
             '{permission}' denied on resource (or it may not exist).",
            ask.member
        );
        Err(error::storage(403, "forbidden", &told))
    };
    match method {
        "buckets.get" => {
            need("storage.buckets.get")?;
            Ok(json!({"kind": "storage#bucket", "id": bucket, "name": bucket}))
        }
        "buckets.getIamPolicy" => {
            need("storage.buckets.getIamPolicy")?;
            let version = ask.query("optionsRequestedPolicyVersion");
            let version = version.and_then(|version| version.parse().ok());
            Ok(as_storage(bucket, ask.get_policy(&resource, version)))
        }
        "buckets.setIamPolicy" => {
            need("storage.buckets.setIamPolicy")?;
            let set = ask.set_policy(&resource, &ask.body, 412)?;
            Ok(as_storage(bucket, set))
        }
        "buckets.testIamPermissions" => {
            let asked = ask.call.query.all("permissions");
            let held: Vec<&str> = asked
                .filter(|permission| may(ask, permission, &project, &resource))
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

/// A bucket's own policy speaks of the project's owners as such.
fn may(ask: &Ask<'_>, permission: &str, project: &str, resource: &str) -> bool {
    if ask.may(permission, resource) {
        return true;
    }
    let grants = &ask.call.shared.grants;
    let on = format!("projects/{project}");
    [("Owner", "roles/owner"), ("Editor", "roles/editor")]
        .iter()
        .any(|(name, role)| {
            let stands_for = format!("project{name}:{project}");
            grants.has_role(&ask.member, role, &on)
                && grants.allow_named(Some(&stands_for), permission, resource)
        })
}

fn as_storage(bucket: &str, mut policy: Value) -> Value {
    policy["kind"] = "storage#policy".into();
    policy["resourceId"] = format!("projects/_/buckets/{bucket}").into();
    policy
}
