//! The repositories of Artifact Registry, who may use them, and where the project's `gcr.io` names
//! lead.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::check::puller_s_broad_roles;
use super::names::{self, is_ours};
use super::plan::{PlanStep, ResourceState, SetupPlan, StepAction};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::diagnostics::sanitize::sanitize;
use crate::google::{Api, GoogleError, Grant, Operation, PolicyChange};
use crate::oci::reference::HostKind;

/// A repository as the API tells it, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExistingRepository {
    #[serde(default)]
    format: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    description: String,
}

impl ExistingRepository {
    /// Refuses one that takes no pushed images.
    fn check(&self, name: &str) -> Result<(), SetupError> {
        let is_pushed_to = !matches!(
            self.mode.as_str(),
            "VIRTUAL_REPOSITORY" | "REMOTE_REPOSITORY"
        );
        if self.format == "DOCKER" && is_pushed_to {
            return Ok(());
        }
        let kind = sanitize(format!("{} {}", self.format, self.mode).trim());
        Err(SetupError::WrongRepository(name.to_owned(), kind))
    }
}

/// Where the project's `gcr.io` names lead.
/// <https://cloud.google.com/artifact-registry/docs/transition/changes-gcr>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    legacy_redirection_state: String,
}

/// A state of redirection, without the words that all of them begin with.
pub(super) fn redirection(state: &str) -> &str {
    state.strip_prefix("REDIRECTION_FROM_GCR_IO_").unwrap_or("")
}

/// True where bucket roles no longer open the `gcr.io` names.
pub(super) fn is_redirected(state: &str) -> bool {
    !matches!(redirection(state), "" | "DISABLED")
}

