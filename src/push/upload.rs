//! Sends what several destinations lack: each blob is read once for all of them, or not at all
//! where a registry can take it from a repository of its own.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::blob_locations::Holdings;
use super::blobs::{Blob, Origin, Place};
use super::broadcast::{Pace, Patience, Share, share};
use super::upload_slots::Turns;
use super::{Destination, PushError, Settings};
use crate::ci::progress::Progress;
use crate::oci::digest::Digest;

/// How many blobs may be under way to one that is not waited for, each with a window of its bytes.
const UNDER_WAY: usize = 16;

/// How long a destination that others need not wait for may hold them up, all in all.
const PATIENCE: Duration = Duration::from_secs(1);

/// A destination while blobs are sent to it.
pub(super) struct Lane {
    destination: Destination,
    pace: Pace,
    missing: HashSet<Digest>,
    holdings: Arc<Holdings>,
    progress: Progress,
    /// Bounds what one that only keeps up has under way, for that is not waited for.
    turns: Arc<Semaphore>,
    done: Mutex<Done>,
    /// Wakes those that send a blob once another could not be sent.
    failed: Notify,
}

/// What became of a destination's blobs.
#[derive(Default)]
pub(super) struct Done {
    pub(super) sent: HashSet<Digest>,
    pub(super) mounted: HashSet<Digest>,
    pub(super) error: Option<PushError>,
}

impl Lane {
    /// A destination that lacks these blobs. Others wait for it if it sets the pace.
    pub(super) fn new(
        destination: &Destination,
        missing: HashSet<Digest>,
        sets_pace: bool,
        holdings: &Arc<Holdings>,
        settings: &Settings,
    ) -> Arc<Self> {
        Arc::new(Self {
            destination: destination.clone(),
            pace: match sets_pace {
                true => Pace::Sets,
                false => Pace::Keeps(Arc::new(Patience::new(PATIENCE))),
            },
            missing,
            holdings: Arc::clone(holdings),
            progress: settings.progress.clone(),
            turns: Arc::new(Semaphore::new(UNDER_WAY)),
            done: Mutex::default(),
            failed: Notify::new(),
        })
    }

