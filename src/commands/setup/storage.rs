//! The buckets of Container Registry, in the order of Google's tutorial: the pusher gets a broad
//! role for the first push, which creates the bucket, and then narrow roles on the bucket instead.
//! Both happen in one run, so that the broad role is only granted during the push.
//!
//! Google has moved every project to Artifact Registry, where bucket roles have no effect. So the
//! redirection is read first, and for redirected projects only the roles on left-over buckets are
//! set.
//! <https://cloud.google.com/artifact-registry/docs/transition/changes-gcr>

use std::collections::BTreeSet;

use serde::Deserialize;

use super::check::puller_write_roles;
use super::first_push::{self, FirstPush};
use super::names;
use super::plan::{PlanStep, ResourceState, SetupPlan, StepAction};
use super::repositories::{is_redirected, redirection};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::google::preflight::Permissions;
use crate::google::{Api, Google, GoogleError, Grant, Policy, PolicyChange, Resource};
use crate::oci::reference::HostKind;

/// The role that can create buckets, among much else. It is only granted for the first push.
pub(super) const TEMPORARY_ROLE: &str = "roles/storage.admin";

/// The change of the temporary role that an action makes. `None` for other actions.
pub(super) fn is_temporary(action: &StepAction) -> Option<PolicyChange> {
    match action {
        StepAction::Policy(Resource::Project(_), change, grant) if grant.role == TEMPORARY_ROLE => {
            Some(*change)
        }
        _ => None,
    }
}

/// The role that an account needs on a bucket.
/// <https://cloud.google.com/container-registry/docs/access-control>
pub(super) fn bucket_role(role: Role) -> &'static str {
    match role {
        Role::Pusher => "roles/storage.legacyBucketWriter",
        Role::Puller => "roles/storage.objectViewer",
    }
}

/// The bucket of a `gcr.io` host. For a project of a domain, such as `example.com:acme`, the parts
/// are reversed.
fn bucket(project: &str, registry: &SetupRegistry) -> String {
    let region = registry
        .host
        .host()
        .strip_suffix("gcr.io")
        .unwrap_or_default();
    match project.split_once(':') {
        Some((domain, project)) => format!("{region}artifacts.{project}.{domain}.a.appspot.com"),
        None => format!("{region}artifacts.{project}.appspot.com"),
    }
}