impl Setup<'_> {
    /// The state of redirection; none where it cannot be seen.
    pub(super) async fn redirection(
        &self,
        services: &Services,
    ) -> Result<Option<String>, SetupError> {
        if !services.has(Api::ArtifactRegistry) {
            return Ok(None);
        }
        let path = format!("v1/projects/{}/projectSettings", self.request.project);
        match self
            .google
            .get::<Settings>(Api::ArtifactRegistry.url(&path))
            .await
        {
            Ok(settings) => Ok(Some(settings.legacy_redirection_state)),
            // Only who administers the registry may see it, and it changes nothing that is done.
            Err(error) if matches!(error.status(), Some(403 | 404)) => Ok(None),
            Err(cause) => Err(SetupError::google(
                "could not see where the project's `gcr.io` names lead",
                cause,
            )),
        }
    }

    /// The redirection as a step that explains it; there is nothing to do about it here.
    pub(super) fn explain_redirection(&self, state: Option<&str>) -> Option<PlanStep> {
        let of_gcr =
            |registry: &SetupRegistry| matches!(registry.host.kind(), HostKind::Gcr { .. });
        if !self.request.registries.iter().any(of_gcr) {
            return None;
        }
        let state = state?;
        let shown = redirection(state);
        let why = match shown {
            "ENABLED" | "FINALIZED" => "they lead to the repositories of the same names",
            "ENABLED_AND_COPYING" | "PARTIAL_AND_COPYING" | "PARTIAL" => {
                "they lead to the repositories of the same names, and older images are still copied"
            }
            _ => "as in every project today, they lead to the repositories of the same names",
        };
        let shown = if shown.is_empty() { "not set" } else { shown };
        let what = format!("redirection of gcr.io names: {}", sanitize(shown));
        Some(PlanStep::present(what, why))
    }

    /// The repositories and both accounts' roles on them.
    pub(super) async fn plan_repositories(
        &self,
        services: &Services,
    ) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        for registry in &self.request.registries {
            let name = names::repository(&self.request.project, registry);
            let what = format!("repository {name}");
            if !services.has(Api::ArtifactRegistry) {
                let why = format!(
                    "for `{}`; it cannot be seen before its API is on",
                    registry.host
                );
                let work = StepAction::CreateRepository(registry.clone());
                steps.push(PlanStep::new(ResourceState::Create, what, why, Some(work)));
                continue;
            }
            match self.repository(&name).await? {
                None => {
                    let work = StepAction::CreateRepository(registry.clone());
                    let why = format!("for `{}`", registry.host);
                    steps.push(PlanStep::new(ResourceState::Create, what, why, Some(work)));
                }
                Some(found) => {
                    found.check(&name)?;
                    let whose = if is_ours(&found.description) {
                        ", made by setup"
                    } else {
                        ""
                    };
                    steps.push(PlanStep::present(
                        what,
                        format!("for `{}`{whose}", registry.host),
                    ));
                }
            }
        }
        Ok(steps)
    }

    /// A repository; none where there is none.
    pub(super) async fn repository(
        &self,
        name: &str,
    ) -> Result<Option<ExistingRepository>, SetupError> {
        let url = Api::ArtifactRegistry.url(&format!("v1/{name}"));
        match self.google.get(url).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(cause) => Err(SetupError::google(
                format!("could not look at the repository `{name}`"),
                cause,
            )),
        }
    }

    /// The role of each account on each repository.
    pub(super) async fn plan_roles(
        &self,
        services: &Services,
        plan: &mut SetupPlan,
    ) -> Result<(), SetupError> {
        for registry in &self.request.registries {
            let resource = names::repository_resource(&self.request.project, registry);
            let policy = if services.has(Api::ArtifactRegistry) {
                match self.google.policy(&resource).await {
                    Ok(policy) => policy,
                    // It is to be made first.
                    Err(error) if error.is_not_found() => Default::default(),
                    Err(cause) => {
                        let doing = format!("could not read the policy of `{resource}`");
                        return Err(SetupError::google(doing, cause));
                    }
                }
            } else {
                Default::default()
            };
            let puller = self.email(Role::Puller);
            let warnings = puller_s_broad_roles(&policy, &resource, &puller);
            plan.warnings.extend(warnings);
            for role in [Role::Pusher, Role::Puller] {
                let grant = Grant {
                    role: names::repository_role(role).to_owned(),
                    member: names::member(&self.email(role)),
                };
                let what = format!("{} on {}", grant.role, registry.repository);
                let why = format!("for {}", self.email(role));
                plan.steps.push(if policy.has(&grant) {
                    PlanStep::present(what, why)
                } else {
                    let work = StepAction::Policy(resource.clone(), PolicyChange::Grant, grant);
                    PlanStep::new(ResourceState::Create, what, why, Some(work))
                });
            }
        }
        Ok(())
    }

    /// Makes a repository, and waits until it is there.
    pub(super) async fn create_repository(
        &self,
        registry: &SetupRegistry,
    ) -> Result<(), SetupError> {
        let name = names::repository(&self.request.project, registry);
        let (parent, id) = name.rsplit_once('/').unwrap_or_default();
        let mut url = Api::ArtifactRegistry.url(&format!("v1/{parent}"));
        url.query_pairs_mut().append_pair("repositoryId", id);
        let body = json!({
            "format": "DOCKER",
            "mode": "STANDARD_REPOSITORY",
            "description": names::description(&format!("Images of {}", registry.host)),
        });
        let begun: Operation = match self.google.post(url.clone(), &body).await {
            Ok(begun) => begun,
            Err(error) => return self.existing_repository(&name, error).await,
        };
        let asked = (Method::POST, url);
        let finished = self
            .google
            .wait_operation(Api::ArtifactRegistry, begun, asked);
        match finished.await {
            Ok(_) => Ok(()),
            Err(error) => self.existing_repository(&name, error).await,
        }
    }

    /// Looks at a repository that was made meanwhile, or by a run that was stopped: it may be of
    /// another kind. Any other refusal is one.
    async fn existing_repository(
        &self,
        name: &str,
        refusal: GoogleError,
    ) -> Result<(), SetupError> {
        let found = match refusal.is_already_there() {
            true => self.repository(name).await?,
            false => None,
        };
        match found {
            Some(found) => found.check(name),
            None => {
                let doing = format!("could not create the repository `{name}`");
                Err(SetupError::google(doing, refusal))
            }
        }
    }

    /// Takes away a repository that setup made and that holds nothing.
    pub(super) async fn delete_repository(&self, name: &str) -> Result<(), SetupError> {
        let doing = || format!("could not delete the repository `{name}`");
        // Between the plan and now somebody may have pushed.
        if self.holds_something(name).await? {
            return Err(SetupError::NotEmpty(name.to_owned()));
        }
        let url = Api::ArtifactRegistry.url(&format!("v1/{name}"));
        let begun: Operation = match self.google.delete(url.clone()).await {
            Ok(begun) => begun,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(cause) => return Err(SetupError::google(doing(), cause)),
        };
        let asked = (Method::DELETE, url);
        let finished = self
            .google
            .wait_operation(Api::ArtifactRegistry, begun, asked)
            .await;
        finished
            .map(drop)
            .map_err(|cause| SetupError::google(doing(), cause))
    }

    /// The repositories as removal sees them.
    pub(super) async fn plan_repository_removal(&self) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        for registry in &self.request.registries {
            let name = names::repository(&self.request.project, registry);
            let what = format!("repository {name}");
            let Some(found) = self.repository(&name).await? else {
                continue;
            };
            steps.push(if !is_ours(&found.description) {
                PlanStep::new(ResourceState::Keep, what, "setup did not make it", None)
            } else if self.holds_something(&name).await? {
                PlanStep::new(ResourceState::Keep, what, "it holds images", None)
            } else {
                let work = StepAction::DeleteRepository(name);
                PlanStep::new(ResourceState::Remove, what, "it is empty", Some(work))
            });
        }
        Ok(steps)
    }

    async fn holds_something(&self, name: &str) -> Result<bool, SetupError> {
        let mut url = Api::ArtifactRegistry.url(&format!("v1/{name}/packages"));
        url.query_pairs_mut().append_pair("pageSize", "1");
        let page: Value = self.google.get(url).await.map_err(|cause| {
            let doing = format!("could not see whether the repository `{name}` holds images");
            SetupError::google(doing, cause)
        })?;
        let packages = page["packages"].as_array();
        Ok(packages.is_some_and(|packages| !packages.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_states_leave_the_old_registry_in_place() {
        for state in [
            "",
            "REDIRECTION_STATE_UNSPECIFIED",
            "REDIRECTION_FROM_GCR_IO_DISABLED",
        ] {
            assert!(!is_redirected(state), "{state}");
        }
        for state in [
            "ENABLED",
            "FINALIZED",
            "ENABLED_AND_COPYING",
            "PARTIAL_AND_COPYING",
        ] {
            assert!(
                is_redirected(&format!("REDIRECTION_FROM_GCR_IO_{state}")),
                "{state}"
            );
        }
    }
}
