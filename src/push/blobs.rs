//! A blob, the source of its bytes, and its upload to one destination.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::blob_locations::BlobLocations;
use super::broadcast::Subscription;
use super::{Destination, PushError, TransferStats};
use crate::ci::progress::{Progress, Work};
use crate::image::{Source, read_range};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;
use crate::oci::manifest::Descriptor;
use crate::registry::{Registry, RegistryError};

/// The blobs of an image, each once.
pub(super) type Blobs = Vec<Blob>;

/// A blob and the source of its bytes, which may be opened many times.
#[derive(Clone)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) origin: BlobSource,
    /// The destination's reader in a broadcast. `None` if the blob is read for this destination
    /// only.
    pub(super) place: Option<Arc<BlobReader>>,
}

/// Where the bytes of a blob come from.
#[derive(Clone)]
pub(super) enum BlobSource {
    /// The source stores it unchanged under this digest, which is the diff ID for an uncompressed
    /// layer.
    Source(Source, Digest),
    /// A compressed layer in a temporary file.
    File(Arc<File>),
    /// A config in memory.
    Memory(Bytes),
    /// Every destination has it, according to an earlier image of the same repository.
    AlreadyPresent,
    /// A repository of another destination has it.
    OtherRepository(Arc<Registry>, String),
}

/// Reads one blob for one destination: from the broadcast at first, and from the source after that.
/// It counts the bytes that are read from the source again.
pub(super) struct BlobReader {
    shared: Mutex<Option<ByteStream>>,
    is_behind: Option<Arc<AtomicBool>>,
    stats: TransferStats,
    locations: Arc<BlobLocations>,
}

impl BlobReader {
    /// Creates a reader. Without a subscription it reads from the source only.
    pub(super) fn new(
        subscription: Option<Subscription>,
        stats: TransferStats,
        locations: &Arc<BlobLocations>,
    ) -> Arc<Self> {
        let (bytes, is_behind) = subscription
            .map(|subscription| (subscription.bytes, subscription.is_behind))
            .unzip();
        Arc::new(Self {
            shared: Mutex::new(bytes),
            is_behind,
            stats,
            locations: Arc::clone(locations),
        })
    }

    /// Returns whether the destination has fallen behind in the broadcast.
    pub(super) fn is_behind(&self) -> bool {
        let is_behind = self.is_behind.as_ref();
        is_behind.is_some_and(|is_behind| is_behind.load(Ordering::Acquire))
    }

    /// Opens the broadcast the first time, and the source after that.
    async fn open(
        &self,
        source: &Source,
        key: &Digest,
        size: u64,
    ) -> Result<ByteStream, PushError> {
        let shared = self.shared.lock().take();
        if let Some(shared) = shared {
            return Ok(shared);
        }
        if self.is_behind() {
            return Err(PushError::Lagging);
        }
        if self.locations.mark_read(key) {
            self.stats.read_again(size);
        }
        source.open_blob(key, 0).await.map_err(PushError::Source)
    }
}

impl Blob {
    pub(super) fn new(digest: Digest, size: u64, origin: BlobSource) -> Self {
        Self {
            digest,
            size,
            origin,
            place: None,
        }
    }

    /// Creates a blob that every destination has.
    pub(super) fn already_present(blob: &Descriptor) -> Self {
        Self::new(blob.digest.clone(), blob.size, BlobSource::AlreadyPresent)
    }

    /// Returns whether the source lacks the blob, because the image was written without it.
    pub(super) fn is_absent(&self) -> bool {
        matches!(&self.origin, BlobSource::Source(source, key) if source.blob_size(key).is_none())
    }

    /// Opens the bytes of the blob.
    async fn open(&self) -> Result<ByteStream, PushError> {
        match &self.origin {
            BlobSource::Source(source, key) => match &self.place {
                Some(place) => place.open(source, key, self.size).await,
                None => source.open_blob(key, 0).await.map_err(PushError::Source),
            },
            BlobSource::File(file) => Ok(read_range(Arc::clone(file), 0, self.size)),
            BlobSource::Memory(bytes) => {
                Ok(stream::once(std::future::ready(Ok(bytes.clone()))).boxed())
            }
            BlobSource::AlreadyPresent => Err(PushError::Vanished(self.digest.clone())),
            BlobSource::OtherRepository(registry, repository) => registry
                .read_blob(repository, &self.digest, 0, self.size)
                .await
                .map_err(|cause| self.not_read_back(registry, repository, cause)),
        }
    }

