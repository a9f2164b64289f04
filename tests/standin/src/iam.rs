//! Permissions: IAM policies on projects and their resources, and Google's predefined roles.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use crate::cloud::policy::{Policy, is_member};

/// A permission that a caller of the registry needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Download,
    Upload,
    Delete,
    CreateOnPush,
}

impl Permission {
    /// The name in error texts. Artifact Registry's audit-logging table says which method needs
    /// which one.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Permission::Download => "artifactregistry.repositories.downloadArtifacts",
            Permission::Upload => "artifactregistry.repositories.uploadArtifacts",
            Permission::Delete => "artifactregistry.repositories.deleteArtifacts",
            Permission::CreateOnPush => "artifactregistry.repositories.createOnPush",
        }
    }
}

/// The permissions of a role (cloud.google.com/iam/docs/roles-permissions), as far as the stand-in
/// checks them; `.*` means everything below a name. A role without any of these exists all the
/// same.
fn permissions(role: &str) -> Option<&'static [&'static str]> {
    Some(match role {
        "roles/owner" => &[
            "artifactregistry.*",
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.disable",
            "iam.serviceAccounts.enable",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.setIamPolicy",
            "iam.serviceAccountKeys.*",
            "iam.workloadIdentityPools.*",
            "iam.workloadIdentityPoolProviders.*",
            "resourcemanager.projects.*",
            "serviceusage.*",
            "storage.buckets.create",
            "storage.buckets.delete",
            "storage.buckets.list",
        ],
        "roles/editor" => &[
            "artifactregistry.repositories.create",
            "artifactregistry.repositories.delete",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.getIamPolicy",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.packages.*",
            "artifactregistry.versions.*",
            "artifactregistry.dockerimages.list",
            "artifactregistry.projectsettings.get",
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.disable",
            "iam.serviceAccounts.enable",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccountKeys.*",
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "serviceusage.*",
        ],
        "roles/viewer" => &[
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.repositories.getIamPolicy",
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.packages.list",
            "artifactregistry.versions.list",
            "artifactregistry.dockerimages.list",
            "artifactregistry.projectsettings.get",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccountKeys.list",
            "iam.workloadIdentityPools.get",
            "iam.workloadIdentityPools.list",
            "iam.workloadIdentityPoolProviders.get",
            "iam.workloadIdentityPoolProviders.list",
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "serviceusage.services.get",
            "serviceusage.services.list",
        ],
        "roles/artifactregistry.reader" => &[
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.packages.list",
            "artifactregistry.versions.list",
            "artifactregistry.dockerimages.list",
        ],
        "roles/artifactregistry.writer" => &[
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.packages.list",
            "artifactregistry.versions.list",
            "artifactregistry.dockerimages.list",
        ],
        "roles/artifactregistry.repoAdmin" => &[
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.repositories.deleteArtifacts",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.packages.*",
            "artifactregistry.versions.*",
            "artifactregistry.dockerimages.list",
        ],
        "roles/artifactregistry.createOnPushWriter" => &[
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.repositories.createOnPush",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.packages.list",
            "artifactregistry.versions.list",
            "artifactregistry.dockerimages.list",
        ],
        "roles/artifactregistry.createOnPushRepoAdmin" => &[
            "artifactregistry.repositories.downloadArtifacts",
            "artifactregistry.repositories.uploadArtifacts",
            "artifactregistry.repositories.deleteArtifacts",
            "artifactregistry.repositories.createOnPush",
            "artifactregistry.repositories.get",
            "artifactregistry.repositories.list",
            "artifactregistry.packages.list",
            "artifactregistry.versions.list",
            "artifactregistry.dockerimages.list",
        ],
        "roles/artifactregistry.admin" => &["artifactregistry.*"],
        "roles/serviceusage.serviceUsageAdmin" => &["serviceusage.*"],
        "roles/resourcemanager.projectIamAdmin" => &[
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ],
        "roles/iam.serviceAccountAdmin" => &[
            "iam.serviceAccounts.create",
            "iam.serviceAccounts.delete",
            "iam.serviceAccounts.disable",
            "iam.serviceAccounts.enable",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            "iam.serviceAccounts.setIamPolicy",
            "resourcemanager.projects.get",
        ],
        "roles/iam.serviceAccountKeyAdmin" => &["iam.serviceAccountKeys.*"],
        "roles/iam.workloadIdentityPoolAdmin" => &[
            "iam.workloadIdentityPools.*",
            "iam.workloadIdentityPoolProviders.*",
        ],
        "roles/iam.serviceAccountTokenCreator" | "roles/iam.workloadIdentityUser" => {
            &["iam.serviceAccounts.getAccessToken"]
        }
        "roles/storage.admin" => &["storage.buckets.*", "storage.objects.*"],
        "roles/storage.legacyBucketOwner" => &[
            "storage.buckets.get",
            "storage.buckets.getIamPolicy",
            "storage.buckets.setIamPolicy",
            "storage.buckets.update",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.list",
        ],
        "roles/storage.legacyBucketWriter" => &[
            "storage.buckets.get",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.list",
        ],
        "roles/storage.legacyBucketReader" => &["storage.buckets.get", "storage.objects.list"],
        "roles/storage.objectViewer" => &["storage.objects.get", "storage.objects.list"],
        "roles/storage.objectAdmin" => &["storage.objects.*"],
        "roles/logging.viewer" | "roles/browser" => &[],
        _ => return None,
    })
}

/// True if the role exists.
pub(crate) fn is_role(role: &str) -> bool {
    permissions(role).is_some()
}

/// Everybody, with or without an account.
pub(crate) const ALL_USERS: &str = "allUsers";

