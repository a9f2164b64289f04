//! Pushes one image to its destinations: blobs, then manifests, then indexes, then tags.
//!
//! A manifest is put only after all blobs and child manifests that it names are at the destination.
//! An interrupted run therefore leaves no tag on an incomplete image.

pub mod blob_locations;
mod blobs;
pub mod broadcast;
pub mod compress;
pub mod destinations;
pub mod distribute;
mod error;
pub mod job;
mod line;
pub mod manifest_builder;
mod manifests;
mod notes;
pub mod open_files;
mod options;
pub mod preflight;
pub mod prepare;
pub mod probe;
pub mod publish;
pub mod referrers_tag;
pub mod result;
mod reuse;
pub mod selection;
pub mod tag_log;
pub mod tag_policy;
pub mod transfer_stats;
pub mod upload;
pub mod upload_slots;
pub mod verify;

use std::sync::Arc;

use futures_util::FutureExt as _;

pub use blob_locations::BlobLocations;
use distribute::wait_for_required;
pub use error::PushError;
pub use options::{PushOptions, Settings};
pub use tag_log::{TagLog, TagState};
pub use transfer_stats::TransferStats;
pub use upload_slots::UploadSlots;

use crate::diagnostics::render::one_line;
use crate::image::{Referrers, RewrittenIndex, Source, Tree, UncompressedImage};
use crate::oci::digest::Digest;
use crate::oci::manifest::Index;
use crate::oci::platform::Platforms;
use crate::push::selection::Attestations;
use crate::registry::Registry;
use blobs::Blobs;
use distribute::PushPlan;
use selection::{check_platform, existing_manifests, select_platforms};

/// A repository that the image is pushed to, and its tags there.
#[derive(Clone)]
pub struct Destination {
    /// The client of the destination's registry.
    pub registry: Arc<Registry>,
    /// The repository path, without the host.
    pub repository: String,
    /// The tags. Empty if the image is pushed by digest only.
    pub tags: Vec<String>,
    /// Whether other destinations do not wait for it and its failure does not fail the run.
    pub best_effort: bool,
    /// The state of every tag of the run.
    pub tag_log: TagLog,
    /// The transfers of this push to the destination.
    pub stats: TransferStats,
}

impl Destination {
    /// Returns `host/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry.endpoint(), self.repository)
    }
}

/// The result of a push at one destination.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// `host/repository`.
    pub name: String,
    /// The tags of the destination, and whether this push moved each.
    pub tags: Vec<PushedTag>,
    /// The digest that the tags point at.
    pub digest: Digest,
    /// The bytes of the blobs that were sent. A blob that was sent twice counts twice.
    pub sent_bytes: u64,
    /// The bytes of the blobs that were mounted from another repository of the registry.
    pub mounted_bytes: u64,
    /// The bytes of the blobs that the repository already had.
    pub present_bytes: u64,
    /// The number of blobs that were read from the source again for this destination, and their
    /// bytes.
    pub reread: (u64, u64),
    /// The number of referrers of the image at the destination; in a dry run, after a real push.
    pub referrers: usize,
    /// The tags of those referrers that have one, with their digests.
    pub referrer_tags: Vec<(String, Digest)>,
}

/// A tag after the push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag, without the repository.
    pub tag: String,
    /// Whether this push moved the tag. False if it pointed at the digest before, or is kept.
    pub moved: bool,
    /// The other digest that it still points at, if `existing_tag` is `keep`.
    pub kept: Option<Digest>,
}

/// The pushed manifests, and the result at each destination.
pub struct Outcome {
    /// The pushed manifests; the referrers are among the children. `None` if every destination
    /// failed before the manifests were built.
    pub tree: Option<Tree>,
    /// Changes to the source's manifests and what is unusual about the image, as sentences.
    pub notes: Vec<String>,
    /// One result per destination, in their order.
    pub destinations: Vec<Result<Pushed, PushError>>,
}

