//! Finds what is below a path: Google's registries list it level by level, a GitLab has an
//! API for it, and others have a catalog.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;

use super::{Listing, Registry, RegistryError};
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::oci::reference::{Endpoint, is_at_or_below};

/// The concurrent requests.
const AT_ONCE: usize = 16;

/// The maximum depth of a walk. GitLab nests twenty groups.
const MAX_DEPTH: usize = 32;

/// The maximum number of paths in a walk.
const MAX_PATHS: usize = 100_000;

/// A repository below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRepository {
    /// Its path.
    pub path: String,
    /// Its listing. `None` if it was found without it.
    pub listing: Option<Listing>,
}

/// Why a path could not be listed. Each names the `host/path`.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The registry returned an error.
    #[error("could not list `{0}`")]
    Registry(String, #[source] RegistryError),
    /// The registry has no catalog, or denies access to it.
    #[error("`{0}` does not list its images")]
    NoCatalog(String, #[source] Option<RegistryError>),
    /// GitLab did not list the repositories of a group.
    #[error("could not list the repositories of GitLab's `{0}`")]
    Group(String, #[source] RegistryError),
    /// GitLab has no such group, project or user, or the login cannot see it.
    #[error("GitLab has no group, project or user `{0}` that this login can see")]
    NoGroup(String),
    /// The login is a job token, which cannot list a group.
    #[error("the login for GitLab's `{0}` is the job token, which cannot list a group")]
    JobToken(String),
}

impl ListingError {
    /// The error of listing `path`, which may be empty.
    pub fn new(endpoint: &Endpoint, path: &str, cause: RegistryError) -> Self {
        Self::Registry(endpoint.with_path(path), cause)
    }
}

impl Diagnostic for ListingError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Registry(_, cause) | Self::NoCatalog(_, Some(cause)) | Self::Group(_, cause) => {
                Some(cause)
            }
            Self::NoCatalog(_, None) | Self::NoGroup(_) | Self::JobToken(_) => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoGroup(_) | Self::JobToken(_) => ExitCode::Denied,
            _ => self.source_exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Group(..) | Self::NoGroup(_) | Self::JobToken(_) => vec![
                "for that registry, use a group access token or a personal access token as the \
                 password, with the role Reporter and the scopes `read_api` and `read_registry`: \
                 CI_JOB_TOKEN and deploy tokens cannot list a group"
                    .to_owned(),
            ],
            _ => self.source_hints(),
        }
    }
}

impl Registry {
    /// Finds every repository at or below `path`. There may be none.
    ///
    /// # Errors
    ///
    /// If the registry returns an error or does not list its repositories.
    pub async fn repositories(&self, path: &str) -> Result<Vec<FoundRepository>, ListingError> {
        if self.endpoint.is_google() {
            return self.walk(path).await;
        }
        let names = self.repository_names(path).await?.into_iter();
        let below = names.filter(|name| is_at_or_below(name, path));
        let found = below.map(|path| FoundRepository {
            path,
            listing: None,
        });
        Ok(found.collect())
    }

    /// Finds the names below `path`: one level of them, or all of them if the registry lists all at
    /// once. `None` if the registry has nothing there.
    ///
    /// # Errors
    ///
    /// As for [`Self::repositories`].
    pub async fn names_below(&self, path: &str) -> Result<Option<Vec<String>>, ListingError> {
        if self.endpoint.is_google() {
            let listing = self.complete_list(path).await?;
            return Ok(listing.map(|listing| listing.children));
        }
        let names = self.repository_names(path).await?;
        let below = names.iter().filter_map(|name| match path {
            "" => Some(name.as_str()),
            path => name.strip_prefix(path)?.strip_prefix('/'),
        });
        let below: Vec<_> = below.map(str::to_owned).collect();
        Ok((path.is_empty() || !below.is_empty()).then_some(below))
    }

    /// Lists a path like [`Self::list`], and warns if Google seems to have cut the list off.
    ///
    /// # Errors
    ///
    /// As for [`Self::list`].
    pub async fn complete_list(&self, path: &str) -> Result<Option<Listing>, ListingError> {
        let found = self.list(path).await;
        let found = found.map_err(|cause| ListingError::new(&self.endpoint, path, cause))?;
        if self.endpoint.is_google()
            && let Some(cut) = found.as_ref().and_then(Listing::cut)
        {
            tracing::warn!(
                "the list of `{}` has exactly {cut}, the most that one list returns: there may be \
                 more",
                self.endpoint.with_path(path)
            );
        }
        Ok(found)
    }

    /// Walks the children that Google's listings name. A path with manifests or tags is a repository.
    async fn walk(&self, root: &str) -> Result<Vec<FoundRepository>, ListingError> {
        let mut found = Vec::new();
        let mut waiting = vec![root.to_owned()];
        let (mut depth, mut count) = (0, 0);
        while !waiting.is_empty() {
            count += waiting.len();
            self.check_walk(root, depth, count)?;
            depth += 1;
            let listings: Vec<_> = stream::iter(waiting)
                .map(|path| async move {
                    let listing = self.complete_list(&path).await?;
                    Ok::<_, ListingError>((path, listing))
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            waiting = Vec::new();
            for (path, listing) in listings {
                // A repository that was deleted in the meantime is not an error.
                let Some(listing) = listing else { continue };
                let children = listing.children.iter();
                waiting.extend(children.map(|child| format!("{path}/{child}")));
                if !listing.manifests.is_empty() || !listing.tags.is_empty() {
                    let listing = Some(listing);
                    found.push(FoundRepository { path, listing });
                }
            }
        }
        Ok(found)
    }

    /// Checks that a walk is not beyond any real registry.
    fn check_walk(&self, root: &str, depth: usize, count: usize) -> Result<(), ListingError> {
        let endless = if depth > MAX_DEPTH {
            format!("the list below it has more than {MAX_DEPTH} levels")
        } else if count > MAX_PATHS {
            format!("the list below it has more than {MAX_PATHS} paths")
        } else {
            return Ok(());
        };
        let url = self.url(&format!("/v2/{root}/tags/list"));
        let cause = RegistryError::protocol_violation(Method::GET, url, endless);
        Err(ListingError::new(&self.endpoint, root, cause))
    }

    /// The repositories that GitLab's API lists for `path`, or those of the whole registry. The
    /// catalog of GitLab's registry is for administrators only.
    async fn repository_names(&self, path: &str) -> Result<Vec<String>, ListingError> {
        let endpoint = &self.endpoint;
        if !path.is_empty()
            && let Some(api) = self.gitlab_api()
        {
            let what = endpoint.with_path(path);
            if self.has_job_token() {
                return Err(ListingError::JobToken(what));
            }
            return match self.group_repositories(&api, path).await {
                Ok(Some(repositories)) => Ok(repositories),
                Ok(None) => Err(ListingError::NoGroup(what)),
                Err(cause) => Err(ListingError::Group(what, cause)),
            };
        }
        let what = endpoint.to_string();
        match self.catalog().await {
            Ok(Some(all)) => Ok(all),
            Ok(None) => Err(ListingError::NoCatalog(what, None)),
            Err(cause) if cause.status().is_some_and(|s| s.is_client_error()) => {
                Err(ListingError::NoCatalog(what, Some(cause)))
            }
            Err(cause) => Err(ListingError::Registry(what, cause)),
        }
    }
}
