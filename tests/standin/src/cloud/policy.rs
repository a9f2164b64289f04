//! IAM policies: bindings with an etag, conditions that need version 3, and concurrent changes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::error;
use crate::answer::Refusal;
use crate::iam;

/// The policy of one resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// `{"role","members","condition"}`, in order.
    pub(crate) bindings: Vec<Value>,
    /// The `auditConfigs` of a project, which our tools must not change.
    pub(crate) audit: Value,
    serial: u64,
    /// The previous bindings and the number of checks that still use them.
    pub(crate) settling: Option<(Vec<Value>, u32)>,
}

impl Policy {
    /// The policy as an answer: conditional bindings only for callers that understand them.
    pub(crate) fn get(&self, version: i64) -> Value {
        let shown = |binding: &&Value| version == 3 || binding["condition"].is_null();
        let bindings: Vec<Value> = self.bindings.iter().filter(shown).cloned().collect();
        let conditional = bindings
            .iter()
            .any(|binding| !binding["condition"].is_null());
        let mut policy = json!({"etag": self.etag()});
        if !bindings.is_empty() {
            policy["version"] = json!(if conditional { 3 } else { 1 });
            policy["bindings"] = json!(bindings);
        }
        if !self.audit.is_null() {
            policy["auditConfigs"] = self.audit.clone();
        }
        policy
    }

    /// Replaces it with a client's policy. Refuses what Google refuses.
    pub(crate) fn set(&mut self, sent: &Value, stale: u16) -> Result<(), Refusal> {
        let etag = sent["etag"].as_str();
        if let Some(etag) = etag.filter(|etag| *etag != self.etag()) {
            return Err(concurrent(stale, etag, &self.etag()));
        }
        let version = sent["version"].as_i64().unwrap_or(0);
        if !matches!(version, 0 | 1 | 3) {
            return Err(error::invalid("Invalid policy version."));
        }
        let sent = sent["bindings"].as_array().cloned().unwrap_or_default();
        let has_conditions = |bindings: &[Value]| {
            let mut bindings = bindings.iter();
            bindings.any(|binding| !binding["condition"].is_null())
        };
        if version != 3
            && (has_conditions(&sent) || (etag.is_some() && has_conditions(&self.bindings)))
        {
            return Err(error::invalid(
                "The policy has conditional bindings: its version must be 3.",
            ));
        }
        for binding in &sent {
            let role = binding["role"].as_str().unwrap_or_default();
            if !iam::is_role(role) {
                let message = format!("Role {role} is not supported for this resource.");
                return Err(error::invalid(&message));
            }
            for member in binding["members"].as_array().into_iter().flatten() {
                check_member(member.as_str().unwrap_or_default())?;
            }
        }
        self.replace(merged(sent));
        Ok(())
    }

    /// Replaces the bindings.
    pub(crate) fn replace(&mut self, bindings: Vec<Value>) {
        self.bindings = bindings;
        self.serial += 1;
    }

    /// Adds a member, as a test or another caller does.
    pub(crate) fn add(&mut self, member: &str, role: &str) {
        let mut bindings = self.bindings.clone();
        bindings.push(json!({"role": role, "members": [member]}));
        self.replace(merged(bindings));
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, member: &str, role: &str) {
        let mut bindings = self.bindings.clone();
        for binding in &mut bindings {
            if binding["role"] == role
                && let Some(members) = binding["members"].as_array_mut()
            {
                members.retain(|held| held != member);
            }
        }
        self.replace(merged(bindings));
    }

    /// A deleted account stays in policies under a name that cannot be reused.
    pub(crate) fn rename(&mut self, member: &str, to: &str) {
        let mut bindings = self.bindings.clone();
        let mut found = false;
        for binding in &mut bindings {
            for held in binding["members"].as_array_mut().into_iter().flatten() {
                if held == member {
                    *held = to.into();
                    found = true;
                }
            }
        }
        if found {
            self.replace(bindings);
        }
    }

    fn etag(&self) -> String {
        if self.serial == 0 {
            return "ACAB".to_owned();
        }
        let mut bytes = vec![0x07, 0x05];
        bytes.extend_from_slice(&self.serial.to_be_bytes()[2..]);
        BASE64_STANDARD.encode(bytes)
    }
}

/// One binding for each role and condition, without empty ones.
fn merged(bindings: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for binding in bindings {
        let members = binding["members"].as_array().cloned().unwrap_or_default();
        if members.is_empty() {
            continue;
        }
        let same = |held: &&mut Value| {
            held["role"] == binding["role"] && held["condition"] == binding["condition"]
        };
        match merged.iter_mut().find(same) {
            Some(held) => {
                let held = held["members"].as_array_mut().expect("members are a list");
                for member in members {
                    if !held.contains(&member) {
                        held.push(member);
                    }
                }
            }
            None => merged.push(binding),
        }
    }
    merged
}

fn check_member(member: &str) -> Result<(), Refusal> {
    const KINDS: [&str; 12] = [
        "allUsers",
        "allAuthenticatedUsers",
        "user:",
        "serviceAccount:",
        "group:",
        "domain:",
        "principal:",
        "principalSet:",
        "deleted:",
        "projectOwner:",
        "projectEditor:",
        "projectViewer:",
    ];
    if KINDS.iter().any(|kind| member.starts_with(kind)) {
        return Ok(());
    }
    let message = format!("Invalid argument: '{member}' is no member.");
    Err(error::invalid(&message))
}

/// True if the member of a binding is this caller: an e-mail address, or a whole principal.
pub(crate) fn is_member(held: &str, caller: Option<&str>) -> bool {
    match (held, caller) {
        ("allUsers", _) | ("allAuthenticatedUsers", Some(_)) => true,
        (held, Some(caller)) => {
            held == caller
                || held.strip_prefix("user:") == Some(caller)
                || held.strip_prefix("serviceAccount:") == Some(caller)
        }
        (_, None) => false,
    }
}

fn concurrent(status: u16, sent: &str, current: &str) -> Refusal {
    let message = format!(
        "There were concurrent policy changes. Please retry the whole read-modify-write with \
         exponential backoff. The request's ETag '{sent}' did not match the current policy's ETag \
         '{current}'."
    );
    if status == 412 {
        return error::storage(412, "conditionNotMet", &message);
    }
    error::rpc(409, "ABORTED", &message, json!([]))
}
