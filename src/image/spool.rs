//! Copies archives to disk that cannot be read in place: archives that are compressed as a whole, and
//! input from a pipe.
//!
//! The copy is an unnamed file, so it is removed when it is closed, whatever happens. Its size is
//! limited only by the disk. Memory use does not grow with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::{Fault, SourceError, display_path};
use super::file_kind::CompressionFormat;

/// The size of the copy buffer.
const BUFFER: usize = 256 * 1024;

/// The maximum memory for decompressing a stream, in KiB: the default limit of zstd, and twice what
/// `xz -9` needs. A stream that needs more states so at its start, and is refused before anything is
/// allocated.
const MAX_MEMORY: u32 = 128 * 1024;

/// Writes `input` to an unnamed file in `directory`, decompressed if it is compressed.
pub(super) fn spool(input: impl Read, what: &str, directory: &Path) -> Result<File, SourceError> {
    let mut file = tempfile::tempfile_in(directory).map_err(|cause| SourceError::Spool {
        what: what.to_owned(),
        directory: display_path(directory),
        written: 0,
        cause,
    })?;
    copy(input, what, directory, &mut file)?;
    Ok(file)
}

fn copy(
    mut input: impl Read,
    what: &str,
    directory: &Path,
    output: &mut impl Write,
) -> Result<(), SourceError> {
    // A read from a pipe may return fewer bytes than requested.
    let mut start = Vec::new();
    (&mut input)
        .take(16)
        .read_to_end(&mut start)
        .map_err(|cause| SourceError::read(what, cause))?;
    let compression = CompressionFormat::of(&start);
    let input = BufReader::with_capacity(BUFFER, start.as_slice().chain(input));
    let mut input = decoder(input, compression).map_err(|cause| SourceError::read(what, cause))?;
    let mut buffer = vec![0; BUFFER];
    let mut written = 0;
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(read_error(what, compression, cause)),
        };
        if let Err(cause) = output.write_all(&buffer[..length]) {
            return Err(SourceError::Spool {
                what: what.to_owned(),
                directory: display_path(directory),
                written,
                cause,
            });
        }
        written += length as u64;
    }
}

/// Writes the decompressed bytes of a layer to `output`.
pub(crate) fn decompress(input: impl Read, output: &mut impl Write) -> Result<(), SourceError> {
    copy(input, "the layer", Path::new(""), output)
}

/// Reads the chunks of a stream from a thread that may block.
pub(crate) struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl ChunkReader {
    pub(crate) fn new(chunks: mpsc::Receiver<Bytes>) -> Self {
        let chunk = Bytes::new();
        Self { chunks, chunk }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

/// Decompresses `input`. Each decoder accepts several concatenated streams, which parallel compressors
/// write.
fn decoder<'a>(
    input: impl BufRead + 'a,
    compression: Option<CompressionFormat>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        None => Box::new(input),
        Some(CompressionFormat::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Some(CompressionFormat::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        // libzstd refuses windows over 128 MiB by default.
        Some(CompressionFormat::Zstd) => Box::new(zstd::Decoder::with_buffer(input)?),
        Some(CompressionFormat::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(
            input,
            true,
            // The decoder counts its own buffers as well.
            MAX_MEMORY + 1024,
        )),
    })
}

fn read_error(what: &str, compression: Option<CompressionFormat>, cause: io::Error) -> SourceError {
    match compression {
        None => SourceError::read(what, cause),
        Some(compression) => SourceError::Unpack {
            what: what.to_owned(),
            format: compression.name(),
            fault: match cause.kind() {
                io::ErrorKind::UnexpectedEof => Fault::Cut,
                io::ErrorKind::OutOfMemory => Fault::Memory,
                // libzstd's `ZSTD_error_frameParameter_windowTooLarge` has no error kind of its own.
                _ if cause.to_string().contains("too much memory") => Fault::Memory,
                _ => Fault::Damaged,
            },
            cause,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with this number of free bytes.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.len() > self.0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn full_disk_is_reported_with_the_bytes_written() {
        use crate::diagnostics::Diagnostic as _;

        let input = io::repeat(7).take(3 * BUFFER as u64);
        let error = copy(
            input,
            "`app.tar`",
            Path::new("/spool"),
            &mut Disk(BUFFER * 2),
        )
        .unwrap_err();
        insta::assert_snapshot!(error, @"cannot copy `app.tar` to `/spool`, after 262160 bytes");
        insta::assert_snapshot!(error.hints().join("\n"), @"set `TMPDIR` to a directory on a disk \
            with more space; an uncompressed archive file needs no space");
    }
}
