//! Blob storage: in memory, or in a directory for large blobs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tempfile::NamedTempFile;

use crate::body::Source;

/// Where a stand-in stores blobs. Its metadata (repositories, tags, manifests) is in memory in
/// either case.
#[derive(Clone, Debug, Default)]
pub enum Storage {
    /// In memory.
    #[default]
    Memory,
    /// In files below this directory, written and hashed as they arrive.
    Directory(PathBuf),
}

/// All blobs by digest. The repositories that have them are stored elsewhere.
pub(crate) struct Blobs {
    directory: Option<PathBuf>,
    held: Mutex<HashMap<String, StoredBlob>>,
}

#[derive(Clone)]
enum StoredBlob {
    Memory(Bytes),
    File { path: PathBuf, length: u64 },
}

impl Blobs {
    pub(crate) fn new(storage: Storage) -> Self {
        let directory = match storage {
            Storage::Memory => None,
            Storage::Directory(path) => {
                fs::create_dir_all(&path).expect("the storage directory can be made");
                Some(path)
            }
        };
        Self {
            directory,
            held: Mutex::default(),
        }
    }

    /// Starts a blob.
    pub(crate) fn writer(&self) -> Writer {
        let sink = match &self.directory {
            None => Sink::Memory(Vec::new()),
            Some(directory) => {
                let file = NamedTempFile::new_in(directory);
                Sink::File(file.expect("the storage directory can be written to"))
            }
        };
        Writer {
            hash: Context::new(&SHA256),
            length: 0,
            sink,
        }
    }

    /// Stores a finished blob under its digest.
    pub(crate) fn keep(&self, digest: &str, writer: Writer) {
        let length = writer.length;
        let held = match writer.sink {
            Sink::Memory(bytes) => StoredBlob::Memory(bytes.into()),
            Sink::File(file) => {
                let directory = self.directory.as_deref().unwrap_or(Path::new("."));
                let path = directory.join(digest.replace(':', "-"));
                file.persist(&path)
                    .expect("files can be renamed within a directory");
                StoredBlob::File { path, length }
            }
        };
        self.held.lock().unwrap().insert(digest.to_owned(), held);
    }

    pub(crate) fn length(&self, digest: &str) -> Option<u64> {
        match self.held.lock().unwrap().get(digest)? {
            StoredBlob::Memory(bytes) => Some(bytes.len() as u64),
            StoredBlob::File { length, .. } => Some(*length),
        }
    }

    /// A part of a blob.
    pub(crate) fn open(&self, digest: &str, start: u64, length: u64) -> Option<Source> {
        let held = self.held.lock().unwrap().get(digest)?.clone();
        Some(match held {
            StoredBlob::Memory(bytes) => {
                let start = usize::try_from(start).ok()?;
                let end = start + usize::try_from(length).ok()?;
                Source::Whole(bytes.slice(start..end))
            }
            StoredBlob::File { path, .. } => {
                let mut file = File::open(path).expect("stored blobs can be read");
                file.seek(SeekFrom::Start(start))
                    .expect("files can be positioned");
                Source::File { file, left: length }
            }
        })
    }

    /// A whole blob.
    pub(crate) fn bytes(&self, digest: &str) -> Option<Vec<u8>> {
        let held = self.held.lock().unwrap().get(digest)?.clone();
        Some(match held {
            StoredBlob::Memory(bytes) => bytes.to_vec(),
            StoredBlob::File { path, .. } => fs::read(path).expect("stored blobs can be read"),
        })
    }
}

/// A blob in progress. It hashes with aws-lc and not with the crate of the program, so that the two
/// check each other.
pub(crate) struct Writer {
    hash: Context,
    length: u64,
    sink: Sink,
}

enum Sink {
    Memory(Vec<u8>),
    File(NamedTempFile),
}

impl Writer {
    /// Appends bytes. Writes to the page cache are short enough for an asynchronous task.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        match &mut self.sink {
            Sink::Memory(held) => held.extend_from_slice(bytes),
            Sink::File(file) => file.write_all(bytes).expect("the disk has room"),
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of the bytes so far.
    pub(crate) fn digest(&self) -> String {
        hex(self.hash.clone().finish().as_ref())
    }
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, bytes).as_ref())
}

fn hex(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
