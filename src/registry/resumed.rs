//! The bytes of a blob to their end: where they break off, they go on from there.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use reqwest::Method;

use super::{Registry, RegistryError, RetryState, Retryable as _};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

impl Registry {
    /// The bytes of a blob of `size` bytes from `offset` on, asked for again where they break off.
    /// They are not checked against the digest.
    ///
    /// # Errors
    ///
    /// As for [`Self::get_blob`]. What goes wrong later is an error of the stream.
    pub async fn read_blob(
        self: &Arc<Self>,
        repository: &str,
        digest: &Digest,
        offset: u64,
        size: u64,
    ) -> Result<ByteStream, RegistryError> {
        let asked = self.get_blob(repository, digest, offset);
        let body = asked.boxed().await?;
        let download = Download {
            registry: Arc::clone(self),
            repository: repository.to_owned(),
            digest: digest.clone(),
            position: offset,
            size,
            body: Some(body),
            resumed_at: offset,
            patience: None,
        };
        Ok(download.into_stream())
    }
}

/// How many bytes have to come before a download counts as one that gets on, of a blob that is not
/// small: a peer that gives fewer again and again would never come to an end.
const PROGRESS: u64 = 64 * 1024;

/// A blob on its way.
struct Download {
    registry: Arc<Registry>,
    repository: String,
    digest: Digest,
    position: u64,
    size: u64,
    body: Option<ByteStream>,
    /// From where on it was asked for last.
    resumed_at: u64,
    /// What is left of the patience since it last got on; none where it never stopped.
    patience: Option<RetryState>,
}

impl Download {
    fn into_stream(self) -> ByteStream {
        stream::unfold(Some(self), |download| async move {
            let mut download = download?;
            match download.piece().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(download))),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            }
        })
        .boxed()
    }

    /// The next piece; none at the end of the blob.
    async fn piece(&mut self) -> Result<Option<Bytes>, RegistryError> {
        while self.position < self.size {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let asked =
                        self.registry
                            .get_blob(&self.repository, &self.digest, self.position);
                    self.resumed_at = self.position;
                    self.body.insert(asked.await?)
                }
            };
            let broken = match body.next().await {
                Some(Ok(piece)) => {
                    self.position += piece.len() as u64;
                    if self.position - self.resumed_at >= PROGRESS.min(self.size / 100) {
                        self.patience = None;
                    }
                    if self.position > self.size {
                        return Err(self.too_long());
                    }
                    return Ok(Some(piece));
                }
                Some(Err(error)) => error,
                None => io::ErrorKind::UnexpectedEof.into(),
            };
            self.body = None;
            self.wait(broken).await?;
        }
        Ok(None)
    }

    /// Waits before the download goes on.
    async fn wait(&mut self, broken: io::Error) -> Result<(), RegistryError> {
        let registry = &self.registry;
        let url = registry.blob_url(&self.repository, &self.digest);
        let error = RegistryError::broken(Method::GET, url, broken);
        let patience = self
            .patience
            .get_or_insert_with(|| registry.retries().patience());
        let Some(wait) = patience.after(error.retry()) else {
            return Err(patience.give_up(error));
        };
        tracing::info!(
            "the download of {} broke off at {} of {} bytes; it goes on from there",
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
        RegistryError::unexpected(Method::GET, url, what)
    }
}
