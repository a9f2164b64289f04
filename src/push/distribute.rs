//! One image to all its destinations.
//!
//! Those that count set the pace and are done as soon as they can be. Those whose failure the user
//! can live with (`best_effort`) keep up, or follow when the others are done; a dead one costs the
//! others a moment, and the run no more than the time that nothing moves.

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

/// How long those who are not waited for may take to say what they have, once the others have.
const BEST_EFFORT_GRACE: Duration = Duration::from_secs(1);

/// Finds out how a destination stands.
pub(super) type Probing<'a> = BoxFuture<'a, Result<DestinationState, PushError>>;

/// An image on its way.
pub(super) struct PushPlan<'a> {
    pub(super) tree: &'a Tree,
    pub(super) companions: &'a Referrers,
    pub(super) blobs: &'a Blobs,
    pub(super) settings: &'a Settings,
    pub(super) locations: &'a Arc<BlobLocations>,
}

/// A destination and what it lacks.
struct Probed {
    state: DestinationState,
    missing: HashSet<Digest>,
}

/// A destination whose blobs are under way.
struct UploadTarget {
    index: usize,
    state: DestinationState,
    upload: Arc<DestinationUpload>,
}

/// True for each destination that the others wait for: those that count, or all where none does.
pub(super) fn required(destinations: &[Destination]) -> Vec<bool> {
    let all = destinations
        .iter()
        .all(|destination| destination.best_effort);
    let required = destinations
        .iter()
        .map(|destination| all || !destination.best_effort);
    required.collect()
}

/// Those of `chosen` that are the first of their registry: the others can take blobs from there.
pub(super) fn first_of_registry(destinations: &[Destination], chosen: &[bool]) -> Vec<bool> {
    let mut seen = HashSet::new();
    let pairs = destinations.iter().zip(chosen);
    let is_first = |(destination, chosen): (&Destination, &bool)| {
        *chosen && seen.insert(destination.registry.endpoint().clone())
    };
    pairs.map(is_first).collect()
}

