//! A part of a file. Reads are positional, so any number of readers can share it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// A range of an open file.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl FileRange {
    /// `size` bytes of `file` from `offset` on.
    pub fn new(file: Arc<File>, offset: u64, size: u64) -> Self {
        Self { file, offset, size }
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the bytes from `position` on, counted from the start of the range.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or has become shorter.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        read_exact_at(&self.file, buffer, self.offset + position)
    }
}

/// Fills `buffer` with the bytes of `file` from `position` on.
pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<()> {
    file.read_exact_at(buffer, position)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), "the file became shorter while it was read")
            }
            _ => error,
        })
}