/// All policies by resource.
#[derive(Default)]
pub(crate) struct Grants {
    policies: Mutex<BTreeMap<String, Policy>>,
    /// The principal sets of a federated identity.
    sets: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Grants {
    pub(crate) fn add(&self, member: &str, role: &str, resource: &str) {
        assert!(is_role(role), "the stand-in knows no role {role}");
        assert!(is_resource(resource), "{resource} has no policy");
        self.change(resource, |policy| policy.add(&policy_form(member), role));
    }

    pub(crate) fn remove(&self, member: &str, role: &str, resource: &str) {
        self.change(resource, |policy| policy.remove(&policy_form(member), role));
    }

    /// Reads or changes a policy; every resource has one, if only an empty one.
    pub(crate) fn change<T>(&self, resource: &str, change: impl FnOnce(&mut Policy) -> T) -> T {
        let mut policies = self.policies.lock().unwrap();
        change(policies.entry(resource.to_owned()).or_default())
    }

    /// Adds a federated identity to these sets.
    pub(crate) fn add_principal_sets(&self, principal: &str, sets: Vec<String>) {
        self.sets.lock().unwrap().insert(principal.to_owned(), sets);
    }

    /// Removes a resource's policy.
    pub(crate) fn forget(&self, resource: &str) {
        self.policies.lock().unwrap().remove(resource);
    }

    /// Renames a member in every policy.
    pub(crate) fn rename(&self, member: &str, to: &str) {
        for policy in self.policies.lock().unwrap().values_mut() {
            policy.rename(member, to);
        }
    }

    /// Every policy with a binding, by its resource, in an order that does not depend on the order
    /// of grants.
    pub(crate) fn all(&self) -> BTreeMap<String, Value> {
        let policies = self.policies.lock().unwrap();
        let bound = policies.iter().filter(|(_, p)| !p.bindings.is_empty());
        bound
            .map(|(name, policy)| {
                let mut bindings = policy.bindings.clone();
                for binding in &mut bindings {
                    if let Some(members) = binding["members"].as_array_mut() {
                        members.sort_by_key(Value::to_string);
                    }
                }
                bindings.sort_by_key(Value::to_string);
                (name.clone(), Value::from(bindings))
            })
            .collect()
    }

    /// True if a member (an e-mail address, or `None` without an account) has a permission on a
    /// resource of a registry.
    pub(crate) fn allow(&self, member: Option<&str>, wanted: Permission, resource: &str) -> bool {
        self.allow_named(member, wanted.name(), resource)
    }

    /// The same for any permission. A grant on a project holds for everything in it.
    pub(crate) fn allow_named(&self, member: Option<&str>, wanted: &str, resource: &str) -> bool {
        let sets = self.sets.lock().unwrap();
        let sets = member.and_then(|member| sets.get(member));
        let in_set = |held: &str| sets.is_some_and(|sets| sets.iter().any(|set| set == held));
        let mut policies = self.policies.lock().unwrap();
        policies.iter_mut().any(|(on, policy)| {
            covers(on, resource) && {
                let bindings = effective_bindings(policy);
                bindings.iter().any(|binding| {
                    // Conditions are not evaluated: a conditional binding never applies.
                    binding["condition"].is_null()
                        && allows(binding["role"].as_str().unwrap_or_default(), wanted)
                        && members(binding).any(|held| is_member(held, member) || in_set(held))
                })
            }
        })
    }

    /// True if somebody has a role on exactly this resource.
    pub(crate) fn has_role(&self, member: &str, role: &str, resource: &str) -> bool {
        let policies = self.policies.lock().unwrap();
        let Some(policy) = policies.get(resource) else {
            return false;
        };
        let mut bindings = policy.bindings.iter();
        bindings.any(|binding| {
            binding["role"] == role && members(binding).any(|held| is_member(held, Some(member)))
        })
    }
}

/// The bindings that apply now: a change propagates only after a while.
fn effective_bindings(policy: &mut Policy) -> Vec<Value> {
    if let Some((before, left)) = &mut policy.settling {
        if *left > 0 {
            *left -= 1;
            return before.clone();
        }
        policy.settling = None;
    }
    policy.bindings.clone()
}

fn members(binding: &Value) -> impl Iterator<Item = &str> {
    let members = binding["members"].as_array().into_iter().flatten();
    members.filter_map(Value::as_str)
}

fn allows(role: &str, wanted: &str) -> bool {
    let held = permissions(role).unwrap_or_default();
    held.iter().any(|held| match held.strip_suffix('*') {
        Some(start) => wanted.starts_with(start),
        None => *held == wanted,
    })
}

/// A member in the form of a policy: an address with its kind.
fn policy_form(member: &str) -> String {
    if member == ALL_USERS || member.contains(':') {
        member.to_owned()
    } else if member.ends_with("gserviceaccount.com") {
        format!("serviceAccount:{member}")
    } else {
        format!("user:{member}")
    }
}

fn covers(granted: &str, resource: &str) -> bool {
    let below = resource.strip_prefix(granted);
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `projects/P`, `projects/P/locations/L/repositories/R`, `projects/P/serviceAccounts/EMAIL` or
/// `projects/P/buckets/B`.
pub(crate) fn is_resource(resource: &str) -> bool {
    let parts: Vec<&str> = resource.split('/').collect();
    let named = matches!(
        parts.as_slice(),
        ["projects", _]
            | ["projects", _, "serviceAccounts" | "buckets", _]
            | ["projects", _, "locations", _, "repositories", _]
    );
    named && parts.iter().all(|part| !part.is_empty())
}
