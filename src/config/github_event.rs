//! The event that started a GitHub workflow or a GitLab pipeline, and whether such runs get
//! secrets.

use std::path::Path;

use serde::Deserialize;

use super::console::ci;
use super::environment::Environment;
use crate::ci::Ci;

/// The event that started this run, if runs of that kind get secrets. `None` if they do not, or if
/// that is unknown.
///
/// <https://docs.github.com/en/actions/concepts/security/secrets>,
/// <https://docs.gitlab.com/ci/variables/#protect-a-cicd-variable>
pub(super) fn with_secrets(environment: &Environment<'_>) -> Option<String> {
    match ci(environment)? {
        Ci::GitHub => {
            let event = environment.ambient("GITHUB_EVENT_NAME")?;
            let is_without = has_no_secrets(environment) || is_in_fork(environment);
            (!is_without).then(|| format!("`{event}`"))
        }
        Ci::GitLab => {
            let is_protected = environment.ambient("CI_COMMIT_REF_PROTECTED") == Some("true");
            is_protected.then(|| "a protected branch or tag".to_owned())
        }
        Ci::Other => None,
    }
}

/// True for pull requests of forks and of Dependabot, which get neither secrets nor OIDC tokens
/// from GitHub.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request>
pub(super) fn has_no_secrets(environment: &Environment<'_>) -> bool {
    if environment.ambient("GITHUB_ACTIONS").is_none() {
        return false;
    }
    environment.ambient("GITHUB_ACTOR") == Some("dependabot[bot]") || is_of_fork(environment)
}

/// True if the repository itself is a fork. Its runs do not get the secrets of the parent.
fn is_in_fork(environment: &Environment<'_>) -> bool {
    #[derive(Deserialize)]
    struct Event {
        repository: Repository,
    }
    #[derive(Deserialize)]
    struct Repository {
        fork: bool,
    }
    let event: Option<Event> = read_event(environment);
    event.is_some_and(|event| event.repository.fork)
}

fn read_event<T: serde::de::DeserializeOwned>(environment: &Environment<'_>) -> Option<T> {
    let file = environment.ambient("GITHUB_EVENT_PATH")?;
    let content = environment.paths.files().read(Path::new(file)).ok()?;
    serde_json::from_slice(&content).ok()
}

fn is_of_fork(environment: &Environment<'_>) -> bool {
    #[derive(Deserialize)]
    struct Event {
        pull_request: PullRequest,
    }
    #[derive(Deserialize)]
    struct PullRequest {
        head: Head,
    }
    #[derive(Deserialize)]
    struct Head {
        // `None` if the fork was deleted.
        repo: Option<Repository>,
    }
    #[derive(Deserialize)]
    struct Repository {
        full_name: String,
    }
    let Some("pull_request" | "pull_request_review" | "pull_request_review_comment") =
        environment.ambient("GITHUB_EVENT_NAME")
    else {
        return false;
    };
    let event: Option<Event> = read_event(environment);
    let Some(event) = event else {
        return false;
    };
    let own = environment.ambient("GITHUB_REPOSITORY");
    event
        .pull_request
        .head
        .repo
        .is_none_or(|repository| Some(repository.full_name.as_str()) != own)
}
