//! A manifest or index with all below it, and what is left of it when children are left out.

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

/// A manifest or index, with every manifest below it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What a tag will point at.
    pub root: AnyManifest,
    /// Every manifest below an index, by digest, children before the indexes that name them being
    /// the caller's concern; empty under a plain manifest.
    pub children: HashMap<Digest, AnyManifest>,
    /// Children of an index that the source does not hold, or not whole, each once: `docker save`
    /// of an image that was pulled for one platform has its whole index and one child of it. They
    /// are not in `children`.
    pub absent: Vec<Descriptor>,
    /// Children that the source holds and that were not read, because their platforms are not
    /// wanted. They are not in `children` either.
    pub skipped: HashSet<Digest>,
}

/// Part of a [`Tree`]: what [`Tree::keep`] and [`Tree::present`] return.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The tree that is left, with nothing absent in it.
    pub tree: Tree,
    /// How it came to be; none when it is the whole tree, byte for byte.
    pub smaller: Option<RewrittenIndex>,
}

/// What became of an index that lost children: the one case in which a manifest is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrittenIndex {
    /// The digest of the index as the source has it.
    pub from: Digest,
    /// The digest of what takes its place.
    pub to: Digest,
    /// The platforms that are left, or short digests where a child names none.
    pub kept: Vec<String>,
    /// The platforms that are gone, likewise.
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

/// The manifest that an attestation is about, when `descriptor` is an attestation as BuildKit
/// writes them into an index (docs.docker.com/build/metadata/attestations/attestation-storage).
pub fn attestation_subject(descriptor: &Descriptor) -> Option<&str> {
    let annotations = &descriptor.annotations;
    if annotations.get("vnd.docker.reference.type")? != "attestation-manifest" {
        return None;
    }
    annotations
        .get("vnd.docker.reference.digest")
        .map(String::as_str)
}

/// How a child is called in messages: by its platform where it has one.
pub(super) fn label(descriptor: &Descriptor) -> String {
    let text = match (&descriptor.platform, attestation_subject(descriptor)) {
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
    /// A tree of one manifest.
    pub fn of(root: AnyManifest) -> Self {
        Self {
            root,
            children: HashMap::new(),
            absent: Vec::new(),
            skipped: HashSet::new(),
        }
    }

    /// The tree of an index if all its children were there, of which nothing but their digests is
    /// known: what would become of it can be told by it, but nothing be pushed. None where a child is
    /// an index too.
    pub fn supposed(index: &Index) -> Option<Self> {
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

    /// Every blob that its manifests name; one that several name comes several times.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.root)
            .chain(self.children.values())
            .filter_map(|manifest| match manifest {
                AnyManifest::Manifest(manifest) => Some(manifest.blobs()),
                AnyManifest::Index(_) => None,
            })
            .flatten()
    }

    /// The images that the indexes name and that are in the source, in their order; attestations are
    /// none.
    pub fn images(&self) -> Vec<&Descriptor> {
        let mut images = Vec::new();
        let mut seen = HashSet::new();
        let mut waiting = match &self.root {
            AnyManifest::Index(index) => index.manifests.iter().rev().collect(),
            AnyManifest::Manifest(_) => Vec::new(),
        };
        while let Some(child) = waiting.pop() {
            match self.children.get(&child.digest) {
                // One index may be named many times.
                Some(AnyManifest::Index(index)) if seen.insert(&child.digest) => {
                    waiting.extend(index.manifests.iter().rev());
                }
                Some(AnyManifest::Manifest(_)) if attestation_subject(child).is_none() => {
                    images.push(child)
                }
                None if self.skipped.contains(&child.digest)
                    && attestation_subject(child).is_none() =>
                {
                    images.push(child);
                }
                _ => {}
            }
        }
        images
    }

    /// The platforms that are in the source, each once: those that the indexes name for the
    /// manifests that are there. A plain manifest names none.
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

    /// The part of the tree that is in the source.
    ///
    /// A registry takes no index whose children it does not have, so an index with absent children
    /// cannot be pushed as it is: with one child left, that child takes its place; with several, a
    /// smaller index does. An index with nothing absent stays as it is, byte for byte.
    pub fn present(&self) -> Selection {
        // An index without any child in the source was refused when it was opened.
        self.keep(|_| true).unwrap_or_else(|| Selection {
            tree: self.clone(),
            smaller: None,
        })
    }

    /// The part of the tree whose manifests are `wanted` and in the source; none when that is
    /// nothing. A manifest that is the root is always kept.
    ///
    /// `wanted` is asked about the children that are no indexes. An attestation goes with the
    /// manifest that it is about: it is kept if that is, and if it is wanted as well.
    pub fn keep(&self, wanted: impl Fn(&Descriptor) -> bool) -> Option<Selection> {
        let whole = || Selection {
            tree: self.clone(),
            smaller: None,
        };
        let AnyManifest::Index(index) = &self.root else {
            return Some(whole());
        };
        let mut pruning = Pruning {
            tree: self,
            wanted: &wanted,
            done: HashMap::new(),
            children: HashMap::new(),
            kept: Vec::new(),
            left_out: Vec::new(),
        };
        let root = match pruning.prune(index) {
            Kept::Whole => return Some(whole()),
            Kept::Nothing => return None,
            Kept::Smaller(index) => AnyManifest::Index(index),
            Kept::One(child) => pruning.children.get(&child.descriptor.digest)?.clone(),
        };
        let smaller = RewrittenIndex {
            from: index.digest.clone(),
            to: root.digest().clone(),
            kept: pruning.kept,
            left_out: pruning.left_out,
        };
        let mut children = pruning.children;
        children.remove(root.digest());
        Some(Selection {
            tree: Self {
                root,
                children,
                absent: Vec::new(),
                skipped: HashSet::new(),
            },
            smaller: Some(smaller),
        })
    }
}

/// What is left of an index.
#[derive(Clone)]
enum Kept {
    Whole,
    Nothing,
    Smaller(Index),
    One(Child),
}

/// An entry of an index: as it is read, and as it is written.
#[derive(Clone)]
struct Child {
    descriptor: Descriptor,
    json: Value,
}

struct Pruning<'a, W> {
    tree: &'a Tree,
    wanted: &'a W,
    /// Indexes that were seen before: one may be named many times.
    done: HashMap<Digest, Kept>,
    children: HashMap<Digest, AnyManifest>,
    kept: Vec<String>,
    left_out: Vec<String>,
}

