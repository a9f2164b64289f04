//! What the event says that a workflow of GitHub's, or a pipeline of GitLab's, runs for.

use std::path::Path;

use serde::Deserialize;

use super::console::ci;
use super::paths::Paths;
use super::variables::Environment;
use crate::ci::Ci;

/// What the run was started by, where runs of that kind get their secrets; none where they do not,
/// or nobody says.
///
/// <https://docs.github.com/en/actions/concepts/security/secrets>,
/// <https://docs.gitlab.com/ci/variables/#protect-a-cicd-variable>
pub(super) fn with_secrets(given: &Environment, paths: &Paths<'_>) -> Option<String> {
    match ci(given)? {
        Ci::GitHub => {
            let event = given.ambient("GITHUB_EVENT_NAME")?;
            let is_without = has_no_secrets(given, paths) || is_in_fork(given, paths);
            (!is_without).then(|| format!("`{event}`"))
        }
        Ci::GitLab => {
            let is_protected = given.ambient("CI_COMMIT_REF_PROTECTED") == Some("true");
            is_protected.then(|| "a protected branch or tag".to_owned())
        }
        Ci::Other => None,
    }
}

/// True for the pull request of a fork and for Dependabot's, which GitHub gives neither secrets nor
/// OIDC tokens.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request>
pub(super) fn has_no_secrets(given: &Environment, paths: &Paths<'_>) -> bool {
    if given.ambient("GITHUB_ACTIONS").is_none() {
        return false;
    }
    given.ambient("GITHUB_ACTOR") == Some("dependabot[bot]") || is_of_fork(given, paths)
}

/// True where the whole repository is a fork, whose own pushes find none of its parent's secrets.
fn is_in_fork(given: &Environment, paths: &Paths<'_>) -> bool {
    #[derive(Deserialize)]
    struct Event {
        repository: Repository,
    }
    #[derive(Deserialize)]
    struct Repository {
        fork: bool,
    }
    let event: Option<Event> = read_event(given, paths);
    event.is_some_and(|event| event.repository.fork)
}

fn read_event<T: serde::de::DeserializeOwned>(given: &Environment, paths: &Paths<'_>) -> Option<T> {
    let file = given.ambient("GITHUB_EVENT_PATH")?;
    let content = paths.files().read(Path::new(file)).ok()?;
    serde_json::from_slice(&content).ok()
}

fn is_of_fork(given: &Environment, paths: &Paths<'_>) -> bool {
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
        // None where the fork was deleted meanwhile.
        repo: Option<Repository>,
    }
    #[derive(Deserialize)]
    struct Repository {
        full_name: String,
    }
    let Some("pull_request" | "pull_request_review" | "pull_request_review_comment") =
        given.ambient("GITHUB_EVENT_NAME")
    else {
        return false;
    };
    let event: Option<Event> = read_event(given, paths);
    let Some(event) = event else {
        return false;
    };
    let own = given.ambient("GITHUB_REPOSITORY");
    event
        .pull_request
        .head
        .repo
        .is_none_or(|repository| Some(repository.full_name.as_str()) != own)
}
