//! Collects the referrers of an image: signatures, SBOMs and attestations that refer to it or to a
//! manifest below it, and referrers of those in turn.
//!
//! They are found in all three places where tools keep them: the referrers API of OCI 1.1, its
//! fallback tag (`sha256-HEX`), and the tags of cosign (`sha256-HEX.sig`, `.att`, `.sbom`). Finding
//! them is apart from reading them, because a mirror compares them by digest.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::registry::{CONCURRENT_REQUESTS, MAX_MANIFESTS};
use super::tree::Tree;
use super::{Blobs, Content, MAX_DEPTH, Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Index};
use crate::oci::referrers::{cosign_tags, fallback_tag, subject};

/// A registry or layout that holds referrers.
pub(crate) trait ReferrerStore {
    /// The name of the image in messages.
    fn what(&self) -> &str;

    /// Lists the referrers of a manifest. `None` if only the fallback tag lists them.
    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError>;

    /// The digest of a tag. `None` if the tag does not exist.
    async fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, SourceError>;

    /// Reads the manifest under a tag or digest. `None` if it does not exist, or is invalid and
    /// cannot be pushed.
    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError>;

    /// Reads the manifests below `root`.
    async fn tree(&self, root: AnyManifest) -> Result<Tree, SourceError>;
}

/// The maximum number of referrers of an image. No plausible image has more.
const MAX_REFERRERS: usize = 10_000;

/// What refers to one manifest, by digest.
pub(crate) struct ManifestReferrers {
    subject: Digest,
    /// The manifests with this subject.
    referring: Vec<Descriptor>,
    /// The index under the fallback tag, if that lists them.
    fallback: Option<Index>,
    /// The tags of cosign, each with its digest.
    tagged: Vec<(String, Digest)>,
}

/// A referrer of an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its manifest, with all manifests below it.
    pub tree: Tree,
    /// The `subject` in its manifest.
    pub subject: Option<Digest>,
    /// The tag under which it is found. `None` if it is found by its subject.
    pub tag: Option<String>,
}

/// The referrers of an image.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// The referrers. Each comes after the manifest that it refers to.
    pub all: Vec<Referrer>,
    /// The indexes under the fallback tags of the source, by their subjects.
    pub fallbacks: HashMap<Digest, Index>,
    /// What could not be copied, as sentences.
    pub notes: Vec<String>,
}

impl Referrers {
    /// Returns their manifests and all manifests below them.
    pub fn manifests(&self) -> impl Iterator<Item = &AnyManifest> {
        self.all.iter().flat_map(|one| one.tree.manifests())
    }
}

impl Source {
    /// Checks that the source can hold referrers.
    ///
    /// # Errors
    ///
    /// If it is neither a registry nor an OCI layout.
    pub fn check_referrers_supported(&self) -> Result<(), SourceError> {
        match &self.inner.blobs {
            Blobs::Remote(..) | Blobs::Local(_, Some(_)) => Ok(()),
            Blobs::Local(_, None) => Err(SourceError::ReferrersUnsupported {
                what: self.inner.what.clone(),
            }),
        }
    }

    /// Reads the referrers of `tree`, which is a part of this image, and of all manifests below it.
    /// Only registries and OCI layouts have referrers.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn referrers(&self, tree: &Tree) -> Result<Referrers, SourceError> {
        let (referrers, ranges) = match &self.inner.blobs {
            Blobs::Remote(remote, _) => (collect_referrers(remote, tree).await?, HashMap::new()),
            Blobs::Local(_, None) => return Ok(Referrers::default()),
            Blobs::Local(_, Some(layout)) => {
                let (layout, root) = (Arc::clone(layout), self.root().cloned());
                let root = root.unwrap_or_else(|| tree.root.digest().clone());
                let reading = tokio::task::spawn_blocking(move || layout.referrers(&root)).await;
                let in_layout = reading.map_err(|cause| {
                    SourceError::read(&self.inner.what, io::Error::other(cause))
                })??;
                (collect_referrers(&in_layout, tree).await?, in_layout.blobs)
            }
        };
        let trees = referrers.all.iter().map(|referrer| &referrer.tree);
        let blobs = trees.flat_map(Tree::blobs);
        match &self.inner.blobs {
            Blobs::Remote(_, sizes) => {
                let mut sizes = sizes.write();
                sizes.extend(blobs.map(|blob| (blob.digest.clone(), blob.size)));
            }
            Blobs::Local(known, _) => {
                let mut known = known.write();
                let located = blobs.filter_map(|blob| ranges.get_key_value(&blob.digest));
                known.extend(located.map(|(digest, range)| (digest.clone(), range.clone())));
            }
        }
        Ok(referrers)
    }

    /// The digest of the image's manifest or index in the source.
    fn root(&self) -> Option<&Digest> {
        match &self.inner.image.content {
            Content::Manifests(tree) => Some(tree.root.digest()),
            Content::Uncompressed(_) => None,
        }
    }
}

