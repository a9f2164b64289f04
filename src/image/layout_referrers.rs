//! What an OCI layout holds beside its image: manifests that refer to it, as oras copies them, the
//! fallback tags that regctl writes, and the tags and kinds of cosign.
//!
//! A layout has no API to ask, but it lists what it holds in `index.json`, so all of that is read.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md#indexjson-file>

use std::collections::HashMap;

use super::SourceError;
use super::files::{ByteRange, Documents, SourceFiles};
use super::oci_layout::{IndexEntry, Layers, Layout};
use super::referrers::{COSIGN, ReferrerStore, fallback_tag, subject};
use super::tree::Tree;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor};
use crate::oci::platform::Platforms;

/// A layout that stays open after its image was read.
pub(super) struct OpenLayout {
    pub(super) files: Box<dyn SourceFiles + Send + Sync>,
    pub(super) address: String,
    pub(super) layout: Layout,
}

/// Everything that a layout lists.
pub(super) struct LayoutReferrers {
    what: String,
    /// Every manifest that is there, whole.
    manifests: HashMap<Digest, AnyManifest>,
    /// The manifests that name a subject, by that.
    referring: HashMap<Digest, Vec<Descriptor>>,
    /// What is named like a tag of referrers or of cosign.
    tagged: HashMap<String, Digest>,
    /// Where the blobs of all of it are.
    pub(super) places: HashMap<Digest, ByteRange>,
}

impl OpenLayout {
    /// Reads all that the layout lists beside the image with this root.
    pub(super) fn attached(&self, root: &Digest) -> Result<LayoutReferrers, SourceError> {
        let documents = Documents::new(&*self.files, self.address.clone());
        let mut attached = LayoutReferrers {
            what: documents.what(),
            manifests: HashMap::new(),
            referring: HashMap::new(),
            tagged: HashMap::new(),
            places: HashMap::new(),
        };
        let image = self
            .layout
            .images
            .iter()
            .find(|one| one.root.digest == *root);
        for listed in &self.layout.images {
            attached.read(&self.layout, &documents, listed)?;
            for tag in listed.companion_tags(image) {
                attached.tagged.insert(tag, listed.root.digest.clone());
            }
        }
        Ok(attached)
    }
}

impl IndexEntry {
    /// True for what is listed by a tag or a kind that only referrers and signatures have.
    pub(super) fn is_companion(&self) -> bool {
        let is_tag = |alias: &String| fallback(alias).is_some();
        self.kind().is_some() || !self.aliases.is_empty() && self.aliases.iter().all(is_tag)
    }

    /// The end of the tag that cosign would give it: `cosign save` writes a kind instead.
    /// <https://github.com/sigstore/cosign/blob/main/pkg/oci/layout/write.go>
    fn kind(&self) -> Option<&'static str> {
        let kind = self.root.annotations.get("kind")?;
        match kind.strip_prefix("dev.cosignproject.cosign/")? {
            "sigs" => Some("sig"),
            "atts" => Some("att"),
            "sboms" => Some("sbom"),
            _ => None,
        }
    }

    /// The tags that it is looked for by, where it goes along with an image. What has a kind goes
    /// with the image of its name, or where it has none with the one that is pushed.
    fn companion_tags(&self, image: Option<&Self>) -> Vec<String> {
        let tags = self.aliases.iter().filter_map(|alias| fallback(alias));
        let mut tags: Vec<_> = tags.map(str::to_owned).collect();
        if let (Some(end), Some(image)) = (self.kind(), image) {
            let shares = |alias: &String| image.aliases.contains(alias);
            if self.aliases.is_empty() || self.aliases.iter().any(shares) {
                tags.push(format!("{}.{end}", fallback_tag(&image.root.digest)));
            }
        }
        tags
    }
}

/// The tag in a name, where it is one that stands in for the referrers API, or one of cosign's.
fn fallback(name: &str) -> Option<&str> {
    let tag = name.rsplit(':').next()?;
    let (hex, end) = match tag.strip_prefix("sha256-")?.split_once('.') {
        Some((hex, end)) => (hex, Some(end)),
        None => (tag.strip_prefix("sha256-")?, None),
    };
    let is_digest = format!("sha256:{hex}").parse::<Digest>().is_ok();
    (is_digest && end.is_none_or(|end| COSIGN.contains(&end))).then_some(tag)
}

impl LayoutReferrers {
    fn read(
        &mut self,
        layout: &Layout,
        documents: &Documents<'_>,
        listed: &IndexEntry,
    ) -> Result<(), SourceError> {
        let digest = &listed.root.digest;
        let about = match layout.load(documents, listed, Layers::Required) {
            Ok(loaded) => {
                let about = subject(&loaded.tree.root);
                self.places.extend(loaded.blobs);
                self.manifests.extend(loaded.tree.children);
                self.manifests.insert(digest.clone(), loaded.tree.root);
                about
            }
            Err(error @ SourceError::TooLarge { .. }) => return Err(error),
            // Another image of the layout may be broken; what refers to this one is told as such.
            Err(_) => layout
                .manifest(documents, listed)
                .as_ref()
                .and_then(subject),
        };
        if let Some(about) = about {
            let referring = self.referring.entry(about).or_default();
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
                None => tree.absent.push(child.clone()),
            }
        }
    }
}

impl ReferrerStore for LayoutReferrers {
    fn what(&self) -> &str {
        &self.what
    }

    /// None where an index under the fallback tag lists all of them: then that is what is kept.
    async fn referrers(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, SourceError> {
        let mut found = self.referring.get(digest).cloned().unwrap_or_default();
        if let Some(AnyManifest::Index(index)) = self.find(&fallback_tag(digest)) {
            let lists = |one: &Descriptor| index.manifests.iter().any(|it| it.digest == one.digest);
            if found.iter().all(lists) {
                return Ok(None);
            }
            let more = index.manifests.iter();
            let more = more.filter(|one| found.iter().all(|it| it.digest != one.digest));
            let more: Vec<_> = more.cloned().collect();
            found.extend(more);
        }
        Ok(Some(found))
    }

    async fn manifest(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError> {
        Ok(self.find(reference).cloned())
    }

    async fn readable(&self, reference: &str) -> Result<Option<AnyManifest>, SourceError> {
        self.manifest(reference).await
    }

    async fn tree(&self, root: AnyManifest, _: &Platforms) -> Result<Tree, SourceError> {
        let mut tree = Tree::of(root.clone());
        self.descend(&root, &mut tree);
        Ok(tree)
    }
}
