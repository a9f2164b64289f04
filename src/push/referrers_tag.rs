//! The index that lists what refers to a manifest, on registries that have no API for it.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::PushError;
use super::publish::ManifestPublisher;
use crate::image::{Referrer, Referrers, fallback_tag};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Index, media_type};

/// Lists the companions at a destination whose registry does not list them by itself.
pub(super) async fn update_referrers_tag(
    delivery: &ManifestPublisher<'_>,
    companions: &Referrers,
) -> Result<(), PushError> {
    let destination = delivery.destination;
    let mut subjects: Vec<&Digest> = Vec::new();
    for subject in companions
        .all
        .iter()
        .filter_map(|companion| companion.subject.as_ref())
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
        let there = destination.manifest(&tag).await?;
        let referring = companions.all.iter();
        let referring = referring.filter(|one| one.subject.as_ref() == Some(subject));
        let referring: Vec<_> = referring.collect();
        let original = companions.fallbacks.iter().find(|(of, _)| of == subject);
        let index = match there {
            Some(AnyManifest::Index(there)) => merge(&there, &referring),
            _ => Some(match original {
                // What the source has is what the destination gets, where it has all of it.
                Some((_, index)) if lists_exactly(index, &referring) => {
                    AnyManifest::Index(index.clone())
                }
                _ => build_index(Vec::new(), &referring)?,
            }),
        };
        if let Some(index) = index {
            delivery.put(&tag, &index).await?;
        }
    }
    Ok(())
}

/// True when the index lists these and nothing else.
fn lists_exactly(index: &Index, referring: &[&Referrer]) -> bool {
    let listed: HashSet<_> = index.manifests.iter().map(|child| &child.digest).collect();
    let carried: HashSet<_> = referring.iter().map(|one| one.tree.root.digest()).collect();
    listed == carried
}

/// The index with those added that it does not list; none where it lists them all.
fn merge(there: &Index, referring: &[&Referrer]) -> Option<AnyManifest> {
    let lacks = |one: &&&Referrer| {
        let mut listed = there.manifests.iter();
        !listed.any(|child| child.digest == *one.tree.root.digest())
    };
    let missing: Vec<&Referrer> = referring.iter().filter(lacks).copied().collect();
    if missing.is_empty() {
        return None;
    }
    let document: Value = serde_json::from_slice(&there.bytes).ok()?;
    let listed = document["manifests"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    build_index(listed, &missing).ok()
}

/// An index of what is listed already and of these.
fn build_index(mut listed: Vec<Value>, referring: &[&Referrer]) -> Result<AnyManifest, PushError> {
    listed.extend(referring.iter().map(|one| descriptor(&one.tree.root)));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": listed,
    });
    AnyManifest::parse(index.to_string().into(), None).map_err(PushError::Manifest)
}

/// The descriptor of a referrer: as the API would list it, with its type and its annotations
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

    fn companion(kind: &str) -> Referrer {
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
        let (one, two) = (
            companion("application/x-one"),
            companion("application/x-two"),
        );
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
