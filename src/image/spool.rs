//! What cannot be read in place is written down first: archives that are compressed as a whole, and
//! everything that comes through a pipe.
//!
//! The copy is a file without a name, so that it is gone when it is closed, whatever happens. It
//! may grow as large as its disk; memory does not grow with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use super::error::{Fault, SourceError, shown};
use super::file_kind::CompressionFormat;

/// How much is copied at once.
const BUFFER: usize = 256 * 1024;

/// The most memory that a stream may ask for to be decompressed, in KiB: what zstd itself allows
/// unless it is told otherwise, and twice what `xz -9` asks for. What needs more says so at its
/// start, and is refused before anything is allocated.
const MEMORY: u32 = 128 * 1024;

/// Writes `input` to an unnamed file in `directory`, decompressed if it is compressed.
pub(super) fn spool(input: impl Read, what: &str, directory: &Path) -> Result<File, SourceError> {
    let mut file = tempfile::tempfile_in(directory).map_err(|cause| SourceError::Spool {
        what: what.to_owned(),
        directory: shown(directory),
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
    // A pipe hands out pieces of any length, so the start is gathered.
    let mut start = Vec::new();
    (&mut input)
        .take(16)
        .read_to_end(&mut start)
        .map_err(|cause| SourceError::read(what, cause))?;
    let packing = CompressionFormat::of(&start);
    let input = BufReader::with_capacity(BUFFER, start.as_slice().chain(input));
    let mut input = unpack(input, packing).map_err(|cause| SourceError::read(what, cause))?;
    let mut buffer = vec![0; BUFFER];
    let mut written = 0;
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(unreadable(what, packing, cause)),
        };
        if let Err(cause) = output.write_all(&buffer[..length]) {
            return Err(SourceError::Spool {
                what: what.to_owned(),
                directory: shown(directory),
                written,
                cause,
            });
        }
        written += length as u64;
    }
}

/// Writes to `output` what a layer of any form holds.
pub(crate) fn unpacked(input: impl Read, output: &mut impl Write) -> Result<(), SourceError> {
    copy(input, "the layer", Path::new(""), output)
}

/// The bytes that `input` stands for; each decoder takes several streams one after the other, as
/// the parallel compressors write them.
fn unpack<'a>(
    input: impl BufRead + 'a,
    packing: Option<CompressionFormat>,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        None => Box::new(input),
        Some(CompressionFormat::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Some(CompressionFormat::Bzip2) => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        // libzstd refuses windows over 128 MiB by itself.
        Some(CompressionFormat::Zstd) => Box::new(zstd::Decoder::with_buffer(input)?),
        Some(CompressionFormat::Xz) => Box::new(lzma_rust2::XzReader::new_mem_limit(
            input,
            true,
            // The decoder counts its own buffers as well.
            MEMORY + 1024,
        )),
    })
}

fn unreadable(what: &str, packing: Option<CompressionFormat>, cause: io::Error) -> SourceError {
    match packing {
        None => SourceError::read(what, cause),
        Some(packing) => SourceError::Unpack {
            what: what.to_owned(),
            form: packing.name(),
            fault: match cause.kind() {
                io::ErrorKind::UnexpectedEof => Fault::Cut,
                io::ErrorKind::OutOfMemory => Fault::Memory,
                // libzstd's `ZSTD_error_frameParameter_windowTooLarge` has no kind of its own.
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

    /// A disk with room for so many bytes.
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
        insta::assert_snapshot!(error.hints().join("\n"), @"set `TMPDIR` to a directory on a disk with more room; an archive file that is not compressed is read in place, and needs none");
    }
}
