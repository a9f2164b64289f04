//! Prepares an image to be pushed: its manifests as they are or as they are selected, or, for an
//! image of uncompressed layers, one layer after the other and then a manifest.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;

use super::blobs::{self, Blob, BlobSource, Blobs};
use super::compress::{Compression, Method, compress};
use super::destination::Destination;
use super::manifest_builder::{Family, Layer, LayerEncoding, build_manifest};
use super::selection::{check_platform, existing_manifests, select_platforms};
use super::{BlobLocations, PushError, Settings, notes, reuse};
use crate::ci::progress::Work;
use crate::image::{
    LayerFormat, Referrers, RewrittenIndex, Source, Tree, UncompressedImage, UncompressedLayer,
};
use crate::oci::digest::Digest;
use crate::oci::manifest::AnyManifest;

/// An image as it is pushed.
pub(super) struct PreparedImage {
    pub(super) tree: Tree,
    /// The same image with an OCI manifest. `None` unless a Docker manifest was built for it.
    pub(super) oci_tree: Option<Tree>,
    pub(super) referrers: Referrers,
    /// The blobs of the image and its referrers.
    pub(super) blobs: Blobs,
    /// Changes to the source's manifests and what is unusual about the image, as sentences.
    pub(super) notes: Vec<String>,
}

/// An image of which all blobs are ready, or one whose layers are still compressed.
pub(super) enum Preparation<'a> {
    Ready(Box<PreparedImage>),
    Layers(UnfinishedImage<'a>),
}

/// An image of which some layers are ready.
pub(super) struct UnfinishedImage<'a> {
    source: &'a Source,
    image: &'a UncompressedImage,
    settings: &'a Settings,
    /// The layers that are not ready. The largest is last and comes next, because the last upload
    /// runs alone.
    pending: Vec<&'a UncompressedLayer>,
    /// The layers that are ready, by diff ID.
    layers: HashMap<Digest, Layer>,
    config: Blob,
    blobs: Blobs,
}

impl PreparedImage {
    /// Returns the manifests with those of the referrers among the children.
    pub(super) fn all_manifests(&self) -> Tree {
        let mut tree = self.tree.clone();
        let manifests = self.referrers.manifests();
        tree.children
            .extend(manifests.map(|one| (one.digest().clone(), one.clone())));
        tree
    }

    /// Reads the blobs from a destination that has them, where that spares the source: unless they are
    /// on this machine.
    pub(super) fn read_from(&mut self, destination: &Destination) {
        for blob in &mut self.blobs {
            if let BlobSource::Source(source, _) = &blob.origin
                && (source.repository().is_some() || blob.is_absent())
            {
                blob.origin = BlobSource::of(destination);
            }
        }
    }
}

impl Preparation<'_> {
    /// Returns the image. `None` if it is not ready.
    pub(super) fn image(&self) -> Option<&PreparedImage> {
        match self {
            Self::Ready(image) => Some(image),
            Self::Layers(_) => None,
        }
    }

    /// Returns the blobs that are ready.
    pub(super) fn blobs(&self) -> &Blobs {
        match self {
            Self::Ready(image) => &image.blobs,
            Self::Layers(unfinished) => &unfinished.blobs,
        }
    }

    /// Returns the next blob that was not ready before. `None` if there is no other.
    ///
    /// # Errors
    ///
    /// If a layer cannot be read or compressed, or does not have the diff ID that the config states.
    pub(super) async fn next(&mut self) -> Result<Option<Blob>, PushError> {
        match self {
            Self::Ready(_) => Ok(None),
            Self::Layers(unfinished) => unfinished.next().await,
        }
    }

    /// Returns the image once all blobs are ready. `None` before.
    ///
    /// # Errors
    ///
    /// If no manifest can be built.
    pub(super) fn finish(self) -> Result<Option<PreparedImage>, PushError> {
        match self {
            Self::Ready(image) => Ok(Some(*image)),
            Self::Layers(unfinished) if unfinished.pending.is_empty() => {
                unfinished.build().map(Some)
            }
            Self::Layers(_) => Ok(None),
        }
    }
}

/// Prepares the image of a source for these destinations.
///
/// # Errors
///
/// If the source cannot be read or has no requested platform.
pub(super) async fn prepare<'a>(
    source: &'a Source,
    destinations: &[Destination],
    settings: &'a Settings,
    locations: &BlobLocations,
) -> Result<Preparation<'a>, PushError> {
    if settings.options.referrers {
        source
            .check_referrers_supported()
            .map_err(PushError::Source)?;
    }
    match existing_manifests(source.image(), settings) {
        Ok(tree) => {
            let image = select(source, &tree, settings, locations).await?;
            Ok(Preparation::Ready(Box::new(image)))
        }
        Err(image) => reuse_layers(source, image, destinations, settings).await,
    }
}

