//! The request of `setup`: service accounts and repositories, checked by Google's rules, keys, and
//! the repositories that may push without one.

use std::path::PathBuf;

use super::environment::Environment;
use super::fault::Faults;
use super::forges::{github, gitlab};
use super::paths::Paths;
use super::values::{boolean, list, word};
use crate::ci::output::ResultFiles;
use crate::commands::session::Session;
use crate::commands::setup::request::Backend;
use crate::commands::setup::request::Role;
use crate::commands::setup::request::SetupAction;
use crate::commands::setup::request::SetupRegistry;
use crate::commands::setup::request::SetupRequest;
use crate::commands::setup::request::account_host;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::secret::Secret;
use crate::oci::reference::HostKind;
use crate::push::destinations::Destinations;

/// The default IDs of the service accounts.
const PUSHER: &str = "gcr-pusher";
const PULLER: &str = "gcr-puller";

/// Reads every `setup_*` variable.
pub(super) fn setup(
    environment: &Environment,
    destinations: &Destinations,
    session: Session,
    files: ResultFiles,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> SetupRequest {
    let inputs = &environment.inputs;
    let action = action(environment, faults);
    let words = [
        ("artifact-registry", Backend::ArtifactRegistry),
        ("storage", Backend::Storage),
    ];
    let backend = inputs
        .setup_backend
        .as_deref()
        .and_then(|text| faults.accept("setup_backend", word(text, &words)))
        .unwrap_or(Backend::ArtifactRegistry);
    let project = destinations.parts.project.clone().unwrap_or_default();
    if !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit()) {
        faults.unusable(
            "project_id",
            format!(
                "`{project}` is a project's number, and accounts and images are named by its id: \
                 `gcloud projects describe {project} --format='value(projectId)'` prints it"
            ),
        );
    }
    let pusher = account(
        "setup_pusher",
        inputs.setup_pusher.as_deref().unwrap_or(PUSHER),
        &project,
        faults,
    );
    let puller = account(
        "setup_puller",
        inputs.setup_puller.as_deref().unwrap_or(PULLER),
        &project,
        faults,
    );
    if pusher == puller {
        faults.unusable(
            "setup_puller",
            "it is the account of `setup_pusher`: who pulls would be able to push",
        );
    }
    let mut forges = Vec::new();
    if let Some(text) = inputs.setup_github.as_deref() {
        for item in list(text) {
            forges.extend(faults.accept("setup_github", github(item, environment)));
        }
    }
    if let Some(text) = inputs.setup_gitlab.as_deref() {
        for item in list(text) {
            forges.extend(faults.accept("setup_gitlab", gitlab(item, environment)));
        }
    }
    // An invalid value is reported where `dry_run` is read for every command.
    let dry_run = inputs.dry_run.as_deref().map(boolean);
    SetupRequest {
        session,
        files,
        action,
        dry_run: matches!(dry_run, Some(Ok(true))),
        backend,
        project,
        registries: registries(destinations, backend, faults),
        pusher,
        puller,
        forges,
        keys: keys(environment, paths, faults),
        github_token: inputs.github_token.as_deref().map(Secret::new),
    }
}

pub(super) fn action(environment: &Environment, faults: &mut Faults) -> SetupAction {
    let inputs = &environment.inputs;
    let apply = faults.switch("setup_apply", inputs.setup_apply.as_deref());
    let remove = faults.switch("setup_remove", inputs.setup_remove.as_deref());
    match (apply, remove) {
        (true, true) => {
            faults.unusable("setup_remove", "`setup_apply` is `true` too: keep one");
            SetupAction::Plan
        }
        (true, false) => SetupAction::Apply,
        (false, true) => SetupAction::Remove,
        (false, false) => SetupAction::Plan,
    }
}

/// Checks an account's ID by Google's rules, or its full address in this project, and returns the
/// ID.
/// <https://cloud.google.com/iam/docs/service-accounts-create>
fn account(variable: &'static str, text: &str, project: &str, faults: &mut Faults) -> String {
    let (id, host) = match text.split_once('@') {
        Some((id, host)) => (id, Some(host)),
        None => (text, None),
    };
    let own = account_host(project);
    if let Some(host) = host.filter(|host| !project.is_empty() && *host != own) {
        faults.unusable(
            variable,
            format!(
                "{} is no account of the project {}: its address would end in {}",
                quoted(text),
                quoted(project),
                quoted(&format!("@{own}"))
            ),
        );
        let _ = host;
    } else if let Some(rule) = broken_rule(id) {
        faults.unusable(
            variable,
            format!("account {} would be refused: {rule}", quoted(id)),
        );
    }
    id.to_owned()
}

