//! Downloads a blob from any offset.
//!
//! reqwest is used instead of oci-client, whose download drops the text of a refusal and computes a
//! digest that the destination computes as well.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_util::future::ready;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::{Registry, RegistryError};
use crate::http::MinimumThroughput;
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

impl Registry {
    /// Streams the bytes of a blob from `offset` on. They are not checked against the digest.
    ///
    /// A registry that ignores `Range` (which RFC 9110, section 14.2, allows) sends the blob from
    /// its start, and the bytes before `offset` are dropped.
    ///
    /// # Errors
    ///
    /// If the registry refuses, does not have the blob, or sends another range. Later errors are
    /// errors of the stream.
    pub async fn get_blob(
        &self,
        repository: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<ByteStream, RegistryError> {
        self.retries
            .run(|| self.get_blob_once(repository, digest, offset))
            .await
    }

    async fn get_blob_once(
        &self,
        repository: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<ByteStream, RegistryError> {
        let url = self.blob_url(repository, digest);
        let response = self
            .send(
                Method::GET,
                url.clone(),
                repository,
                self.access,
                |request| match offset {
                    0 => request,
                    _ => request.header(RANGE, format!("bytes={offset}-")),
                },
            )
            .await?;
        let surplus = match response.status() {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT if starts_at(response.headers()) == Some(offset) => 0,
            StatusCode::PARTIAL_CONTENT => {
                let what = "it sent a different part of the blob than requested";
                return Err(RegistryError::protocol_violation(Method::GET, url, what));
            }
            _ => return Err(self.refusal(Method::GET, url, response).await),
        };
        let body = response.bytes_stream().map_err(|error| {
            let kind = if error.is_timeout() {
                io::ErrorKind::TimedOut
            } else {
                io::ErrorKind::ConnectionAborted
            };
            io::Error::new(kind, error.without_url())
        });
        let throughput =
            MinimumThroughput::from_host(self.stall_timeout, Arc::clone(&self.received));
        let body = with_minimum_throughput(body.boxed(), throughput);
        Ok(skip_bytes(body, surplus))
    }

    pub(super) fn blob_url(&self, repository: &str, digest: &Digest) -> Url {
        self.url(&format!("/v2/{repository}/blobs/{digest}"))
    }
}

/// Parses the first position of `Content-Range: bytes FIRST-LAST/SIZE`.
pub(super) fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

/// Ends a stream with an error if it falls below the minimum throughput.
fn with_minimum_throughput(body: ByteStream, throughput: MinimumThroughput) -> ByteStream {
    stream::unfold(Some((body, throughput)), |state| async move {
        let (mut body, mut throughput) = state?;
        match throughput.next(&mut body).await {
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some((body, throughput)))),
            Ok(Some(Err(error))) | Err(error) => Some((Err(error), None)),
            Ok(None) => None,
        }
    })
    .boxed()
}

/// Drops the first bytes of a stream.
fn skip_bytes(stream: ByteStream, mut surplus: u64) -> ByteStream {
    if surplus == 0 {
        return stream;
    }
    stream
        .try_filter_map(move |mut chunk: Bytes| {
            let dropped = surplus.min(chunk.len() as u64);
            surplus -= dropped;
            chunk.advance(dropped as usize);
            ready(Ok((!chunk.is_empty()).then_some(chunk)))
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_start_is_parsed() {
        let start = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, value.parse().unwrap());
            starts_at(&headers)
        };
        assert_eq!(start("bytes 5-9/10"), Some(5));
        assert_eq!(start("bytes 5-9/*"), Some(5));
        assert_eq!(start("bytes */10"), None);
        assert_eq!(start("5-9/10"), None);
    }

    #[tokio::test]
    async fn bytes_outside_the_range_are_dropped() {
        for size in [1, 3, 4, 10] {
            let pieces: Vec<_> = b"0123456789".chunks(size).collect();
            let stream = stream::iter(pieces.into_iter().map(|p| Ok(Bytes::from_static(p))));
            let rest: Vec<Bytes> = skip_bytes(stream.boxed(), 4).try_collect().await.unwrap();
            assert_eq!(rest.concat(), b"456789", "{size}");
        }
    }
}
