//! What the event says that a workflow of GitHub's runs for.

use std::path::Path;

use serde::Deserialize;

use super::inputs::Given;
use super::paths::Paths;

/// True for the pull request of a fork and for Dependabot's, which GitHub gives neither secrets nor
/// OIDC tokens.
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#pull_request>
pub(super) fn has_no_secrets(given: &Given, paths: &Paths<'_>) -> bool {
    if given.ambient("GITHUB_ACTIONS").is_none() {
        return false;
    }
    given.ambient("GITHUB_ACTOR") == Some("dependabot[bot]") || is_of_fork(given, paths)
}

fn is_of_fork(given: &Given, paths: &Paths<'_>) -> bool {
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
    let (Some("pull_request" | "pull_request_review" | "pull_request_review_comment"), Some(file)) = (
        given.ambient("GITHUB_EVENT_NAME"),
        given.ambient("GITHUB_EVENT_PATH"),
    ) else {
        return false;
    };
    let Ok(content) = paths.files().read(Path::new(file)) else {
        return false;
    };
    let Ok(event) = serde_json::from_slice::<Event>(&content) else {
        return false;
    };
    let own = given.ambient("GITHUB_REPOSITORY");
    event
        .pull_request
        .head
        .repo
        .is_none_or(|repository| Some(repository.full_name.as_str()) != own)
}
