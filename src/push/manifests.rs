//! Puts manifests: children before the indexes that name them, the root under each tag, last.

use std::collections::HashSet;

use super::blobs::Blobs;
use super::plan::Standing;
use super::{Destination, PushError, Pushed, PushedTag, Settings};
use crate::config::ExistingTag;
use crate::digest::Digest;
use crate::manifest::AnyManifest;
use crate::source::Tree;

/// Puts the manifests at a destination that has all the blobs, and moves its tags.
pub(super) async fn deliver(
    destination: &Destination,
    tree: &Tree,
    blobs: &Blobs,
    standing: Standing,
    settings: &Settings,
) -> Result<Pushed, PushError> {
    let digest = tree.root.digest();
    if standing.keeps_all(digest, settings.existing_tag) {
        return Ok(left_alone(destination, digest, standing));
    }
    destination.check_tags(&standing, digest, settings.existing_tag)?;
    if !standing.image_is_present {
        for child in children_first(tree) {
            destination.put(child.digest().as_str(), child).await?;
        }
    }

    let mut pushed = Vec::new();
    for (tag, current) in destination.tags.iter().zip(&standing.tags) {
        let moved = current.as_ref() != Some(digest);
        let kept = current
            .clone()
            .filter(|_| moved && settings.existing_tag == ExistingTag::Keep);
        if moved && kept.is_none() {
            destination.put(tag, &tree.root).await?;
        }
        pushed.push(PushedTag {
            tag: tag.clone(),
            moved: moved && kept.is_none(),
            kept,
        });
    }
    let bytes = |is_counted: &dyn Fn(&Digest) -> bool| {
        let counted = blobs.iter().filter(|blob| is_counted(&blob.digest));
        counted.map(|blob| blob.size).sum()
    };
    Ok(Pushed {
        name: destination.name(),
        tags: pushed,
        digest: digest.clone(),
        sent_bytes: bytes(&|digest| standing.sent.contains(digest)),
        mounted_bytes: bytes(&|digest| standing.mounted.contains(digest)),
        present_bytes: bytes(&|digest| {
            !standing.sent.contains(digest) && !standing.mounted.contains(digest)
        }),
        reread: standing.rereads.total(),
    })
}

/// A destination all of whose tags are there and stay where they are.
fn left_alone(destination: &Destination, digest: &Digest, standing: Standing) -> Pushed {
    let tags = destination.tags.iter().zip(standing.tags);
    let tags: Vec<_> = tags
        .map(|(tag, current)| PushedTag {
            tag: tag.clone(),
            moved: false,
            kept: current.filter(|current| current != digest),
        })
        .collect();
    let kept = tags.iter().find_map(|tag| tag.kept.clone());
    Pushed {
        name: destination.name(),
        digest: kept.unwrap_or_else(|| digest.clone()),
        tags,
        sent_bytes: 0,
        mounted_bytes: 0,
        present_bytes: 0,
        reread: (0, 0),
    }
}

impl Destination {
    /// Refuses what `existing_tag: fail` does: a tag that is there with another digest.
    pub(super) fn check_tags(
        &self,
        standing: &Standing,
        digest: &Digest,
        policy: ExistingTag,
    ) -> Result<(), PushError> {
        let mut tags = self.tags.iter().zip(&standing.tags);
        let taken = tags.find_map(|(tag, current)| {
            let current = current.as_ref().filter(|current| *current != digest)?;
            Some((tag, current))
        });
        match (policy, taken) {
            (ExistingTag::Fail, Some((tag, found))) => Err(PushError::TagTaken {
                reference: format!("{}:{tag}", self.name()),
                found: found.clone(),
                digest: digest.clone(),
            }),
            _ => Ok(()),
        }
    }

    async fn put(&self, reference: &str, manifest: &AnyManifest) -> Result<(), PushError> {
        tracing::debug!("putting {} under {reference}", manifest.digest());
        self.registry
            .put_manifest(&self.repository, reference, manifest)
            .await
            .map_err(|cause| self.failed(Some(reference), cause))
    }
}

/// The manifests below the root, each once, each after everything that it names.
fn children_first(tree: &Tree) -> Vec<&AnyManifest> {
    fn walk<'a>(
        manifest: &'a AnyManifest,
        tree: &'a Tree,
        seen: &mut HashSet<&'a Digest>,
        order: &mut Vec<&'a AnyManifest>,
    ) {
        if let AnyManifest::Index(index) = manifest {
            for child in &index.manifests {
                if let Some(child) = tree.children.get(&child.digest)
                    && seen.insert(child.digest())
                {
                    walk(child, tree, seen, order);
                    order.push(child);
                }
            }
        }
    }
    let mut order = Vec::new();
    walk(&tree.root, tree, &mut HashSet::new(), &mut order);
    order
}
