//! Where an image is read from: archives and layouts on disk.
//!
//! A source answers two questions and keeps no policy: which image is in it ([`Image`]), and what
//! the bytes of a blob are ([`Source::open`], any blob, from any offset, as often as asked).

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::digest::Digest;
use crate::manifest::AnyManifest;

/// The bytes of a blob, in pieces, as they are read.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// What a source holds, once it has been opened and checked.
#[derive(Clone, Debug)]
pub struct Image {
    /// The names that the source itself gives the image, as `docker save` writes them
    /// (`RepoTags`), or as an OCI layout annotates them; in the source's order, perhaps none.
    pub names: Vec<String>,
    /// The image's content.
    pub content: Content,
}

/// An image that has manifests, or one whose manifest has yet to be made.
#[derive(Clone, Debug)]
pub enum Content {
    /// The source has manifests with their layers as they are: these bytes are what is pushed.
    Manifests(Tree),
    /// The source has a config and uncompressed layers: a manifest must be made for them.
    Unpacked(Unpacked),
}

/// A manifest or index, with every manifest below it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// What a tag will point at.
    pub root: AnyManifest,
    /// Every manifest below an index, by digest, children before the indexes that name them being
    /// the caller's concern; empty under a plain manifest.
    pub children: HashMap<Digest, AnyManifest>,
}

/// An image as `docker save` wrote it for decades: a config, and layers that are plain tar files.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The image config's exact bytes.
    pub config: Bytes,
    /// The layers, lowest first, as the config's `rootfs.diff_ids` orders them.
    pub layers: Vec<UnpackedLayer>,
}

/// One layer of an [`Unpacked`] image; [`Source::open`] takes its `diff_id` as the digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedLayer {
    /// The digest of the uncompressed tar, as the config states it.
    pub diff_id: Digest,
    /// The bytes of the uncompressed tar.
    pub size: u64,
}
