//! What no listing tells is read from the manifests: the platforms of images, and on registries
//! that list tags alone their size and age as well.

use std::collections::HashMap;

use futures_util::{StreamExt as _, stream};

use super::{AT_ONCE, ListedImage, Parts};
use crate::image::attestation_subject;
use crate::oci::config::{About, about};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Manifest, media_type};
use crate::oci::platform::Platform;
use crate::registry::{Registry, RegistryError};

/// How many manifests are read beside a listing that tells all but the platforms.
const MOST: usize = 1_000;

/// What a manifest tells, and the config that it names.
#[derive(Default)]
struct Told {
    media_type: String,
    size: u64,
    children: Vec<(Digest, Platform)>,
    created: Option<std::time::SystemTime>,
}

/// Fills in what is missing, newest first where the age is known; leaves what cannot be read. Where
/// the listing told all but the platforms, they are read only if they are `asked` for.
pub(super) async fn complete(
    registry: &Registry,
    images: &mut [ListedImage],
    mut parts: Parts,
    asked: bool,
) {
    // There every read counts as a pull, of which few are free.
    if registry.endpoint().is_docker_hub() {
        tracing::info!("Docker Hub counts what is read as pulls, so digests alone are listed");
        return;
    }
    let is_sized = images.iter().all(|image| image.manifest.size.is_some());
    let most = match (is_sized, asked) {
        (true, true) => MOST,
        (true, false) => 0,
        (false, _) => usize::MAX,
    };
    let indexes = lacking(images, |image| !is_image(&image.manifest.media_type));
    let (now, later) = indexes.split_at(indexes.len().min(most));
    read(registry, images, now, &mut parts).await;
    for image in images.iter_mut().filter(|image| image.platforms.is_empty()) {
        image
            .platforms
            .extend(parts.get(&image.manifest.digest).cloned());
    }
    let mut single = lacking(images, |image| is_image(&image.manifest.media_type));
    single.retain(|number| now.binary_search(number).is_err());
    let (now, left) = single.split_at(single.len().min(most - now.len()));
    read(registry, images, now, &mut parts).await;
    let unread = later.len() + left.len();
    if asked && unread > 0 {
        tracing::warn!(
            "the platforms of {unread} older manifests are not shown: the listing does not tell \
             them, and {MOST} were read"
        );
    }
}

/// Those without platforms, of some kind.
fn lacking(images: &[ListedImage], kind: impl Fn(&ListedImage) -> bool) -> Vec<usize> {
    let numbered = images.iter().enumerate();
    let lacking = numbered.filter(|(_, image)| image.platforms.is_empty() && kind(image));
    lacking.map(|(number, _)| number).collect()
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
    parts: &mut Parts,
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
        .map(|(number, repository, digest, whole)| async move {
            (number, told(registry, &repository, &digest, whole).await)
        })
        .buffer_unordered(AT_ONCE);
    let mut failures = 0;
    while let Some((number, told)) = answers.next().await {
        let (Some(image), Ok(told)) = (images.get_mut(number), &told) else {
            if let Err(error) = told {
                tracing::debug!("a manifest could not be read: {error}");
                failures += 1;
                // A registry in trouble is not waited for once more with each manifest.
                if failures == AT_ONCE {
                    break;
                }
            }
            continue;
        };
        let Some(told) = told else { continue };
        image.manifest.media_type.clone_from(&told.media_type);
        image.manifest.size.get_or_insert(told.size);
        image.manifest.created = image.manifest.created.or(told.created);
        for (digest, platform) in &told.children {
            image.platforms.push(platform.clone());
            parts.insert(digest.clone(), platform.clone());
        }
    }
    if failures > 0 {
        tracing::warn!("some manifests could not be read, so less is shown of them");
    }
}

/// Reads a manifest, and of an image its config; none where it is gone. Of an index its platforms are
/// read where `whole` asks for its size and age.
async fn told(
    registry: &Registry,
    repository: &str,
    digest: &Digest,
    whole: bool,
) -> Result<Option<Told>, RegistryError> {
    let Some(manifest) = registry.get_manifest(repository, digest.as_str()).await? else {
        return Ok(None);
    };
    let mut told = Told {
        media_type: manifest.media_type().to_owned(),
        ..Told::default()
    };
    match manifest {
        AnyManifest::Index(index) => {
            let children = index
                .manifests
                .iter()
                .filter(|child| attestation_subject(child).is_none());
            let children = children.filter_map(|child| {
                let platform = child.platform.clone().filter(Platform::is_known)?;
                Some((child.digest.clone(), platform))
            });
            told.children = children.collect();
            if whole {
                told.take_parts(registry, repository).await?;
            }
        }
        AnyManifest::Manifest(manifest) => {
            let (blobs, about) = image(registry, repository, &manifest).await?;
            told.size = blobs.values().sum();
            told.created = about.created;
            told.children = about
                .platform
                .into_iter()
                .map(|p| (digest.clone(), p))
                .collect();
        }
    }
    Ok(Some(told))
}

impl Told {
    /// Size and age of an index: all blobs of its platforms, each once, and the newest of them.
    async fn take_parts(
        &mut self,
        registry: &Registry,
        repository: &str,
    ) -> Result<(), RegistryError> {
        let mut all = HashMap::new();
        for (digest, _) in &self.children {
            let child = registry.get_manifest(repository, digest.as_str()).await?;
            // A platform may be left out on purpose, and an index in an index is not followed.
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

/// The blobs of an image with their sizes, and what its config tells.
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
    let config = match is_image {
        true => registry.get_config(repository, &config.digest).await?,
        false => None,
    };
    let mut about = config.map(|config| about(&config)).unwrap_or_default();
    about.created = about
        .created
        .filter(|time| *time > std::time::SystemTime::UNIX_EPOCH);
    Ok((blobs, about))
}