impl Setup<'_> {
    /// The names of the buckets. Only `gcr.io` hosts have them.
    pub(super) fn buckets(&self) -> impl Iterator<Item = String> {
        let registries = self.request.registries.iter();
        registries
            .filter(|registry| matches!(registry.host.kind(), HostKind::Gcr { .. }))
            .map(|registry| self.bucket(registry))
    }

    /// The name of the bucket of a `gcr.io` host.
    pub(super) fn bucket(&self, registry: &SetupRegistry) -> String {
        bucket(&self.request.project, registry)
    }

    /// Adds the steps for the buckets and the roles on them.
    pub(super) async fn plan_buckets(
        &self,
        services: &Services,
        redirected: Option<&str>,
        plan: &mut SetupPlan,
    ) -> Result<(), SetupError> {
        let state = redirected.unwrap_or_default();
        let is_redirected = is_redirected(state);
        if is_redirected {
            let shown = redirection(state);
            plan.steps.push(PlanStep::present(
                format!("redirection of gcr.io names: {shown}"),
                "Artifact Registry serves them: roles on buckets have no effect",
            ));
            plan.notes.push(
                "Artifact Registry serves the project's `gcr.io` names, so roles on buckets have \
                 no effect on them: remove `setup_backend` to set up the roles that have. For \
                 left-over buckets, setup only narrows the roles"
                    .to_owned(),
            );
        }
        let project = Resource::Project(self.request.project.clone());
        let project_policy = if services.has(Api::ResourceManager) {
            self.google
                .policy(&project)
                .await
                .map_err(|cause| SetupError::google("could not read the project's policy", cause))?
        } else {
            Policy::default()
        };
        let temporary = Grant {
            role: TEMPORARY_ROLE.to_owned(),
            member: names::member(&self.email(Role::Pusher)),
        };
        let has_temporary = project_policy.has(&temporary);
        let mut pushes = Vec::new();
        let mut roles = SetupPlan::default();
        for registry in &self.request.registries {
            let name = bucket(&self.request.project, registry);
            let resource = Resource::Bucket(name.clone());
            let what = format!("bucket {name}");
            match self.google.policy(&resource).await {
                Ok(policy) => {
                    plan.steps
                        .push(PlanStep::present(what, format!("of `{}`", registry.host)));
                    if self.plan_bucket_roles(&resource, &policy, &mut roles) {
                        plan.missing.extend(self.missing_on_bucket(&name).await?);
                    }
                }
                Err(error) if !error.is_not_found() && !error.is_service_disabled() => {
                    let doing = format!("could not read the policy of `{resource}`");
                    return Err(SetupError::google(doing, error));
                }
                Err(_) if is_redirected => {
                    let why = "it does not exist, and nothing would use it";
                    plan.steps
                        .push(PlanStep::new(ResourceState::Keep, what, why, None));
                }
                Err(_) => {
                    let why = format!("a first push to `{}` creates it", registry.host);
                    let order = FirstPush {
                        registry: registry.clone(),
                        bucket: name,
                    };
                    let action = StepAction::FirstPush(order);
                    pushes.push(PlanStep::new(
                        ResourceState::Create,
                        what,
                        why,
                        Some(action),
                    ));
                    self.plan_bucket_roles(&resource, &Policy::default(), &mut roles);
                }
            }
        }
        let what = format!("{TEMPORARY_ROLE} on {project}");
        let policy = |change| StepAction::Policy(project.clone(), change, temporary.clone());
        if !pushes.is_empty() {
            let why = "for the pusher, until its first push has created the bucket";
            plan.steps.push(if has_temporary {
                PlanStep::present(what.clone(), why)
            } else {
                PlanStep::new(
                    ResourceState::Create,
                    what.clone(),
                    why,
                    Some(policy(PolicyChange::Grant)),
                )
            });
            plan.notes.push(format!(
                "the old registry creates its bucket at the first push: setup pushes a tiny \
                 image, `{}`, which stays",
                first_push::name(&self.request.project)
            ));
        }
        if has_temporary || !pushes.is_empty() {
            pushes.push(PlanStep::new(
                ResourceState::Remove,
                what,
                "the narrow roles replace it",
                Some(policy(PolicyChange::Revoke)),
            ));
        }
        plan.steps.extend(pushes);
        plan.steps.extend(roles.steps);
        plan.warnings.extend(roles.warnings);
        Ok(())
    }

    /// The permission to set a bucket's policy, if it is missing. It is tested on the bucket,
    /// because its owners do not have it on the project.
    async fn missing_on_bucket(&self, name: &str) -> Result<Option<&'static str>, SetupError> {
        const NEEDED: &str = "storage.buckets.setIamPolicy";
        let held = test_bucket_permissions(self.google, name, &[NEEDED])
            .await
            .map_err(|cause| {
                let doing = format!("could not check the permissions on the bucket `{name}`");
                SetupError::google(doing, cause)
            })?;
        let has = held.contains(NEEDED);
        Ok((!has).then_some(NEEDED))
    }

    /// Adds the steps for the roles on one bucket. Returns true if a role must be granted.
    fn plan_bucket_roles(
        &self,
        resource: &Resource,
        policy: &Policy,
        plan: &mut SetupPlan,
    ) -> bool {
        let mut grants_any = false;
        let puller = self.email(Role::Puller);
        plan.warnings
            .extend(puller_write_roles(policy, resource, &puller));
        for role in [Role::Pusher, Role::Puller] {
            let email = self.email(role);
            let grant = Grant {
                role: bucket_role(role).to_owned(),
                member: names::member(&email),
            };
            let what = format!("{} on {resource}", grant.role);
            let why = format!("for {email}");
            plan.steps.push(if policy.has(&grant) {
                PlanStep::present(what, why)
            } else {
                grants_any = true;
                let action = StepAction::Policy(resource.clone(), PolicyChange::Grant, grant);
                PlanStep::new(ResourceState::Create, what, why, Some(action))
            });
        }
        grants_any
    }
}

/// What the caller may do with the objects of a bucket. Pulling needs `storage.objects.get`, which
/// `roles/storage.legacyBucketReader` lacks.
/// <https://cloud.google.com/storage/docs/access-control/iam-roles>
pub(super) async fn bucket_permissions(
    google: &Google,
    bucket: &str,
) -> Result<Permissions, GoogleError> {
    const GET: &str = "storage.objects.get";
    const CREATE: &str = "storage.objects.create";
    let held = test_bucket_permissions(google, bucket, &[GET, CREATE]).await?;
    Ok(Permissions {
        read: held.contains(GET),
        write: held.contains(CREATE),
    })
}

/// Tests which of these permissions the caller has on a bucket. The test itself needs no permission.
async fn test_bucket_permissions(
    google: &Google,
    bucket: &str,
    wanted: &[&str],
) -> Result<BTreeSet<String>, GoogleError> {
    #[derive(Deserialize)]
    struct Held {
        #[serde(default)]
        permissions: BTreeSet<String>,
    }
    let mut url = Api::Storage.url(&format!("storage/v1/b/{bucket}/iam/testPermissions"));
    for permission in wanted {
        url.query_pairs_mut().append_pair("permissions", permission);
    }
    google.get(url).await.map(|held: Held| held.permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_named_after_host_and_project() {
        let of = |project: &str, host: &str| {
            let registry = SetupRegistry {
                host: host.parse().unwrap(),
                location: String::new(),
                repository: String::new(),
            };
            bucket(project, &registry)
        };
        assert_eq!(of("acme", "gcr.io"), "artifacts.acme.appspot.com");
        assert_eq!(of("acme", "eu.gcr.io"), "eu.artifacts.acme.appspot.com");
        assert_eq!(
            of("example.com:acme", "gcr.io"),
            "artifacts.acme.example.com.a.appspot.com"
        );
    }
}
