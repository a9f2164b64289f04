//! Copies the images of a plan, several at once: first all images to the required destinations, then
//! to the best-effort ones, so that these hold up nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::blob_locks::BlobLocks;
use super::{MirrorError, MirrorPlan, PlannedImage, SyncState};
use crate::commands::pull_secret::PulledImage;
use crate::diagnostics::SharedError;
use crate::image::{Content, Source};
use crate::oci::digest::Digest;
use crate::oci::reference::Reference;
use crate::push::result::{FailedDestination, PushedImage};
use crate::push::targets::Target;
use crate::push::{BlobLocations, PushJob, Settings};
use crate::registry::pool::RegistryPool;

/// The images that are copied at once. An image itself holds only its manifests in memory. The
/// blobs in flight are limited by [`crate::push::UploadSlots`] for all images together.
const IMAGES_AT_ONCE: usize = 16;

/// The result of one image.
#[derive(Debug)]
pub struct ImageOutcome {
    /// The image as it was planned.
    pub image: PlannedImage,
    /// The result of each destination that the image was pushed to.
    pub pushed: Vec<PushedImage>,
    /// The error of each destination that failed.
    pub failed: Vec<FailedDestination>,
}

impl ImageOutcome {
    /// The outcome of an image that is not copied yet.
    pub(super) fn new(image: PlannedImage) -> Self {
        Self {
            image,
            pushed: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Records that `error` fails all destinations that have not got the image.
    pub(super) fn fail(&mut self, error: &Arc<MirrorError>) {
        let remaining: Vec<_> = self.remaining().cloned().collect();
        let failed = remaining.iter().map(|target| {
            let error: SharedError = error.clone();
            FailedDestination::new(target, error)
        });
        self.failed.extend(failed);
    }

    /// The pending destinations without a result.
    fn remaining(&self) -> impl Iterator<Item = &Target> {
        let pushed = self.pushed.iter().map(|image| &image.pushed.name);
        let done: BTreeSet<_> = pushed
            .chain(self.failed.iter().map(|it| &it.name))
            .collect();
        let pending = self.image.pending();
        pending.filter(move |target| !done.contains(&target.name()))
    }

    /// The image at a required destination that has it. `None` if none is known to have it.
    fn required_copy(&self) -> Option<Reference> {
        let mut destinations = self.image.destinations.iter();
        destinations.find_map(|(target, state)| {
            let mut pushed = self.pushed.iter().map(|image| &image.pushed);
            let pushed = pushed.find(|pushed| pushed.name == target.name());
            let digest = match (pushed, state) {
                (Some(pushed), _) if pushed.tags.iter().all(|tag| tag.kept.is_none()) => {
                    Some(pushed.digest.clone())
                }
                (None, SyncState::UpToDate) => self.image.digest.clone(),
                _ => None,
            };
            Some(Reference {
                endpoint: target.endpoint.clone(),
                repository: target.repository.clone(),
                tag: None,
                digest: Some(digest.filter(|_| !target.best_effort)?),
            })
        })
    }

    /// The image at every destination that has it now.
    pub fn pulled(&self) -> impl Iterator<Item = PulledImage> {
        let pushed = self.pushed.iter();
        let pushed = pushed.filter_map(|image| PulledImage::of(&image.pushed));
        let unchanged = self.image.up_to_date().cloned();
        pushed.chain(unchanged.map(|target| PulledImage {
            is_sure: true,
            ..PulledImage::from(target)
        }))
    }
}

/// Copies every image to the destinations that lack it. Returns one outcome for each image, and the
/// errors of the required destinations. The images that could not be planned come first; their errors
/// were reported by the plan.
pub(super) async fn copy_all(
    plan: MirrorPlan,
    registries: &RegistryPool<'_>,
    settings: &Settings,
) -> (Vec<ImageOutcome>, Vec<MirrorError>) {
    settings
        .tag_log
        .expect_all(plan.images.iter().flat_map(PlannedImage::pending));
    let run = MirrorRun {
        registries,
        settings,
        locations: Arc::default(),
        locks: BlobLocks::default(),
    };
    let run = &run;
    let mut copied: Vec<_> = plan.images.into_iter().map(ImageOutcome::new).collect();
    for best_effort in [false, true] {
        let copying = stream::iter(copied.into_iter().enumerate())
            .map(|(number, image)| async move { (number, run.copy(image, best_effort).await) })
            .buffer_unordered(IMAGES_AT_ONCE);
        let mut results: Vec<_> = copying.collect().await;
        results.sort_by_key(|(number, _)| *number);
        copied = results.into_iter().map(|(_, outcome)| outcome).collect();
    }
    let failed = copied.iter().flat_map(|outcome| &outcome.failed);
    let required = failed.filter(|failed| !failed.best_effort);
    let errors = required.map(|failed| MirrorError::Destination(Arc::clone(&failed.error)));
    let errors = errors.collect();
    let mut outcomes = plan.unplanned;
    outcomes.extend(copied);
    (outcomes, errors)
}

/// The state that all images of a run share.
struct MirrorRun<'a> {
    registries: &'a RegistryPool<'a>,
    settings: &'a Settings,
    locations: Arc<BlobLocations>,
    locks: BlobLocks,
}

impl MirrorRun<'_> {
    /// Copies an image to its pending destinations, either the best-effort ones or the others.
    async fn copy(&self, mut outcome: ImageOutcome, best_effort: bool) -> ImageOutcome {
        let targets = outcome.remaining();
        let targets = targets.filter(|target| target.best_effort == best_effort);
        let targets: Vec<_> = targets.cloned().collect();
        if targets.is_empty() {
            return outcome;
        }
        match self.push(&outcome, &targets).await {
            Ok(results) => {
                for result in results {
                    match result {
                        Ok(image) => outcome.pushed.push(image),
                        Err(destination) => outcome.failed.push(destination),
                    }
                }
                outcome
            }
            Err(error) => {
                outcome.fail(&Arc::new(MirrorError::of_image(&outcome.image, error)));
                outcome
            }
        }
    }

