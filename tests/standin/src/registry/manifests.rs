//! Manifests and indexes: PUT with every check that a strict registry makes, GET and HEAD
//! of the stored bytes, DELETE with Google's refusals.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, header};

use super::contents::{Image, Manifest};
use super::references::{Part, check_references, named_parts, parse_checked};
use super::{CONTENT_DIGEST, located, names};
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::Referrers;
use crate::call::Call;
use crate::hosts::ImagePath;
use crate::storage;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// HEAD and GET. The stored type is answered even when `Accept` does not name it: gcloud detects an
/// index by asking for indexes only.
pub(super) fn get(call: &Call, image_path: &ImagePath, reference: &str) -> Result<Answer, Refusal> {
    let found = call.shared.store.image(image_path, |image| {
        let digest = image.resolve(reference)?;
        Some((digest.to_owned(), image.manifests[digest].clone()))
    });
    let (digest, manifest) = found.flatten().ok_or_else(|| unknown(reference))?;
    if call.behaviour.strict_accept && !accepts(call, &manifest.media_type) {
        return Err(unknown(reference));
    }
    let length = manifest.bytes.len();
    let head = call.method == Method::HEAD;
    let body = if head { Bytes::new() } else { manifest.bytes };
    let mut answer = answer::bytes(200, &manifest.media_type, body);
    answer::set(&mut answer, header::CONTENT_LENGTH, &length.to_string());
    if !call.behaviour.omit_content_digest {
        answer::set(&mut answer, CONTENT_DIGEST, &digest);
    }
    Ok(answer)
}

/// PUT by tag or digest.
pub(super) async fn put(
    call: &mut Call,
    image_path: &ImagePath,
    reference: &str,
) -> Result<Answer, Refusal> {
    if call.site.is_google_registry() && call.behaviour.length_required && !call.has_length() {
        return Err(Refusal::page(411, "Length Required"));
    }
    let limit = call.behaviour.manifest_limit;
    let Some(bytes) = call.body.whole(limit).await? else {
        let message = format!("manifest is larger than {limit} bytes");
        return Err(Refusal::registry(413, "SIZE_INVALID", message));
    };
    let digest = storage::digest(&bytes);
    let tag = (!names::is_digest(reference)).then_some(reference);
    if tag.is_none() && reference != digest {
        let message = format!("provided digest {reference} did not match content {digest}");
        return Err(Refusal::registry(400, "DIGEST_INVALID", message));
    }
    let media_type = call
        .header(header::CONTENT_TYPE)
        .unwrap_or_default()
        .to_owned();
    let parsed = parse_checked(&bytes, &media_type)?;
    if call.forget_blobs {
        for (part, digest, _) in named_parts(&parsed) {
            match part {
                Part::Child => call.shared.store.forget_manifest(image_path, digest),
                Part::Config | Part::Layer => call.shared.store.forget_blob(image_path, digest),
            }
        }
    }
    check_references(call, image_path, &parsed)?;
    check_tag(call, image_path, tag, &digest)?;
    let subject = parsed["subject"]["digest"].as_str().map(str::to_owned);
    let manifest = Manifest {
        media_type,
        bytes: bytes.into(),
        parsed,
        uploaded: SystemTime::now(),
    };
    call.shared.store.change(image_path, |image| {
        // A manifest that is put again keeps the time of its first upload.
        image.manifests.entry(digest.clone()).or_insert(manifest);
        if let Some(tag) = tag {
            image.tags.insert(tag.to_owned(), digest.clone());
        }
    });
    let mut answer = answer::empty(201);
    located(&mut answer, &image_path.name, "manifests", reference);
    if !call.behaviour.omit_content_digest {
        answer::set(&mut answer, CONTENT_DIGEST, &digest);
    }
    let native = matches!(
        call.behaviour.referrers,
        Referrers::Supported | Referrers::Unfiltered
    );
    if let Some(subject) = subject.filter(|_| native) {
        answer::set(&mut answer, OCI_SUBJECT, &subject);
    }
    Ok(answer)
}

