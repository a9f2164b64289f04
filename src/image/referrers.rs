//! What goes along with an image: signatures, SBOMs and attestations that refer to it or to a
//! manifest below it, and what refers to those in turn.
//!
//! They are found in each of the three ways in which they are kept: by the referrers API of OCI 1.1,
//! by the fallback tag that stands in for it (`sha256-HEX`), and by the tags of cosign
//! (`sha256-HEX.sig`, `.att`, `.sbom`).
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::registry::{AT_ONCE, MAX_MANIFESTS};
use super::tree::Tree;
use super::{Blobs, Content, MAX_DEPTH, Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index};
use crate::oci::platform::Platforms;

/// Where companions are kept.
pub(crate) trait ReferrerStore {
    /// How messages call the image there.
    fn what(&self) -> &str;

    /// What refers to a manifest; none where that is told by the fallback tag alone.
    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError>;

    /// The manifest under a tag or digest; none when there is no such.
    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError>;

    /// The same, and none for what is no manifest that can be pushed.
    async fn readable(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError>;

    /// A manifest with all below it that is wanted.
    async fn tree(&self, root: AnyManifest, wanted: &Platforms) -> Result<Tree, SourceError>;
}

/// The ends of cosign's tags.
pub(super) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// The most companions of one image: beyond that somebody has made something else of referrers.
const MAX_REFERRERS: usize = 10_000;

/// One of those that go along with an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its manifest, and what is below it.
    pub tree: Tree,
    /// The manifest that it refers to, as it says itself.
    pub subject: Option<Digest>,
    /// The tag that it is found by; one with a subject needs none.
    pub tag: Option<String>,
}

/// What goes along with an image.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// In an order in which nothing comes before what it refers to.
    pub all: Vec<Referrer>,
    /// The indexes under the fallback tags of the source, as they are there, by their subjects.
    pub fallbacks: Vec<(Digest, Index)>,
    /// What could not be carried, as sentences.
    pub notes: Vec<String>,
}

impl Referrers {
    /// Their manifests and all below them.
    pub fn manifests(&self) -> impl Iterator<Item = &AnyManifest> {
        let trees = self.all.iter().map(|companion| &companion.tree);
        trees.flat_map(|tree| std::iter::once(&tree.root).chain(tree.children.values()))
    }
}

/// The tag that stands in for the referrers API (distribution spec, "Referrers Tag Schema").
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The tags that cosign keeps what goes along with a manifest under.
pub fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> {
    let tag = fallback_tag(digest);
    COSIGN.into_iter().map(move |end| format!("{tag}.{end}"))
}

/// What was found at one manifest.
struct Found {
    companions: Vec<(AnyManifest, Option<String>)>,
    fallback: Option<(Digest, Index)>,
    notes: Vec<String>,
}

impl Source {
    /// Refuses what cannot keep anything that refers to its image.
    ///
    /// # Errors
    ///
    /// When it is neither a registry nor an OCI layout.
    pub fn check_companions(&self) -> Result<(), SourceError> {
        match &self.inner.blobs {
            Blobs::Remote(..) | Blobs::Places(_, Some(_)) => Ok(()),
            Blobs::Places(_, None) => Err(SourceError::NoCompanions {
                what: self.inner.what.clone(),
            }),
        }
    }

    /// What goes along with the image of `tree`, a part of this one: whatever refers to it, or to a
    /// manifest below it. A registry keeps such things, and an OCI layout does.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub async fn companions(&self, tree: &Tree) -> Result<Referrers, SourceError> {
        let (found, places) = match &self.inner.blobs {
            Blobs::Remote(remote, _) => (of(remote, tree).await?, HashMap::new()),
            Blobs::Places(_, None) => return Ok(Referrers::default()),
            Blobs::Places(_, Some(layout)) => {
                let (layout, root) = (Arc::clone(layout), self.root().cloned());
                let root = root.unwrap_or_else(|| tree.root.digest().clone());
                let reading = tokio::task::spawn_blocking(move || layout.attached(&root)).await;
                let attached = reading.map_err(|cause| {
                    SourceError::read(&self.inner.what, io::Error::other(cause))
                })??;
                (of(&attached, tree).await?, attached.places)
            }
        };
        let trees = found.all.iter().map(|companion| &companion.tree);
        let blobs = trees.flat_map(Tree::blobs);
        match &self.inner.blobs {
            Blobs::Remote(_, sizes) => {
                let mut sizes = sizes.write().unwrap_or_else(PoisonError::into_inner);
                sizes.extend(blobs.map(|blob| (blob.digest.clone(), blob.size)));
            }
            Blobs::Places(known, _) => {
                let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
                let found = blobs.filter_map(|blob| places.get_key_value(&blob.digest));
                known.extend(found.map(|(digest, place)| (digest.clone(), place.clone())));
            }
        }
        Ok(found)
    }

    /// The manifest or index that the image is, as the source has it.
    fn root(&self) -> Option<&Digest> {
        match &self.inner.image.content {
            Content::Manifests(tree) => Some(tree.root.digest()),
            Content::Unpacked(_) => None,
        }
    }
}