    /// Pushes the image to these destinations. Returns one result for each of them.
    async fn push(
        &self,
        outcome: &ImageOutcome,
        targets: &[Target],
    ) -> Result<Vec<Result<PushedImage, FailedDestination>>, MirrorError> {
        let source = self.open(outcome).await?;
        let settings = outcome.image.settings(self.settings);
        let job = PushJob {
            source: &source,
            registries: self.registries,
            settings: &settings,
            locations: &self.locations,
        };
        let exists = |digest: &Digest| {
            let mut targets = targets.iter();
            targets.all(|target| self.locations.are_known_at(&target.endpoint, digest))
        };
        let locks = self.locks.acquire(blobs(&source), exists).await;
        let pushed = job.run(targets).await;
        drop(locks);
        match pushed.failure {
            Some(error) => Err(MirrorError::Push(error)),
            None => Ok(pushed.results),
        }
    }

    /// Opens the image where it was pushed to before, which spares its source, or at the source.
    async fn open(&self, outcome: &ImageOutcome) -> Result<Source, MirrorError> {
        let PlannedImage {
            source, platforms, ..
        } = &outcome.image;
        if let Some(copy) = outcome.required_copy()
            && let Ok(registry) = self.registries.destination(&copy.endpoint, false).await
            && let Ok(opened) = Source::open_remote(registry, &copy, platforms).await
        {
            return Ok(opened);
        }
        let registry = self.registries.source(&source.endpoint).await?;
        Source::open_remote(registry, source, platforms)
            .await
            .map_err(MirrorError::Source)
    }
}

/// The digests of all blobs of an image.
fn blobs(source: &Source) -> BTreeSet<Digest> {
    match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
        Content::Uncompressed(_) => BTreeSet::new(),
    }
}
