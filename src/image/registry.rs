//! Reads an image from a registry. Its manifests are read when it is opened, and its blobs are
//! streamed without a copy on disk.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::SourceError;
use super::referrers::ReferrerStore;
use super::tree::{Tree, label};
use super::{Content, Image, MAX_DEPTH};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Index};
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::oci::referrers::is_referrer_tag;
use crate::registry::{Listing, Registry, RegistryError};

/// The repository of an image.
#[derive(Clone)]
pub(crate) struct Remote {
    registry: Arc<Registry>,
    repository: String,
    what: String,
    /// Its referrer tags. `None` if they are not known.
    tags: Option<Arc<ReferrerTags>>,
}

/// The tags of a repository by which referrers are found. The value is the digest of the tag, or
/// `None` if the registry does not list it.
pub(crate) struct ReferrerTags(HashMap<String, Option<Digest>>);

impl ReferrerTags {
    /// The referrer tags of a listing. `None` if the listing may be incomplete.
    pub(crate) fn of(listing: &Listing) -> Option<Self> {
        if listing.cut().is_some() {
            return None;
        }
        let tags = listing.tags.iter().filter(|tag| is_referrer_tag(tag));
        let mut tags: HashMap<_, _> = tags.map(|tag| (tag.clone(), None)).collect();
        for manifest in &listing.manifests {
            for tag in manifest.tags.iter().filter(|tag| is_referrer_tag(tag)) {
                tags.insert(tag.clone(), Some(manifest.digest.clone()));
            }
        }
        Some(Self(tags))
    }

    /// True if no image has referrers that are found by a tag.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The maximum size of all manifests of one image together.
pub(super) const MAX_MANIFESTS: usize = 32 * 1024 * 1024;

/// The number of manifests that are requested concurrently.
pub(super) const CONCURRENT_REQUESTS: usize = 8;

/// Reads the manifests of an image, except those of platforms that are not `wanted`. Registries
/// with pull limits count each pull of a manifest
/// (<https://docs.docker.com/docker-hub/usage/pulls/>).
pub(super) async fn open(
    registry: Arc<Registry>,
    reference: &Reference,
    wanted: &Platforms,
) -> Result<(Remote, Image), SourceError> {
    let remote = Remote {
        registry,
        repository: reference.repository.clone(),
        what: format!("`{reference}`"),
        tags: None,
    };
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let named = match &reference.digest {
        Some(digest) => digest.as_str(),
        None => tag,
    };
    let root = remote
        .get(named)
        .await
        .map_err(|cause| remote.error(cause))?;
    let root = root.ok_or_else(|| SourceError::NoImage {
        what: remote.what.clone(),
    })?;
    let tree = remote.read_tree(root, wanted).await?;
    let name = match (&reference.tag, &reference.digest) {
        (None, Some(_)) => reference.name(),
        _ => format!("{}:{tag}", reference.name()),
    };
    let image = Image {
        names: vec![name],
        notes: Vec::new(),
        content: Content::Manifests(tree),
    };
    Ok((remote, image))
}

impl ReferrerStore for Remote {
    fn what(&self) -> &str {
        &self.what
    }

    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError> {
        let found = self.registry.referrers(&self.repository, digest);
        found.await.map_err(|cause| self.error(cause))
    }

    async fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, SourceError> {
        match self.tags.as_deref().map(|tags| tags.0.get(tag)) {
            Some(None) => Ok(None),
            Some(Some(Some(digest))) => Ok(Some(digest.clone())),
            Some(Some(None)) | None => {
                let found = self.registry.head_manifest(&self.repository, tag);
                found.await.map_err(|cause| self.error(cause))
            }
        }
    }

    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError> {
        let tags = self.tags.as_deref();
        if is_referrer_tag(reference) && tags.is_some_and(|tags| !tags.0.contains_key(reference)) {
            return Ok(None);
        }
        match self.get(reference).await {
            Err(error) if error.is_malformed() => Ok(None),
            found => found.map_err(|cause| self.error(cause)),
        }
    }

    async fn tree(&self, root: AnyManifest) -> Result<Tree, SourceError> {
        self.read_tree(root, &Platforms::All).await
    }
}

impl Remote {
    /// A repository whose referrer tags are known, or are to be requested one by one.
    pub(crate) fn new(
        registry: Arc<Registry>,
        repository: &str,
        tags: Option<Arc<ReferrerTags>>,
    ) -> Self {
        Self {
            what: format!("`{}/{repository}`", registry.endpoint()),
            registry,
            repository: repository.to_owned(),
            tags,
        }
    }

    async fn get(&self, reference: &str) -> Result<Option<AnyManifest>, RegistryError> {
        let found = self.registry.get_manifest(&self.repository, reference);
        found.await
    }

