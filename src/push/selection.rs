//! Selects what is pushed: the source's manifests or built ones, the platforms, and the
//! attestations.

use futures_util::TryStreamExt as _;

use super::{PushError, Settings};
use crate::diagnostics::sanitize::sanitize;
use crate::image::{Content, Image, Selection, Source, SourceError, Tree, UncompressedImage};
use crate::oci::digest::Digest;
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, Index, MAX_MANIFEST_SIZE};
use crate::oci::platform::Platform;
use crate::oci::platform::Platforms;
use crate::push::compress::Compression;

/// Returns the manifests of the source if they can be pushed; otherwise, as the error, the layers
/// for which a manifest has to be built.
pub(super) fn existing_manifests<'a>(
    image: &'a Image,
    settings: &Settings,
) -> Result<Tree, &'a UncompressedImage> {
    match &image.content {
        Content::Manifests(tree) => Ok(tree.clone()),
        Content::Uncompressed(image) => match (&image.manifest, settings.options.compression) {
            (Some(manifest), Compression::None) => {
                Ok(Tree::of(AnyManifest::Manifest(manifest.clone())))
            }
            _ => Err(image),
        },
    }
}

/// Selects the requested platforms of the image, as far as the source has them.
pub(super) async fn select_platforms(
    source: &Source,
    tree: &Tree,
    settings: &Settings,
) -> Result<Selection, PushError> {
    if let AnyManifest::Manifest(manifest) = &tree.root {
        if matches!(settings.options.platforms, Platforms::Only(_)) {
            let config = small_blob(source, &manifest.config).await?;
            check_platform(&config, &settings.options.platforms)?;
        }
        return Ok(tree.available());
    }
    select_from_index(tree, settings)
}

/// Selects the requested platforms of an index by the platforms of its descriptors.
pub(super) fn select_from_index(tree: &Tree, settings: &Settings) -> Result<Selection, PushError> {
    let wanted = match &settings.options.platforms {
        Platforms::All => None,
        Platforms::Only(wanted) => Some(wanted.as_slice()),
    };
    let strip_attestations = match settings.options.attestations {
        Some(attestations) => attestations == Attestations::Strip,
        None => wanted.is_some_and(|wanted| wanted.len() == 1),
    };
    let present = tree.platforms();
    let matched: Vec<&Platform> = wanted
        .into_iter()
        .flatten()
        .flat_map(|wanted| Platform::meant(&present, wanted))
        .collect();
    // One platform selects one image manifest, so it must not match several images.
    let single = match wanted {
        Some([wanted]) if matched.len() > 1 => {
            return Err(PushError::SeveralPlatforms {
                wanted: wanted.to_string(),
                present: platform_names(matched.into_iter()),
            });
        }
        Some([_]) => {
            let mut images = tree.images().into_iter();
            images.find(|image| image.platform.as_ref() == matched.first().copied())
        }
        _ => None,
    };
    // A descriptor without a platform is no image of a requested one. Attestations are kept with
    // their images.
    let is_wanted = |child: &Descriptor| match (child.attestation_subject(), wanted) {
        (Some(_), _) => !strip_attestations,
        (None, None) => true,
        (None, Some(_)) => {
            let matches_any = |has| matched.contains(&has);
            child.platform.as_ref().is_some_and(matches_any)
                && single.is_none_or(|image| image.digest == child.digest)
        }
    };
    let selected = tree.filter(is_wanted);
    let Some(wanted) = wanted else {
        return Ok(selected.unwrap_or_else(|| tree.available()));
    };
    let missing: Vec<_> = wanted
        .iter()
        .filter(|wanted| Platform::meant(&present, wanted).is_empty())
        .map(Platform::to_string)
        .collect();
    match selected {
        Some(selected) if missing.is_empty() => Ok(selected),
        _ => Err(PushError::NoPlatform {
            missing,
            present: platform_names(present.iter()),
        }),
    }
}

/// Returns the digest that the tags will point at. `None` if the manifest has to be built first, or
/// the image cannot be read.
pub async fn resulting_digest(source: &Source, settings: &Settings) -> Option<Digest> {
    let tree = existing_manifests(source.image(), settings).ok()?;
    let selected = select_platforms(source, &tree, settings).await.ok()?;
    Some(selected.tree.root.digest().clone())
}

/// Predicts what a push of `index` selects if all its children exist: the digest that the tags will
/// point at, and the digests of the existing manifests (the index and its children) that are
/// pushed. `None` if the index alone does not determine that: it names another index, or no
/// requested image.
pub fn predict_index(index: &Index, settings: &Settings) -> Option<(Digest, Vec<Digest>)> {
    let selected = select_from_index(&Tree::predicted(index)?, settings).ok()?;
    let root = selected.tree.root.digest().clone();
    let is_kept =
        |digest: &&Digest| **digest == root || selected.tree.children.contains_key(*digest);
    let children = index.manifests.iter().map(|child| &child.digest);
    let kept = std::iter::once(&index.digest)
        .chain(children)
        .filter(is_kept);
    let kept = kept.cloned().collect();
    Some((root, kept))
}

/// Returns whether an image is pushed unchanged, with all its platforms and attestations.
pub fn is_unfiltered(settings: &Settings) -> bool {
    settings.options.platforms == Platforms::All
        && settings.options.attestations != Some(Attestations::Strip)
}

/// Returns the names of platforms, sanitized because they come from the image.
fn platform_names<'a>(platforms: impl Iterator<Item = &'a Platform>) -> Vec<String> {
    platforms
        .map(|platform| sanitize(&platform.to_string()))
        .collect()
}

/// Checks that the platform in an image's config is one of the requested ones.
///
/// # Errors
///
/// If the config states another platform.
pub(super) fn check_platform(config: &[u8], platforms: &Platforms) -> Result<(), PushError> {
    let (Platforms::Only(wanted), Ok(has)) = (platforms, json::from_slice::<Platform>(config))
    else {
        return Ok(());
    };
    if has.os.is_empty() || wanted.iter().any(|wanted| has.fits(wanted)) {
        return Ok(());
    }
    Err(PushError::NoPlatform {
        missing: wanted.iter().map(Platform::to_string).collect(),
        present: vec![sanitize(&has.to_string())],
    })
}

/// Reads a blob of the source. Empty if it is larger than the size limit of a manifest.
async fn small_blob(source: &Source, blob: &Descriptor) -> Result<Vec<u8>, PushError> {
    if blob.size > MAX_MANIFEST_SIZE {
        return Ok(Vec::new());
    }
    let bytes = source
        .open_blob(&blob.digest, 0)
        .await
        .map_err(PushError::Source)?;
    let pieces: Vec<bytes::Bytes> = bytes
        .try_collect()
        .await
        .map_err(|cause| PushError::Source(SourceError::read(source.what(), cause)))?;
    Ok(pieces.concat())
}

/// Whether the attestations that BuildKit adds to an index are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestations {
    /// Attestations are pushed with their images.
    Keep,
    /// Attestations are removed. The index is rewritten, or replaced by its image if it has only
    /// one.
    Strip,
}
