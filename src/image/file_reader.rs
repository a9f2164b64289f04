//! Streams the bytes of a blob. Reads are positional, so any number of readers can share a file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::range::read_exact_at;
use crate::oci::blob::ByteStream;
use crate::oci::digest::{Digest, Hasher};

/// The number of bytes that a background thread reads at once: large enough that the switch to the
/// thread costs little, small enough that many streams fit into memory.
pub(super) const CHUNK: usize = 512 * 1024;

/// The number of bytes that are read at once from the page cache. They should still be in the CPU's
/// own cache when they are encrypted and sent.
const CACHED_CHUNK: usize = 64 * 1024;

/// Streams the bytes of `file` from `position` to `end`.
///
/// Pages that are in the page cache, as those of an image that was just built, are read directly.
/// From the first miss on, a background thread reads one chunk ahead while the previous one is
/// used. A stream that is not polled reads nothing.
pub(crate) fn bytes(file: Arc<File>, position: u64, end: u64) -> ByteStream {
    let reader = Reader {
        file,
        position,
        end,
        pool: Arc::default(),
        ahead: None,
    };
    stream::unfold(reader, |mut reader| async move {
        let read = reader.next().await?;
        Some((read, reader))
    })
    .boxed()
}

/// The state of a stream.
struct Reader {
    file: Arc<File>,
    position: u64,
    end: u64,
    pool: Arc<BufferPool>,
    /// The read of the chunk at `position` on a background thread.
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Reader {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.position >= self.end {
            return None;
        }
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => {
                if let Some(bytes) = self.pool.read_cached(&self.file, self.position, self.end) {
                    self.position += bytes.len() as u64;
                    return Some(Ok(bytes));
                }
                self.read_ahead()
            }
        };
        let read = ahead
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        match &read {
            Ok(bytes) => {
                self.position += bytes.len() as u64;
                self.ahead = (self.position < self.end).then(|| self.read_ahead());
            }
            Err(_) => self.end = self.position,
        }
        Some(read)
    }

    fn read_ahead(&self) -> JoinHandle<io::Result<Bytes>> {
        let (file, pool) = (Arc::clone(&self.file), Arc::clone(&self.pool));
        let (position, end) = (self.position, self.end);
        spawn_blocking(move || pool.read(&file, position, end))
    }
}

/// Computes the digest of the bytes of `file` from `position` to `end`.
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

/// The reusable buffers of one stream. Clearing a new buffer for each chunk, and having the system
/// map it, took a tenth of the CPU time of a push.
#[derive(Default)]
struct BufferPool(Mutex<Vec<Vec<u8>>>);

/// A chunk whose buffer returns to the pool when it is dropped.
struct PooledChunk {
    buffer: Vec<u8>,
    length: usize,
    pool: Arc<BufferPool>,
}

impl BufferPool {
    fn read(self: &Arc<Self>, file: &File, position: u64, end: u64) -> io::Result<Bytes> {
        let length = (end - position).min(CHUNK as u64) as usize;
        let mut buffer = self.take(length);
        read_exact_at(file, &mut buffer[..length], position)?;
        Ok(self.wrap(buffer, length))
    }

    /// Reads what is in the page cache. `None` if nothing is, or if the file system cannot tell.
    /// <https://man7.org/linux/man-pages/man2/readv.2.html> (`RWF_NOWAIT`)
    fn read_cached(self: &Arc<Self>, file: &File, position: u64, end: u64) -> Option<Bytes> {
        let length = (end - position).min(CACHED_CHUNK as u64) as usize;
        let mut buffer = self.take(length);
        let slices = &mut [IoSliceMut::new(&mut buffer[..length])];
        match preadv2(file, slices, position, ReadWriteFlags::NOWAIT) {
            Ok(length) if length > 0 => Some(self.wrap(buffer, length)),
            // A blocking read reports an error, if there is one.
            _ => {
                self.free().push(buffer);
                None
            }
        }
    }

    fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.free().pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer
    }

    fn wrap(self: &Arc<Self>, buffer: Vec<u8>, length: usize) -> Bytes {
        Bytes::from_owner(PooledChunk {
            buffer,
            length,
            pool: Arc::clone(self),
        })
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock()
    }
}

impl AsRef<[u8]> for PooledChunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for PooledChunk {
    fn drop(&mut self) {
        self.pool.free().push(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use futures_util::TryStreamExt as _;
    use rustix::fs::{Advice, fadvise};

    use super::*;

    async fn streamed(file: File, position: u64, end: u64) -> io::Result<Vec<u8>> {
        let stream = bytes(Arc::new(file), position, end);
        let all = stream.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        all.await.map_err(io::Error::other)
    }

    fn some_bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * i / 7) as u8).collect()
    }

    #[tokio::test]
    async fn cached_and_uncached_reads_give_the_same_bytes() {
        let content = some_bytes(3 * CHUNK + 17);
        for cached in [true, false] {
            // In the build's own folder, for a folder of the system may be memory, which has
            // nothing to fetch.
            let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
            file.write_all(&content).unwrap();
            if !cached {
                file.sync_all().unwrap();
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            }
            let end = content.len() as u64 - 5;
            let read = streamed(file, 3, end).await.unwrap();
            assert!(read == content[3..content.len() - 5], "cached: {cached}");
        }
    }

    #[tokio::test]
    async fn file_system_without_cache_information_is_read() {
        let path = "/proc/version";
        let content = std::fs::read(path).unwrap();
        let file = File::open(path).unwrap();
        let read = streamed(file, 0, content.len() as u64).await.unwrap();
        assert_eq!(read, content);
    }

    #[tokio::test]
    async fn truncated_file_is_reported_once() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&some_bytes(CACHED_CHUNK + 1)).unwrap();
        let mut stream = bytes(Arc::new(file), 0, 2 * CACHED_CHUNK as u64);
        let mut read = Vec::new();
        while let Some(chunk) = stream.next().await {
            read.push(
                chunk
                    .map(|chunk| chunk.len())
                    .map_err(|error| error.to_string()),
            );
        }
        let expected = "the file became shorter while it was read".to_owned();
        assert_eq!(read.first(), Some(&Ok(CACHED_CHUNK)));
        assert_eq!(read.last(), Some(&Err(expected)));
        assert!(read[..read.len() - 1].iter().all(Result::is_ok));
    }
}
