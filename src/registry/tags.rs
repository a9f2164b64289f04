//! Lists the tags of a repository (`tags/list`), with Google's extension if it is supported, and
//! the catalog of repositories.

use std::collections::HashSet;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::auth::scope::Access;
use super::google::{self, Extension, ListedManifest};
use super::{Registry, RegistryError};
use crate::diagnostics::sanitize::sanitize;
use crate::http::RetryPolicy;
use crate::oci::digest::Digest;
use crate::oci::reference::{check_tag, is_component};

/// What a registry lists at a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The tags of the repository at the path.
    pub tags: Vec<String>,
    /// The next component of each path below. Only Google's registries list them.
    pub children: Vec<String>,
    /// The manifests of the repository. Only Google's registries list them.
    pub manifests: Vec<ListedManifest>,
}

/// Sizes at which lists are known to be cut off silently.
const KNOWN_LIMITS: [usize; 2] = [1_000, 10_000];

impl Listing {
    /// The size at which the list seems to be cut off. `None` if it seems complete.
    pub fn cut(&self) -> Option<usize> {
        let counts = [self.children.len(), self.manifests.len(), self.tags.len()];
        counts
            .into_iter()
            .find(|count| KNOWN_LIMITS.contains(count))
    }

    fn len(&self) -> usize {
        self.tags.len() + self.children.len() + self.manifests.len()
    }
}

/// The entries of earlier pages.
#[derive(Default)]
struct Seen {
    tags: HashSet<String>,
    children: HashSet<String>,
    manifests: HashSet<Digest>,
}

/// The maximum page size of Google's registries. go-containerregistry uses the same.
const GOOGLE_PAGE: u32 = 10_000;

impl Registry {
    /// Lists the repository at `path`, or a project on Google's registries. `None` if the registry
    /// has nothing there.
    ///
    /// # Errors
    ///
    /// If the registry refuses the request, or returns something else than a list.
    pub async fn list(&self, path: &str) -> Result<Option<Listing>, RegistryError> {
        self.list_with(path, &self.retries).await
    }

    /// The same for an optional list. Failures are not retried for long.
    ///
    /// # Errors
    ///
    /// As for [`Self::list`].
    pub async fn list_if_available(&self, path: &str) -> Result<Option<Listing>, RegistryError> {
        self.list_with(path, &self.retries.short()).await
    }

    async fn list_with(
        &self,
        path: &str,
        retries: &RetryPolicy,
    ) -> Result<Option<Listing>, RegistryError> {
        let mut listing = Listing::default();
        let mut url = self.url(&format!("/v2/{path}/tags/list"));
        if self.endpoint.is_google() {
            url.query_pairs_mut()
                .append_pair("n", &GOOGLE_PAGE.to_string());
        }
        let mut seen = Seen::default();
        let visit = |mut page: Extension| {
            let before = listing.len();
            let tags = std::mem::take(&mut page.tags).into_iter();
            listing
                .tags
                .extend(tags.filter(|tag| seen.tags.insert(tag.clone())));
            let whole = page.is_present();
            let children = page.child.iter();
            let new = children.filter(|child| seen.children.insert((*child).clone()));
            listing.children.extend(new.cloned());
            let manifests = page.manifests().into_iter();
            let new = manifests.filter(|manifest| seen.manifests.insert(manifest.digest.clone()));
            listing.manifests.extend(new);
            // With the extension, the first page has been the complete list so far. A page that
            // repeats the same entries would never end.
            if whole && listing.len() == before {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (repository, access) =
            if self.endpoint.is_google() && self.tokens.is_google_credential() {
                ("", Access::List)
            } else {
                (path, Access::Pull)
            };
        let exists = self
            .pages(url, repository, access, "list of tags", retries, visit)
            .await?;
        google::newest_first(&mut listing.manifests);
        let below = format!("below `{path}`");
        listing.children = self.valid_names(listing.children, &below, is_child);
        let under = format!("as tags of `{path}`");
        listing.tags = self.valid_names(listing.tags, &under, |tag| check_tag(tag).is_ok());
        Ok(exists.then_some(listing))
    }

    /// Keeps the names that are valid. Others would point to other resources of the registry.
    fn valid_names(
        &self,
        names: Vec<String>,
        place: &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let (kept, left): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_valid(name));
        if let Some(first) = left.first() {
            let start: String = first.chars().take(MAX_LOGGED).collect();
            let more = if start.len() < first.len() { "…" } else { "" };
            tracing::warn!(
                "{} lists {} names {place} that no registry allows; ignoring them: `{}{more}`{}",
                self.endpoint,
                left.len(),
                sanitize(&start),
                if left.len() > 1 { ", …" } else { "" },
            );
        }
        kept
    }

    /// Lists all repositories of the registry. `None` if it has no catalog.
    /// <https://distribution.github.io/distribution/spec/api/#listing-repositories>
    ///
    /// # Errors
    ///
    /// If the registry refuses the request, or returns something else than a list.
    pub(super) async fn catalog(&self) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // Go encodes an empty list as `null`.
            #[serde(default)]
            repositories: Vec<String>,
        }

        let mut repositories = Vec::new();
        let mut url = self.url("/v2/_catalog");
        url.query_pairs_mut().append_pair("n", "1000");
        let visit = |page: Page| {
            repositories.extend(page.repositories);
            ControlFlow::Continue(())
        };
        let exists = self
            .pages(url, "", Access::Catalog, "catalog", &self.retries, visit)
            .await?;
        let repositories = self.valid_names(repositories, "in its catalog", |name| {
            name.len() <= MAX_NAME && name.split('/').all(is_component)
        });
        Ok(exists.then_some(repositories))
    }
}

/// The maximum length of a repository name, which registries count with their host.
const MAX_NAME: usize = 255;

/// How much of an invalid name is logged.
const MAX_LOGGED: usize = 60;

/// True if `name` can be the next component of a path.
fn is_child(name: &str) -> bool {
    name.len() <= MAX_NAME && is_component(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn child_is_one_component() {
        for good in ["api", "my-app", "a.b", "example.com", "0", "a__b", "a---b"] {
            assert!(is_child(good), "{good}");
        }
        let long = "a".repeat(100 * 1024);
        for bad in [
            "",
            ".",
            "..",
            "/etc",
            "a/../b",
            "a/b",
            "a b",
            "a?x",
            "a#x",
            "a%2e",
            "\u{1b}[2J",
            &long,
        ] {
            assert!(!is_child(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn child_stays_below_its_parent(name in "[a-z0-9._-]{1,6}") {
            prop_assume!(is_child(&name));
            let url = reqwest::Url::parse("https://r.example/v2/").unwrap();
            let joined = url.join(&format!("/v2/acme/{name}/tags/list")).unwrap();
            prop_assert_eq!(joined.path(), format!("/v2/acme/{name}/tags/list"));
        }
    }
}