/// Pushes the image of `source` to every destination. A failed destination does not stop the
/// others.
///
/// Several pushes of one process share `locations`, which records the blobs of each repository.
///
/// A reused layer of an earlier image may have been garbage-collected, or may not be readable. All
/// layers are then compressed again for all destinations, so that they get the same digest.
///
/// # Errors
///
/// If the source cannot be read or its layers cannot be compressed. No tag is set in that case.
pub async fn push(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
    locations: &Arc<BlobLocations>,
) -> Result<Outcome, PushError> {
    let pushing = push_once(source, destinations, settings, locations);
    let outcome = Box::pin(pushing).await?;
    let mut failed = outcome
        .destinations
        .iter()
        .filter_map(|it| it.as_ref().err());
    let Some(error) = failed.find(|error| error.is_caused_by_reuse()) else {
        return Ok(outcome);
    };
    tracing::info!("{}; every layer is made anew", one_line(error));
    let mut settings = settings.clone();
    settings.options.layer_reuse = false;
    Box::pin(push_once(source, destinations, &settings, locations)).await
}

/// Returns the digest that the tags will point at. `None` if the manifest has to be built first, or
/// the image cannot be read.
pub async fn resulting_digest(source: &Source, settings: &Settings) -> Option<Digest> {
    let tree = existing_manifests(source.image(), settings).ok()?;
    let selected = select_platforms(source, &tree, settings).await.ok()?;
    Some(selected.tree.root.digest().clone())
}

/// Predicts what a push of `index` selects if all its children exist: the digest that the tags will
/// point at, and the digests of the existing manifests (the index and its children) that are
/// pushed. `None` if the index alone does not determine that: it names another index, or no
/// requested image.
pub fn predict_index(index: &Index, settings: &Settings) -> Option<(Digest, Vec<Digest>)> {
    let selected = selection::select_from_index(&Tree::predicted(index)?, settings).ok()?;
    let root = selected.tree.root.digest().clone();
    let is_kept =
        |digest: &&Digest| **digest == root || selected.tree.children.contains_key(*digest);
    let children = index.manifests.iter().map(|child| &child.digest);
    let kept = std::iter::once(&index.digest)
        .chain(children)
        .filter(is_kept);
    let kept = kept.cloned().collect();
    Some((root, kept))
}

/// Returns whether an image is pushed unchanged, with all its platforms and attestations.
pub fn is_unfiltered(settings: &Settings) -> bool {
    settings.options.platforms == Platforms::All
        && settings.options.attestations != Some(Attestations::Strip)
}

/// Pushes without the second attempt of [`push`].
async fn push_once(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
    locations: &Arc<BlobLocations>,
) -> Result<Outcome, PushError> {
    if settings.options.referrers {
        source
            .check_referrers_supported()
            .map_err(PushError::Source)?;
    }
    match existing_manifests(source.image(), settings) {
        Ok(tree) => {
            let selected = select_platforms(source, &tree, settings).await?;
            let mut notes = source.image().notes.clone();
            notes.extend(selected.smaller.iter().map(RewrittenIndex::to_string));
            notes.extend(notes::of_tree(&selected.tree));
            let referrers = if settings.options.referrers {
                source
                    .referrers(&selected.tree)
                    .await
                    .map_err(PushError::Source)?
            } else {
                Referrers::default()
            };
            let rewritten = selected.smaller.filter(|_| settings.options.referrers);
            notes.extend(rewritten.map(|rewritten| {
                format!(
                    "what refers to the index {} itself stays behind",
                    rewritten.from
                )
            }));
            notes.extend(referrers.notes.iter().cloned());
            let trees = referrers.all.iter().map(|referrer| &referrer.tree);
            let named = selected.tree.blobs().chain(trees.flat_map(Tree::blobs));
            let blobs = blobs::named(named, source);
            if let Some((endpoint, repository)) = source.repository() {
                for blob in &blobs {
                    locations.record(endpoint, repository, &blob.digest);
                }
            }
            record_base_images(source, &selected.tree, &blobs, locations).await;
            let plan = PushPlan {
                tree: &selected.tree,
                referrers: &referrers,
                blobs: &blobs,
                settings,
                locations,
            };
            let digest = selected.tree.root.digest();
            let probes = destinations
                .iter()
                .map(|destination| destination.probe(digest).boxed());
            let probes = probes.collect();
            let destinations = distribute::distribute(&plan, destinations, probes).await;
            let mut tree = selected.tree;
            let manifests = referrers.manifests();
            tree.children
                .extend(manifests.map(|one| (one.digest().clone(), one.clone())));
            Ok(Outcome {
                tree: Some(tree),
                notes,
                destinations,
            })
        }
        Err(image) => push_uncompressed(source, image, destinations, settings, locations).await,
    }
}

