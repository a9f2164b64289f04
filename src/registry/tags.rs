//! `tags/list`: the tags of a repository, with Google's extension where there is one; and the
//! catalog of repositories.

use std::collections::HashSet;

use reqwest::Method;
use serde::Deserialize;

use super::auth::scope::Access;
use super::google::{self, Extension, ListedManifest};
use super::pages::PageControl;
use super::{Registry, RegistryError, RetryPolicy};
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::Digest;
use crate::oci::reference::{check_tag, is_component};

/// What a registry lists below a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The tags of the path itself.
    pub tags: Vec<String>,
    /// The next component of each path below; Google's registries alone tell.
    pub children: Vec<String>,
    /// The manifests of the path; Google's registries alone tell.
    pub manifests: Vec<ListedManifest>,
}

/// Numbers at which lists are cut off without a word.
const CUTS: [usize; 2] = [1_000, 10_000];

impl Listing {
    /// At how many entries it was cut off, for all that can be seen; none where it is whole.
    pub fn cut(&self) -> Option<usize> {
        let counts = [self.children.len(), self.manifests.len(), self.tags.len()];
        counts.into_iter().find(|count| CUTS.contains(count))
    }

    fn len(&self) -> usize {
        self.tags.len() + self.children.len() + self.manifests.len()
    }
}

/// What earlier pages have told.
#[derive(Default)]
struct Seen {
    tags: HashSet<String>,
    children: HashSet<String>,
    manifests: HashSet<Digest>,
}

/// Google answers with everything at once up to this many; go-containerregistry asks the same.
const GOOGLE_PAGE: u32 = 10_000;

impl Registry {
    /// Lists what is at `path`: a repository, or a project on Google's registries. None when the
    /// registry knows nothing there.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or what it sends is no listing.
    pub async fn list(&self, path: &str) -> Result<Option<Listing>, RegistryError> {
        self.list_patiently(path, &self.retries).await
    }

    /// The same for a listing that a run can do without: a registry that is in trouble is not
    /// waited for as long.
    ///
    /// # Errors
    ///
    /// As for [`Self::list`].
    pub async fn list_if_available(&self, path: &str) -> Result<Option<Listing>, RegistryError> {
        self.list_patiently(path, &self.retries.brief()).await
    }

    async fn list_patiently(
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
        let take = |mut page: Extension| {
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
            // With the extension the first page is all that Google has given so far, and one that
            // gives the same again has no end.
            if whole && listing.len() == before {
                PageControl::Stop
            } else {
                PageControl::On
            }
        };
        let (repository, access) = if self.endpoint.is_google() && self.tokens.are_googles() {
            ("", Access::List)
        } else {
            (path, Access::Pull)
        };
        let is_there = self
            .pages(url, repository, access, "list of tags", retries, take)
            .await?;
        google::newest_first(&mut listing.manifests);
        let below = format!("below `{path}`");
        listing.children = self.plausible(listing.children, &below, is_child);
        let under = format!("as tags of `{path}`");
        listing.tags = self.plausible(listing.tags, &under, |tag| check_tag(tag).is_ok());
        Ok(is_there.then_some(listing))
    }

    /// The names that could be there. The others would lead to other places of the registry, and are
    /// left out.
    fn plausible(
        &self,
        names: Vec<String>,
        place: &str,
        is_plausible: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let (kept, left): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| is_plausible(name));
        if let Some(first) = left.first() {
            let start: String = first.chars().take(SHOWN).collect();
            let more = if start.len() < first.len() { "…" } else { "" };
            tracing::warn!(
                "{} lists {} names {place} that no registry allows, which are left out: `{}{more}`{}",
                self.endpoint,
                left.len(),
                sanitize(&start),
                if left.len() > 1 { ", …" } else { "" },
            );
        }
        kept
    }

    /// Checks how deep and how wide a walk through the listings below `path` has become.
    ///
    /// # Errors
    ///
    /// When it is more than any registry holds.
    pub fn check_walk(&self, path: &str, depth: usize, count: usize) -> Result<(), RegistryError> {
        if depth <= MAX_DEPTH && count <= MAX_PATHS {
            return Ok(());
        }
        let url = self.url(&format!("/v2/{path}/tags/list"));
        let endless = if depth > MAX_DEPTH {
            format!("what is listed below it goes deeper than {MAX_DEPTH} levels")
        } else {
            format!("what is listed below it is more than {MAX_PATHS} paths")
        };
        Err(RegistryError::unexpected(Method::GET, url, endless))
    }

    /// Every repository of the registry, over pages; none where it has no such list.
    /// <https://distribution.github.io/distribution/spec/api/#listing-repositories>
    ///
    /// # Errors
    ///
    /// When the registry refuses, or what it sends is no listing.
    pub async fn catalog(&self) -> Result<Option<Vec<String>>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            // Go writes a list of nothing as `null`.
            #[serde(default)]
            repositories: Vec<String>,
        }

        let mut repositories = Vec::new();
        let mut url = self.url("/v2/_catalog");
        url.query_pairs_mut().append_pair("n", "1000");
        let take = |page: Page| {
            repositories.extend(page.repositories);
            PageControl::On
        };
        let is_there = self
            .pages(url, "", Access::Catalog, "catalog", &self.retries, take)
            .await?;
        let repositories = self.plausible(repositories, "in its catalog", |name| {
            name.len() <= MAX_NAME && name.split('/').all(is_component)
        });
        Ok(is_there.then_some(repositories))
    }
}

/// The most characters of a path, as registries allow it with their host.
const MAX_NAME: usize = 255;

/// How deep below a path is looked: GitLab nests twenty groups.
const MAX_DEPTH: usize = 32;

/// How many paths are looked at below one.
const MAX_PATHS: usize = 100_000;

/// How much of a name that cannot be one is shown.
const SHOWN: usize = 60;

/// True for what can be the next component of a path.
fn is_child(name: &str) -> bool {
    name.len() <= MAX_NAME && is_component(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_child_is_one_component() {
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
        fn a_child_stays_below_its_parent(name in "[a-z0-9._-]{1,6}") {
            prop_assume!(is_child(&name));
            let url = reqwest::Url::parse("https://r.example/v2/").unwrap();
            let joined = url.join(&format!("/v2/acme/{name}/tags/list")).unwrap();
            prop_assert_eq!(joined.path(), format!("/v2/acme/{name}/tags/list"));
        }
    }
}
