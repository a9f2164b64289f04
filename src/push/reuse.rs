//! Finds layers that a destination already has, by diff ID, without compressing anything.
//!
//! The config of a previous image lists its diff IDs, and its manifest lists the layer blobs in the
//! same order. An uncompressed layer of a `docker save` archive has a diff ID, so its blob is
//! known. Only images of the same repository are used, and only if they have as many diff IDs as
//! layers. Somebody with write access to the repository could state a wrong diff ID, but could also
//! replace the tag.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::compress::Compression;
use super::destination::{BlobState, Destination};
use super::manifest_builder::{Layer, LayerEncoding};
use super::{PushError, PushOptions};
use crate::image::{LayerFormat, UncompressedImage};
use crate::oci::config::diff_ids;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};
use crate::push::tag_policy::ExistingTag;

/// How many previous images are read, besides those under the tags that are pushed.
const PREVIOUS_IMAGES: usize = 8;

/// The parts of an image that one destination has.
#[derive(Default)]
pub(super) struct ReusableLayers {
    /// The manifest of the same image: one with the same config and the same number of layers.
    image: Option<Manifest>,
    /// The blobs of the layers, by diff ID.
    layers: HashMap<Digest, Descriptor>,
}

/// Searches the first repository of each registry for the parts of an image. The other repositories
/// can mount or read the blobs from there. The push to a repository that cannot be searched ends.
pub(super) async fn search<'a>(
    image: &UncompressedImage,
    destinations: &'a [Destination],
    options: &PushOptions,
) -> Vec<(&'a Destination, ReusableLayers)> {
    loop {
        let mut first: Vec<&Destination> = Vec::new();
        for destination in destinations.iter().filter(|one| one.is_open()) {
            if !first
                .iter()
                .any(|one| one.shares_registry_with(destination))
            {
                first.push(destination);
            }
        }
        let searches = first.iter().map(|destination| async {
            let found = if options.layer_reuse {
                destination.find_reusable(image, options.existing_tag).await
            } else {
                let probed = destination.probe_tags(None).await;
                probed.map(|()| ReusableLayers::default())
            };
            match found {
                Ok(reusable) => Some((*destination, reusable)),
                Err(error) => {
                    destination.finish(Err(error));
                    None
                }
            }
        });
        let found: Vec<_> = join_all(searches).await.into_iter().flatten().collect();
        if !found.is_empty() || first.is_empty() {
            return found;
        }
    }
}

/// Returns the manifest of a previous push of the same image. `None` unless every searched destination
/// has it, with the requested compression.
pub(super) fn same_image(
    found: &[(&Destination, ReusableLayers)],
    compression: Compression,
) -> Option<Manifest> {
    let mut images = found.iter().map(|(_, reusable)| reusable.image.as_ref());
    let first = images.next()??;
    let has_encoding = |layer| LayerEncoding::of(layer) == Some(LayerEncoding::from(compression));
    let is_same = |image: Option<&Manifest>| image.is_some_and(|it| it.digest == first.digest);
    if !first.layers.iter().all(has_encoding) || !images.all(is_same) {
        return None;
    }
    for (destination, _) in found {
        destination.state().image_is_present = true;
    }
    Some(first.clone())
}

/// Returns the layers that every searched destination has as the same blob, by diff ID, so that all
/// destinations get the same digest. A layer that only some have is compressed again for all.
pub(super) async fn shared_layers(
    image: &UncompressedImage,
    found: &[(&Destination, ReusableLayers)],
    compression: Compression,
) -> HashMap<Digest, Layer> {
    let encoding = LayerEncoding::from(compression);
    let mut shared = HashMap::new();
    for layer in image
        .layers
        .iter()
        .filter(|it| it.format == LayerFormat::Tar)
    {
        let previous = found.iter().find_map(|(_, reusable)| {
            let previous = reusable.layers.get(&layer.diff_id)?;
            (LayerEncoding::of(previous)? == encoding).then_some(previous)
        });
        let Some(previous) = previous else { continue };
        let mut is_everywhere = true;
        for (destination, _) in found {
            // The layer is compressed again if a destination does not answer.
            let has = destination.has(&previous.digest)
                || destination
                    .has_blob(&previous.digest)
                    .await
                    .unwrap_or(false);
            if has {
                destination.record(&previous.digest, BlobState::Present);
            }
            is_everywhere &= has;
        }
        if is_everywhere {
            let reused = Layer {
                encoding: encoding.clone(),
                digest: previous.digest.clone(),
                size: previous.size,
            };
            shared.insert(layer.diff_id.clone(), reused);
        }
    }
    if !shared.is_empty() {
        tracing::info!(
            "{} of {} layers already exist and do not need compression",
            shared.len(),
            image.layers.len()
        );
    }
    shared
}

impl ReusableLayers {
    /// Returns whether the whole image, or a blob of every layer, is reusable.
    fn is_complete(&self, image: &UncompressedImage) -> bool {
        self.image.is_some()
            || image
                .layers
                .iter()
                .all(|layer| self.layers.contains_key(&layer.diff_id))
    }
}