    /// Creates the error for a blob that cannot be read from another repository.
    fn not_read_back(
        &self,
        registry: &Registry,
        repository: &str,
        cause: RegistryError,
    ) -> PushError {
        PushError::NotReadBack {
            digest: self.digest.clone(),
            holder: format!("{}/{repository}", registry.endpoint()),
            cause: Box::new(cause),
        }
    }

    /// Uploads the blob to one destination, and retries from the beginning after a temporary error.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        progress: &Progress,
    ) -> Result<(), PushError> {
        let response_was_lost = AtomicBool::new(false);
        let attempt = || async {
            // The upload may have succeeded although the response was lost.
            if response_was_lost.swap(false, Ordering::Relaxed) && self.exists_at(destination).await
            {
                return Ok(());
            }
            let sent = self.send_once(destination, progress).await;
            if let Err(PushError::Registry { cause, .. }) = &sent {
                response_was_lost.store(cause.is_broken(), Ordering::Relaxed);
            }
            sent
        };
        destination.registry.retries().run(attempt).await?;
        destination.stats.sent(&self.digest, self.size);
        Ok(())
    }

    /// Creates the error for a blob that neither the image nor the destination has.
    pub(super) fn absent_everywhere(&self, destination: &Destination) -> PushError {
        let what = match &self.origin {
            BlobSource::Source(source, _) => source.what().to_owned(),
            _ => "the image".to_owned(),
        };
        PushError::Absent {
            what,
            digest: self.digest.clone(),
            destination: destination.name(),
        }
    }

    /// Returns whether the destination has the blob; false if it does not answer.
    async fn exists_at(&self, destination: &Destination) -> bool {
        let has_blob = destination
            .registry
            .has_blob_once(&destination.repository, &self.digest);
        has_blob.await.unwrap_or(false)
    }

    /// Uploads the blob once. If the registry reports a wrong digest, it checks the source's bytes.
    async fn send_once(
        &self,
        destination: &Destination,
        progress: &Progress,
    ) -> Result<(), PushError> {
        if self.is_absent() {
            return Err(self.absent_everywhere(destination));
        }
        let meter = progress.begin(Work::Send, self.digest.short(), self.size);
        let body = meter.watch(self.open().await?);
        let sent = destination
            .registry
            .put_blob(&destination.repository, &self.digest, self.size, body)
            .await;
        let Err(error) = sent else {
            meter.done();
            return Ok(());
        };
        if let BlobSource::OtherRepository(registry, repository) = &self.origin
            && error.is_unreadable()
        {
            return Err(self.not_read_back(registry, repository, error));
        }
        let reports_digest = matches!(
            error.code(),
            Some("DIGEST_INVALID" | "BLOB_UPLOAD_INVALID" | "SIZE_INVALID")
        );
        if !reports_digest {
            return Err(destination.failed(None, error));
        }
        // Compressed layers and configs were hashed when they were made.
        if let BlobSource::Source(source, key) = &self.origin {
            let actual = source.hash(key).await.map_err(PushError::Source)?;
            if actual != self.digest {
                return Err(PushError::damaged(source, self.digest.clone(), actual));
            }
        }
        Err(match error.code() {
            Some("DIGEST_INVALID" | "SIZE_INVALID") => PushError::Changed {
                destination: destination.name(),
                cause: error,
            },
            _ => destination.failed(None, error),
        })
    }
}

/// Returns the blobs of the source for these descriptors, each once.
pub(super) fn named<'a>(
    descriptors: impl Iterator<Item = &'a Descriptor>,
    source: &Source,
) -> Blobs {
    let mut seen = HashSet::new();
    descriptors
        .filter(|blob| seen.insert(blob.digest.clone()))
        .map(|blob| {
            let origin = BlobSource::Source(source.clone(), blob.digest.clone());
            Blob::new(blob.digest.clone(), blob.size, origin)
        })
        .collect()
}

/// The size of a large blob, whose transfer time depends on its size. The transfer time of a
/// smaller one depends on the response time of the registry, so many of them may be transferred at
/// once.
pub(super) const LARGE: u64 = 1024 * 1024;
