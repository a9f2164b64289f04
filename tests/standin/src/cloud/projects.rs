//! cloudresourcemanager v1: a project and its policy. What is not there is forbidden, so that
//! nobody learns which projects there are.

use serde_json::{Value, json};

use super::{Ask, error};
use crate::answer::Refusal;

pub(super) fn answer(ask: &Ask<'_>, method: &str) -> Result<Value, Refusal> {
    let variable = match method {
        "projects.get" => "projectId",
        _ => "resource",
    };
    let project = ask.project(variable);
    let resource = format!("projects/{project}");
    super::need_service(ask, &project)?;
    let refused = || {
        let told = "The caller does not have permission";
        error::rpc(403, "PERMISSION_DENIED", told, json!([]))
    };
    let need = |permission: &str| {
        let may = ask.may(permission, &resource);
        may.then_some(()).ok_or_else(refused)
    };
    let exists = ask.state().held(&project).is_some();
    if !exists {
        return Err(refused());
    }
    match method {
        "projects.get" => {
            need("resourcemanager.projects.get")?;
            let mut state = ask.state();
            let held = state.held(&project).ok_or_else(refused)?;
            let lifecycle = if held.project.deleted {
                "DELETE_REQUESTED"
            } else {
                "ACTIVE"
            };
            Ok(json!({
                "projectNumber": held.project.number,
                "projectId": project,
                "lifecycleState": lifecycle,
                "name": project,
                "createTime": "2024-01-01T00:00:00.000Z",
            }))
        }
        "projects.testIamPermissions" => Ok(ask.test(&resource)),
        "projects.getIamPolicy" => {
            need("resourcemanager.projects.getIamPolicy")?;
            let version = ask.body["options"]["requestedPolicyVersion"].as_i64();
            Ok(ask.get_policy(&resource, version))
        }
        "projects.setIamPolicy" => {
            need("resourcemanager.projects.setIamPolicy")?;
            ask.set_policy(&resource, &ask.body["policy"], 409)
        }
        other => unreachable!("{other} is in no document"),
    }
}
