//! The API of the GitLab that a registry belongs to, which tells what a group or a user has: the catalog
//! of the registry itself is for administrators.
//! <https://docs.gitlab.com/api/container_registry/>

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::auth::scope::Access;
use super::pages::PageControl;
use super::{Registry, RegistryError};
use crate::auth::Identity;

/// As many as GitLab gives at once. <https://docs.gitlab.com/api/rest/#pagination>
const PAGE: &str = "100";

/// Projects of a user that are asked for at once.
const AT_ONCE: usize = 8;

/// The user name beside a job's token. <https://docs.gitlab.com/ci/jobs/ci_job_token/>
const JOB: &str = "gitlab-ci-token";

impl Registry {
    /// True for a registry that belongs to a GitLab.
    pub fn is_gitlabs(&self) -> bool {
        self.gitlab().is_some()
    }

    /// True where the login is a CI job's own token, with which GitLab's API shows the registry of
    /// the job's project at most.
    pub fn has_job_token(&self) -> bool {
        let identity = self.tokens.identity("");
        matches!(identity, Identity::Login(user, _) if user == JOB)
    }

    /// The repositories of a group and all below it; else of the project that `path` is, or is in; else
    /// of all projects of a user. None when there is none of these, or none is shown to this login.
    ///
    /// # Errors
    ///
    /// When GitLab refuses, or what it sends is no listing.
    pub async fn group_repositories(
        &self,
        path: &str,
    ) -> Result<Option<Vec<String>>, RegistryError> {
        let Some(api) = self.gitlab() else {
            return Ok(None);
        };
        let mut places = vec![("groups", path)];
        // An image may have two names below its project's.
        let parents = std::iter::successors(Some(path), |path| {
            path.rsplit_once('/').map(|(parent, _)| parent)
        });
        let projects = parents.filter(|path| path.contains('/')).take(3);
        places.extend(projects.map(|project| ("projects", project)));
        for (kind, place) in places {
            if let Some(found) = self.gitlab_repositories(&api, kind, place).await? {
                return Ok(Some(found));
            }
        }
        if path.contains('/') {
            Ok(None)
        } else {
            self.user_repositories(&api, path).await
        }
    }

    /// The repositories of a user's own projects, which no group has.
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
            .append_pair("per_page", PAGE);
        let mut projects = Vec::new();
        let take = |page: Vec<Listed>| {
            projects.extend(page);
            PageControl::On
        };
        let what = "list of projects";
        self.pages(url, "", Access::List, what, &self.retries, take)
            .await?;
        // Who hides a profile has an empty list.
        if projects.is_empty() {
            return Ok(None);
        }
        let found: Vec<_> = stream::iter(projects)
            .map(|project| async move {
                let id = project.id.to_string();
                match self.gitlab_repositories(api, "projects", &id).await {
                    // One whose registry is switched off, or not for this login.
                    Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => Ok(None),
                    found => found,
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Some(found.into_iter().flatten().flatten().collect()))
    }

    async fn gitlab_repositories(
        &self,
        api: &Url,
        kind: &str,
        place: &str,
    ) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(Deserialize)]
        struct Listed {
            path: String,
            status: Option<String>,
        }

        let mut url = api.clone();
        let place = place.replace('/', "%2F");
        url.set_path(&format!(
            "{}/{kind}/{place}/registry/repositories",
            api.path()
        ));
        url.query_pairs_mut().append_pair("per_page", PAGE);
        let mut repositories = Vec::new();
        let take = |page: Vec<Listed>| {
            // What is being deleted has the status `delete_scheduled` or `delete_ongoing`.
            let is_kept = |one: &Listed| !one.status.as_deref().unwrap_or("").starts_with("delete");
            let kept = page.into_iter().filter(is_kept);
            repositories.extend(kept.map(|listed| listed.path));
            PageControl::On
        };
        let what = "list of repositories";
        let is_there = self
            .pages(url, "", Access::List, what, &self.retries, take)
            .await?;
        Ok(is_there.then_some(repositories))
    }

    /// Where the API is: GitLab's registries send to `/jwt/auth` of their GitLab for tokens, and no
    /// others name this service.
    /// <https://docs.gitlab.com/administration/packages/container_registry/>
    fn gitlab(&self) -> Option<Url> {
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
