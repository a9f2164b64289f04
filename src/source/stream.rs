//! The bytes of a blob as a stream, read at positions, so that any number of readers share a file.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    let buffers = Arc::new(Buffers::default());
    let start = move |position: u64| -> Option<Read> {
        let (file, buffers) = (Arc::clone(&file), Arc::clone(&buffers));
        (position < end).then(|| spawn_blocking(move || buffers.read(&file, position, end)))
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

/// The buffers of one stream, which go round: to clear a new one for each chunk, and have the system
/// map it, took a tenth of the CPU of a push.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

/// A chunk, whose buffer goes back when nobody needs it any more.
struct Chunk {
    buffer: Vec<u8>,
    length: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    fn read(self: Arc<Self>, file: &File, position: u64, end: u64) -> io::Result<Bytes> {
        let length = (end - position).min(CHUNK as u64) as usize;
        let mut buffer = self.free().pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        read_exact_at(file, &mut buffer[..length], position)?;
        Ok(Bytes::from_owner(Chunk {
            buffer,
            length,
            home: self,
        }))
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.home.free().push(std::mem::take(&mut self.buffer));
    }
}
