//! GitLab's registry and the API beside it: docs.gitlab.com/api/container_registry,
//! docs.gitlab.com/api/rest, lib/api/group_container_repositories.rb of gitlabhq/gitlabhq.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use http::{Method, header};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::call::{self, Call};
use crate::issuers;
use crate::registry;
use crate::{PlainAuth, Standin};

/// The service name of the registry in its challenges.
pub(crate) const SERVICE: &str = "container_registry";

/// The host of the registry.
pub(crate) const REGISTRY: &str = "registry.gitlab.com";

/// The realm of its tokens.
pub(crate) const REALM: &str = "https://gitlab.com/jwt/auth";

impl Standin {
    /// Creates a user of the GitLab whose projects are in no group; the registry of one is
    /// disabled.
    pub fn gitlab_user(&self, name: &str, without_registry: &str) {
        self.shared.gitlab.add_user(name);
        self.shared.gitlab.switch_registry_off(without_registry);
    }

    /// Makes the plain registry that of gitlab.com, with these projects.
    pub fn become_gitlab(&self, projects: &[&str]) {
        for project in projects {
            self.shared.gitlab.add_project(project);
        }
        self.change(|behaviour| {
            behaviour.plain_auth = PlainAuth::Bearer;
            behaviour.plain_anonymous_pull = false;
            behaviour.realm = Some(REALM.to_owned());
            behaviour.service = Some(SERVICE.to_owned());
        });
    }

    /// Creates an access token for a group and everything below it, with these scopes. Its registry
    /// accepts it with this user name.
    pub fn gitlab_token(&self, user: &str, token: &str, group: &str, scopes: &[&str]) {
        self.shared.gitlab.add_token(token, group, scopes);
        self.basic_user(user, token);
    }

    /// Creates a GitLab job with `identity: google_cloud`. Returns the URL of its ID token, and the
    /// token that it authenticates with there.
    pub fn gitlab_job(&self, issuer: &str, claims: Value) -> (String, String) {
        let opens = self.shared.issuers.job(issuer, claims);
        self.shared.accounts.keep_secret(&opens);
        (format!("https://{}/token", issuers::GITLAB), opens)
    }
}

/// Projects, and who may see them.
#[derive(Default)]
pub(crate) struct GitLab {
    projects: Mutex<BTreeSet<String>>,
    tokens: Mutex<HashMap<String, Token>>,
    /// Users, who have projects but are no groups.
    users: Mutex<BTreeSet<String>>,
    /// Projects whose registry is disabled.
    without_registry: Mutex<BTreeSet<String>>,
}

/// An access token.
#[derive(Clone)]
struct Token {
    scopes: Vec<String>,
    /// The group that it may read, as a Reporter.
    group: String,
}

impl GitLab {
    pub(crate) fn add_project(&self, path: &str) {
        self.projects.lock().unwrap().insert(path.to_owned());
    }

    pub(crate) fn add_user(&self, name: &str) {
        self.users.lock().unwrap().insert(name.to_owned());
    }

    pub(crate) fn switch_registry_off(&self, project: &str) {
        let mut without = self.without_registry.lock().unwrap();
        without.insert(project.to_owned());
    }

    fn is_user(&self, name: &str) -> bool {
        self.users.lock().unwrap().contains(name)
    }

    pub(crate) fn add_token(&self, token: &str, group: &str, scopes: &[&str]) {
        let token_of = Token {
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            group: group.to_owned(),
        };
        self.tokens
            .lock()
            .unwrap()
            .insert(token.to_owned(), token_of);
    }

    /// The project that a repository belongs to.
    fn project_of(&self, repository: &str) -> Option<String> {
        let projects = self.projects.lock().unwrap();
        let of = |project: &&String| is_at_or_below(repository, project);
        projects.iter().find(of).cloned()
    }
}

