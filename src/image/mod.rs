//! Reads images: archives and layouts on disk, archives on standard input, exports of a Docker
//! engine, and registries.
//!
//! A source answers two questions and decides nothing: which image it has ([`Image`]), and what the
//! bytes of a blob are ([`Source::open_blob`], any blob, from any offset, any number of times).

mod base_image;
mod directory;
mod docker_archive;
pub mod docker_engine;
mod error;
pub mod file_kind;
pub mod file_reader;
mod files;
pub mod layout_referrers;
pub mod location;
mod names;
pub mod oci_layout;
mod open;
mod range;
pub mod referrers;
pub mod registry;
mod spool;
pub mod tar;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use std::thread;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

pub use docker_engine::EngineError;
pub use error::{Fault, SourceError};
pub use file_kind::FileKind;
pub(crate) use file_reader::bytes as read_range;
pub use range::FileRange;
use referrers::ReferrerStore as _;
pub(crate) use referrers::{ManifestReferrers, find_referrers, has_referrers};
pub use referrers::{Referrer, Referrers};
pub(crate) use registry::{ReferrerTags, Remote};
pub(crate) use spool::{ChunkReader, decompress};
pub use tree::{RewrittenIndex, Selection, Tree};

use crate::http::Network;
use crate::image::location::{ArchiveKind, ImageSource};
use crate::oci::blob::ByteStream;
use crate::oci::digest::{Digest, Hasher};
use crate::oci::manifest::{Descriptor, Manifest};
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::registry::Registry;
use files::ByteRange;
use layout_referrers::OpenLayout;

/// The maximum depth of nested indexes. Docker nests one level, and no tool is known to nest more
/// than two.
const MAX_DEPTH: usize = 8;

/// The image of a source, after it was opened and checked.
#[derive(Clone, Debug)]
pub struct Image {
    /// The names of the image in the source: `RepoTags` of `docker save`, or the annotations of an
    /// OCI layout. They are in the order of the source, and may be empty.
    pub names: Vec<String>,
    /// Findings that do not prevent a push, as sentences.
    pub notes: Vec<String>,
    /// The manifests or the config and layers.
    pub content: Content,
}

/// An image with manifests, or one whose manifest is yet to be built.
#[derive(Clone, Debug)]
pub enum Content {
    /// The source has manifests. Their exact bytes are pushed.
    Manifests(Tree),
    /// The source has a config and layers, most of them uncompressed. A manifest must be built for
    /// them.
    Uncompressed(UncompressedImage),
}

/// An image in the classic format of `docker save`: a config, and layers that are plain tar files.
#[derive(Clone, Debug)]
pub struct UncompressedImage {
    /// The exact bytes of the image config.
    pub config: Bytes,
    /// The layers from lowest to highest, in the order of `rootfs.diff_ids`.
    pub layers: Vec<UncompressedLayer>,
    /// The OCI manifest of the source for this config and these uncompressed layers. It is pushed
    /// if nothing is to be compressed. Docker 25 and later write one.
    pub manifest: Option<Manifest>,
}

/// A layer of an [`UncompressedImage`]. [`Source::open_blob`] accepts its `diff_id` as the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncompressedLayer {
    /// The digest of the uncompressed tar file, as the config states it.
    pub diff_id: Digest,
    /// The number of bytes in the source, in the source's format.
    pub size: u64,
    /// The format in the source.
    pub format: LayerFormat,
}

/// The format of a layer of an [`UncompressedImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerFormat {
    /// An uncompressed tar file. The digest of its bytes is the diff ID.
    Tar,
    /// A gzip stream, as kaniko, jib and Bazel store layers. It can be uploaded unchanged. Its
    /// digest is not known until [`Source::hash`] computes it.
    Gzip,
    /// A zstd stream, uploaded unchanged as well.
    Zstd,
    /// Not in the source, or not to be uploaded. The manifest names it by this descriptor.
    Foreign(Descriptor),
}

/// An opened image with access to its bytes. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    /// The name of the source in messages.
    what: String,
    image: Image,
    blobs: Blobs,
}

/// The location of the blobs.
enum Blobs {
    /// On this machine, with the layout if the source is one.
    Local(RwLock<HashMap<Digest, ByteRange>>, Option<Arc<OpenLayout>>),
    /// In a registry, with the size of each.
    Remote(Remote, RwLock<HashMap<Digest, u64>>),
}

