//! Finds the referrers in an OCI layout: manifests with a subject, as oras copies them, the
//! fallback tags that regctl writes, and the tags and kinds of cosign.
//!
//! A layout has no referrers API, but `index.json` lists everything, so all of it is read.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md#indexjson-file>

use std::collections::HashMap;

use super::SourceError;
use super::files::{ByteRange, Documents, SourceFiles};
use super::oci_layout::{IndexEntry, Layers, Layout};
use super::referrers::ReferrerStore;
use super::tree::Tree;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor};
use crate::oci::referrers::{fallback_tag, is_referrer_tag, subject};

/// A layout that stays open after its image was read.
pub(super) struct OpenLayout {
    pub(super) files: Box<dyn SourceFiles + Send + Sync>,
    pub(super) address: String,
    pub(super) layout: Layout,
}

/// All manifests that a layout lists.
pub(super) struct LayoutReferrers {
    what: String,
    /// Every manifest whose content is complete.
    manifests: HashMap<Digest, AnyManifest>,
    /// The descriptors of manifests that have a subject, by that subject.
    referring: HashMap<Digest, Vec<Descriptor>>,
    /// The manifests under fallback tags and tags of cosign.
    tagged: HashMap<String, Digest>,
    /// The location of their blobs.
    pub(super) blobs: HashMap<Digest, ByteRange>,
}

impl OpenLayout {
    /// Reads everything that the layout lists in addition to the image with this root.
    pub(super) fn referrers(&self, root: &Digest) -> Result<LayoutReferrers, SourceError> {
        let documents = Documents::new(&*self.files, self.address.clone());
        let mut referrers = LayoutReferrers {
            what: documents.what(),
            manifests: HashMap::new(),
            referring: HashMap::new(),
            tagged: HashMap::new(),
            blobs: HashMap::new(),
        };
        let image = self
            .layout
            .images
            .iter()
            .find(|listed| listed.root.digest == *root);
        for listed in &self.layout.images {
            referrers.read(&self.layout, &documents, listed)?;
            for tag in listed.referrer_tags(image) {
                referrers.tagged.insert(tag, listed.root.digest.clone());
            }
        }
        Ok(referrers)
    }
}

impl IndexEntry {
    /// True for an entry whose tag or kind marks it as a referrer or a signature.
    pub(super) fn is_referrer(&self) -> bool {
        let is_tag = |alias: &String| referrer_tag_of(alias).is_some();
        self.cosign_suffix().is_some()
            || !self.aliases.is_empty() && self.aliases.iter().all(is_tag)
    }

    /// The suffix of the tag that cosign would use. `cosign save` writes a kind instead.
    /// <https://github.com/sigstore/cosign/blob/main/pkg/oci/layout/write.go>
    fn cosign_suffix(&self) -> Option<&'static str> {
        let kind = self.root.annotations.get("kind")?;
        match kind.strip_prefix("dev.cosignproject.cosign/")? {
            "sigs" => Some("sig"),
            "atts" => Some("att"),
            "sboms" => Some("sbom"),
            _ => None,
        }
    }

    /// The tags under which it is found as a referrer. An entry with a kind belongs to the image of
    /// the same name, and without a name to the image that is pushed.
    fn referrer_tags(&self, image: Option<&Self>) -> Vec<String> {
        let tags = self
            .aliases
            .iter()
            .filter_map(|alias| referrer_tag_of(alias));
        let mut tags: Vec<_> = tags.map(str::to_owned).collect();
        if let (Some(end), Some(image)) = (self.cosign_suffix(), image) {
            let shares = |alias: &String| image.aliases.contains(alias);
            if self.aliases.is_empty() || self.aliases.iter().any(shares) {
                tags.push(format!("{}.{end}", fallback_tag(&image.root.digest)));
            }
        }
        tags
    }
}

/// Returns the tag in a name if it is a fallback tag of the referrers API or a tag of cosign.
fn referrer_tag_of(name: &str) -> Option<&str> {
    name.rsplit(':').next().filter(|tag| is_referrer_tag(tag))
}

impl LayoutReferrers {
    fn read(
        &mut self,
        layout: &Layout,
        documents: &Documents<'_>,
        listed: &IndexEntry,
    ) -> Result<(), SourceError> {
        let digest = &listed.root.digest;
        let subject_digest = match layout.load(documents, listed, Layers::Required) {
            Ok(loaded) => {
                let subject_digest = subject(&loaded.tree.root);
                self.blobs.extend(loaded.blobs);
                self.manifests.extend(loaded.tree.children);
                self.manifests.insert(digest.clone(), loaded.tree.root);
                subject_digest
            }
            Err(error @ SourceError::TooLarge { .. }) => return Err(error),
            // Another image of the layout may be broken. A broken referrer of this image is
            // reported as such.
            Err(_) => layout
                .manifest(documents, listed)
                .as_ref()
                .and_then(subject),
        };
        if let Some(subject_digest) = subject_digest {
            let referring = self.referring.entry(subject_digest).or_default();
            referring.push(listed.root.clone());
        }
        Ok(())
    }

    fn find(&self, reference: &str) -> Option<&AnyManifest> {
        match reference.parse() {
            Ok(digest) => self.manifests.get(&digest),
            Err(_) => self.manifests.get(self.tagged.get(reference)?),
        }
    }

    fn descend(&self, manifest: &AnyManifest, tree: &mut Tree) {
        let AnyManifest::Index(index) = manifest else {
            return;
        };
        for child in &index.manifests {
            match self.manifests.get(&child.digest) {
                Some(found) if tree.children.contains_key(found.digest()) => {}
                Some(found) => {
                    tree.children.insert(child.digest.clone(), found.clone());
                    self.descend(found, tree);
                }
                None => tree.missing.push(child.clone()),
            }
        }
    }
}

impl ReferrerStore for LayoutReferrers {
    fn what(&self) -> &str {
        &self.what
    }

    /// `None` if an index under the fallback tag lists all of them, because that index is then
    /// copied.
    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError> {
        let mut referrers = self.referring.get(digest).cloned().unwrap_or_default();
        if let Some(AnyManifest::Index(index)) = self.find(&fallback_tag(digest)) {
            let contains = |list: &[Descriptor], wanted: &Descriptor| {
                list.iter().any(|entry| entry.digest == wanted.digest)
            };
            if referrers
                .iter()
                .all(|referrer| contains(&index.manifests, referrer))
            {
                return Ok(None);
            }
            for entry in &index.manifests {
                if !contains(&referrers, entry) {
                    referrers.push(entry.clone());
                }
            }
        }
        Ok(Some(referrers))
    }

    async fn digest_of_tag(&self, tag: &str) -> Result<Option<Digest>, SourceError> {
        Ok(self.tagged.get(tag).cloned())
    }

    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError> {
        Ok(self.find(reference).cloned())
    }

    async fn tree(&self, root: AnyManifest) -> Result<Tree, SourceError> {
        let mut tree = Tree::of(root.clone());
        self.descend(&root, &mut tree);
        Ok(tree)
    }
}
