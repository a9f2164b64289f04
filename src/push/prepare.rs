//! Makes an image of uncompressed layers fit for a registry: takes the layers that the destinations
//! have, compresses the others, and sends each as soon as it is ready.

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

/// What packing leaves: the manifest and every blob, unless every destination failed before that;
/// and what is known of each destination.
pub(super) struct CompressedImage {
    pub(super) image: Option<(Tree, Blobs)>,
    /// The same image in OCI's form, where its manifest was written in Docker's.
    pub(super) in_oci_form: Option<Tree>,
    pub(super) states: Vec<Result<DestinationState, PushError>>,
}

/// Layers that are compressed but not sent yet: one may wait while another is on the wire.
const QUEUE: usize = 2;

/// Finds what the destinations have, compresses each other layer once, and sends it to every
/// destination while the next is compressed.
///
/// # Errors
///
/// When a layer cannot be read or compressed, or does not have the diff ID that the config states.
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
    let finding = destinations.iter().map(|destination| async {
        if settings.layer_reuse {
            destination.find(image, settings.existing_tag).await
        } else {
            let state = destination.probe_tags(&config.digest).await?;
            Ok(ReusableLayers::from(state))
        }
    });
    let mut found: Vec<_> = join_all(finding).await;
    if let Some(manifest) = same_image(&mut found, settings.compression) {
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
            in_oci_form: None,
            states: states(found),
        });
    }
    let mut packed = reuse_layers(image, destinations, &mut found, settings).await;
    let mut blobs: Blobs = packed
        .values()
        .map(|layer| Blob::new(layer.digest.clone(), layer.size, BlobSource::AlreadyPresent))
        .collect();
    let states = states(found);

    if let Compression::With(_) = settings.compression {
        let mut seen = HashSet::new();
        let to_compress = image.layers.iter().filter(|layer| {
            layer.form == LayerFormat::Tar
                && !packed.contains_key(&layer.diff_id)
                && seen.insert(&layer.diff_id)
        });
        let sizes = to_compress.map(|layer| layer.size);
        settings.progress.expect(Work::Compress, sizes);
    }
    let (ready, waiting) = mpsc::channel::<Blob>(QUEUE);
    let packing = async {
        // Moved in, so that the other end sees the last layer go.
        let ready = ready;
        // The largest first: what is compressed last is sent with nothing beside it.
        let mut layers: Vec<_> = image.layers.iter().collect();
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        for layer in layers {
            if packed.contains_key(&layer.diff_id) {
                continue;
            }
            let (named, blob) = compress_layers(source, layer, settings).await?;
            packed.insert(layer.diff_id.clone(), named);
            let is_new = |blob: &Blob| !blobs.iter().any(|known| known.digest == blob.digest);
            if let Some(blob) = blob.filter(is_new) {
                blobs.push(blob.clone());
                if ready.send(blob).await.is_err() {
                    return Ok(None);
                }
            }
        }
        Ok::<_, PushError>(Some((packed, blobs)))
    };
    let (packed, states) = tokio::join!(packing, send(waiting, destinations, states, settings));
    let Some((packed, mut blobs)) = packed? else {
        return Ok(CompressedImage {
            image: None,
            in_oci_form: None,
            states,
        });
    };
    let layers = image
        .layers
        .iter()
        .map(|layer| packed[&layer.diff_id].clone());
    let layers: Vec<_> = layers.collect();
    let write = |family| {
        build_manifest(&config.digest, config.size, &layers, family).map_err(PushError::Manifest)
    };
    let family = Family::of(&layers);
    let manifest = write(family)?;
    let in_oci_form = match family {
        Family::Docker => Some(Tree::of(write(Family::Oci)?)),
        Family::Oci => None,
    };
    if !blobs.iter().any(|blob| blob.digest == config.digest) {
        blobs.push(config);
    }
    Ok(CompressedImage {
        image: Some((Tree::of(manifest), blobs)),
        in_oci_form,
        states,
    })
}

fn states(
    found: Vec<Result<ReusableLayers, PushError>>,
) -> Vec<Result<DestinationState, PushError>> {
    let state = |found: ReusableLayers| found.state;
    found.into_iter().map(|found| found.map(state)).collect()
}

/// The image as an earlier push left it, when it is the same one at every destination that can be
/// reached, in the compression that is asked for.
fn same_image(
    found: &mut [Result<ReusableLayers, PushError>],
    compression: Compression,
) -> Option<Manifest> {
    let mut reached = found.iter_mut().filter_map(|found| found.as_mut().ok());
    let first = reached.next()?.image.clone()?;
    let fits = |layer| LayerEncoding::of(layer) == Some(LayerEncoding::from(compression));
    let same = |found: &mut ReusableLayers| {
        found
            .image
            .as_ref()
            .is_some_and(|i| i.digest == first.digest)
    };
    if !first.layers.iter().all(fits) || !reached.all(same) {
        return None;
    }
    for found in found.iter_mut().flatten() {
        found.state.image_is_present = true;
    }
    Some(first)
}