/// Records the base images' repositories as possible locations of the layers that the source lacks.
async fn record_base_images(
    source: &Source,
    tree: &Tree,
    blobs: &Blobs,
    locations: &BlobLocations,
) {
    let absent: Vec<_> = blobs.iter().filter(|blob| blob.is_absent()).collect();
    if absent.is_empty() {
        return;
    }
    for base in source.base_images(tree).await {
        for blob in &absent {
            locations.record_candidate(&base.endpoint, &base.repository, &blob.digest);
        }
    }
}

/// Pushes an image whose layers are compressed first. The layers to reuse depend on the first
/// required repository of each registry. The other repositories mount or read the blobs from there.
async fn push_uncompressed(
    source: &Source,
    image: &UncompressedImage,
    destinations: &[Destination],
    settings: &Settings,
    locations: &Arc<BlobLocations>,
) -> Result<Outcome, PushError> {
    check_platform(&image.config, &settings.options.platforms)?;
    let policy = tag_policy::apply_tag_policy(image, destinations, settings.options.existing_tag);
    let decided = policy.boxed().await;
    if decided.iter().any(Option::is_some) {
        let is_decided: Vec<_> = decided.iter().map(Option::is_some).collect();
        let open = destinations.iter().zip(&is_decided).filter(|(_, is)| !**is);
        let open: Vec<_> = open.map(|(destination, _)| destination.clone()).collect();
        let rest = if open.is_empty() {
            None
        } else {
            let rest = push_uncompressed(source, image, &open, settings, locations);
            Some(Box::pin(rest).await?)
        };
        return Ok(merge_outcomes(
            &is_decided,
            decided.into_iter().flatten(),
            rest,
        ));
    }
    let required = distribute::required(destinations);
    let is_primary = distribute::first_of_registry(destinations, &required);
    let pairs = destinations.iter().zip(&is_primary);
    let (primary, others): (Vec<_>, Vec<_>) = pairs.partition(|(_, is_primary)| **is_primary);
    let clones = |pairs: Vec<(&Destination, &bool)>| -> Vec<Destination> {
        pairs
            .into_iter()
            .map(|(destination, _)| destination.clone())
            .collect()
    };
    let (primary, others) = (clones(primary), clones(others));
    let compressed = prepare::compress_and_upload(source, image, &primary, settings).await?;
    let is_reached =
        |(destination, state): (_, &Result<_, _>)| state.is_ok().then_some(destination);
    let mount_source = primary
        .iter()
        .zip(&compressed.states)
        .find_map(is_reached)
        .cloned();
    let mut states = compressed.states.into_iter();
    let (Some((tree, blobs)), Some(mount_source)) = (compressed.image, mount_source) else {
        let failed = states.filter_map(Result::err).map(Err);
        let rest = if others.is_empty() {
            None
        } else {
            let rest = push_uncompressed(source, image, &others, settings, locations);
            Some(Box::pin(rest).await?)
        };
        return Ok(merge_outcomes(&is_primary, failed, rest));
    };
    let blobs = if others.is_empty() {
        blobs
    } else {
        distribute::read_present_from(&blobs, &mount_source)
    };
    let plan = PushPlan {
        tree: &tree,
        referrers: &Referrers::default(),
        blobs: &blobs,
        settings,
        locations,
    };
    let digest = tree.root.digest();
    let probes = destinations
        .iter()
        .zip(&is_primary)
        .map(
            |(destination, is_primary)| match is_primary.then(|| states.next()).flatten() {
                Some(state) => distribute::known_state(state),
                None => destination.probe(digest).boxed(),
            },
        );
    let probes = probes.collect();
    let mut results = distribute::distribute(&plan, destinations, probes).await;
    let mut notes = source.image().notes.clone();
    notes.extend(notes::of_tree(&tree));
    let oci_push = match compressed.oci_tree {
        Some(oci_tree) => {
            let plan = PushPlan {
                tree: &oci_tree,
                ..plan
            };
            let note = retry_as_oci(&plan, destinations, &mut results).await;
            note.map(|note| (oci_tree, note))
        }
        None => None,
    };
    let tree = match oci_push {
        Some((oci_tree, note)) => {
            notes.push(note);
            oci_tree
        }
        None => tree,
    };
    Ok(Outcome {
        tree: Some(tree),
        notes,
        destinations: results,
    })
}

