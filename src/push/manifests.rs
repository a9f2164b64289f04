//! Puts manifests: children before the indexes that name them, the root under each tag, last.

use std::collections::HashSet;

use super::distribute::Shipment;
use super::probe::Standing;
use super::publish::Delivery;
use super::referrers_tag;
use super::{Destination, PushError, Pushed, PushedTag, TagState};
use crate::image::{Companions, Tree};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;

/// Puts the manifests at a destination that has all the blobs, and moves its tags.
pub(super) async fn deliver(
    destination: &Destination,
    shipment: &Shipment<'_>,
    standing: Standing,
) -> Result<Pushed, PushError> {
    let Shipment { tree, settings, .. } = shipment;
    let digest = tree.root.digest();
    if destination.keeps_all(&standing, digest, settings.existing_tag) {
        let others = standing.tags.iter().flatten();
        let other = others.clone().find(|found| *found != digest);
        let kept = others.map(|found| (found != digest).then(|| found.clone()));
        return Ok(destination.left_alone(other.unwrap_or(digest).clone(), kept));
    }
    destination.check_tags(&standing, digest, settings.existing_tag)?;
    let delivery = Delivery::new(destination, shipment);
    if !standing.image_is_present {
        delivery.put_children(tree).await?;
        // What refers to it comes before its tags, so that nobody finds it unsigned.
        if !shipment.companions.all.is_empty() || destination.tags.is_empty() {
            delivery.put(digest.as_str(), &tree.root).await?;
        }
    }
    accompany(&delivery, shipment.companions, &standing).await?;
    if destination.tags.is_empty() {
        let name = format!("{}@", destination.name());
        destination.journal.note(&name, TagState::Set);
    }

    let mut tags = destination.moves(&standing, digest, settings.existing_tag);
    for tag in tags.iter_mut().filter(|tag| tag.kept.is_none()) {
        let name = format!("{}:{}", destination.name(), tag.tag);
        if tag.moved {
            destination.journal.note(&name, TagState::Asked);
            delivery.put(&tag.tag, &tree.root).await?;
            destination.tally.tagged(&tag.tag, digest);
        }
        tag.moved = destination.tally.has_tagged(&tag.tag, digest);
        destination.journal.note(&name, TagState::Set);
    }
    Ok(pushed(destination, shipment, tags))
}

/// Puts what refers to the image, each after what it refers to.
async fn accompany(
    delivery: &Delivery<'_>,
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
    referrers_tag::list(delivery, companions).await
}

/// What a push did at a destination.
pub(super) fn pushed(
    destination: &Destination,
    shipment: &Shipment<'_>,
    tags: Vec<PushedTag>,
) -> Pushed {
    let bytes = |is_counted: &dyn Fn(&Digest) -> bool| {
        let blobs = shipment.blobs.iter();
        let counted = blobs.filter(|blob| is_counted(&blob.digest));
        counted.map(|blob| blob.size).sum()
    };
    let tally = &destination.tally;
    let companions = &shipment.companions.all;
    let tagged = companions.iter().filter_map(|companion| {
        let tag = companion.tag.clone()?;
        Some((tag, companion.tree.root.digest().clone()))
    });
    Pushed {
        name: destination.name(),
        tags,
        digest: shipment.tree.root.digest().clone(),
        sent_bytes: tally.sent_bytes(),
        mounted_bytes: bytes(&|digest| tally.has_mounted(digest)),
        present_bytes: bytes(&|digest| !tally.has_sent(digest) && !tally.has_mounted(digest)),
        reread: tally.rereads(),
        referrers: companions.len(),
        referrer_tags: tagged.collect(),
    }
}

impl Destination {
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
