//! `verify: blobs`: reads an image back, and compares the digest of every blob.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::VerifyError;
use crate::image::{ChunkReader, Source, Tree, decompress};
use crate::oci::config::diff_ids;
use crate::oci::digest::{Digest, Hasher};
use crate::oci::manifest::Manifest;
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::{Destination, Pushed};

/// How many blobs are read at once.
const CONCURRENCY: usize = 4;

/// How many chunks of a blob may wait for decompression.
const QUEUE: usize = 4;

/// How often a blob with a wrong digest is read: its bytes may have been changed in transit.
const MAX_READS: u32 = 3;

/// Reads back every manifest and every blob of an image, compares each with its digest, and each
/// layer with the diff ID that the image's config states. Returns what could not be compared, as
/// sentences.
///
/// # Errors
///
/// If a manifest or blob is missing, or has other bytes than were sent.
pub(super) async fn read_back(
    destination: &Destination,
    pushed: &Pushed,
    tree: &Tree,
) -> Result<Vec<String>, VerifyError> {
    let reference = Reference {
        endpoint: destination.registry.endpoint().clone(),
        repository: destination.repository.clone(),
        tag: None,
        digest: Some(pushed.digest.clone()),
    };
    let unreadable = |cause| VerifyError::Unreadable {
        name: reference.to_string(),
        cause: Box::new(cause),
    };
    let registry = Arc::clone(&destination.registry);
    // Opening the source compares every manifest with its digest.
    let source = Source::open_remote(registry, &reference, &Platforms::All)
        .await
        .map_err(unreadable)?;
    let mut stated = HashMap::new();
    for manifest in tree.image_manifests() {
        stated.extend(diff_ids_of(&source, manifest).await);
    }
    let stated = &stated;
    let mut blobs: Vec<_> = tree.blobs().map(|blob| blob.digest.clone()).collect();
    blobs.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    blobs.dedup();
    stream::iter(blobs)
        .map(|digest| {
            let source = &source;
            async move { check(source, &digest, stated.get(&digest), pushed).await }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect::<()>()
        .await?;
    Ok(encrypted(tree, &pushed.name).into_iter().collect())
}

/// Returns a note about encrypted layers, whose content cannot be compared without the key.
fn encrypted(tree: &Tree, name: &str) -> Option<String> {
    let encrypted = tree.blobs().filter(|blob| blob.is_encrypted());
    let digests: HashSet<_> = encrypted.map(|blob| &blob.digest).collect();
    let layers = match digests.len() {
        0 => return None,
        1 => "1 encrypted layer".to_owned(),
        count => format!("{count} encrypted layers"),
    };
    Some(format!(
        "{layers} of `{name}` could be compared only with the digest, not with the config"
    ))
}

/// Returns the diff IDs of the layers that can be decompressed, by layer digest. Empty if the
/// config does not state one diff ID per layer, as that of an artifact.
async fn diff_ids_of(source: &Source, manifest: &Manifest) -> HashMap<Digest, Digest> {
    let config = async {
        let bytes = source.open_blob(&manifest.config.digest, 0).await.ok()?;
        let chunks: Vec<Bytes> = bytes.try_collect().await.ok()?;
        Some(diff_ids(&chunks.concat()))
    };
    let is_small = manifest.config.size <= crate::oci::manifest::MAX_MANIFEST_SIZE;
    let diff_ids = if is_small {
        config.await.unwrap_or_default()
    } else {
        Vec::new()
    };
    if diff_ids.len() != manifest.layers.len() {
        return HashMap::new();
    }
    let pairs = manifest.layers.iter().zip(diff_ids);
    let comparable = pairs.filter(|(layer, _)| layer.is_tar());
    comparable
        .map(|(layer, diff_id)| (layer.digest.clone(), diff_id))
        .collect()
}

/// Reads a blob back, and compares its digest and, for a layer, its diff ID (`stated`).
async fn check(
    source: &Source,
    digest: &Digest,
    stated: Option<&Digest>,
    pushed: &Pushed,
) -> Result<(), VerifyError> {
    let mut reads = 1;
    let (found, content) = loop {
        let read = read(source, digest, stated.is_some()).await;
        let read = read.map_err(|cause| VerifyError::UnreadableBlob {
            name: pushed.name.clone(),
            digest: digest.clone(),
            cause,
        })?;
        if read.0 == *digest || reads == MAX_READS {
            break read;
        }
        reads += 1;
    };
    if found != *digest {
        return Err(VerifyError::Blob {
            name: pushed.name.clone(),
            expected: digest.clone(),
            found,
        });
    }
    match (stated, content) {
        (Some(stated), Some(content)) if *stated != content => Err(VerifyError::Layer {
            name: pushed.name.clone(),
            digest: digest.clone(),
            expected: stated.clone(),
            found: content,
        }),
        _ => Ok(()),
    }
}

/// Returns the digest of a blob and, if it is a layer, the digest of its uncompressed content.
async fn read(
    source: &Source,
    digest: &Digest,
    is_layer: bool,
) -> io::Result<(Digest, Option<Digest>)> {
    let mut bytes = source
        .open_blob(digest, 0)
        .await
        .map_err(io::Error::other)?;
    let (send, receive) = mpsc::channel(QUEUE);
    let decompression = spawn_blocking(move || {
        let mut content = Hasher::default();
        let mut chunks = ChunkReader::new(receive);
        if is_layer {
            let result = decompress(BufReader::new(&mut chunks), &mut content);
            // A layer that cannot be decompressed has no content to compare with a diff ID.
            let is_whole = result.is_ok();
            io::copy(&mut chunks, &mut io::sink())?;
            return Ok(Some(content.finish()).filter(|_| is_whole));
        }
        io::copy(&mut chunks, &mut io::sink())?;
        Ok::<_, io::Error>(None)
    });
    let mut hasher = Hasher::default();
    while let Some(chunk) = bytes.try_next().await? {
        hasher.update(&chunk);
        // The receiver reads to the end, so sending only fails if the thread has failed.
        let _ = send.send(chunk).await;
    }
    drop(send);
    let content = decompression.await.map_err(io::Error::other)??;
    Ok((hasher.finish(), content))
}
