//! Sends blobs: several in flight, the largest first, each opened again when it must be.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use tokio::sync::Semaphore;

use super::plan::Standing;
use super::{Destination, PushError, Settings};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::progress::{Progress, Work};
use crate::source::{ByteStream, Source, Tree, read_range};

/// The blobs of an image, each once.
pub(super) type Blobs = Vec<Blob>;

/// A blob and where its bytes come from; it may be opened as often as it takes.
#[derive(Clone)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) origin: Origin,
}

/// Where the bytes of a blob come from.
#[derive(Clone)]
pub(super) enum Origin {
    /// The source, as it is there, under the digest that the source knows it by.
    Source(Source, Digest),
    /// A layer that was compressed.
    File(Arc<File>),
    /// A config.
    Memory(Bytes),
    /// Every destination has it, as an earlier image of the same repository says.
    There,
}

impl Blob {
    /// A blob that every destination has.
    pub(super) fn that_is_there(blob: &Descriptor) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            origin: Origin::There,
        }
    }

    async fn open(&self) -> Result<ByteStream, PushError> {
        match &self.origin {
            Origin::Source(source, key) => {
                source.open_blob(key, 0).await.map_err(PushError::Source)
            }
            Origin::File(file) => Ok(read_range(Arc::clone(file), 0, self.size)),
            Origin::Memory(bytes) => {
                Ok(stream::once(std::future::ready(Ok(bytes.clone()))).boxed())
            }
            Origin::There => Err(PushError::Vanished(self.digest.clone())),
        }
    }

    /// Sends this blob to one destination. A token that ran out meanwhile is renewed and the blob
    /// sent again, once.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        progress: &Progress,
    ) -> Result<(), PushError> {
        let mut resent = false;
        loop {
            let meter = progress.begin(Work::Send, self.digest.short(), self.size);
            let body = meter.watch(self.open().await?);
            let sent = destination
                .registry
                .put_blob(&destination.repository, &self.digest, self.size, body)
                .await;
            match sent {
                Ok(()) => {
                    meter.done();
                    return Ok(());
                }
                Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) && !resent => {
                    resent = true;
                }
                Err(error) => {
                    let blames_digest = matches!(
                        error.code(),
                        Some("DIGEST_INVALID" | "BLOB_UPLOAD_INVALID" | "SIZE_INVALID")
                    );
                    if !blames_digest {
                        return Err(destination.failed(None, error));
                    }
                    // Compressed layers and configs were hashed when they were made.
                    if let Origin::Source(source, key) = &self.origin {
                        let actual = source.hash(key).await.map_err(PushError::Source)?;
                        if actual != self.digest {
                            return Err(PushError::Damaged {
                                what: source.what().to_owned(),
                                stated: self.digest.clone(),
                                actual,
                            });
                        }
                    }
                    return Err(match error.code() {
                        Some("DIGEST_INVALID" | "SIZE_INVALID") => PushError::Changed {
                            destination: destination.name(),
                            cause: error,
                        },
                        _ => destination.failed(None, error),
                    });
                }
            }
        }
    }
}

/// Every blob that the manifests of a tree name, each once.
pub(super) fn of_tree(tree: &Tree, source: &Source) -> Blobs {
    let mut seen = HashSet::new();
    tree.blobs()
        .filter(|blob| seen.insert(blob.digest.clone()))
        .map(|blob| Blob {
            digest: blob.digest.clone(),
            size: blob.size,
            origin: Origin::Source(source.clone(), blob.digest.clone()),
        })
        .collect()
}

/// From here on a blob takes as long as its bytes take; a smaller one takes as long as the registry
/// needs to answer, so that many of them may be in flight.
const LARGE: u64 = 1024 * 1024;

/// Sends what is missing at one destination; the largest first, because the push lasts as long as
/// the blob that ends last.
pub(super) async fn send_missing(
    destination: &Destination,
    blobs: &Blobs,
    standing: &mut Standing,
    settings: &Settings,
) -> Result<(), PushError> {
    let concurrency = settings.concurrency;
    let mut missing = destination
        .missing(blobs, standing, concurrency.all)
        .await?;
    missing.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    let sizes = missing.iter().map(|blob| blob.size);
    settings.progress.expect(Work::Send, sizes);
    let large = Semaphore::new(concurrency.large);
    let sent: Vec<_> = stream::iter(missing)
        .map(|blob| async {
            // A semaphore that is never closed always gives.
            let _turn = match blob.size >= LARGE {
                true => large.acquire().await.ok(),
                false => None,
            };
            blob.send(destination, &settings.progress).await?;
            Ok::<_, PushError>(blob.digest.clone())
        })
        .buffer_unordered(concurrency.all)
        .try_collect()
        .await?;
    standing.sent.extend(sent);
    Ok(())
}
