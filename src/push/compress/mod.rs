//! Compresses a layer on all cores, with the same output on any number of cores.
//!
//! The input is split into blocks of a fixed size. Each block becomes a gzip member or a zstd
//! frame, and these are concatenated in order (allowed by RFC 1952, section 2.2, and RFC 8878,
//! section 3).

mod encoder;
mod pipeline;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::task::spawn_blocking;

use crate::image::FileRange;
use crate::oci::digest::Digest;

/// The compression format and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// gzip, at libdeflate's level: 1 (fast) to 12 (small).
    Gzip(u8),
    /// zstd, at its own level: 1 (fast) to 19 (small).
    Zstd(u8),
}

/// A compressed layer in an unnamed temporary file, which is deleted when it is closed.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// The digest of the compressed bytes.
    pub digest: Digest,
    /// The number of compressed bytes.
    pub size: u64,
    /// The digest of the uncompressed bytes.
    pub diff_id: Digest,
    /// The temporary file with the compressed bytes.
    pub file: Arc<File>,
}

/// A layer that could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// The layer could not be read.
    #[error("could not read the layer")]
    Read(#[source] io::Error),
    /// The temporary file could not be created or written.
    #[error("could not write the compressed layer to a temporary file in `{directory}`")]
    Spool {
        /// The folder of the temporary file.
        directory: String,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// The threads could not be started, or the compression library failed.
    #[error("could not run the compressor")]
    Compressor(#[source] io::Error),
}

/// The maximum number of threads: each needs the memory of two blocks.
const MAX_WORKERS: usize = 16;

/// Compresses `layer` into a temporary file in `directory`. `count` is called with the length of
/// each block that was read.
///
/// # Errors
///
/// If the layer cannot be read or the temporary file cannot be written.
pub async fn compress(
    layer: FileRange,
    method: Method,
    directory: &Path,
    count: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Compressed, CompressError> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    compress_with(workers.min(MAX_WORKERS), layer, method, directory, count).await
}

/// Compresses with this number of threads.
async fn compress_with(
    workers: usize,
    layer: FileRange,
    method: Method,
    directory: &Path,
    count: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Compressed, CompressError> {
    let spool = |cause| CompressError::Spool {
        directory: directory.display().to_string(),
        cause,
    };
    let file = tempfile::tempfile_in(directory).map_err(&spool)?;
    let stop_on_drop = StopOnDrop::default();
    let is_wanted = Arc::clone(&stop_on_drop.0);
    let done = spawn_blocking(move || {
        let goes_on = |bytes| {
            count(bytes);
            is_wanted.load(Ordering::Relaxed)
        };
        pipeline::run(&layer, method, file, workers, &goes_on)
    })
    .await;
    match done {
        Ok(Ok(compressed)) => Ok(compressed),
        Ok(Err(pipeline::CompressFailure::Read(cause))) => Err(CompressError::Read(cause)),
        Ok(Err(pipeline::CompressFailure::Write(cause))) => Err(spool(cause)),
        Ok(Err(pipeline::CompressFailure::Compress(cause))) => {
            Err(CompressError::Compressor(cause))
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Stops the threads when the future of the compression is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Default for StopOnDrop {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Whether uncompressed layers of the source are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Layers are compressed with this method.
    With(Method),
    /// Layers are pushed uncompressed.
    None,
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::pipeline::BLOCK;
    use super::*;

    fn layer(bytes: &[u8]) -> FileRange {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(bytes).unwrap();
        file.write_all(b"after").unwrap();
        FileRange::new(Arc::new(file), 6, bytes.len() as u64)
    }

    async fn compressed(bytes: &[u8], workers: usize, method: Method) -> (Compressed, Vec<u8>) {
        let directory = std::env::temp_dir();
        let compressed = compress_with(workers, layer(bytes), method, &directory, |_| ())
            .await
            .unwrap();
        let mut bytes = vec![0; compressed.size as usize];
        compressed.file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(
            compressed.file.metadata().unwrap().len(),
            bytes.len() as u64
        );
        (compressed, bytes)
    }

    #[tokio::test]
    async fn one_thread_and_eight_give_the_same_bytes() {
        let layer: Vec<u8> = (0..20 * BLOCK + 17).map(|i| (i * i / 7) as u8).collect();
        for method in [Method::Gzip(2), Method::Gzip(6), Method::Zstd(3)] {
            let (first, bytes) = compressed(&layer, 1, method).await;
            let (second, again) = compressed(&layer, 8, method).await;
            assert!(bytes == again, "{method:?}");
            assert_eq!(first.digest, second.digest);
            assert_eq!(first.digest, Digest::of(&bytes));
            assert_eq!(first.diff_id, Digest::of(&layer));
        }
    }

    #[tokio::test]
    async fn compressed_layer_unpacks_to_the_same_bytes() {
        use std::io::Read as _;

        let layer: Vec<u8> = (0..2 * BLOCK).map(|i| (i * i / 7) as u8).collect();
        let (_, gzip) = compressed(&layer, 2, Method::Gzip(2)).await;
        let mut back = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(&gzip[..]);
        reader.read_to_end(&mut back).unwrap();
        assert!(back == layer);
        let (_, frames) = compressed(&layer, 2, Method::Zstd(3)).await;
        assert!(zstd::stream::decode_all(&frames[..]).unwrap() == layer);
    }

    #[tokio::test]
    async fn empty_layer_is_still_gzip() {
        let (compressed, bytes) = compressed(b"", 2, Method::Gzip(1)).await;
        assert_eq!(bytes[..2], [0x1f, 0x8b]);
        assert_eq!(compressed.diff_id, Digest::of(b""));
    }

    #[tokio::test]
    async fn shortened_file_is_reported() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let layer = FileRange::new(file, 0, 3 * BLOCK as u64);
        let error = compress(layer, Method::Gzip(1), &std::env::temp_dir(), |_| ())
            .await
            .unwrap_err();
        let CompressError::Read(cause) = error else {
            panic!("{error}")
        };
        assert_eq!(
            cause.to_string(),
            "the file became shorter while it was read"
        );
    }

    #[tokio::test]
    async fn missing_temporary_folder_is_reported() {
        let error = compress(
            layer(b""),
            Method::Gzip(1),
            Path::new("/nonexistent"),
            |_| (),
        )
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not write the compressed layer to a temporary file in `/nonexistent`"
        );
    }
}
