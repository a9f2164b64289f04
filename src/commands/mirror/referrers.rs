//! Whether what goes along with an image is at its homes too, told by digests and with as few
//! questions as the protocol allows: with `referrers`, that is what an unchanged image costs.
//!
//! Where it is kept by tags, as cosign does and as registries without the referrers API need it, one
//! list of a repository's tags tells of all its images. The API has no such list: it is asked for one
//! manifest at a time, and Google's listing is not known to show what only the API tells of.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::image::{MAX_DEPTH, cosign_tags, fallback_tag};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor};
use crate::registry::{Listing, Registry, RegistryError};

/// Questions about one image that are under way at once.
const AT_ONCE: usize = 8;

/// The tags of a repository that are named for a digest, with what is under each where that is listed.
pub(super) struct ReferrerTags(HashMap<String, Option<Digest>>);

impl ReferrerTags {
    /// Those of a listing; none where that may not be whole.
    pub(super) fn of(listing: &Listing) -> Option<Self> {
        if listing.cut().is_some() {
            return None;
        }
        let is_one = |tag: &&String| tag.starts_with("sha256-");
        let tags = listing.tags.iter().filter(is_one);
        let mut tags: HashMap<_, _> = tags.map(|tag| (tag.clone(), None)).collect();
        for manifest in &listing.manifests {
            for tag in manifest.tags.iter().filter(is_one) {
                tags.insert(tag.clone(), Some(manifest.digest.clone()));
            }
        }
        Some(Self(tags))
    }

    /// True where no image has anything that is found by a tag.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What goes along with an image.
#[derive(Debug, Default)]
pub(super) struct ReferrerCheck {
    /// What names a manifest as its subject.
    referring: Vec<(Digest, HashSet<Digest>)>,
    /// What cosign finds by a tag.
    tagged: Vec<(String, Digest)>,
}

/// A repository, and what is known of it already.
pub(super) struct MirrorRepository<'a> {
    pub(super) registry: &'a Registry,
    pub(super) path: &'a str,
    pub(super) tags: Option<Arc<ReferrerTags>>,
}

impl MirrorRepository<'_> {
    /// What goes along with an image, of which these are all the manifests. None where digests alone do
    /// not tell, because an index refers to it.
    pub(super) async fn companions(
        &self,
        manifests: Vec<Digest>,
    ) -> Result<Option<ReferrerCheck>, RegistryError> {
        let mut companions = ReferrerCheck::default();
        let mut seen: HashSet<Digest> = manifests.iter().cloned().collect();
        let mut asked = manifests;
        for _ in 0..MAX_DEPTH {
            let found: Vec<_> = stream::iter(asked)
                .map(|digest| async move {
                    let referring = self.referring(&digest).await?;
                    let tagged = self.tagged_for(&digest).await?;
                    Ok::<_, RegistryError>((digest, referring, tagged))
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            asked = Vec::new();
            for (digest, referring, tagged) in found {
                if referring.iter().any(Descriptor::is_index) {
                    return Ok(None);
                }
                let referring: HashSet<_> = referring.into_iter().map(|one| one.digest).collect();
                let all = referring.iter().chain(tagged.iter().map(|(_, one)| one));
                asked.extend(all.filter(|one| seen.insert((*one).clone())).cloned());
                companions.tagged.extend(tagged);
                if !referring.is_empty() {
                    companions.referring.push((digest, referring));
                }
            }
            if asked.is_empty() {
                break;
            }
        }
        Ok(Some(companions))
    }

    /// True when all of `companions` are here, and found here.
    pub(super) async fn has(&self, companions: &ReferrerCheck) -> Result<bool, RegistryError> {
        for (tag, digest) in &companions.tagged {
            if self.under(tag).await?.as_ref() != Some(digest) {
                return Ok(false);
            }
        }
        for (subject, wanted) in &companions.referring {
            let there = self.referring(subject).await?;
            let there: HashSet<_> = there.into_iter().map(|one| one.digest).collect();
            if !wanted.is_subset(&there) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What refers to a manifest, by the API or by the tag that stands in for it.
    async fn referring(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        if let Some(found) = self.registry.referrers(self.path, subject).await? {
            return Ok(found);
        }
        let tag = fallback_tag(subject);
        if !self.may_have(&tag) {
            return Ok(Vec::new());
        }
        match self.registry.get_manifest(self.path, &tag).await? {
            Some(AnyManifest::Index(index)) => Ok(index.manifests),
            Some(AnyManifest::Manifest(_)) | None => Ok(Vec::new()),
        }
    }

    /// What cosign's tags for a manifest lead to.
    async fn tagged_for(&self, digest: &Digest) -> Result<Vec<(String, Digest)>, RegistryError> {
        let mut found = Vec::new();
        for tag in cosign_tags(digest) {
            if let Some(digest) = self.under(&tag).await? {
                found.push((tag, digest));
            }
        }
        Ok(found)
    }

    async fn under(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let listed = self.tags.as_deref().and_then(|tags| tags.0.get(tag));
        match listed {
            Some(Some(digest)) => Ok(Some(digest.clone())),
            _ if !self.may_have(tag) => Ok(None),
            _ => self.registry.head_manifest(self.path, tag).await,
        }
    }

    /// False for a tag that is known not to be there.
    fn may_have(&self, tag: &str) -> bool {
        let tags = self.tags.as_deref();
        tags.is_none_or(|tags| tags.0.contains_key(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_may_be_cut_off_proves_no_absence() {
        let listing = |count| Listing {
            tags: (0..count).map(|number| format!("v{number}")).collect(),
            ..Listing::default()
        };
        assert!(ReferrerTags::of(&listing(999)).is_some_and(|tags| tags.is_empty()));
        assert!(ReferrerTags::of(&listing(1_000)).is_none());
        assert!(ReferrerTags::of(&listing(10_000)).is_none());
    }
}
