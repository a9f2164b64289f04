//! The state of the project, and the permissions of the caller in it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::plan::SetupPlan;
use super::services::Services;
use super::{Setup, SetupError};
use crate::google::Api;

/// The permissions of the caller in the project. `None` if they are unknown.
pub(super) type ProjectPermissions = Option<BTreeSet<String>>;

/// All permissions that setup may need, so that they are tested with one request.
const ALL: &[&str] = &[
    "artifactregistry.packages.list",
    "artifactregistry.projectsettings.get",
    "artifactregistry.repositories.create",
    "artifactregistry.repositories.delete",
    "artifactregistry.repositories.get",
    "artifactregistry.repositories.getIamPolicy",
    "artifactregistry.repositories.setIamPolicy",
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.delete",
    "iam.serviceAccountKeys.list",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.enable",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.list",
    "iam.serviceAccounts.setIamPolicy",
    "iam.workloadIdentityPoolProviders.create",
    "iam.workloadIdentityPoolProviders.delete",
    "iam.workloadIdentityPoolProviders.get",
    "iam.workloadIdentityPoolProviders.list",
    "iam.workloadIdentityPoolProviders.undelete",
    "iam.workloadIdentityPoolProviders.update",
    "iam.workloadIdentityPools.create",
    "iam.workloadIdentityPools.delete",
    "iam.workloadIdentityPools.get",
    "iam.workloadIdentityPools.list",
    "iam.workloadIdentityPools.undelete",
    "iam.workloadIdentityPools.update",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.setIamPolicy",
    "serviceusage.services.enable",
];

impl Setup<'_> {
    /// Reads the project and tests the permissions of the caller.
    pub(super) async fn project(
        &self,
        services: &Services,
    ) -> Result<ProjectPermissions, SetupError> {
        if !services.has(Api::ResourceManager) {
            return Ok(None);
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Project {
            #[serde(default)]
            lifecycle_state: String,
        }
        let project = &self.request.project;
        let url = Api::ResourceManager.url(&format!("v1/projects/{project}"));
        let found: Project = self
            .google
            .get(url)
            .await
            .map_err(|cause| SetupError::project(project, cause))?;
        if !matches!(found.lifecycle_state.as_str(), "ACTIVE" | "") {
            return Err(SetupError::Deleted(project.clone()));
        }
        let url = Api::ResourceManager.url(&format!("v1/projects/{project}:testIamPermissions"));
        match self.google.test_iam_permissions(url, ALL).await {
            Ok(held) => Ok(Some(held)),
            // A missing permission is then reported by the request that needs it.
            Err(error) if error.status() == Some(400) => {
                tracing::warn!("could not check the permissions in `{project}`: {error}");
                Ok(None)
            }
            Err(cause) => Err(SetupError::project(project, cause)),
        }
    }

    /// Fails before the first change if a permission for the plan is missing.
    pub(super) fn check_permissions(
        &self,
        plan: &SetupPlan,
        held: &ProjectPermissions,
    ) -> Result<(), SetupError> {
        if !plan.missing.is_empty() {
            return Err(SetupError::Permissions {
                project: self.request.project.clone(),
                missing: plan.missing.clone(),
            });
        }
        let needed: BTreeSet<&'static str> = plan
            .actions()
            .filter_map(super::plan::StepAction::permission)
            .collect();
        self.require_permissions(needed, held)
    }

    /// Fails if one of these permissions is missing.
    pub(super) fn require_permissions(
        &self,
        needed: impl IntoIterator<Item = &'static str>,
        held: &ProjectPermissions,
    ) -> Result<(), SetupError> {
        let Some(held) = held else {
            return Ok(());
        };
        let missing: Vec<&'static str> = needed
            .into_iter()
            .filter(|permission| !held.contains(*permission))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(SetupError::Permissions {
            project: self.request.project.clone(),
            missing,
        })
    }
}

/// The least predefined role that has a permission.
pub(super) fn role_with(permission: &str) -> &'static str {
    const ROLES: [(&str, &str); 7] = [
        ("artifactregistry.", "roles/artifactregistry.admin"),
        (
            "iam.serviceAccountKeys.",
            "roles/iam.serviceAccountKeyAdmin",
        ),
        ("iam.serviceAccounts.", "roles/iam.serviceAccountAdmin"),
        (
            "iam.workloadIdentityPool",
            "roles/iam.workloadIdentityPoolAdmin",
        ),
        ("resourcemanager.", "roles/resourcemanager.projectIamAdmin"),
        ("serviceusage.", "roles/serviceusage.serviceUsageAdmin"),
        ("storage.", "roles/storage.admin"),
    ];
    let mut roles = ROLES.iter();
    roles
        .find(|(start, _)| permission.starts_with(start))
        .map_or("roles/owner", |(_, role)| role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_a_role_below_owner() {
        for permission in ALL.iter() {
            assert_ne!(role_with(permission), "roles/owner", "{permission}");
        }
    }
}
