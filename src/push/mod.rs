//! Puts one image where it should be: blobs first, then manifests, then indexes, tags last.
//!
//! No manifest is put before every blob and child that it names is known to be there, so a run that
//! dies leaves no tag on a broken image.

mod blobs;
mod manifests;
mod pack;
mod plan;
mod reuse;
pub mod targets;
mod written;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use crate::compress::CompressError;
use crate::config::{Compression, Concurrency, Platforms};
use crate::digest::Digest;
use crate::error::{ExitCode, Hint};
use crate::manifest::{AnyManifest, Descriptor, ManifestError, Platform};
use crate::progress::Progress;
use crate::registry::{Registry, RegistryError};
use crate::source::{Content, Image, Part, Source, SourceError, Tree, Unpacked, attested};

/// One repository that the image goes to, and the tags that it gets there.
pub struct Destination {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The path below it.
    pub repository: String,
    /// The tags, at least one.
    pub tags: Vec<String>,
}

impl Destination {
    /// `host/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry.endpoint(), self.repository)
    }
}

/// How a push is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which platforms of an index are pushed.
    pub platforms: Platforms,
    /// What is done to uncompressed layers.
    pub compression: Compression,
    /// Whether layers are taken over by their diff IDs from earlier images of the repository.
    pub layer_reuse: bool,
    /// Blobs in flight at once.
    pub concurrency: Concurrency,
    /// Where compressed layers are spooled.
    pub temporary_directory: PathBuf,
    /// Counts the bytes for whoever watches.
    pub progress: Progress,
}

/// What a push did at one destination.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `host/repository`.
    pub name: String,
    /// Every tag that points at the image now, and whether this push moved it there.
    pub tags: Vec<PushedTag>,
    /// What the tags point at.
    pub digest: Digest,
    /// The bytes of blobs that were sent.
    pub sent_bytes: u64,
    /// The bytes of blobs that were there already.
    pub present_bytes: u64,
}

/// A tag after the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag.
    pub tag: String,
    /// False when it already pointed at this digest.
    pub moved: bool,
}

/// What was pushed, and what came of each destination, in their order.
pub struct Outcome {
    /// The manifests as they were pushed; none when every destination failed before they were
    /// made.
    pub tree: Option<Tree>,
    /// What had to become of the source's manifests, as sentences.
    pub notes: Vec<String>,
    /// One result a destination.
    pub destinations: Vec<Result<Pushed, PushError>>,
}

/// Pushes the image of `source` to every destination. One that fails does not stop the others.
///
/// # Errors
///
/// When the source cannot be read or its layers cannot be made ready: then nothing was tagged
/// anywhere.
pub async fn push(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
) -> Result<Outcome, PushError> {
    let mut notes = Vec::new();
    let (image, standings) = match as_it_is(source.image(), settings) {
        Ok(tree) => {
            let part = chosen(&tree, &settings.platforms)?;
            notes.extend(part.smaller.map(|smaller| smaller.to_string()));
            let digest = part.tree.root.digest();
            let looking = destinations
                .iter()
                .map(|destination| destination.look_and_learn(digest));
            let standings = join_all(looking).await;
            let blobs = blobs::of_tree(&part.tree, source);
            (Some((part.tree, blobs)), standings)
        }
        Err(unpacked) => {
            let packed = pack::pack_and_send(source, unpacked, destinations, settings).await?;
            (packed.image, packed.standings)
        }
    };
    let Some((tree, blobs)) = image else {
        let failed = standings.into_iter().filter_map(Result::err);
        return Ok(Outcome {
            tree: None,
            notes,
            destinations: failed.map(Err).collect(),
        });
    };
    let deliveries = destinations
        .iter()
        .zip(standings)
        .map(|(destination, standing)| {
            let (tree, blobs) = (&tree, &blobs);
            async move { manifests::deliver(destination, tree, blobs, standing?, settings).await }
        });
    let destinations = join_all(deliveries).await;
    Ok(Outcome {
        tree: Some(tree),
        notes,
        destinations,
    })
}

/// The image's own manifests, where they can be pushed; else the layers that need a manifest.
fn as_it_is<'a>(image: &'a Image, settings: &Settings) -> Result<Tree, &'a Unpacked> {
    match &image.content {
        Content::Manifests(tree) => Ok(tree.clone()),
        Content::Unpacked(unpacked) => match (&unpacked.manifest, settings.compression) {
            (Some(manifest), Compression::None) => {
                Ok(Tree::of(AnyManifest::Manifest(manifest.clone())))
            }
            _ => Err(unpacked),
        },
    }
}

