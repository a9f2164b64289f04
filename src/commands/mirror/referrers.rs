//! Compares the referrers of an image at the source and at the destinations, by digest and with as
//! few requests as the protocol allows: with `referrers`, an unchanged image costs these requests.
//!
//! Referrers that are found by tags (cosign's tags, and the fallback tags of registries without the
//! referrers API) are known for all images from one tag list of the repository. The referrers API
//! takes one request for each manifest. Google's listing is not known to include what that API
//! returns.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::image::{MAX_DEPTH, cosign_tags, fallback_tag};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor};
use crate::registry::{Listing, Registry, RegistryError};

/// The concurrent requests for one image.
const AT_ONCE: usize = 8;

/// The tags of a repository that are named after a digest. The value is the digest of the tag, or
/// `None` if the registry does not list it.
pub(super) struct ReferrerTags(HashMap<String, Option<Digest>>);

impl ReferrerTags {
    /// The referrer tags of a listing. `None` if the listing may be incomplete.
    pub(super) fn of(listing: &Listing) -> Option<Self> {
        if listing.cut().is_some() {
            return None;
        }
        let is_referrer_tag = |tag: &&String| tag.starts_with("sha256-");
        let tags = listing.tags.iter().filter(is_referrer_tag);
        let mut tags: HashMap<_, _> = tags.map(|tag| (tag.clone(), None)).collect();
        for manifest in &listing.manifests {
            for tag in manifest.tags.iter().filter(is_referrer_tag) {
                tags.insert(tag.clone(), Some(manifest.digest.clone()));
            }
        }
        Some(Self(tags))
    }

    /// True if no image has referrers that are found by a tag.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The referrers that a destination must have.
#[derive(Debug, Default)]
pub(super) struct ReferrerCheck {
    /// Each subject with the digests of the manifests that refer to it.
    by_subject: Vec<(Digest, HashSet<Digest>)>,
    /// Cosign's tags, each with its digest.
    by_tag: Vec<(String, Digest)>,
}

/// A repository, with its referrer tags if they are known.
pub(super) struct MirrorRepository<'a> {
    pub(super) registry: &'a Registry,
    pub(super) path: &'a str,
    pub(super) tags: Option<Arc<ReferrerTags>>,
}

impl MirrorRepository<'_> {
    /// All referrers of an image that has these manifests, with their own referrers. `None` if an
    /// index is among them, because its digest alone is not enough.
    pub(super) async fn all_referrers(
        &self,
        manifests: Vec<Digest>,
    ) -> Result<Option<ReferrerCheck>, RegistryError> {
        let mut check = ReferrerCheck::default();
        let mut seen: HashSet<Digest> = manifests.iter().cloned().collect();
        let mut pending = manifests;
        for _ in 0..MAX_DEPTH {
            let found: Vec<_> = stream::iter(pending)
                .map(|digest| async move {
                    let by_subject = self.referrers(&digest).await?;
                    let by_tag = self.cosign_tags_of(&digest).await?;
                    Ok::<_, RegistryError>((digest, by_subject, by_tag))
                })
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            pending = Vec::new();
            for (digest, by_subject, by_tag) in found {
                if by_subject.iter().any(Descriptor::is_index) {
                    return Ok(None);
                }
                let by_subject: HashSet<_> = by_subject.into_iter().map(|one| one.digest).collect();
                let all = by_subject.iter().chain(by_tag.iter().map(|(_, one)| one));
                pending.extend(all.filter(|one| seen.insert((*one).clone())).cloned());
                check.by_tag.extend(by_tag);
                if !by_subject.is_empty() {
                    check.by_subject.push((digest, by_subject));
                }
            }
            if pending.is_empty() {
                break;
            }
        }
        Ok(Some(check))
    }

    /// True if the repository has all of `expected`, by the same tags and subjects.
    pub(super) async fn has_all(&self, expected: &ReferrerCheck) -> Result<bool, RegistryError> {
        for (tag, digest) in &expected.by_tag {
            if self.digest_of_tag(tag).await?.as_ref() != Some(digest) {
                return Ok(false);
            }
        }
        for (subject, wanted) in &expected.by_subject {
            let actual = self.referrers(subject).await?;
            let actual: HashSet<_> = actual.into_iter().map(|one| one.digest).collect();
            if !wanted.is_subset(&actual) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The referrers of a manifest, from the referrers API or from the fallback tag.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
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

    /// Cosign's tags of a manifest, each with its digest.
    async fn cosign_tags_of(
        &self,
        digest: &Digest,
    ) -> Result<Vec<(String, Digest)>, RegistryError> {
        let mut found = Vec::new();
        for tag in cosign_tags(digest) {
            if let Some(digest) = self.digest_of_tag(&tag).await? {
                found.push((tag, digest));
            }
        }
        Ok(found)
    }

    /// The digest of a tag. `None` if the tag does not exist.
    async fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, RegistryError> {
        let listed = self.tags.as_deref().and_then(|tags| tags.0.get(tag));
        match listed {
            Some(Some(digest)) => Ok(Some(digest.clone())),
            _ if !self.may_have(tag) => Ok(None),
            _ => self.registry.head_manifest(self.path, tag).await,
        }
    }

    /// False if the tag is known not to exist.
    fn may_have(&self, tag: &str) -> bool {
        let tags = self.tags.as_deref();
        tags.is_none_or(|tags| tags.0.contains_key(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possibly_truncated_list_proves_no_absence() {
        let listing = |count| Listing {
            tags: (0..count).map(|number| format!("v{number}")).collect(),
            ..Listing::default()
        };
        assert!(ReferrerTags::of(&listing(999)).is_some_and(|tags| tags.is_empty()));
        assert!(ReferrerTags::of(&listing(1_000)).is_none());
        assert!(ReferrerTags::of(&listing(10_000)).is_none());
    }
}
