//! Bodies of answers, which nobody may make longer than they have to be, nor take longer for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use reqwest::Response;
use tokio::time::Instant;

/// A body that could not be read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    /// The peer sends without end.
    #[error("the answer is longer than {0} bytes, which nobody sends here")]
    TooLong(usize),
    /// The peer sends so little at a time that nobody would wait for the end.
    #[error("the answer comes in drips")]
    Drips(#[source] io::Error),
}

/// The fewest bytes that a body has to bring in a second, on average over a window: less is a peer
/// that holds a run up, for every network that an image is pushed over is faster.
const LEAST_A_SECOND: u64 = 1024;

/// The window for answers of services that are not registries.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Watches how fast a body comes. Only the time that is spent waiting for it counts, not what its
/// reader does between the pieces.
pub(crate) struct MinimumThroughput {
    window: Duration,
    waited: Duration,
    came: u64,
    /// Counts what comes from the same host in all bodies: they may share a slow line.
    host: Arc<AtomicU64>,
    /// Where the counter stood when the window began.
    host_before: u64,
}

impl MinimumThroughput {
    /// For a body whose speed is taken over so long at a time.
    pub(crate) fn new(window: Duration) -> Self {
        Self::from_host(window, Arc::default())
    }

    /// For one of several bodies from a host, which count what comes in `host`.
    pub(crate) fn from_host(window: Duration, host: Arc<AtomicU64>) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            came: 0,
            host_before: host.load(Ordering::Relaxed),
            host,
        }
    }

    /// The next piece of a body.
    ///
    /// # Errors
    ///
    /// When a window has passed in which too little came.
    pub(crate) async fn next<E>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> io::Result<Option<Result<Bytes, E>>> {
        let since = Instant::now();
        let piece = body.next().await;
        self.waited += since.elapsed();
        if let Some(Ok(piece)) = &piece {
            self.came += piece.len() as u64;
            self.host.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        if piece.is_some() && self.waited >= self.window {
            let from_host = self.host.load(Ordering::Relaxed) - self.host_before;
            if from_host < LEAST_A_SECOND * self.window.as_secs() {
                let text = format!(
                    "only {} bytes came in {} s",
                    self.came,
                    self.waited.as_secs()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            *self = Self::from_host(self.window, Arc::clone(&self.host));
        }
        Ok(piece)
    }
}

/// Reads a body of at most `limit` bytes, which may not come in drips over any `window`.
pub(crate) async fn read_bounded(
    answer: Response,
    limit: usize,
    window: Duration,
) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut stream = answer.bytes_stream();
    let mut drips = MinimumThroughput::new(window);
    while let Some(piece) = drips.next(&mut stream).await.map_err(BodyError::Drips)? {
        let piece = piece.map_err(|error| BodyError::Broken(error.without_url()))?;
        if body.len() + piece.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// How much of a body of so many pieces is read, one coming every second.
    async fn read(size: usize, pieces: usize, window: u64) -> io::Result<usize> {
        let mut body = stream::iter(0..pieces)
            .then(async |_| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, io::Error>(Bytes::from(vec![0; size]))
            })
            .boxed();
        let mut drips = MinimumThroughput::new(Duration::from_secs(window));
        let mut read = 0;
        while let Some(piece) = drips.next(&mut body).await? {
            read += piece?.len();
            // What the reader does in between is not the peer's.
            tokio::time::sleep(Duration::from_secs(1000)).await;
        }
        Ok(read)
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_body_is_aborted_and_slow_one_is_not() {
        assert_eq!(read(2048, 600, 60).await.unwrap(), 2048 * 600);
        let error = read(1, 600, 60).await.unwrap_err();
        assert_eq!(error.to_string(), "only 60 bytes came in 60 s");
        // One that ends before is read, however slow it was.
        assert_eq!(read(1, 59, 60).await.unwrap(), 59);
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_sharing_a_slow_line_are_all_read() {
        let host = Arc::new(AtomicU64::new(0));
        let bodies = (0..8).map(|_| {
            let mut drips =
                MinimumThroughput::from_host(Duration::from_secs(60), Arc::clone(&host));
            async move {
                let mut body = stream::iter(0..200)
                    .then(async |_| {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Ok::<_, io::Error>(Bytes::from_static(&[0; 256]))
                    })
                    .boxed();
                while drips.next(&mut body).await?.is_some() {}
                io::Result::Ok(())
            }
        });
        for read in futures_util::future::join_all(bodies).await {
            read.unwrap();
        }
    }
}