/// Pushes the OCI manifest to the destinations that refused the Docker manifest. If one of them
/// accepts it, the other destinations get the OCI manifest too, so that all have the same digest.
/// Returns a note about it. `None` if nothing changed.
async fn retry_as_oci(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    results: &mut [Result<Pushed, PushError>],
) -> Option<String> {
    let may_be_refused = |result: &Result<Pushed, PushError>| {
        let error = result.as_ref().err();
        error.is_some_and(PushError::may_reject_docker_manifest)
    };
    let refused: Vec<_> = (0..results.len())
        .filter(|index| may_be_refused(&results[*index]))
        .collect();
    let succeeded: Vec<_> = (0..results.len())
        .filter(|index| results[*index].is_ok())
        .collect();
    let mut accepted_by = Vec::new();
    for (index, result) in distribute_to(plan, destinations, &refused).await {
        // If the registry refuses the OCI manifest too, the first error is reported.
        if result.is_ok() || !may_be_refused(&result) {
            accepted_by.push(format!("`{}`", destinations[index].name()));
            results[index] = result;
        }
    }
    if accepted_by.is_empty() {
        return None;
    }
    for (index, result) in distribute_to(plan, destinations, &succeeded).await {
        results[index] = result;
    }
    let verb = if accepted_by.len() == 1 {
        "takes"
    } else {
        "take"
    };
    let note = format!(
        "{} {verb} no manifest in Docker's form: the image is pushed in OCI's, with the same layers",
        accepted_by.join(", ")
    );
    tracing::info!("{note}");
    Some(note)
}

/// Pushes an image to the destinations with these indexes. Returns each result with its index.
async fn distribute_to(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    indexes: &[usize],
) -> Vec<(usize, Result<Pushed, PushError>)> {
    if indexes.is_empty() {
        return Vec::new();
    }
    let selected: Vec<_> = indexes
        .iter()
        .map(|index| destinations[*index].clone())
        .collect();
    let digest = plan.tree.root.digest();
    let probes = selected
        .iter()
        .map(|destination| destination.probe(digest).boxed());
    let probes = probes.collect();
    let results = distribute::distribute(plan, &selected, probes).await;
    indexes.iter().copied().zip(results).collect()
}

/// Merges the results of the destinations that are marked in `first` with those of the others, in
/// the order of all destinations.
fn merge_outcomes(
    first: &[bool],
    mut results: impl Iterator<Item = Result<Pushed, PushError>>,
    mut rest: Option<Outcome>,
) -> Outcome {
    let mut others = rest.iter_mut().flat_map(|rest| rest.destinations.drain(..));
    let destinations = first.iter().filter_map(|is_first| {
        if *is_first {
            results.next()
        } else {
            others.next()
        }
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
