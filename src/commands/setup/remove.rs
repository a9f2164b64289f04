//! Plans the removal of the resources that setup created, keys first. They are found by the mark in
//! their descriptions, independent of the current configuration.

use super::names;
use super::plan::{PlanStep, ResourceState, SetupPlan, StepAction};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::Role;
use crate::google::{Api, Grant, PolicyChange, Resource};

impl Setup<'_> {
    /// The plan of the removal.
    pub(super) async fn plan_removal(&self, services: &Services) -> Result<SetupPlan, SetupError> {
        let mut plan = SetupPlan::default();
        if !services.has(Api::Iam) {
            plan.notes
                .push("the IAM API is not enabled, so setup has no account".to_owned());
        } else {
            let accounts: Vec<String> = self
                .own_accounts()
                .await?
                .into_iter()
                .map(|account| account.email)
                .collect();
            self.plan_accounts_removal(services, &accounts, &mut plan)
                .await?;
            self.plan_federation_removal(&mut plan).await?;
            for email in accounts {
                let action = StepAction::DeleteAccount(email.clone());
                plan.steps.push(PlanStep::new(
                    ResourceState::Remove,
                    format!("account {email}"),
                    "created by setup",
                    Some(action),
                ));
            }
        }
        if services.has(Api::ArtifactRegistry) {
            plan.steps.extend(self.plan_repository_removal().await?);
        }
        plan.notes.push(
            "the APIs stay enabled, because other things in the project may need them; buckets \
             are never deleted"
                .to_owned(),
        );
        Ok(plan)
    }

    /// Adds the steps for the keys and roles of the accounts that setup created. They are removed
    /// before the accounts, because a policy would keep the names of deleted accounts.
    async fn plan_accounts_removal(
        &self,
        services: &Services,
        accounts: &[String],
        plan: &mut SetupPlan,
    ) -> Result<(), SetupError> {
        for email in accounts {
            for key in self.keys(email).await? {
                let what = format!("key {} of {email}", key.id());
                let why = format!("created on {}", key.day());
                let action = StepAction::DeleteKey(key.name.clone());
                plan.steps.push(PlanStep::new(
                    ResourceState::Remove,
                    what,
                    why,
                    Some(action),
                ));
            }
        }
        for resource in self.policies(services) {
            let policy = match self.google.policy(&resource).await {
                Ok(policy) => policy,
                Err(error) if error.is_not_found() => continue,
                // A caller that cannot read the policy has not set it.
                Err(error) if error.status() == Some(403) && !is_repository(&resource) => {
                    tracing::warn!("the policy of `{resource}` was not checked: {error}");
                    continue;
                }
                Err(cause) => {
                    let doing = format!("could not read the policy of `{resource}`");
                    return Err(SetupError::google(doing, cause));
                }
            };
            for email in accounts {
                let member = names::member(email);
                // Other roles of the account lose their effect with the account.
                for grant in policy.grants().filter(|grant| grant.member == member) {
                    if !is_setup_grant(&grant, &resource) {
                        continue;
                    }
                    let what = format!("{} on {}", grant.role, short(&resource));
                    let action = StepAction::Policy(resource.clone(), PolicyChange::Revoke, grant);
                    let why = format!("of {email}");
                    plan.steps.push(PlanStep::new(
                        ResourceState::Remove,
                        what,
                        why,
                        Some(action),
                    ));
                }
            }
            for role in [Role::Pusher, Role::Puller] {
                let email = self.email(role);
                let member = names::member(&email);
                let held = policy
                    .grants()
                    .find(|grant| grant.member == member && is_setup_grant(grant, &resource));
                if let Some(grant) = held.filter(|_| !accounts.contains(&email)) {
                    let what = format!("{} on {}", grant.role, short(&resource));
                    let why =
                        format!("setup did not create {email}, and may not have granted this");
                    plan.steps
                        .push(PlanStep::new(ResourceState::Keep, what, why, None));
                }
            }
        }
        Ok(())
    }

    /// The resources whose policies setup changes with any backend, besides the accounts.
    fn policies(&self, services: &Services) -> Vec<Resource> {
        let project = &self.request.project;
        let mut policies = Vec::new();
        if services.has(Api::ArtifactRegistry) {
            let registries = self.request.registries.iter();
            policies.extend(registries.map(|one| names::repository_resource(project, one)));
        }
        if services.has(Api::Storage) {
            policies.extend(self.buckets().map(Resource::Bucket));
        }
        if services.has(Api::ResourceManager) {
            policies.push(Resource::Project(project.clone()));
        }
        policies
    }

    /// Adds the steps for providers, then their pools. A pool with a provider that setup did not
    /// create is kept. The pusher's bindings to the pools are removed too, for a pusher that setup
    /// did not create.
    async fn plan_federation_removal(&self, plan: &mut SetupPlan) -> Result<(), SetupError> {
        let pools = self.own_pools().await?;
        let project = &self.request.project;
        let pusher = self.email(Role::Pusher);
        let account = Resource::Account(project.clone(), pusher.clone());
        if !pools.is_empty() {
            let policy = match self.google.policy(&account).await {
                Ok(policy) => policy,
                Err(error) if error.is_not_found() => Default::default(),
                Err(cause) => {
                    let doing = format!("could not read the policy of `{pusher}`");
                    return Err(SetupError::google(doing, cause));
                }
            };
            for grant in policy.grants() {
                let of_pool = |name: &str| grant.member.contains(&format!("/{name}/"));
                if pools.iter().any(|(pool, _)| of_pool(&pool.name)) {
                    let what = format!("{} on {pusher}", grant.role);
                    let why = format!("of {}", grant.member);
                    let action = StepAction::Policy(account.clone(), PolicyChange::Revoke, grant);
                    plan.steps.push(PlanStep::new(
                        ResourceState::Remove,
                        what,
                        why,
                        Some(action),
                    ));
                }
            }
        }
        for (pool, providers) in pools {
            let mut others = false;
            for provider in providers.iter().filter(|provider| !provider.is_deleted()) {
                let what = format!("provider {}", last_two(&provider.name));
                if provider.is_ours() {
                    let action = StepAction::DeleteProvider(provider.name.clone());
                    plan.steps.push(PlanStep::new(
                        ResourceState::Remove,
                        what,
                        "created by setup",
                        Some(action),
                    ));
                } else {
                    others = true;
                    plan.steps.push(PlanStep::new(
                        ResourceState::Keep,
                        what,
                        "setup did not create it",
                        None,
                    ));
                }
            }
            let what = format!("workload identity pool {}", last(&pool.name));
            plan.steps.push(if others {
                PlanStep::new(
                    ResourceState::Keep,
                    what,
                    "it has a provider that is not setup's",
                    None,
                )
            } else {
                let action = StepAction::DeletePool(pool.name.clone());
                PlanStep::new(
                    ResourceState::Remove,
                    what,
                    "created by setup",
                    Some(action),
                )
            });
        }
        Ok(())
    }
}

fn is_repository(resource: &Resource) -> bool {
    matches!(resource, Resource::Repository(_))
}

/// True if setup grants this role on the resource.
fn is_setup_grant(grant: &Grant, resource: &Resource) -> bool {
    let role = grant.role.as_str();
    match resource {
        Resource::Repository(_) => [Role::Pusher, Role::Puller]
            .map(names::repository_role)
            .contains(&role),
        Resource::Bucket(_) => [Role::Pusher, Role::Puller]
            .map(super::storage::bucket_role)
            .contains(&role),
        Resource::Project(_) => role == super::storage::TEMPORARY_ROLE,
        Resource::Account(..) => false,
    }
}

fn short(resource: &Resource) -> String {
    let name = resource.to_string();
    match resource {
        Resource::Repository(_) => last(&name).to_owned(),
        _ => name,
    }
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// `POOL/PROVIDER` from the resource name of a provider.
fn last_two(name: &str) -> String {
    let mut parts = name.rsplit('/');
    let provider = parts.next().unwrap_or_default();
    let pool = parts.nth(1).unwrap_or_default();
    format!("{pool}/{provider}")
}
