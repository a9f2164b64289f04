//! Lists repositories by the API of the GitLab that a registry belongs to, because the registry's
//! own catalog is for administrators only. <https://docs.gitlab.com/api/container_registry/>

use std::ops::ControlFlow;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::auth::scope::Access;
use super::{Registry, RegistryError};
use crate::auth::Identity;

/// The maximum page size of GitLab. <https://docs.gitlab.com/api/rest/#pagination>
const PAGE_SIZE: &str = "100";

/// The number of projects that are queried concurrently.
const CONCURRENT_REQUESTS: usize = 8;

/// The user name of a CI job token. <https://docs.gitlab.com/ci/jobs/ci_job_token/>
const JOB_TOKEN_USER: &str = "gitlab-ci-token";

impl Registry {
    /// True if the login is a CI job token. With it, GitLab's API lists at most the registry of the
    /// job's project.
    pub(super) fn has_job_token(&self) -> bool {
        let identity = self.tokens.identity("");
        matches!(identity, Identity::Login(user, _) if user == JOB_TOKEN_USER)
    }

    /// Lists the repositories of a group and everything below it, or of the project at or above
    /// `path`, or of all projects of a user. `None` if none of them exists or is visible to this
    /// login.
    ///
    /// # Errors
    ///
    /// If GitLab refuses the request, or returns something else than a list.
    pub(super) async fn group_repositories(
        &self,
        api: &Url,
        path: &str,
    ) -> Result<Option<Vec<String>>, RegistryError> {
        let mut owners = vec![("groups", path)];
        // An image may have two more path components than its project.
        let parents = std::iter::successors(Some(path), |path| {
            path.rsplit_once('/').map(|(parent, _)| parent)
        });
        let projects = parents.filter(|path| path.contains('/')).take(3);
        owners.extend(projects.map(|project| ("projects", project)));
        for (kind, owner) in owners {
            if let Some(repositories) = self.gitlab_repositories(api, kind, owner).await? {
                return Ok(Some(repositories));
            }
        }
        if path.contains('/') {
            Ok(None)
        } else {
            self.user_repositories(api, path).await
        }
    }

    /// Lists the repositories of a user's personal projects, which belong to no group.
    /// <https://docs.gitlab.com/api/projects/#list-all-personal-projects-for-a-user>
    async fn user_repositories(
        &self,
        api: &Url,
        user: &str,
    ) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(Deserialize)]
        struct Listed {
            id: u64,
        }

        let mut url = api.clone();
        url.set_path(&format!("{}/users/{user}/projects", api.path()));
        url.query_pairs_mut()
            .append_pair("simple", "true")
            .append_pair("per_page", PAGE_SIZE);
        let mut projects = Vec::new();
        let visit = |page: Vec<Listed>| {
            projects.extend(page);
            ControlFlow::Continue(())
        };
        let what = "list of projects";
        self.pages(url, "", Access::List, what, &self.retries, visit)
            .await?;
        // The list of a user with a private profile is empty.
        if projects.is_empty() {
            return Ok(None);
        }
        let repositories: Vec<_> = stream::iter(projects)
            .map(|project| async move {
                let id = project.id.to_string();
                match self.gitlab_repositories(api, "projects", &id).await {
                    // The registry of the project is disabled, or not visible to this login.
                    Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => Ok(None),
                    repositories => repositories,
                }
            })
            .buffered(CONCURRENT_REQUESTS)
            .try_collect()
            .await?;
        Ok(Some(repositories.into_iter().flatten().flatten().collect()))
    }

    async fn gitlab_repositories(
        &self,
        api: &Url,
        kind: &str,
        owner: &str,
    ) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(Deserialize)]
        struct Listed {
            path: String,
            status: Option<String>,
        }

        let mut url = api.clone();
        let owner = owner.replace('/', "%2F");
        url.set_path(&format!(
            "{}/{kind}/{owner}/registry/repositories",
            api.path()
        ));
        url.query_pairs_mut().append_pair("per_page", PAGE_SIZE);
        let mut repositories = Vec::new();
        let visit = |page: Vec<Listed>| {
            // A repository that is being deleted has the status `delete_scheduled` or
            // `delete_ongoing`.
            let is_kept = |one: &Listed| !one.status.as_deref().unwrap_or("").starts_with("delete");
            let kept = page.into_iter().filter(is_kept);
            repositories.extend(kept.map(|listed| listed.path));
            ControlFlow::Continue(())
        };
        let what = "list of repositories";
        let exists = self
            .pages(url, "", Access::List, what, &self.retries, visit)
            .await?;
        Ok(exists.then_some(repositories))
    }

    /// The URL of the API. `None` if the registry belongs to no GitLab. GitLab's registries send
    /// clients to `/jwt/auth` of their GitLab for tokens, and only they use this service name.
    /// <https://docs.gitlab.com/administration/packages/container_registry/>
    pub(super) fn gitlab_api(&self) -> Option<Url> {
        let (realm, service) = self.tokens.server()?;
        if service != Some("container_registry") {
            return None;
        }
        let root = realm.path().strip_suffix("/jwt/auth")?;
        let mut api = realm.clone();
        api.set_query(None);
        api.set_path(&format!("{root}/api/v4"));
        Some(api)
    }
}