/// DELETE of a tag, or of a manifest that nothing refers to.
pub(super) fn delete(
    call: &Call,
    image_path: &ImagePath,
    reference: &str,
) -> Result<Answer, Refusal> {
    let google = call.site.is_google_registry();
    let (immutable, collect) = (is_immutable(call, image_path), call.behaviour.collect_blobs);
    let by_tag = !names::is_digest(reference);
    let deleted = call.shared.store.image(image_path, |image| {
        let digest = image.resolve(reference).ok_or_else(|| unknown(reference))?;
        match google {
            true if by_tag && immutable => Err(immutable_refusal(call, reference)),
            true if !by_tag => check_dangling(image, digest),
            _ => Ok(()),
        }
    });
    deleted.unwrap_or_else(|| Err(unknown(reference)))?;
    call.shared.store.forget_manifest(image_path, reference);
    if google && collect && !by_tag {
        call.shared.store.change(image_path, collect_blobs);
    }
    Ok(answer::empty(202))
}

/// Google's order: tags, then parents, then referrers. None of these codes is OCI's.
fn check_dangling(image: &Image, digest: &str) -> Result<(), Refusal> {
    let refusal = |code, message| Err(Refusal::registry(400, code, message));
    if let Some(tag) = image.tags_of(digest).first() {
        let message = format!("Manifest is still referenced by tag: {tag}");
        return refusal("GOOGLE_MANIFEST_DANGLING_TAG", message);
    }
    let mut parents = image.manifests.iter().filter(|(_, manifest)| {
        let children = manifest.parsed["manifests"].as_array();
        children.is_some_and(|children| children.iter().any(|child| child["digest"] == digest))
    });
    if let Some((parent, _)) = parents.next() {
        let message =
            format!("Manifest is still referenced by one or more parent images: {parent}");
        return refusal("GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", message);
    }
    let mut manifests = image.manifests.iter();
    let referring = |(_, manifest): &(_, &Manifest)| manifest.parsed["subject"]["digest"] == digest;
    if let Some((referrer, _)) = manifests.find(referring) {
        let message = format!("Manifest is still referred to by manifest: {referrer}");
        return refusal("GOOGLE_MANIFEST_REFERRING_MANIFEST", message);
    }
    Ok(())
}

/// Removes the blobs that no manifest names any more, which Artifact Registry does at once
/// (cloudfoundry/korifi#2381).
fn collect_blobs(image: &mut Image) {
    let manifests = image.manifests.values();
    let named: Vec<&str> = manifests
        .flat_map(|manifest| named_parts(&manifest.parsed))
        .map(|(_, digest, _)| digest)
        .collect();
    image.blobs.retain(|blob| named.contains(&blob.as_str()));
}

fn check_tag(
    call: &Call,
    image_path: &ImagePath,
    tag: Option<&str>,
    digest: &str,
) -> Result<(), Refusal> {
    let Some(tag) = tag.filter(|_| is_immutable(call, image_path)) else {
        return Ok(());
    };
    let old = call
        .shared
        .store
        .image(image_path, |image| image.tags.get(tag).cloned());
    match old.flatten() {
        None => Ok(()),
        Some(old) if old == digest && !call.behaviour.immutable_refuses_repeat => Ok(()),
        Some(_) => Err(immutable_refusal(call, tag)),
    }
}

fn is_immutable(call: &Call, image_path: &ImagePath) -> bool {
    let store = &call.shared.store;
    let set = store.repository(&image_path.resource, |repository| {
        repository.options.immutable_tags
    });
    let google = call.site.is_google_registry();
    google && (call.behaviour.immutable_tags || set.unwrap_or(false))
}

/// artifact-registry/docs/docker/troubleshoot#push.
fn immutable_refusal(call: &Call, tag: &str) -> Refusal {
    let status = call.behaviour.statuses.immutable;
    let message = format!("cannot update tag {tag}. The repository has enabled tag immutability");
    Refusal::registry(status, "MANIFEST_INVALID", message)
}

fn accepts(call: &Call, media_type: &str) -> bool {
    let lines = call.headers.get_all(header::ACCEPT);
    let mut values = lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .peekable();
    values.peek().is_none()
        || values.flat_map(|line| line.split(',')).any(|value| {
            let value = value.split(';').next().unwrap_or_default().trim();
            value == media_type || value == "*/*"
        })
}

fn unknown(reference: &str) -> Refusal {
    let message = format!("Failed to fetch \"{reference}\"");
    Refusal::registry(404, "MANIFEST_UNKNOWN", message)
}
