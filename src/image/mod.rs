//! Where an image is read from: archives and layouts on disk, archives on standard input, what a
//! Docker engine exports, and other registries.
//!
//! A source answers two questions and keeps no policy: which image is in it ([`Image`]), and what
//! the bytes of a blob are ([`Source::open_blob`], any blob, from any offset, as often as asked).

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
use std::sync::{Arc, PoisonError, RwLock};
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
pub use referrers::{Referrer, Referrers, cosign_tags, fallback_tag};
pub(crate) use spool::unpacked;
pub use tree::{RewrittenIndex, Selection, Tree, attestation_subject};

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
use referrers::ReferrerStore as _;
use registry::Remote;

/// How deep indexes may be nested. Docker nests one; nothing is known to nest more than two.
pub const MAX_DEPTH: usize = 8;

/// What a source holds, once it has been opened and checked.
#[derive(Clone, Debug)]
pub struct Image {
    /// The names that the source itself gives the image, as `docker save` writes them
    /// (`RepoTags`), or as an OCI layout annotates them; in the source's order, perhaps none.
    pub names: Vec<String>,
    /// What is odd about it and keeps nobody from pushing it, as sentences.
    pub notes: Vec<String>,
    /// The image's content.
    pub content: Content,
}

/// An image that has manifests, or one whose manifest has yet to be made.
#[derive(Clone, Debug)]
pub enum Content {
    /// The source has manifests with their layers as they are: these bytes are what is pushed.
    Manifests(Tree),
    /// The source has a config and layers, most of them uncompressed: a manifest must be made for
    /// them.
    Unpacked(UncompressedImage),
}

/// An image as `docker save` wrote it for decades: a config, and layers that are plain tar files.
#[derive(Clone, Debug)]
pub struct UncompressedImage {
    /// The image config's exact bytes.
    pub config: Bytes,
    /// The layers, lowest first, as the config's `rootfs.diff_ids` orders them.
    pub layers: Vec<UncompressedLayer>,
    /// The OCI manifest that the source has for this config with these layers as they are, which
    /// is what is to be pushed when nothing is to be compressed. Docker 25 and later write one.
    pub manifest: Option<Manifest>,
}

/// One layer of an [`UncompressedImage`] image; [`Source::open_blob`] takes its `diff_id` as the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncompressedLayer {
    /// The digest of the uncompressed tar, as the config states it.
    pub diff_id: Digest,
    /// The bytes that the source holds, whatever their form.
    pub size: u64,
    /// How the source holds it.
    pub form: LayerFormat,
}

/// How a layer of an [`UncompressedImage`] image is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerFormat {
    /// As an uncompressed tar: what its bytes hash to is the diff ID.
    Tar,
    /// In gzip, as kaniko, jib and Bazel store layers. It can be sent as it is; its digest is that
    /// of these bytes, and nobody has told it yet ([`Source::hash`] does).
    Gzip,
    /// In zstd, likewise.
    Zstd,
    /// Not at all, or not to be passed on: the manifest is to name it by this descriptor.
    Foreign(Descriptor),
}

/// An opened image: what is in it, and a way to its bytes. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    /// The source's name in messages.
    what: String,
    image: Image,
    blobs: Blobs,
}

/// Where the bytes of the blobs are.
enum Blobs {
    /// On this machine; with the layout, where it is one.
    Places(RwLock<HashMap<Digest, ByteRange>>, Option<Arc<OpenLayout>>),
    /// In a registry, each with its size.
    Remote(Remote, RwLock<HashMap<Digest, u64>>),
}

/// What each kind of source makes.
struct Opened {
    image: Image,
    blobs: HashMap<Digest, ByteRange>,
    /// Where what refers to the image may lie as well.
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
    /// Opens an image, and checks everything about it but the bytes of its layers.
    ///
    /// What has to be unpacked or copied first (an archive that is compressed as a whole, a pipe, an
    /// engine's export) goes to an unnamed file in `spool_directory`, which is gone when the last
    /// clone of the source is.
    ///
    /// # Errors
    ///
    /// When there is no image, or not one that can be pushed: see [`SourceError`].
    pub async fn open(
        source: &ImageSource,
        network: &Network,
        spool_directory: &Path,
    ) -> Result<Self, SourceError> {
        let spool = spool_directory.to_owned();
        match source.clone() {
            ImageSource::DockerDaemon(image) => docker_engine::open(&image, network, spool).await,
            ImageSource::DockerArchive(path, reference) => {
                Self::opened(move || {
                    open::archive_file(path, ArchiveKind::Docker, reference, &spool)
                })
                .await
            }
            ImageSource::OciArchive(path, reference) => {
                Self::opened(move || open::archive_file(path, ArchiveKind::Oci, reference, &spool))
                    .await
            }
            ImageSource::OciLayout(path, reference) => {
                Self::opened(move || open::layout(&path, reference)).await
            }
            ImageSource::Path(path) => Self::opened(move || open::path(path, &spool)).await,
            ImageSource::StandardInput(kind, reference) => {
                Self::opened(move || open::standard_input(kind, reference, &spool)).await
            }
        }
    }

