//! Google's six APIs around a registry: projects, services, accounts and keys, workload identity,
//! repositories, buckets. Stateful and strict: every request is checked against the API's discovery
//! document.
//!
//! ```text
//! handle ─► discovery (method, query, body) ─► caller ─► service enabled? ─► the API's file
//!                                                                  │
//!                                   state (projects, operations) ◄─┘   policies: crate::iam
//! ```

mod accounts;
mod buckets;
mod credentials;
pub(crate) mod discovery;
pub(crate) mod error;
pub(crate) mod policy;
mod pools;
mod projects;
mod repositories;
mod services;
mod state;
mod switches;

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::call::{self, Call};
use discovery::Method;
use policy::Policy;

pub use state::Project;
pub(crate) use state::{Cloud, State};
pub use switches::Switches;

/// One call of a method that fits its description.
pub(crate) struct ApiRequest<'a> {
    pub(crate) call: &'a Call,
    /// The caller's e-mail address.
    pub(crate) member: String,
    pub(crate) method: &'static Method,
    variables: BTreeMap<String, String>,
    pub(crate) path: &'a str,
    pub(crate) body: Value,
}

impl ApiRequest<'_> {
    /// A variable of the path.
    pub(crate) fn variable(&self, name: &str) -> &str {
        let value = self.variables.get(name);
        value.unwrap_or_else(|| panic!("{} has no {name}", self.method.id))
    }

    /// A parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.call.query.get(name)
    }

    /// The state of the cloud.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.call.shared.cloud.state()
    }

    /// The switches.
    pub(crate) fn switches(&self) -> &Switches {
        &self.call.behaviour.cloud
    }

    /// The project of the path, by its id even if the path has its number.
    pub(crate) fn project(&self, variable: &str) -> String {
        let named = self.variable(variable);
        let state = self.state();
        let mut projects = state.projects.iter();
        let found = projects.find(|(id, held)| *id == named || held.project.number == named);
        found.map_or_else(|| named.to_owned(), |(id, _)| id.clone())
    }

    /// Refuses a caller without this permission on that resource.
    pub(crate) fn need(&self, permission: &str, resource: &str) -> Result<(), Refusal> {
        if self.may(permission, resource) {
            return Ok(());
        }
        Err(error::denied(permission, resource))
    }

    pub(crate) fn may(&self, permission: &str, resource: &str) -> bool {
        let grants = &self.call.shared.grants;
        grants.allow_named(Some(&self.member), permission, resource)
    }

    /// The permissions of the body that the caller has.
    pub(crate) fn test(&self, resource: &str) -> Value {
        let requested = self.body["permissions"].as_array().into_iter().flatten();
        let held: Vec<&Value> = requested
            .filter(|permission| self.may(permission.as_str().unwrap_or_default(), resource))
            .collect();
        if held.is_empty() {
            json!({})
        } else {
            json!({"permissions": held})
        }
    }

    /// Reads a policy.
    pub(crate) fn get_policy(&self, resource: &str, version: Option<i64>) -> Value {
        let grants = &self.call.shared.grants;
        grants.change(resource, |policy| policy.get(version.unwrap_or(0)))
    }

    /// Replaces a policy; `stale` is the status for an outdated etag.
    pub(crate) fn set_policy(
        &self,
        resource: &str,
        sent: &Value,
        stale: u16,
    ) -> Result<Value, Refusal> {
        self.check_members(sent)?;
        let interferes = self.state().interferes();
        let settles = self.switches().permission_delay;
        self.call
            .shared
            .grants
            .change(resource, |policy: &mut Policy| {
                if let Some(member) = interferes {
                    policy.add(&member, "roles/browser");
                }
                let before = policy.bindings.clone();
                policy.set(sent, stale)?;
                if settles > 0 {
                    policy.settling = Some((before, settles));
                }
                Ok(policy.get(3))
            })
    }

    /// A service account that does not exist or has not propagated cannot be bound.
    fn check_members(&self, sent: &Value) -> Result<(), Refusal> {
        let bindings = sent["bindings"].as_array().into_iter().flatten();
        let members = bindings.flat_map(|binding| binding["members"].as_array());
        let mut state = self.state();
        for member in members.flatten().filter_map(Value::as_str) {
            if let Some(email) = member.strip_prefix("serviceAccount:")
                && !state.can_be_bound(email)
            {
                let message = format!("Service account {email} does not exist.");
                return Err(error::invalid(&message));
            }
        }
        Ok(())
    }
}

