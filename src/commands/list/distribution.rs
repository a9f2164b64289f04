//! Lists through the registry: Google's with its extension of `tags/list`, others with their tags
//! and their catalog, if they have one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{AT_ONCE, Contents, ListError, ListedImage, first_level};
use crate::oci::reference::is_at_or_below;
use crate::registry::{ListedManifest, Listing, Registry, RegistryError};

/// The names directly below `path`, or at any depth if the registry lists them so.
///
/// # Errors
///
/// If the registry returns an error or lists nothing.
pub(super) async fn names(registry: &Registry, path: &str) -> Result<Vec<String>, ListError> {
    if registry.endpoint().is_google() {
        let listing = fetch(registry, path).await?;
        return Ok(listing.children);
    }
    let all = catalog(registry).await?;
    let below = all.iter().filter_map(|name| match path {
        "" => Some(name.as_str()),
        path => name.strip_prefix(path)?.strip_prefix('/'),
    });
    let below: Vec<_> = below.map(str::to_owned).collect();
    if below.is_empty() && !path.is_empty() {
        Err(nothing(registry, path))
    } else {
        Ok(below)
    }
}

/// Every manifest at or below `path`.
///
/// # Errors
///
/// As for [`names`].
pub(super) async fn below(registry: &Registry, path: &str) -> Result<Vec<ListedImage>, ListError> {
    let mut found = Vec::new();
    let mut waiting = if registry.endpoint().is_google() {
        vec![path.to_owned()]
    } else {
        let all = catalog(registry).await?;
        all.into_iter()
            .filter(|name| is_at_or_below(name, path))
            .collect()
    };
    let is_there = !waiting.is_empty();
    let (mut depth, mut count) = (0, 0);
    while !waiting.is_empty() {
        count += waiting.len();
        let checked = registry.check_walk(path, depth, count);
        checked.map_err(|cause| failed(registry, path, cause))?;
        depth += 1;
        let listings: Vec<_> = stream::iter(waiting)
            .map(|path| async move {
                let listing = list(registry, &path).await?;
                Ok::<_, ListError>((path, listing))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        waiting = Vec::new();
        for (path, listing) in listings {
            // A repository that was deleted in the meantime is not an error.
            let Some(listing) = listing else { continue };
            let children = listing.children.iter();
            waiting.extend(children.map(|child| format!("{path}/{child}")));
            found.extend(manifests(registry, &path, listing).await?);
        }
    }
    if is_there {
        Ok(found)
    } else {
        Err(nothing(registry, path))
    }
}

/// Every tagged manifest of one image, and on Google's registries the untagged ones too. For a
/// folder of images, the names in it.
///
/// # Errors
///
/// As for [`names`].
pub(super) async fn image(registry: &Registry, repository: &str) -> Result<Contents, ListError> {
    let listing = fetch(registry, repository).await?;
    if listing.manifests.is_empty() && listing.tags.is_empty() && !listing.children.is_empty() {
        return Ok(Contents::Names(first_level(repository, listing.children)));
    }
    let found = manifests(registry, repository, listing).await?;
    Ok(Contents::Image(found))
}

/// The names directly below a path that is no image. `None` if there are none, or if the registry
/// does not list them.
pub(super) async fn folder(registry: &Registry, path: &str) -> Option<Vec<String>> {
    let endpoint = registry.endpoint();
    // Google's registries list a folder like an image.
    if endpoint.is_google() || endpoint.has_no_catalog() {
        return None;
    }
    names(registry, path).await.ok()
}

async fn catalog(registry: &Registry) -> Result<Vec<String>, ListError> {
    let place = registry.endpoint().to_string();
    match registry.catalog().await {
        Ok(Some(all)) => Ok(all),
        Ok(None) => Err(ListError::NoCatalog(place, None)),
        Err(cause)
            if cause
                .status()
                .is_some_and(|status| status.is_client_error()) =>
        {
            Err(ListError::NoCatalog(place, Some(cause)))
        }
        Err(cause) => Err(ListError::Registry(place, cause)),
    }
}

async fn list(registry: &Registry, path: &str) -> Result<Option<Listing>, ListError> {
    let found = registry.list(path).await;
    let found = found.map_err(|cause| failed(registry, path, cause))?;
    if registry.endpoint().is_google()
        && let Some(cut) = found.as_ref().and_then(Listing::cut)
    {
        tracing::warn!(
            "`{}/{path}` lists exactly {cut}, where lists are cut off: there may be more",
            registry.endpoint()
        );
    }
    Ok(found)
}

async fn fetch(registry: &Registry, path: &str) -> Result<Listing, ListError> {
    let found = list(registry, path).await?;
    found.ok_or_else(|| nothing(registry, path))
}

/// The manifests of a listing. If it has tags only, the digest of each tag is requested.
async fn manifests(
    registry: &Registry,
    path: &str,
    listing: Listing,
) -> Result<Vec<ListedImage>, ListError> {
    let repository: Arc<str> = path.into();
    let listed = |manifest| ListedImage {
        repository: Arc::clone(&repository),
        manifest,
        platforms: Vec::new(),
    };
    if !listing.manifests.is_empty() {
        return Ok(listing.manifests.into_iter().map(listed).collect());
    }
    let tags = stream::iter(listing.tags)
        .map(|tag| async move {
            let digest = registry.head_manifest(path, &tag).await;
            let digest = digest.map_err(|cause| failed(registry, path, cause))?;
            Ok::<_, ListError>(digest.map(|digest| (digest, tag)))
        })
        .buffer_unordered(AT_ONCE);
    let mut tags_by_digest: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    let tags: Vec<_> = tags.try_collect().await?;
    // A tag that was deleted in the meantime has no digest.
    for (digest, tag) in tags.into_iter().flatten() {
        tags_by_digest.entry(digest).or_default().insert(tag);
    }
    let manifests = tags_by_digest
        .into_iter()
        .map(|(digest, tags)| ListedManifest {
            digest,
            tags: tags.into_iter().collect(),
            media_type: String::new(),
            size: None,
            created: None,
            uploaded: None,
        });
    Ok(manifests.map(listed).collect())
}

fn nothing(registry: &Registry, path: &str) -> ListError {
    ListError::Nothing(place(registry, path))
}

fn failed(registry: &Registry, path: &str, cause: RegistryError) -> ListError {
    ListError::Registry(place(registry, path), cause)
}

fn place(registry: &Registry, path: &str) -> String {
    match path {
        "" => registry.endpoint().to_string(),
        path => format!("{}/{path}", registry.endpoint()),
    }
}
