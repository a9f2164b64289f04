//! Logins for registries: of Docker configs, of variables, and what a CI has for its own registry.

use std::path::Path;

use super::document::{decoded, document, looks_like_a_path, read_text};
use super::fault::Faults;
use super::paths::Paths;
use super::variables::Environment;
use crate::auth::docker_config::{DockerConfig, DockerConfigError};
use crate::auth::logins::{HOME_FILE, Login, Logins, PasswordKind};
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// The file in a Docker config's directory.
const FILE: &str = "config.json";

/// Reads all of them. What the environment has is read only where a registry that is not Google's
/// is met, or Google is not signed in to by better means (`needed`), for a run that has no use for
/// it must not fail by it.
pub(super) fn logins(
    given: &Environment,
    source: Option<&Endpoint>,
    destinations: &[Endpoint],
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
        destination: of_destination(given, destinations, faults),
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
            let told = if !document.from_file && looks_like_a_path(text) {
                "no file is there, if it is meant as a path; its value is not shown".to_owned()
            } else {
                format!("{fault}; its value is not shown")
            };
            refuse(VARIABLE, told, &fault, faults);
            None
        }
    }
}

/// What other tools read: GitLab's variable, Docker's directory (which Cloud Build fills with Google's
/// own logins, and Tekton with those of the service account), and skopeo's file.
fn ambient(
    given: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Vec<(&'static str, DockerConfig)> {
    let mut configs = Vec::new();
    if let Some(text) = given.ambient("DOCKER_AUTH_CONFIG") {
        match DockerConfig::parse(&decoded(text.to_owned())) {
            Ok(config) => configs.push(("DOCKER_AUTH_CONFIG", config)),
            Err(fault) => refuse(
                "DOCKER_AUTH_CONFIG",
                format!("{fault}; its value is not shown"),
                &fault,
                faults,
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
        Ok(text) => match DockerConfig::parse(&decoded(text)) {
            Ok(config) => return Some(config),
            Err(fault) => {
                refuse(variable, format!("in {what}: {fault}"), &fault, faults);
                return None;
            }
        },
        Err(fault) => format!("{what} cannot be read: {fault}"),
    };
    faults.unusable(variable, fault);
    None
}

fn refuse(variable: &str, told: String, fault: &DockerConfigError, faults: &mut Faults) {
    faults.unusable(variable, told);
    if let Some(hint) = fault.hint() {
        faults.hint(hint);
    }
}

/// `username` and `password`, for the one destination that is not Google's.
fn of_destination(
    given: &Environment,
    destinations: &[Endpoint],
    faults: &mut Faults,
) -> Option<Login> {
    const USER: &str = "username";
    const PASSWORD: &str = "password";
    let inputs = &given.inputs;
    let pair = [(USER, &inputs.username), (PASSWORD, &inputs.password)];
    let (user, password) = login(pair, faults)?;
    let mut hosts: Vec<_> = destinations
        .iter()
        .filter(|host| !host.is_google())
        .collect();
    hosts.sort();
    hosts.dedup();
    let host = match hosts.as_slice() {
        [host] => *host,
        // What `setup` makes is Google's, whatever else is set for other commands.
        [] if destinations.is_empty() => return None,
        [] if user.starts_with("_json_key") => {
            faults.unusable(USER, "Google's registries are signed in to without it");
            faults.hint("give the key in `credentials_json`, and no `username` and `password`");
            return None;
        }
        [] => {
            faults.unusable(
                USER,
                "it is for a destination that is not Google's, and there is none",
            );
            faults.hint(
                "Google's registries are signed in to with `credentials_json`, `access_token` or \
                 `workload_identity_provider`; the registry of `image` with `source_username`",
            );
            return None;
        }
        several => {
            let names: Vec<_> = several.iter().map(|host| format!("`{host}`")).collect();
            faults.unusable(
                USER,
                format!("it is for one registry, and there are {}", names.join(", ")),
            );
            faults.hint("give the logins of several registries in `docker_config`");
            return None;
        }
    };
    Some(Login {
        origin: USER,
        host: host.clone(),
        path: String::new(),
        user,
        password,
        kind: PasswordKind::Password,
    })
}

/// Both halves of a login.
fn login(
    [(user_name, user), (password_name, password)]: [(&'static str, &Option<String>); 2],
    faults: &mut Faults,
) -> Option<(String, Secret)> {
    match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            if user.contains(':') {
                faults.unusable(user_name, "a user name has no `:` in it (RFC 7617)");
            }
            Some((user.clone(), Secret::new(password)))
        }
        (Some(_), None) => {
            faults.missing(password_name, format!("`{user_name}` is half of a login"));
            None
        }
        (None, Some(_)) => {
            faults.missing(user_name, format!("`{password_name}` is half of a login"));
            None
        }
    }
}

/// `source_username` and `source_password`, for the one host of `image`.
fn of_source(given: &Environment, source: Option<&Endpoint>, faults: &mut Faults) -> Option<Login> {
    const USER: &str = "source_username";
    const PASSWORD: &str = "source_password";
    let inputs = &given.inputs;
    let pair = [
        (USER, &inputs.source_username),
        (PASSWORD, &inputs.source_password),
    ];
    let (user, password) = login(pair, faults)?;
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
    Some(Login {
        origin: USER,
        host: host.clone(),
        path: String::new(),
        user,
        password,
        kind: PasswordKind::Password,
    })
}

/// GitLab's job has a login for its own registry, and GitHub's token opens ghcr.io.
fn of_ci(given: &Environment) -> Vec<Login> {
    let gitlab = || {
        Some(Login {
            origin: "CI_REGISTRY_PASSWORD",
            host: given.ambient("CI_REGISTRY")?.parse().ok()?,
            path: String::new(),
            user: given.ambient("CI_REGISTRY_USER")?.to_owned(),
            password: Secret::new(given.ambient("CI_REGISTRY_PASSWORD")?),
            kind: PasswordKind::Password,
        })
    };
    let github = || {
        Some(Login {
            origin: "github_token",
            host: "ghcr.io".parse().ok()?,
            path: String::new(),
            // GitHub looks at the token alone, but wants a name beside it.
            user: given.ambient("GITHUB_ACTOR").unwrap_or("github").to_owned(),
            password: Secret::new(given.inputs.github_token.as_deref()?),
            kind: PasswordKind::Password,
        })
    };
    [gitlab(), github()].into_iter().flatten().collect()
}
