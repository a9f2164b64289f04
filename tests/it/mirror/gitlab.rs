//! Every repository of a GitLab group, by GitLab's API.

use standin::{RequestKind, Standin};

use super::many_images::{mirror_file, put};
use super::*;
use crate::support::gitlab::{REGISTRY, gitlab_with};

const FILE: &str = "destinations: [HOME/mirror]\nimages:\n  - from: registry.gitlab.com/PATH/**\n    \
                    to: '{path}'\n";

fn gitlab() -> Standin {
    gitlab_with(|gitlab, repository| put(gitlab, PLAIN, repository, "1", repository))
}

fn run(gitlab: &Standin, destination: &Standin, path: &str, login: [&str; 2]) -> Run {
    let file = FILE
        .replace("HOME", &destination.plain_address())
        .replace("PATH", path);
    let [user, password] = login;
    let auths = serde_json::json!({"auths": {REGISTRY: {"username": user, "password": password}}});
    mirror_file(&file)
        .variable("HTTPS_PROXY", gitlab.proxy_url())
        .set("ca_certificates", gitlab.ca_pem())
        .set("docker_config", auths.to_string())
}

const MAY_ALL: [&str; 2] = ["bot", "glpat-acme-reads-all-of-it"];

#[test]
fn group_gives_every_repository_over_pages() {
    let (gitlab, destination) = (gitlab(), Standin::start());
    run(&gitlab, &destination, "acme", MAY_ALL).succeeds();
    for (repository, is_there) in [
        ("acme/api", true),
        ("acme/api/debug", true),
        ("acme/team/web", true),
        ("acme-2/other", false),
    ] {
        let found = destination.manifest(PLAIN, &format!("mirror/{repository}"), "1");
        assert_eq!(found.is_some(), is_there, "{repository}");
    }
    let requests = gitlab.requests();
    assert!(of_kind(&requests, RequestKind::Catalog).is_empty());
    let api_requests = requests
        .iter()
        .filter(|request| request.path.starts_with("/api/"));
    let api_requests: Vec<_> = api_requests
        .map(|request| {
            format!(
                "{}?{} {}",
                request.path,
                request.query,
                request.authorization.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        api_requests,
        [
            "/api/v4/groups/acme/registry/repositories?per_page=100 Bearer",
            "/api/v4/groups/acme/registry/repositories?page=2&per_page=2 Bearer",
        ]
    );
}

#[test]
fn subgroup_and_project_are_found_by_full_path() {
    let gitlab = gitlab();
    for (path, expected) in [
        ("acme/team", &["acme/team/web"][..]),
        ("acme/api", &["acme/api", "acme/api/debug"]),
        ("acme/api/debug", &["acme/api/debug"]),
    ] {
        let destination = Standin::start();
        run(&gitlab, &destination, path, MAY_ALL).succeeds();
        for repository in ["acme/api", "acme/api/debug", "acme/team/web"] {
            let found = destination.manifest(PLAIN, &format!("mirror/{repository}"), "1");
            assert_eq!(
                found.is_some(),
                expected.contains(&repository),
                "{repository}"
            );
        }
    }
}

#[test]
fn user_projects_are_found_one_by_one() {
    let (gitlab, destination) = (gitlab(), Standin::start());
    for repository in ["jane/tool", "jane/tool/debug", "jane/old", "jane/other"] {
        put(&gitlab, PLAIN, repository, "1", repository);
    }
    gitlab.become_gitlab(&["jane/tool", "jane/old", "jane/other"]);
    gitlab.gitlab_user("jane", "jane/old");
    let scopes = ["read_api", "read_registry"];
    gitlab.gitlab_token("jane", "glpat-of-jane-herself", "jane", &scopes);
    let of_jane = ["jane", "glpat-of-jane-herself"];
    run(&gitlab, &destination, "jane", of_jane).succeeds();
    for (repository, is_there) in [
        ("jane/tool", true),
        ("jane/tool/debug", true),
        ("jane/other", true),
        ("jane/old", false),
    ] {
        let found = destination.manifest(PLAIN, &format!("mirror/{repository}"), "1");
        assert_eq!(found.is_some(), is_there, "{repository}");
    }
    run(&gitlab, &destination, "jane", MAY_ALL).fails_with(3);
}

#[test]
fn forbidden_group_listing_names_the_needed_token() {
    let (gitlab, destination) = (gitlab(), Standin::start());
    let message = [
        run(
            &gitlab,
            &destination,
            "acme",
            ["bot-2", "glpat-may-pull-alone"],
        ),
        run(
            &gitlab,
            &destination,
            "acme",
            ["gitlab-ci-token", "glcbt-of-a-job"],
        ),
        run(&gitlab, &destination, "acme-2", MAY_ALL),
    ]
    .map(|run| run.fails_with(3).error());
    insta::assert_snapshot!(message.join("\n"), @"
    error: could not list the repositories of GitLab's `registry.gitlab.com/acme`
      caused by: GET https://gitlab.com/api/v4/groups/acme/registry/repositories: 403 insufficient_scope
      caused by: The request requires higher privileges than provided by the access token.

    hint: for that registry, use a group access token or a personal access token as the password, with the role Reporter and the scopes `read_api` and `read_registry`: CI_JOB_TOKEN and deploy tokens cannot list a group
    hint: or name the repositories one by one

    error: the login for GitLab's `registry.gitlab.com/acme` is the job token, which cannot list a group

    hint: for that registry, use a group access token or a personal access token as the password, with the role Reporter and the scopes `read_api` and `read_registry`: CI_JOB_TOKEN and deploy tokens cannot list a group
    hint: or name the repositories one by one

    error: GitLab has no group, project or user `registry.gitlab.com/acme-2` that this login can see

    hint: for that registry, use a group access token or a personal access token as the password, with the role Reporter and the scopes `read_api` and `read_registry`: CI_JOB_TOKEN and deploy tokens cannot list a group
    hint: or name the repositories one by one
    ");
    let quoted = gitlab.requests();
    assert!(quoted.iter().all(|request| request.path != "/v2/_catalog"));
}
