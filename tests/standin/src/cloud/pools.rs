//! iam v1: workload identity pools and their providers. A deleted one stays for thirty days, can be
//! undeleted, and keeps its name reserved.

use serde_json::{Value, json};

use super::state::{ProjectState, State};
use super::{ApiRequest, error};
use crate::answer::Refusal;

/// A pool, or a provider in one.
struct Kind {
    is_provider: bool,
    project: String,
    pool: String,
    id: String,
}

impl Kind {
    fn read(request: &ApiRequest<'_>, rest: &str) -> Self {
        let is_provider = rest.starts_with("providers.");
        let of_path = |name: &str, query: &str, creates: bool| {
            if creates {
                request.query(query).unwrap_or_default().to_owned()
            } else {
                request.variable(name).to_owned()
            }
        };
        let creates = rest.ends_with("create");
        let lists = rest.ends_with("list");
        let pool = if lists && !is_provider {
            String::new()
        } else {
            let creates = creates && !is_provider;
            of_path("workloadIdentityPoolsId", "workloadIdentityPoolId", creates)
        };
        let id = match (is_provider, lists) {
            (true, false) => of_path("providersId", "workloadIdentityPoolProviderId", creates),
            _ => pool.clone(),
        };
        Self {
            is_provider,
            project: request.project("projectsId"),
            pool,
            id,
        }
    }

    fn noun(&self) -> &'static str {
        if self.is_provider {
            "workloadIdentityPoolProviders"
        } else {
            "workloadIdentityPools"
        }
    }

    fn map<'a>(
        &self,
        held: &'a mut ProjectState,
    ) -> &'a mut std::collections::BTreeMap<String, Value> {
        if self.is_provider {
            &mut held.providers
        } else {
            &mut held.pools
        }
    }

    fn key(&self) -> String {
        if self.is_provider {
            format!("{}/{}", self.pool, self.id)
        } else {
            self.pool.clone()
        }
    }

    fn found<'a>(&self, state: &'a mut State) -> Option<&'a mut Value> {
        let held = state.project_state(&self.project)?;
        self.map(held).get_mut(&self.key())
    }

    /// Its resource name, which has the project number whatever the request used.
    fn name(&self, state: &State) -> String {
        let number = state.projects.get(&self.project);
        let number = number.map_or("0", |held| &held.project.number);
        let pool = format!(
            "projects/{number}/locations/global/workloadIdentityPools/{}",
            self.pool
        );
        if self.is_provider {
            format!("{pool}/providers/{}", self.id)
        } else {
            pool
        }
    }
}

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    let rest = method
        .strip_prefix("projects.locations.workloadIdentityPools.")
        .expect("the document has no other methods");
    super::need_service(request, &request.project("projectsId"))?;
    if request.variable("locationsId") != "global" {
        return Err(error::invalid("Pools are in the location `global`."));
    }
    if rest.ends_with("operations.get") {
        let (_, name) = request.path.split_once("/v1/").unwrap_or_default();
        let project = request.project("projectsId");
        let by_number = {
            let state = request.state();
            let number = state.projects.get(&project);
            let number = number.map_or("0", |held| &held.project.number);
            let (_, after) = name.split_once("/locations/").unwrap_or_default();
            format!("projects/{number}/locations/{after}")
        };
        return request.state().operation(&by_number);
    }
    let kind = Kind::read(request, rest);
    let action = rest.rsplit('.').next().unwrap_or_default();
    let permission = match action {
        "patch" => "update",
        other => other,
    };
    let permission = format!("iam.{}.{permission}", kind.noun());
    request.need(&permission, &format!("projects/{}", kind.project))?;
    match action {
        "create" => create(request, &kind),
        "get" => {
            let mut state = request.state();
            let found = kind.found(&mut state).cloned();
            found.ok_or_else(|| error::not_found("Requested entity was not found."))
        }
        "list" => Ok(list(request, &kind)),
        "patch" => patch(request, &kind),
        "delete" => change_state(request, &kind, "ACTIVE", "DELETED"),
        "undelete" => change_state(request, &kind, "DELETED", "ACTIVE"),
        other => unreachable!("{other} is in no document"),
    }
}

/// 4 to 32 letters, digits and hyphens; the prefix `gcp-` is reserved.
fn check_id(id: &str) -> Result<(), Refusal> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (4..=32).contains(&id.len()) && id.bytes().all(inside) && !id.starts_with("gcp-");
    good.then_some(())
        .ok_or_else(|| error::invalid(&format!("Invalid id: {id}")))
}

fn create(request: &ApiRequest<'_>, kind: &Kind) -> Result<Value, Refusal> {
    check_id(&kind.id)?;
    check(request, kind, &request.body)?;
    let mut state = request.state();
    if kind.is_provider {
        let held = state.project_state(&kind.project);
        let pool = held.and_then(|held| held.pools.get(&kind.pool));
        if pool.is_none_or(|pool| pool["state"] != "ACTIVE") {
            return Err(error::not_found("Requested entity was not found."));
        }
    }
    if kind.found(&mut state).is_some() {
        return Err(error::exists("Requested entity already exists"));
    }
    let name = kind.name(&state);
    let mut made = request.body.clone();
    made["name"] = name.clone().into();
    made["state"] = "ACTIVE".into();
    // proto3 JSON omits default values.
    if let Some(fields) = made.as_object_mut() {
        fields.retain(|_, value| *value != false);
    }
    let (project, key, is_provider) = (kind.project.clone(), kind.key(), kind.is_provider);
    let result = made.clone();
    begin(request, &mut state, &name, result, move |state| {
        if let Some(held) = state.project_state(&project) {
            let map = if is_provider {
                &mut held.providers
            } else {
                &mut held.pools
            };
            map.insert(key, made);
        }
    })
}

