//! A blob and the source of its bytes.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::PushError;
use super::destination::Destination;
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
    /// A repository that the image is pushed to has it: since an earlier image, or since an earlier
    /// pass.
    Repository(Arc<Registry>, String),
}

impl BlobSource {
    /// A repository that has the blob.
    pub(super) fn of(destination: &Destination) -> Self {
        Self::Repository(
            Arc::clone(&destination.registry),
            destination.repository.clone(),
        )
    }
}

impl Blob {
    pub(super) fn new(digest: Digest, size: u64, origin: BlobSource) -> Self {
        Self {
            digest,
            size,
            origin,
        }
    }

    /// Returns whether the source lacks the blob, because the image was written without it.
    pub(super) fn is_absent(&self) -> bool {
        matches!(&self.origin, BlobSource::Source(source, key) if source.blob_size(key).is_none())
    }

    /// Returns whether its bytes come over a network or from the source, so that they are to be read
    /// once for all destinations.
    pub(super) fn is_read_once(&self) -> bool {
        matches!(
            self.origin,
            BlobSource::Source(..) | BlobSource::Repository(..)
        )
    }

    /// Opens the bytes of the blob for a destination, which counts what is read from the source again.
    pub(super) async fn open(&self, destination: &Destination) -> Result<ByteStream, PushError> {
        match &self.origin {
            BlobSource::Source(source, key) => {
                if destination.locations.mark_read(key) {
                    destination.record_reread(self.size);
                }
                source.open_blob(key, 0).await.map_err(PushError::Source)
            }
            BlobSource::File(file) => Ok(read_range(Arc::clone(file), 0, self.size)),
            BlobSource::Memory(bytes) => {
                Ok(stream::once(std::future::ready(Ok(bytes.clone()))).boxed())
            }
            BlobSource::Repository(registry, repository)
                if registry.endpoint() == destination.registry.endpoint()
                    && *repository == destination.repository =>
            {
                Err(PushError::Vanished(self.digest.clone()))
            }
            BlobSource::Repository(registry, repository) => registry
                .read_blob(repository, &self.digest, 0, self.size)
                .await
                .map_err(|cause| self.not_read_back(registry, repository, cause)),
        }
    }

    /// Creates the error for a blob that cannot be read from another repository.
    pub(super) fn not_read_back(
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
