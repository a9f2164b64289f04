//! IAM policies. A policy is read, changed and written as a whole, and its etag prevents concurrent
//! writers from losing each other's changes. <https://cloud.google.com/iam/docs/policies>

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Api, Backoff, Google, GoogleError};

/// The IAM policy of a resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bindings: Vec<Binding>,
    /// All other fields, including the etag, which are written back unchanged.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A role and its members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Binding {
    role: String,
    #[serde(default)]
    members: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Binding {
    fn condition(&self) -> Option<&Value> {
        self.rest.get("condition").filter(|value| !value.is_null())
    }
}

/// A resource with an IAM policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A project, by its ID.
    Project(String),
    /// A service account, by its project and its e-mail address.
    Account(String, String),
    /// A repository of Artifact Registry, by its full resource name.
    Repository(String),
    /// A bucket, by its name.
    Bucket(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => write!(formatter, "projects/{project}"),
            Self::Account(_, email) => formatter.write_str(email),
            Self::Repository(name) => formatter.write_str(name),
            Self::Bucket(name) => write!(formatter, "gs://{name}"),
        }
    }
}

/// A role of a member, without a condition. Only such grants are added or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role, `roles/artifactregistry.writer`.
    pub role: String,
    /// The member, `serviceAccount:…`.
    pub member: String,
}

/// Whether a grant is added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyChange {
    /// Add the grant.
    Grant,
    /// Remove the grant.
    Revoke,
}

impl Policy {
    /// True if the member has the role unconditionally.
    pub fn has(&self, grant: &Grant) -> bool {
        self.bindings.iter().any(|binding| {
            binding.role == grant.role
                && binding.condition().is_none()
                && binding.members.contains(&grant.member)
        })
    }

    /// All pairs of a role and a member, including conditional ones.
    pub fn grants(&self) -> impl Iterator<Item = Grant> {
        self.bindings.iter().flat_map(|binding| {
            binding.members.iter().map(|member| Grant {
                role: binding.role.clone(),
                member: member.clone(),
            })
        })
    }

    /// Adds or removes a grant, and leaves everything else unchanged. False if there was nothing to
    /// do.
    fn change(&mut self, change: PolicyChange, grant: &Grant) -> bool {
        if self.has(grant) == (change == PolicyChange::Grant) {
            return false;
        }
        let fits =
            |binding: &&mut Binding| binding.role == grant.role && binding.condition().is_none();
        match change {
            PolicyChange::Grant => match self.bindings.iter_mut().find(fits) {
                Some(binding) => binding.members.push(grant.member.clone()),
                None => self.bindings.push(Binding {
                    role: grant.role.clone(),
                    members: vec![grant.member.clone()],
                    rest: Map::new(),
                }),
            },
            PolicyChange::Revoke => {
                for binding in self.bindings.iter_mut().filter(fits) {
                    binding.members.retain(|member| *member != grant.member);
                }
                self.bindings.retain(|binding| !binding.members.is_empty());
            }
        }
        true
    }

    /// Returns the differences to `after`, one line each.
    pub fn diff(&self, after: &Self) -> Vec<String> {
        let (old, new) = (self.lines(), after.lines());
        let removed = old.iter().filter(|line| !new.contains(line));
        let added = new.iter().filter(|line| !old.contains(line));
        removed
            .map(|line| format!("- {line}"))
            .chain(added.map(|line| format!("+ {line}")))
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for binding in &self.bindings {
            let condition = match binding.condition() {
                Some(condition) => format!(" if {condition}"),
                None => String::new(),
            };
            for member in &binding.members {
                lines.push(format!("{} {member}{condition}", binding.role));
            }
        }
        lines
    }
}

/// How long a change is retried. In this time a new account becomes known to all servers, and
/// concurrent changes end.
const LIMIT: Duration = Duration::from_secs(5 * 60);

impl Google {
    /// Reads a policy, including conditional bindings. Each API has a different request for it.
    ///
    /// # Errors
    ///
    /// If the API refuses the request.
    pub async fn policy(&self, resource: &Resource) -> Result<Policy, GoogleError> {
        const OPTION: &str = "options.requestedPolicyVersion";
        match resource {
            Resource::Project(project) => {
                let url = Api::ResourceManager.url(&format!("v1/projects/{project}:getIamPolicy"));
                let body = json!({"options": {"requestedPolicyVersion": 3}});
                self.post(url, &body).await
            }
            Resource::Account(project, email) => {
                let path = format!("v1/projects/{project}/serviceAccounts/{email}:getIamPolicy");
                let mut url = Api::Iam.url(&path);
                url.query_pairs_mut().append_pair(OPTION, "3");
                self.post_nothing(url).await
            }
            Resource::Repository(name) => {
                let mut url = Api::ArtifactRegistry.url(&format!("v1/{name}:getIamPolicy"));
                url.query_pairs_mut().append_pair(OPTION, "3");
                self.get(url).await
            }
            Resource::Bucket(name) => {
                let mut url = Api::Storage.url(&format!("storage/v1/b/{name}/iam"));
                url.query_pairs_mut()
                    .append_pair("optionsRequestedPolicyVersion", "3");
                self.get(url).await
            }
        }
    }

    /// Returns which of these permissions the caller has, with a `:testIamPermissions` URL. The
    /// request itself requires no permission.
    ///
    /// # Errors
    ///
    /// If the API refuses the request.
    pub async fn test_iam_permissions(
        &self,
        url: Url,
        wanted: &[&str],
    ) -> Result<BTreeSet<String>, GoogleError> {
        #[derive(Deserialize)]
        struct Granted {
            // The field is missing if there are none.
            #[serde(default)]
            permissions: BTreeSet<String>,
        }
        let granted: Granted = self.post(url, &json!({"permissions": wanted})).await?;
        Ok(granted.permissions)
    }

