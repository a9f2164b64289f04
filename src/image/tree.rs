//! A manifest or index with all manifests below it, and its filtering by platform.

use std::collections::{HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::error::list;
use crate::diagnostics::sanitize::sanitize;
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index, Manifest};
use crate::oci::platform::Platform;

/// A manifest or index, with all manifests below it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The manifest or index that a tag will point at.
    pub root: AnyManifest,
    /// Every manifest below the root, by digest. Empty if the root is a plain manifest. The caller
    /// must push children before the indexes that name them.
    pub children: HashMap<Digest, AnyManifest>,
    /// Children of an index that are not in the source, or not completely, each once. `docker save`
    /// of an image that was pulled for one platform writes the whole index and one child. They are
    /// not in `children`.
    pub missing: Vec<Descriptor>,
    /// Children that are in the source but were not read, because their platforms are not wanted.
    /// They are not in `children` either.
    pub skipped: HashSet<Digest>,
}

/// A part of a [`Tree`], returned by [`Tree::filter`] and [`Tree::available`].
#[derive(Clone, Debug)]
pub struct Selection {
    /// The remaining tree. Nothing is missing in it.
    pub tree: Tree,
    /// How the index was rewritten. `None` if the tree is unchanged, byte for byte.
    pub rewritten: Option<RewrittenIndex>,
}

/// An index that lost children. This is the only case in which a manifest is rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrittenIndex {
    /// The digest of the index in the source.
    pub from: Digest,
    /// The digest of its replacement.
    pub to: Digest,
    /// The remaining platforms, or short digests for children without one.
    pub kept: Vec<String>,
    /// The platforms that were left out, in the same form.
    pub left_out: Vec<String>,
}

impl fmt::Display for RewrittenIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the index {} became {} with {}; left out: {}",
            self.from,
            self.to,
            list(&self.kept),
            list(&self.left_out)
        )
    }
}

/// Returns the name of a child in messages: its platform, if it has one.
pub(super) fn label(descriptor: &Descriptor) -> String {
    let text = match (&descriptor.platform, descriptor.attestation_subject()) {
        (Some(platform), None) => platform.to_string(),
        (_, Some(_)) => format!("attestation {}", descriptor.digest.short()),
        (None, None) => format!("{} {}", kind(descriptor), descriptor.digest.short()),
    };
    sanitize(&text)
}

fn kind(descriptor: &Descriptor) -> &'static str {
    if descriptor.is_index() {
        "index"
    } else {
        "manifest"
    }
}

impl Tree {
    /// Builds a tree of one manifest.
    pub fn of(root: AnyManifest) -> Self {
        Self {
            root,
            children: HashMap::new(),
            missing: Vec::new(),
            skipped: HashSet::new(),
        }
    }

    /// Builds the tree of an index as if all its children were in the source. Only the digests of
    /// the children are known, so the tree predicts which index will be pushed, but cannot be
    /// pushed itself. `None` if a child is an index too.
    pub fn predicted(index: &Index) -> Option<Self> {
        let child = |child: &Descriptor| {
            let manifest = Manifest {
                bytes: Bytes::new(),
                digest: child.digest.clone(),
                media_type: child.media_type.clone(),
                config: child.clone(),
                layers: Vec::new(),
            };
            let manifest = AnyManifest::Manifest(manifest);
            (!child.is_index()).then(|| (child.digest.clone(), manifest))
        };
        Some(Self {
            children: index.manifests.iter().map(child).collect::<Option<_>>()?,
            ..Self::of(AnyManifest::Index(index.clone()))
        })
    }

    /// Returns the root and everything below it.
    pub fn manifests(&self) -> impl Iterator<Item = &AnyManifest> {
        std::iter::once(&self.root).chain(self.children.values())
    }

