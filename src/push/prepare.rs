//! Compresses an image of uncompressed layers: reuses the layers that the destinations have,
//! compresses the others, and uploads each as soon as it is compressed.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::blobs::{Blob, BlobSource, Blobs};
use super::manifest_builder::{Family, Layer, LayerEncoding, build_manifest};
use super::probe::DestinationState;
use super::reuse::ReusableLayers;
use super::{Destination, PushError, Settings};
use crate::ci::progress::Work;
use crate::image::{LayerFormat, Source, Tree, UncompressedImage, UncompressedLayer};
use crate::oci::digest::Digest;
use crate::oci::manifest::{AnyManifest, Manifest};
use crate::push::compress::Compression;
use crate::push::compress::{Method, compress};

/// A compressed image, and the states of the destinations that its layers were uploaded to.
pub(super) struct CompressedImage {
    /// The manifest and all blobs. `None` if every destination failed.
    pub(super) image: Option<(Tree, Blobs)>,
    /// The same image with an OCI manifest. `None` unless `image` has a Docker manifest.
    pub(super) oci_tree: Option<Tree>,
    /// One state per destination, or the error that ended the upload.
    pub(super) states: Vec<Result<DestinationState, PushError>>,
}

/// How many compressed layers may wait for the upload: one waits while another is sent.
const QUEUE: usize = 2;

/// Finds the layers that the destinations have, compresses each other layer once, and uploads it to
/// every destination while the next is compressed.
///
/// # Errors
///
/// If a layer cannot be read or compressed, or does not have the diff ID that the config states.
pub(super) async fn compress_and_upload(
    source: &Source,
    image: &UncompressedImage,
    destinations: &[Destination],
    settings: &Settings,
) -> Result<CompressedImage, PushError> {
    let config = Blob::new(
        Digest::of(&image.config),
        image.config.len() as u64,
        BlobSource::Memory(image.config.clone()),
    );
    let searches = destinations.iter().map(|destination| async {
        if settings.options.layer_reuse {
            destination
                .find_reusable(image, settings.options.existing_tag)
                .await
        } else {
            let state = destination.probe_tags(&config.digest).await?;
            Ok(ReusableLayers::from(state))
        }
    });
    let mut reusable: Vec<_> = join_all(searches).await;
    if let Some(manifest) = same_image(&mut reusable, settings.options.compression) {
        tracing::info!("the image is there already: nothing has to be compressed");
        let mut blobs: Blobs = manifest
            .blobs()
            .into_iter()
            .map(Blob::already_present)
            .collect();
        blobs.retain(|blob| blob.digest != config.digest);
        blobs.push(config);
        return Ok(CompressedImage {
            image: Some((Tree::of(AnyManifest::Manifest(manifest)), blobs)),
            oci_tree: None,
            states: states(reusable),
        });
    }
    let mut layers_by_diff_id = reuse_layers(image, destinations, &mut reusable, settings).await;
    let mut blobs: Blobs = layers_by_diff_id
        .values()
        .map(|layer| Blob::new(layer.digest.clone(), layer.size, BlobSource::AlreadyPresent))
        .collect();
    let states = states(reusable);

    if let Compression::With(_) = settings.options.compression {
        let mut seen = HashSet::new();
        let to_compress = image.layers.iter().filter(|layer| {
            layer.form == LayerFormat::Tar
                && !layers_by_diff_id.contains_key(&layer.diff_id)
                && seen.insert(&layer.diff_id)
        });
        let sizes = to_compress.map(|layer| layer.size);
        settings.progress.expect(Work::Compress, sizes);
    }
    let (ready, waiting) = mpsc::channel::<Blob>(QUEUE);
    let compression = async {
        // Moved in, so that the channel is closed after the last layer.
        let ready = ready;
        // The largest layer first, because the last upload runs alone.
        let mut layers: Vec<_> = image.layers.iter().collect();
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        for layer in layers {
            if layers_by_diff_id.contains_key(&layer.diff_id) {
                continue;
            }
            let (compressed, blob) = compress_layer(source, layer, settings).await?;
            layers_by_diff_id.insert(layer.diff_id.clone(), compressed);
            let is_new = |blob: &Blob| !blobs.iter().any(|known| known.digest == blob.digest);
            if let Some(blob) = blob.filter(is_new) {
                blobs.push(blob.clone());
                if ready.send(blob).await.is_err() {
                    return Ok(None);
                }
            }
        }
        Ok::<_, PushError>(Some((layers_by_diff_id, blobs)))
    };
    let (compressed, states) = tokio::join!(
        compression,
        upload_layers(waiting, destinations, states, settings)
    );
    let Some((layers_by_diff_id, mut blobs)) = compressed? else {
        return Ok(CompressedImage {
            image: None,
            oci_tree: None,
            states,
        });
    };
    let layers = image
        .layers
        .iter()
        .map(|layer| layers_by_diff_id[&layer.diff_id].clone());
    let layers: Vec<_> = layers.collect();
    let build = |family| {
        build_manifest(&config.digest, config.size, &layers, family).map_err(PushError::Manifest)
    };
    let family = Family::of(&layers);
    let manifest = build(family)?;
    let oci_tree = match family {
        Family::Docker => Some(Tree::of(build(Family::Oci)?)),
        Family::Oci => None,
    };
    if !blobs.iter().any(|blob| blob.digest == config.digest) {
        blobs.push(config);
    }
    Ok(CompressedImage {
        image: Some((Tree::of(manifest), blobs)),
        oci_tree,
        states,
    })
}

