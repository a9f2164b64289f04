//! iam v1: service accounts, which are visible only after a while, and their keys.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::services::violated;
use super::{ApiRequest, error};
use crate::answer::Refusal;

/// A service account.
pub(crate) struct ServiceAccount {
    unique_id: String,
    display_name: String,
    description: String,
    disabled: bool,
    /// The start of validity of each key, by id.
    keys: BTreeMap<String, String>,
    /// The number of reads that find nothing, and then of reads that are forbidden.
    unseen: (u32, u32),
    /// The number of policies with it that are refused.
    pub(super) unbindable: u32,
}

impl ServiceAccount {
    pub(super) fn snapshot(&self) -> Value {
        json!({
            "displayName": self.display_name,
            "description": self.description,
            "disabled": self.disabled,
            "keys": self.keys.len(),
        })
    }

    /// Adds a key with an earlier creation time.
    pub(crate) fn add_key(&mut self, id: &str, since: &str) {
        self.keys.insert(id.to_owned(), since.to_owned());
    }

    fn to_json(&self, project: &str, email: &str) -> Value {
        let mut described = json!({
            "name": format!("projects/{project}/serviceAccounts/{email}"),
            "projectId": project,
            "uniqueId": self.unique_id,
            "email": email,
            "etag": "MDEwMjE5MjA=",
            "oauth2ClientId": self.unique_id,
        });
        for (field, text) in [
            ("displayName", &self.display_name),
            ("description", &self.description),
        ] {
            if !text.is_empty() {
                described[field] = text.as_str().into();
            }
        }
        if self.disabled {
            described["disabled"] = true.into();
        }
        described
    }
}

pub(super) fn answer(request: &ApiRequest<'_>, method: &str) -> Result<Value, Refusal> {
    let method = method
        .strip_prefix("projects.serviceAccounts.")
        .expect("the document has no other methods");
    let wildcard = request.variable("projectsId") == "-";
    let project = if wildcard {
        of_email(request.variable("serviceAccountsId"))
    } else {
        request.project("projectsId")
    };
    super::need_service(request, &project)?;
    if matches!(method, "create" | "list") {
        let resource = format!("projects/{project}");
        request.need(&format!("iam.serviceAccounts.{method}"), &resource)?;
        return match method {
            "create" => create(request, &project),
            _ => Ok(list(request, &project)),
        };
    }
    let email = request.variable("serviceAccountsId").to_owned();
    let resource = format!("projects/{project}/serviceAccounts/{email}");
    let permission = match method.strip_prefix("keys.") {
        Some(method) => format!("iam.serviceAccountKeys.{method}"),
        None => format!("iam.serviceAccounts.{method}"),
    };
    if method != "testIamPermissions" {
        request.need(&permission, &resource)?;
    }
    exists(request, &project, &email, wildcard, method)?;
    match method {
        "getIamPolicy" => {
            let version = request.query("options.requestedPolicyVersion");
            Ok(request.get_policy(&resource, version.and_then(|v| v.parse().ok())))
        }
        "setIamPolicy" => request.set_policy(&resource, &request.body["policy"], 409),
        "testIamPermissions" => Ok(request.test(&resource)),
        "keys.create" => create_key(request, &project, &email),
        "keys.delete" => delete_key(request, &email),
        "delete" => Ok(delete(request, &project, &email)),
        _ => Ok(with_account(request, &email, |account| match method {
            "get" => account.to_json(&project, &email),
            "keys.list" => keys(account, request, &project, &email),
            "enable" | "disable" => {
                account.disabled = method == "disable";
                json!({})
            }
            other => unreachable!("{other} is in no document"),
        })),
    }
}

/// The project of an account. A domain-scoped one, `example.com:p`, is reversed in addresses.
pub(super) fn of_email(email: &str) -> String {
    let host = email.split_once('@').map_or("", |(_, host)| host);
    let project = host.strip_suffix(".iam.gserviceaccount.com");
    match project.unwrap_or_default().split_once('.') {
        Some((project, domain)) => format!("{domain}:{project}"),
        None => project.unwrap_or_default().to_owned(),
    }
}

/// An account's address.
fn address(id: &str, project: &str) -> String {
    let project = match project.split_once(':') {
        Some((domain, project)) => format!("{project}.{domain}"),
        None => project.to_owned(),
    };
    format!("{id}@{project}.iam.gserviceaccount.com")
}

