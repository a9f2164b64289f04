//! `verify: blobs`: the image is read back, and every byte of it hashed.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::VerifyError;
use crate::image::{Source, Tree, decompress};
use crate::oci::config::diff_ids;
use crate::oci::digest::{Digest, Hasher};
use crate::oci::manifest::{AnyManifest, Manifest};
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::{Destination, Pushed};

/// Blobs that are read at once.
const AT_ONCE: usize = 4;

/// Pieces of a blob that wait to be unpacked.
const QUEUE: usize = 4;

/// How often a blob is read whose bytes are not the right ones: they may have changed on the way.
const READINGS: u32 = 3;

/// Reads back every manifest and every blob of an image, compares each with its digest, and each
/// layer with the diff ID that the image's config states. Returns what could not be compared, as
/// sentences.
///
/// # Errors
///
/// When something is not there, or is not what it was when it was sent.
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
    // Every manifest is compared with its digest as it comes.
    let source = Source::open_remote(registry, &reference, &Platforms::All)
        .await
        .map_err(unreadable)?;
    let mut stated = HashMap::new();
    for manifest in std::iter::once(&tree.root).chain(tree.children.values()) {
        if let AnyManifest::Manifest(manifest) = manifest {
            stated.extend(layers_of(&source, manifest).await);
        }
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
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    Ok(encrypted(tree, &pushed.name).into_iter().collect())
}

/// What is said of layers whose content nobody can compare without the key.
fn encrypted(tree: &Tree, name: &str) -> Option<String> {
    let encrypted = tree.blobs().filter(|blob| blob.is_encrypted());
    let digests: HashSet<_> = encrypted.map(|blob| &blob.digest).collect();
    let layers = match digests.len() {
        0 => return None,
        1 => "1 encrypted layer".to_owned(),
        count => format!("{count} encrypted layers"),
    };
    Some(format!(
        "{layers} of `{name}` could be compared with the digest alone, not with what the config says"
    ))
}

/// The diff ID of each layer that can be unpacked, where the config tells them; what else a config
/// may hold is no fault of the image.
async fn layers_of(source: &Source, manifest: &Manifest) -> HashMap<Digest, Digest> {
    let config = async {
        let bytes = source.open_blob(&manifest.config.digest, 0).await.ok()?;
        let pieces: Vec<Bytes> = bytes.try_collect().await.ok()?;
        Some(diff_ids(&pieces.concat()))
    };
    let is_small = manifest.config.size <= crate::oci::manifest::MAX_MANIFEST_SIZE;
    let diff_ids = match is_small {
        true => config.await.unwrap_or_default(),
        false => Vec::new(),
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

async fn check(
    source: &Source,
    digest: &Digest,
    stated: Option<&Digest>,
    pushed: &Pushed,
) -> Result<(), VerifyError> {
    let mut readings = 1;
    let (found, content) = loop {
        let read = read(source, digest, stated.is_some()).await;
        let read = read.map_err(|cause| VerifyError::UnreadableBlob {
            name: pushed.name.clone(),
            digest: digest.clone(),
            cause,
        })?;
        if read.0 == *digest || readings == READINGS {
            break read;
        }
        readings += 1;
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

/// What a blob hashes to, and what it unpacks to hashes to.
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
    let unpacking = spawn_blocking(move || {
        let mut content = Hasher::default();
        let mut pieces = Pieces(receive, Bytes::new());
        if is_layer {
            let unpacked = decompress(BufReader::new(&mut pieces), &mut content);
            // What cannot be unpacked is no layer that its diff ID could be compared with.
            let is_whole = unpacked.is_ok();
            io::copy(&mut pieces, &mut io::sink())?;
            return Ok(Some(content.finish()).filter(|_| is_whole));
        }
        io::copy(&mut pieces, &mut io::sink())?;
        Ok::<_, io::Error>(None)
    });
    let mut hasher = Hasher::default();
    while let Some(piece) = bytes.try_next().await? {
        hasher.update(&piece);
        // It reads to the end.
        let _ = send.send(piece).await;
    }
    drop(send);
    let content = unpacking.await.map_err(io::Error::other)??;
    Ok((hasher.finish(), content))
}

/// The pieces of a stream, to be read on a thread that may wait.
struct Pieces(mpsc::Receiver<Bytes>, Bytes);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.1.is_empty() {
            match self.0.blocking_recv() {
                Some(piece) => self.1 = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.1.len());
        self.1.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