/// Reads all referrers of the image of `tree`.
async fn collect_referrers(
    store: &impl ReferrerStore,
    tree: &Tree,
) -> Result<Referrers, SourceError> {
    let mut referrers = Referrers::default();
    let mut seen: HashSet<Digest> = digests(tree).collect();
    let mut found = Vec::new();
    for one in find_referrers(store, digests(tree).collect()).await? {
        let referring = one.referring.into_iter().map(|found| (None, found.digest));
        let tagged = one
            .tagged
            .into_iter()
            .map(|(tag, digest)| (Some(tag), digest));
        for (tag, digest) in referring.chain(tagged) {
            // A manifest that is found twice is one referrer, but each of its tags counts.
            if seen.insert(digest.clone()) || tag.is_some() {
                found.push((one.subject.clone(), tag, digest));
            }
        }
        let fallback = one.fallback.map(|index| (one.subject, index));
        referrers.fallbacks.extend(fallback);
    }
    let mut reading = stream::iter(found)
        .map(|(of, tag, digest)| async move {
            let tree = match store.manifest(digest.as_str()).await? {
                Some(manifest) => Some(store.tree(manifest).await?),
                None => None,
            };
            Ok::<_, SourceError>((of, tag, digest, tree))
        })
        .buffered(CONCURRENT_REQUESTS);
    let mut total = 0;
    while let Some((of, tag, digest, tree)) = reading.try_next().await? {
        let Some(tree) = tree.filter(|tree| tree.missing.is_empty()) else {
            referrers.notes.push(format!(
                "{digest}, which refers to {of}, is incomplete or is not a manifest that can be \
                 pushed; skipping it"
            ));
            continue;
        };
        total += tree.root.bytes().len();
        if total > MAX_MANIFESTS {
            return Err(too_many(store));
        }
        let subject = subject(&tree.root);
        referrers.all.push(Referrer { tree, subject, tag });
    }
    Ok(referrers)
}

fn digests(tree: &Tree) -> impl Iterator<Item = Digest> {
    tree.manifests().map(|manifest| manifest.digest().clone())
}

fn too_many(store: &impl ReferrerStore) -> SourceError {
    SourceError::TooManyReferrers {
        what: store.what().to_owned(),
        limit: MAX_REFERRERS,
    }
}

/// Finds what refers to these manifests, then what refers to that, and so on. Of the referrers it
/// reads only indexes, because what refers to a manifest below one counts as well.
pub(crate) async fn find_referrers(
    store: &impl ReferrerStore,
    manifests: Vec<Digest>,
) -> Result<Vec<ManifestReferrers>, SourceError> {
    let mut all = Vec::new();
    let mut seen: HashSet<Digest> = manifests.iter().cloned().collect();
    let mut pending = manifests;
    for _ in 0..MAX_DEPTH {
        let mut found = stream::iter(pending)
            .map(|digest| referrers_of(store, digest))
            .buffered(CONCURRENT_REQUESTS);
        let mut next = Vec::new();
        while let Some(found) = found.try_next().await? {
            next.extend(found.tagged.iter().map(|(_, digest)| digest.clone()));
            for descriptor in &found.referring {
                next.push(descriptor.digest.clone());
                if descriptor.is_index()
                    && let Some(root) = store.manifest(descriptor.digest.as_str()).await?
                {
                    next.extend(digests(&store.tree(root).await?));
                }
            }
            all.push(found);
        }
        next.retain(|digest| seen.insert(digest.clone()));
        if seen.len() > MAX_REFERRERS {
            return Err(too_many(store));
        }
        if next.is_empty() {
            break;
        }
        pending = next;
    }
    Ok(all)
}

/// True if a store has everything that was found in another, by the same tags and subjects.
pub(crate) async fn has_referrers(
    store: &impl ReferrerStore,
    found: &[ManifestReferrers],
) -> Result<bool, SourceError> {
    for (tag, digest) in found.iter().flat_map(|one| &one.tagged) {
        if store.digest_of_tag(tag).await?.as_ref() != Some(digest) {
            return Ok(false);
        }
    }
    for one in found.iter().filter(|one| !one.referring.is_empty()) {
        let (referring, _) = referring(store, &one.subject).await?;
        let there: HashSet<_> = referring.iter().map(|one| &one.digest).collect();
        if !one.referring.iter().all(|one| there.contains(&one.digest)) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn referrers_of(
    store: &impl ReferrerStore,
    subject: Digest,
) -> Result<ManifestReferrers, SourceError> {
    let (referring, fallback) = referring(store, &subject).await?;
    let mut tagged = Vec::new();
    for tag in cosign_tags(&subject) {
        if let Some(digest) = store.digest_of_tag(&tag).await? {
            tagged.push((tag, digest));
        }
    }
    Ok(ManifestReferrers {
        subject,
        referring,
        fallback,
        tagged,
    })
}

/// The manifests with this subject, and the index that lists them if it is not the referrers API.
async fn referring(
    store: &impl ReferrerStore,
    subject: &Digest,
) -> Result<(Vec<Descriptor>, Option<Index>), SourceError> {
    if let Some(referring) = store.referrers(subject).await? {
        return Ok((referring, None));
    }
    Ok(match store.manifest(&fallback_tag(subject)).await? {
        Some(AnyManifest::Index(index)) => (index.manifests.clone(), Some(index)),
        // Anything may have this tag, but only an index lists referrers.
        Some(AnyManifest::Manifest(_)) | None => (Vec::new(), None),
    })
}
