//! Makes an image of uncompressed layers fit for a registry: compresses the layers, sends each as
//! soon as it is ready, and writes the manifest that names them.

use std::borrow::Cow;
use std::collections::HashMap;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use super::blobs::{Blob, Blobs, Origin};
use super::plan::Known;
use super::{Destination, PushError, Settings};
use crate::compress;
use crate::config::Compression;
use crate::digest::Digest;
use crate::manifest::{AnyManifest, media_type};
use crate::source::{LayerForm, Source, Tree, Unpacked, UnpackedLayer};

/// What packing leaves: the manifest, every blob, and what each destination already got.
type Packed = (Tree, Blobs, Vec<Result<Known, PushError>>);

/// Layers that are compressed but not sent yet: one may wait while another is on the wire.
const AHEAD: usize = 2;

/// A layer as the manifest will name it.
#[derive(Clone)]
struct Layer {
    media_type: Cow<'static, str>,
    digest: Digest,
    size: u64,
    urls: Vec<String>,
}

/// Compresses each layer once, and sends it to every destination while the next is compressed.
///
/// # Errors
///
/// When a layer cannot be read or compressed, or does not have the diff ID that the config states.
pub(super) async fn pack_and_send(
    source: &Source,
    unpacked: &Unpacked,
    destinations: &[Destination],
    settings: &Settings,
) -> Result<Packed, PushError> {
    let (ready, waiting) = mpsc::channel::<Blob>(AHEAD);
    let packing = async {
        let mut packed: HashMap<&Digest, Layer> = HashMap::new();
        let mut blobs: Blobs = Vec::new();
        for layer in &unpacked.layers {
            if packed.contains_key(&layer.diff_id) {
                continue;
            }
            let (named, blob) = pack(source, layer, settings).await?;
            packed.insert(&layer.diff_id, named);
            let is_new = |blob: &Blob| !blobs.iter().any(|known| known.digest == blob.digest);
            if let Some(blob) = blob.filter(is_new) {
                blobs.push(blob.clone());
                // The other end stops only when the whole push is given up.
                let _ = ready.send(blob).await;
            }
        }
        drop(ready);
        Ok::<_, PushError>((packed, blobs))
    };
    let (packed, states) = tokio::join!(packing, send(waiting, destinations, settings));
    let (packed, mut blobs) = packed?;

    let layers: Vec<_> = unpacked
        .layers
        .iter()
        .map(|layer| packed[&layer.diff_id].clone())
        .collect();
    let config = Blob {
        digest: Digest::of(&unpacked.config),
        size: unpacked.config.len() as u64,
        origin: Origin::Memory(unpacked.config.clone()),
    };
    let manifest = write_manifest(&config, &layers);
    if !blobs.iter().any(|blob| blob.digest == config.digest) {
        blobs.push(config);
    }
    Ok((Tree::of(manifest), blobs, states))
}

/// One layer as it will be named, and its blob unless it stays elsewhere.
async fn pack(
    source: &Source,
    layer: &UnpackedLayer,
    settings: &Settings,
) -> Result<(Layer, Option<Blob>), PushError> {
    let diff_id = &layer.diff_id;
    let from_source = || Origin::Source(source.clone(), diff_id.clone());
    let (media_type, blob) = match (&layer.form, settings.compression) {
        (LayerForm::Foreign(descriptor), _) => {
            let named = Layer {
                media_type: descriptor.media_type.clone().into(),
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                urls: descriptor.urls.clone(),
            };
            return Ok((named, None));
        }
        (LayerForm::Tar, Compression::Gzip(level)) => {
            let blob = compress(source, layer, level, settings).await?;
            (media_type::DOCKER_LAYER_GZIP, blob)
        }
        (LayerForm::Tar, Compression::None) => {
            let blob = Blob {
                digest: diff_id.clone(),
                size: layer.size,
                origin: from_source(),
            };
            (media_type::DOCKER_LAYER, blob)
        }
        // Compressed already: it goes up as it is, under the digest that it has.
        (form @ (LayerForm::Gzip | LayerForm::Zstd), _) => {
            let blob = Blob {
                digest: source.hash(diff_id).await.map_err(PushError::Source)?,
                size: layer.size,
                origin: from_source(),
            };
            let media_type = match form {
                LayerForm::Zstd => media_type::OCI_LAYER_ZSTD,
                _ => media_type::DOCKER_LAYER_GZIP,
            };
            (media_type, blob)
        }
    };
    let named = Layer {
        media_type: media_type.into(),
        digest: blob.digest.clone(),
        size: blob.size,
        urls: Vec::new(),
    };
    Ok((named, Some(blob)))
}