fn with_account<T>(
    request: &ApiRequest<'_>,
    email: &str,
    change: impl FnOnce(&mut ServiceAccount) -> T,
) -> T {
    let mut state = request.state();
    change(state.account(email).expect("it was looked for before"))
}

/// Refuses an account that does not exist or is not visible yet.
fn exists(
    request: &ApiRequest<'_>,
    project: &str,
    email: &str,
    wildcard: bool,
    method: &str,
) -> Result<(), Refusal> {
    let permission = format!("iam.serviceAccounts.{method}");
    let resource = format!("projects/{project}/serviceAccounts/{email}");
    let denied = || error::denied(&permission, &resource);
    let missing = || error::not_found(&format!("Unknown service account: {email}"));
    let mut state = request.state();
    let Some(account) = state.account(email) else {
        // The wildcard project does not reveal which accounts exist.
        let hides = wildcard || method == "keys.create";
        return Err(if hides { denied() } else { missing() });
    };
    match &mut account.unseen {
        (unfound @ 1.., _) => {
            *unfound -= 1;
            Err(missing())
        }
        (0, forbidden @ 1..) => {
            *forbidden -= 1;
            Err(denied())
        }
        (0, 0) => Ok(()),
    }
}

fn create(request: &ApiRequest<'_>, project: &str) -> Result<Value, Refusal> {
    let id = request.body["accountId"].as_str().unwrap_or_default();
    if !is_account_id(id) {
        let message = format!("Invalid service account id: {id}");
        return Err(error::invalid(&message));
    }
    let text = |field: &str, longest: usize| {
        let text = request.body["serviceAccount"][field]
            .as_str()
            .unwrap_or_default();
        if text.len() <= longest {
            return Ok(text.to_owned());
        }
        Err(error::invalid(&format!(
            "{field} is longer than {longest} bytes"
        )))
    };
    let (display_name, description) = (text("displayName", 100)?, text("description", 256)?);
    let email = address(id, project);
    let delay = request.switches().account_delay;
    let unbindable = request.switches().binding_delay;
    let mut state = request.state();
    let unique_id = format!("1{:020}", state.next());
    let Some(held) = state.project_state(project) else {
        return Err(error::denied("iam.serviceAccounts.create", project));
    };
    if held
        .project
        .constraints
        .contains("iam.disableServiceAccountCreation")
    {
        let message = "Service account creation is not allowed on this project.";
        let details = violated("iam.disableServiceAccountCreation", project);
        return Err(error::precondition(message, details));
    }
    if held.accounts.contains_key(&email) {
        let message =
            format!("Service account {id} already exists within project projects/{project}.");
        let name = format!("projects/{project}/serviceAccounts/{email}");
        let info = json!({
            "@type": "type.googleapis.com/google.rpc.ResourceInfo",
            "resourceName": name,
        });
        return Err(error::rpc(409, "ALREADY_EXISTS", &message, json!([info])));
    }
    let limit = request.switches().account_limit;
    if limit.is_some_and(|limit| held.accounts.len() >= limit) {
        let message = "Maximum number of service accounts on project reached.";
        return Err(error::rpc(429, "RESOURCE_EXHAUSTED", message, json!([])));
    }
    let account = ServiceAccount {
        unique_id,
        display_name,
        description,
        disabled: false,
        keys: BTreeMap::new(),
        unseen: (delay, delay),
        unbindable,
    };
    let described = account.to_json(project, &email);
    held.accounts.insert(email.clone(), account);
    drop(state);
    request.call.shared.accounts.revive(&email);
    Ok(described)
}

/// 6 to 30 letters, digits and hyphens, starting with a letter and not ending with a hyphen.
fn is_account_id(id: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (6..=30).contains(&id.len())
        && id.bytes().all(inside)
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
}

fn list(request: &ApiRequest<'_>, project: &str) -> Value {
    let mut state = request.state();
    let Some(held) = state.project_state(project) else {
        return json!({});
    };
    let accounts: Vec<Value> = held
        .accounts
        .iter()
        .map(|(email, account)| account.to_json(project, email))
        .collect();
    super::paged(request, "accounts", accounts)
}

