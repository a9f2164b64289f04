//! The public part of GitHub's and GitLab's APIs that gives the id of a repository, which survives
//! a rename: docs.github.com/rest/repos/repos, docs.gitlab.com/api/projects.

use serde_json::json;

use crate::answer::{self, Answer, Refusal};
use crate::call::Call;
use crate::gitlab;

/// True for a host of repositories.
pub(crate) fn is_forge(host: &str) -> bool {
    host == "api.github.com" || host == "gitlab.com" || host.starts_with("gitlab.")
}

/// Answers for the only repository: `acme/api`, and on GitLab `acme/team/api` too.
pub(crate) fn answer(call: &Call, path: &str) -> Result<Answer, Refusal> {
    if call.header(http::header::USER_AGENT).is_none() {
        return Err(Refusal::json(403, &json!({"message": "Request forbidden"})));
    }
    if call.site.host == "gitlab.com"
        && let Some(answered) = gitlab::answer(call, path)
    {
        return answered;
    }
    let body = match (call.site.host.as_str(), path) {
        ("api.github.com", "/repos/acme/api") => json!({
            "id": 456,
            "full_name": "acme/api",
            "owner": {"id": 123, "login": "acme", "type": "Organization"},
        }),
        ("api.github.com", _) => {
            return Err(Refusal::json(404, &json!({"message": "Not Found"})));
        }
        (_, "/api/v4/projects/acme%2Fapi" | "/api/v4/projects/acme%2Fteam%2Fapi") => json!({
            "id": 77,
            "path_with_namespace": "acme/api",
            "namespace": {"id": 12, "full_path": "acme"},
        }),
        _ => {
            let message = json!({"message": "404 Project Not Found"});
            return Err(Refusal::json(404, &message));
        }
    };
    Ok(answer::json_body(200, &body))
}