/// Answers one of the APIs.
pub(crate) async fn handle(call: &mut Call, path: &str) -> Result<Answer, Refusal> {
    let verb = call.method.to_string();
    let Some((method, variables)) = discovery::find(&call.site.host, &verb, path) else {
        return Err(Refusal::page(404, "Not Found"));
    };
    if verb != "GET" && verb != "DELETE" && !call.has_length() {
        return Err(Refusal::page(411, "Length Required"));
    }
    let body = call.body.whole(1024 * 1024).await?.unwrap_or_default();
    call.body.note(&String::from_utf8_lossy(&body));
    let token = call::bearer(&call.headers).ok_or_else(error::unauthenticated)?;
    let accounts = &call.shared.accounts;
    let member = accounts.access_token_owner(token);
    let member = member.ok_or_else(error::unauthenticated)?;
    method
        .check_query(&call.query)
        .map_err(|message| error::invalid(&message))?;
    let body =
        match body.as_slice() {
            [] => None,
            bytes => Some(serde_json::from_slice::<Value>(bytes).map_err(|fault| {
                error::invalid(&format!("Invalid JSON payload received. {fault}"))
            })?),
        };
    method
        .check_request(body.as_ref())
        .map_err(|message| error::invalid(&message))?;
    call.shared.cloud.state().advance();
    let request = ApiRequest {
        call,
        member,
        method,
        variables,
        path,
        body: body.unwrap_or_else(|| json!({})),
    };
    let answer = answered(&request)?;
    if let Err(message) = method.check_response(&answer) {
        panic!(
            "{}: the stand-in answers what Google would not: {message}: {answer}",
            method.id
        );
    }
    if answer.is_null() {
        return Ok(answer::empty(204));
    }
    Ok(answer::json_body(200, &answer))
}

fn answered(request: &ApiRequest<'_>) -> Result<Value, Refusal> {
    let (api, rest) = request.method.id.split_once('.').expect("ids have parts");
    match api {
        "serviceusage" => services::answer(request, rest),
        "cloudresourcemanager" => projects::answer(request, rest),
        "iam" if rest.contains("workloadIdentityPools") => pools::answer(request, rest),
        "iam" => accounts::answer(request, rest),
        "iamcredentials" => credentials::answer(request),
        "artifactregistry" => repositories::answer(request, rest),
        "storage" => buckets::answer(request, rest),
        _ => unreachable!("there is no other document"),
    }
}

/// Refuses a request for a service that the project has not enabled.
pub(crate) fn need_service(request: &ApiRequest<'_>, project: &str) -> Result<(), Refusal> {
    request
        .state()
        .need_service(project, &request.call.site.host)
}

/// One page of a complete list.
pub(crate) fn paged(request: &ApiRequest<'_>, field: &str, items: Vec<Value>) -> Value {
    let (start, count) = window(request);
    let total = items.len();
    let items = items.into_iter().skip(start).take(count).collect();
    page(request, field, items, total)
}

/// The start and the size of the requested page: no list returns more than 1000 items at once.
pub(crate) fn window(request: &ApiRequest<'_>) -> (usize, usize) {
    let start = request
        .query("pageToken")
        .and_then(|token| token.parse().ok());
    let requested: Option<usize> = request.query("pageSize").and_then(|size| size.parse().ok());
    let requested = requested.filter(|size| *size > 0);
    let sizes = [requested, request.switches().page_size, Some(1000)];
    (
        start.unwrap_or(0),
        sizes.into_iter().flatten().min().unwrap_or(0),
    )
}

/// The page of [`window`]. A page token is the start of the next one.
pub(crate) fn page(
    request: &ApiRequest<'_>,
    field: &str,
    items: Vec<Value>,
    total: usize,
) -> Value {
    let (start, _) = window(request);
    let end = start + items.len();
    let mut answer = json!({});
    if !items.is_empty() {
        answer[field] = items.into();
    }
    if end < total {
        answer["nextPageToken"] = end.to_string().into();
    }
    answer
}
