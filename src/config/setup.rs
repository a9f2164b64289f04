//! The request of `setup`: service accounts and repositories, checked by Google's rules, keys, and
//! the repositories that may push without one.

use std::path::PathBuf;

use super::environment::Environment;
use super::forges;
use super::input::Input;
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
use crate::push::targets::Destinations;

/// The default IDs of the service accounts.
const PUSHER: &str = "gcr-pusher";
const PULLER: &str = "gcr-puller";

/// Reads every `setup_*` variable.
pub(super) fn setup(
    environment: &Environment<'_>,
    destinations: &Destinations,
    dry_run: bool,
    session: Session,
    files: ResultFiles,
) -> SetupRequest {
    let inputs = &environment.inputs;
    let action = action(environment);
    let backends = [Backend::ArtifactRegistry, Backend::Storage];
    let backend = inputs.setup_backend.word_or_first(backends);
    let project = destinations.parts.project.clone().unwrap_or_default();
    if !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit()) {
        inputs.project_id.invalid(format!(
            "`{project}` is the number of a project, but accounts and images need its id: `gcloud \
             projects describe {project} --format='value(projectId)'` prints it"
        ));
    }
    let pusher = account(&inputs.setup_pusher, PUSHER, &project);
    let puller = account(&inputs.setup_puller, PULLER, &project);
    if pusher == puller {
        inputs
            .setup_puller
            .invalid("it is also the account of `setup_pusher`: the account that pulls could push");
    }
    let (on_github, on_gitlab) = (&inputs.setup_github, &inputs.setup_gitlab);
    let github = on_github.items().into_iter();
    let github = github.filter_map(|item| on_github.accept(forges::github(item, environment)));
    let gitlab = on_gitlab.items().into_iter();
    let gitlab = gitlab.filter_map(|item| on_gitlab.accept(forges::gitlab(item, environment)));
    SetupRequest {
        session,
        files,
        action,
        dry_run,
        backend,
        project,
        registries: registries(environment, destinations, backend),
        pusher,
        puller,
        forges: github.chain(gitlab).collect(),
        keys: keys(environment),
        github_token: inputs.github_token.text().map(Secret::new),
    }
}

fn action(environment: &Environment<'_>) -> SetupAction {
    let inputs = &environment.inputs;
    match (inputs.setup_apply.switch(), inputs.setup_remove.switch()) {
        (true, true) => {
            inputs
                .setup_remove
                .invalid("`setup_apply` is `true` too: keep one");
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
fn account(input: &Input, default: &str, project: &str) -> String {
    let text = input.text().unwrap_or(default);
    let (id, host) = match text.split_once('@') {
        Some((id, host)) => (id, Some(host)),
        None => (text, None),
    };
    let own = account_host(project);
    if host.is_some_and(|host| !project.is_empty() && host != own) {
        input.invalid(format!(
            "{} is not an account of the project {}: its address must end in {}",
            quoted(text),
            quoted(project),
            quoted(&format!("@{own}"))
        ));
    } else if let Some(rule) = broken_rule(id) {
        input.invalid(format!("account {} is not valid: {rule}", quoted(id)));
    }
    id.to_owned()
}

fn broken_rule(id: &str) -> Option<&'static str> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(6..=30).contains(&id.len()) {
        Some("an account's id has 6 to 30 characters")
    } else if !id.bytes().all(inside) {
        Some("an account's id has only lower-case letters, digits and `-`")
    } else if !id.starts_with(|c: char| c.is_ascii_lowercase()) || id.ends_with('-') {
        Some("an account's id begins with a letter and does not end with `-`")
    } else {
        None
    }
}

fn registries(
    environment: &Environment<'_>,
    destinations: &Destinations,
    backend: Backend,
) -> Vec<SetupRegistry> {
    let inputs = &environment.inputs;
    let mut registries = Vec::new();
    for host in &destinations.endpoints {
        let (location, repository) = match host.kind() {
            HostKind::Gcr { location } => (location.to_owned(), host.host().to_owned()),
            HostKind::ArtifactRegistry { .. } if backend == Backend::Storage => {
                inputs.registry.invalid(format!(
                    "`{host}` never had a bucket: `setup_backend: storage` is only for `gcr.io` \
                     hosts"
                ));
                continue;
            }
            HostKind::ArtifactRegistry { location } => {
                let repository = destinations.parts.repository.clone().unwrap_or_default();
                if let Some(rule) = broken_repository_rule(&repository) {
                    let name = quoted(&repository);
                    inputs
                        .repository
                        .invalid(format!("repository {name} is not valid: {rule}"));
                }
                (location, repository)
            }
            HostKind::Other => {
                inputs.registry.invalid(format!(
                    "`{host}` is not Google's, so there is nothing to set up"
                ));
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
        "a new one has lower-case letters, digits and `-`, begins with a letter, does not end \
         with `-`, and has at most 63 characters",
    )
}

/// Reads `setup_key`: `FILE` for the puller's key, `pusher:FILE` for the pusher's.
fn keys(environment: &Environment<'_>) -> Vec<(Role, PathBuf)> {
    let input = &environment.inputs.setup_key;
    let mut keys: Vec<(Role, PathBuf)> = Vec::new();
    for item in input.items() {
        let (role, file) = match item.split_once(':') {
            Some(("pusher", file)) => (Role::Pusher, file),
            Some(("puller", file)) => (Role::Puller, file),
            _ => (Role::Puller, item),
        };
        let path = environment.paths.output(file);
        let Some(file) = environment.errors.accept_path(input.name, file, path) else {
            continue;
        };
        if keys
            .iter()
            .any(|(known, other)| *known == role || *other == file)
        {
            input.invalid(
                "there is more than one file for an account, or one file for two \
                           accounts",
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
