//! Distributes one image to all its destinations.
//!
//! Required destinations never wait long for the best-effort ones (`best_effort`). A best-effort
//! destination shares the reads while it is fast enough, and gets the missing blobs later
//! otherwise. One that does not respond delays the required ones by at most `BEST_EFFORT_GRACE` at
//! each step, and is cancelled when nothing is transferred for `best_effort_timeout`.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::blob_locations::BlobLocations;
use super::blobs::{Blob, BlobSource, Blobs};
use super::manifests::{publish, pushed};
use super::probe::DestinationState;
use super::upload::{self, DestinationUpload};
use super::{Destination, PushError, Pushed, Settings};
use crate::ci::progress::Work;
use crate::image::{Referrers, Tree};
use crate::oci::digest::Digest;

/// How long the best-effort destinations may take for a step once the required ones have finished
/// it.
const BEST_EFFORT_GRACE: Duration = Duration::from_secs(1);

/// The pending probe of a destination's state.
pub(super) type Probe<'a> = BoxFuture<'a, Result<DestinationState, PushError>>;

/// An image to push, and what the pushes to all its destinations share.
pub(super) struct PushPlan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) referrers: &'a Referrers,
    pub(super) blobs: &'a Blobs,
    pub(super) settings: &'a Settings,
    pub(super) locations: &'a Arc<BlobLocations>,
}

/// The state of a destination, and the blobs that it lacks.
struct Probed {
    state: DestinationState,
    missing: HashSet<Digest>,
}

/// A destination with its upload in progress.
struct UploadTarget {
    index: usize,
    state: DestinationState,
    upload: Arc<DestinationUpload>,
}

/// Returns which destinations are required: those that are not best-effort, or all if there are no
/// others.
pub(super) fn required(destinations: &[Destination]) -> Vec<bool> {
    let none_required = destinations
        .iter()
        .all(|destination| destination.best_effort);
    let required = destinations
        .iter()
        .map(|destination| none_required || !destination.best_effort);
    required.collect()
}

/// Returns which of the `selected` destinations are the first of their registry. The others can
/// mount blobs from there.
pub(super) fn first_of_registry(destinations: &[Destination], selected: &[bool]) -> Vec<bool> {
    let mut seen = HashSet::new();
    let pairs = destinations.iter().zip(selected);
    let is_first = |(destination, selected): (&Destination, &bool)| {
        *selected && seen.insert(destination.registry.endpoint().clone())
    };
    pairs.map(is_first).collect()
}

/// Pushes the image to all destinations. Returns one result per destination, in their order.
pub(super) async fn distribute(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    probes: Vec<Probe<'_>>,
) -> Vec<Result<Pushed, PushError>> {
    let required = required(destinations);
    let slots: Vec<OnceLock<_>> = destinations.iter().map(|_| OnceLock::new()).collect();
    let results = &slots;
    let probes = probes.into_iter().enumerate().map(|(index, probe)| {
        let destination = &destinations[index];
        async move { (index, plan.find_missing(destination, probe).await) }
    });
    let mut probes: FuturesUnordered<_> = probes.collect();
    let probed = if plan.settings.options.dry_run {
        // A dry run sends nothing, so it waits for all destinations.
        wait_for_required(&mut probes, &vec![true; required.len()]).await
    } else {
        wait_for_required(&mut probes, &required).await
    };

    let mut targets = Vec::new();
    for (index, probed) in probed {
        match probed {
            Ok(probed) => {
                targets.push(plan.target(index, &destinations[index], probed, required[index]))
            }
            Err(error) => drop(results[index].set(Err(error))),
        }
    }
    if plan.settings.options.dry_run {
        for target in &targets {
            let predicted = plan.dry_run_result(&destinations[target.index], target);
            let _ = results[target.index].set(predicted);
        }
        return plan.results(slots, destinations);
    }
    let background_uploads = plan.announce_and_upload(&targets).await;
    let (required_targets, best_effort_targets): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .partition(|target| required[target.index]);

    let publish_target = |target: UploadTarget| async move {
        let index = target.index;
        let _ = results[index].set(plan.publish(&destinations[index], target).await);
    };
    let (required_pending, required_finished) = oneshot::channel::<()>();
    let publish_required = async {
        join_all(required_targets.into_iter().map(publish_target)).await;
        drop(required_pending);
    };
    let finish_background = async {
        background_uploads.join_all().await;
        let retried = best_effort_targets.into_iter().filter_map(|mut target| {
            let UploadTarget { index, .. } = target;
            match target.state.add(target.upload.take_done()) {
                Ok(()) => {
                    let probed = Probed {
                        missing: plan.missing_blobs(&target.state),
                        state: target.state,
                    };
                    Some(plan.target(index, &destinations[index], probed, true))
                }
                Err(error) => {
                    let _ = results[index].set(Err(error));
                    None
                }
            }
        });
        let retried: Vec<_> = retried.collect();
        // The progress display counts these blobs since the first attempt.
        plan.upload(&retried).await;
        join_all(retried.into_iter().map(publish_target)).await;
    };
    let push_late = probes.for_each_concurrent(None, |(index, probed)| async move {
        match probed {
            Ok(probed) => {
                let target = [plan.target(index, &destinations[index], probed, true)];
                plan.announce_and_upload(&target).await;
                let [target] = target;
                publish_target(target).await;
            }
            Err(error) => drop(results[index].set(Err(error))),
        }
    });
    let publish_best_effort = async {
        let best_effort = destinations
            .iter()
            .zip(&required)
            .filter(|(_, required)| !**required);
        let best_effort = best_effort.map(|(destination, _)| destination).collect();
        let timeout = plan.settings.best_effort_timeout;
        let stalled = wait_until_stalled(required_finished, best_effort, timeout);
        tokio::select! {
            _ = async { tokio::join!(finish_background, push_late) } => {}
            () = stalled => {}
        }
    };
    tokio::join!(publish_required, publish_best_effort);
    plan.results(slots, destinations)
}

