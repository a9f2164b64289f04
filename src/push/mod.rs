//! Puts one image where it should be: blobs first, then manifests, then indexes, tags last.
//!
//! No manifest is put before every blob and child that it names is known to be there, so a run that
//! dies leaves no tag on a broken image.

mod blobs;
mod delivery;
mod fallback;
mod fan_out;
mod holdings;
mod homes;
mod journal;
mod manifests;
mod pack;
mod plan;
mod reuse;
mod shared_read;
pub mod targets;
mod written;

pub use journal::{Journal, TagState};

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, TryStreamExt as _};

pub use holdings::Holdings;
pub(crate) use homes::in_time;

use crate::compress::CompressError;
use crate::config::{Attestations, Compression, Concurrency, ExistingTag, Platforms};
use crate::digest::Digest;
use crate::error::{ExitCode, Hint, harmless};
use crate::manifest::{AnyManifest, Descriptor, MAX_MANIFEST_SIZE, ManifestError, Platform};
use crate::progress::Progress;
use crate::registry::{Registry, RegistryError, Retry, Retryable};
use crate::source::{
    Companions, Content, Image, Part, Smaller, Source, SourceError, Tree, Unpacked, attested,
};
use homes::Shipment;

/// One repository that the image goes to, and the tags that it gets there.
#[derive(Clone)]
pub struct Destination {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The path below it.
    pub repository: String,
    /// The tags, at least one.
    pub tags: Vec<String>,
    /// True where nobody waits for it and its failure fails nothing.
    pub best_effort: bool,
    /// What has become of them.
    pub journal: Journal,
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
    /// What is done to BuildKit's attestations; they are kept if nothing is said, but for an image
    /// of one platform that was asked for by name.
    pub attestations: Option<Attestations>,
    /// Whether what refers to the image goes along with it.
    pub referrers: bool,
    /// Whether it is only found out what would be done.
    pub dry_run: bool,
    /// What is done to a tag that is there with another digest.
    pub existing_tag: ExistingTag,
    /// How long those that nobody waits for may stand still once the others are done.
    pub patience: Duration,
    /// Where compressed layers are spooled.
    pub temporary_directory: PathBuf,
    /// Counts the bytes for whoever watches.
    pub progress: Progress,
    /// What has become of every tag.
    pub journal: Journal,
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
    /// The bytes of blobs that were mounted from another repository of the registry.
    pub mounted_bytes: u64,
    /// The bytes of blobs that were there already.
    pub present_bytes: u64,
    /// The blobs, and their bytes, that had to be read from the source again for it.
    pub reread: (u64, u64),
    /// How many manifests that refer to the image are there too.
    pub referrers: usize,
    /// The tags that some of those are found by, and their digests.
    pub referrer_tags: Vec<(String, Digest)>,
}

/// A tag after the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag.
    pub tag: String,
    /// False when it already pointed at this digest, or stays where it is.
    pub moved: bool,
    /// The other digest that it stays at, where `existing_tag` has it kept.
    pub kept: Option<Digest>,
}

/// What was pushed, and what came of each destination, in their order.
pub struct Outcome {
    /// The manifests as they were pushed, with those that refer to the image among the children; none
    /// when every destination failed before they were
    /// made.
    pub tree: Option<Tree>,
    /// What had to become of the source's manifests, as sentences.
    pub notes: Vec<String>,
    /// One result a destination.
    pub destinations: Vec<Result<Pushed, PushError>>,
}

/// Pushes the image of `source` to every destination. One that fails does not stop the others.
///
/// It may be called many times in one process, with the same registries: `holdings` keeps what is
/// learned of them.
///
/// A layer that was taken over from an earlier image and has been collected since is in nobody's
/// hands: then every layer is made anew, for all destinations, so that they get one digest.
///
/// # Errors
///
/// When the source cannot be read or its layers cannot be made ready: then nothing was tagged
/// anywhere.
pub async fn push(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
    holdings: &Arc<Holdings>,
) -> Result<Outcome, PushError> {
    let outcome = push_once(source, destinations, settings, holdings).await?;
    let has_vanished = |result: &Result<_, _>| matches!(result, Err(PushError::Vanished(_)));
    if !outcome.destinations.iter().any(has_vanished) {
        return Ok(outcome);
    }
    tracing::info!("a layer of an earlier image is gone: every layer is made anew");
    let settings = Settings {
        layer_reuse: false,
        ..settings.clone()
    };
    push_once(source, destinations, &settings, holdings).await
}

