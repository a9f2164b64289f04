//! Lists through the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{AT_ONCE, Contents, ListError, ListedImage, first_level};
use crate::registry::{FoundRepository, ListedManifest, Listing, ListingError, Registry};

/// The names directly below `path`, or at any depth if the registry lists them so.
///
/// # Errors
///
/// If the registry returns an error or lists nothing.
pub(super) async fn names(registry: &Registry, path: &str) -> Result<Vec<String>, ListError> {
    let names = registry.names_below(path).await?;
    names.ok_or_else(|| nothing(registry, path))
}

/// Every manifest at or below `path`.
///
/// # Errors
///
/// As for [`names`].
pub(super) async fn below(registry: &Registry, path: &str) -> Result<Vec<ListedImage>, ListError> {
    let repositories = registry.repositories(path).await?;
    if repositories.is_empty() && !registry.endpoint().is_google() {
        return Err(nothing(registry, path));
    }
    let found: Vec<_> = stream::iter(repositories)
        .map(|FoundRepository { path, listing }| async move {
            let listing = match listing {
                Some(listing) => listing,
                // A repository that was deleted in the meantime is not an error.
                None => registry.complete_list(&path).await?.unwrap_or_default(),
            };
            manifests(registry, &path, listing).await
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Every tagged manifest of one image, and on Google's registries the untagged ones too. For a
/// folder of images, the names in it.
///
/// # Errors
///
/// As for [`names`].
pub(super) async fn image(registry: &Registry, repository: &str) -> Result<Contents, ListError> {
    let listing = registry.complete_list(repository).await?;
    let listing = listing.ok_or_else(|| nothing(registry, repository))?;
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
    registry.names_below(path).await.ok().flatten()
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
            let failed = |cause| ListingError::new(registry.endpoint(), path, cause);
            let digest = digest.map_err(failed)?;
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
    ListError::Nothing(registry.endpoint().with_path(path))
}