fn broken_rule(id: &str) -> Option<&'static str> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(6..=30).contains(&id.len()) {
        Some("an account's id has 6 to 30 characters")
    } else if !id.bytes().all(inside) {
        Some("an account's id has lower-case letters, digits and `-` alone")
    } else if !id.starts_with(|c: char| c.is_ascii_lowercase()) || id.ends_with('-') {
        Some("an account's id begins with a letter and does not end with `-`")
    } else {
        None
    }
}

pub(super) fn registries(
    destinations: &Destinations,
    backend: Backend,
    faults: &mut Faults,
) -> Vec<SetupRegistry> {
    let mut registries = Vec::new();
    for host in &destinations.endpoints {
        let (location, repository) = match host.kind() {
            HostKind::Gcr { location } => (location.to_owned(), host.host().to_owned()),
            HostKind::ArtifactRegistry { .. } if backend == Backend::Storage => {
                faults.unusable(
                    "registry",
                    format!("`{host}` never had a bucket: `setup_backend: storage` is for `gcr.io` hosts"),
                );
                continue;
            }
            HostKind::ArtifactRegistry { location } => {
                let repository = destinations.parts.repository.clone().unwrap_or_default();
                if let Some(rule) = broken_repository_rule(&repository) {
                    faults.unusable(
                        "repository",
                        format!(
                            "repository {} would be refused: {rule}",
                            quoted(&repository)
                        ),
                    );
                }
                (location, repository)
            }
            HostKind::Other => {
                faults.unusable(
                    "registry",
                    format!("`{host}` is not Google's: there is nothing to set up there"),
                );
                continue;
            }
        };
        registries.push(SetupRegistry {
            host: host.clone(),
            location,
            repository,
        });
    }
    registries
}

/// The rule of gcloud for names of new repositories that a name breaks. `None` if it breaks none.
fn broken_repository_rule(id: &str) -> Option<&'static str> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    // A missing or invalid name is reported by `targets`.
    let is_part = id.bytes().all(|b| inside(b) || matches!(b, b'.' | b'_'));
    if id.is_empty()
        || !is_part
        || ["gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"].contains(&id)
    {
        return None;
    }
    let good = id.len() <= 63
        && id.bytes().all(inside)
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-');
    (!good).then_some(
        "a new one has lower-case letters, digits and `-`, begins with a letter, does not end with `-`, and has 63 characters at most",
    )
}

/// Reads `setup_key`: `FILE` for the puller's key, `pusher:FILE` for the pusher's.
pub(super) fn keys(
    environment: &Environment,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Vec<(Role, PathBuf)> {
    const VARIABLE: &str = "setup_key";
    let mut keys: Vec<(Role, PathBuf)> = Vec::new();
    for item in list(environment.inputs.setup_key.as_deref().unwrap_or("")) {
        let (role, file) = match item.split_once(':') {
            Some(("pusher", file)) => (Role::Pusher, file),
            Some(("puller", file)) => (Role::Puller, file),
            _ => (Role::Puller, item),
        };
        let Some(file) = faults.accept_path(VARIABLE, file, paths.output(file)) else {
            continue;
        };
        if keys
            .iter()
            .any(|(known, other)| *known == role || *other == file)
        {
            faults.unusable(
                VARIABLE,
                "there is more than one file for an account, or one for two",
            );
        }
        keys.push((role, file));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_id_follows_google_rules() {
        for good in ["gcr-pusher", "a12345", "ci-push-0"] {
            assert_eq!(broken_rule(good), None, "{good}");
        }
        for bad in [
            "ci",
            "Pusher-1",
            "1pusher",
            "pusher-",
            "pusher_1",
            &"a".repeat(31),
        ] {
            assert!(broken_rule(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn domain_scoped_project_is_reversed_in_addresses() {
        assert_eq!(account_host("acme"), "acme.iam.gserviceaccount.com");
        assert_eq!(
            account_host("example.com:acme"),
            "acme.example.com.iam.gserviceaccount.com"
        );
    }
}
