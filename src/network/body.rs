//! Bodies of answers, which nobody may make longer than they have to be.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use reqwest::Response;

/// A body that could not be read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The connection broke.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    /// The peer sends without end.
    #[error("the answer is longer than {0} bytes, which nobody sends here")]
    TooLong(usize),
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bounded(answer: Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut stream = answer.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| BodyError::Broken(error.without_url()))?;
        if body.len() + piece.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