    /// Opens an archive that is no file: a reader that gives the bytes of any kind of archive,
    /// compressed or not. `what` names it in messages; `reference` is as for an archive file.
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
        Self::opened(move || archive.copied(input, &spool_directory)).await
    }

    /// On a thread of its own, which may wait for a pipe for ever: a runtime that is shut down
    /// would wait for its blocking threads.
    async fn opened(
        open: impl FnOnce() -> Result<(String, Opened), SourceError> + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (send, receive) = oneshot::channel();
        let failed = |cause| SourceError::read("the image", cause);
        thread::Builder::new()
            .name("open image".to_owned())
            // Nobody may be waiting any more.
            .spawn(move || send.send(open()).is_ok())
            .map_err(failed)?;
        let (what, opened) = receive
            .await
            .map_err(|_| failed(std::io::Error::other("the thread that opened it panicked")))??;
        Ok(Self {
            inner: Arc::new(Inner {
                what,
                image: opened.image,
                blobs: Blobs::Places(RwLock::new(opened.blobs), opened.layout.map(Arc::new)),
            }),
        })
    }

    /// Opens what a registry holds: the image's manifests are read now, without those of platforms
    /// that are not wanted, and its blobs as they are needed. Nothing touches the disk.
    ///
    /// # Errors
    ///
    /// When there is no such image, or the registry does not hand it out.
    pub async fn open_remote(
        registry: Arc<Registry>,
        reference: &Reference,
        wanted: &Platforms,
    ) -> Result<Self, SourceError> {
        let (remote, image) = registry::open(registry, reference, wanted).await?;
        let sizes = match &image.content {
            Content::Manifests(tree) => tree.blobs().map(|b| (b.digest.clone(), b.size)).collect(),
            Content::Unpacked(_) => HashMap::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                what: remote.what().to_owned(),
                image,
                blobs: Blobs::Remote(remote, RwLock::new(sizes)),
            }),
        })
    }

    /// What is in it.
    pub fn image(&self) -> &Image {
        &self.inner.image
    }

    /// How messages call the source: its path in backticks, or `standard input`.
    pub fn what(&self) -> &str {
        &self.inner.what
    }

    /// Where a blob is on this machine.
    fn place(&self, digest: &Digest) -> Option<ByteRange> {
        match &self.inner.blobs {
            Blobs::Places(places, _) => {
                let places = places.read().unwrap_or_else(PoisonError::into_inner);
                places.get(digest).cloned()
            }
            Blobs::Remote(..) => None,
        }
    }

    /// The registry and the repository that it is in; none for what is on this machine.
    pub fn repository(&self) -> Option<(&Endpoint, &str)> {
        match &self.inner.blobs {
            Blobs::Places(..) => None,
            Blobs::Remote(remote, _) => Some(remote.repository()),
        }
    }

    /// True for a directory.
    pub(crate) fn is_directory(&self) -> bool {
        match &self.inner.blobs {
            Blobs::Places(_, Some(layout)) => layout.files.is_directory(),
            Blobs::Places(_, None) | Blobs::Remote(..) => false,
        }
    }

    /// How many bytes the source holds of a blob; none when it does not hold it.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        match &self.inner.blobs {
            Blobs::Places(..) => self.place(digest).map(|place| place.size),
            Blobs::Remote(_, sizes) => {
                let sizes = sizes.read().unwrap_or_else(PoisonError::into_inner);
                sizes.get(digest).copied()
            }
        }
    }

    /// The bytes of a blob from `offset` on: a config or layer by its digest, a layer of an
    /// [`UncompressedImage`] image by its diff ID. Readers do not disturb each other.
    ///
    /// # Errors
    ///
    /// When the image has no such blob, or not that many bytes of it; when its file cannot be
    /// opened. What goes wrong later is an error of the stream.
    pub async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<ByteStream, SourceError> {
        let size = self.blob_size(digest).filter(|size| offset <= *size);
        let size = size.ok_or_else(|| self.no_blob(digest, offset))?;
        if let Blobs::Remote(remote, _) = &self.inner.blobs {
            return remote.open_blob(digest, offset, size).await;
        }
        let place = self.place(digest);
        let place = place.ok_or_else(|| self.no_blob(digest, offset))?;
        let (start, end) = (place.offset + offset, place.offset + place.size);
        let file = self.file(place, digest).await?;
        Ok(file_reader::bytes(file, start, end))
    }

    /// Where a layer of an [`UncompressedImage`] image lies, by its diff ID, for readers that want to choose
    /// their own positions.
    ///
    /// # Errors
    ///
    /// When the image has no such layer, or its file cannot be opened.
    pub async fn layer(&self, diff_id: &Digest) -> Result<FileRange, SourceError> {
        let place = self.place(diff_id);
        let place = place.ok_or_else(|| self.no_blob(diff_id, 0))?;
        let (offset, size) = (place.offset, place.size);
        let file = self.file(place, diff_id).await?;
        Ok(FileRange::new(file, offset, size))
    }

    /// What the bytes of a blob hash to, now: to tell who is wrong when a registry says that a
    /// digest does not match.
    ///
    /// # Errors
    ///
    /// When the image has no such blob, or its bytes cannot be read.
    pub async fn hash(&self, digest: &Digest) -> Result<Digest, SourceError> {
        let Some(place) = self.place(digest) else {
            // A blob that is not there is told by who opens it.
            let mut hasher = Hasher::default();
            let mut bytes = self.open_blob(digest, 0).await?;
            let read = async {
                while let Some(piece) = bytes.try_next().await? {
                    hasher.update(&piece);
                }
                Ok(hasher.finish())
            };
            return read.await.map_err(|cause| self.read_error(digest, cause));
        };
        let (start, end) = (place.offset, place.offset + place.size);
        let file = self.file(place, digest).await?;
        spawn_blocking(move || file_reader::hash(&file, start, end))
            .await
            .map_err(std::io::Error::other)
            .and_then(|result| result)
            .map_err(|cause| self.read_error(digest, cause))
    }

    async fn file(&self, place: ByteRange, digest: &Digest) -> Result<Arc<File>, SourceError> {
        spawn_blocking(move || place.open())
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
