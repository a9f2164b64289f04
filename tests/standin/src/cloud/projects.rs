//! cloudresourcemanager v1: a project and its policy. A project that does not exist is forbidden,
//! so that nobody learns which projects exist.

use serde_json::{Value, json};

use super::{ApiRequest, error};
use crate::answer::Refusal;

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    let variable = match method {
        "projects.get" => "projectId",
        _ => "resource",
    };
    let project = request.project(variable);
    let resource = format!("projects/{project}");
    super::need_service(request, &project)?;
    let refused = || {
        let message = "The caller does not have permission";
        error::rpc(403, "PERMISSION_DENIED", message, json!([]))
    };
    let need = |permission: &str| {
        let may = request.may(permission, &resource);
        may.then_some(()).ok_or_else(refused)
    };
    let exists = request.state().project_state(&project).is_some();
    if !exists {
        return Err(refused());
    }
    match method {
        "projects.get" => {
            need("resourcemanager.projects.get")?;
            let mut state = request.state();
            let held = state.project_state(&project).ok_or_else(refused)?;
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
        "projects.testIamPermissions" => Ok(request.test(&resource)),
        "projects.getIamPolicy" => {
            need("resourcemanager.projects.getIamPolicy")?;
            let version = request.body["options"]["requestedPolicyVersion"].as_i64();
            Ok(request.get_policy(&resource, version))
        }
        "projects.setIamPolicy" => {
            need("resourcemanager.projects.setIamPolicy")?;
            request.set_policy(&resource, &request.body["policy"], 409)
        }
        other => unreachable!("{other} is in no document"),
    }
}