fn is_at_or_below(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers `/jwt/auth` and the listings of the API. `None` for another path.
pub(crate) fn answer(call: &Call, path: &str) -> Option<Result<Answer, Refusal>> {
    if path == "/jwt/auth" {
        return Some(registry::token(call));
    }
    let rest = path.strip_prefix("/api/v4/")?;
    if let Some(user) = rest.strip_prefix("users/") {
        return Some(projects_of(call, user.strip_suffix("/projects")?));
    }
    let rest = rest.strip_suffix("/registry/repositories")?;
    let (kind, place) = rest.split_once('/')?;
    Some(listing(call, kind, place))
}

fn refuse(status: u16, message: &str) -> Refusal {
    Refusal::json(status, &json!({ "message": message }))
}

fn listing(call: &Call, kind: &str, place: &str) -> Result<Answer, Refusal> {
    // An unescaped slash makes it another route.
    if place.contains('/') || !["groups", "projects"].contains(&kind) {
        return Err(Refusal::json(404, &json!({"error": "404 Not Found"})));
    }
    if call.method != Method::GET {
        return Err(Refusal::json(405, &json!({"error": "405 Not Allowed"})));
    }
    let gitlab = &call.shared.gitlab;
    let token = authorized(call)?;
    let path = match place.parse::<usize>() {
        Ok(id) => {
            let projects = gitlab.projects.lock().unwrap();
            projects.iter().nth(id - 1).cloned().unwrap_or_default()
        }
        Err(_) => place.replace("%2F", "/"),
    };
    let is_there = {
        let projects = gitlab.projects.lock().unwrap();
        match kind {
            "groups" => {
                !gitlab.is_user(&path)
                    && projects
                        .iter()
                        .any(|project| *project != path && is_at_or_below(project, &path))
            }
            _ => projects.contains(&path),
        }
    };
    // What a caller may not see does not exist for it.
    let is_shown = token.is_some_and(|token| is_at_or_below(&path, &token.group));
    if !is_there || !is_shown {
        let what = if kind == "groups" { "Group" } else { "Project" };
        return Err(refuse(404, &format!("404 {what} Not Found")));
    }
    if gitlab.without_registry.lock().unwrap().contains(&path) {
        return Err(refuse(403, "403 Forbidden"));
    }
    let repositories = registry::plain_repositories(call)
        .into_iter()
        .filter(|name| {
            let project = gitlab.project_of(name);
            project.is_some_and(|project| is_at_or_below(&project, &path))
        });
    let path = format!("/api/v4/{kind}/{place}/registry/repositories");
    page(call, &path, repositories.collect(), |id, path| {
        let project = gitlab.project_of(path).unwrap_or_default();
        json!({
            "id": id + 1,
            "name": path.strip_prefix(&project).unwrap_or_default().trim_start_matches('/'),
            "path": path,
            "project_id": 9,
            "location": format!("{REGISTRY}/{path}"),
            "created_at": "2026-01-10T13:38:57.391Z",
            "cleanup_policy_started_at": null,
            "status": null,
        })
    })
}

/// `GET /users/USER/projects`: docs.gitlab.com/api/projects.
fn projects_of(call: &Call, user: &str) -> Result<Answer, Refusal> {
    let gitlab = &call.shared.gitlab;
    let token = authorized(call)?;
    if !gitlab.is_user(user) {
        return Err(refuse(404, "404 User Not Found"));
    }
    let projects = gitlab.projects.lock().unwrap().clone();
    let ids = projects.iter().zip(1..);
    let is_shown = |project: &str| {
        let token = token.as_ref();
        is_at_or_below(project, user) && token.is_some_and(|t| is_at_or_below(project, &t.group))
    };
    let shown: Vec<_> = ids.filter(|(project, _)| is_shown(project)).collect();
    let names = shown
        .iter()
        .map(|(project, _)| (*project).clone())
        .collect();
    let path = format!("/api/v4/users/{user}/projects");
    page(
        call,
        &path,
        names,
        |number, project| json!({"id": shown[number].1, "path_with_namespace": project}),
    )
}

/// The token of a request that may read the API. `None` for an anonymous request.
fn authorized(call: &Call) -> Result<Option<Token>, Refusal> {
    let gitlab = &call.shared.gitlab;
    let shown = match call.headers.get("private-token") {
        Some(token) => token.to_str().ok(),
        None => call::bearer(&call.headers),
    };
    let token = match shown {
        Some(shown) => {
            let known = gitlab.tokens.lock().unwrap().get(shown).cloned();
            Some(known.ok_or_else(|| refuse(401, "401 Unauthorized"))?)
        }
        None if call.headers.contains_key(header::AUTHORIZATION) => {
            return Err(refuse(401, "401 Unauthorized"));
        }
        None => None,
    };
    let may_read = |token: &Token| token.scopes.iter().any(|s| s == "read_api" || s == "api");
    if token.as_ref().is_some_and(|token| !may_read(token)) {
        let body = json!({
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the access token.",
            "scope": "api read_api",
        });
        return Err(Refusal::json(403, &body));
    }
    Ok(token)
}

fn page(
    call: &Call,
    path: &str,
    all: Vec<String>,
    entry: impl Fn(usize, &str) -> Value,
) -> Result<Answer, Refusal> {
    let number = |name: &str, default: usize| match call.query.get(name) {
        None => Ok(default),
        Some(text) => text.parse::<usize>().map_err(|_| {
            let error = format!("{name} is invalid");
            Refusal::json(400, &json!({ "error": error }))
        }),
    };
    let page = number("page", 1)?.max(1);
    let size = number("per_page", 20)?.clamp(1, 100);
    let size = size.min(call.behaviour.page_limit.unwrap_or(size));
    let shown = all.iter().enumerate().skip((page - 1) * size).take(size);
    let shown: Vec<Value> = shown.map(|(number, path)| entry(number, path)).collect();
    let mut answer = answer::json_body(200, &Value::from(shown));
    let link = |page: usize, rel: &str| {
        format!("<https://gitlab.com{path}?page={page}&per_page={size}>; rel=\"{rel}\"")
    };
    let mut links = vec![link(1, "first")];
    if all.len() > page * size {
        links.insert(0, link(page + 1, "next"));
    }
    answer::set(&mut answer, header::LINK, &links.join(", "));
    Ok(answer)
}
