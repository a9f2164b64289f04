//! Reads details from the manifests that the listing lacks: the platforms of images, and on
//! registries that list tags only, their size and creation time too.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};

use super::{AT_ONCE, ChildPlatforms, ListedImage};
use crate::oci::config::{About, about};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Manifest, media_type};
use crate::oci::platform::Platform;
use crate::registry::{Registry, RegistryError};

/// The maximum number of manifests that are read if only the platforms are missing.
const MAX_READS: usize = 1_000;

/// The details of a manifest and its config.
#[derive(Default)]
struct Details {
    media_type: String,
    size: u64,
    children: Vec<(Digest, Platform)>,
    created: Option<std::time::SystemTime>,
}

/// Adds the missing details, in the order of `images`. Manifests that cannot be read are skipped.
/// If only the platforms are missing, they are read only if `wants_platforms`.
pub(super) async fn complete(
    registry: &Registry,
    images: &mut [ListedImage],
    mut child_platforms: ChildPlatforms,
    wants_platforms: bool,
) {
    // Every read counts as a pull, and Docker Hub limits free pulls.
    if registry.endpoint().is_docker_hub() {
        tracing::info!("Docker Hub counts reads as pulls, so only digests are listed");
        return;
    }
    let is_sized = images.iter().all(|image| image.manifest.size.is_some());
    let limit = match (is_sized, wants_platforms) {
        (true, true) => MAX_READS,
        (true, false) => 0,
        (false, _) => usize::MAX,
    };
    let indexes = without_platforms(images, |image| !is_image(&image.manifest.media_type));
    let (now, later) = indexes.split_at(indexes.len().min(limit));
    read(registry, images, now, &mut child_platforms).await;
    for image in images.iter_mut().filter(|image| image.platforms.is_empty()) {
        image
            .platforms
            .extend(child_platforms.get(&image.manifest.digest).cloned());
    }
    let mut single = without_platforms(images, |image| is_image(&image.manifest.media_type));
    single.retain(|number| now.binary_search(number).is_err());
    let (now, left) = single.split_at(single.len().min(limit - now.len()));
    read(registry, images, now, &mut child_platforms).await;
    let unread = later.len() + left.len();
    if wants_platforms && unread > 0 {
        tracing::warn!(
            "the platforms of {unread} older manifests are not shown: the listing does not \
             contain them, and gcr-push read only {MAX_READS}"
        );
    }
}

/// The indexes of the images without platforms that match `kind`.
fn without_platforms(images: &[ListedImage], kind: impl Fn(&ListedImage) -> bool) -> Vec<usize> {
    let numbered = images.iter().enumerate();
    let without_platforms = numbered.filter(|(_, image)| image.platforms.is_empty() && kind(image));
    without_platforms.map(|(number, _)| number).collect()
}

fn is_image(media_type: &str) -> bool {
    matches!(
        media_type,
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST
    )
}

async fn read(
    registry: &Registry,
    images: &mut [ListedImage],
    numbers: &[usize],
    child_platforms: &mut ChildPlatforms,
) {
    let questions: Vec<_> = numbers
        .iter()
        .filter_map(|number| {
            let image = images.get(*number)?;
            Some((
                *number,
                image.repository.clone(),
                image.manifest.digest.clone(),
                image.manifest.size.is_none(),
            ))
        })
        .collect();
    let mut answers = stream::iter(questions)
        .map(|(number, repository, digest, reads_size)| async move {
            (
                number,
                read_details(registry, &repository, &digest, reads_size).await,
            )
        })
        .buffer_unordered(AT_ONCE);
    let mut failures = 0;
    while let Some((number, details)) = answers.next().await {
        let (Some(image), Ok(details)) = (images.get_mut(number), &details) else {
            if let Err(error) = details {
                tracing::debug!("a manifest could not be read: {error}");
                failures += 1;
                // A failing registry is not retried for each manifest.
                if failures == AT_ONCE {
                    break;
                }
            }
            continue;
        };
        let Some(details) = details else { continue };
        image.manifest.media_type.clone_from(&details.media_type);
        image.manifest.size.get_or_insert(details.size);
        image.manifest.created = image.manifest.created.or(details.created);
        for (digest, platform) in &details.children {
            image.platforms.push(platform.clone());
            child_platforms.insert(digest.clone(), platform.clone());
        }
    }
    if failures > 0 {
        tracing::warn!("some manifests could not be read, so the list is incomplete");
    }
}

/// Reads the details of a manifest; for an image also from its config. The children of an index are
/// only read if `reads_size`. `None` if the manifest does not exist.
async fn read_details(
    registry: &Registry,
    repository: &str,
    digest: &Digest,
    reads_size: bool,
) -> Result<Option<Details>, RegistryError> {
    let Some(manifest) = registry.get_manifest(repository, digest.as_str()).await? else {
        return Ok(None);
    };
    let mut details = Details {
        media_type: manifest.media_type().to_owned(),
        ..Details::default()
    };
    match manifest {
        AnyManifest::Index(index) => {
            let children = index
                .manifests
                .iter()
                .filter(|child| !child.is_attestation());
            let children = children.filter_map(|child| {
                let platform = child.platform.clone().filter(Platform::is_known)?;
                Some((child.digest.clone(), platform))
            });
            details.children = children.collect();
            if reads_size {
                details.read_children(registry, repository).await?;
            }
        }
        AnyManifest::Manifest(manifest) => {
            let (blobs, about) = image(registry, repository, &manifest).await?;
            details.size = blobs.values().sum();
            details.created = about.created;
            details.children = about
                .platform
                .into_iter()
                .map(|p| (digest.clone(), p))
                .collect();
        }
    }
    Ok(Some(details))
}

impl Details {
    /// Reads the size and the creation time of an index: the size of all distinct blobs of its
    /// children, and the latest time.
    async fn read_children(
        &mut self,
        registry: &Registry,
        repository: &str,
    ) -> Result<(), RegistryError> {
        let mut all = HashMap::new();
        for (digest, _) in &self.children {
            let child = registry.get_manifest(repository, digest.as_str()).await?;
            // A child may be missing on purpose. An index in an index is not read.
            let Some(AnyManifest::Manifest(child)) = child else {
                continue;
            };
            let (blobs, about) = image(registry, repository, &child).await?;
            all.extend(blobs);
            self.created = self.created.max(about.created);
        }
        self.size = all.values().sum();
        Ok(())
    }
}

/// The blobs of an image with their sizes, and the contents of its config.
async fn image(
    registry: &Registry,
    repository: &str,
    manifest: &Manifest,
) -> Result<(HashMap<Digest, u64>, About), RegistryError> {
    let config = &manifest.config;
    let blobs = manifest.layers.iter().chain([config]);
    let blobs = blobs.map(|blob| (blob.digest.clone(), blob.size)).collect();
    let is_image = matches!(
        config.media_type.as_str(),
        media_type::OCI_CONFIG | media_type::DOCKER_CONFIG
    );
    let config = if is_image {
        registry.get_config(repository, &config.digest).await?
    } else {
        None
    };
    let mut about = config.map(|config| about(&config)).unwrap_or_default();
    about.created = about
        .created
        .filter(|time| *time > std::time::SystemTime::UNIX_EPOCH);
    Ok((blobs, about))
}