    /// Returns the manifests that are not indexes.
    pub fn image_manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests().filter_map(|manifest| match manifest {
            AnyManifest::Manifest(manifest) => Some(manifest),
            AnyManifest::Index(_) => None,
        })
    }

    /// Returns every blob that its manifests name. A blob that several manifests name is returned
    /// several times.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.image_manifests().flat_map(Manifest::blobs)
    }

    /// Returns the images in the source in the order of the indexes, without attestations.
    pub fn images(&self) -> Vec<&Descriptor> {
        let mut images = Vec::new();
        let mut seen = HashSet::new();
        let mut pending = match &self.root {
            AnyManifest::Index(index) => index.manifests.iter().rev().collect(),
            AnyManifest::Manifest(_) => Vec::new(),
        };
        while let Some(child) = pending.pop() {
            match self.children.get(&child.digest) {
                // An index may be named several times.
                Some(AnyManifest::Index(index)) if seen.insert(&child.digest) => {
                    pending.extend(index.manifests.iter().rev());
                }
                Some(AnyManifest::Manifest(_)) if !child.is_attestation() => images.push(child),
                None if self.skipped.contains(&child.digest) && !child.is_attestation() => {
                    images.push(child);
                }
                _ => {}
            }
        }
        images
    }

    /// Returns the platforms in the source, each once, as the indexes state them. A plain manifest
    /// states none.
    pub fn platforms(&self) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in self
            .images()
            .into_iter()
            .filter_map(|i| i.platform.as_ref())
        {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        platforms
    }

    /// Returns the part of the tree that is in the source.
    ///
    /// A registry refuses an index whose children it does not have, so an index with missing
    /// children cannot be pushed unchanged. If one child is left, it replaces the index; if several
    /// are left, a smaller index does. An index without missing children stays unchanged, byte for
    /// byte.
    pub fn available(&self) -> Selection {
        // An index without any child in the source was refused when it was opened.
        self.filter(|_| true).unwrap_or_else(|| Selection {
            tree: self.clone(),
            rewritten: None,
        })
    }

    /// Returns the part of the tree whose manifests are `wanted` and in the source. `None` if
    /// nothing is left. A manifest that is the root is always kept.
    ///
    /// `wanted` is called for children that are not indexes. An attestation is kept if it is wanted
    /// and its subject is kept.
    pub fn filter(&self, wanted: impl Fn(&Descriptor) -> bool) -> Option<Selection> {
        let whole = || Selection {
            tree: self.clone(),
            rewritten: None,
        };
        let AnyManifest::Index(index) = &self.root else {
            return Some(whole());
        };
        let mut filter = IndexFilter {
            tree: self,
            wanted: &wanted,
            done: HashMap::new(),
            children: HashMap::new(),
            kept: Vec::new(),
            left_out: Vec::new(),
        };
        let root = match filter.filter_index(index) {
            Kept::Whole => return Some(whole()),
            Kept::Nothing => return None,
            Kept::Rewritten(index) => AnyManifest::Index(index),
            Kept::One(child) => filter.children.get(&child.descriptor.digest)?.clone(),
        };
        let rewritten = RewrittenIndex {
            from: index.digest.clone(),
            to: root.digest().clone(),
            kept: filter.kept,
            left_out: filter.left_out,
        };
        let mut children = filter.children;
        children.remove(root.digest());
        Some(Selection {
            tree: Self {
                root,
                children,
                missing: Vec::new(),
                skipped: HashSet::new(),
            },
            rewritten: Some(rewritten),
        })
    }
}

/// What remains of an index.
#[derive(Clone)]
enum Kept {
    Whole,
    Nothing,
    Rewritten(Index),
    One(Child),
}

/// An entry of an index: parsed, and as JSON.
#[derive(Clone)]
struct Child {
    descriptor: Descriptor,
    json: Value,
}

struct IndexFilter<'a, W> {
    tree: &'a Tree,
    wanted: &'a W,
    /// The results for indexes that were filtered before, because an index may be named several
    /// times.
    done: HashMap<Digest, Kept>,
    children: HashMap<Digest, AnyManifest>,
    kept: Vec<String>,
    left_out: Vec<String>,
}