    /// What has become of its blobs so far; taken out.
    pub(super) fn take_done(&self) -> Done {
        std::mem::take(&mut *self.done())
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sets_pace(&self) -> bool {
        matches!(self.pace, Pace::Sets)
    }

    /// True when the blob is still to be brought there.
    pub(super) fn needs(&self, digest: &Digest) -> bool {
        let done = self.done();
        let is_there = done.sent.contains(digest) || done.mounted.contains(digest);
        self.missing.contains(digest) && !is_there && done.error.is_none()
    }

    fn shares_registry_with(&self, other: &Self) -> bool {
        self.destination.registry.endpoint() == other.destination.registry.endpoint()
    }

    /// True when the other's repository may take from this one's what this one has got.
    fn may_give_to(&self, other: &Self) -> bool {
        let (own, others) = (&self.destination, &other.destination);
        let endpoint = own.registry.endpoint();
        self.shares_registry_with(other)
            && self
                .holdings
                .may_mount(endpoint, &own.repository, &others.repository)
    }

    fn place(&self, share: Option<Share>) -> Arc<Place> {
        Place::new(share, self.destination.tally.clone(), &self.holdings)
    }

    async fn send(&self, mut blob: Blob, place: Arc<Place>) {
        blob.place = Some(Arc::clone(&place));
        let sent = tokio::select! {
            sent = blob.send(&self.destination, &self.progress) => sent,
            () = self.has_failed() => return,
        };
        match sent {
            Ok(()) => {
                let Destination {
                    registry,
                    repository,
                    ..
                } = &self.destination;
                self.holdings
                    .note(registry.endpoint(), repository, &blob.digest);
                self.done().sent.insert(blob.digest);
            }
            // It is sent later, with a read of its own.
            Err(_) if place.is_behind() => {
                tracing::info!(
                    "{} falls behind the others and gets {} later",
                    self.destination.name(),
                    blob.digest
                );
            }
            Err(error) => {
                self.done().error.get_or_insert(error);
                self.failed.notify_waiters();
            }
        }
    }

    /// Ends once a blob could not be sent: without it the others are of no use.
    async fn has_failed(&self) {
        let mut failed = std::pin::pin!(self.failed.notified());
        failed.as_mut().enable();
        let is_failed = self.done().error.is_some();
        if !is_failed {
            failed.await;
        }
    }

    /// Mounts the blob from another repository of the registry, if one is known to hold it. One that
    /// could not be sent is tried from each.
    async fn mount(&self, blob: &Blob) -> bool {
        loop {
            match self.mount_once(&blob.digest).await {
                Some(false) if blob.is_absent() => {}
                mounted => return mounted.unwrap_or(false),
            }
        }
    }

    /// `None` if there is no repository to mount it from.
    async fn mount_once(&self, digest: &Digest) -> Option<bool> {
        let Destination {
            registry,
            repository,
            ..
        } = &self.destination;
        let endpoint = registry.endpoint();
        let from = self.holdings.donor(endpoint, repository, digest)?;
        Some(match registry.mount_blob(repository, digest, &from).await {
            Ok(true) => {
                self.holdings.note(endpoint, repository, digest);
                self.destination.tally.mounted(digest);
                self.done().mounted.insert(digest.clone());
                true
            }
            Ok(false) => {
                tracing::debug!("{endpoint} does not mount from {from} into {repository}");
                self.holdings.refuse(endpoint, &from, repository);
                false
            }
            Err(error) => {
                tracing::debug!("{endpoint} does not mount from {from}: {error}");
                self.holdings.refuse(endpoint, &from, repository);
                false
            }
        })
    }
}

/// Sends the blobs that those who set the pace lack, the largest first, because the push lasts as
/// long as the blob that ends last. Whoever else lacks one of these gets it as well, if it keeps up.
///
/// What is returned is still under way to those who are not waited for; dropped, it is broken off.
pub(super) async fn send(blobs: &[Blob], lanes: &[Arc<Lane>], turns: &Turns) -> JoinSet<()> {
    let stragglers = Mutex::new(JoinSet::new());
    let is_wanted = |blob: &&Blob| {
        let mut pacing = lanes.iter().filter(|lane| lane.sets_pace());
        pacing.any(|lane| lane.needs(&blob.digest))
    };
    let mut wanted: Vec<_> = blobs.iter().filter(is_wanted).collect();
    wanted.sort_by_key(|blob| Reverse(blob.size));
    for batch in [probes(&mut wanted, lanes), wanted] {
        stream::iter(batch)
            .map(|blob| async {
                let _turn = turns.take(blob.size).await;
                send_one(blob, lanes, &stragglers).await;
            })
            .buffer_unordered(turns.all())
            .for_each(std::future::ready)
            .await;
    }
    stragglers
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Takes out the smallest blob of each registry that might mount one: by it is learned whether the
/// registry does, before larger ones are kept back in the hope of it.
fn probes<'a>(wanted: &mut Vec<&'a Blob>, lanes: &[Arc<Lane>]) -> Vec<&'a Blob> {
    let mut probes: Vec<&Blob> = Vec::new();
    let mut asked: Vec<&Lane> = Vec::new();
    for lane in lanes {
        if asked.iter().any(|other| other.shares_registry_with(lane)) {
            continue;
        }
        asked.push(lane);
        let there: Vec<_> = lanes
            .iter()
            .filter(|l| l.shares_registry_with(lane))
            .collect();
        let might_mount = |blob: &&&Blob| {
            let needing: Vec<_> = there.iter().filter(|l| l.needs(&blob.digest)).collect();
            let has_donor = |lane: &&&&Arc<Lane>| {
                let Destination {
                    registry,
                    repository,
                    ..
                } = &lane.destination;
                let donor = lane
                    .holdings
                    .donor(registry.endpoint(), repository, &blob.digest);
                donor.is_some()
            };
            needing.len() > 1 || needing.iter().any(|lane| has_donor(&lane))
        };
        if let Some(blob) = wanted.iter().rev().find(might_mount).copied()
            && !probes.iter().any(|probe| probe.digest == blob.digest)
        {
            probes.push(blob);
        }
    }
    wanted.retain(|blob| !probes.iter().any(|probe| probe.digest == blob.digest));
    probes
}

