//! Puts one image where it should be: blobs first, then manifests, then indexes, tags last.
//!
//! No manifest is put before every blob and child that it names is known to be there, so a run that
//! dies leaves no tag on a broken image.

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

/// One repository that the image goes to, and the tags that it gets there.
#[derive(Clone)]
pub struct Destination {
    /// The registry.
    pub registry: Arc<Registry>,
    /// The path below it.
    pub repository: String,
    /// The tags; none where the image is pushed by digest alone.
    pub tags: Vec<String>,
    /// True where nobody waits for it and its failure fails nothing.
    pub best_effort: bool,
    /// What has become of them.
    pub tag_log: TagLog,
    /// What this push does there.
    pub stats: TransferStats,
}

impl Destination {
    /// `host/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry.endpoint(), self.repository)
    }
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
    /// The bytes of blobs that were sent, as often as they were.
    pub sent_bytes: u64,
    /// The bytes of blobs that were mounted from another repository of the registry.
    pub mounted_bytes: u64,
    /// The bytes of blobs that were there already.
    pub present_bytes: u64,
    /// The blobs, and their bytes, that had to be read from the source again for it.
    pub reread: (u64, u64),
    /// How many manifests that refer to the image are there too, or would be.
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
    /// The manifests as they were pushed, with those that refer to the image among the children;
    /// none when every destination failed before they were made.
    pub tree: Option<Tree>,
    /// What had to become of the source's manifests, as sentences.
    pub notes: Vec<String>,
    /// One result a destination.
    pub destinations: Vec<Result<Pushed, PushError>>,
}

/// Pushes the image of `source` to every destination. One that fails does not stop the others.
///
/// It may be called many times in one process, with the same registries: `locations` keeps what is
/// learned of them.
///
/// A layer that was taken over from an earlier image may have been collected since, or may not be
/// read back from where it is: then every layer is made anew, for all destinations, so that they get one digest.
///
/// # Errors
///
/// When the source cannot be read or its layers cannot be made ready: then nothing was tagged
/// anywhere.
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
    let Some(error) = failed.find(|error| error.is_of_reuse()) else {
        return Ok(outcome);
    };
    tracing::info!("{}; every layer is made anew", one_line(error));
    let settings = Settings {
        layer_reuse: false,
        ..settings.clone()
    };
    Box::pin(push_once(source, destinations, &settings, locations)).await
}

/// The digest that the tags of an image get; none where that is known only when it is made, or cannot
/// be.
pub async fn resulting_digest(source: &Source, settings: &Settings) -> Option<Digest> {
    let tree = existing_manifests(source.image(), settings).ok()?;
    let part = select_platforms(source, &tree, settings).await.ok()?;
    Some(part.tree.root.digest().clone())
}

/// What would be pushed of an index if all that it names were there: the digest that its tags get, and
/// which of it and of its children that is, without an index that is made anew. None where the index
/// alone does not tell, because it names another one, or nothing that is asked for.
pub fn predict_index(index: &Index, settings: &Settings) -> Option<(Digest, Vec<Digest>)> {
    let part = selection::of_index(&Tree::predicted(index)?, settings).ok()?;
    let root = part.tree.root.digest().clone();
    let is_kept = |digest: &&Digest| **digest == root || part.tree.children.contains_key(*digest);
    let children = index.manifests.iter().map(|child| &child.digest);
    let kept = std::iter::once(&index.digest)
        .chain(children)
        .filter(is_kept);
    let kept = kept.cloned().collect();
    Some((root, kept))
}

/// True where an image goes as it is, with all its platforms and attestations.
pub fn is_unfiltered(settings: &Settings) -> bool {
    settings.platforms == Platforms::All && settings.attestations != Some(Attestations::Strip)
}

