//! Workload identity federation: a pool for each CI and a provider for each repository, so that
//! jobs push without a key.
//! <https://cloud.google.com/iam/docs/workload-identity-federation>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::forge::Trust;
use super::names::is_ours;
use super::plan::{PlanStep, ResourceState, StepAction};
use super::provider_change::ProviderChange;
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::Role;
use crate::diagnostics::sanitize::sanitize;
use crate::google::{Api, Grant, PolicyChange, Resource};

/// A pool: the identities of one CI.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) id: String,
    pub(super) purpose: String,
}

/// A provider: the token issuer of the jobs of one repository, and the mapping and condition of their
/// claims.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    /// The id of its pool.
    pub(super) pool: String,
    pub(super) id: String,
    pub(super) purpose: String,
    pub(super) issuer: String,
    pub(super) mapping: Vec<(String, String)>,
    pub(super) condition: String,
}

/// A pool or a provider, as the API returns it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExistingProvider {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default)]
    pub(super) attribute_mapping: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) attribute_condition: String,
    #[serde(default)]
    pub(super) oidc: Oidc,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Oidc {
    #[serde(default)]
    pub(super) issuer_uri: String,
    #[serde(default)]
    pub(super) allowed_audiences: Vec<String>,
    /// The issuer's keys, if they were uploaded.
    #[serde(default)]
    pub(super) jwks_json: String,
}

impl ExistingProvider {
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.description)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.state == "DELETED"
    }
}

/// The role that lets an identity of a pool impersonate an account.
const WORKLOAD_USER: &str = "roles/iam.workloadIdentityUser";

