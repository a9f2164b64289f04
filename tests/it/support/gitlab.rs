//! gitlab.com, with a group, a subgroup and another group.

use standin::Standin;

/// The host of its registry.
pub const REGISTRY: &str = "registry.gitlab.com";

/// Starts one whose repositories hold what `put` puts there.
pub fn gitlab_with(put: impl Fn(&Standin, &str)) -> Standin {
    let gitlab = Standin::builder().name(REGISTRY).start();
    for repository in [
        "acme/api",
        "acme/api/debug",
        "acme/team/web",
        "acme-2/other",
    ] {
        put(&gitlab, repository);
    }
    gitlab.become_gitlab(&["acme/api", "acme/team/web", "acme-2/other"]);
    // So that the listing has pages.
    gitlab.change(|behaviour| behaviour.page_limit = Some(2));
    let scopes = ["read_api", "read_registry"];
    gitlab.gitlab_token("bot", "glpat-acme-reads-all-of-it", "acme", &scopes);
    gitlab.gitlab_token("bot-2", "glpat-may-pull-alone", "acme", &["read_registry"]);
    gitlab.basic_user("gitlab-ci-token", "glcbt-of-a-job");
    gitlab
}