async fn push_once(
    source: &Source,
    destinations: &[Destination],
    settings: &Settings,
    locations: &Arc<BlobLocations>,
) -> Result<Outcome, PushError> {
    if settings.referrers {
        source
            .check_referrers_supported()
            .map_err(PushError::Source)?;
    }
    match existing_manifests(source.image(), settings) {
        Ok(tree) => {
            let part = select_platforms(source, &tree, settings).await?;
            let mut notes = source.image().notes.clone();
            notes.extend(part.smaller.iter().map(RewrittenIndex::to_string));
            notes.extend(notes::of_tree(&part.tree));
            let companions = match settings.referrers {
                true => source
                    .referrers(&part.tree)
                    .await
                    .map_err(PushError::Source)?,
                false => Referrers::default(),
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
                    locations.note(endpoint, repository, &blob.digest);
                }
            }
            suppose_absent(source, &part.tree, &blobs, locations).await;
            let plan = PushPlan {
                tree: &part.tree,
                companions: &companions,
                blobs: &blobs,
                settings,
                locations,
            };
            let digest = part.tree.root.digest();
            let looking = destinations
                .iter()
                .map(|destination| destination.probe(digest).boxed());
            let looking = looking.collect();
            let destinations = distribute::distribute(&plan, destinations, looking).await;
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
        Err(unpacked) => push_unpacked(source, unpacked, destinations, settings, locations).await,
    }
}

/// Notes where the layers may be that the image was written without.
async fn suppose_absent(source: &Source, tree: &Tree, blobs: &Blobs, locations: &BlobLocations) {
    let absent: Vec<_> = blobs.iter().filter(|blob| blob.is_absent()).collect();
    if absent.is_empty() {
        return;
    }
    for base in source.base_images(tree).await {
        for blob in &absent {
            locations.suppose(&base.endpoint, &base.repository, &blob.digest);
        }
    }
}

/// The same for an image that has to be made first. What decides how it is made is what the first
/// repository of each registry has, of those that are waited for; the others take it from there.
async fn push_unpacked(
    source: &Source,
    unpacked: &UncompressedImage,
    destinations: &[Destination],
    settings: &Settings,
    locations: &Arc<BlobLocations>,
) -> Result<Outcome, PushError> {
    check_platform(&unpacked.config, &settings.platforms)?;
    let settling = tag_policy::apply_tag_policy(unpacked, destinations, settings.existing_tag);
    let settled = settling.boxed().await;
    if settled.iter().any(Option::is_some) {
        let is_settled: Vec<_> = settled.iter().map(Option::is_some).collect();
        let open = destinations.iter().zip(&is_settled).filter(|(_, is)| !**is);
        let open: Vec<_> = open.map(|(destination, _)| destination.clone()).collect();
        let rest = match open.is_empty() {
            true => None,
            false => {
                let rest = push_unpacked(source, unpacked, &open, settings, locations);
                Some(Box::pin(rest).await?)
            }
        };
        return Ok(merge_outcomes(
            &is_settled,
            settled.into_iter().flatten(),
            rest,
        ));
    }
    let first = distribute::required(destinations);
    let first = distribute::first_of_registry(destinations, &first);
    let pairs = destinations.iter().zip(&first);
    let (waited_for, others): (Vec<_>, Vec<_>) = pairs.partition(|(_, is_first)| **is_first);
    let clones = |pairs: Vec<(&Destination, &bool)>| -> Vec<Destination> {
        pairs
            .into_iter()
            .map(|(destination, _)| destination.clone())
            .collect()
    };
    let (waited_for, others) = (clones(waited_for), clones(others));
    let packed = prepare::compress_and_upload(source, unpacked, &waited_for, settings).await?;
    let is_reached =
        |(destination, state): (_, &Result<_, _>)| state.is_ok().then_some(destination);
    let mount_source = waited_for
        .iter()
        .zip(&packed.states)
        .find_map(is_reached)
        .cloned();
    let mut states = packed.states.into_iter();
    let (Some((tree, blobs)), Some(mount_source)) = (packed.image, mount_source) else {
        let failed = states.filter_map(Result::err).map(Err);
        let rest = match others.is_empty() {
            true => None,
            false => {
                let rest = push_unpacked(source, unpacked, &others, settings, locations);
                Some(Box::pin(rest).await?)
            }
        };
        return Ok(merge_outcomes(&first, failed, rest));
    };
    let blobs = match others.is_empty() {
        true => blobs,
        false => distribute::already_elsewhere(&blobs, &mount_source),
    };
    let plan = PushPlan {
        tree: &tree,
        companions: &Referrers::default(),
        blobs: &blobs,
        settings,
        locations,
    };
    let digest = tree.root.digest();
    let looking = destinations
        .iter()
        .zip(&first)
        .map(
            |(destination, is_first)| match is_first.then(|| states.next()).flatten() {
                Some(state) => distribute::known_state(state),
                None => destination.probe(digest).boxed(),
            },
        );
    let looking = looking.collect();
    let mut results = distribute::distribute(&plan, destinations, looking).await;
    let mut notes = source.image().notes.clone();
    notes.extend(notes::of_tree(&tree));
    let in_oci_form = match packed.in_oci_form {
        Some(oci) => {
            let plan = PushPlan { tree: &oci, ..plan };
            let note = in_oci_form(&plan, destinations, &mut results).await;
            note.map(|note| (oci, note))
        }
        None => None,
    };
    let tree = match in_oci_form {
        Some((oci, note)) => {
            notes.push(note);
            oci
        }
        None => tree,
    };
    Ok(Outcome {
        tree: Some(tree),
        notes,
        destinations: results,
    })
}

