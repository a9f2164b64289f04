//! `list`: lists the images of a project, or all manifests of an image with their tags, newest first.
//!
//! Artifact Registry's API is used first, because its lists are paged and complete. If it fails,
//! and on all other registries, the lists of the registry are used.

mod artifact_registry;
mod details;
mod distribution;
mod error;
mod report;
mod request;

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::Arc;

pub use error::ListError;
pub use request::{ListFormat, ListOptions, ListRequest, ListTarget};

use crate::auth::{Credential, Credentials};
use crate::ci::output::{print, write_file};
use crate::commands::interrupt::RunState;
use crate::commands::outputs;
use crate::diagnostics::Failure;
use crate::google::{Google, GoogleError};
use crate::http::Network;
use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint, HostKind, is_at_or_below};
use crate::registry::pool::RegistryPool;
use crate::registry::{ListedManifest, Registry};
use artifact_registry::ListedRepository;
use report::{ListJson, ListTable};

/// The concurrent requests.
const AT_ONCE: usize = 16;

/// The listing of one target.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The registry.
    pub endpoint: Endpoint,
    /// The contents of the target.
    pub found: Contents,
}

/// The contents of a target: names or manifests.
#[derive(Clone, Debug)]
pub enum Contents {
    /// The paths of images, or of folders of them, sorted.
    Names(Vec<String>),
    /// The manifests of one image, newest first.
    Image(Vec<ListedImage>),
    /// The manifests of several images, newest first.
    Images(Vec<ListedImage>),
}

/// A listed manifest.
#[derive(Clone, Debug)]
pub struct ListedImage {
    /// The repository of the manifest.
    pub repository: Arc<str>,
    /// The manifest.
    pub manifest: ListedManifest,
    /// The platforms: several for an index, empty if they are unknown.
    pub platforms: Vec<Platform>,
}

/// The platforms of the children of indexes, by digest.
type ChildPlatforms = HashMap<Digest, Platform>;

/// Lists every target and prints the results. A target that fails does not stop the others.
///
/// # Errors
///
/// One error for each target that could not be listed, and for each result that could not be written.
pub async fn run(
    request: &ListRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<ListError>> {
    state.set("before anything was listed");
    let session = &request.session;
    outputs::check(&request.files, None)?;
    let credentials = session.credentials().await.map_err(ListError::Auth)?;
    let registries = RegistryPool::new(&credentials, &session.network);
    let (mut listed, mut errors) = (Vec::new(), Vec::new());
    let count = request.listings.len();
    for (number, listing) in request.listings.iter().enumerate() {
        let endpoint = listing.endpoint();
        let name = format!("{endpoint}/{}", listing.path());
        let name = name.trim_end_matches('/');
        state.set(if count == 1 {
            format!("while listing `{name}`")
        } else {
            format!("while listing `{name}`, {number} of {count} places are done")
        });
        let found = async {
            let registry = registries.listing(endpoint).await?;
            let google = google(endpoint, &credentials, &session.network).await;
            list(&registry, google.as_ref(), listing, request.options).await
        };
        match found.await {
            Ok(found) => listed.push(found),
            Err(error) => errors.push(error),
        }
    }
    if !listed.is_empty() {
        let printed = match request.format {
            ListFormat::Table => print(stdout, ListTable(&listed)),
            ListFormat::Json => print(stdout, ListJson(&listed)),
        };
        errors.extend(printed.err().map(ListError::Output));
        if let Some(path) = &request.files.report {
            let written = write_file(path, &ListJson(&listed).to_string());
            errors.extend(written.err().map(ListError::Output));
        }
    }
    Failure::check(errors)
}

/// Lists one target, through Artifact Registry's API or the registry.
///
/// # Errors
///
/// If the registry returns an error or has nothing at the path.
async fn list(
    registry: &Registry,
    google: Option<&Google>,
    target: &ListTarget,
    options: ListOptions,
) -> Result<Listed, ListError> {
    let ListOptions {
        recursive,
        platforms,
    } = options;
    let mut child_platforms = ChildPlatforms::new();
    let mut api_error = None;
    let endpoint = registry.endpoint();
    let contents = match google {
        Some(google) => match by_api(google, target, recursive, &mut child_platforms).await {
            Ok(contents) => contents,
            // The registry cannot list the path either.
            Err(error) if ArtifactRegistryRepository::of(endpoint, target.path()).is_none() => {
                let what = format!("{endpoint}/{}", target.path());
                return Err(ListError::Api(what, Box::new(error)));
            }
            // The registry may still list a folder of images, or images that were not migrated.
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                api_error = Some(error);
                None
            }
        },
        None => None,
    };
    let found = match contents {
        Some(contents) => contents,
        None => {
            let listed = by_registry(registry, target, recursive).await?;
            if let Some(api_error) = api_error {
                tracing::warn!(
                    "this is the list of `{endpoint}` itself, which may be cut off at 10000, \
                     because the request to Artifact Registry's API failed: {api_error}"
                );
            }
            listed
        }
    };
    let found = match found {
        Contents::Names(names) => Contents::Names(names),
        Contents::Image(images) => {
            Contents::Image(complete(registry, images, child_platforms, platforms).await)
        }
        Contents::Images(images) => {
            Contents::Images(complete(registry, images, child_platforms, platforms).await)
        }
    };
    Ok(Listed {
        endpoint: endpoint.clone(),
        found,
    })
}