/// The layers that every destination that can be reached has, in one and the same blob each, so
/// that all of them get one digest. A layer that only some have is made anew for all.
async fn reuse_layers(
    image: &UncompressedImage,
    destinations: &[Destination],
    found: &mut [Result<ReusableLayers, PushError>],
    settings: &Settings,
) -> HashMap<Digest, Layer> {
    let mut taken = HashMap::new();
    for layer in &image.layers {
        let earlier = found.iter().flatten().find_map(|found| {
            let earlier = found.layers.get(&layer.diff_id)?;
            (LayerEncoding::of(earlier)? == LayerEncoding::from(settings.compression))
                .then_some(earlier)
        });
        let Some(earlier) = earlier.filter(|_| layer.form == LayerFormat::Tar).cloned() else {
            continue;
        };
        let mut is_everywhere = true;
        for (destination, found) in destinations.iter().zip(found.iter_mut()) {
            let Ok(found) = found else { continue };
            // A destination that cannot say gets the layer anew.
            let has = found.state.has(&earlier.digest)
                || destination.has(&earlier.digest).await.unwrap_or(false);
            if has {
                found.state.present.insert(earlier.digest.clone());
            }
            is_everywhere &= has;
        }
        if is_everywhere {
            let form = LayerEncoding::from(settings.compression);
            taken.insert(
                layer.diff_id.clone(),
                Layer {
                    form,
                    digest: earlier.digest,
                    size: earlier.size,
                },
            );
        }
    }
    if !taken.is_empty() {
        tracing::info!(
            "{} of {} layers are there already and need not be compressed",
            taken.len(),
            image.layers.len()
        );
    }
    taken
}

/// One layer as it will be named, and its blob unless it stays elsewhere.
async fn compress_layers(
    source: &Source,
    layer: &UncompressedLayer,
    settings: &Settings,
) -> Result<(Layer, Option<Blob>), PushError> {
    let diff_id = &layer.diff_id;
    let as_it_is = |digest| {
        let origin = BlobSource::Source(source.clone(), diff_id.clone());
        Blob::new(digest, layer.size, origin)
    };
    // Compressed already: it goes up as it is, under the digest that its bytes have.
    let hashed = async || source.hash(diff_id).await.map_err(PushError::Source);
    let (form, blob) = match (&layer.form, settings.compression) {
        (LayerFormat::Foreign(descriptor), _) => {
            let form = LayerEncoding::Foreign {
                media_type: descriptor.media_type.clone(),
                urls: descriptor.urls.clone(),
            };
            let named = Layer {
                form,
                digest: descriptor.digest.clone(),
                size: descriptor.size,
            };
            return Ok((named, None));
        }
        (LayerFormat::Tar, Compression::With(method)) => {
            let blob = compressed(source, layer, method, settings).await?;
            (LayerEncoding::from(settings.compression), blob)
        }
        (LayerFormat::Tar, Compression::None) => (LayerEncoding::Tar, as_it_is(diff_id.clone())),
        (LayerFormat::Gzip, _) => (LayerEncoding::Gzip, as_it_is(hashed().await?)),
        (LayerFormat::Zstd, _) => (LayerEncoding::Zstd, as_it_is(hashed().await?)),
    };
    let named = Layer {
        form,
        digest: blob.digest.clone(),
        size: blob.size,
    };
    Ok((named, Some(blob)))
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

async fn compressed(
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

/// Sends the layers as they come to every destination. A destination that fails gets no more, and
/// its error; the others go on, and when none is left the layers are no longer taken.
async fn send(
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
    let mut sending = layers
        .map(|blob| {
            let attempts = destinations.iter().zip(&is_empty);
            let attempts: Vec<_> = attempts
                .map(|(destination, is_empty)| {
                    let blob = blob.clone();
                    async move {
                        let Some(is_empty) = is_empty else {
                            return Ok(false);
                        };
                        let is_there = !is_empty && destination.has(&blob.digest).await?;
                        match (is_there, settings.dry_run) {
                            (true, _) => {}
                            (false, true) => destination.stats.sent(&blob.digest, blob.size),
                            (false, false) => blob.send(destination, &settings.progress).await?,
                        }
                        Ok::<_, PushError>(is_there)
                    }
                })
                .collect();
            async move {
                let _turn = settings.slots.acquire(blob.size).await;
                (blob.digest, join_all(attempts).await)
            }
        })
        .buffer_unordered(settings.slots.large());
    while let Some((digest, results)) = sending.next().await {
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
    drop(sending);
    states
}
