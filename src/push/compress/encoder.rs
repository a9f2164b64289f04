//! Compresses one block into a gzip member or a zstd frame.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::Method;

/// A compressor that is reused for many blocks.
pub(super) enum Encoder {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    /// Creates a compressor for the method and its level.
    pub(super) fn new(method: Method) -> io::Result<Self> {
        Ok(match method {
            Method::Gzip(level) => {
                let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
                Self::Gzip(Compressor::new(level))
            }
            Method::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(i32::from(level))?),
        })
    }

    /// Writes the compressed block to the beginning of `output`, which it enlarges if necessary.
    /// Returns the compressed length.
    pub(super) fn encode(&mut self, block: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let bound = match self {
            Self::Gzip(compressor) => compressor.gzip_compress_bound(block.len()),
            Self::Zstd(_) => zstd::zstd_safe::compress_bound(block.len()),
        };
        if output.len() < bound {
            output.resize(bound, 0);
        }
        match self {
            Self::Gzip(compressor) => compressor
                .gzip_compress(block, output)
                .map_err(io::Error::other),
            Self::Zstd(compressor) => compressor.compress_to_buffer(block, &mut output[..]),
        }
    }
}
