//! Lists: Google's extended `tags/list`, the plain one with its pages, `_catalog`, referrers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, header};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::contents::{Image, Manifest};
use super::{auth, unsupported};
use crate::answer::{self, Answer, Refusal};
use crate::behaviour::Referrers;
use crate::call::Call;
use crate::hosts::{ImagePath, PLAIN};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The last state that a lagging listing showed.
pub(crate) struct View {
    shown: Value,
    left: u32,
}

/// `GET /v2/NAME/tags/list`.
pub(super) fn tags(call: &Call, image_path: &ImagePath) -> Result<Answer, Refusal> {
    if call.method != Method::GET {
        return Err(unsupported());
    }
    if call.site.is_google_registry() && call.behaviour.google_listing {
        return google_tags(call, image_path);
    }
    let tags = call.shared.store.image(image_path, |image| {
        let tags: Vec<String> = image.tags.keys().cloned().collect();
        tags
    });
    let Some(tags) = tags.filter(|_| !image_path.image.is_empty()) else {
        return Err(unknown(image_path));
    };
    let path = format!("/v2/{}/tags/list", image_path.name);
    let (page, next) = page(call, &path, tags)?;
    let body = json!({"name": image_path.name, "tags": page});
    Ok(linked(answer::json_body(200, &body), next))
}

/// `GET /v2/_catalog`. How Google's hosts answer it today is unknown, so they refuse it.
pub(super) fn catalog(call: &Call) -> Result<Answer, Refusal> {
    if call.method != Method::GET || call.site.is_google_registry() {
        return Err(unsupported());
    }
    auth::ping(call)?;
    // GitLab shows it to administrators only.
    if call.behaviour.service.is_some() {
        let message = "access forbidden";
        return Err(Refusal::registry(403, "DENIED", message));
    }
    let (page, next) = page(call, "/v2/_catalog", plain_names(call))?;
    Ok(linked(
        answer::json_body(200, &json!({"repositories": page})),
        next,
    ))
}

/// The names of all repositories of the plain registry.
pub(super) fn plain_names(call: &Call) -> Vec<String> {
    let names = call.shared.store.repository(PLAIN, |repository| {
        repository.images.keys().cloned().collect()
    });
    names.unwrap_or_default()
}

/// `GET /v2/NAME/referrers/DIGEST` (OCI distribution-spec 1.1).
pub(super) fn referrers(
    call: &Call,
    image_path: &ImagePath,
    digest: &str,
) -> Result<Answer, Refusal> {
    if call.method != Method::GET {
        return Err(unsupported());
    }
    match call.behaviour.referrers {
        Referrers::Missing => return Err(Refusal::page(404, "Not Found")),
        // What Artifact Registry did in 2024 (google/go-containerregistry#1968).
        Referrers::LoginPage => {
            let page = "<!doctype html><html><title>Sign in - Google Accounts</title></html>";
            return Ok(answer::bytes(200, "text/html; charset=utf-8", page));
        }
        Referrers::Supported | Referrers::Unfiltered => {}
    }
    let supported = call.behaviour.referrers == Referrers::Supported;
    let wanted = call.query.get("artifactType").filter(|_| supported);
    let found = call.shared.store.image(image_path, |image| {
        let pointing = image.manifests.iter();
        pointing
            .filter(|(_, manifest)| manifest.parsed["subject"]["digest"] == digest)
            .map(|(digest, manifest)| descriptor(digest, manifest))
            .filter(|descriptor| wanted.is_none_or(|wanted| descriptor["artifactType"] == wanted))
            .collect::<Vec<Value>>()
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": found.unwrap_or_default(),
    });
    let mut answer = answer::bytes(200, INDEX, index.to_string());
    if wanted.is_some() {
        let name = header::HeaderName::from_static("oci-filters-applied");
        answer::set(&mut answer, name, "artifactType");
    }
    Ok(answer)
}

fn descriptor(digest: &str, manifest: &Manifest) -> Value {
    let parsed = &manifest.parsed;
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": digest,
        "size": manifest.bytes.len(),
    });
    let artifact_type = parsed["artifactType"].as_str();
    if let Some(kind) = artifact_type.or(parsed["config"]["mediaType"].as_str()) {
        descriptor["artifactType"] = kind.into();
    }
    if parsed["annotations"].is_object() {
        descriptor["annotations"] = parsed["annotations"].clone();
    }
    descriptor
}