/// Selects the manifests of the source that are pushed.
async fn select(
    source: &Source,
    tree: &Tree,
    settings: &Settings,
    locations: &BlobLocations,
) -> Result<PreparedImage, PushError> {
    let selected = select_platforms(source, tree, settings).await?;
    let mut notes = source.image().notes.clone();
    notes.extend(selected.rewritten.iter().map(RewrittenIndex::to_string));
    notes.extend(notes::of_tree(&selected.tree));
    let mut referrers = Referrers::default();
    if settings.options.referrers {
        let found = source.referrers(&selected.tree).await;
        referrers = found.map_err(PushError::Source)?;
        notes.extend(selected.rewritten.map(|rewritten| {
            format!(
                "the referrers of the index {} itself are not copied",
                rewritten.from
            )
        }));
    }
    notes.extend(referrers.notes.iter().cloned());
    let trees = referrers.all.iter().map(|referrer| &referrer.tree);
    let named = selected.tree.blobs().chain(trees.flat_map(Tree::blobs));
    let blobs = blobs::named(named, source);
    if let Some((endpoint, repository)) = source.repository() {
        for blob in &blobs {
            locations.record(endpoint, repository, &blob.digest);
        }
    }
    record_base_images(source, &selected.tree, &blobs, locations).await;
    Ok(PreparedImage {
        tree: selected.tree,
        oci_tree: None,
        referrers,
        blobs,
        notes,
    })
}

/// Records the base images' repositories as possible locations of the layers that the source lacks.
async fn record_base_images(
    source: &Source,
    tree: &Tree,
    blobs: &Blobs,
    locations: &BlobLocations,
) {
    let absent: Vec<_> = blobs.iter().filter(|blob| blob.is_absent()).collect();
    if absent.is_empty() {
        return;
    }
    for base in source.base_images(tree).await {
        for blob in &absent {
            locations.record_candidate(&base.endpoint, &base.repository, &blob.digest);
        }
    }
}

/// Finds the layers of an image that the destinations have; the others have to be compressed.
async fn reuse_layers<'a>(
    source: &'a Source,
    image: &'a UncompressedImage,
    destinations: &[Destination],
    settings: &'a Settings,
) -> Result<Preparation<'a>, PushError> {
    let options = &settings.options;
    check_platform(&image.config, &options.platforms)?;
    let config = Blob::new(
        Digest::of(&image.config),
        image.config.len() as u64,
        BlobSource::Memory(image.config.clone()),
    );
    let policies = destinations
        .iter()
        .map(|destination| destination.apply_tag_policy(&config.digest, options.existing_tag));
    join_all(policies).await;
    let found = reuse::search(image, destinations, options).await;
    let there = |digest: &Digest, size| {
        let holder = found.first()?;
        Some(Blob::new(digest.clone(), size, BlobSource::of(holder.0)))
    };
    if let Some(manifest) = reuse::same_image(&found, options.compression) {
        tracing::info!("the image already exists: there is nothing to compress");
        let layers = manifest.blobs().into_iter();
        let layers = layers.filter(|blob| blob.digest != config.digest);
        let layers = layers.filter_map(|blob| there(&blob.digest, blob.size));
        let blobs = layers.chain([config.clone()]).collect();
        let tree = Tree::of(AnyManifest::Manifest(manifest));
        let image = Box::new(built_image(source, tree, None, blobs));
        return Ok(Preparation::Ready(image));
    }
    let layers = reuse::shared_layers(image, &found, options.compression).await;
    let mut blobs: Blobs = Vec::new();
    for layer in layers.values() {
        blobs.extend(there(&layer.digest, layer.size));
    }
    let mut seen = HashSet::new();
    let mut pending: Vec<_> = image.layers.iter().collect();
    pending.retain(|layer| !layers.contains_key(&layer.diff_id) && seen.insert(&layer.diff_id));
    pending.sort_by_key(|layer| layer.size);
    if let Compression::With(_) = options.compression {
        let to_compress = pending
            .iter()
            .filter(|layer| layer.format == LayerFormat::Tar);
        let sizes = to_compress.map(|layer| layer.size);
        settings.progress.expect(Work::Compress, sizes);
    }
    blobs.retain(|blob| blob.digest != config.digest);
    blobs.push(config.clone());
    Ok(Preparation::Layers(UnfinishedImage {
        source,
        image,
        settings,
        pending,
        layers,
        config,
        blobs,
    }))
}

/// Returns an image with a manifest that was built for it.
fn built_image(source: &Source, tree: Tree, oci_tree: Option<Tree>, blobs: Blobs) -> PreparedImage {
    let mut notes = source.image().notes.clone();
    notes.extend(notes::of_tree(&tree));
    PreparedImage {
        tree,
        oci_tree,
        referrers: Referrers::default(),
        blobs,
        notes,
    }
}