    /// Adds or removes a grant, and returns the differences, one line each. Empty if there was
    /// nothing to do.
    ///
    /// Reading, changing and writing is repeated if another writer was faster, or if a new account
    /// is not known yet.
    ///
    /// # Errors
    ///
    /// If the API refuses the request for another reason, or for too long.
    pub async fn change_policy(
        &self,
        resource: &Resource,
        change: PolicyChange,
        grant: &Grant,
    ) -> Result<Vec<String>, GoogleError> {
        let mut backoff = Backoff::new(LIMIT);
        loop {
            let before = match self.policy(resource).await {
                Ok(before) => before,
                // A new account is not visible on all servers.
                Err(error) if self.is_young(resource, change, &error) && backoff.wait().await => {
                    tracing::info!("{}", waiting(&error, true, resource));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut after = before.clone();
            if !after.change(change, grant) {
                return Ok(Vec::new());
            }
            // Only version 3 preserves conditional bindings.
            after.rest.insert("version".to_owned(), 3.into());
            let error = match self.write_policy(resource, &after).await {
                Ok(()) => return Ok(before.diff(&after)),
                Err(error) => error,
            };
            let unknown = error.status() == Some(400) && error.message().contains("does not exist");
            // A POST without a response may have succeeded, which reading the policy will show.
            let again = error.is_conflict() || unknown || error.is_broken();
            if !again || !backoff.wait().await {
                return Err(error);
            }
            tracing::info!("{}", waiting(&error, unknown, resource));
        }
    }

    /// True for the policy of a new account that is not visible yet.
    fn is_young(&self, resource: &Resource, change: PolicyChange, error: &GoogleError) -> bool {
        let Resource::Account(_, email) = resource else {
            return false;
        };
        change == PolicyChange::Grant && error.may_be_young() && self.is_new_account(email)
    }

    async fn write_policy(&self, resource: &Resource, policy: &Policy) -> Result<(), GoogleError> {
        let wrapped = json!({"policy": policy});
        let url = match resource {
            Resource::Project(project) => {
                Api::ResourceManager.url(&format!("v1/projects/{project}:setIamPolicy"))
            }
            Resource::Account(project, email) => Api::Iam.url(&format!(
                "v1/projects/{project}/serviceAccounts/{email}:setIamPolicy"
            )),
            Resource::Repository(name) => {
                Api::ArtifactRegistry.url(&format!("v1/{name}:setIamPolicy"))
            }
            Resource::Bucket(name) => {
                let url = Api::Storage.url(&format!("storage/v1/b/{name}/iam"));
                return self.put::<Value>(url, policy).await.map(drop);
            }
        };
        self.post::<Value>(url, &wrapped).await.map(drop)
    }
}

fn waiting(error: &GoogleError, unknown: bool, resource: &Resource) -> String {
    if unknown {
        format!("Google does not know the new account at `{resource}` yet; trying again")
    } else if error.is_conflict() {
        format!("the policy of `{resource}` changed in the meantime; trying again")
    } else {
        format!("{error}; checking again")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant(role: &str, member: &str) -> Grant {
        Grant {
            role: role.to_owned(),
            member: member.to_owned(),
        }
    }

    fn policy() -> Policy {
        serde_json::from_value(json!({
            "version": 3,
            "etag": "BwA=",
            "auditConfigs": [{"service": "allServices"}],
            "bindings": [
                {"role": "roles/a", "members": ["user:x"], "condition": {"title": "t"}},
                {"role": "roles/a", "members": ["user:y"], "odd": 1},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn grant_extends_the_unconditional_binding_of_its_role() {
        let (before, mut after) = (policy(), policy());
        let new = grant("roles/a", "user:x");
        assert!(!after.has(&new), "the one with a condition is another");
        assert!(after.change(PolicyChange::Grant, &new));
        assert!(!after.change(PolicyChange::Grant, &new), "it is there now");
        assert_eq!(before.diff(&after), ["+ roles/a user:x"]);
        assert_eq!(after.bindings[1].members, ["user:y", "user:x"]);
        assert_eq!(after.bindings[1].rest["odd"], 1);
        assert_eq!(after.rest, before.rest);
        assert!(after.change(PolicyChange::Revoke, &new));
        assert_eq!(after, before);
    }

    #[test]
    fn unknown_policy_fields_are_kept() {
        let text = serde_json::to_value(policy()).unwrap();
        assert_eq!(text["auditConfigs"][0]["service"], "allServices");
        assert_eq!(text["etag"], "BwA=");
        assert_eq!(text["bindings"][0]["condition"]["title"], "t");
    }

    proptest! {
        #[test]
        fn grant_and_revoke_keep_other_members(
            held in proptest::collection::vec(("[abc]", "[xyz]", any::<bool>()), 0..8),
            role in "[abc]", member in "[xyz]", gives in any::<bool>(),
        ) {
            let mut policy = Policy::default();
            for (role, member, conditional) in held {
                let mut rest = Map::new();
                if conditional {
                    rest.insert("condition".to_owned(), json!({"title": "t"}));
                }
                policy.bindings.push(Binding { role, members: vec![member], rest });
            }
            let grant = grant(&role, &member);
            let change = if gives { PolicyChange::Grant } else { PolicyChange::Revoke };
            let mut after = policy.clone();
            after.change(change, &grant);
            prop_assert_eq!(after.has(&grant), gives);
            let own = format!("{role} {member}");
            let others = |policy: &Policy| {
                let mut lines = policy.lines();
                lines.retain(|line| *line != own);
                lines.sort();
                lines
            };
            prop_assert_eq!(others(&policy), others(&after));
        }
    }
}
