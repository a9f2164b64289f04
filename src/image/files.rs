//! Access to named files: members of a tar file, or files of a directory.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{SourceError, quoted};
use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, MAX_MANIFEST_SIZE};

/// The maximum size of a JSON document of an image.
pub(super) const MAX_DOCUMENT: u64 = MAX_MANIFEST_SIZE;

/// The maximum size of all documents of one source together, so that an index of a thousand large
/// manifests does not fill the memory.
const MAX_DOCUMENTS: u64 = 32 * 1024 * 1024;

/// A container of files. Names are relative, and `/` separates their parts.
pub(super) trait SourceFiles {
    /// The name of the container in messages: a path in backticks, or `standard input`.
    fn what(&self) -> &str;

    /// True for a directory, false for an archive.
    fn is_directory(&self) -> bool;

    /// Returns the bytes of `name`. `None` if the file does not exist.
    fn find(&self, name: &str) -> Result<Option<ByteRange>, SourceError>;
}

/// A range of bytes in a file.
#[derive(Clone, Debug)]
pub(super) struct ByteRange {
    file: RangeFile,
    /// The position of the first byte in the file.
    pub(super) offset: u64,
    /// The number of bytes.
    pub(super) size: u64,
}

#[derive(Clone, Debug)]
enum RangeFile {
    /// An archive, which is open.
    Open(Arc<File>),
    /// A separate file, which is opened when needed, because there may be thousands.
    Path(PathBuf),
}

impl ByteRange {
    /// A range of an open file.
    pub(super) fn within(file: &Arc<File>, offset: u64, size: u64) -> Self {
        Self {
            file: RangeFile::Open(Arc::clone(file)),
            offset,
            size,
        }
    }

    /// The whole of the file at `path`.
    pub(super) fn whole(path: PathBuf, size: u64) -> Self {
        Self {
            file: RangeFile::Path(path),
            offset: 0,
            size,
        }
    }

    /// Opens the file.
    pub(super) fn open(&self) -> io::Result<Arc<File>> {
        match &self.file {
            RangeFile::Open(file) => Ok(Arc::clone(file)),
            RangeFile::Path(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if !metadata.is_file() || metadata.len() != self.size {
                    return Err(io::Error::other(
                        "the file was changed since it was checked",
                    ));
                }
                Ok(Arc::new(file))
            }
        }
    }

    /// Reads the first bytes, at most `length`.
    pub(super) fn start(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size.min(length as u64) as usize];
        self.open()?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Reads the JSON documents of a source, within limits.
pub(super) struct Documents<'a> {
    /// The files that contain the documents.
    pub(super) files: &'a dyn SourceFiles,
    /// The source as `image` names it in front of a reference: `docker-archive:app.tar`.
    pub(super) address: String,
    remaining: Cell<u64>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(files: &'a dyn SourceFiles, address: String) -> Self {
        Self {
            files,
            address,
            remaining: Cell::new(MAX_DOCUMENTS),
        }
    }

    /// The name of the source in messages.
    pub(super) fn what(&self) -> String {
        self.files.what().to_owned()
    }

    /// Reads the document `name`. `None` if the file does not exist.
    pub(super) fn read(&self, name: &str) -> Result<Option<Bytes>, SourceError> {
        match self.files.find(name)? {
            Some(range) => self.read_range(name, &range).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a small blob and checks it against its descriptor. `None` if it does not exist.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, SourceError> {
        let Some(range) = self.blob_range(descriptor)? else {
            return Ok(None);
        };
        let name = blob_name(&descriptor.digest);
        let bytes = self.read_range(&name, &range)?;
        self.check(&name, &descriptor.digest, &bytes)?;
        Ok(Some(bytes))
    }

    fn read_range(&self, name: &str, range: &ByteRange) -> Result<Bytes, SourceError> {
        let limit = MAX_DOCUMENT.min(self.remaining.get());
        if range.size > limit {
            return Err(SourceError::TooLarge {
                what: self.what(),
                document: quoted(name),
                size: range.size,
                limit,
            });
        }
        self.remaining.set(self.remaining.get() - range.size);
        match range.start(range.size as usize) {
            Ok(bytes) => Ok(bytes.into()),
            Err(cause) => {
                let what = format!("{} of {}", quoted(name), self.what());
                Err(SourceError::read(&what, cause))
            }
        }
    }

    /// Compares the digest of a document with the expected one.
    pub(super) fn check(
        &self,
        name: &str,
        promised: &Digest,
        bytes: &[u8],
    ) -> Result<(), SourceError> {
        let actual = Digest::of(bytes);
        if actual == *promised {
            return Ok(());
        }
        let why = format!("its digest is {actual} and should be {promised}");
        Err(self.wrong_content(name, why))
    }

    /// Locates a blob and checks its size against its descriptor. `None` if it does not exist.
    pub(super) fn blob_range(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<ByteRange>, SourceError> {
        let name = blob_name(&descriptor.digest);
        match self.files.find(&name)? {
            Some(range) if range.size != descriptor.size => {
                let (actual, promised) = (range.size, descriptor.size);
                let why = format!("it has {actual} bytes and should have {promised}");
                Err(self.wrong_content(&name, why))
            }
            range => Ok(range),
        }
    }

    fn wrong_content(&self, name: &str, why: String) -> SourceError {
        SourceError::WrongContent {
            what: self.what(),
            blob: quoted(name),
            why,
            is_directory: self.files.is_directory(),
        }
    }

    /// The error for a required file that does not exist.
    pub(super) fn absent(&self, name: &str, needed_by: &str) -> SourceError {
        SourceError::Absent {
            what: self.what(),
            name: quoted(name),
            needed_by: needed_by.to_owned(),
            is_directory: self.files.is_directory(),
        }
    }
}

/// The path of a blob in a layout (OCI image spec, `image-layout.md`, "Blobs"). It is built only
/// from a valid digest.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