/// The result of opening a source of any kind.
struct Opened {
    image: Image,
    blobs: HashMap<Digest, ByteRange>,
    /// The layout, which may contain referrers of the image.
    layout: Option<OpenLayout>,
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Source")
            .field("what", &self.inner.what)
            .field("image", &self.inner.image)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Opens an image, and checks everything but the bytes of its layers.
    ///
    /// A source that cannot be read in place (a compressed archive, a pipe, an engine's export) is
    /// copied to an unnamed file in `spool_directory`. The file is removed when the last clone of
    /// the source is dropped.
    ///
    /// # Errors
    ///
    /// If there is no image, or it cannot be pushed: see [`SourceError`].
    pub async fn open(
        source: &ImageSource,
        network: &Network,
        spool_directory: &Path,
    ) -> Result<Self, SourceError> {
        let spool = spool_directory.to_owned();
        match source.clone() {
            ImageSource::DockerDaemon(image) => docker_engine::open(&image, network, spool).await,
            ImageSource::DockerArchive(path, reference) => {
                Self::open_on_thread(move || {
                    open::archive_file(path, ArchiveKind::Docker, reference, &spool)
                })
                .await
            }
            ImageSource::OciArchive(path, reference) => {
                Self::open_on_thread(move || {
                    open::archive_file(path, ArchiveKind::Oci, reference, &spool)
                })
                .await
            }
            ImageSource::OciLayout(path, reference) => {
                Self::open_on_thread(move || open::layout(&path, reference)).await
            }
            ImageSource::Path(path) => Self::open_on_thread(move || open::path(path, &spool)).await,
            ImageSource::StandardInput(kind, reference) => {
                Self::open_on_thread(move || open::standard_input(kind, reference, &spool)).await
            }
        }
    }

    /// Opens an archive from a reader. The archive may be of any kind, compressed or not. `what`
    /// names it in messages; `reference` has the same meaning as for an archive file.
    ///
    /// # Errors
    ///
    /// As for [`Source::open`].
    pub async fn open_reader(
        input: impl Read + Send + 'static,
        what: &str,
        reference: Option<&str>,
        spool_directory: &Path,
    ) -> Result<Self, SourceError> {
        let archive = open::Archive {
            what: what.to_owned(),
            path: "-".to_owned(),
            kind: ArchiveKind::Any,
            reference: reference.map(str::to_owned),
        };
        let spool_directory = spool_directory.to_owned();
        Self::open_on_thread(move || archive.copied(input, &spool_directory)).await
    }

    /// Opens a source on a separate thread. A blocking task of the runtime would delay its
    /// shutdown, because a read of a pipe may block without end.
    async fn open_on_thread(
        open: impl FnOnce() -> Result<(String, Opened), SourceError> + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (send, receive) = oneshot::channel();
        let failed = |cause| SourceError::read("the image", cause);
        thread::Builder::new()
            .name("open image".to_owned())
            // The receiver may be gone.
            .spawn(move || send.send(open()).is_ok())
            .map_err(failed)?;
        let (what, opened) = receive
            .await
            .map_err(|_| failed(std::io::Error::other("the thread that opened it panicked")))??;
        Ok(Self {
            inner: Arc::new(Inner {
                what,
                image: opened.image,
                blobs: Blobs::Local(RwLock::new(opened.blobs), opened.layout.map(Arc::new)),
            }),
        })
    }

