//! Named files, wherever they lie: members of a tar file, or files of a directory.

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

/// The most bytes that one JSON document of an image may have.
pub(super) const MAX_DOCUMENT: u64 = MAX_MANIFEST_SIZE;

/// The most bytes of all documents of one source together, so that an index of a thousand large
/// manifests does not fill the memory.
const MAX_DOCUMENTS: u64 = 32 * 1024 * 1024;

/// A place that holds files by name. Names are relative and have `/` between their parts.
pub(super) trait SourceFiles {
    /// How the place is called in messages: a path in backticks, or `standard input`.
    fn what(&self) -> &str;

    /// True for a directory, false for an archive.
    fn is_directory(&self) -> bool;

    /// Where the bytes of `name` are; none when there is no such file.
    fn find(&self, name: &str) -> Result<Option<ByteRange>, SourceError>;
}

/// Where some bytes are.
#[derive(Clone, Debug)]
pub(super) struct ByteRange {
    holder: Holder,
    /// The first byte, counted from the start of the file that holds it.
    pub(super) offset: u64,
    /// How many bytes there are.
    pub(super) size: u64,
}

#[derive(Clone, Debug)]
enum Holder {
    /// An archive, open once for all.
    Open(Arc<File>),
    /// A file of its own, opened when it is needed, for there may be thousands.
    Closed(PathBuf),
}

impl ByteRange {
    /// Part of an open file.
    pub(super) fn within(file: &Arc<File>, offset: u64, size: u64) -> Self {
        Self {
            holder: Holder::Open(Arc::clone(file)),
            offset,
            size,
        }
    }

    /// The whole of the file at `path`.
    pub(super) fn whole(path: PathBuf, size: u64) -> Self {
        Self {
            holder: Holder::Closed(path),
            offset: 0,
            size,
        }
    }

    /// The file that holds the bytes, open.
    pub(super) fn open(&self) -> io::Result<Arc<File>> {
        match &self.holder {
            Holder::Open(file) => Ok(Arc::clone(file)),
            Holder::Closed(path) => {
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

    /// The first bytes, at most `length`.
    pub(super) fn start(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.size.min(length as u64) as usize];
        self.open()?.read_exact_at(&mut bytes, self.offset)?;
        Ok(bytes)
    }
}

/// Reads the JSON documents of a source, within bounds.
pub(super) struct Documents<'a> {
    /// Where the documents are.
    pub(super) files: &'a dyn SourceFiles,
    /// How `image` names the place when a reference is put behind it: `docker-archive:app.tar`.
    pub(super) address: String,
    left: Cell<u64>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(files: &'a dyn SourceFiles, address: String) -> Self {
        Self {
            files,
            address,
            left: Cell::new(MAX_DOCUMENTS),
        }
    }

    /// The place's name in messages.
    pub(super) fn what(&self) -> String {
        self.files.what().to_owned()
    }

    /// The bytes of the document `name`; none when there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Bytes>, SourceError> {
        match self.files.find(name)? {
            Some(place) => self.read_place(name, &place).map(Some),
            None => Ok(None),
        }
    }

    /// The bytes of a small blob, checked against its descriptor; none when it is not there.
    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Option<Bytes>, SourceError> {
        let Some(place) = self.place(descriptor)? else {
            return Ok(None);
        };
        let name = blob_name(&descriptor.digest);
        let bytes = self.read_place(&name, &place)?;
        self.check(&name, &descriptor.digest, &bytes)?;
        Ok(Some(bytes))
    }

    fn read_place(&self, name: &str, place: &ByteRange) -> Result<Bytes, SourceError> {
        let limit = MAX_DOCUMENT.min(self.left.get());
        if place.size > limit {
            return Err(SourceError::TooLarge {
                what: self.what(),
                document: quoted(name),
                size: place.size,
                limit,
            });
        }
        self.left.set(self.left.get() - place.size);
        match place.start(place.size as usize) {
            Ok(bytes) => Ok(bytes.into()),
            Err(cause) => {
                let what = format!("{} of {}", quoted(name), self.what());
                Err(SourceError::read(&what, cause))
            }
        }
    }

    /// Compares the hash of a document with the digest that it was promised to have.
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
        Err(SourceError::WrongDigest {
            what: self.what(),
            blob: quoted(name),
            promised: promised.clone(),
            actual,
            is_directory: self.files.is_directory(),
        })
    }

    /// Where a blob is, its size checked against its descriptor; none when it is not there.
    pub(super) fn place(&self, descriptor: &Descriptor) -> Result<Option<ByteRange>, SourceError> {
        let name = blob_name(&descriptor.digest);
        match self.files.find(&name)? {
            Some(place) if place.size != descriptor.size => Err(SourceError::WrongSize {
                what: self.what(),
                blob: quoted(&name),
                promised: descriptor.size,
                actual: place.size,
                is_directory: self.files.is_directory(),
            }),
            found => Ok(found),
        }
    }

    /// The error for a file that is needed and is not there.
    pub(super) fn absent(&self, name: &str, needed_by: &str) -> SourceError {
        SourceError::Absent {
            what: self.what(),
            name: quoted(name),
            needed_by: needed_by.to_owned(),
            is_directory: self.files.is_directory(),
        }
    }
}

/// Where a layout keeps a blob (OCI image spec, `image-layout.md`, "Blobs"): only ever made from a
/// digest that was checked to be one.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