async fn push_once(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
    holdings: &Arc<Holdings>,
) -> Result<Outcome, PushError> {
    match as_it_is(source.image(), settings) {
        Ok(tree) => {
            let part = chosen(source, &tree, settings).await?;
            let mut notes: Vec<_> = part.smaller.iter().map(Smaller::to_string).collect();
            let companions = match settings.referrers {
                true => source
                    .companions(&part.tree)
                    .await
                    .map_err(PushError::Source)?,
                false => Companions::default(),
            };
            notes.extend(part.smaller.filter(|_| settings.referrers).map(|smaller| {
                format!(
                    "what refers to the index {} itself stays behind",
                    smaller.from
                )
            }));
            notes.extend(companions.notes.iter().cloned());
            let trees = companions.all.iter().map(|companion| &companion.tree);
            let named = part.tree.blobs().chain(trees.flat_map(Tree::blobs));
            let blobs = blobs::named(named, source);
            if let Some((endpoint, repository)) = source.repository() {
                for blob in &blobs {
                    holdings.note(endpoint, repository, &blob.digest);
                }
            }
            let shipment = Shipment {
                tree: &part.tree,
                companions: &companions,
                blobs: &blobs,
                settings,
                holdings,
            };
            let digest = part.tree.root.digest();
            let looking = destinations
                .iter()
                .map(|destination| destination.look_and_learn(digest).boxed());
            let looking = looking.collect();
            let destinations = homes::bring(&shipment, destinations, looking).await;
            let mut tree = part.tree;
            let carried = companions.manifests();
            tree.children
                .extend(carried.map(|one| (one.digest().clone(), one.clone())));
            Ok(Outcome {
                tree: Some(tree),
                notes,
                destinations,
            })
        }
        Err(unpacked) => push_unpacked(source, unpacked, destinations, settings, holdings).await,
    }
}

/// The same for an image that has to be made first. What decides how it is made is what the first
/// repository of each registry has, of those that are waited for; the others take it from there.
async fn push_unpacked(
    source: &Source,
    unpacked: &Unpacked,
    destinations: &[Destination],
    settings: &Settings,
    holdings: &Arc<Holdings>,
) -> Result<Outcome, PushError> {
    check_platform(&unpacked.config, &settings.platforms)?;
    let first = homes::pacing(destinations);
    let first = homes::first_of_registry(destinations, &first);
    let pairs = destinations.iter().zip(&first);
    let (waited_for, others): (Vec<_>, Vec<_>) = pairs.partition(|(_, is_first)| **is_first);
    let clones = |pairs: Vec<(&Destination, &bool)>| -> Vec<Destination> {
        pairs
            .into_iter()
            .map(|(destination, _)| destination.clone())
            .collect()
    };
    let (waited_for, others) = (clones(waited_for), clones(others));
    let packed = pack::pack_and_send(source, unpacked, &waited_for, settings).await?;
    let is_reached =
        |(destination, standing): (_, &Result<_, _>)| standing.is_ok().then_some(destination);
    let giver = waited_for
        .iter()
        .zip(&packed.standings)
        .find_map(is_reached)
        .cloned();
    let mut standings = packed.standings.into_iter();
    let (Some((tree, blobs)), Some(giver)) = (packed.image, giver) else {
        let failed = standings.filter_map(Result::err).map(Err).collect();
        let rest = match others.is_empty() {
            true => None,
            false => {
                let rest = push_unpacked(source, unpacked, &others, settings, holdings);
                Some(Box::pin(rest).await?)
            }
        };
        return Ok(joined(&first, failed, rest));
    };
    let blobs = match others.is_empty() {
        true => blobs,
        false => homes::for_others(&blobs, &giver),
    };
    let shipment = Shipment {
        tree: &tree,
        companions: &Companions::default(),
        blobs: &blobs,
        settings,
        holdings,
    };
    let digest = tree.root.digest();
    let looking = destinations
        .iter()
        .zip(&first)
        .map(
            |(destination, is_first)| match is_first.then(|| standings.next()).flatten() {
                Some(standing) => homes::looked(standing),
                None => destination.look_and_learn(digest).boxed(),
            },
        );
    let looking = looking.collect();
    let destinations = homes::bring(&shipment, destinations, looking).await;
    Ok(Outcome {
        tree: Some(tree),
        notes: Vec::new(),
        destinations,
    })
}

