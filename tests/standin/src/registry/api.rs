//! The content of a repository as artifactregistry v1 shows it: docker images, and versions of a
//! package.

use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::contents::{Image, Manifest};
use super::listing::{created_ms, image_size};
use crate::call::Call;

/// The manifests of a repository, as `dockerImages.list` answers them: at most `count` from `start`
/// on, and the total number.
pub(crate) fn docker_images(
    call: &Call,
    resource: &str,
    start: usize,
    count: usize,
) -> (Vec<Value>, usize) {
    let found = call.shared.store.repository(resource, |repository| {
        let images = repository.images.iter();
        let all = images.flat_map(|(name, image)| {
            let manifests = image.manifests.iter();
            manifests.map(move |(digest, manifest)| (name, image, digest, manifest))
        });
        let total = all.clone().count();
        let page = all.skip(start).take(count);
        let mut tags = None;
        let described = page.map(|(name, image, digest, manifest)| {
            // The manifests of an image are adjacent, so its tags are grouped once.
            if tags.as_ref().is_none_or(|(of, _)| *of != name) {
                tags = Some((name, image.tags_by_digest()));
            }
            let own_tags = tags
                .as_ref()
                .and_then(|(_, tags)| tags.get(digest.as_str()));
            let own_tags = own_tags.map_or(&[][..], Vec::as_slice);
            docker_image(call, resource, (name, digest), manifest, own_tags)
        });
        (described.collect(), total)
    });
    found.unwrap_or_default()
}

fn docker_image(
    call: &Call,
    resource: &str,
    (name, digest): (&str, &str),
    manifest: &Manifest,
    tags: &[&str],
) -> Value {
    let parts: Vec<&str> = resource.split('/').collect();
    let (project, location, repository) = (parts[1].replace(':', "/"), parts[3], parts[5]);
    let mut described = json!({
        "name": format!("{resource}/dockerImages/{}@{digest}", name.replace('/', "%2F")),
        "uri": format!("{location}-docker.pkg.dev/{project}/{repository}/{name}@{digest}"),
        "imageSizeBytes": image_size(manifest).to_string(),
        "uploadTime": rfc3339(manifest.uploaded),
        "updateTime": rfc3339(manifest.uploaded),
        "mediaType": manifest.media_type,
    });
    // Empty lists and fields without a value are omitted.
    if !tags.is_empty() {
        described["tags"] = json!(tags);
    }
    if let Some(time) = built(call, manifest) {
        described["buildTime"] = time.into();
    }
    let children = manifest.parsed["manifests"].as_array();
    if let Some(children) = children {
        described["imageManifests"] = children.iter().map(image_manifest).collect();
    }
    described
}

fn image_manifest(child: &Value) -> Value {
    let mut described = json!({"digest": child["digest"], "mediaType": child["mediaType"]});
    for (field, of) in [
        ("architecture", "architecture"),
        ("os", "os"),
        ("variant", "variant"),
    ] {
        if let Some(value) = child["platform"][of].as_str() {
            described[field] = value.into();
        }
    }
    described
}

/// The versions of a package, as `packages.versions.list` answers them. `None` if there is no such
/// package. Without `full` they have neither metadata nor tags.
pub(crate) fn versions(
    call: &Call,
    resource: &str,
    package: &str,
    full: bool,
    (start, count): (usize, usize),
) -> Option<(Vec<Value>, usize)> {
    let found = call.shared.store.repository(resource, |repository| {
        let image: &Image = repository.images.get(package)?;
        let tags = image.tags_by_digest();
        let id = format!("{resource}/packages/{}", package.replace('/', "%2F"));
        let page = image.manifests.iter().skip(start).take(count);
        let described = page.map(|(digest, manifest)| {
            let name = format!("{id}/versions/{digest}");
            let mut described = json!({
                "name": name,
                "createTime": rfc3339(manifest.uploaded),
                "updateTime": rfc3339(manifest.uploaded),
            });
            if full {
                described["metadata"] = json!({
                    "name": format!("{resource}/dockerImages/{package}@{digest}"),
                    "imageSizeBytes": image_size(manifest).to_string(),
                    "mediaType": manifest.media_type,
                });
                if let Some(time) = built(call, manifest) {
                    described["metadata"]["buildTime"] = time.into();
                }
                if let Some(tags) = tags.get(digest.as_str()) {
                    let tags = tags
                        .iter()
                        .map(|tag| json!({"name": format!("{id}/tags/{tag}"), "version": name}));
                    described["relatedTags"] = tags.collect();
                }
            }
            described
        });
        Some((described.collect(), image.manifests.len()))
    });
    found.flatten()
}

fn built(call: &Call, manifest: &Manifest) -> Option<String> {
    let created = created_ms(call, manifest);
    let time = OffsetDateTime::from_unix_timestamp_nanos(created * 1_000_000).ok();
    let time = time.filter(|_| created > 0)?;
    time.format(&Rfc3339).ok()
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}
