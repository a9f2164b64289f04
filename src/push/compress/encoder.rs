//! One block as a gzip member or a zstd frame.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::Method;

/// A compressor with its tables, made once for many blocks.
pub(super) enum Encoder {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    pub(super) fn new(method: Method) -> io::Result<Self> {
        Ok(match method {
            Method::Gzip(level) => {
                let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
                Self::Gzip(Compressor::new(level))
            }
            Method::Zstd(level) => Self::Zstd(zstd::bulk::Compressor::new(i32::from(level))?),
        })
    }

    /// Writes the compressed block to the beginning of `output`, which is made large enough, and
    /// says how long it is.
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
