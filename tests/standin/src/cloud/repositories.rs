//! artifactregistry v1: repositories, their policies and content, and where a project's gcr.io
//! names lead.

use serde_json::{Value, json};

use super::{ApiRequest, error};
use crate::answer::Refusal;
use crate::registry::{self, RepositoryOptions};

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    let project = request.project("projectsId");
    let on = format!("projects/{project}");
    if let Some(method) = method.strip_prefix("projects.") {
        match method {
            "getProjectSettings" | "updateProjectSettings" => {
                return settings(request, method, &project);
            }
            _ => {}
        }
    }
    let location = request.variable("locationsId");
    let method = method
        .strip_prefix("projects.locations.")
        .expect("the document has no other methods");
    if method == "operations.get" {
        let id = request.variable("operationsId");
        let name = format!("{on}/locations/{location}/operations/{id}");
        return request.state().operation(&name);
    }
    let method = method
        .strip_prefix("repositories.")
        .expect("the document has no other methods");
    let resource = |id: &str| format!("{on}/locations/{location}/repositories/{id}");
    match method {
        "create" => {
            request.need("artifactregistry.repositories.create", &on)?;
            super::need_service(request, &project)?;
            let id = request.query("repositoryId").unwrap_or_default();
            return create(request, location, id, &resource(id));
        }
        "list" => {
            request.need("artifactregistry.repositories.list", &on)?;
            super::need_service(request, &project)?;
            let start = format!("{on}/locations/{location}/repositories/");
            let names = request.call.shared.store.repositories(&start);
            let repositories = names.iter().map(|name| to_json(request, name)).collect();
            return Ok(super::paged(request, "repositories", repositories));
        }
        _ => {}
    }
    let resource = resource(request.variable("repositoriesId"));
    let permission = match method {
        "packages.list" => "artifactregistry.packages.list".to_owned(),
        "packages.versions.list" => "artifactregistry.versions.list".to_owned(),
        "dockerImages.list" => "artifactregistry.dockerimages.list".to_owned(),
        "testIamPermissions" => String::new(),
        other => format!("artifactregistry.repositories.{other}"),
    };
    if !permission.is_empty() {
        request.need(&permission, &resource)?;
    }
    super::need_service(request, &project)?;
    if !request.call.shared.store.has_repository(&resource) {
        return Err(error::not_found("Requested entity was not found."));
    }
    match method {
        "get" => Ok(to_json(request, &resource)),
        "getIamPolicy" => {
            let version = request.query("options.requestedPolicyVersion");
            Ok(request.get_policy(&resource, version.and_then(|v| v.parse().ok())))
        }
        "setIamPolicy" => request.set_policy(&resource, &request.body["policy"], 409),
        "testIamPermissions" => Ok(request.test(&resource)),
        "packages.list" => {
            let images = request.call.shared.store.images(&resource);
            let packages = images
                .iter()
                .map(|image| {
                    let id = image.replace('/', "%2F");
                    json!({"name": format!("{resource}/packages/{id}")})
                })
                .collect();
            Ok(super::paged(request, "packages", packages))
        }
        "dockerImages.list" => {
            let (start, count) = super::window(request);
            let (images, total) = registry::docker_images(request.call, &resource, start, count);
            Ok(super::page(request, "dockerImages", images, total))
        }
        "packages.versions.list" => {
            let window = super::window(request);
            let package = request.variable("packagesId");
            let full = request.query("view") == Some("FULL");
            let found = registry::versions(request.call, &resource, package, full, window);
            let (versions, total) =
                found.ok_or_else(|| error::not_found("Requested entity was not found."))?;
            Ok(super::page(request, "versions", versions, total))
        }
        "delete" => {
            let mut state = request.state();
            let name = format!("{on}/locations/{location}/operations/{}", state.next());
            let shared = std::sync::Arc::clone(&request.call.shared);
            let delay = request.switches().operation_delay;
            Ok(state.begin(&name, delay, Ok(json!({})), move |state| {
                shared.store.remove(&resource);
                shared.grants.forget(&resource);
                state.repositories.remove(&resource);
            }))
        }
        other => unreachable!("{other} is in no document"),
    }
}

