//! Finds the repositories below a path.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::MirrorError;
use super::plan::{Planner, QUESTIONS_AT_ONCE, list_error};
use crate::oci::reference::{Endpoint, is_at_or_below};
use crate::registry::Registry;

impl Planner<'_> {
    /// Every repository at or below `path`, sorted.
    pub(super) async fn below(
        &self,
        endpoint: &Endpoint,
        path: &str,
    ) -> Result<BTreeSet<String>, MirrorError> {
        let found = if endpoint.is_google() {
            self.walk(endpoint, path).await?
        } else {
            let registry = self.registries.source(endpoint).await?;
            let listed = if registry.is_gitlabs() && !path.is_empty() {
                gitlab_repositories(&registry, path).await?
            } else {
                let catalog = registry.catalog().await;
                let catalog = catalog.map_err(|cause| list_error(endpoint, path, cause))?;
                catalog.unwrap_or_default()
            };
            let below = |repository: &String| is_at_or_below(repository, path);
            listed.into_iter().filter(below).collect()
        };
        if found.is_empty() {
            let what = name(endpoint, path);
            return Err(MirrorError::NothingBelow(what));
        }
        Ok(found)
    }

    /// Walks the children that Google's listings name. A path with manifests or tags is a repository.
    /// The listings are cached, because the plan needs them again.
    async fn walk(&self, endpoint: &Endpoint, path: &str) -> Result<BTreeSet<String>, MirrorError> {
        let registry = self.registries.source(endpoint).await?;
        let mut found = BTreeSet::new();
        let mut waiting = vec![path.to_owned()];
        let (root, mut depth, mut count) = (path, 0, 0);
        while !waiting.is_empty() {
            count += waiting.len();
            let checked = registry.check_walk(root, depth, count);
            checked.map_err(|cause| list_error(endpoint, root, cause))?;
            depth += 1;
            let listings: Vec<_> = stream::iter(waiting)
                .map(|path| {
                    let registry = &registry;
                    async move {
                        let listing = self.listing(registry, &path).await?;
                        Ok::<_, MirrorError>((path, listing))
                    }
                })
                .buffer_unordered(QUESTIONS_AT_ONCE)
                .try_collect()
                .await?;
            waiting = Vec::new();
            for (path, listing) in listings {
                let Some(listing) = listing else { continue };
                let children = listing.children.iter();
                waiting.extend(children.map(|child| format!("{path}/{child}")));
                if !listing.manifests.is_empty() || !listing.tags.is_empty() {
                    found.insert(path);
                }
            }
        }
        Ok(found)
    }
}

/// The repositories of a GitLab group, or of the project that the path is in, from GitLab's API. The
/// catalog of its registry is for administrators only.
async fn gitlab_repositories(registry: &Registry, path: &str) -> Result<Vec<String>, MirrorError> {
    let what = name(registry.endpoint(), path);
    if registry.has_job_token() {
        return Err(MirrorError::JobToken(what));
    }
    match registry.group_repositories(path).await {
        Ok(Some(repositories)) => Ok(repositories),
        Ok(None) => Err(MirrorError::NoGroup(what)),
        Err(cause) => Err(MirrorError::Group { what, cause }),
    }
}

/// `host/repository`, which decides the shard, or `host` if `repository` is empty.
pub(super) fn name(endpoint: &Endpoint, repository: &str) -> String {
    match repository {
        "" => endpoint.to_string(),
        repository => format!("{endpoint}/{repository}"),
    }
}
