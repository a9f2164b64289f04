//! Layers that a destination already has, found without compressing anything.
//!
//! An earlier image of the repository says in its config which diff IDs it has, and in its manifest
//! which blobs hold them, in the same order. A layer of a `docker save` archive is known by its diff
//! ID, so the blob that holds it is known too. Only images of the same repository are believed, and
//! only those whose config and layers pair one to one: whoever can write there could lie to us
//! about a layer, but could replace the tag as well.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::probe::DestinationState;
use super::{Destination, PushError};
use crate::image::UncompressedImage;
use crate::oci::config::diff_ids;
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Descriptor, Manifest};
use crate::push::tag_policy::ExistingTag;

/// How many earlier images are looked at, besides those under the tags that are pushed.
const PREVIOUS_IMAGES: usize = 8;

/// What one destination has of an image.
#[derive(Default)]
pub(super) struct ReusableLayers {
    /// The image itself, as it stands there: the same config over as many layers.
    pub(super) image: Option<Manifest>,
    /// The blob that holds each layer, by diff ID.
    pub(super) layers: HashMap<Digest, Descriptor>,
    /// What is known of the destination.
    pub(super) state: DestinationState,
}

impl From<DestinationState> for ReusableLayers {
    fn from(state: DestinationState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }
}

impl ReusableLayers {
    fn is_complete(&self, image: &UncompressedImage) -> bool {
        self.image.is_some()
            || image
                .layers
                .iter()
                .all(|layer| self.layers.contains_key(&layer.diff_id))
    }
}

impl Destination {
    /// Looks at the tags, and for the layers of `image` in the earlier images of the repository:
    /// under the same tags, then the newest.
    pub(super) async fn find(
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
        let mut found = ReusableLayers::default();
        found.state.tags = tagged
            .iter()
            .map(|manifest| manifest.as_ref().map(|manifest| manifest.digest().clone()))
            .collect();
        if policy != ExistingTag::Overwrite {
            // What cannot be read may have a tag all the same, which is not to be moved.
            let tags = self.tags.iter().zip(&mut found.state.tags);
            for (tag, digest) in tags.filter(|(_, digest)| digest.is_none()) {
                *digest = self.head(tag).await?;
            }
        }
        let mut seen = HashSet::new();
        for manifest in tagged.into_iter().flatten() {
            self.collect_layers(manifest, &config, image, &mut seen, &mut found)
                .await?;
        }
        if found.is_complete(image) {
            return Ok(found);
        }
        let earlier = self.previous_images(&mut found.state).await;
        let mut manifests = stream::iter(earlier)
            .map(|reference| async move { self.manifest(&reference).await })
            .buffered(PREVIOUS_IMAGES);
        while let Some(manifest) = manifests.next().await {
            if let Some(manifest) = manifest? {
                self.collect_layers(manifest, &config, image, &mut seen, &mut found)
                    .await?;
            }
            if found.is_complete(image) {
                break;
            }
        }
        drop(manifests);
        Ok(found)
    }

    /// The newest images of the repository, as references. A listing that is refused is no reason
    /// not to push.
    pub(super) async fn previous_images(&self, state: &mut DestinationState) -> Vec<String> {
        let listing = match self.registry.list_if_available(&self.repository).await {
            Ok(Some(listing)) => listing,
            Ok(None) => {
                state.is_empty = true;
                return Vec::new();
            }
            Err(_) => return Vec::new(),
        };
        state.is_empty = listing.tags.is_empty() && listing.manifests.is_empty();
        let by_upload = listing.manifests.iter().map(|m| m.digest.to_string());
        let mut references: Vec<_> = by_upload.collect();
        if references.is_empty() {
            references = newest_first(listing.tags);
        }
        references.retain(|reference| !self.tags.contains(reference));
        references.truncate(PREVIOUS_IMAGES);
        references
    }

    /// Takes from a manifest, or from the children of an index, what it tells about the layers.
    async fn collect_layers(
        &self,
        manifest: AnyManifest,
        config: &Digest,
        image: &UncompressedImage,
        seen: &mut HashSet<Digest>,
        found: &mut ReusableLayers,
    ) -> Result<(), PushError> {
        let mut manifests = vec![manifest];
        while let Some(manifest) = manifests.pop() {
            if !seen.insert(manifest.digest().clone()) || found.is_complete(image) {
                continue;
            }
            match manifest {
                AnyManifest::Manifest(manifest) => {
                    self.learn_from_image(manifest, config, image, found)
                        .await?;
                }
                AnyManifest::Index(index) => {
                    let runs = |child: &&Descriptor| child.platform.is_some() && !child.is_index();
                    for child in index.manifests.iter().filter(runs).take(PREVIOUS_IMAGES) {
                        manifests.extend(self.manifest(child.digest.as_str()).await?);
                    }
                }
            }
        }
        Ok(())
    }

    async fn learn_from_image(
        &self,
        manifest: Manifest,
        config: &Digest,
        image: &UncompressedImage,
        found: &mut ReusableLayers,
    ) -> Result<(), PushError> {
        found
            .state
            .present
            .extend(manifest.blobs().into_iter().map(|blob| blob.digest.clone()));
        if manifest.config.digest == *config {
            if manifest.layers.len() == image.layers.len() {
                found.image = Some(manifest);
            }
            return Ok(());
        }
        let config = self
            .registry
            .get_config(&self.repository, &manifest.config.digest)
            .await;
        // An artifact has a config of another kind, and a config may be gone: neither is ours to
        // complain about.
        let Ok(Some(config)) = config else {
            return Ok(());
        };
        let diff_ids = diff_ids(&config);
        if diff_ids.len() == manifest.layers.len() {
            let pairs = diff_ids.into_iter().zip(manifest.layers);
            found
                .layers
                .extend(pairs.filter(|(_, layer)| !layer.is_foreign()));
        }
        Ok(())
    }
}

/// Tags in the order in which they are likely to have been made, newest first: names that move with
/// every build before versions, and versions by their numbers.
fn newest_first(mut tags: Vec<String>) -> Vec<String> {
    tags.sort_by_cached_key(|tag| {
        let moves = ["latest", "main", "master", "edge", "nightly"].contains(&tag.as_str());
        std::cmp::Reverse((moves, numbers(tag), tag.clone()))
    });
    tags
}

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