/// Brings the image everywhere; one result a destination, in their order.
pub(super) async fn distribute(
    plan: &PushPlan<'_>,
    destinations: &[Destination],
    looking: Vec<Probing<'_>>,
) -> Vec<Result<Pushed, PushError>> {
    let required = required(destinations);
    let slots: Vec<OnceLock<_>> = destinations.iter().map(|_| OnceLock::new()).collect();
    let results = &slots;
    let sights = looking.into_iter().enumerate().map(|(index, looking)| {
        let destination = &destinations[index];
        async move { (index, plan.probed(destination, looking).await) }
    });
    let mut sights: FuturesUnordered<_> = sights.collect();
    let in_time = match plan.settings.dry_run {
        // Nobody waits for anybody.
        true => wait_for_required(&mut sights, &vec![true; required.len()]).await,
        false => wait_for_required(&mut sights, &required).await,
    };

    let mut targets = Vec::new();
    for (index, probed) in in_time {
        match probed {
            Ok(probed) => {
                targets.push(plan.target(index, &destinations[index], probed, required[index]))
            }
            Err(error) => drop(results[index].set(Err(error))),
        }
    }
    if plan.settings.dry_run {
        for target in &targets {
            let predicted = plan.dry_run_result(&destinations[target.index], target);
            let _ = results[target.index].set(predicted);
        }
        return plan.results(slots, destinations);
    }
    let background_uploads = plan.send(&targets).await;
    let (waited_for, others): (Vec<_>, Vec<_>) = targets
        .into_iter()
        .partition(|target| required[target.index]);

    let arrive = |target: UploadTarget| async move {
        let index = target.index;
        let _ = results[index].set(plan.arrive(&destinations[index], target).await);
    };
    let (finishing, finished) = oneshot::channel::<()>();
    let first = async {
        join_all(waited_for.into_iter().map(arrive)).await;
        drop(finishing);
    };
    let keeping_up = async {
        background_uploads.join_all().await;
        let again = others.into_iter().filter_map(|mut target| {
            let UploadTarget { index, .. } = target;
            match target.state.add(target.upload.take_done()) {
                Ok(()) => {
                    let probed = Probed {
                        missing: plan.lacked(&target.state),
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
        let again: Vec<_> = again.collect();
        // What they lack was announced when they were to share the reads.
        plan.carry(&again).await;
        join_all(again.into_iter().map(arrive)).await;
    };
    let late = sights.for_each_concurrent(None, |(index, probed)| async move {
        match probed {
            Ok(probed) => {
                let target = [plan.target(index, &destinations[index], probed, true)];
                plan.send(&target).await;
                let [target] = target;
                arrive(target).await;
            }
            Err(error) => drop(results[index].set(Err(error))),
        }
    });
    let following = async {
        let mount_after = destinations
            .iter()
            .zip(&required)
            .filter(|(_, required)| !**required);
        let mount_after = mount_after.map(|(destination, _)| destination).collect();
        let stand_still =
            wait_until_stalled(finished, mount_after, plan.settings.best_effort_timeout);
        tokio::select! {
            _ = async { tokio::join!(keeping_up, late) } => {}
            () = stand_still => {}
        }
    };
    tokio::join!(first, following);
    plan.results(slots, destinations)
}

/// What all who are waited for said, and what the others said within a moment of that; in order.
pub(crate) async fn wait_for_required<T>(
    saying: &mut FuturesUnordered<impl Future<Output = (usize, T)>>,
    required: &[bool],
) -> Vec<(usize, T)> {
    let mut said = Vec::new();
    let mut waited_for = required.iter().filter(|required| **required).count();
    while waited_for > 0
        && let Some((index, what)) = saying.next().await
    {
        waited_for -= usize::from(required[index]);
        said.push((index, what));
    }
    let end = Instant::now() + BEST_EFFORT_GRACE;
    while let Ok(Some(more)) = timeout_at(end, saying.next()).await {
        said.push(more);
    }
    said.sort_by_key(|(index, _)| *index);
    said
}

/// Ends when, after the others have finished, nothing has moved to the followers for so long.
async fn wait_until_stalled(
    finished: oneshot::Receiver<()>,
    mount_after: Vec<&Destination>,
    patience: Duration,
) {
    // Nothing is ever sent: it is dropped.
    let _ = finished.await;
    let moved = || -> u64 { mount_after.iter().map(|d| d.registry.moved_bytes()).sum() };
    loop {
        let before = moved();
        sleep(patience).await;
        if moved() == before {
            return;
        }
    }
}

impl PushPlan<'_> {
    /// What came of each; who has no result was given up.
    fn results(
        &self,
        slots: Vec<OnceLock<Result<Pushed, PushError>>>,
        destinations: &[Destination],
    ) -> Vec<Result<Pushed, PushError>> {
        let slots = slots.into_iter().zip(destinations);
        let result = |(slot, destination): (OnceLock<_>, &Destination)| {
            slot.into_inner().unwrap_or_else(|| {
                Err(PushError::Late {
                    destination: destination.name(),
                    after: self.settings.best_effort_timeout,
                })
            })
        };
        slots.map(result).collect()
    }

    /// What a push would do at a destination, if every registry mounted what it can.
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
            self.locations.note(endpoint, repository, &blob.digest);
        }
        let (digest, policy) = (self.tree.root.digest(), self.settings.existing_tag);
        let tags = destination.tag_updates(&target.state, digest, policy);
        Ok(pushed(destination, self, tags))
    }

    /// How a destination stands, and what it lacks.
    async fn probed(
        &self,
        destination: &Destination,
        looking: Probing<'_>,
    ) -> Result<Probed, PushError> {
        let mut state = looking.await?;
        let policy = self.settings.existing_tag;
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
            .probe_referrers(self.companions, &mut state)
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
            self.locations.note(endpoint, repository, digest);
        }
        Ok(Probed { state, missing })
    }

    /// The blobs that a destination lacks for all that is known of it.
    fn lacked(&self, state: &DestinationState) -> HashSet<Digest> {
        let all = self.blobs.iter().map(|blob| &blob.digest);
        all.filter(|blob| !state.has(blob)).cloned().collect()
    }

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

    /// Announces what is to be sent, and sends it.
    async fn send(&self, targets: &[UploadTarget]) -> JoinSet<()> {
        let sizes = self.blobs.iter().flat_map(|blob| {
            let lacking = targets
                .iter()
                .filter(|target| target.upload.needs(&blob.digest));
            lacking.map(|_| blob.size)
        });
        self.settings.progress.expect(Work::Send, sizes);
        self.carry(targets).await
    }

    async fn carry(&self, targets: &[UploadTarget]) -> JoinSet<()> {
        let uploads: Vec<_> = targets
            .iter()
            .map(|target| Arc::clone(&target.upload))
            .collect();
        upload::send(self.blobs, &uploads, &self.settings.slots).await
    }

    /// The manifests and the tags, once the blobs are there.
    async fn arrive(
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

/// The same blobs for a destination that was not asked what it has: what every other one has is
/// read from one of those.
pub(super) fn already_elsewhere(blobs: &Blobs, mount_source: &Destination) -> Blobs {
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

/// The looking of one that has been looked at.
pub(super) fn known_state<'a>(state: Result<DestinationState, PushError>) -> Probing<'a> {
    std::future::ready(state).boxed()
}
