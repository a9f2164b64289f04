//! The bytes of a blob as a stream, read at positions, so that any number of readers share a file.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::ByteStream;
use super::range::read_exact_at;
use crate::digest::{Digest, Hasher};

/// How much is read at once: large enough that the hop to a blocking thread does not count, small
/// enough that many streams at once stay small.
pub(super) const CHUNK: usize = 512 * 1024;

type Read = JoinHandle<io::Result<Bytes>>;

/// The bytes of `file` from `position` to `end`.
///
/// One chunk is read ahead while the one before it is used; a stream that nobody polls reads
/// nothing.
pub(crate) fn bytes(file: Arc<File>, position: u64, end: u64) -> ByteStream {
    let start = move |position: u64| -> Option<Read> {
        let file = Arc::clone(&file);
        (position < end).then(|| spawn_blocking(move || chunk(&file, position, end)))
    };
    stream::unfold(
        (position, None),
        move |(position, ahead): (u64, Option<Read>)| {
            let read = ahead.or_else(|| start(position));
            let start = start.clone();
            async move {
                match read?.await {
                    Ok(Ok(bytes)) => {
                        let position = position + bytes.len() as u64;
                        Some((Ok(bytes), (position, start(position))))
                    }
                    // After an error the stream is at its end.
                    Ok(Err(error)) => Some((Err(error), (end, None))),
                    Err(error) => Some((Err(io::Error::other(error)), (end, None))),
                }
            }
        },
    )
    .boxed()
}

/// The digest of the bytes of `file` from `position` to `end`.
pub(super) fn hash(file: &File, mut position: u64, end: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; CHUNK];
    while position < end {
        let length = (end - position).min(CHUNK as u64) as usize;
        read_exact_at(file, &mut buffer[..length], position)?;
        hasher.update(&buffer[..length]);
        position += length as u64;
    }
    Ok(hasher.finish())
}

fn chunk(file: &File, position: u64, end: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; (end - position).min(CHUNK as u64) as usize];
    read_exact_at(file, &mut buffer, position)?;
    Ok(buffer.into())
}