fn begin(
    request: &ApiRequest<'_>,
    state: &mut State,
    name: &str,
    result: Value,
    effect: impl FnOnce(&mut State) + Send + 'static,
) -> Result<Value, Refusal> {
    let operation = format!("{name}/operations/op{}", state.next());
    let delay = request.switches().operation_delay;
    Ok(state.begin(&operation, delay, Ok(result), effect))
}

/// What a provider needs: an issuer with an HTTPS URL, a subject, and, if anybody can get a token
/// of the issuer, a condition on its claims.
fn check(request: &ApiRequest<'_>, kind: &Kind, body: &Value) -> Result<(), Refusal> {
    if let Some(long) = body["description"].as_str().filter(|text| text.len() > 256) {
        return Err(error::invalid(&format!(
            "description is too long: {}",
            long.len()
        )));
    }
    if let Some(long) = body["displayName"].as_str().filter(|text| text.len() > 32) {
        return Err(error::invalid(&format!(
            "displayName is too long: {}",
            long.len()
        )));
    }
    if !kind.is_provider {
        return Ok(());
    }
    let issuer = body["oidc"]["issuerUri"].as_str().unwrap_or_default();
    if !issuer.starts_with("https://") {
        return Err(error::invalid("Issuer URI must be a valid https URL."));
    }
    let constraints = {
        let mut state = request.state();
        let held = state.project_state(&kind.project);
        held.map(|held| held.project.constraints.clone())
            .unwrap_or_default()
    };
    if constraints.contains("iam.workloadIdentityPoolProviders") {
        let message = format!("Org Policy violated for value: '{issuer}'.");
        let details = super::services::violated("iam.workloadIdentityPoolProviders", &kind.project);
        return Err(error::precondition(&message, details));
    }
    let mapping = body["attributeMapping"].as_object();
    if mapping.is_none_or(|mapping| !mapping.contains_key("google.subject")) {
        return Err(error::invalid(
            "The attribute mapping must map google.subject.",
        ));
    }
    let condition = body["attributeCondition"].as_str().unwrap_or_default();
    let shared = [
        "https://token.actions.githubusercontent.com",
        "https://gitlab.com",
    ];
    if shared.contains(&issuer) && !condition.contains("assertion.") {
        return Err(error::invalid(
            "The attribute condition must reference one of the provider's claims. For more \
             information, see https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines#conditions",
        ));
    }
    Ok(())
}

fn list(request: &ApiRequest<'_>, kind: &Kind) -> Value {
    let deleted = request.query("showDeleted") == Some("true");
    let mut state = request.state();
    let Some(held) = state.project_state(&kind.project) else {
        return json!({});
    };
    let start = format!("{}/", kind.pool);
    let shown = kind.map(held).iter().filter(|(key, one)| {
        (deleted || one["state"] != "DELETED") && (!kind.is_provider || key.starts_with(&start))
    });
    let items: Vec<Value> = shown.map(|(_, one)| one.clone()).collect();
    super::paged(request, kind.noun(), items)
}

fn patch(request: &ApiRequest<'_>, kind: &Kind) -> Result<Value, Refusal> {
    let mask = request.query("updateMask").unwrap_or_default().to_owned();
    if mask.is_empty() {
        return Err(error::invalid("The update mask is empty."));
    }
    let mut changed = {
        let mut state = request.state();
        let found = kind.found(&mut state).cloned();
        found.ok_or_else(|| error::not_found("Requested entity was not found."))?
    };
    if changed["state"] == "DELETED" {
        return Err(error::precondition("The entity is deleted.", json!([])));
    }
    for field in mask.split(',') {
        apply(&mut changed, &request.body, field);
    }
    check(request, kind, &changed)?;
    let mut state = request.state();
    let name = kind.name(&state);
    replace(request, kind, &mut state, &name, changed)
}

/// Copies one field of a mask from the request, nested ones such as `oidc.issuerUri` too.
fn apply(changed: &mut Value, sent: &Value, field: &str) {
    let (first, rest) = match field.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (field, None),
    };
    match (sent.get(first), rest) {
        (sent, Some(rest)) => apply(&mut changed[first], sent.unwrap_or(&Value::Null), rest),
        // proto3 JSON omits default values.
        (Some(value), None) if *value != false => changed[first] = value.clone(),
        (_, None) => drop(changed.as_object_mut().map(|all| all.remove(first))),
    }
}

fn replace(
    request: &ApiRequest<'_>,
    kind: &Kind,
    state: &mut State,
    name: &str,
    value: Value,
) -> Result<Value, Refusal> {
    let (project, key, is_provider) = (kind.project.clone(), kind.key(), kind.is_provider);
    let result = value.clone();
    begin(request, state, name, result, move |state| {
        if let Some(held) = state.project_state(&project) {
            let map = if is_provider {
                &mut held.providers
            } else {
                &mut held.pools
            };
            map.insert(key, value);
        }
    })
}

fn change_state(
    request: &ApiRequest<'_>,
    kind: &Kind,
    from: &str,
    to: &str,
) -> Result<Value, Refusal> {
    let mut state = request.state();
    let found = kind.found(&mut state).cloned();
    let mut changed = found.ok_or_else(|| error::not_found("Requested entity was not found."))?;
    if changed["state"] != from {
        let message = format!("The entity is not in the state {from}.");
        return Err(error::precondition(&message, json!([])));
    }
    changed["state"] = to.into();
    match to {
        "DELETED" => changed["expireTime"] = "2100-01-01T00:00:00Z".into(),
        _ => drop(changed.as_object_mut().map(|all| all.remove("expireTime"))),
    }
    let name = kind.name(&state);
    replace(request, kind, &mut state, &name, changed)
}