/// The part of the image that is there and asked for.
fn chosen(tree: &Tree, platforms: &Platforms) -> Result<Part, PushError> {
    let Platforms::Only(wanted) = platforms else {
        return Ok(tree.present());
    };
    let AnyManifest::Index(_) = &tree.root else {
        return Ok(tree.present());
    };
    // What names no platform is no image for one, but an attestation goes with its image.
    let is_wanted = |child: &Descriptor| {
        attested(child).is_some()
            || child
                .platform
                .as_ref()
                .is_some_and(|has| wanted.iter().any(|wanted| has.fits(wanted)))
    };
    let present = tree.platforms();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|wanted| !present.iter().any(|has| has.fits(wanted)))
        .map(Platform::to_string)
        .collect();
    match tree.keep(is_wanted) {
        Some(part) if missing.is_empty() => Ok(part),
        _ => Err(PushError::NoPlatform {
            missing,
            present: present.iter().map(Platform::to_string).collect(),
        }),
    }
}

/// An image that did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused, or the connection did not hold.
    #[error("could not push to `{destination}`")]
    Registry {
        /// `host/repository`, with the tag where one was being put.
        destination: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// The source could not be read.
    #[error("could not read the image")]
    Source(#[source] SourceError),
    /// A platform was asked for that the image does not have.
    #[error("the image is not there for {}, only for {}", .missing.join(", "), .present.join(", "))]
    NoPlatform {
        /// What was asked for.
        missing: Vec<String>,
        /// What the source holds.
        present: Vec<String>,
    },
    /// A layer's bytes are not the ones that the image names.
    #[error("{what} is damaged: the bytes of its layer `{stated}` hash to `{actual}`")]
    Damaged {
        /// The source, as messages call it.
        what: String,
        /// What the image says.
        stated: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// What arrived is not what was sent.
    #[error("a blob was changed on the way to `{destination}`")]
    Changed {
        /// `host/repository`.
        destination: String,
        /// What the registry said.
        #[source]
        cause: RegistryError,
    },
    /// A blob that an earlier image names is not there after all.
    #[error("the blob {0} of an earlier image is gone from the registry")]
    Vanished(Digest),
    /// The manifest that the image needs is none that a registry takes.
    #[error("could not write a manifest for the image")]
    Manifest(#[source] ManifestError),
    /// A layer could not be compressed.
    #[error("could not compress the layer `{diff_id}`")]
    Compress {
        /// The layer's diff ID.
        diff_id: Digest,
        /// Why.
        #[source]
        cause: CompressError,
    },
}

impl PushError {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry { cause, .. } => cause.exit_code(),
            Self::Source(cause) => cause.exit_code(),
            Self::Damaged { .. } | Self::Manifest(_) | Self::Compress { .. } => ExitCode::Failed,
            Self::NoPlatform { .. } => ExitCode::Usage,
            Self::Vanished(_) | Self::Changed { .. } => ExitCode::Temporary,
        }
    }
}

impl Hint for PushError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Registry { cause, .. } => cause.hints(),
            Self::Source(cause) => cause.hints(),
            Self::Damaged { .. } => vec![
                "write the archive again; if it was handed from job to job as an artifact, it may \
                 have been damaged on the way"
                    .to_owned(),
            ],
            Self::Changed { .. } => vec![
                "the image itself is sound: run this again; where it stays so, a proxy rewrites \
                 what goes through it"
                    .to_owned(),
            ],
            Self::NoPlatform { .. } => vec![
                "ask for those that are there in `platforms`; an archive may name platforms that it \
                 does not hold, and has to be saved from where they were built"
                    .to_owned(),
            ],
            Self::Vanished(_) => vec![
                "push again with `layer_reuse: off`, which sends every layer that is missing"
                    .to_owned(),
            ],
            Self::Compress {
                cause: CompressError::Spool { cause, .. },
                ..
            } if cause.kind() != io::ErrorKind::StorageFull => vec![
                "compressed layers need a folder that can be written to: name one in `TMPDIR`"
                    .to_owned(),
            ],
            Self::Compress {
                cause: CompressError::Spool { .. },
                ..
            } => vec![
                "compressed layers need room there: free some, or set `TMPDIR` to a larger disk"
                    .to_owned(),
            ],
            Self::Manifest(_) | Self::Compress { .. } => Vec::new(),
        }
    }
}
