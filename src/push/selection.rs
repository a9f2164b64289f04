//! Which part of the source is pushed: its own manifests or new ones, which platforms, and whether
//! with their attestations.

use futures_util::TryStreamExt as _;

use super::{PushError, Settings};
use crate::diagnostics::sanitize::sanitize;
use crate::image::{
    Content, Image, Selection, Source, SourceError, Tree, UncompressedImage, attestation_subject,
};
use crate::oci::json;
use crate::oci::manifest::{AnyManifest, Descriptor, MAX_MANIFEST_SIZE};
use crate::oci::platform::Platform;
use crate::oci::platform::Platforms;
use crate::push::compress::Compression;

/// The image's own manifests, where they can be pushed; else the layers that need a manifest.
pub(super) fn existing_manifests<'a>(
    image: &'a Image,
    settings: &Settings,
) -> Result<Tree, &'a UncompressedImage> {
    match &image.content {
        Content::Manifests(tree) => Ok(tree.clone()),
        Content::Unpacked(unpacked) => match (&unpacked.manifest, settings.compression) {
            (Some(manifest), Compression::None) => {
                Ok(Tree::of(AnyManifest::Manifest(manifest.clone())))
            }
            _ => Err(unpacked),
        },
    }
}

/// The part of the image that is there and asked for.
pub(super) async fn select_platforms(
    source: &Source,
    tree: &Tree,
    settings: &Settings,
) -> Result<Selection, PushError> {
    if let AnyManifest::Manifest(manifest) = &tree.root {
        if matches!(settings.platforms, Platforms::Only(_)) {
            let config = small_blob(source, &manifest.config).await?;
            check_platform(&config, &settings.platforms)?;
        }
        return Ok(tree.present());
    }
    of_index(tree, settings)
}

/// The same of an index, which tells of itself what is for which platform.
pub(super) fn of_index(tree: &Tree, settings: &Settings) -> Result<Selection, PushError> {
    let wanted = match &settings.platforms {
        Platforms::All => None,
        Platforms::Only(wanted) => Some(wanted.as_slice()),
    };
    let strips = match settings.attestations {
        Some(attestations) => attestations == Attestations::Strip,
        None => wanted.is_some_and(|wanted| wanted.len() == 1),
    };
    let present = tree.platforms();
    let meant: Vec<&Platform> = wanted
        .into_iter()
        .flatten()
        .flat_map(|wanted| Platform::meant(&present, wanted))
        .collect();
    // One platform makes one plain image, so that it has to be clear which.
    let alone = match wanted {
        Some([wanted]) if meant.len() > 1 => {
            return Err(PushError::SeveralPlatforms {
                wanted: wanted.to_string(),
                present: shown(meant.into_iter()),
            });
        }
        Some([_]) => {
            let mut images = tree.images().into_iter();
            images.find(|image| image.platform.as_ref() == meant.first().copied())
        }
        _ => None,
    };
    // What names no platform is no image for one, but an attestation goes with its image.
    let is_wanted = |child: &Descriptor| match (attestation_subject(child), wanted) {
        (Some(_), _) => !strips,
        (None, None) => true,
        (None, Some(_)) => {
            let is_meant = |has| meant.contains(&has);
            child.platform.as_ref().is_some_and(is_meant)
                && alone.is_none_or(|image| image.digest == child.digest)
        }
    };
    let part = tree.keep(is_wanted);
    let Some(wanted) = wanted else {
        return Ok(part.unwrap_or_else(|| tree.present()));
    };
    let missing: Vec<_> = wanted
        .iter()
        .filter(|wanted| Platform::meant(&present, wanted).is_empty())
        .map(Platform::to_string)
        .collect();
    match part {
        Some(part) if missing.is_empty() => Ok(part),
        _ => Err(PushError::NoPlatform {
            missing,
            present: shown(present.iter()),
        }),
    }
}

/// An image tells its platforms itself.
fn shown<'a>(platforms: impl Iterator<Item = &'a Platform>) -> Vec<String> {
    platforms
        .map(|platform| sanitize(&platform.to_string()))
        .collect()
}

/// Refuses an image that says in its config that it is for another platform than those that are
/// asked for.
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

/// The bytes of a blob of the source that is no larger than a manifest; none of another.
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

/// What is done to the attestations that BuildKit adds to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attestations {
    /// They go with their images.
    Keep,
    /// They are left out, which makes another index, or of an index of one image that image.
    Strip,
}
