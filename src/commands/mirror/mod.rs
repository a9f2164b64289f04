//! Many images at once, by a file that says what goes where: a whole registry's second home.
//!
//! First a plan, made of digests alone: which images are the same everywhere, which differ and which
//! are missing. Then the work, what is missing first. An image that fails does not stop the others,
//! and a run that was stopped is taken up by the next, which plans anew.

pub mod blob_locks;
mod compare;
mod deal;
mod error;
mod item;
pub mod name_template;
mod plan;
pub mod referrers;
pub mod report;
mod repositories;
pub mod shard;
pub mod shares;
pub mod tag_filter;
mod weigh;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

pub use error::MirrorError;
pub use item::{MirrorPlan, PlannedImage, SyncState};
pub use plan::plan;
pub use weigh::weigh;

use crate::commands::pull_secret::PulledImage;
use crate::error::Error;
use crate::image::{Content, Source};
use crate::oci::digest::Digest;
use crate::oci::platform::Platforms;
use crate::oci::reference::{Endpoint, Reference};
use crate::push::job::PushJob;
use crate::push::result::Arrival;
use crate::push::result::Fate;
use crate::push::result::Missed;
use crate::push::verify::Verify;
use crate::push::{BlobLocations, Settings};
use crate::registry::pool::RegistryPool;
use blob_locks::BlobLocks;
use name_template::NameTemplate;
use shard::Shard;
use shares::ShardPlan;
use tag_filter::TagFilter;

/// What is to be mirrored.
#[derive(Clone, Debug)]
pub struct MirrorRequest {
    /// What the images are put below, each image below each.
    pub homes: Vec<MirrorDestination>,
    /// The images.
    pub entries: Vec<Entry>,
    /// This runner's share; none where it does everything.
    pub shard: Option<Shard>,
    /// The file that divides the work by bytes.
    pub plan_file: Option<PlanFile>,
}

/// A file that divides the work by bytes.
#[derive(Clone, Debug)]
pub enum PlanFile {
    /// It is to be made.
    Write(PathBuf),
    /// It is there: its name, and what it says.
    Read(String, ShardPlan),
}

impl MirrorRequest {
    /// The registries that are written to, each once.
    pub fn destinations(&self) -> Vec<Endpoint> {
        distinct(self.homes.iter().map(|home| &home.endpoint))
    }

    /// Every registry that is met.
    pub fn hosts(&self) -> Vec<Endpoint> {
        [self.destinations(), self.sources()].concat()
    }

    /// The registries that are read from, each once.
    pub fn sources(&self) -> Vec<Endpoint> {
        distinct(self.entries.iter().map(|entry| match &entry.origin {
            MirrorSource::Repository(reference) | MirrorSource::Image(reference) => {
                &reference.endpoint
            }
            MirrorSource::Prefix(endpoint, _) => endpoint,
        }))
    }
}

fn distinct<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> Vec<Endpoint> {
    let mut seen = Vec::new();
    for endpoint in endpoints {
        if !seen.contains(endpoint) {
            seen.push(endpoint.clone());
        }
    }
    seen
}

/// A registry and a path that images are put below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorDestination {
    /// The registry.
    pub endpoint: Endpoint,
    /// The path.
    pub path: String,
}

impl fmt::Display for MirrorDestination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.endpoint, self.path)
    }
}

/// One line of the file: images from one place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where they are.
    pub origin: MirrorSource,
    /// What they are called below each home.
    pub to: NameTemplate,
    /// Which tags.
    pub tags: TagFilter,
    /// Which platforms.
    pub platforms: Platforms,
    /// Whether signatures, SBOMs and attestations come along.
    pub referrers: bool,
    /// True where a failure fails nothing.
    pub best_effort: bool,
}

/// Where images are read from.
#[derive(Clone, Debug)]
pub enum MirrorSource {
    /// One image, by its tag, perhaps pinned to a digest.
    Image(Reference),
    /// The chosen tags of one repository.
    Repository(Reference),
    /// The chosen tags of every repository below a path.
    Prefix(Endpoint, String),
}

impl fmt::Display for MirrorSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reference) | Self::Repository(reference) => reference.fmt(formatter),
            Self::Prefix(endpoint, path) if path.is_empty() => write!(formatter, "{endpoint}/**"),
            Self::Prefix(endpoint, path) => write!(formatter, "{endpoint}/{path}/**"),
        }
    }
}