/// Returns the states of the destinations without the reusable layers.
fn states(
    reusable: Vec<Result<ReusableLayers, PushError>>,
) -> Vec<Result<DestinationState, PushError>> {
    let state = |reusable: ReusableLayers| reusable.state;
    reusable
        .into_iter()
        .map(|reusable| reusable.map(state))
        .collect()
}

/// Returns the manifest of an previous push of the same image. `None` unless every reachable
/// destination has it, with the requested compression.
fn same_image(
    reusable: &mut [Result<ReusableLayers, PushError>],
    compression: Compression,
) -> Option<Manifest> {
    let mut reached = reusable
        .iter_mut()
        .filter_map(|reusable| reusable.as_mut().ok());
    let first = reached.next()?.image.clone()?;
    let has_encoding = |layer| LayerEncoding::of(layer) == Some(LayerEncoding::from(compression));
    let same = |reusable: &mut ReusableLayers| {
        reusable
            .image
            .as_ref()
            .is_some_and(|i| i.digest == first.digest)
    };
    if !first.layers.iter().all(has_encoding) || !reached.all(same) {
        return None;
    }
    for reusable in reusable.iter_mut().flatten() {
        reusable.state.image_is_present = true;
    }
    Some(first)
}

/// Returns the layers that every reachable destination has as the same blob, by diff ID, so that
/// all destinations get the same digest. A layer that only some have is compressed again for all.
async fn reuse_layers(
    image: &UncompressedImage,
    destinations: &[Destination],
    reusable: &mut [Result<ReusableLayers, PushError>],
    settings: &Settings,
) -> HashMap<Digest, Layer> {
    let mut reused = HashMap::new();
    for layer in &image.layers {
        let previous = reusable.iter().flatten().find_map(|reusable| {
            let previous = reusable.layers.get(&layer.diff_id)?;
            (LayerEncoding::of(previous)? == LayerEncoding::from(settings.options.compression))
                .then_some(previous)
        });
        let Some(previous) = previous.filter(|_| layer.form == LayerFormat::Tar).cloned() else {
            continue;
        };
        let mut is_everywhere = true;
        for (destination, reusable) in destinations.iter().zip(reusable.iter_mut()) {
            let Ok(reusable) = reusable else { continue };
            // The layer is compressed again if a destination does not answer.
            let has = reusable.state.has(&previous.digest)
                || destination.has(&previous.digest).await.unwrap_or(false);
            if has {
                reusable.state.present.insert(previous.digest.clone());
            }
            is_everywhere &= has;
        }
        if is_everywhere {
            let encoding = LayerEncoding::from(settings.options.compression);
            reused.insert(
                layer.diff_id.clone(),
                Layer {
                    encoding,
                    digest: previous.digest,
                    size: previous.size,
                },
            );
        }
    }
    if !reused.is_empty() {
        tracing::info!(
            "{} of {} layers are there already and need not be compressed",
            reused.len(),
            image.layers.len()
        );
    }
    reused
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
    let (encoding, blob) = match (&layer.form, settings.options.compression) {
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

/// Uploads the layers from the channel to every destination. A destination that fails gets no
/// further layers, and its error becomes its state. If all destinations have failed, the channel is
/// closed.
async fn upload_layers(
    mut waiting: mpsc::Receiver<Blob>,
    destinations: &[Destination],
    mut states: Vec<Result<DestinationState, PushError>>,
    settings: &Settings,
) -> Vec<Result<DestinationState, PushError>> {
    let is_empty: Vec<_> = states
        .iter()
        .map(|state| state.as_ref().ok().map(|state| state.is_empty))
        .collect();
    if is_empty.iter().all(Option::is_none) {
        return states;
    }
    let layers = stream::poll_fn(|context| waiting.poll_recv(context));
    let mut uploads = layers
        .map(|blob| {
            let attempts = destinations.iter().zip(&is_empty);
            let attempts: Vec<_> = attempts
                .map(|(destination, is_empty)| {
                    let blob = blob.clone();
                    async move {
                        let Some(is_empty) = is_empty else {
                            return Ok(false);
                        };
                        let is_present = !is_empty && destination.has(&blob.digest).await?;
                        if !is_present && settings.options.dry_run {
                            destination.stats.sent(&blob.digest, blob.size);
                        } else if !is_present {
                            blob.send(destination, &settings.progress).await?;
                        }
                        Ok::<_, PushError>(is_present)
                    }
                })
                .collect();
            async move {
                let _slot = settings.slots.acquire(blob.size).await;
                (blob.digest, join_all(attempts).await)
            }
        })
        .buffer_unordered(settings.slots.large());
    while let Some((digest, results)) = uploads.next().await {
        for (state, result) in states.iter_mut().zip(results) {
            match (state.as_mut(), result) {
                (Ok(state), Ok(true)) => drop(state.present.insert(digest.clone())),
                (Ok(state), Ok(false)) => drop(state.sent.insert(digest.clone())),
                (Ok(_), Err(error)) => *state = Err(error),
                (Err(_), _) => {}
            }
        }
        if states.iter().all(Result::is_err) {
            break;
        }
    }
    drop(uploads);
    states
}
