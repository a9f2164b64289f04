//! Reads the bodies of responses, with limits on their size and a minimum speed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use reqwest::Response;
use tokio::time::Instant;

/// Why a body could not be read completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke.
    #[error("the response ended early")]
    Broken(#[source] reqwest::Error),
    /// The body is longer than the limit.
    #[error("the response is longer than the limit of {0} bytes")]
    TooLong(usize),
    /// The body is below the minimum throughput.
    #[error("the response is too slow")]
    TooSlow(#[source] io::Error),
}

/// The minimum throughput in bytes per second, averaged over a window. A slower server blocks a
/// run, because every network that images are pushed over is faster.
const MIN_BYTES_PER_SECOND: u64 = 1024;

/// The window for services other than registries.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Measures the throughput of a body. Only the time spent waiting for the body counts, not the time
/// that its reader takes between chunks.
pub(crate) struct MinimumThroughput {
    window: Duration,
    waited: Duration,
    received: u64,
    /// The bytes of all bodies from the same host, because they may share a slow line.
    host: Arc<AtomicU64>,
    /// The value of `host` at the start of the window.
    host_before: u64,
}

impl MinimumThroughput {
    /// Measures one body over windows of this length.
    pub(crate) fn new(window: Duration) -> Self {
        Self::from_host(window, Arc::default())
    }

    /// Measures one of several bodies from a host, which add their bytes to `host`.
    pub(crate) fn from_host(window: Duration, host: Arc<AtomicU64>) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            received: 0,
            host_before: host.load(Ordering::Relaxed),
            host,
        }
    }

    /// Returns the next chunk of a body.
    ///
    /// # Errors
    ///
    /// If the throughput over a window was too low.
    pub(crate) async fn next<E>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> io::Result<Option<Result<Bytes, E>>> {
        let since = Instant::now();
        let chunk = body.next().await;
        self.waited += since.elapsed();
        if let Some(Ok(chunk)) = &chunk {
            self.received += chunk.len() as u64;
            self.host.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        if chunk.is_some() && self.waited >= self.window {
            let from_host = self.host.load(Ordering::Relaxed) - self.host_before;
            if from_host < MIN_BYTES_PER_SECOND * self.window.as_secs() {
                let text = format!(
                    "only {} bytes arrived in {} s",
                    self.received,
                    self.waited.as_secs()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            *self = Self::from_host(self.window, Arc::clone(&self.host));
        }
        Ok(chunk)
    }
}

/// Reads a body of at most `limit` bytes, with the minimum throughput over each `window`.
pub(crate) async fn read_bounded(
    response: Response,
    limit: usize,
    window: Duration,
) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut stream = response.bytes_stream();
    let mut throughput = MinimumThroughput::new(window);
    while let Some(chunk) = throughput
        .next(&mut stream)
        .await
        .map_err(BodyError::TooSlow)?
    {
        let chunk = chunk.map_err(|error| BodyError::Broken(error.without_url()))?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// Reads a body whose chunks arrive one per second.
    async fn read(size: usize, chunks: usize, window: u64) -> io::Result<usize> {
        let mut body = stream::iter(0..chunks)
            .then(async |_| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, io::Error>(Bytes::from(vec![0; size]))
            })
            .boxed();
        let mut throughput = MinimumThroughput::new(Duration::from_secs(window));
        let mut read = 0;
        while let Some(chunk) = throughput.next(&mut body).await? {
            read += chunk?.len();
            // The time that the reader takes does not count.
            tokio::time::sleep(Duration::from_secs(1000)).await;
        }
        Ok(read)
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_body_is_aborted_and_slow_one_is_not() {
        assert_eq!(read(2048, 600, 60).await.unwrap(), 2048 * 600);
        let error = read(1, 600, 60).await.unwrap_err();
        assert_eq!(error.to_string(), "only 60 bytes arrived in 60 s");
        // A body that ends within the window is read at any speed.
        assert_eq!(read(1, 59, 60).await.unwrap(), 59);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_sharing_a_slow_line_are_all_read() {
        let host = Arc::new(AtomicU64::new(0));
        let bodies = (0..8).map(|_| {
            let mut throughput =
                MinimumThroughput::from_host(Duration::from_secs(60), Arc::clone(&host));
            async move {
                let mut body = stream::iter(0..200)
                    .then(async |_| {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Ok::<_, io::Error>(Bytes::from_static(&[0; 256]))
                    })
                    .boxed();
                while throughput.next(&mut body).await?.is_some() {}
                io::Result::Ok(())
            }
        });
        for read in futures_util::future::join_all(bodies).await {
            read.unwrap();
        }
    }
}
