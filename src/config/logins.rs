//! Logins for registries, from Docker configs, from variables, and from the CI.

use std::path::Path;

use super::document::{NO_FILE, decoded, document, looks_like_a_path, read_text};
use super::environment::Environment;
use super::errors::Errors;
use super::input::Input;
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
    environment: &Environment<'_>,
    source: Option<&Endpoint>,
    destinations: &[Endpoint],
    needed: bool,
) -> Logins {
    let docker = match environment.inputs.docker_config.is_set() {
        true => explicit(environment).into_iter().collect(),
        false if needed => ambient(environment),
        false => Vec::new(),
    };
    Logins {
        source: of_source(environment, source),
        destination: of_destination(environment, destinations),
        docker,
        ci: of_ci(environment),
    }
}

fn explicit(environment: &Environment<'_>) -> Option<(&'static str, DockerConfig)> {
    let input = &environment.inputs.docker_config;
    let document = document(environment, input, FILE)?;
    let parsed = DockerConfig::parse(&document.json);
    let config = parsed.map_err(|error| {
        let is_lost = !document.from_file && input.text().is_some_and(looks_like_a_path);
        let text = match is_lost {
            true => NO_FILE.to_owned(),
            false => format!("{error}; its value is not shown"),
        };
        refuse(input.name, text, &error, &environment.errors);
    });
    Some((input.name, config.ok()?))
}

/// Reads the Docker configs of other tools: GitLab's variable, Docker's directory (in which Cloud
/// Build puts logins for Google, and Tekton those of the service account), and skopeo's file.
fn ambient(environment: &Environment<'_>) -> Vec<(&'static str, DockerConfig)> {
    let mut configs = Vec::new();
    if let Some(text) = environment.ambient("DOCKER_AUTH_CONFIG") {
        match DockerConfig::parse(&decoded(text.to_owned())) {
            Ok(config) => configs.push(("DOCKER_AUTH_CONFIG", config)),
            Err(fault) => refuse(
                "DOCKER_AUTH_CONFIG",
                format!("{fault}; its value is not shown"),
                &fault,
                &environment.errors,
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
        let Ok(mut path) = environment.paths.input(text) else {
            continue;
        };
        path.extend(file);
        if !environment.paths.files().exists(&path) {
            continue;
        }
        if let Some(config) = of_file(environment, variable, file, &path) {
            configs.push((variable, config));
        }
    }
    configs
}

fn of_file(
    environment: &Environment<'_>,
    variable: &'static str,
    file: Option<&str>,
    path: &Path,
) -> Option<DockerConfig> {
    let what = match file {
        Some(file) => format!("its `{file}`"),
        None => "the file that it names".to_owned(),
    };
    let fault = match read_text(environment, path) {
        Ok(text) => match DockerConfig::parse(&decoded(text)) {
            Ok(config) => return Some(config),
            Err(fault) => {
                refuse(
                    variable,
                    format!("in {what}: {fault}"),
                    &fault,
                    &environment.errors,
                );
                return None;
            }
        },
        Err(fault) => format!("{what} cannot be read: {fault}"),
    };
    environment.errors.invalid(variable, fault);
    None
}

fn refuse(variable: &str, text: String, fault: &DockerConfigError, errors: &Errors) {
    errors.invalid(variable, text);
    if let Some(hint) = fault.hint() {
        errors.hint(hint);
    }
}

/// The login of `username` and `password`, for the one destination that is not Google's.
fn of_destination(environment: &Environment<'_>, destinations: &[Endpoint]) -> Option<Login> {
    let user = &environment.inputs.username;
    let hint = |text| environment.errors.hint(text);
    let mut login = login(user, &environment.inputs.password)?;
    let mut hosts: Vec<_> = destinations
        .iter()
        .filter(|host| !host.is_google())
        .collect();
    hosts.sort();
    hosts.dedup();
    match hosts.as_slice() {
        [host] => {
            login.host = (*host).clone();
            return Some(login);
        }
        // `setup` has no destination; the login may be set for other commands.
        [] if destinations.is_empty() => {}
        [] if login.user.starts_with("_json_key") => {
            user.invalid("the sign-in to Google's registries does not use it");
            hint("put the key in `credentials_json`, and remove `username` and `password`");
        }
        [] => {
            user.invalid("it is for a destination that is not Google's, but there is none");
            hint(
                "for Google's registries, set `credentials_json`, `access_token` or \
                 `workload_identity_provider`; for the registry of `image`, set `source_username`",
            );
        }
        several => {
            let names: Vec<_> = several.iter().map(|host| format!("`{host}`")).collect();
            let names = names.join(", ");
            user.invalid(format!("it is for one registry, but there are {names}"));
            hint("put the logins of several registries in `docker_config`");
        }
    }
    None
}

/// The login of two variables, which need each other. The caller sets its host. `None` if they are
/// not both set.
fn login(user: &Input, password: &Input) -> Option<Login> {
    match (user.text(), password.text()) {
        (None, None) => {}
        (Some(name), Some(text)) => {
            if name.contains(':') {
                user.invalid("a user name cannot contain `:` (RFC 7617)");
            }
            return Some(Login {
                origin: user.name,
                host: super::defaults::REGISTRY.parse().ok()?,
                path: String::new(),
                user: name.to_owned(),
                password: Secret::new(text),
                kind: PasswordKind::Password,
            });
        }
        (Some(_), None) => password.missing(format!("`{}` is only half of a login", user.name)),
        (None, Some(_)) => user.missing(format!("`{}` is only half of a login", password.name)),
    }
    None
}

/// The login of `source_username` and `source_password`, for the registry of `image`.
fn of_source(environment: &Environment<'_>, source: Option<&Endpoint>) -> Option<Login> {
    let inputs = &environment.inputs;
    let login = login(&inputs.source_username, &inputs.source_password)?;
    match (source, inputs.image.text()) {
        (Some(host), _) => Some(Login {
            host: host.clone(),
            ..login
        }),
        (None, Some(image)) => {
            inputs.source_username.invalid(format!(
                "it is for the registry of `image`, but {} is not in a registry",
                quoted(image)
            ));
            None
        }
        (None, None) => None,
    }
}

/// The logins that a CI provides: GitLab's job token for its registry, and GitHub's token for
/// ghcr.io.
fn of_ci(environment: &Environment<'_>) -> Vec<Login> {
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
            password: Secret::new(environment.inputs.github_token.text()?),
            kind: PasswordKind::Password,
        })
    };
    [gitlab(), github()].into_iter().flatten().collect()
}