/// Finds all that goes along with the image of `tree`.
async fn of(shelf: &impl ReferrerStore, tree: &Tree) -> Result<Referrers, SourceError> {
    let mut companions = Referrers::default();
    let mut seen: HashSet<Digest> = digests(tree).collect();
    let mut asked: Vec<Digest> = seen.iter().cloned().collect();
    let mut total = 0;
    for _ in 0..MAX_DEPTH {
        let mut found = stream::iter(asked)
            .map(|digest| async move { referrers_of(shelf, &digest).await })
            .buffered(AT_ONCE);
        let mut next = Vec::new();
        while let Some(found) = found.try_next().await? {
            companions.notes.extend(found.notes);
            companions.fallbacks.extend(found.fallback);
            for (manifest, tag) in found.companions {
                // One that is found twice is one, but each of its tags counts.
                let is_new = seen.insert(manifest.digest().clone());
                if !is_new && tag.is_none() {
                    continue;
                }
                total += manifest.bytes().len();
                let subject = subject(&manifest);
                let tree = shelf.tree(manifest, &Platforms::All).await?;
                if !tree.absent.is_empty() {
                    companions.notes.push(format!(
                        "{}, which refers to the image, is not there as a whole and is left out",
                        tree.root.digest()
                    ));
                    continue;
                }
                if is_new {
                    next.extend(digests(&tree));
                }
                companions.all.push(Referrer { tree, subject, tag });
            }
            if companions.all.len() > MAX_REFERRERS || total > MAX_MANIFESTS {
                return Err(SourceError::TooManyCompanions {
                    what: shelf.what().to_owned(),
                    limit: MAX_REFERRERS,
                });
            }
        }
        if next.is_empty() {
            break;
        }
        seen.extend(next.iter().cloned());
        asked = next;
    }
    Ok(companions)
}

fn digests(tree: &Tree) -> impl Iterator<Item = Digest> {
    let manifests = std::iter::once(&tree.root).chain(tree.children.values());
    manifests.map(|manifest| manifest.digest().clone())
}

/// The `subject` that a manifest names (OCI image spec, `manifest.md`).
pub(super) fn subject(manifest: &AnyManifest) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Fields {
        subject: Option<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digest,
    }
    let fields: Fields = json::from_slice(manifest.bytes()).ok()?;
    fields.subject.map(|subject| subject.digest)
}

/// What refers to one manifest.
async fn referrers_of(shelf: &impl ReferrerStore, digest: &Digest) -> Result<Found, SourceError> {
    let mut found = Found {
        companions: Vec::new(),
        fallback: None,
        notes: Vec::new(),
    };
    let tag = fallback_tag(digest);
    let descriptors = match shelf.referrers(digest).await? {
        Some(descriptors) => descriptors,
        None => match shelf.manifest(&tag).await? {
            Some(AnyManifest::Index(index)) => {
                let descriptors = index.manifests.clone();
                found.fallback = Some((digest.clone(), index));
                descriptors
            }
            // Anything may be tagged so, but only an index lists referrers.
            Some(AnyManifest::Manifest(_)) | None => Vec::new(),
        },
    };
    for descriptor in descriptors {
        match shelf.readable(descriptor.digest.as_str()).await? {
            Some(manifest) => found.companions.push((manifest, None)),
            None => found.notes.push(format!(
                "{}, which refers to {digest}, is not there or is no manifest that can be pushed, and is left out",
                descriptor.digest
            )),
        }
    }
    for tag in cosign_tags(digest) {
        if let Some(manifest) = shelf.readable(&tag).await? {
            found.companions.push((manifest, Some(tag)));
        }
    }
    Ok(found)
}