/// Brings one blob to everyone who lacks it.
async fn send_one(blob: &Blob, lanes: &[Arc<Lane>], stragglers: &Mutex<JoinSet<()>>) {
    let digest = &blob.digest;
    let needing: Vec<_> = lanes.iter().filter(|lane| lane.needs(digest)).collect();
    // Who is not waited for mounts later, too.
    let mounting = needing.iter().filter(|lane| lane.sets_pace());
    join_all(mounting.map(|lane| lane.mount(blob))).await;
    let needing = needing.into_iter().filter(|lane| lane.needs(digest));
    let (pacing, keeping): (Vec<_>, Vec<_>) = needing.partition(|lane| lane.sets_pace());
    if pacing.is_empty() {
        return;
    }

    // The first of a registry gets it sent, the others take it from there.
    let (mut senders, mut followers): (Vec<&Arc<Lane>>, Vec<&Arc<Lane>>) = Default::default();
    for lane in pacing.into_iter().chain(keeping) {
        let may_mount = senders.iter().any(|sender| sender.may_give_to(lane));
        match may_mount {
            true if lane.sets_pace() => followers.push(lane),
            true => {}
            false => senders.push(lane),
        }
    }
    let turn = |lane: &Arc<Lane>| match lane.sets_pace() {
        true => Some(None),
        false => Arc::clone(&lane.turns).try_acquire_owned().ok().map(Some),
    };
    // Who has as much under way as it may gets this one later.
    let senders = senders
        .into_iter()
        .filter_map(|lane| Some((lane, turn(lane)?)));
    let (senders, turns): (Vec<_>, Vec<_>) = senders.unzip();
    let places = places(blob, &senders).await;
    let mut pacing = Vec::new();
    for ((lane, turn), place) in senders.into_iter().zip(turns).zip(places) {
        let is_waited_for = turn.is_none();
        let (lane, blob) = (Arc::clone(lane), blob.clone());
        let sending = async move {
            lane.send(blob, place).await;
            drop(turn);
        };
        if is_waited_for {
            pacing.push(sending);
        } else {
            let mut stragglers = stragglers.lock().unwrap_or_else(PoisonError::into_inner);
            stragglers.spawn(sending);
        }
    }
    join_all(pacing).await;
    let following = followers.into_iter().map(|lane| async move {
        if !lane.mount(blob).await {
            lane.send(blob.clone(), lane.place(None)).await;
        }
    });
    join_all(following).await;
}

/// A place for each in one read of the blob.
async fn places(blob: &Blob, lanes: &[&Arc<Lane>]) -> Vec<Arc<Place>> {
    if let (Origin::Source(source, key), [first, _, ..]) = (&blob.origin, lanes)
        // Where it cannot be opened, whoever opens it for itself is told why.
        && let Ok(bytes) = source.open_blob(key, 0).await
    {
        if first.holdings.read(key) {
            first.destination.tally.reread(blob.size);
        }
        let paces = lanes.iter().map(|lane| lane.pace.clone()).collect();
        let shares = lanes.iter().zip(share(bytes, paces));
        return shares
            .map(|(lane, share)| lane.place(Some(share)))
            .collect();
    }
    lanes.iter().map(|lane| lane.place(None)).collect()
}