impl Destination {
    /// Probes the tags, and finds the layers of `image` in the previous images of the repository:
    /// the images under the same tags, then the newest.
    async fn find_reusable(
        &self,
        image: &UncompressedImage,
        policy: ExistingTag,
    ) -> Result<ReusableLayers, PushError> {
        let config = Digest::of(&image.config);
        let tagged: Vec<_> = stream::iter(&self.tags)
            .map(|tag| self.manifest(tag))
            .buffered(8)
            .try_collect()
            .await?;
        let digest = |manifest: &Option<AnyManifest>| Some(manifest.as_ref()?.digest().clone());
        let mut tags: Vec<_> = tagged.iter().map(digest).collect();
        if policy != ExistingTag::Overwrite {
            // A malformed manifest may have the tag, which must not be moved.
            let unknown = self.tags.iter().zip(&mut tags);
            for (tag, digest) in unknown.filter(|(_, digest)| digest.is_none()) {
                *digest = self.head(tag).await?;
            }
        }
        self.state().tags = Some(tags);
        let mut reusable = ReusableLayers::default();
        let mut seen = HashSet::new();
        for manifest in tagged.into_iter().flatten() {
            self.collect_layers(manifest, &config, image, &mut seen, &mut reusable)
                .await?;
        }
        if reusable.is_complete(image) {
            return Ok(reusable);
        }
        let previous = self.previous_images().await;
        let mut manifests = stream::iter(&previous)
            .map(|reference| self.manifest(reference))
            .buffered(PREVIOUS_IMAGES);
        while let Some(manifest) = manifests.next().await {
            if let Some(manifest) = manifest? {
                self.collect_layers(manifest, &config, image, &mut seen, &mut reusable)
                    .await?;
            }
            if reusable.is_complete(image) {
                break;
            }
        }
        Ok(reusable)
    }

    /// Returns references of the newest images of the repository. Empty if the registry refuses to
    /// list them, which does not fail the push.
    pub(super) async fn previous_images(&self) -> Vec<String> {
        let listing = match self.registry.list_if_available(&self.repository).await {
            Ok(Some(listing)) => listing,
            Ok(None) => {
                self.state().is_empty = true;
                return Vec::new();
            }
            Err(_) => return Vec::new(),
        };
        self.state().is_empty = listing.tags.is_empty() && listing.manifests.is_empty();
        let by_upload = listing.manifests.iter().map(|m| m.digest.to_string());
        let mut references: Vec<_> = by_upload.collect();
        if references.is_empty() {
            references = newest_first(listing.tags);
        }
        references.retain(|reference| !self.tags.contains(reference));
        references.truncate(PREVIOUS_IMAGES);
        references
    }

    /// Collects the layers of a manifest, or of the children of an index.
    async fn collect_layers(
        &self,
        manifest: AnyManifest,
        config: &Digest,
        image: &UncompressedImage,
        seen: &mut HashSet<Digest>,
        reusable: &mut ReusableLayers,
    ) -> Result<(), PushError> {
        let mut manifests = vec![manifest];
        while let Some(manifest) = manifests.pop() {
            if !seen.insert(manifest.digest().clone()) || reusable.is_complete(image) {
                continue;
            }
            match manifest {
                AnyManifest::Manifest(manifest) => {
                    self.collect_from_image(manifest, config, image, reusable)
                        .await?;
                }
                AnyManifest::Index(index) => {
                    let is_image =
                        |child: &&Descriptor| child.platform.is_some() && !child.is_index();
                    for child in index
                        .manifests
                        .iter()
                        .filter(is_image)
                        .take(PREVIOUS_IMAGES)
                    {
                        manifests.extend(self.manifest(child.digest.as_str()).await?);
                    }
                }
            }
        }
        Ok(())
    }

    /// Collects the layers of an image manifest by the diff IDs of its config.
    async fn collect_from_image(
        &self,
        manifest: Manifest,
        config: &Digest,
        image: &UncompressedImage,
        reusable: &mut ReusableLayers,
    ) -> Result<(), PushError> {
        self.record_present(manifest.blobs());
        if manifest.config.digest == *config {
            if manifest.layers.len() == image.layers.len() {
                reusable.image = Some(manifest);
            }
            return Ok(());
        }
        let config = self
            .registry
            .get_config(&self.repository, &manifest.config.digest)
            .await;
        // An artifact has another kind of config, and a config may be deleted. Neither fails the
        // push.
        let Ok(Some(config)) = config else {
            return Ok(());
        };
        let diff_ids = diff_ids(&config);
        if diff_ids.len() == manifest.layers.len() {
            let pairs = diff_ids.into_iter().zip(manifest.layers);
            reusable
                .layers
                .extend(pairs.filter(|(_, layer)| !layer.is_foreign()));
        }
        Ok(())
    }
}

/// Sorts tags by their likely age, newest first: tags that move with every build before versions,
/// and versions by their numbers.
fn newest_first(mut tags: Vec<String>) -> Vec<String> {
    tags.sort_by_cached_key(|tag| {
        let is_moving = ["latest", "main", "master", "edge", "nightly"].contains(&tag.as_str());
        std::cmp::Reverse((is_moving, numbers(tag), tag.clone()))
    });
    tags
}

/// Returns the numbers in a tag, in their order.
fn numbers(tag: &str) -> Vec<u64> {
    tag.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_numerically_after_moving_tags() {
        let tags = ["1.9", "1.10", "latest", "1.2-rc1", "main", "v2"];
        let sorted = newest_first(tags.map(str::to_owned).to_vec());
        assert_eq!(sorted, ["main", "latest", "v2", "1.10", "1.9", "1.2-rc1"]);
    }
}
