//! Downloads a blob and resumes the download if it breaks off.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use reqwest::Method;

use super::{Registry, RegistryError};
use crate::http::{RetryState, Retryable as _};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

impl Registry {
    /// Streams a blob of `size` bytes from `offset` on, and resumes where the connection breaks
    /// off. The bytes are not checked against the digest.
    ///
    /// # Errors
    ///
    /// As for [`Self::get_blob`]. Later errors are errors of the stream.
    pub async fn read_blob(
        self: &Arc<Self>,
        repository: &str,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<ByteStream, RegistryError> {
        let request = self.get_blob(repository, digest, offset);
        let body = request.boxed().await?;
        let download = Download {
            registry: Arc::clone(self),
            repository: repository.to_owned(),
            digest: digest.clone(),
            position: offset,
            size,
            body: Some(body),
            resumed_at: offset,
            retry_state: None,
        };
        Ok(download.into_stream())
    }
}

/// The number of bytes after which a resumed download counts as making progress, unless the blob is
/// small. A server that sends fewer each time would never finish.
const MIN_PROGRESS: u64 = 64 * 1024;

/// A download in progress.
struct Download {
    registry: Arc<Registry>,
    repository: String,
    digest: Digest,
    position: u64,
    size: u64,
    body: Option<ByteStream>,
    /// The offset of the last request.
    resumed_at: u64,
    /// The retries since the download last made progress. `None` if it did not break off since.
    retry_state: Option<RetryState>,
}

impl Download {
    fn into_stream(self) -> ByteStream {
        stream::unfold(Some(self), |download| async move {
            let mut download = download?;
            match download.next_chunk().await {
                Ok(next_chunk) => next_chunk.map(|next_chunk| (Ok(next_chunk), Some(download))),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        })
        .boxed()
    }

    /// Returns the next chunk. `None` at the end of the blob.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.position < self.size {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let request =
                        self.registry
                            .get_blob(&self.repository, &self.digest, self.position);
                    self.resumed_at = self.position;
                    self.body.insert(request.await?)
                }
            };
            let connection_failed = match body.next().await {
                Some(Ok(next_chunk)) => {
                    self.position += next_chunk.len() as u64;
                    if self.position - self.resumed_at >= MIN_PROGRESS.min(self.size / 100) {
                        self.retry_state = None;
                    }
                    if self.position > self.size {
                        return Err(self.too_long());
                    }
                    return Ok(Some(next_chunk));
                }
                Some(Err(error)) => error,
                None => io::ErrorKind::UnexpectedEof.into(),
            };
            self.body = None;
            self.wait(connection_failed).await?;
        }
        Ok(None)
    }

    /// Waits before the download is resumed.
    async fn wait(&mut self, connection_failed: io::Error) -> Result<(), RegistryError> {
        let registry = &self.registry;
        let url = registry.blob_url(&self.repository, &self.digest);
        let error = RegistryError::connection_failed(Method::GET, url, connection_failed);
        let retry_state = self
            .retry_state
            .get_or_insert_with(|| registry.retries().retry_state());
        let Some(wait) = retry_state.after(error.retry()) else {
            return Err(retry_state.give_up(error));
        };
        tracing::info!(
            "the download of {} stopped at {} of {} bytes; continuing from there",
            self.digest.short(),
            self.position,
            self.size
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn too_long(&self) -> RegistryError {
        let url = self.registry.blob_url(&self.repository, &self.digest);
        let what = format!("it sends more than the {} bytes of the blob", self.size);
        RegistryError::protocol_violation(Method::GET, url, what)
    }
}
