//! Puts manifests: children before the indexes that name them, the root under each tag, last.

use std::collections::HashSet;

use super::delivery::Delivery;
use super::fallback;
use super::homes::Shipment;
use super::plan::Standing;
use super::{Destination, PushError, Pushed, PushedTag, TagState};
use crate::config::ExistingTag;
use crate::digest::Digest;
use crate::manifest::AnyManifest;
use crate::source::{Companions, Tree};

/// Puts the manifests at a destination that has all the blobs, and moves its tags.
pub(super) async fn deliver(
    destination: &Destination,
    shipment: &Shipment<'_>,
    mut standing: Standing,
) -> Result<Pushed, PushError> {
    let Shipment { tree, settings, .. } = shipment;
    let digest = tree.root.digest();
    if standing.keeps_all(digest, settings.existing_tag) {
        return Ok(left_alone(destination, digest, standing));
    }
    destination.check_tags(&standing, digest, settings.existing_tag)?;
    let mut delivery = Delivery::new(destination, shipment);
    if !standing.image_is_present {
        delivery.put_children(tree).await?;
        if !shipment.companions.all.is_empty() {
            // What refers to it comes before its tags, so that nobody finds it unsigned.
            delivery.put(digest.as_str(), &tree.root).await?;
        }
    }
    accompany(&mut delivery, shipment.companions, &standing).await?;

    let tags = moves(destination, &standing, digest, settings.existing_tag);
    for tag in tags.iter().filter(|tag| tag.kept.is_none()) {
        let name = format!("{}:{}", destination.name(), tag.tag);
        if tag.moved {
            destination.journal.note(&name, TagState::Asked);
            delivery.put(&tag.tag, &tree.root).await?;
        }
        destination.journal.note(&name, TagState::Set);
    }
    standing.sent.extend(delivery.sent_again);
    Ok(pushed(destination, shipment, &standing, tags))
}

/// Puts what refers to the image, each after what it refers to.
async fn accompany(
    delivery: &mut Delivery<'_>,
    companions: &Companions,
    standing: &Standing,
) -> Result<(), PushError> {
    let pairs = companions.all.iter().zip(&standing.companions);
    for (companion, _) in pairs.filter(|(_, is_there)| !**is_there) {
        let root = &companion.tree.root;
        delivery.put_children(&companion.tree).await?;
        let reference = companion.tag.as_deref().unwrap_or(root.digest().as_str());
        delivery.put(reference, root).await?;
    }
    fallback::list(delivery.destination, companions).await
}

/// What becomes of each tag.
pub(super) fn moves(
    destination: &Destination,
    standing: &Standing,
    digest: &Digest,
    policy: ExistingTag,
) -> Vec<PushedTag> {
    let tags = destination.tags.iter().zip(&standing.tags);
    let tags = tags.map(|(tag, current)| {
        let other = current.as_ref().filter(|current| *current != digest);
        let kept = other.filter(|_| policy == ExistingTag::Keep).cloned();
        PushedTag {
            tag: tag.clone(),
            moved: current.as_ref() != Some(digest) && kept.is_none(),
            kept,
        }
    });
    tags.collect()
}

/// What a push did at a destination.
pub(super) fn pushed(
    destination: &Destination,
    shipment: &Shipment<'_>,
    standing: &Standing,
    tags: Vec<PushedTag>,
) -> Pushed {
    let bytes = |is_counted: &dyn Fn(&Digest) -> bool| {
        let blobs = shipment.blobs.iter();
        let counted = blobs.filter(|blob| is_counted(&blob.digest));
        counted.map(|blob| blob.size).sum()
    };
    let (sent, mounted) = (&standing.sent, &standing.mounted);
    let companions = &shipment.companions.all;
    let tagged = companions.iter().filter_map(|companion| {
        let tag = companion.tag.clone()?;
        Some((tag, companion.tree.root.digest().clone()))
    });
    Pushed {
        name: destination.name(),
        tags,
        digest: shipment.tree.root.digest().clone(),
        sent_bytes: bytes(&|digest| sent.contains(digest)),
        mounted_bytes: bytes(&|digest| mounted.contains(digest)),
        present_bytes: bytes(&|digest| !sent.contains(digest) && !mounted.contains(digest)),
        reread: standing.rereads.total(),
        referrers: companions.len(),
        referrer_tags: tagged.collect(),
    }
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
        referrers: 0,
        referrer_tags: Vec::new(),
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

    pub(super) async fn put(
        &self,
        reference: &str,
        manifest: &AnyManifest,
    ) -> Result<(), PushError> {
        tracing::debug!("putting {} under {reference}", manifest.digest());
        self.registry
            .put_manifest(&self.repository, reference, manifest)
            .await
            .map_err(|cause| self.failed(Some(reference), cause))
    }
}

/// The manifests below the root, each once, each after everything that it names.
pub(super) fn children_first(tree: &Tree) -> Vec<&AnyManifest> {
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
