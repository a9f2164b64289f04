//! Publishes manifests: children before their indexes, then referrers, then the tags.

use std::collections::HashSet;

use super::distribute::PushPlan;
use super::probe::DestinationState;
use super::publish::ManifestPublisher;
use super::referrers_tag;
use super::{Destination, PushError, Pushed, PushedTag, TagState};
use crate::image::{Referrers, Tree};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;

/// Puts the manifests at a destination that has all blobs, and moves its tags.
pub(super) async fn publish(
    destination: &Destination,
    plan: &PushPlan<'_>,
    state: DestinationState,
) -> Result<Pushed, PushError> {
    let PushPlan { tree, settings, .. } = plan;
    let digest = tree.root.digest();
    if destination.keeps_all(&state, digest, settings.options.existing_tag) {
        let others = state.tags.iter().flatten();
        let other = others.clone().find(|found| *found != digest);
        let kept = others.map(|found| (found != digest).then(|| found.clone()));
        return Ok(destination.unchanged(other.unwrap_or(digest).clone(), kept));
    }
    destination.check_tags(&state, digest, settings.options.existing_tag)?;
    let publisher = ManifestPublisher::new(destination, plan);
    if !state.image_is_present {
        publisher.put_children(tree).await?;
        // Referrers are pushed before the tags, so that a tag never points at an unsigned image.
        if !plan.referrers.all.is_empty() || destination.tags.is_empty() {
            publisher.put(digest.as_str(), &tree.root).await?;
        }
    }
    push_referrers(&publisher, plan.referrers, &state).await?;
    if destination.tags.is_empty() {
        let name = format!("{}@", destination.name());
        destination.tag_log.note(&name, TagState::Updated);
    }

    let mut tags = destination.tag_updates(&state, digest, settings.options.existing_tag);
    for tag in tags.iter_mut().filter(|tag| tag.kept.is_none()) {
        let name = format!("{}:{}", destination.name(), tag.tag);
        if tag.moved {
            destination.tag_log.note(&name, TagState::Requested);
            publisher.put(&tag.tag, &tree.root).await?;
            destination.stats.tagged(&tag.tag, digest);
        }
        tag.moved = destination.stats.has_tagged(&tag.tag, digest);
        destination.tag_log.note(&name, TagState::Updated);
    }
    Ok(pushed(destination, plan, tags))
}

/// Puts the referrers that the destination lacks, each after its subject.
async fn push_referrers(
    publisher: &ManifestPublisher<'_>,
    referrers: &Referrers,
    state: &DestinationState,
) -> Result<(), PushError> {
    let pairs = referrers.all.iter().zip(&state.referrers);
    for (referrer, _) in pairs.filter(|(_, is_present)| !**is_present) {
        let root = &referrer.tree.root;
        publisher.put_children(&referrer.tree).await?;
        let reference = referrer.tag.as_deref().unwrap_or(root.digest().as_str());
        publisher.put(reference, root).await?;
    }
    referrers_tag::update_referrers_tag(publisher, referrers).await
}

/// Creates the result of a push at a destination.
pub(super) fn pushed(
    destination: &Destination,
    plan: &PushPlan<'_>,
    tags: Vec<PushedTag>,
) -> Pushed {
    let bytes = |is_counted: &dyn Fn(&Digest) -> bool| {
        let blobs = plan.blobs.iter();
        let counted = blobs.filter(|blob| is_counted(&blob.digest));
        counted.map(|blob| blob.size).sum()
    };
    let stats = &destination.stats;
    let referrers = &plan.referrers.all;
    let tagged = referrers.iter().filter_map(|referrer| {
        let tag = referrer.tag.clone()?;
        Some((tag, referrer.tree.root.digest().clone()))
    });
    Pushed {
        name: destination.name(),
        tags,
        digest: plan.tree.root.digest().clone(),
        sent_bytes: stats.sent_bytes(),
        mounted_bytes: bytes(&|digest| stats.has_mounted(digest)),
        present_bytes: bytes(&|digest| !stats.has_sent(digest) && !stats.has_mounted(digest)),
        reread: stats.rereads(),
        referrers: referrers.len(),
        referrer_tags: tagged.collect(),
    }
}

impl Destination {
    /// Puts one manifest under a tag or digest.
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

/// Returns the child manifests of the tree, each once, and each after the manifests that it names.
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
