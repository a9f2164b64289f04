//! `list`: the images of a project, or the manifests of an image with their tags, complete however
//! many there are, newest first.
//!
//! Artifact Registry's API is asked first, which gives its lists in pages; where it cannot be, and on
//! all other registries, the registry's own lists are taken.

mod artifact_registry;
mod details;
mod distribution;
mod error;
pub mod report;
pub mod request;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use error::ListError;

use crate::auth::{Credential, Credentials};
use crate::commands::list::request::ListTarget;
use crate::google::{Google, GoogleError};
use crate::http::Network;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint, HostKind, is_at_or_below};
use crate::registry::{ListedManifest, Registry};
use artifact_registry::ListedRepository;

/// Questions that are under way at once.
const AT_ONCE: usize = 16;

/// What was found at one registry.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The registry.
    pub endpoint: Endpoint,
    /// What it holds.
    pub found: Contents,
}

/// Names, or all that is known under them.
#[derive(Clone, Debug)]
pub enum Contents {
    /// The paths of images, or of folders of them, sorted.
    Names(Vec<String>),
    /// The manifests of one image, newest first.
    Image(Vec<ListedImage>),
    /// The manifests of several images, newest first.
    Images(Vec<ListedImage>),
}

/// A manifest in a list.
#[derive(Clone, Debug)]
pub struct ListedImage {
    /// The path below the registry that it is at.
    pub repository: Arc<str>,
    /// The manifest.
    pub manifest: ListedManifest,
    /// Where it runs; several for an index, none where that is not known.
    pub platforms: Vec<Platform>,
}

/// The platform of each child of an index.
type Parts = HashMap<Digest, Platform>;

/// How much is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// All that is below as well.
    pub recursive: bool,
    /// The platforms of every image, where it takes reading the image to know them.
    pub platforms: bool,
}

/// Lists what was asked for.
///
/// # Errors
///
/// When the registry refuses or knows nothing there.
pub async fn list(
    registry: &Registry,
    google: Option<&Google>,
    asked: &ListTarget,
    options: ListOptions,
) -> Result<Listed, ListError> {
    let ListOptions {
        recursive,
        platforms,
    } = options;
    let mut parts = Parts::new();
    let mut why = None;
    let endpoint = registry.endpoint();
    let told = match google {
        Some(google) => match by_api(google, asked, recursive, &mut parts).await {
            Ok(told) => told,
            // No path of the registry leads there.
            Err(error) if ArtifactRegistryRepository::of(endpoint, asked.path()).is_none() => {
                let what = format!("{endpoint}/{}", asked.path());
                return Err(ListError::Api(what, Box::new(error)));
            }
            // The registry may still know more: a folder of images, or what was never moved.
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                why = Some(error);
                None
            }
        },
        None => None,
    };
    let found = match told {
        Some(told) => told,
        None => {
            let listed = by_registry(registry, asked, recursive).await?;
            if let Some(why) = why {
                tracing::warn!(
                    "this is what `{endpoint}` itself lists, which may be cut off at 10000, because \
                     Artifact Registry's API could not be asked: {why}"
                );
            }
            listed
        }
    };
    let found = match found {
        Contents::Names(names) => Contents::Names(names),
        Contents::Image(images) => {
            Contents::Image(complete(registry, images, parts, platforms).await)
        }
        Contents::Images(images) => {
            Contents::Images(complete(registry, images, parts, platforms).await)
        }
    };
    Ok(Listed {
        endpoint: endpoint.clone(),
        found,
    })
}

/// Google's API with the credential for `endpoint`; none where it is not Google's, or the credential
/// is a password, which the API does not take.
pub async fn google(
    endpoint: &Endpoint,
    credentials: &Credentials,
    network: &Network,
) -> Option<Google> {
    if !endpoint.is_google() {
        return None;
    }
    let credential = credentials.for_destination(endpoint).await.ok()?;
    match credential {
        Credential::Tokens(_) => Google::new(credential, network).ok(),
        _ => None,
    }
}