/// A client of Google's APIs with the credential for `endpoint`. `None` if the host is not
/// Google's, or if the credential is a password, which the APIs do not accept.
async fn google(
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

/// Lists a target through Artifact Registry's API. `None` if the registry must be listed instead.
async fn by_api(
    google: &Google,
    target: &ListTarget,
    recursive: bool,
    child_platforms: &mut ChildPlatforms,
) -> Result<Option<Contents>, GoogleError> {
    let (endpoint, path) = (target.endpoint(), target.path());
    let Some(place) = ArtifactRegistryRepository::of(endpoint, path) else {
        return every_repository(google, endpoint, path, recursive, child_platforms).await;
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
    Ok(match (target, recursive) {
        (ListTarget::Images { .. }, false) => {
            let names = repository.names().await?;
            Some(Contents::Names(first_level(&root, names)))
        }
        (ListTarget::Images { .. }, true) => Some(Contents::Images(
            repository.images(|_| true, child_platforms).await?,
        )),
        (ListTarget::Tags(_), false) => {
            let versions = repository.versions(below).await?;
            (!versions.is_empty()).then_some(Contents::Image(versions))
        }
        (ListTarget::Tags(_), true) => {
            let images = repository
                .images(|image| is_at_or_below(image, below), child_platforms)
                .await?;
            (!images.is_empty()).then_some(Contents::Images(images))
        }
    })
}

/// Lists all repositories of a project on a `pkg.dev` host. `None` for another host.
async fn every_repository(
    google: &Google,
    endpoint: &Endpoint,
    path: &str,
    recursive: bool,
    child_platforms: &mut ChildPlatforms,
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
        found.extend(repository.images(|_| true, child_platforms).await?);
    }
    Ok(Some(Contents::Images(found)))
}

/// Lists a target through the registry.
async fn by_registry(
    registry: &Registry,
    target: &ListTarget,
    recursive: bool,
) -> Result<Contents, ListError> {
    let path = target.path();
    Ok(match (target, recursive) {
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

/// The paths one level below `root`, sorted and without duplicates.
fn first_level(root: &str, names: Vec<String>) -> Vec<String> {
    let first = names.iter().filter_map(|name| name.split('/').next());
    let first: BTreeSet<_> = first.collect();
    let paths = first.into_iter().map(|name| match root {
        "" => name.to_owned(),
        root => format!("{root}/{name}"),
    });
    paths.collect()
}

/// Reads the missing details of the manifests, and sorts them newest first.
async fn complete(
    registry: &Registry,
    mut images: Vec<ListedImage>,
    child_platforms: ChildPlatforms,
    platforms: bool,
) -> Vec<ListedImage> {
    newest_first(&mut images);
    details::complete(registry, &mut images, child_platforms, platforms).await;
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
