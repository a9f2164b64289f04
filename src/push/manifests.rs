//! Puts manifests: children before the indexes that name them, the root under each tag, last.

use std::collections::HashSet;

use super::blobs::{Blobs, send_missing};
use super::plan::Standing;
use super::{Destination, PushError, Pushed, PushedTag, Settings};
use crate::digest::Digest;
use crate::manifest::AnyManifest;
use crate::source::Tree;

/// Brings everything that one destination lacks, and moves its tags.
pub(super) async fn deliver(
    destination: &Destination,
    tree: &Tree,
    blobs: &Blobs,
    mut standing: Standing,
    settings: &Settings,
) -> Result<Pushed, PushError> {
    let digest = tree.root.digest();
    if standing.image_is_present {
        let all = blobs.iter().map(|blob| &blob.digest);
        let there: Vec<_> = all.filter(|blob| !standing.holds(blob)).cloned().collect();
        standing.present.extend(there);
    } else {
        send_missing(destination, blobs, &mut standing, settings).await?;
        for child in children_first(tree) {
            destination.put(child.digest().as_str(), child).await?;
        }
    }

    let mut pushed = Vec::new();
    for (tag, current) in destination.tags.iter().zip(&standing.tags) {
        let moved = current.as_ref() != Some(digest);
        if moved {
            destination.put(tag, &tree.root).await?;
        }
        pushed.push(PushedTag {
            tag: tag.clone(),
            moved,
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
        present_bytes: bytes(&|digest| !standing.sent.contains(digest)),
    })
}

impl Destination {
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