/// Waits for the results of all required futures, then up to `BEST_EFFORT_GRACE` for the others.
/// Returns the results by index. The futures that have not finished stay in `pending`.
pub(crate) async fn wait_for_required<T>(
    pending: &mut FuturesUnordered<impl Future<Output = (usize, T)>>,
    required: &[bool],
) -> Vec<(usize, T)> {
    let mut finished = Vec::new();
    let mut required_left = required.iter().filter(|required| **required).count();
    while required_left > 0
        && let Some((index, result)) = pending.next().await
    {
        required_left -= usize::from(required[index]);
        finished.push((index, result));
    }
    let end = Instant::now() + BEST_EFFORT_GRACE;
    while let Ok(Some(result)) = timeout_at(end, pending.next()).await {
        finished.push(result);
    }
    finished.sort_by_key(|(index, _)| *index);
    finished
}

/// Waits for the required destinations, and then until nothing was transferred to the best-effort
/// ones for `stall_timeout`.
async fn wait_until_stalled(
    required_finished: oneshot::Receiver<()>,
    best_effort: Vec<&Destination>,
    stall_timeout: Duration,
) {
    // No value is sent: the sender is dropped.
    let _ = required_finished.await;
    let moved = || -> u64 { best_effort.iter().map(|d| d.registry.moved_bytes()).sum() };
    loop {
        let before = moved();
        sleep(stall_timeout).await;
        if moved() == before {
            return;
        }
    }
}