impl<W: Fn(&Descriptor) -> bool> Pruning<'_, W> {
    fn prune(&mut self, index: &Index) -> Kept {
        if let Some(kept) = self.done.get(&index.digest) {
            return kept.clone();
        }
        let kept = self.prune_anew(index);
        self.done.insert(index.digest.clone(), kept.clone());
        kept
    }

    fn prune_anew(&mut self, index: &Index) -> Kept {
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
            if attestation_subject(descriptor).is_some() {
                children.push(Some(child));
                continue;
            }
            let (child, differs) = self.child(child);
            changed |= differs;
            if child.is_some() {
                kept.insert(descriptor.digest.as_str());
            } else {
                self.left_out.push(label(descriptor));
            }
            children.push(child);
        }
        // Only now is it known which of the others are kept.
        for child in &mut children {
            let Some(Child { descriptor, .. }) = child else {
                continue;
            };
            let Some(about) = attestation_subject(descriptor) else {
                continue;
            };
            match self.tree.children.get(&descriptor.digest) {
                Some(manifest) if kept.contains(about) && (self.wanted)(descriptor) => {
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
        // The same image under the same platform twice is one.
        let is_one = children.windows(2).all(|pair| {
            let [one, other] = [&pair[0].descriptor, &pair[1].descriptor];
            one.digest == other.digest && one.platform == other.platform
        });
        match (is_one, children.pop()) {
            (true, Some(only)) => Kept::One(only),
            (_, Some(last)) => {
                children.push(last);
                Kept::Smaller(rewritten(index, document, children))
            }
            (_, None) => Kept::Nothing,
        }
    }

    /// What is left of one child that is no attestation, and whether that differs from it.
    fn child(&mut self, mut child: Child) -> (Option<Child>, bool) {
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
            Some(whole @ AnyManifest::Index(index)) => match self.prune(index) {
                Kept::Nothing => (None, true),
                Kept::Whole => {
                    self.children.insert(digest, whole.clone());
                    (Some(child), false)
                }
                Kept::One(only) => (Some(only), true),
                Kept::Smaller(index) => {
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

fn rewritten(
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
