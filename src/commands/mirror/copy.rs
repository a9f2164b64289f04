//! Copies the images of a plan, several at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::blob_locks::BlobLocks;
use super::{MirrorError, MirrorPlan, PlannedImage, SyncState};
use crate::commands::pull_secret::PulledImage;
use crate::image::{Content, Source};
use crate::oci::digest::Digest;
use crate::push::job::PushJob;
use crate::push::result::{FailedDestination, PushedImage};
use crate::push::{BlobLocations, Settings};
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
    let mut results: Vec<_> = stream::iter(plan.images.into_iter().enumerate())
        .map(|(number, image)| async move { (number, run.copy(image).await) })
        .buffer_unordered(IMAGES_AT_ONCE)
        .collect()
        .await;
    results.sort_by_key(|(number, _)| *number);
    let (mut outcomes, mut errors) = (plan.unplanned, Vec::new());
    for (_, outcome) in results {
        let required = outcome.failed.iter().filter(|failed| !failed.best_effort);
        errors.extend(required.map(|failed| MirrorError::Destination(Arc::clone(&failed.error))));
        outcomes.push(outcome);
    }
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
    async fn copy(&self, image: PlannedImage) -> ImageOutcome {
        let (mut pushed, mut failed) = (Vec::new(), Vec::new());
        if image.state() != SyncState::UpToDate {
            match self.push(&image).await {
                Ok(results) => {
                    for result in results {
                        match result {
                            Ok(image) => pushed.push(image),
                            Err(destination) => failed.push(destination),
                        }
                    }
                }
                Err(error) => {
                    let error = Arc::new(MirrorError::of_image(&image, error));
                    return image.failed(error);
                }
            }
        }
        ImageOutcome {
            image,
            pushed,
            failed,
        }
    }

    /// Pushes the image to its pending destinations. Returns one result for each of them.
    async fn push(
        &self,
        image: &PlannedImage,
    ) -> Result<Vec<Result<PushedImage, FailedDestination>>, MirrorError> {
        let registry = self.registries.source(&image.source.endpoint).await?;
        let source = Source::open_remote(registry, &image.source, &image.platforms)
            .await
            .map_err(MirrorError::Source)?;
        let settings = image.settings(self.settings);
        let job = PushJob {
            source: &source,
            registries: self.registries,
            settings: &settings,
            locations: &self.locations,
        };
        let targets: Vec<_> = image.pending().cloned().collect();
        let exists = |digest: &Digest| {
            let mut targets = targets.iter();
            targets.all(|target| self.locations.are_known_at(&target.endpoint, digest))
        };
        let locks = self.locks.acquire(blobs(&source), exists).await;
        let outcome = job.run(&targets).await;
        drop(locks);
        match outcome.failure {
            Some(error) => Err(MirrorError::Push(error)),
            None => Ok(outcome.results),
        }
    }
}

/// The digests of all blobs of an image.
fn blobs(source: &Source) -> BTreeSet<Digest> {
    match &source.image().content {
        Content::Manifests(tree) => tree.blobs().map(|blob| blob.digest.clone()).collect(),
        Content::Uncompressed(_) => BTreeSet::new(),
    }
}