/// Images that are brought at once. What costs memory are the blobs in flight, which
/// [`crate::push::UploadSlots`] bounds for all of them together; an image by itself holds its manifests.
const IMAGES_AT_ONCE: usize = 16;

/// What came of one image.
#[derive(Debug)]
pub struct ImageOutcome {
    /// What was planned.
    pub item: PlannedImage,
    /// The destinations that were reached.
    pub arrivals: Vec<Arrival>,
    /// The destinations that were not.
    pub missed: Vec<Missed>,
}

impl ImageOutcome {
    /// Where a cluster can pull it from now.
    pub fn pulled(&self) -> impl Iterator<Item = PulledImage> {
        let arrived = self.arrivals.iter();
        let arrived = arrived.filter_map(|arrival| PulledImage::of(&arrival.pushed));
        let there = self.item.there().cloned();
        arrived.chain(there.map(|target| PulledImage {
            is_sure: true,
            ..PulledImage::from(target)
        }))
    }
}

/// Brings every image of the plan that is needed; one outcome an image, and the errors of those that
/// count. Those that could not be planned come first, and their errors are told already.
pub async fn copy_all(
    plan: MirrorPlan,
    registries: &RegistryPool<'_>,
    settings: &Settings,
    verify: Verify,
) -> (Vec<ImageOutcome>, Vec<Error>) {
    settings
        .tag_log
        .expect_all(plan.items.iter().flat_map(PlannedImage::pending));
    let run = MirrorRun {
        registries,
        settings,
        verify,
        locations: Arc::default(),
        locks: BlobLocks::default(),
    };
    let run = &run;
    let mut results: Vec<_> = stream::iter(plan.items.into_iter().enumerate())
        .map(|(number, item)| async move { (number, run.copy(item).await) })
        .buffer_unordered(IMAGES_AT_ONCE)
        .collect()
        .await;
    results.sort_by_key(|(number, _)| *number);
    let (mut outcomes, mut errors) = (plan.unplanned, Vec::new());
    for (_, (outcome, failures)) in results {
        outcomes.push(outcome);
        errors.extend(failures);
    }
    (outcomes, errors)
}

/// What all images of a run are brought with.
struct MirrorRun<'a> {
    registries: &'a RegistryPool<'a>,
    settings: &'a Settings,
    verify: Verify,
    locations: Arc<BlobLocations>,
    locks: BlobLocks,
}

impl MirrorRun<'_> {
    async fn copy(&self, item: PlannedImage) -> (ImageOutcome, Vec<Error>) {
        let mut outcome = ImageOutcome {
            arrivals: Vec::new(),
            missed: Vec::new(),
            item,
        };
        if outcome.item.need() == SyncState::UpToDate {
            return (outcome, Vec::new());
        }
        let mut errors = Vec::new();
        match self.results(&outcome.item).await {
            Ok(results) => {
                for result in results {
                    match result {
                        Fate::Arrived(arrival) => outcome.arrivals.push(arrival),
                        Fate::Missed(missed, error) => {
                            if !missed.best_effort {
                                errors.extend(error);
                            }
                            outcome.missed.push(missed);
                        }
                    }
                }
            }
            Err(error) => {
                let error = Error::Mirror(MirrorError::of_image(&outcome.item, error));
                outcome = outcome.item.into_failed(&error);
                if !outcome.item.best_effort() {
                    errors.push(error);
                }
            }
        }
        (outcome, errors)
    }

    /// What became of each target, or what kept the image from being read.
    async fn results(&self, item: &PlannedImage) -> Result<Vec<Fate>, Error> {
        let registry = self.registries.source(&item.source.endpoint).await?;
        let source = Source::open_remote(registry, &item.source, &item.platforms)
            .await
            .map_err(Error::Source)?;
        let settings = item.settings(self.settings);
        let job = PushJob {
            source: &source,
            registries: self.registries,
            settings: &settings,
            locations: &self.locations,
            verify: self.verify,
        };
        let targets: Vec<_> = item.pending().cloned().collect();
        let is_there = |digest: &Digest| {
            let mut targets = targets.iter();
            targets.all(|target| self.locations.are_known_at(&target.endpoint, digest))
        };
        let locks = self.locks.take(blobs(&source), is_there).await;
        let arrived = job.run(&targets).await;
        drop(locks);
        match arrived.failure {
            Some(error) => Err(Error::Push(error)),
            None => Ok(arrived.results),
        }
    }
}

/// Every blob of an image.
fn blobs(source: &Source) -> BTreeSet<Digest> {
    match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
        Content::Unpacked(_) => BTreeSet::new(),
    }
}