impl<W: Fn(&Descriptor) -> bool> IndexFilter<'_, W> {
    fn filter_index(&mut self, index: &Index) -> Kept {
        if let Some(kept) = self.done.get(&index.digest) {
            return kept.clone();
        }
        let kept = self.filter_new_index(index);
        self.done.insert(index.digest.clone(), kept.clone());
        kept
    }

    fn filter_new_index(&mut self, index: &Index) -> Kept {
        let Ok(Value::Object(mut document)) = serde_json::from_slice(&index.bytes) else {
            return Kept::Whole;
        };
        let key = json::key_of(&document, "manifests").map(str::to_owned);
        let Some(Value::Array(entries)) = key.and_then(|key| document.remove(&key)) else {
            return Kept::Whole;
        };
        let mut changed = false;
        let mut kept = HashSet::new();
        let mut children = Vec::with_capacity(entries.len());
        for (descriptor, json) in index.manifests.iter().zip(entries) {
            let child = Child {
                descriptor: descriptor.clone(),
                json,
            };
            if descriptor.is_attestation() {
                children.push(Some(child));
                continue;
            }
            let (child, differs) = self.filter_child(child);
            changed |= differs;
            if child.is_some() {
                kept.insert(descriptor.digest.as_str());
            } else {
                self.left_out.push(label(descriptor));
            }
            children.push(child);
        }
        // The attestations come second, because they depend on which other children are kept.
        for child in &mut children {
            let Some(Child { descriptor, .. }) = child else {
                continue;
            };
            let Some(subject) = descriptor.attestation_subject() else {
                continue;
            };
            match self.tree.children.get(&descriptor.digest) {
                Some(manifest) if kept.contains(subject) && (self.wanted)(descriptor) => {
                    self.children
                        .insert(descriptor.digest.clone(), manifest.clone());
                }
                _ => {
                    changed = true;
                    self.left_out.push(label(descriptor));
                    *child = None;
                }
            }
        }
        let mut children: Vec<Child> = children.into_iter().flatten().collect();
        if !changed {
            return Kept::Whole;
        }
        // Entries with the same digest and the same platform are one image.
        let is_one = children.windows(2).all(|pair| {
            let [one, other] = [&pair[0].descriptor, &pair[1].descriptor];
            one.digest == other.digest && one.platform == other.platform
        });
        match (is_one, children.pop()) {
            (true, Some(only)) => Kept::One(only),
            (_, Some(last)) => {
                children.push(last);
                Kept::Rewritten(rewrite_index(index, document, children))
            }
            (_, None) => Kept::Nothing,
        }
    }

    /// Filters one child that is not an attestation. The flag is true if the child changed.
    fn filter_child(&mut self, mut child: Child) -> (Option<Child>, bool) {
        let digest = child.descriptor.digest.clone();
        match self.tree.children.get(&digest) {
            Some(manifest @ AnyManifest::Manifest(_)) if (self.wanted)(&child.descriptor) => {
                let label = label(&child.descriptor);
                if !self.kept.contains(&label) {
                    self.kept.push(label);
                }
                self.children.insert(digest, manifest.clone());
                (Some(child), false)
            }
            Some(AnyManifest::Manifest(_)) | None => (None, true),
            Some(whole @ AnyManifest::Index(index)) => match self.filter_index(index) {
                Kept::Nothing => (None, true),
                Kept::Whole => {
                    self.children.insert(digest, whole.clone());
                    (Some(child), false)
                }
                Kept::One(only) => (Some(only), true),
                Kept::Rewritten(index) => {
                    child.descriptor.digest = index.digest.clone();
                    child.descriptor.size = index.bytes.len() as u64;
                    child.json["digest"] = index.digest.as_str().into();
                    child.json["size"] = child.descriptor.size.into();
                    self.children
                        .insert(index.digest.clone(), AnyManifest::Index(index));
                    (Some(child), true)
                }
            },
        }
    }
}

fn rewrite_index(
    index: &Index,
    mut document: serde_json::Map<String, Value>,
    children: Vec<Child>,
) -> Index {
    let (manifests, entries): (_, Vec<Value>) = children
        .into_iter()
        .map(|child| (child.descriptor, child.json))
        .unzip();
    document.insert("manifests".to_owned(), entries.into());
    let bytes = Bytes::from(Value::Object(document).to_string());
    Index {
        digest: Digest::of(&bytes),
        bytes,
        media_type: index.media_type.clone(),
        manifests,
    }
}
