//! Logins for registries: of Docker configs, of variables, and what a CI has for its own registry.

use std::path::Path;

use super::document::{document, looks_like_a_path, read_text};
use super::fault::{Faults, quoted};
use super::inputs::Given;
use super::paths::Paths;
use crate::auth::docker_config::DockerConfig;
use crate::auth::logins::{HOME_FILE, Login, Logins};
use crate::reference::Endpoint;
use crate::secret::Secret;

/// The file in a Docker config's directory.
const FILE: &str = "config.json";

/// Reads all of them. What the environment has is read only where a registry that is not Google's
/// is met, or Google is not signed in to by better means (`needed`), for a run that has no use for
/// it must not fail by it.
pub(super) fn logins(
    given: &Given,
    source: Option<&Endpoint>,
    needed: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Logins {
    let docker = match given.inputs.docker_config.as_deref() {
        Some(text) => explicit(text, paths, faults).into_iter().collect(),
        None if needed => ambient(given, paths, faults),
        None => Vec::new(),
    };
    Logins {
        source: of_source(given, source, faults),
        docker,
        ci: of_ci(given),
    }
}

fn explicit(
    text: &str,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<(&'static str, DockerConfig)> {
    const VARIABLE: &str = "docker_config";
    let document = document(VARIABLE, text, FILE, paths, faults)?;
    match DockerConfig::parse(&document.json) {
        Ok(config) => Some((VARIABLE, config)),
        Err(fault) => {
            let fault = if !document.from_file && looks_like_a_path(text) {
                "no file is there, if it is meant as a path; its value is not shown".to_owned()
            } else {
                format!("{fault}; its value is not shown")
            };
            faults.unusable(VARIABLE, fault);
            None
        }
    }
}

/// What other tools read: GitLab's variable, Docker's directory (which Cloud Build fills with Google's
/// own logins, and Tekton with those of the service account), and skopeo's file.
fn ambient(
    given: &Given,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Vec<(&'static str, DockerConfig)> {
    let mut configs = Vec::new();
    if let Some(text) = given.ambient("DOCKER_AUTH_CONFIG") {
        match DockerConfig::parse(text) {
            Ok(config) => configs.push(("DOCKER_AUTH_CONFIG", config)),
            Err(fault) => faults.unusable(
                "DOCKER_AUTH_CONFIG",
                format!("{fault}; its value is not shown"),
            ),
        }
    }
    let home = given.ambient("HOME").map(|home| format!("{home}/.docker"));
    let docker = match given.ambient("DOCKER_CONFIG") {
        Some(directory) => ("DOCKER_CONFIG", Some(directory), Some(FILE)),
        None => (HOME_FILE, home.as_deref(), Some(FILE)),
    };
    let podman = given.ambient("REGISTRY_AUTH_FILE");
    for (variable, text, file) in [docker, ("REGISTRY_AUTH_FILE", podman, None)] {
        let Some(text) = text else {
            continue;
        };
        // What the host has and the container does not is as good as none.
        let Ok(mut path) = paths.input(text) else {
            continue;
        };
        path.extend(file);
        if !paths.files().exists(&path) {
            continue;
        }
        if let Some(config) = of_file(variable, file, &path, paths, faults) {
            configs.push((variable, config));
        }
    }
    configs
}

fn of_file(
    variable: &'static str,
    file: Option<&str>,
    path: &Path,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<DockerConfig> {
    let what = match file {
        Some(file) => format!("its `{file}`"),
        None => "the file that it names".to_owned(),
    };
    let fault = match read_text(path, paths) {
        Ok(text) => match DockerConfig::parse(&text) {
            Ok(config) => return Some(config),
            Err(fault) => format!("in {what}: {fault}"),
        },
        Err(fault) => format!("{what} cannot be read: {fault}"),
    };
    faults.unusable(variable, fault);
    None
}

/// `source_username` and `source_password`, for the one host of `image`.
fn of_source(given: &Given, source: Option<&Endpoint>, faults: &mut Faults) -> Option<Login> {
    const USER: &str = "source_username";
    const PASSWORD: &str = "source_password";
    let inputs = &given.inputs;
    let (user, password) = match (&inputs.source_username, &inputs.source_password) {
        (None, None) => return None,
        (Some(user), Some(password)) => (user, password),
        (Some(_), None) => {
            faults.missing(PASSWORD, "`source_username` is half of a login");
            return None;
        }
        (None, Some(_)) => {
            faults.missing(USER, "`source_password` is half of a login");
            return None;
        }
    };
    let Some(host) = source else {
        if inputs.image.is_some() {
            faults.unusable(
                USER,
                format!(
                    "it is for the registry of `image`, and {} is of none",
                    quoted(inputs.image.as_deref().unwrap_or_default())
                ),
            );
        }
        return None;
    };
    if user.contains(':') {
        faults.unusable(USER, "a user name has no `:` in it (RFC 7617)");
    }
    Some(Login {
        origin: USER,
        host: host.clone(),
        user: user.clone(),
        password: Secret::new(password),
    })
}

/// GitLab's job has a login for its own registry, and GitHub's token opens ghcr.io.
fn of_ci(given: &Given) -> Vec<Login> {
    let gitlab = || {
        Some(Login {
            origin: "CI_REGISTRY_PASSWORD",
            host: given.ambient("CI_REGISTRY")?.parse().ok()?,
            user: given.ambient("CI_REGISTRY_USER")?.to_owned(),
            password: Secret::new(given.ambient("CI_REGISTRY_PASSWORD")?),
        })
    };
    let github = || {
        Some(Login {
            origin: "github_token",
            host: "ghcr.io".parse().ok()?,
            // GitHub looks at the token alone, but wants a name beside it.
            user: given.ambient("GITHUB_ACTOR").unwrap_or("github").to_owned(),
            password: Secret::new(given.inputs.github_token.as_deref()?),
        })
    };
    [gitlab(), github()].into_iter().flatten().collect()
}