fn delete(request: &ApiRequest<'_>, project: &str, email: &str) -> Value {
    let mut state = request.state();
    let gone = state
        .project_state(project)
        .and_then(|held| held.accounts.remove(email));
    drop(state);
    let uid = gone.map(|account| account.unique_id).unwrap_or_default();
    let shared = &request.call.shared;
    shared.accounts.disable(email);
    shared.accounts.delete_keys(email);
    let (from, to) = (
        format!("serviceAccount:{email}"),
        format!("deleted:serviceAccount:{email}?uid={uid}"),
    );
    shared.grants.rename(&from, &to);
    let resource = format!("projects/{project}/serviceAccounts/{email}");
    shared.grants.forget(&resource);
    json!({})
}

fn create_key(request: &ApiRequest<'_>, project: &str, email: &str) -> Result<Value, Refusal> {
    let kind = request.body["privateKeyType"].as_str();
    if kind != Some("TYPE_GOOGLE_CREDENTIALS_FILE") {
        return Err(error::invalid("Only JSON keys are served."));
    }
    for (constraint, message) in [
        (
            "iam.disableServiceAccountKeyCreation",
            "Key creation is not allowed on this service account.",
        ),
        (
            "iam.managed.disableServiceAccountKeyCreation",
            "Operation denied by org policy: [\"constraints/iam.managed.disableServiceAccountKeyCreation\": \
             \"This constraint, when enforced, blocks service account key creation.\"].",
        ),
    ] {
        let forbidden = {
            let mut state = request.state();
            let held = state.project_state(project);
            held.is_some_and(|held| held.project.constraints.contains(constraint))
        };
        if forbidden {
            let details = violated(constraint, email);
            return Err(error::precondition(message, details));
        }
    }
    if with_account(request, email, |account| account.keys.len()) >= 10 {
        // Without details: googleapis/google-api-dotnet-client#2027.
        return Err(error::precondition("Precondition check failed.", json!([])));
    }
    let accounts = &request.call.shared.accounts;
    let file = accounts.key_file(email, project);
    accounts.delay_key(email, request.switches().key_delay);
    let read: Value = serde_json::from_str(&file).expect("key files are JSON");
    let id = read["private_key_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let data = BASE64_STANDARD.encode(&file);
    accounts.keep_secret(&data);
    let since = now();
    with_account(request, email, |account| account.add_key(&id, &since));
    let mut key = key_json(project, email, &id, &since);
    key["privateKeyType"] = "TYPE_GOOGLE_CREDENTIALS_FILE".into();
    key["privateKeyData"] = data.into();
    Ok(key)
}

fn delete_key(request: &ApiRequest<'_>, email: &str) -> Result<Value, Refusal> {
    let id = request.variable("keysId");
    let gone = with_account(request, email, |account| account.keys.remove(id));
    if gone.is_none() {
        return Err(error::not_found(&format!(
            "Service account key {id} does not exist."
        )));
    }
    request.call.shared.accounts.delete_key(email, id);
    Ok(json!({}))
}

fn keys(account: &ServiceAccount, request: &ApiRequest<'_>, project: &str, email: &str) -> Value {
    let wanted: Vec<&str> = request.call.query.all("keyTypes").collect();
    let fits = |kind: &str| wanted.is_empty() || wanted.contains(&kind);
    let mut keys = Vec::new();
    if fits("SYSTEM_MANAGED") {
        let id = "f".repeat(40);
        let mut own = key_json(project, email, &id, "2024-01-01T00:00:00Z");
        own["keyType"] = "SYSTEM_MANAGED".into();
        keys.push(own);
    }
    if fits("USER_MANAGED") {
        let made = account.keys.iter();
        keys.extend(made.map(|(id, since)| key_json(project, email, id, since)));
    }
    if keys.is_empty() {
        json!({})
    } else {
        json!({"keys": keys})
    }
}

fn key_json(project: &str, email: &str, id: &str, since: &str) -> Value {
    json!({
        "name": format!("projects/{project}/serviceAccounts/{email}/keys/{id}"),
        "validAfterTime": since,
        "validBeforeTime": "9999-12-31T23:59:59Z",
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    })
}

/// The current time as Google writes it, to the second.
pub(super) fn now() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0);
    let now = now.expect("no nanoseconds is a number of them");
    now.format(&time::format_description::well_known::Rfc3339)
        .expect("times can be written")
}