async fn compress(
    source: &Source,
    layer: &UnpackedLayer,
    level: u8,
    settings: &Settings,
) -> Result<Blob, PushError> {
    let UnpackedLayer { diff_id, size, .. } = layer;
    let bytes = source
        .open_blob(diff_id, 0)
        .await
        .map_err(PushError::Source)?;
    let compressed = compress::gzip(bytes, level, &settings.temporary_directory)
        .await
        .map_err(|cause| PushError::Compress {
            diff_id: diff_id.clone(),
            cause,
        })?;
    if compressed.diff_id != *diff_id {
        return Err(PushError::Damaged {
            stated: diff_id.clone(),
            actual: compressed.diff_id,
        });
    }
    tracing::info!(
        "compressed layer {} from {size} to {} bytes",
        diff_id.short(),
        compressed.size
    );
    Ok(Blob {
        digest: compressed.digest,
        size: compressed.size,
        origin: Origin::File(compressed.file),
    })
}

/// Sends the layers as they come to every destination. A destination that fails gets no more, and
/// its error; the others go on.
async fn send(
    mut waiting: mpsc::Receiver<Blob>,
    destinations: &[Destination],
    settings: &Settings,
) -> Vec<Result<Known, PushError>> {
    let mut states: Vec<Result<Known, PushError>> =
        destinations.iter().map(|_| Ok(Known::default())).collect();
    let layers = stream::poll_fn(|context| waiting.poll_recv(context));
    let mut sending = layers
        .map(|blob| async move {
            let attempts = destinations.iter().map(|destination| async {
                let repository = &destination.repository;
                let present = destination
                    .registry
                    .has_blob(repository, &blob.digest)
                    .await
                    .map_err(|cause| destination.failed(None, cause))?;
                if !present {
                    blob.send(destination).await?;
                }
                Ok::<_, PushError>(present)
            });
            let results = join_all(attempts).await;
            (blob.digest.clone(), results)
        })
        .buffer_unordered(settings.concurrency);
    while let Some((digest, results)) = sending.next().await {
        for (state, result) in states.iter_mut().zip(results) {
            match (state.as_mut(), result) {
                (Ok(known), Ok(true)) => known.present.push(digest.clone()),
                (Ok(known), Ok(false)) => known.sent.push(digest.clone()),
                (Ok(_), Err(error)) => *state = Err(error),
                (Err(_), _) => {}
            }
        }
    }
    drop(sending);
    states
}

/// Writes the manifest in Docker's schema 2, which `docker push` makes of the same archive; in
/// OCI's form where a layer is in zstd, which Docker's has no media type for.
fn write_manifest(config: &Blob, layers: &[Layer]) -> AnyManifest {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        schema_version: u8,
        media_type: &'a str,
        config: Entry<'a>,
        layers: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry<'a> {
        media_type: &'a str,
        size: u64,
        digest: &'a Digest,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        urls: &'a [String],
    }
    let is_oci = layers
        .iter()
        .any(|layer| layer.media_type == media_type::OCI_LAYER_ZSTD);
    let (own_type, config_type) = if is_oci {
        (media_type::OCI_MANIFEST, media_type::OCI_CONFIG)
    } else {
        (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG)
    };
    let layers = layers.iter().map(|layer| Entry {
        media_type: match &*layer.media_type {
            media_type::DOCKER_LAYER_GZIP if is_oci => media_type::OCI_LAYER_GZIP,
            media_type::DOCKER_LAYER if is_oci => media_type::OCI_LAYER,
            other => other,
        },
        size: layer.size,
        digest: &layer.digest,
        urls: &layer.urls,
    });
    let document = Document {
        schema_version: 2,
        media_type: own_type,
        config: Entry {
            media_type: config_type,
            size: config.size,
            digest: &config.digest,
            urls: &[],
        },
        layers: layers.collect(),
    };
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists always make JSON"
    )]
    let bytes = serde_json::to_vec(&document).expect("a manifest is JSON");
    #[expect(clippy::expect_used, reason = "it was written in the line above")]
    AnyManifest::parse(bytes.into(), None).expect("our own manifest is one")
}
