//! The bytes of a blob as a stream, read at positions, so that any number of readers share a file.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::range::read_exact_at;
use crate::oci::blob::ByteStream;
use crate::oci::digest::{Digest, Hasher};

/// How much is read at once by another thread: large enough that the hop to it does not count, small
/// enough that many streams at once stay small.
pub(super) const CHUNK: usize = 512 * 1024;

/// How much is taken at once of what the system holds in memory: it should still be in the core's
/// own cache when it is encrypted and sent.
const CACHED_CHUNK: usize = 64 * 1024;

/// The bytes of `file` from `position` to `end`.
///
/// What the system has in memory, as it has an image that was just built, is taken from there at
/// once. From the first bytes on that it must fetch, another thread reads one chunk ahead while the
/// one before it is used; a stream that nobody polls reads nothing.
pub(crate) fn bytes(file: Arc<File>, position: u64, end: u64) -> ByteStream {
    let reader = Reader {
        file,
        position,
        end,
        buffers: Arc::default(),
        ahead: None,
    };
    stream::unfold(reader, |mut reader| async move {
        let read = reader.next().await?;
        Some((read, reader))
    })
    .boxed()
}

/// A stream's way through its file.
struct Reader {
    file: Arc<File>,
    position: u64,
    end: u64,
    buffers: Arc<Buffers>,
    /// What another thread reads at `position`.
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
                if let Some(bytes) = self
                    .buffers
                    .read_cached(&self.file, self.position, self.end)
                {
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
        let (file, buffers) = (Arc::clone(&self.file), Arc::clone(&self.buffers));
        let (position, end) = (self.position, self.end);
        spawn_blocking(move || buffers.read(&file, position, end))
    }
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
    fn read(self: &Arc<Self>, file: &File, position: u64, end: u64) -> io::Result<Bytes> {
        let length = (end - position).min(CHUNK as u64) as usize;
        let mut buffer = self.take(length);
        read_exact_at(file, &mut buffer[..length], position)?;
        Ok(self.lend(buffer, length))
    }

    /// What the system can give without waiting for a disk, if anything; nothing as well where its
    /// file system cannot tell.
    /// <https://man7.org/linux/man-pages/man2/readv.2.html> (`RWF_NOWAIT`)
    fn read_cached(self: &Arc<Self>, file: &File, position: u64, end: u64) -> Option<Bytes> {
        let length = (end - position).min(CACHED_CHUNK as u64) as usize;
        let mut buffer = self.take(length);
        let place = &mut [IoSliceMut::new(&mut buffer[..length])];
        match preadv2(file, place, position, ReadWriteFlags::NOWAIT) {
            Ok(length) if length > 0 => Some(self.lend(buffer, length)),
            // Reading it properly says what is wrong, if anything is.
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

    fn lend(self: &Arc<Self>, buffer: Vec<u8>, length: usize) -> Bytes {
        Bytes::from_owner(Chunk {
            buffer,
            length,
            home: Arc::clone(self),
        })
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
        let told = "the file became shorter while it was read".to_owned();
        assert_eq!(read.first(), Some(&Ok(CACHED_CHUNK)));
        assert_eq!(read.last(), Some(&Err(told)));
        assert!(read[..read.len() - 1].iter().all(Result::is_ok));
    }
}