impl UnfinishedImage<'_> {
    /// Compresses the next layers, up to one with a new blob.
    async fn next(&mut self) -> Result<Option<Blob>, PushError> {
        while let Some(layer) = self.pending.last() {
            let (made, blob) = compress_layer(self.source, layer, self.settings).await?;
            self.layers.insert(layer.diff_id.clone(), made);
            self.pending.pop();
            let is_new = |blob: &Blob| self.blobs.iter().all(|known| known.digest != blob.digest);
            if let Some(blob) = blob.filter(is_new) {
                self.blobs.push(blob.clone());
                return Ok(Some(blob));
            }
        }
        Ok(None)
    }

    /// Builds the manifest.
    fn build(self) -> Result<PreparedImage, PushError> {
        let layers = self.image.layers.iter();
        let layers: Vec<_> = layers
            .map(|layer| self.layers[&layer.diff_id].clone())
            .collect();
        let build = |family| {
            let built = build_manifest(&self.config.digest, self.config.size, &layers, family);
            built.map(Tree::of).map_err(PushError::Manifest)
        };
        let family = Family::of(&layers);
        let tree = build(family)?;
        let oci_tree = match family {
            Family::Docker => Some(build(Family::Oci)?),
            Family::Oci => None,
        };
        Ok(built_image(self.source, tree, oci_tree, self.blobs))
    }
}

/// Compresses one layer if necessary. Returns the layer for the manifest, and its blob. There is no
/// blob for a foreign (non-distributable) layer, which is not pushed.
async fn compress_layer(
    source: &Source,
    layer: &UncompressedLayer,
    settings: &Settings,
) -> Result<(Layer, Option<Blob>), PushError> {
    let diff_id = &layer.diff_id;
    let unchanged = |digest| {
        let origin = BlobSource::Source(source.clone(), diff_id.clone());
        Blob::new(digest, layer.size, origin)
    };
    // A layer that is compressed in the source is pushed unchanged, with the digest of its bytes.
    let hashed = async || source.hash(diff_id).await.map_err(PushError::Source);
    let (encoding, blob) = match (&layer.format, settings.options.compression) {
        (LayerFormat::Foreign(descriptor), _) => {
            let encoding = LayerEncoding::Foreign {
                media_type: descriptor.media_type.clone(),
                urls: descriptor.urls.clone(),
            };
            let foreign = Layer {
                encoding,
                digest: descriptor.digest.clone(),
                size: descriptor.size,
            };
            return Ok((foreign, None));
        }
        (LayerFormat::Tar, Compression::With(method)) => {
            let blob = compress_tar(source, layer, method, settings).await?;
            (LayerEncoding::from(settings.options.compression), blob)
        }
        (LayerFormat::Tar, Compression::None) => (LayerEncoding::Tar, unchanged(diff_id.clone())),
        (LayerFormat::Gzip, _) => (LayerEncoding::Gzip, unchanged(hashed().await?)),
        (LayerFormat::Zstd, _) => (LayerEncoding::Zstd, unchanged(hashed().await?)),
    };
    let layer = Layer {
        encoding,
        digest: blob.digest.clone(),
        size: blob.size,
    };
    Ok((layer, Some(blob)))
}

impl From<Compression> for LayerEncoding {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::With(Method::Gzip(_)) => Self::Gzip,
            Compression::With(Method::Zstd(_)) => Self::Zstd,
            Compression::None => Self::Tar,
        }
    }
}

/// Compresses an uncompressed layer into a temporary file, and checks its diff ID.
async fn compress_tar(
    source: &Source,
    layer: &UncompressedLayer,
    method: Method,
    settings: &Settings,
) -> Result<Blob, PushError> {
    let UncompressedLayer { diff_id, size, .. } = layer;
    let bytes = source.layer(diff_id).await.map_err(PushError::Source)?;
    let meter = settings
        .progress
        .begin(Work::Compress, diff_id.short(), *size);
    let directory = &settings.temporary_directory;
    let compressed = compress(bytes, method, directory, meter.counter())
        .await
        .map_err(|cause| PushError::Compress {
            diff_id: diff_id.clone(),
            cause,
        })?;
    meter.done();
    if compressed.diff_id != *diff_id {
        let actual = compressed.diff_id;
        return Err(PushError::damaged(source, diff_id.clone(), actual));
    }
    tracing::info!(
        "compressed layer {} from {size} to {} bytes",
        diff_id.short(),
        compressed.size
    );
    Ok(Blob::new(
        compressed.digest,
        compressed.size,
        BlobSource::File(compressed.file),
    ))
}