/// What Artifact Registry's API tells; none where the registry has to say whether there is anything.
async fn by_api(
    google: &Google,
    asked: &ListTarget,
    recursive: bool,
    parts: &mut Parts,
) -> Result<Option<Contents>, GoogleError> {
    let (endpoint, path) = (asked.endpoint(), asked.path());
    let Some(place) = ArtifactRegistryRepository::of(endpoint, path) else {
        return every_repository(google, endpoint, path, recursive, parts).await;
    };
    let root = place.path(endpoint);
    let below = path
        .strip_prefix(&root)
        .unwrap_or_default()
        .trim_start_matches('/');
    let repository = ListedRepository {
        google,
        endpoint,
        place,
    };
    Ok(match (asked, recursive) {
        (ListTarget::Images { .. }, false) => {
            let names = repository.names().await?;
            Some(Contents::Names(first_level(&root, names)))
        }
        (ListTarget::Images { .. }, true) => {
            Some(Contents::Images(repository.images(|_| true, parts).await?))
        }
        (ListTarget::Tags(_), false) => {
            let versions = repository.versions(below).await?;
            (!versions.is_empty()).then_some(Contents::Image(versions))
        }
        (ListTarget::Tags(_), true) => {
            let images = repository
                .images(|image| is_at_or_below(image, below), parts)
                .await?;
            (!images.is_empty()).then_some(Contents::Images(images))
        }
    })
}

/// A project on a `pkg.dev` host without a repository: all its repositories there.
async fn every_repository(
    google: &Google,
    endpoint: &Endpoint,
    path: &str,
    recursive: bool,
    parts: &mut Parts,
) -> Result<Option<Contents>, GoogleError> {
    let HostKind::ArtifactRegistry { location } = endpoint.kind() else {
        return Ok(None);
    };
    // A project of a domain has a colon in the API.
    let project = match path.split_once('/') {
        Some((domain, project)) => format!("{domain}:{project}"),
        None => path.to_owned(),
    };
    let ids = artifact_registry::repositories(google, &project, &location).await?;
    if !recursive {
        return Ok(Some(Contents::Names(first_level(path, ids))));
    }
    let mut found = Vec::new();
    for id in ids {
        let repository = ListedRepository {
            google,
            endpoint,
            place: ArtifactRegistryRepository {
                project: project.clone(),
                location: location.clone(),
                repository: id,
            },
        };
        found.extend(repository.images(|_| true, parts).await?);
    }
    Ok(Some(Contents::Images(found)))
}

async fn by_registry(
    registry: &Registry,
    asked: &ListTarget,
    recursive: bool,
) -> Result<Contents, ListError> {
    let path = asked.path();
    Ok(match (asked, recursive) {
        (ListTarget::Images { .. }, false) => {
            let names = distribution::names(registry, path).await?;
            Contents::Names(first_level(path, names))
        }
        (ListTarget::Images { .. }, true) => {
            Contents::Images(distribution::below(registry, path).await?)
        }
        (ListTarget::Tags(_), false) => match distribution::image(registry, path).await {
            Err(nothing @ ListError::Nothing(_)) => {
                let names = distribution::folder(registry, path).await;
                Contents::Names(first_level(path, names.ok_or(nothing)?))
            }
            found => found?,
        },
        (ListTarget::Tags(_), true) => Contents::Images(distribution::below(registry, path).await?),
    })
}

/// The paths one level below `root`, sorted, each once.
fn first_level(root: &str, names: Vec<String>) -> Vec<String> {
    let first = names.iter().filter_map(|name| name.split('/').next());
    let first: BTreeSet<_> = first.collect();
    let paths = first.into_iter().map(|name| match root {
        "" => name.to_owned(),
        root => format!("{root}/{name}"),
    });
    paths.collect()
}

/// Newest first, with what is not known yet.
async fn complete(
    registry: &Registry,
    mut images: Vec<ListedImage>,
    parts: Parts,
    platforms: bool,
) -> Vec<ListedImage> {
    newest_first(&mut images);
    details::complete(registry, &mut images, parts, platforms).await;
    newest_first(&mut images);
    images
}

fn newest_first(images: &mut [ListedImage]) {
    images.sort_by(|a, b| {
        let age = |image: &ListedImage| image.manifest.uploaded.or(image.manifest.created);
        age(b)
            .cmp(&age(a))
            .then_with(|| a.repository.cmp(&b.repository))
            .then_with(|| b.manifest.tags.cmp(&a.manifest.tags))
    });
}
