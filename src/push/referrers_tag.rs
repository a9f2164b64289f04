//! The referrers tag: an index of a manifest's referrers, for registries without the referrers API.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::PushError;
use super::publish::ManifestPublisher;
use crate::image::{Referrer, Referrers, fallback_tag};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Index, media_type};

/// Adds the referrers to the referrers tags, if the registry has no referrers API.
pub(super) async fn update_referrers_tag(
    publisher: &ManifestPublisher<'_>,
    referrers: &Referrers,
) -> Result<(), PushError> {
    let destination = publisher.destination;
    let mut subjects: Vec<&Digest> = Vec::new();
    for subject in referrers
        .all
        .iter()
        .filter_map(|referrer| referrer.subject.as_ref())
    {
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
        let of_subject: Vec<_> = of_subject.collect();
        let original = referrers.fallbacks.iter().find(|(of, _)| of == subject);
        let index = match existing {
            Some(AnyManifest::Index(existing)) => merge(&existing, &of_subject),
            _ => Some(match original {
                // The source's index is pushed unchanged if it lists exactly these referrers.
                Some((_, index)) if lists_exactly(index, &of_subject) => {
                    AnyManifest::Index(index.clone())
                }
                _ => build_index(Vec::new(), &of_subject)?,
            }),
        };
        if let Some(index) = index {
            publisher.put(&tag, &index).await?;
        }
    }
    Ok(())
}

/// Returns whether the index lists these referrers and no others.
fn lists_exactly(index: &Index, referrers: &[&Referrer]) -> bool {
    let listed: HashSet<_> = index.manifests.iter().map(|child| &child.digest).collect();
    let expected: HashSet<_> = referrers.iter().map(|one| one.tree.root.digest()).collect();
    listed == expected
}

/// Returns the index with the missing referrers added. `None` if it lists all of them.
fn merge(existing: &Index, referrers: &[&Referrer]) -> Option<AnyManifest> {
    let is_missing = |one: &&&Referrer| {
        let mut listed = existing.manifests.iter();
        !listed.any(|child| child.digest == *one.tree.root.digest())
    };
    let missing: Vec<&Referrer> = referrers.iter().filter(is_missing).copied().collect();
    if missing.is_empty() {
        return None;
    }
    let document: Value = serde_json::from_slice(&existing.bytes).ok()?;
    let listed = document["manifests"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    build_index(listed, &missing).ok()
}

/// Builds an index of the listed descriptors and of these referrers.
fn build_index(mut listed: Vec<Value>, referrers: &[&Referrer]) -> Result<AnyManifest, PushError> {
    listed.extend(referrers.iter().map(|one| descriptor(&one.tree.root)));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": listed,
    });
    AnyManifest::parse(index.to_string().into(), None).map_err(PushError::Manifest)
}

/// Returns the descriptor of a referrer as the API lists it, with artifact type and annotations
/// (distribution spec, "Listing Referrers").
fn descriptor(manifest: &AnyManifest) -> Value {
    let document: Value = serde_json::from_slice(manifest.bytes()).unwrap_or_default();
    let mut descriptor = Map::new();
    descriptor.insert("mediaType".to_owned(), manifest.media_type().into());
    descriptor.insert("digest".to_owned(), manifest.digest().as_str().into());
    descriptor.insert("size".to_owned(), manifest.bytes().len().into());
    let stated = document["artifactType"]
        .as_str()
        .filter(|kind| !kind.is_empty());
    if let Some(kind) = stated.or_else(|| document["config"]["mediaType"].as_str()) {
        descriptor.insert("artifactType".to_owned(), kind.into());
    }
    if let Some(annotations) = document.get("annotations") {
        descriptor.insert("annotations".to_owned(), annotations.clone());
    }
    descriptor.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Tree;

    fn referrer(kind: &str) -> Referrer {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                "digest": Digest::of(b"{}"), "size": 2},
            "layers": [],
            "annotations": {"kind": kind},
        });
        let manifest = AnyManifest::parse(manifest.to_string().into(), None).unwrap();
        Referrer {
            tree: Tree::of(manifest),
            subject: Some(Digest::of(b"image")),
            tag: None,
        }
    }

    #[test]
    fn index_keeps_its_entries_and_gains_missing_ones_once() {
        let (one, two) = (referrer("application/x-one"), referrer("application/x-two"));
        let AnyManifest::Index(first) = build_index(Vec::new(), &[&one]).unwrap() else {
            panic!("an index")
        };
        assert!(lists_exactly(&first, &[&one]) && !lists_exactly(&first, &[&one, &two]));
        assert!(merge(&first, &[&one]).is_none());
        let Some(AnyManifest::Index(both)) = merge(&first, &[&one, &two]) else {
            panic!("an index")
        };
        assert!(lists_exactly(&both, &[&two, &one]));
        let document: Value = serde_json::from_slice(&both.bytes).unwrap();
        assert_eq!(
            document["manifests"][1]["artifactType"],
            "application/x-two"
        );
        assert_eq!(
            document["manifests"][1]["annotations"]["kind"],
            "application/x-two"
        );
    }
}
