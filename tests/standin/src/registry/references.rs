//! The parts of a manifest: its form, and the blobs and children that it names.

use serde_json::Value;

use super::names;
use crate::answer::Refusal;
use crate::call::Call;
use crate::hosts::ImagePath;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The digest of no bytes. Artifact Registry refuses it as a config (oras-project/oras#184).
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The manifest as JSON, if it is one of the four kinds and says so.
pub(super) fn parse_checked(bytes: &[u8], media_type: &str) -> Result<Value, Refusal> {
    let invalid = |message: String| Refusal::registry(400, "MANIFEST_INVALID", message);
    let parsed: Value = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("manifest is not JSON: {error}")))?;
    let index = match media_type {
        OCI_MANIFEST | DOCKER_MANIFEST => false,
        OCI_INDEX | DOCKER_LIST => true,
        other => return Err(invalid(format!("unsupported manifest type: {other:.100}"))),
    };
    if parsed["schemaVersion"] != 2 {
        return Err(invalid("schemaVersion is not 2".to_owned()));
    }
    // OCI image-spec: when set, `mediaType` must be the type it is served with. Docker's
    // own manifests always have it.
    let declared = parsed.get("mediaType").and_then(Value::as_str);
    let docker = matches!(media_type, DOCKER_MANIFEST | DOCKER_LIST);
    if declared.map_or(docker, |declared| declared != media_type) {
        return Err(invalid(format!(
            "mediaType is {declared:?}, Content-Type {media_type}"
        )));
    }
    let complete = if index {
        parsed["manifests"].is_array()
    } else {
        parsed["config"].is_object() && parsed["layers"].is_array()
    };
    if !complete {
        return Err(invalid(format!("fields of a {media_type} are missing")));
    }
    Ok(parsed)
}

/// A part of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Config,
    Layer,
    Child,
}

/// Every blob and child that has to be in the same repository, with its size.
pub(super) fn named_parts(parsed: &Value) -> Vec<(Part, &str, Option<u64>)> {
    let list = |key: &str| parsed[key].as_array().map_or(&[][..], Vec::as_slice);
    let config = parsed
        .get("config")
        .into_iter()
        .map(|part| (Part::Config, part));
    let layers = list("layers").iter().filter(|layer| !is_foreign(layer));
    let layers = layers.map(|part| (Part::Layer, part));
    let children = list("manifests").iter().map(|part| (Part::Child, part));
    config
        .chain(layers)
        .chain(children)
        .map(|(part, descriptor)| {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            (part, digest, descriptor["size"].as_u64())
        })
        .collect()
}

/// True for a layer that is fetched from elsewhere (Windows base images) and need not be here.
fn is_foreign(layer: &Value) -> bool {
    let media_type = layer["mediaType"].as_str().unwrap_or_default();
    media_type.contains("nondistributable") || media_type.contains(".foreign.")
}

/// Checks that every blob and child is in this repository, with the size of its descriptor.
pub(super) fn check_references(
    call: &Call,
    image_path: &ImagePath,
    parsed: &Value,
) -> Result<(), Refusal> {
    let store = &call.shared.store;
    let status = call.behaviour.statuses.unknown_reference;
    let mut missing = Vec::new();
    for (part, digest, size) in named_parts(parsed) {
        if !names::is_digest(digest) {
            let message = format!("descriptor with digest {digest:?}");
            return Err(Refusal::registry(400, "MANIFEST_INVALID", message));
        }
        if part == Part::Child {
            let child = store.image(image_path, |image| {
                image
                    .manifests
                    .get(digest)
                    .map(|manifest| manifest.bytes.len() as u64)
            });
            let Some(length) = child.flatten() else {
                let message = format!("Manifest references unknown manifest: {digest}");
                return Err(Refusal::registry(status, "MANIFEST_BLOB_UNKNOWN", message));
            };
            check_size(digest, size, length)?;
            continue;
        }
        let length = store
            .blobs
            .length(digest)
            .filter(|_| store.has_blob(image_path, digest));
        match length {
            None => missing.push(digest),
            Some(length) => check_size(digest, size, length)?,
        }
        let google = call.site.is_google_registry();
        if google && part == Part::Config && digest == EMPTY {
            let message = "manifest config is empty";
            return Err(Refusal::registry(400, "MANIFEST_INVALID", message));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Manifest references unknown blob(s): {}",
        missing.join(", ")
    );
    Err(Refusal::registry(status, "BLOB_UNKNOWN", message))
}

fn check_size(digest: &str, message: Option<u64>, is: u64) -> Result<(), Refusal> {
    if message == Some(is) {
        return Ok(());
    }
    let message = format!("{digest} has {is} bytes, its descriptor says {message:?}");
    Err(Refusal::registry(400, "MANIFEST_INVALID", message))
}
