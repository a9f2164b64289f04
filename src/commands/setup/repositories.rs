//! The repositories of Artifact Registry, the roles on them, and the redirection of the project's
//! `gcr.io` names.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::check::puller_write_roles;
use super::names::{self, is_ours};
use super::plan::{PlanStep, ResourceState, SetupPlan, StepAction};
use super::services::Services;
use super::{Setup, SetupError};
use crate::commands::setup::request::{Role, SetupRegistry};
use crate::diagnostics::sanitize::sanitize;
use crate::google::{Api, GoogleError, Grant, Operation, PolicyChange};
use crate::oci::reference::HostKind;

/// A repository, with the fields that setup uses.
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
    /// Fails if images cannot be pushed to the repository.
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

/// The redirection settings of the project's `gcr.io` names.
/// <https://cloud.google.com/artifact-registry/docs/transition/changes-gcr>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    legacy_redirection_state: String,
}

/// A redirection state without the common prefix.
pub(super) fn redirection(state: &str) -> &str {
    state.strip_prefix("REDIRECTION_FROM_GCR_IO_").unwrap_or("")
}

/// True if Artifact Registry serves the `gcr.io` names, so that bucket roles have no effect on them.
pub(super) fn is_redirected(state: &str) -> bool {
    !matches!(redirection(state), "" | "DISABLED")
}

impl Setup<'_> {
    /// Reads the redirection state. `None` if it cannot be read.
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
            // Only registry administrators can read it, and the plan does not depend on it.
            Err(error) if matches!(error.status(), Some(403 | 404)) => Ok(None),
            Err(cause) => Err(SetupError::google(
                "could not check where the project's `gcr.io` names point to",
                cause,
            )),
        }
    }

    /// The step that explains the redirection. It has no action. `None` if there is nothing to
    /// explain.
    pub(super) fn explain_redirection(&self, state: Option<&str>) -> Option<PlanStep> {
        let of_gcr =
            |registry: &SetupRegistry| matches!(registry.host.kind(), HostKind::Gcr { .. });
        if !self.request.registries.iter().any(of_gcr) {
            return None;
        }
        let state = state?;
        let shown = redirection(state);
        let why = match shown {
            "ENABLED" | "FINALIZED" => "they point to the repositories of the same names",
            "ENABLED_AND_COPYING" | "PARTIAL_AND_COPYING" | "PARTIAL" => {
                "they point to the repositories of the same names, and older images are still \
                 copied"
            }
            _ => "as in every project today, they point to the repositories of the same names",
        };
        let shown = if shown.is_empty() { "not set" } else { shown };
        let what = format!("redirection of gcr.io names: {}", sanitize(shown));
        Some(PlanStep::present(what, why))
    }

    /// The steps for the repositories.
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
                    "for `{}`; it cannot be checked before its API is enabled",
                    registry.host
                );
                let action = StepAction::CreateRepository(registry.clone());
                steps.push(PlanStep::new(
                    ResourceState::Create,
                    what,
                    why,
                    Some(action),
                ));
                continue;
            }
            match self.repository(&name).await? {
                None => {
                    let action = StepAction::CreateRepository(registry.clone());
                    let why = format!("for `{}`", registry.host);
                    steps.push(PlanStep::new(
                        ResourceState::Create,
                        what,
                        why,
                        Some(action),
                    ));
                }
                Some(found) => {
                    found.check(&name)?;
                    let whose = if is_ours(&found.description) {
                        ", created by setup"
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

    /// Reads a repository. `None` if it does not exist.
    pub(super) async fn repository(
        &self,
        name: &str,
    ) -> Result<Option<ExistingRepository>, SetupError> {
        let url = Api::ArtifactRegistry.url(&format!("v1/{name}"));
        match self.google.get(url).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(cause) => Err(SetupError::google(
                format!("could not check the repository `{name}`"),
                cause,
            )),
        }
    }

    /// Adds the steps for the role of each account on each repository.
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
                    // The plan creates the repository first.
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
            let warnings = puller_write_roles(&policy, &resource, &puller);
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
                    let action = StepAction::Policy(resource.clone(), PolicyChange::Grant, grant);
                    PlanStep::new(ResourceState::Create, what, why, Some(action))
                });
            }
        }
        Ok(())
    }

    /// Creates a repository and waits for it.
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

    /// Checks the kind of a repository that was created in the meantime or by an interrupted run.
    /// Any other error is returned.
    async fn existing_repository(&self, name: &str, error: GoogleError) -> Result<(), SetupError> {
        let found = if error.is_already_there() {
            self.repository(name).await?
        } else {
            None
        };
        match found {
            Some(found) => found.check(name),
            None => {
                let doing = format!("could not create the repository `{name}`");
                Err(SetupError::google(doing, error))
            }
        }
    }

    /// Deletes a repository that setup created and that is empty.
    pub(super) async fn delete_repository(&self, name: &str) -> Result<(), SetupError> {
        let doing = || format!("could not delete the repository `{name}`");
        // An image may have been pushed since the plan was made.
        if self.has_images(name).await? {
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

    /// The steps of a removal for the repositories.
    pub(super) async fn plan_repository_removal(&self) -> Result<Vec<PlanStep>, SetupError> {
        let mut steps = Vec::new();
        for registry in &self.request.registries {
            let name = names::repository(&self.request.project, registry);
            let what = format!("repository {name}");
            let Some(found) = self.repository(&name).await? else {
                continue;
            };
            steps.push(if !is_ours(&found.description) {
                PlanStep::new(ResourceState::Keep, what, "setup did not create it", None)
            } else if self.has_images(&name).await? {
                PlanStep::new(ResourceState::Keep, what, "it contains images", None)
            } else {
                let action = StepAction::DeleteRepository(name);
                PlanStep::new(ResourceState::Remove, what, "it is empty", Some(action))
            });
        }
        Ok(steps)
    }

    /// True if the repository has images.
    async fn has_images(&self, name: &str) -> Result<bool, SetupError> {
        let mut url = Api::ArtifactRegistry.url(&format!("v1/{name}/packages"));
        url.query_pairs_mut().append_pair("pageSize", "1");
        let page: Value = self.google.get(url).await.map_err(|cause| {
            let doing = format!("could not check if the repository `{name}` contains images");
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
    fn only_two_states_keep_the_old_registry() {
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
