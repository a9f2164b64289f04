//! Compresses a layer on all cores into one stream that depends on its input alone.
//!
//! The input is cut into blocks of a fixed size, each becomes a gzip member or a zstd frame of its
//! own (RFC 1952, section 2.2, and RFC 8878, section 3, let them follow each other), and these are
//! put together in order: the bytes are the same on any number of cores.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use libdeflater::{CompressionLvl, Compressor};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};

use crate::digest::{Digest, Hasher};
use crate::source::ByteStream;

/// How a layer is compressed, with the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// gzip, at libdeflate's level: 1 (fast) to 12 (small).
    Gzip(u8),
    /// zstd, at its own level: 1 (fast) to 19 (small).
    Zstd(u8),
}

/// How much is compressed at once. Larger blocks lose less at their edges, smaller ones keep more
/// cores busy; at 1 MiB the edges cost under 1 % of a real layer.
const BLOCK: usize = 1024 * 1024;

/// Blocks waiting for the disk or the hash: enough to keep both busy, and a bound on memory.
const QUEUE: usize = 4;

/// A compressed layer in a file that has no name and is gone when it is closed.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// What the compressed bytes hash to.
    pub digest: Digest,
    /// How many there are.
    pub size: u64,
    /// What the bytes before compression hash to.
    pub diff_id: Digest,
    /// Where the compressed bytes are.
    pub file: Arc<File>,
}

/// A layer that could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// The layer could not be read.
    #[error("could not read the layer")]
    Read(#[source] io::Error),
    /// The temporary file could not be made or written.
    #[error("could not write the compressed layer to a temporary file in `{directory}`")]
    Spool {
        /// The folder of the temporary file.
        directory: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Compresses `layer` into a temporary file in `directory`.
///
/// # Errors
///
/// When the layer cannot be read or the temporary file cannot be written.
pub async fn compress(
    mut layer: ByteStream,
    method: Method,
    directory: &Path,
) -> Result<Compressed, CompressError> {
    let spool = |cause| CompressError::Spool {
        directory: directory.display().to_string(),
        cause,
    };
    let file = tempfile::tempfile_in(directory).map_err(spool)?;
    let (to_hash, mut blocks) = mpsc::channel::<Bytes>(QUEUE);
    let hashing = spawn_blocking(move || {
        let mut hasher = Hasher::default();
        while let Some(block) = blocks.blocking_recv() {
            hasher.update(&block);
        }
        hasher.finish()
    });
    let (to_disk, mut members) = mpsc::channel::<Vec<u8>>(QUEUE);
    let writing = spawn_blocking(move || -> io::Result<_> {
        let (mut file, mut hasher, mut size) = (file, Hasher::default(), 0_u64);
        while let Some(member) = members.blocking_recv() {
            file.write_all(&member)?;
            hasher.update(&member);
            size += member.len() as u64;
        }
        Ok((file, hasher.finish(), size))
    });

    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut compressing = FuturesOrdered::new();
    let mut rest = BytesMut::new();
    let mut is_first = true;
    let mut has_ended = false;
    loop {
        while !has_ended && compressing.len() <= workers {
            let block = next_block(&mut layer, &mut rest)
                .await
                .map_err(CompressError::Read)?;
            has_ended = block.len() < BLOCK;
            // An empty layer is still one member, or it would be no gzip at all.
            if block.is_empty() && !is_first {
                break;
            }
            is_first = false;
            // Both ends are told by the tasks themselves when they stop early.
            let _ = to_hash.send(block.clone()).await;
            compressing.push_back(spawn_blocking(move || member(&block, method)));
        }
        let Some(member) = compressing.next().await else {
            break;
        };
        let member = joined(member).map_err(spool)?;
        if to_disk.send(member).await.is_err() {
            break;
        }
    }
    drop((to_hash, to_disk));
    let (file, digest, size) = joined(writing.await).map_err(spool)?;
    Ok(Compressed {
        digest,
        size,
        diff_id: joined(hashing.await),
        file: Arc::new(file),
    })
}

/// The next [`BLOCK`] bytes, fewer only at the end.
async fn next_block(layer: &mut ByteStream, rest: &mut BytesMut) -> io::Result<Bytes> {
    while rest.len() < BLOCK {
        match layer.next().await {
            Some(piece) => rest.extend_from_slice(&piece?),
            None => break,
        }
    }
    let end = rest.len().min(BLOCK);
    Ok(rest.split_to(end).freeze())
}

/// One block as a gzip member or a zstd frame.
fn member(block: &[u8], method: Method) -> io::Result<Vec<u8>> {
    match method {
        Method::Gzip(level) => {
            let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
            let mut compressor = Compressor::new(level);
            let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
            let size = compressor
                .gzip_compress(block, &mut member)
                .map_err(io::Error::other)?;
            member.truncate(size);
            Ok(member)
        }
        Method::Zstd(level) => zstd::bulk::compress(block, i32::from(level)),
    }
}

/// A task's value; its panic goes on here.
fn joined<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::io::{Seek as _, SeekFrom};

    use super::*;

    async fn compressed(layer: &[u8], pieces: usize, method: Method) -> (Compressed, Vec<u8>) {
        let pieces: Vec<_> = layer
            .chunks(layer.len().div_ceil(pieces).max(1))
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let stream = futures_util::stream::iter(pieces).boxed();
        let directory = std::env::temp_dir();
        let compressed = super::compress(stream, method, &directory).await.unwrap();
        let mut bytes = Vec::new();
        let mut file = compressed.file.try_clone().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        (compressed, bytes)
    }

    #[tokio::test]
    async fn the_bytes_depend_on_the_input_alone() {
        let layer: Vec<u8> = (0..3 * BLOCK + 17).map(|i| (i * i / 7) as u8).collect();
        for method in [Method::Gzip(6), Method::Zstd(3)] {
            let (first, bytes) = compressed(&layer, 1, method).await;
            let (second, again) = compressed(&layer, 1000, method).await;
            assert_eq!(bytes, again);
            assert_eq!(first.digest, second.digest);
            assert_eq!(first.digest, Digest::of(&bytes));
            assert_eq!(first.size, bytes.len() as u64);
            assert_eq!(first.diff_id, Digest::of(&layer));
        }
    }

    #[tokio::test]
    async fn a_layer_of_nothing_is_still_gzip() {
        let (compressed, bytes) = compressed(b"", 1, Method::Gzip(1)).await;
        assert_eq!(bytes[..2], [0x1f, 0x8b]);
        assert_eq!(compressed.diff_id, Digest::of(b""));
    }

    #[tokio::test]
    async fn a_temporary_folder_that_is_not_there_is_told() {
        let stream = futures_util::stream::empty().boxed();
        let error = compress(stream, Method::Gzip(1), Path::new("/nonexistent"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not write the compressed layer to a temporary file in `/nonexistent`"
        );
    }
}