    /// Reads the manifests below `root`, except those of platforms that are not wanted.
    async fn read_tree(&self, root: AnyManifest, wanted: &Platforms) -> Result<Tree, SourceError> {
        let mut tree = Tree::of(root);
        if let AnyManifest::Index(index) = tree.root.clone() {
            self.descend(index, wanted, &mut tree).await?;
        }
        Ok(tree)
    }

    /// The registry and the name of the repository.
    pub(super) fn repository(&self) -> (&Endpoint, &str) {
        (self.registry.endpoint(), &self.repository)
    }

    fn error(&self, cause: RegistryError) -> SourceError {
        SourceError::Registry {
            what: self.what.clone(),
            cause: Box::new(cause),
        }
    }

    /// Reads the manifests below an index, one level at a time.
    async fn descend(
        &self,
        index: Index,
        wanted: &Platforms,
        tree: &mut Tree,
    ) -> Result<(), SourceError> {
        let mut total = index.bytes.len();
        let mut seen = HashSet::new();
        let mut indexes = vec![index.clone()];
        for _ in 0..MAX_DEPTH {
            let mut level = Vec::new();
            for index in &indexes {
                let (wanted, skipped) = select_children(index, wanted);
                tree.skipped.extend(skipped);
                level.extend(
                    wanted
                        .into_iter()
                        .filter(|child| seen.insert(child.digest.clone())),
                );
            }
            indexes.clear();
            let mut found = stream::iter(level)
                .map(|child| async move {
                    let manifest = self.get(child.digest.as_str()).await;
                    let manifest = manifest.map_err(|cause| self.error(cause))?;
                    Ok::<_, SourceError>((child, manifest))
                })
                .buffered(CONCURRENT_REQUESTS);
            while let Some((child, manifest)) = found.try_next().await? {
                let Some(manifest) = manifest else {
                    tree.missing.push(child);
                    continue;
                };
                total += manifest.bytes().len();
                if total > MAX_MANIFESTS {
                    return Err(SourceError::TooLarge {
                        what: self.what.clone(),
                        document: "the whole of the manifests".to_owned(),
                        size: total as u64,
                        limit: MAX_MANIFESTS as u64,
                    });
                }
                if let AnyManifest::Index(index) = &manifest {
                    indexes.push(index.clone());
                }
                tree.children.insert(child.digest, manifest);
            }
            if indexes.is_empty() {
                return self.check_any(&index, tree);
            }
        }
        Err(SourceError::TooDeep {
            what: self.what.clone(),
            limit: MAX_DEPTH,
        })
    }

    /// Checks that at least one child is in the registry. An index without any cannot be pushed;
    /// some tools leave such indexes behind.
    fn check_any(&self, index: &Index, tree: &Tree) -> Result<(), SourceError> {
        let has_image = tree
            .children
            .values()
            .any(|child| matches!(child, AnyManifest::Manifest(_)));
        if has_image || tree.missing.is_empty() {
            return Ok(());
        }
        let platforms: Vec<_> = tree.missing.iter().map(label).collect();
        Err(SourceError::AllMissing {
            what: self.what.clone(),
            digest: index.digest.clone(),
            platforms: super::error::list(&platforms),
        })
    }

    /// Streams the bytes of a blob of `size` bytes from `offset` on.
    pub(super) async fn open_blob(
        &self,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<ByteStream, SourceError> {
        let body = self
            .registry
            .read_blob(&self.repository, digest, offset, size);
        body.await.map_err(|cause| self.error(cause))
    }
}

/// Returns the children of an index that are to be read, and the digests of the others.
///
/// A child without a platform is read only if all platforms are wanted. A nested index is always
/// read, because it may have any platform. An attestation is read if its subject is.
fn select_children(index: &Index, wanted: &Platforms) -> (Vec<Descriptor>, Vec<Digest>) {
    let Platforms::Only(wanted) = wanted else {
        return (index.manifests.clone(), Vec::new());
    };
    let fits = |child: &Descriptor| {
        let platform = child.platform.as_ref();
        child.is_index() || platform.is_some_and(|has| wanted.iter().any(|w| has.fits(w)))
    };
    let kept = index.manifests.iter().filter(|child| fits(child));
    let kept: HashSet<_> = kept.map(|child| child.digest.as_str()).collect();
    let (wanted, skipped): (Vec<_>, Vec<_>) = index.manifests.iter().partition(|child| match child
        .attestation_subject()
    {
        Some(subject) => kept.contains(subject),
        None => kept.contains(child.digest.as_str()),
    });
    let skipped = skipped.into_iter().map(|child| child.digest.clone());
    (wanted.into_iter().cloned().collect(), skipped.collect())
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
