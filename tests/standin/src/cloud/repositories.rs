//! artifactregistry v1: repositories, their policies, what is in them, and where a project's
//! gcr.io names lead.

use serde_json::{Value, json};

use super::{Ask, error};
use crate::answer::Refusal;
use crate::registry::{self, RepositoryOptions};

pub(super) fn answer(ask: &Ask<'_>, method: &str) -> Result<Value, Refusal> {
    let project = ask.project("projectsId");
    let on = format!("projects/{project}");
    if let Some(method) = method.strip_prefix("projects.") {
        match method {
            "getProjectSettings" | "updateProjectSettings" => {
                return settings(ask, method, &project);
            }
            _ => {}
        }
    }
    let location = ask.variable("locationsId");
    let method = method
        .strip_prefix("projects.locations.")
        .expect("the document has no other methods");
    if method == "operations.get" {
        let id = ask.variable("operationsId");
        let name = format!("{on}/locations/{location}/operations/{id}");
        return ask.state().operation(&name);
    }
    let method = method
        .strip_prefix("repositories.")
        .expect("the document has no other methods");
    let resource = |id: &str| format!("{on}/locations/{location}/repositories/{id}");
    match method {
        "create" => {
            ask.need("artifactregistry.repositories.create", &on)?;
            super::need_service(ask, &project)?;
            let id = ask.query("repositoryId").unwrap_or_default();
            return create(ask, location, id, &resource(id));
        }
        "list" => {
            ask.need("artifactregistry.repositories.list", &on)?;
            super::need_service(ask, &project)?;
            let start = format!("{on}/locations/{location}/repositories/");
            let names = ask.call.shared.store.repositories(&start);
            let repositories = names.iter().map(|name| described(ask, name)).collect();
            return Ok(super::paged(ask, "repositories", repositories));
        }
        _ => {}
    }
    let resource = resource(ask.variable("repositoriesId"));
    let permission = match method {
        "packages.list" => "artifactregistry.packages.list".to_owned(),
        "packages.versions.list" => "artifactregistry.versions.list".to_owned(),
        "dockerImages.list" => "artifactregistry.dockerimages.list".to_owned(),
        "testIamPermissions" => String::new(),
        other => format!("artifactregistry.repositories.{other}"),
    };
    if !permission.is_empty() {
        ask.need(&permission, &resource)?;
    }
    super::need_service(ask, &project)?;
    if !ask.call.shared.store.has_repository(&resource) {
        return Err(error::not_found("Requested entity was not found."));
    }
    match method {
        "get" => Ok(described(ask, &resource)),
        "getIamPolicy" => {
            let version = ask.query("options.requestedPolicyVersion");
            Ok(ask.get_policy(&resource, version.and_then(|v| v.parse().ok())))
        }
        "setIamPolicy" => ask.set_policy(&resource, &ask.body["policy"], 409),
        "testIamPermissions" => Ok(ask.test(&resource)),
        "packages.list" => {
            let images = ask.call.shared.store.images(&resource);
            let packages = images
                .iter()
                .map(|image| {
                    let id = image.replace('/', "%2F");
                    json!({"name": format!("{resource}/packages/{id}")})
                })
                .collect();
            Ok(super::paged(ask, "packages", packages))
        }
        "dockerImages.list" => {
            let (start, count) = super::window(ask);
            let (images, total) = registry::docker_images(ask.call, &resource, start, count);
            Ok(super::page(ask, "dockerImages", images, total))
        }
        "packages.versions.list" => {
            let window = super::window(ask);
            let package = ask.variable("packagesId");
            let full = ask.query("view") == Some("FULL");
            let found = registry::versions(ask.call, &resource, package, full, window);
            let (versions, total) =
                found.ok_or_else(|| error::not_found("Requested entity was not found."))?;
            Ok(super::page(ask, "versions", versions, total))
        }
        "delete" => {
            let mut state = ask.state();
            let name = format!("{on}/locations/{location}/operations/{}", state.next());
            let shared = std::sync::Arc::clone(&ask.call.shared);
            let delay = ask.switches().operation_delay;
            Ok(state.begin(&name, delay, Ok(json!({})), move |state| {
                shared.store.remove(&resource);
                shared.grants.forget(&resource);
                state.repositories.remove(&resource);
            }))
        }
        other => unreachable!("{other} is in no document"),
    }
}

fn settings(ask: &Ask<'_>, method: &str, project: &str) -> Result<Value, Refusal> {
    let on = format!("projects/{project}");
    let permission = match method {
        "getProjectSettings" => "artifactregistry.projectsettings.get",
        _ => "artifactregistry.projectsettings.update",
    };
    ask.need(permission, &on)?;
    super::need_service(ask, project)?;
    let mut state = ask.state();
    let Some(held) = state.held(project) else {
        return Err(error::denied(permission, &on));
    };
    if method == "updateProjectSettings" {
        if ask.query("updateMask") != Some("legacy_redirection_state") {
            return Err(error::invalid("Unknown update mask."));
        }
        let wanted = ask.body["legacyRedirectionState"].as_str();
        held.project.redirection = wanted.map(str::to_owned);
    }
    let mut settings = json!({"name": format!("{on}/projectSettings")});
    if let Some(redirection) = &held.project.redirection {
        settings["legacyRedirectionState"] = redirection.as_str().into();
    }
    Ok(settings)
}

/// The four dotted names belong each to one location; all others are plain.
fn check_id(id: &str, location: &str) -> Result<(), Refusal> {
    let home = match id {
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
    let good = match home {
        Some(home) => home == location,
        None => plain,
    };
    good.then_some(())
        .ok_or_else(|| error::invalid("Request contains an invalid argument."))
}

fn create(ask: &Ask<'_>, location: &str, id: &str, resource: &str) -> Result<Value, Refusal> {
    check_id(id, location)?;
    if ask.body["format"] != "DOCKER" {
        return Err(error::invalid("Only Docker repositories are served."));
    }
    if ask.call.shared.store.has_repository(resource) {
        return Err(error::exists("the repository already exists"));
    }
    let mut made = json!({"createTime": super::accounts::now()});
    for field in ["description", "labels", "dockerConfig"] {
        if let Some(value) = ask.body.get(field) {
            made[field] = value.clone();
        }
    }
    let options = RepositoryOptions {
        immutable_tags: ask.body["dockerConfig"]["immutableTags"] == true,
    };
    let mut state = ask.state();
    let (parent, _) = resource.split_once("/repositories/").expect("a repository");
    let name = format!("{parent}/operations/{}", state.next());
    let kind = "type.googleapis.com/google.devtools.artifactregistry.v1.Repository";
    let response = json!({"@type": kind, "name": resource, "format": "DOCKER"});
    let (resource, delay) = (resource.to_owned(), ask.switches().operation_delay);
    let shared = std::sync::Arc::clone(&ask.call.shared);
    Ok(state.begin(&name, delay, Ok(response), move |state| {
        shared.store.create(&resource, options);
        state.repositories.insert(resource, made);
    }))
}

fn described(ask: &Ask<'_>, resource: &str) -> Value {
    let state = ask.state();
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