fn settings(request: &ApiRequest<'_>, method: &str, project: &str) -> Result<Value, Refusal> {
    let on = format!("projects/{project}");
    let permission = match method {
        "getProjectSettings" => "artifactregistry.projectsettings.get",
        _ => "artifactregistry.projectsettings.update",
    };
    request.need(permission, &on)?;
    super::need_service(request, project)?;
    let mut state = request.state();
    let Some(held) = state.project_state(project) else {
        return Err(error::denied(permission, &on));
    };
    if method == "updateProjectSettings" {
        if request.query("updateMask") != Some("legacy_redirection_state") {
            return Err(error::invalid("Unknown update mask."));
        }
        let wanted = request.body["legacyRedirectionState"].as_str();
        held.project.redirection = wanted.map(str::to_owned);
    }
    let mut settings = json!({"name": format!("{on}/projectSettings")});
    if let Some(redirection) = &held.project.redirection {
        settings["legacyRedirectionState"] = redirection.as_str().into();
    }
    Ok(settings)
}

/// The four dotted names belong to one location each; all others are plain.
fn check_id(id: &str, location: &str) -> Result<(), Refusal> {
    let required_location = match id {
        "gcr.io" | "us.gcr.io" => Some("us"),
        "eu.gcr.io" => Some("europe"),
        "asia.gcr.io" => Some("asia"),
        _ => None,
    };
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let plain = id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.bytes().all(inside)
        && id.len() <= 63;
    let good = match required_location {
        Some(required_location) => required_location == location,
        None => plain,
    };
    good.then_some(())
        .ok_or_else(|| error::invalid("Request contains an invalid argument."))
}

fn create(
    request: &ApiRequest<'_>,
    location: &str,
    id: &str,
    resource: &str,
) -> Result<Value, Refusal> {
    check_id(id, location)?;
    if request.body["format"] != "DOCKER" {
        return Err(error::invalid("Only Docker repositories are served."));
    }
    if request.call.shared.store.has_repository(resource) {
        return Err(error::exists("the repository already exists"));
    }
    let mut made = json!({"createTime": super::accounts::now()});
    for field in ["description", "labels", "dockerConfig"] {
        if let Some(value) = request.body.get(field) {
            made[field] = value.clone();
        }
    }
    let options = RepositoryOptions {
        immutable_tags: request.body["dockerConfig"]["immutableTags"] == true,
    };
    let mut state = request.state();
    let (parent, _) = resource.split_once("/repositories/").expect("a repository");
    let name = format!("{parent}/operations/{}", state.next());
    let kind = "type.googleapis.com/google.devtools.artifactregistry.v1.Repository";
    let response = json!({"@type": kind, "name": resource, "format": "DOCKER"});
    let (resource, delay) = (resource.to_owned(), request.switches().operation_delay);
    let shared = std::sync::Arc::clone(&request.call.shared);
    Ok(state.begin(&name, delay, Ok(response), move |state| {
        shared.store.create(&resource, options);
        state.repositories.insert(resource, made);
    }))
}

fn to_json(request: &ApiRequest<'_>, resource: &str) -> Value {
    let state = request.state();
    let mut described = state.repositories.get(resource).cloned();
    let described = described.get_or_insert_with(|| json!({"createTime": "2024-01-01T00:00:00Z"}));
    let parts: Vec<&str> = resource.split('/').collect();
    let project = parts[1].replace(':', "/");
    described["name"] = resource.into();
    described["format"] = described.get("format").cloned().unwrap_or("DOCKER".into());
    described["mode"] = described
        .get("mode")
        .cloned()
        .unwrap_or("STANDARD_REPOSITORY".into());
    described["registryUri"] = format!("{}-docker.pkg.dev/{project}/{}", parts[3], parts[5]).into();
    described.clone()
}
