//! Collects the referrers of an image: signatures, SBOMs and attestations that refer to it or to a
//! manifest below it, and referrers of those in turn.
//!
//! They are found in all three places where tools keep them: the referrers API of OCI 1.1, its
//! fallback tag (`sha256-HEX`), and the tags of cosign (`sha256-HEX.sig`, `.att`, `.sbom`).
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::registry::{CONCURRENT_REQUESTS, MAX_MANIFESTS};
use super::tree::Tree;
use super::{Blobs, Content, MAX_DEPTH, Source, SourceError};
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index};
use crate::oci::platform::Platforms;

/// A registry or layout that holds referrers.
pub(crate) trait ReferrerStore {
    /// The name of the image in messages.
    fn what(&self) -> &str;

    /// Lists the referrers of a manifest. `None` if only the fallback tag lists them.
    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError>;

    /// Reads the manifest under a tag or digest. `None` if it does not exist.
    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError>;

    /// The same, but `None` as well for a manifest that is invalid and cannot be pushed.
    async fn manifest_if_valid(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError>;

    /// Reads the manifests below `root`, except those of platforms that are not wanted.
    async fn tree(&self, root: AnyManifest, wanted: &Platforms) -> Result<Tree, SourceError>;
}

/// The suffixes of cosign's tags.
pub(super) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// The maximum number of referrers of an image. No plausible image has more.
const MAX_REFERRERS: usize = 10_000;

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
    /// The indexes under the fallback tags of the source, each with its subject.
    pub fallbacks: Vec<(Digest, Index)>,
    /// What could not be copied, as sentences.
    pub notes: Vec<String>,
}

impl Referrers {
    /// Returns their manifests and all manifests below them.
    pub fn manifests(&self) -> impl Iterator<Item = &AnyManifest> {
        let trees = self.all.iter().map(|referrer| &referrer.tree);
        trees.flat_map(|tree| std::iter::once(&tree.root).chain(tree.children.values()))
    }
}

/// The fallback tag of the referrers API (distribution spec, "Referrers Tag Schema").
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The tags of cosign for a manifest.
pub fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> {
    let tag = fallback_tag(digest);
    COSIGN.into_iter().map(move |end| format!("{tag}.{end}"))
}

/// True for a tag by which referrers are found: the fallback tag or one of cosign's.
pub fn is_referrer_tag(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-") else {
        return false;
    };
    let (hex, end) = match rest.split_once('.') {
        Some((hex, end)) => (hex, Some(end)),
        None => (rest, None),
    };
    format!("sha256:{hex}").parse::<Digest>().is_ok() && end.is_none_or(|end| COSIGN.contains(&end))
}

/// The referrers of one manifest.
struct ManifestReferrers {
    referrers: Vec<(AnyManifest, Option<String>)>,
    fallback: Option<(Digest, Index)>,
    notes: Vec<String>,
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

/// Collects all referrers of the image of `tree`.
async fn collect_referrers(
    store: &impl ReferrerStore,
    tree: &Tree,
) -> Result<Referrers, SourceError> {
    let mut referrers = Referrers::default();
    let mut seen: HashSet<Digest> = digests(tree).collect();
    let mut pending: Vec<Digest> = seen.iter().cloned().collect();
    let mut total = 0;
    for _ in 0..MAX_DEPTH {
        let mut found = stream::iter(pending)
            .map(|digest| async move { referrers_of(store, &digest).await })
            .buffered(CONCURRENT_REQUESTS);
        let mut next = Vec::new();
        while let Some(found) = found.try_next().await? {
            referrers.notes.extend(found.notes);
            referrers.fallbacks.extend(found.fallback);
            for (manifest, tag) in found.referrers {
                // A manifest that is found twice is one referrer, but each of its tags counts.
                let is_new = seen.insert(manifest.digest().clone());
                if !is_new && tag.is_none() {
                    continue;
                }
                total += manifest.bytes().len();
                let subject = subject(&manifest);
                let tree = store.tree(manifest, &Platforms::All).await?;
                if !tree.absent.is_empty() {
                    referrers.notes.push(format!(
                        "{}, which refers to the image, is not there as a whole and is left out",
                        tree.root.digest()
                    ));
                    continue;
                }
                if is_new {
                    next.extend(digests(&tree));
                }
                referrers.all.push(Referrer { tree, subject, tag });
            }
            if referrers.all.len() > MAX_REFERRERS || total > MAX_MANIFESTS {
                return Err(SourceError::TooManyReferrers {
                    what: store.what().to_owned(),
                    limit: MAX_REFERRERS,
                });
            }
        }
        if next.is_empty() {
            break;
        }
        seen.extend(next.iter().cloned());
        pending = next;
    }
    Ok(referrers)
}

fn digests(tree: &Tree) -> impl Iterator<Item = Digest> {
    let manifests = std::iter::once(&tree.root).chain(tree.children.values());
    manifests.map(|manifest| manifest.digest().clone())
}

/// The `subject` of a manifest (OCI image spec, `manifest.md`).
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

/// Finds the referrers of one manifest.
async fn referrers_of(
    store: &impl ReferrerStore,
    digest: &Digest,
) -> Result<ManifestReferrers, SourceError> {
    let mut found = ManifestReferrers {
        referrers: Vec::new(),
        fallback: None,
        notes: Vec::new(),
    };
    let tag = fallback_tag(digest);
    let descriptors = match store.referrers(digest).await? {
        Some(descriptors) => descriptors,
        None => match store.manifest(&tag).await? {
            Some(AnyManifest::Index(index)) => {
                let descriptors = index.manifests.clone();
                found.fallback = Some((digest.clone(), index));
                descriptors
            }
            // Anything may have this tag, but only an index lists referrers.
            Some(AnyManifest::Manifest(_)) | None => Vec::new(),
        },
    };
    for descriptor in descriptors {
        match store.manifest_if_valid(descriptor.digest.as_str()).await? {
            Some(manifest) => found.referrers.push((manifest, None)),
            None => found.notes.push(format!(
                "{}, which refers to {digest}, is not there or is no manifest that can be pushed, and is left out",
                descriptor.digest
            )),
        }
    }
    for tag in cosign_tags(digest) {
        if let Some(manifest) = store.manifest_if_valid(&tag).await? {
            found.referrers.push((manifest, Some(tag)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_referrers_are_told_from_others() {
        let digest = Digest::of(b"image");
        let fallback = fallback_tag(&digest);
        assert!(is_referrer_tag(&fallback));
        assert!(cosign_tags(&digest).all(|tag| is_referrer_tag(&tag)));
        for other in [
            digest.hex(),
            &fallback[..70],
            &format!("{fallback}0"),
            &format!("{fallback}.txt"),
            &format!("{fallback}.sig.1"),
            "sha256-1.2.sig",
        ] {
            assert!(!is_referrer_tag(other), "{other}");
        }
    }
}
