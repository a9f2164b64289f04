//! How the referrers of a manifest are found: by the subject in them, by the fallback tag of OCI
//! distribution 1.1 with the index under it, and by the tags of cosign.
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema>
//! <https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::json;
use super::manifest::{AnyManifest, Index, ManifestError, media_type};

/// The suffixes of cosign's tags.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// The fallback tag of the referrers API.
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The tags of cosign for a manifest.
pub fn cosign_tags(digest: &Digest) -> impl Iterator<Item = String> {
    let tag = fallback_tag(digest);
    COSIGN.into_iter().map(move |end| format!("{tag}.{end}"))
}

/// True for a tag by which referrers are found: the fallback tag or one of cosign's.
pub fn is_referrer_tag(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-") else {
        return false;
    };
    let (hex, end) = match rest.split_once('.') {
        Some((hex, end)) => (hex, Some(end)),
        None => (rest, None),
    };
    format!("sha256:{hex}").parse::<Digest>().is_ok() && end.is_none_or(|end| COSIGN.contains(&end))
}

/// The `subject` of a manifest (OCI image spec, `manifest.md`).
pub fn subject(manifest: &AnyManifest) -> Option<Digest> {
    #[derive(Deserialize)]
    struct Fields {
        subject: Option<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digest,
    }
    let fields: Fields = json::from_slice(manifest.bytes()).ok()?;
    fields.subject.map(|subject| subject.digest)
}

/// Returns the index for a fallback tag: what `existing` lists, and these referrers. `None` if
/// `existing` lists all of them.
///
/// # Errors
///
/// If the index cannot be pushed.
pub fn merge(
    existing: Option<&Index>,
    referrers: &[&AnyManifest],
) -> Result<Option<AnyManifest>, ManifestError> {
    let listed = existing.iter().flat_map(|index| &index.manifests);
    let mut known: HashSet<&Digest> = listed.map(|listed| &listed.digest).collect();
    let missing = referrers.iter().filter(|one| known.insert(one.digest()));
    let missing: Vec<Value> = missing.map(|manifest| descriptor(manifest)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let document = existing.and_then(|index| serde_json::from_slice(&index.bytes).ok());
    let document: Value = document.unwrap_or_default();
    let mut listed = document["manifests"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    listed.extend(missing);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": listed,
    });
    AnyManifest::parse(index.to_string().into(), None).map(Some)
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

    #[test]
    fn tags_of_referrers_are_told_from_others() {
        let digest = Digest::of(b"image");
        let fallback = fallback_tag(&digest);
        assert!(is_referrer_tag(&fallback));
        assert!(cosign_tags(&digest).all(|tag| is_referrer_tag(&tag)));
        for other in [
            digest.hex(),
            &fallback[..70],
            &format!("{fallback}0"),
            &format!("{fallback}.txt"),
            &format!("{fallback}.sig.1"),
            "sha256-1.2.sig",
        ] {
            assert!(!is_referrer_tag(other), "{other}");
        }
    }

    #[test]
    fn index_keeps_its_entries_and_gains_missing_ones_once() {
        let [one, two] = ["application/x-one", "application/x-two"].map(|kind| {
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": media_type::OCI_MANIFEST,
                "artifactType": kind,
                "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": Digest::of(b"{}"), "size": 2},
                "layers": [],
                "annotations": {"kind": kind},
            });
            AnyManifest::parse(manifest.to_string().into(), None).unwrap()
        });
        let merged =
            |existing: Option<&Index>, referrers: &[&AnyManifest]| match merge(existing, referrers)
                .unwrap()
            {
                Some(AnyManifest::Index(index)) => Some(index),
                _ => None,
            };
        let first = merged(None, &[&one]).unwrap();
        assert!(merged(Some(&first), &[&one]).is_none());
        let both = merged(Some(&first), &[&one, &two]).unwrap();
        let digests = both.manifests.iter().map(|listed| &listed.digest);
        assert!(digests.eq([one.digest(), two.digest()]));
        let document: Value = serde_json::from_slice(&both.bytes).unwrap();
        let second = &document["manifests"][1];
        assert_eq!(second["artifactType"], "application/x-two");
        assert_eq!(second["annotations"]["kind"], "application/x-two");
    }
}
