//! The buckets of the old Container Registry, in the tutorial's own order: a broad role for a first
//! push, which makes the bucket, and then the bucket's own narrow roles in its place. Both happen in
//! one run, so that the broad role is there for no longer than the push takes.
//!
//! Google has moved every project to Artifact Registry, where bucket roles open nothing; so this
//! looks at the redirection first, and serves to narrow the buckets that are left over.
//! <https://cloud.google.com/artifact-registry/docs/transition/changes-gcr>

use std::collections::BTreeSet;

use serde::Deserialize;

use super::check::puller_s_broad_roles;
use super::first_push::{self, FirstPush};
use super::names;
use super::plan::{PlanStep, ResourceState, SetupPlan, StepAction};
use super::repositories::{is_redirected, redirection};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::google::{Api, Google, GoogleError, Grant, Policy, PolicyChange, Resource};
use crate::oci::reference::HostKind;

/// The role that makes buckets, and much else: for the first push alone.
pub(super) const TEMPORARY_ROLE: &str = "roles/storage.admin";

/// Whether a step gives the temporary role or takes it; none where it is about something else.
pub(super) fn is_temporary(work: &StepAction) -> Option<PolicyChange> {
    match work {
        StepAction::Policy(Resource::Project(_), change, grant) if grant.role == TEMPORARY_ROLE => {
            Some(*change)
        }
        _ => None,
    }
}

/// What an account needs on the bucket.
/// <https://cloud.google.com/container-registry/docs/access-control>
pub(super) fn bucket_role(role: Role) -> &'static str {
    match role {
        Role::Pusher => "roles/storage.legacyBucketWriter",
        Role::Puller => "roles/storage.objectViewer",
    }
}

/// The bucket behind a `gcr.io` host. A project of a domain, `example.com:acme`, turns itself round.
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
    /// The names of the buckets: those of `gcr.io` hosts, for no other registry ever had one.
    pub(super) fn buckets(&self) -> impl Iterator<Item = String> {
        let registries = self.request.registries.iter();
        registries
            .filter(|registry| matches!(registry.host.kind(), HostKind::Gcr { .. }))
            .map(|registry| self.bucket(registry))
    }

    /// The name of the bucket behind a `gcr.io` host.
    pub(super) fn bucket(&self, registry: &SetupRegistry) -> String {
        bucket(&self.request.project, registry)
    }

    /// The buckets and the roles on them as steps.
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
                "Artifact Registry serves them: roles on buckets open nothing there",
            ));
            plan.notes.push(
                "the project's `gcr.io` names are served by Artifact Registry, so roles on buckets \
                 no longer open them: leave `setup_backend` out to set up what does. Left-over \
                 buckets are only narrowed"
                    .to_owned(),
            );
        }
        let project = Resource::Project(self.request.project.clone());
        let project_policy = match services.has(Api::ResourceManager) {
            true => self.google.policy(&project).await.map_err(|cause| {
                SetupError::google("could not read the project's policy", cause)
            })?,
            false => Policy::default(),
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
                    let why = "there is none, and nothing would use one";
                    plan.steps
                        .push(PlanStep::new(ResourceState::Keep, what, why, None));
                }
                Err(_) => {
                    let why = format!("a first push to `{}` makes it", registry.host);
                    let order = FirstPush {
                        registry: registry.clone(),
                        bucket: name,
                    };
                    let work = StepAction::FirstPush(order);
                    pushes.push(PlanStep::new(ResourceState::Create, what, why, Some(work)));
                    self.plan_bucket_roles(&resource, &Policy::default(), &mut roles);
                }
            }
        }
        let what = format!("{TEMPORARY_ROLE} on {project}");
        let policy = |change| StepAction::Policy(project.clone(), change, temporary.clone());
        if !pushes.is_empty() {
            let why = "for the pusher, until its first push has made the bucket";
            plan.steps.push(match has_temporary {
                true => PlanStep::present(what.clone(), why),
                false => PlanStep::new(
                    ResourceState::Create,
                    what.clone(),
                    why,
                    Some(policy(PolicyChange::Grant)),
                ),
            });
            plan.notes.push(format!(
                "the old registry makes its bucket at the first push: setup pushes a tiny image, \
                 `{}`, which stays",
                first_push::name(&self.request.project)
            ));
        }
        if has_temporary || !pushes.is_empty() {
            pushes.push(PlanStep::new(
                ResourceState::Remove,
                what,
                "the narrow roles stand in its place",
                Some(policy(PolicyChange::Revoke)),
            ));
        }
        plan.steps.extend(pushes);
        plan.steps.extend(roles.steps);
        plan.warnings.extend(roles.warnings);
        Ok(())
    }

    /// The permission to write a bucket's policy, where it is missing. Its owners have it from the
    /// bucket itself, so that the project cannot be asked.
    async fn missing_on_bucket(&self, name: &str) -> Result<Option<&'static str>, SetupError> {
        const NEEDED: &str = "storage.buckets.setIamPolicy";
        let held = held(self.google, name, &[NEEDED]).await.map_err(|cause| {
            let doing = format!("could not ask what may be done with the bucket `{name}`");
            SetupError::google(doing, cause)
        })?;
        let has = held.contains(NEEDED);
        Ok((!has).then_some(NEEDED))
    }

    /// The roles on one bucket; true where one is to be given.
    fn plan_bucket_roles(
        &self,
        resource: &Resource,
        policy: &Policy,
        plan: &mut SetupPlan,
    ) -> bool {
        let mut gives = false;
        let puller = self.email(Role::Puller);
        plan.warnings
            .extend(puller_s_broad_roles(policy, resource, &puller));
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
                gives = true;
                let work = StepAction::Policy(resource.clone(), PolicyChange::Grant, grant);
                PlanStep::new(ResourceState::Create, what, why, Some(work))
            });
        }
        gives
    }
}

/// Which of these permissions there are on a bucket: a question that takes none itself.
pub(super) async fn held(
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
    fn a_bucket_is_named_after_the_host_and_the_project() {
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
