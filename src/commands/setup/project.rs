//! The project itself, and what whoever runs setup may do in it.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::plan::SetupPlan;
use super::services::Services;
use super::{Setup, SetupError};
use crate::google::Api;

/// What may be done in the project; none where it could not be asked.
pub(super) type ProjectPermissions = Option<BTreeSet<String>>;

/// Everything that reading and doing may need, so that one question is enough.
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
    /// Looks at the project and asks what may be done in it.
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
            // What cannot be asked will be told by the requests themselves.
            Err(error) if error.status() == Some(400) => {
                tracing::warn!("what may be done in `{project}` could not be asked: {error}");
                Ok(None)
            }
            Err(cause) => Err(SetupError::project(project, cause)),
        }
    }

    /// Refuses, before the first change, what could not be done to its end.
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
            .works()
            .filter_map(super::plan::StepAction::permission)
            .collect();
        self.need(needed, held)
    }

    /// Refuses what cannot even be looked at.
    pub(super) fn need(
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

/// The least role of Google's that has a permission.
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
    fn every_permission_has_a_role_that_is_less_than_owner() {
        for permission in ALL.iter() {
            assert_ne!(role_with(permission), "roles/owner", "{permission}");
        }
    }
}