    /// Opens an image in a registry. The manifests are read now, except those of platforms that are
    /// not wanted. The blobs are read when needed, without a copy on disk.
    ///
    /// # Errors
    ///
    /// If the image does not exist, or the registry does not return it.
    pub async fn open_remote(
        registry: Arc<Registry>,
        reference: &Reference,
        wanted: &Platforms,
    ) -> Result<Self, SourceError> {
        let (remote, image) = registry::open(registry, reference, wanted).await?;
        let sizes = match &image.content {
            Content::Manifests(tree) => tree.blobs().map(|b| (b.digest.clone(), b.size)).collect(),
            Content::Uncompressed(_) => HashMap::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                what: remote.what().to_owned(),
                image,
                blobs: Blobs::Remote(remote, RwLock::new(sizes)),
            }),
        })
    }

    /// The image of the source.
    pub fn image(&self) -> &Image {
        &self.inner.image
    }

    /// The name of the source in messages: its path in backticks, or `standard input`.
    pub fn what(&self) -> &str {
        &self.inner.what
    }

    /// Locates a blob on this machine.
    fn range(&self, digest: &Digest) -> Option<ByteRange> {
        match &self.inner.blobs {
            Blobs::Local(ranges, _) => {
                let ranges = ranges.read();
                ranges.get(digest).cloned()
            }
            Blobs::Remote(..) => None,
        }
    }

    /// The registry and the repository of the image. `None` for a source on this machine.
    pub fn repository(&self) -> Option<(&Endpoint, &str)> {
        match &self.inner.blobs {
            Blobs::Local(..) => None,
            Blobs::Remote(remote, _) => Some(remote.repository()),
        }
    }

    /// True for a layout directory.
    pub(crate) fn is_directory(&self) -> bool {
        match &self.inner.blobs {
            Blobs::Local(_, Some(layout)) => layout.files.is_directory(),
            Blobs::Local(_, None) | Blobs::Remote(..) => false,
        }
    }

    /// The size of a blob in the source. `None` if the source does not have it.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        match &self.inner.blobs {
            Blobs::Local(..) => self.range(digest).map(|range| range.size),
            Blobs::Remote(_, sizes) => {
                let sizes = sizes.read();
                sizes.get(digest).copied()
            }
        }
    }

    /// Streams the bytes of a blob from `offset` on. A config or layer is named by its digest, a
    /// layer of an [`UncompressedImage`] by its diff ID. Any number of streams can be open at the
    /// same time.
    ///
    /// # Errors
    ///
    /// If the image has no such blob, or fewer bytes than `offset`, or if its file cannot be
    /// opened. Later errors are errors of the stream.
    pub async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<ByteStream, SourceError> {
        let size = self.blob_size(digest).filter(|size| offset <= *size);
        let size = size.ok_or_else(|| self.no_blob(digest, offset))?;
        if let Blobs::Remote(remote, _) = &self.inner.blobs {
            return remote.open_blob(digest, offset, size).await;
        }
        let range = self.range(digest);
        let range = range.ok_or_else(|| self.no_blob(digest, offset))?;
        let (start, end) = (range.offset + offset, range.offset + range.size);
        let file = self.file(range, digest).await?;
        Ok(file_reader::bytes(file, start, end))
    }

    /// Locates a layer of an [`UncompressedImage`] by its diff ID, for positional reads.
    ///
    /// # Errors
    ///
    /// If the image has no such layer, or its file cannot be opened.
    pub async fn layer(&self, diff_id: &Digest) -> Result<FileRange, SourceError> {
        let range = self.range(diff_id);
        let range = range.ok_or_else(|| self.no_blob(diff_id, 0))?;
        let (offset, size) = (range.offset, range.size);
        let file = self.file(range, diff_id).await?;
        Ok(FileRange::new(file, offset, size))
    }

    /// Computes the digest of the current bytes of a blob. It shows whether the source or the
    /// registry is wrong when a registry rejects a digest.
    ///
    /// # Errors
    ///
    /// If the image has no such blob, or its bytes cannot be read.
    pub async fn hash(&self, digest: &Digest) -> Result<Digest, SourceError> {
        let Some(range) = self.range(digest) else {
            // The blob is in a registry, or `open_blob` fails because it does not exist.
            let mut hasher = Hasher::default();
            let mut bytes = self.open_blob(digest, 0).await?;
            let read = async {
                while let Some(chunk) = bytes.try_next().await? {
                    hasher.update(&chunk);
                }
                Ok(hasher.finish())
            };
            return read.await.map_err(|cause| self.read_error(digest, cause));
        };
        let (start, end) = (range.offset, range.offset + range.size);
        let file = self.file(range, digest).await?;
        spawn_blocking(move || file_reader::hash(&file, start, end))
            .await
            .map_err(std::io::Error::other)
            .and_then(|result| result)
            .map_err(|cause| self.read_error(digest, cause))
    }

    async fn file(&self, range: ByteRange, digest: &Digest) -> Result<Arc<File>, SourceError> {
        spawn_blocking(move || range.open())
            .await
            .map_err(std::io::Error::other)
            .and_then(|result| result)
            .map_err(|cause| self.read_error(digest, cause))
    }

    fn no_blob(&self, digest: &Digest, offset: u64) -> SourceError {
        SourceError::NoBlob {
            what: self.inner.what.clone(),
            digest: digest.clone(),
            offset,
        }
    }

    fn read_error(&self, digest: &Digest, cause: std::io::Error) -> SourceError {
        SourceError::read(&format!("the blob {digest} of {}", self.inner.what), cause)
    }
}