impl Setup<'_> {
    /// The steps for pools, providers and the pusher's bindings.
    pub(super) async fn plan_federation(
        &self,
        services: &Services,
        trusts: &[Trust],
    ) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for trust in trusts {
            if !seen.contains(&trust.pool.id.as_str()) {
                seen.push(&trust.pool.id);
                steps.push(self.plan_pool(services, &trust.pool).await?);
            }
            steps.push(self.plan_provider(services, trust).await?);
        }
        let pusher = self.email(Role::Pusher);
        let resource = Resource::Account(self.request.project.clone(), pusher.clone());
        let policy = if services.has(Api::Iam) && !trusts.is_empty() {
            match self.google.policy(&resource).await {
                Ok(policy) => policy,
                // The plan creates the account first, or it was just created.
                Err(error) if error.is_not_found() || error.status() == Some(403) => {
                    Default::default()
                }
                Err(cause) => {
                    let doing = format!("could not read the policy of `{pusher}`");
                    return Err(SetupError::google(doing, cause));
                }
            }
        } else {
            Default::default()
        };
        for trust in trusts {
            let grant = Grant {
                role: WORKLOAD_USER.to_owned(),
                member: self.principals(services, trust),
            };
            let what = format!("{WORKLOAD_USER} on {pusher}");
            let why = format!("for the jobs of {}", trust.forge.path);
            steps.push(if policy.has(&grant) {
                PlanStep::present(what, why)
            } else {
                let action = StepAction::Policy(resource.clone(), PolicyChange::Grant, grant);
                PlanStep::new(ResourceState::Create, what, why, Some(action))
            });
        }
        Ok(steps)
    }

    async fn plan_pool(&self, services: &Services, pool: &Pool) -> Result<PlanStep, SetupError> {
        let what = format!("workload identity pool {}", pool.id);
        let create = StepAction::CreatePool(pool.clone());
        if !services.has(Api::Iam) {
            let why = "it cannot be checked before its API is enabled";
            return Ok(PlanStep::new(
                ResourceState::Create,
                what,
                why,
                Some(create),
            ));
        }
        Ok(match self.existing(&self.pool_path(&pool.id)).await? {
            None => PlanStep::new(
                ResourceState::Create,
                what,
                pool.purpose.clone(),
                Some(create),
            ),
            Some(found) if found.is_deleted() && !found.is_ours() => {
                let project = self.request.project.clone();
                return Err(SetupError::ForeignPool(pool.id.clone(), project));
            }
            Some(found) if found.is_deleted() => {
                let action = StepAction::RestorePool(pool.clone());
                PlanStep::new(
                    ResourceState::Change,
                    what,
                    "it is deleted, and can be restored",
                    Some(action),
                )
            }
            Some(found) if found.disabled => {
                let action = StepAction::EnablePool(pool.clone());
                PlanStep::new(ResourceState::Change, what, "it is disabled", Some(action))
            }
            Some(_) => PlanStep::present(what, pool.purpose.clone()),
        })
    }

    async fn plan_provider(
        &self,
        services: &Services,
        trust: &Trust,
    ) -> Result<PlanStep, SetupError> {
        let provider = &trust.provider;
        let what = format!("provider {}/{}", provider.pool, provider.id);
        let create = StepAction::CreateProvider(provider.clone());
        if !services.has(Api::Iam) {
            let why = "it cannot be checked before its API is enabled";
            return Ok(PlanStep::new(
                ResourceState::Create,
                what,
                why,
                Some(create),
            ));
        }
        Ok(match self.existing(&self.provider_path(provider)).await? {
            None => {
                let why = format!("only if {}", provider.condition);
                PlanStep::new(ResourceState::Create, what, why, Some(create))
            }
            Some(found) => {
                let change = ProviderChange::between(&found, provider);
                match (found.is_deleted(), change.is_empty()) {
                    (false, true) => {
                        let condition = &found.attribute_condition;
                        PlanStep::present(what, format!("only if {}", sanitize(condition)))
                    }
                    (false, false) => {
                        let why = change.why();
                        let action = StepAction::AlterProvider(provider.clone(), change);
                        PlanStep::new(ResourceState::Change, what, why, Some(action))
                    }
                    (true, is_right) => {
                        let mut why = "it is deleted, and can be restored".to_owned();
                        if !is_right {
                            why = format!("{why}; {}", change.why());
                        }
                        let action = StepAction::RestoreProvider(provider.clone(), change);
                        PlanStep::new(ResourceState::Change, what, why, Some(action))
                    }
                }
            }
        })
    }

    /// The member of a policy for the jobs of one repository.
    pub(super) fn principals(&self, services: &Services, trust: &Trust) -> String {
        format!(
            "principalSet://iam.googleapis.com/{}/{}",
            self.pool_name(services, &trust.pool.id),
            trust.attribute
        )
    }

    /// The resource name of a pool, with the project's number.
    pub(super) fn pool_name(&self, services: &Services, id: &str) -> String {
        format!(
            "projects/{}/locations/global/workloadIdentityPools/{id}",
            services.number
        )
    }

    pub(super) fn pools_path(&self) -> String {
        format!(
            "v1/projects/{}/locations/global/workloadIdentityPools",
            self.request.project
        )
    }

    pub(super) fn pool_path(&self, id: &str) -> String {
        format!("{}/{id}", self.pools_path())
    }

    pub(super) fn provider_path(&self, provider: &Provider) -> String {
        let pool = self.pool_path(&provider.pool);
        format!("{pool}/providers/{}", provider.id)
    }

    /// Reads a pool or a provider. `None` if it does not exist.
    pub(super) async fn existing(
        &self,
        path: &str,
    ) -> Result<Option<ExistingProvider>, SetupError> {
        match self.google.get(Api::Iam.url(path)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(cause) => {
                let doing = format!("could not check `{}`", path.trim_start_matches("v1/"));
                Err(SetupError::google(doing, cause))
            }
        }
    }

    /// The pools that setup created and that are not deleted, each with its providers.
    pub(super) async fn own_pools(
        &self,
    ) -> Result<Vec<(ExistingProvider, Vec<ExistingProvider>)>, SetupError> {
        let listed =
            |cause| SetupError::google("could not list the workload identity pools", cause);
        let url = Api::Iam.url(&self.pools_path());
        let pools: Vec<ExistingProvider> = self
            .google
            .pages(url, "workloadIdentityPools")
            .await
            .map_err(listed)?;
        let mut own = Vec::new();
        for pool in pools {
            if !pool.is_ours() || pool.is_deleted() {
                continue;
            }
            let url = Api::Iam.url(&format!("v1/{}/providers", pool.name));
            let providers: Vec<ExistingProvider> = self
                .google
                .pages(url, "workloadIdentityPoolProviders")
                .await
                .map_err(listed)?;
            own.push((pool, providers));
        }
        Ok(own)
    }
}

impl Provider {
    /// The body of a request, without the name and the description.
    pub(super) fn body(&self) -> Value {
        let mapping: BTreeMap<&str, &str> = self
            .mapping
            .iter()
            .map(|(attribute, claim)| (attribute.as_str(), claim.as_str()))
            .collect();
        json!({
            "attributeMapping": mapping,
            "attributeCondition": self.condition,
            "oidc": {"issuerUri": self.issuer},
        })
    }
}