/// Google's form. A name may be an image, a folder of images, or a whole repository (`gcr.io/P`,
/// `pkg.dev/P/R`): its direct children are listed, one level deep.
fn google_tags(call: &Call, image_path: &ImagePath) -> Result<Answer, Refusal> {
    let found = call
        .shared
        .store
        .repository(&image_path.resource, |repository| {
            let children = children(repository.images.iter(), &image_path.image);
            let image = repository.images.get(&image_path.image);
            let manifests = image.map(|image| google_manifests(call, image));
            let tags = image.map(|image| image.tags.keys().cloned().collect::<Vec<_>>());
            (
                children,
                manifests.unwrap_or_default(),
                tags.unwrap_or_default(),
            )
        });
    let (children, manifests, tags) = found.ok_or_else(|| unknown(image_path))?;
    let empty = children.is_empty() && manifests.is_empty();
    let cap = call.behaviour.listing_cap.unwrap_or(usize::MAX);
    let current = json!({
        "child": children.into_iter().take(cap).collect::<Vec<_>>(),
        "manifest": manifests.into_iter().take(cap).collect::<Map<_, _>>(),
        "name": image_path.name,
        "tags": tags.into_iter().take(cap).collect::<Vec<_>>(),
    });
    let missing = empty && !image_path.image.is_empty() && !call.behaviour.lists_missing_images;
    let shown = if call.behaviour.listing_lag > 0 {
        lagging(call, image_path, current)
    } else if missing {
        return Err(unknown(image_path));
    } else {
        current
    };
    Ok(answer::json_body(200, &shown))
}

/// An earlier state of a listing.
fn lagging(call: &Call, image_path: &ImagePath, current: Value) -> Value {
    let lag = call.behaviour.listing_lag;
    let key = format!("{}/{}", image_path.resource, image_path.image);
    let mut views = call.shared.store.views.lock().unwrap();
    let view = views.entry(key).or_insert_with(|| View {
        shown: json!({"child": [], "manifest": {}, "name": image_path.name, "tags": []}),
        left: lag,
    });
    if view.shown == current || view.left == 0 {
        *view = View {
            shown: current,
            left: lag,
        };
    } else {
        view.left -= 1;
    }
    view.shown.clone()
}

fn children<'a>(
    images: impl Iterator<Item = (&'a String, &'a Image)>,
    parent: &str,
) -> BTreeSet<String> {
    images
        .filter(|(_, image)| !image.manifests.is_empty())
        .filter_map(|(name, _)| {
            let below = match parent {
                "" => name.as_str(),
                parent => name.strip_prefix(parent)?.strip_prefix('/')?,
            };
            let child = below.split('/').next()?;
            Some(child.to_owned())
        })
        .collect()
}

fn google_manifests(call: &Call, image: &Image) -> BTreeMap<String, Value> {
    let mut listed = BTreeMap::new();
    let tags = image.tags_by_digest();
    for (digest, manifest) in &image.manifests {
        // Every number is a string in Google's JSON.
        let mut entry = json!({
            "imageSizeBytes": image_size(manifest).to_string(),
            "layerId": "",
            "mediaType": manifest.media_type,
            "tag": tags.get(digest.as_str()).map_or(&[][..], Vec::as_slice),
            "timeCreatedMs": created_ms(call, manifest).to_string(),
        });
        if call.behaviour.time_uploaded {
            entry["timeUploadedMs"] = milliseconds(manifest.uploaded).to_string().into();
        }
        listed.insert(digest.clone(), entry);
    }
    listed
}

pub(super) fn image_size(manifest: &Manifest) -> u64 {
    let list = |key: &str| {
        manifest.parsed[key]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
    };
    let parts = list("layers").iter().chain(list("manifests"));
    let sizes = parts.chain(manifest.parsed.get("config"));
    sizes.filter_map(|part| part["size"].as_u64()).sum()
}

/// The creation time in the image's config; 0 for indexes and for configs without one.
pub(super) fn created_ms(call: &Call, manifest: &Manifest) -> i128 {
    let read = || {
        let digest = manifest.parsed["config"]["digest"].as_str()?;
        let config = call.shared.store.blobs.bytes(digest)?;
        let config: Value = serde_json::from_slice(&config).ok()?;
        let created = OffsetDateTime::parse(config["created"].as_str()?, &Rfc3339).ok()?;
        Some(created.unix_timestamp_nanos() / 1_000_000)
    };
    read().unwrap_or(0)
}

fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

/// One page by `n` and `last`, and where the next one is (OCI distribution-spec, "Listing
/// tags").
fn page(
    call: &Call,
    path: &str,
    mut all: Vec<String>,
) -> Result<(Vec<String>, Option<String>), Refusal> {
    if let Some(last) = call.query.get("last") {
        all.retain(|item| item.as_str() > last);
    }
    let requested_size = match call.query.get("n").map(str::parse::<usize>) {
        None => usize::MAX,
        Some(Ok(requested_size)) => requested_size,
        Some(Err(_)) => {
            let message = "n is not a number";
            return Err(Refusal::registry(400, "PAGINATION_NUMBER_INVALID", message));
        }
    };
    let size = requested_size.min(call.behaviour.page_limit.unwrap_or(usize::MAX));
    let more = all.len() > size;
    all.truncate(size);
    let next = all.last().filter(|_| more);
    let next = next.map(|last| format!("<{path}?last={last}&n={size}>; rel=\"next\""));
    Ok((all, next))
}

fn linked(mut answer: Answer, next: Option<String>) -> Answer {
    if let Some(next) = next {
        answer::set(&mut answer, header::LINK, &next);
    }
    answer
}

fn unknown(image_path: &ImagePath) -> Refusal {
    let message = if image_path.resource == PLAIN {
        "repository name not known to registry".to_owned()
    } else {
        format!("Repository \"{}\" not found", image_path.name)
    };
    Refusal::registry(404, "NAME_UNKNOWN", message)
}