impl PushPlan<'_> {
    /// Returns the result of each destination. One without a result was cancelled by the timeout.
    fn results(
        &self,
        slots: Vec<OnceLock<Result<Pushed, PushError>>>,
        destinations: &[Destination],
    ) -> Vec<Result<Pushed, PushError>> {
        let slots = slots.into_iter().zip(destinations);
        let result = |(slot, destination): (OnceLock<_>, &Destination)| {
            slot.into_inner().unwrap_or_else(|| {
                Err(PushError::TimedOut {
                    destination: destination.name(),
                    after: self.settings.best_effort_timeout,
                })
            })
        };
        slots.map(result).collect()
    }

    /// Returns what a push would do at a destination, if the registries accept all mounts.
    fn dry_run_result(
        &self,
        destination: &Destination,
        target: &UploadTarget,
    ) -> Result<Pushed, PushError> {
        let (endpoint, repository) = (destination.registry.endpoint(), &destination.repository);
        for blob in self
            .blobs
            .iter()
            .filter(|blob| target.upload.needs(&blob.digest))
        {
            match self
                .locations
                .mount_source(endpoint, repository, &blob.digest)
            {
                Some(_) => destination.stats.mounted(&blob.digest),
                None if blob.is_absent() => return Err(blob.absent_everywhere(destination)),
                None => destination.stats.sent(&blob.digest, blob.size),
            }
            self.locations.record(endpoint, repository, &blob.digest);
        }
        let (digest, policy) = (self.tree.root.digest(), self.settings.options.existing_tag);
        let tags = destination.tag_updates(&target.state, digest, policy);
        Ok(pushed(destination, self, tags))
    }

    /// Finds the blobs that a destination lacks, unless the tag policy rejects or skips the push.
    async fn find_missing(
        &self,
        destination: &Destination,
        probe: Probe<'_>,
    ) -> Result<Probed, PushError> {
        let mut state = probe.await?;
        let policy = self.settings.options.existing_tag;
        let digest = self.tree.root.digest();
        destination.check_tags(&state, digest, policy)?;
        if destination.keeps_all(&state, digest, policy) {
            let missing = HashSet::new();
            return Ok(Probed { state, missing });
        }
        if state.image_is_present {
            state.mark_present(self.tree);
        }
        destination
            .probe_referrers(self.referrers, &mut state)
            .await?;
        let (endpoint, repository) = (destination.registry.endpoint(), &destination.repository);
        for blob in self.blobs {
            if self.locations.has(endpoint, repository, &blob.digest) {
                state.present.insert(blob.digest.clone());
            }
        }
        let concurrency = self.settings.slots.all();
        let missing = destination
            .missing(self.blobs, &mut state, concurrency)
            .await?;
        let missing: HashSet<_> = missing
            .into_iter()
            .map(|blob| blob.digest.clone())
            .collect();
        for digest in state.present.iter().chain(&state.sent) {
            self.locations.record(endpoint, repository, digest);
        }
        Ok(Probed { state, missing })
    }

    /// Returns the blobs that a destination is not known to have.
    fn missing_blobs(&self, state: &DestinationState) -> HashSet<Digest> {
        let all = self.blobs.iter().map(|blob| &blob.digest);
        all.filter(|blob| !state.has(blob)).cloned().collect()
    }

    /// Creates the upload of the missing blobs of a destination.
    fn target(
        &self,
        index: usize,
        destination: &Destination,
        probed: Probed,
        required: bool,
    ) -> UploadTarget {
        let upload = DestinationUpload::new(
            destination,
            probed.missing,
            required,
            self.locations,
            self.settings,
        );
        UploadTarget {
            index,
            state: probed.state,
            upload,
        }
    }

    /// Adds the missing blobs to the progress display, and uploads them.
    async fn announce_and_upload(&self, targets: &[UploadTarget]) -> JoinSet<()> {
        let sizes = self.blobs.iter().flat_map(|blob| {
            let lacking_it = targets
                .iter()
                .filter(|target| target.upload.needs(&blob.digest));
            lacking_it.map(|_| blob.size)
        });
        self.settings.progress.expect(Work::Send, sizes);
        self.upload(targets).await
    }

    /// Uploads the missing blobs. The uploads that it returns continue in the background.
    async fn upload(&self, targets: &[UploadTarget]) -> JoinSet<()> {
        let uploads: Vec<_> = targets
            .iter()
            .map(|target| Arc::clone(&target.upload))
            .collect();
        upload::send(self.blobs, &uploads, &self.settings.slots).await
    }

    /// Publishes the manifests and tags at a destination after the upload of its blobs.
    async fn publish(
        &self,
        destination: &Destination,
        target: UploadTarget,
    ) -> Result<Pushed, PushError> {
        let UploadTarget {
            mut state, upload, ..
        } = target;
        state.add(upload.take_done())?;
        publish(destination, self, state).await
    }
}

/// Returns the blobs for destinations that were not probed. Blobs that all probed destinations have
/// are read from `mount_source` instead.
pub(super) fn read_present_from(blobs: &Blobs, mount_source: &Destination) -> Blobs {
    let blobs = blobs.iter().cloned().map(|blob| match blob.origin {
        BlobSource::AlreadyPresent => {
            let (registry, repository) = (
                Arc::clone(&mount_source.registry),
                mount_source.repository.clone(),
            );
            Blob {
                origin: BlobSource::OtherRepository(registry, repository),
                ..blob
            }
        }
        _ => blob,
    });
    blobs.collect()
}

/// Returns a probe that yields a known state.
pub(super) fn known_state<'a>(state: Result<DestinationState, PushError>) -> Probe<'a> {
    std::future::ready(state).boxed()
}
