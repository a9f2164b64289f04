//! Logins for registries, from Docker configs, from variables, and from the CI.

use std::path::Path;

use super::document::{decoded, document, looks_like_a_path, read_text};
use super::environment::Environment;
use super::fault::Faults;
use super::paths::Paths;
use crate::auth::docker_config::{DockerConfig, DockerConfigError};
use crate::auth::logins::{HOME_FILE, Login, Logins, PasswordKind};
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::Endpoint;

/// The file in a Docker config's directory.
const FILE: &str = "config.json";

/// Reads all logins. The Docker configs of other tools are read only if they are `needed`: for a
/// registry that is not Google's, or if there is no other credential for Google. A run that does
/// not use them must not fail because of them.
pub(super) fn logins(
    environment: &Environment,
    source: Option<&Endpoint>,
    destinations: &[Endpoint],
    needed: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Logins {
    let docker = match environment.inputs.docker_config.as_deref() {
        Some(text) => explicit(text, paths, faults).into_iter().collect(),
        None if needed => ambient(environment, paths, faults),
        None => Vec::new(),
    };
    Logins {
        source: of_source(environment, source, faults),
        destination: of_destination(environment, destinations, faults),
        docker,
        ci: of_ci(environment),
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
            let text = if !document.from_file && looks_like_a_path(text) {
                "no file is there, if it is meant as a path; its value is not shown".to_owned()
            } else {
                format!("{fault}; its value is not shown")
            };
            refuse(VARIABLE, text, &fault, faults);
            None
        }
    }
}

/// Reads the Docker configs of other tools: GitLab's variable, Docker's directory (in which Cloud
/// Build puts logins for Google, and Tekton those of the service account), and skopeo's file.
fn ambient(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Vec<(&'static str, DockerConfig)> {
    let mut configs = Vec::new();
    if let Some(text) = environment.ambient("DOCKER_AUTH_CONFIG") {
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
    let home = environment
        .ambient("HOME")
        .map(|home| format!("{home}/.docker"));
    let docker = match environment.ambient("DOCKER_CONFIG") {
        Some(directory) => ("DOCKER_CONFIG", Some(directory), Some(FILE)),
        None => (HOME_FILE, home.as_deref(), Some(FILE)),
    };
    let podman = environment.ambient("REGISTRY_AUTH_FILE");
    for (variable, text, file) in [docker, ("REGISTRY_AUTH_FILE", podman, None)] {
        let Some(text) = text else {
            continue;
        };
        // A file that is not mounted into the container counts as absent.
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

fn refuse(variable: &str, text: String, fault: &DockerConfigError, faults: &mut Faults) {
    faults.unusable(variable, text);
    if let Some(hint) = fault.hint() {
        faults.hint(hint);
    }
}

/// The login of `username` and `password`, for the one destination that is not Google's.
fn of_destination(
    environment: &Environment,
    destinations: &[Endpoint],
    faults: &mut Faults,
) -> Option<Login> {
    const USER: &str = "username";
    const PASSWORD: &str = "password";
    let inputs = &environment.inputs;
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
        // `setup` has no destination; the login may be set for other commands.
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

/// Checks that user name and password are both set. `None` if they are not.
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

/// The login of `source_username` and `source_password`, for the registry of `image`.
fn of_source(
    environment: &Environment,
    source: Option<&Endpoint>,
    faults: &mut Faults,
) -> Option<Login> {
    const USER: &str = "source_username";
    const PASSWORD: &str = "source_password";
    let inputs = &environment.inputs;
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

/// The logins that a CI provides: GitLab's job token for its registry, and GitHub's token for
/// ghcr.io.
fn of_ci(environment: &Environment) -> Vec<Login> {
    let gitlab = || {
        Some(Login {
            origin: "CI_REGISTRY_PASSWORD",
            host: environment.ambient("CI_REGISTRY")?.parse().ok()?,
            path: String::new(),
            user: environment.ambient("CI_REGISTRY_USER")?.to_owned(),
            password: Secret::new(environment.ambient("CI_REGISTRY_PASSWORD")?),
            kind: PasswordKind::Password,
        })
    };
    let github = || {
        Some(Login {
            origin: "github_token",
            host: "ghcr.io".parse().ok()?,
            path: String::new(),
            // GitHub checks the token only, but requires some user name.
            user: environment
                .ambient("GITHUB_ACTOR")
                .unwrap_or("github")
                .to_owned(),
            password: Secret::new(environment.inputs.github_token.as_deref()?),
            kind: PasswordKind::Password,
        })
    };
    [gitlab(), github()].into_iter().flatten().collect()
}