/// Brings an image that was refused as Docker's manifest in OCI's form, to those who refused it and,
/// if one of them takes it, to those who have it in the other form, so that all get one digest. What
/// is to be said of that; `None` if it is as it was.
async fn in_oci_form(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    results: &mut [Result<Pushed, PushError>],
) -> Option<String> {
    let may_be_of_form =
        |result: &Result<Pushed, PushError>| matches!(result, Err(error) if error.may_be_of_form());
    let refused: Vec<_> = (0..results.len())
        .filter(|index| may_be_of_form(&results[*index]))
        .collect();
    let arrived: Vec<_> = (0..results.len())
        .filter(|index| results[*index].is_ok())
        .collect();
    let mut takers = Vec::new();
    for (index, result) in bring_to(plan, destinations, &refused).await {
        // The first refusal says what is wrong with an image that is taken in no form.
        if result.is_ok() || !may_be_of_form(&result) {
            takers.push(format!("`{}`", destinations[index].name()));
            results[index] = result;
        }
    }
    if takers.is_empty() {
        return None;
    }
    for (index, result) in bring_to(plan, destinations, &arrived).await {
        results[index] = result;
    }
    let verb = if takers.len() == 1 { "takes" } else { "take" };
    let note = format!(
        "{} {verb} no manifest in Docker's form: the image is pushed in OCI's, with the same layers",
        takers.join(", ")
    );
    tracing::info!("{note}");
    Some(note)
}

/// Brings an image to some of the destinations; each with its place among all.
async fn bring_to(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    indexes: &[usize],
) -> Vec<(usize, Result<Pushed, PushError>)> {
    if indexes.is_empty() {
        return Vec::new();
    }
    let chosen: Vec<_> = indexes
        .iter()
        .map(|index| destinations[*index].clone())
        .collect();
    let digest = plan.tree.root.digest();
    let looking = chosen
        .iter()
        .map(|destination| destination.probe(digest).boxed());
    let looking = looking.collect();
    let results = distribute::distribute(plan, &chosen, looking).await;
    indexes.iter().copied().zip(results).collect()
}

/// What came of the first ones and of the others, in the order of all.
fn merge_outcomes(
    first: &[bool],
    mut results: impl Iterator<Item = Result<Pushed, PushError>>,
    mut rest: Option<Outcome>,
) -> Outcome {
    let mut others = rest.iter_mut().flat_map(|rest| rest.destinations.drain(..));
    let destinations = first.iter().filter_map(|is_first| match is_first {
        true => results.next(),
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
