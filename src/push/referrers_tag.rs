//! Writes the fallback tags of subjects, for registries without the referrers API.

use std::collections::HashSet;

use super::PushError;
use super::publish::ManifestPublisher;
use crate::image::Referrers;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Index};
use crate::oci::referrers::{fallback_tag, merge};

/// Adds the referrers to the fallback tags, if the registry has no referrers API.
pub(super) async fn update_referrers_tag(
    publisher: &ManifestPublisher<'_>,
    referrers: &Referrers,
) -> Result<(), PushError> {
    let destination = publisher.destination;
    let mut subjects: Vec<&Digest> = Vec::new();
    for subject in referrers.all.iter().filter_map(|one| one.subject.as_ref()) {
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    let Some(first) = subjects.first() else {
        return Ok(());
    };
    let registry = &destination.registry;
    let listed = registry.referrers(&destination.repository, first).await;
    if listed
        .map_err(|cause| destination.failed(None, cause))?
        .is_some()
    {
        return Ok(());
    }
    for subject in subjects {
        let tag = fallback_tag(subject);
        let existing = destination.manifest(&tag).await?;
        let of_subject = referrers.all.iter();
        let of_subject = of_subject.filter(|one| one.subject.as_ref() == Some(subject));
        let of_subject: Vec<_> = of_subject.map(|one| &one.tree.root).collect();
        let index = match (existing, referrers.fallbacks.get(subject)) {
            (Some(AnyManifest::Index(existing)), _) => merge(Some(&existing), &of_subject),
            // The source's index is pushed unchanged if it lists exactly these referrers.
            (_, Some(index)) if lists_exactly(index, &of_subject) => {
                Ok(Some(AnyManifest::Index(index.clone())))
            }
            _ => merge(None, &of_subject),
        };
        if let Some(index) = index.map_err(PushError::Manifest)? {
            publisher.put(&tag, &index).await?;
        }
    }
    Ok(())
}

/// Returns whether the index lists these referrers and no others.
fn lists_exactly(index: &Index, referrers: &[&AnyManifest]) -> bool {
    let listed: HashSet<_> = index.manifests.iter().map(|child| &child.digest).collect();
    let expected: HashSet<_> = referrers.iter().map(|one| one.digest()).collect();
    listed == expected
}