/// What came of the first ones and of the others, in the order of all.
fn joined(
    first: &[bool],
    failed: Vec<Result<Pushed, PushError>>,
    rest: Option<Outcome>,
) -> Outcome {
    let (mut failed, mut rest) = (failed.into_iter(), rest);
    let mut others = rest.iter_mut().flat_map(|rest| rest.destinations.drain(..));
    let destinations = first.iter().filter_map(|is_first| match is_first {
        true => failed.next(),
        false => others.next(),
    });
    let destinations = destinations.collect();
    drop(others);
    let (tree, notes) = rest.map(|rest| (rest.tree, rest.notes)).unwrap_or_default();
    Outcome {
        tree,
        notes,
        destinations,
    }
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
async fn chosen(source: &Source, tree: &Tree, settings: &Settings) -> Result<Part, PushError> {
    let wanted = match &settings.platforms {
        Platforms::All => None,
        Platforms::Only(wanted) => Some(wanted.as_slice()),
    };
    if let AnyManifest::Manifest(manifest) = &tree.root {
        if wanted.is_some() {
            let config = small_blob(source, &manifest.config).await?;
            check_platform(&config, &settings.platforms)?;
        }
        return Ok(tree.present());
    }
    let strips = match settings.attestations {
        Some(attestations) => attestations == Attestations::Strip,
        None => wanted.is_some_and(|wanted| wanted.len() == 1),
    };
    // What names no platform is no image for one, but an attestation goes with its image.
    let is_wanted = |child: &Descriptor| match (attested(child), wanted) {
        (Some(_), _) => !strips,
        (None, None) => true,
        (None, Some(wanted)) => {
            let platform = child.platform.as_ref();
            platform.is_some_and(|has| wanted.iter().any(|wanted| has.fits(wanted)))
        }
    };
    let part = tree.keep(is_wanted);
    let Some(wanted) = wanted else {
        return Ok(part.unwrap_or_else(|| tree.present()));
    };
    let present = tree.platforms();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|wanted| !present.iter().any(|has| has.fits(wanted)))
        .map(Platform::to_string)
        .collect();
    match part {
        Some(part) if missing.is_empty() => Ok(part),
        _ => Err(PushError::NoPlatform {
            missing,
            present: present.iter().map(Platform::to_string).collect(),
        }),
    }
}

/// Refuses an image that says in its config that it is for another platform than those that are
/// asked for.
fn check_platform(config: &[u8], platforms: &Platforms) -> Result<(), PushError> {
    let (Platforms::Only(wanted), Ok(has)) =
        (platforms, serde_json::from_slice::<Platform>(config))
    else {
        return Ok(());
    };
    if has.os.is_empty() || wanted.iter().any(|wanted| has.fits(wanted)) {
        return Ok(());
    }
    Err(PushError::NoPlatform {
        missing: wanted.iter().map(Platform::to_string).collect(),
        present: vec![harmless(&has.to_string())],
    })
}

/// The bytes of a blob of the source that is no larger than a manifest; none of another.
async fn small_blob(source: &Source, blob: &Descriptor) -> Result<Vec<u8>, PushError> {
    if blob.size > MAX_MANIFEST_SIZE {
        return Ok(Vec::new());
    }
    let bytes = source
        .open_blob(&blob.digest, 0)
        .await
        .map_err(PushError::Source)?;
    let pieces: Vec<bytes::Bytes> = bytes
        .try_collect()
        .await
        .map_err(|cause| PushError::Source(SourceError::read(source.what(), cause)))?;
    Ok(pieces.concat())
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
    /// A tag that is there with another digest, where that was not to be.
    #[error("`{reference}` is there already, as {found}, not {digest}")]
    TagTaken {
        /// The tag with its repository.
        reference: String,
        /// Where it points.
        found: Digest,
        /// Where it was to point.
        digest: Digest,
    },
    /// A destination that nobody waits for fell behind the others; it gets the blob later.
    #[error("it fell behind the others")]
    Behind,
    /// A destination that nobody waits for was given up.
    #[error(
        "`{destination}` was given up: nothing had moved for {} s since the others were done",
        after.as_secs()
    )]
    Late {
        /// `host/repository`.
        destination: String,
        /// How long it stood still.
        after: Duration,
    },
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
            Self::TagTaken { .. } => ExitCode::Failed,
            Self::Vanished(_) | Self::Changed { .. } | Self::Behind | Self::Late { .. } => {
                ExitCode::Temporary
            }
        }
    }
}

impl Retryable for PushError {
    fn retry(&self) -> Retry {
        match self {
            Self::Registry { cause, .. } => cause.retry(),
            // The image is sound, so it was changed on the way.
            Self::Changed { .. } => Retry::Twice,
            _ => Retry::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        if let Self::Registry { cause, .. } | Self::Changed { cause, .. } = &mut self {
            cause.note_tries(times, during);
        }
        self
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
            Self::TagTaken { .. } => vec![
                "`existing_tag: fail` has it so: push under a new tag, or choose `overwrite` or `keep`"
                    .to_owned(),
            ],
            Self::Late { .. } => vec!["run this again when it answers".to_owned()],
            Self::Manifest(_) | Self::Compress { .. } | Self::Behind => Vec::new(),
        }
    }
}
