//! Sends what several destinations lack: each blob is read once for all of them, or not at all
//! where a registry can take it from a repository of its own.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::blob_locations::BlobLocations;
use super::blobs::{Blob, BlobReader, BlobSource};
use super::broadcast::{RegistryProgress, StallBudget, Subscriber, Subscription, broadcast};
use super::upload_slots::UploadSlots;
use super::{Destination, PushError, Settings};
use crate::ci::progress::Progress;
use crate::oci::digest::Digest;

/// How many blobs may be under way to one that is not waited for, each with a window of its bytes.
const UNDER_WAY: usize = 16;

/// How long a destination that others need not wait for may hold them up, all in all.
const PATIENCE: Duration = Duration::from_secs(1);

/// A destination while blobs are sent to it.
pub(super) struct DestinationUpload {
    destination: Destination,
    pace: Subscriber,
    missing: HashSet<Digest>,
    locations: Arc<BlobLocations>,
    progress: Progress,
    /// Bounds what one that only keeps up has under way, for that is not waited for.
    slots: Arc<Semaphore>,
    done: Mutex<UploadResult>,
    /// Wakes those that send a blob once another could not be sent.
    failed: Notify,
}

/// What became of a destination's blobs.
#[derive(Default)]
pub(super) struct UploadResult {
    pub(super) sent: HashSet<Digest>,
    pub(super) mounted: HashSet<Digest>,
    pub(super) error: Option<PushError>,
}

impl DestinationUpload {
    /// A destination that lacks these blobs. Others wait for it if it sets the pace.
    pub(super) fn new(
        destination: &Destination,
        missing: HashSet<Digest>,
        is_required: bool,
        locations: &Arc<BlobLocations>,
        settings: &Settings,
    ) -> Arc<Self> {
        let registry = Arc::clone(&destination.registry);
        Arc::new(Self {
            destination: destination.clone(),
            pace: match is_required {
                true => Subscriber::Required(Arc::new(RegistryProgress::new(
                    destination.registry.endpoint().clone(),
                    Arc::clone(locations),
                    move || registry.acknowledged_bytes(),
                ))),
                false => Subscriber::BestEffort(Arc::new(StallBudget::new(PATIENCE))),
            },
            missing,
            locations: Arc::clone(locations),
            progress: settings.progress.clone(),
            slots: Arc::new(Semaphore::new(UNDER_WAY)),
            done: Mutex::default(),
            failed: Notify::new(),
        })
    }

    /// What has become of its blobs so far; taken out.
    pub(super) fn take_done(&self) -> UploadResult {
        std::mem::take(&mut *self.done())
    }

    fn done(&self) -> MutexGuard<'_, UploadResult> {
        self.done.lock()
    }

    fn is_required(&self) -> bool {
        matches!(self.pace, Subscriber::Required(_))
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
                .locations
                .can_mount(endpoint, &own.repository, &others.repository)
    }

    /// True if the other's upload of a blob has to wait for this one's, because their registry
    /// reads one at a time.
    fn goes_before(&self, other: &Self) -> bool {
        let endpoint = self.destination.registry.endpoint();
        self.shares_registry_with(other) && self.locations.is_serial(endpoint)
    }

    fn place(&self, share: Option<Subscription>) -> Arc<BlobReader> {
        BlobReader::new(share, self.destination.stats.clone(), &self.locations)
    }

    async fn send(&self, mut blob: Blob, place: Arc<BlobReader>) {
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
                self.locations
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
        let from = self.locations.mount_source(endpoint, repository, digest)?;
        Some(match registry.mount_blob(repository, digest, &from).await {
            Ok(true) => {
                self.locations.note(endpoint, repository, digest);
                self.destination.stats.mounted(digest);
                self.done().mounted.insert(digest.clone());
                true
            }
            Ok(false) => {
                tracing::debug!("{endpoint} does not mount from {from} into {repository}");
                self.locations
                    .record_mount_refused(endpoint, &from, repository);
                false
            }
            Err(error) => {
                tracing::debug!("{endpoint} does not mount from {from}: {error}");
                self.locations
                    .record_mount_refused(endpoint, &from, repository);
                false
            }
        })
    }
}

/// Sends the blobs that those who set the pace lack, the largest first, because the push lasts as
/// long as the blob that ends last. Whoever else lacks one of these gets it as well, if it keeps up.
///
/// What is returned is still under way to those who are not waited for; dropped, it is broken off.
pub(super) async fn send(
    blobs: &[Blob],
    uploads: &[Arc<DestinationUpload>],
    slots: &UploadSlots,
) -> JoinSet<()> {
    let background_uploads = Mutex::new(JoinSet::new());
    let is_wanted = |blob: &&Blob| {
        let mut required = uploads.iter().filter(|upload| upload.is_required());
        required.any(|upload| upload.needs(&blob.digest))
    };
    let mut wanted: Vec<_> = blobs.iter().filter(is_wanted).collect();
    wanted.sort_by_key(|blob| Reverse(blob.size));
    for batch in [mount_probes(&mut wanted, uploads), wanted] {
        stream::iter(batch)
            .map(|blob| async {
                let _turn = slots.acquire(blob.size).await;
                send_one(blob, uploads, &background_uploads).await;
            })
            .buffer_unordered(slots.all())
            .for_each(std::future::ready)
            .await;
    }
    background_uploads.into_inner()
}

/// Takes out the smallest blob of each registry that might mount one: by it is learned whether the
/// registry does, before larger ones are kept back in the hope of it.
fn mount_probes<'a>(
    wanted: &mut Vec<&'a Blob>,
    uploads: &[Arc<DestinationUpload>],
) -> Vec<&'a Blob> {
    let mut probes: Vec<&Blob> = Vec::new();
    let mut asked: Vec<&DestinationUpload> = Vec::new();
    for upload in uploads {
        if asked.iter().any(|other| other.shares_registry_with(upload)) {
            continue;
        }
        asked.push(upload);
        let there: Vec<_> = uploads
            .iter()
            .filter(|l| l.shares_registry_with(upload))
            .collect();
        let might_mount = |blob: &&&Blob| {
            let needing: Vec<_> = there.iter().filter(|l| l.needs(&blob.digest)).collect();
            let has_donor = |upload: &&&&Arc<DestinationUpload>| {
                let Destination {
                    registry,
                    repository,
                    ..
                } = &upload.destination;
                let donor =
                    upload
                        .locations
                        .mount_source(registry.endpoint(), repository, &blob.digest);
                donor.is_some()
            };
            needing.len() > 1 || needing.iter().any(|upload| has_donor(&upload))
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
async fn send_one(
    blob: &Blob,
    uploads: &[Arc<DestinationUpload>],
    background_uploads: &Mutex<JoinSet<()>>,
) {
    let digest = &blob.digest;
    let needing: Vec<_> = uploads
        .iter()
        .filter(|upload| upload.needs(digest))
        .collect();
    // Who is not waited for mounts later, too.
    let mounting = needing.iter().filter(|upload| upload.is_required());
    join_all(mounting.map(|upload| upload.mount(blob))).await;
    let needing = needing.into_iter().filter(|upload| upload.needs(digest));
    let (required, keeping): (Vec<_>, Vec<_>) = needing.partition(|upload| upload.is_required());
    if required.is_empty() {
        return;
    }

    // The first of a registry gets it sent, the others take it from there.
    let mut senders: Vec<&Arc<DestinationUpload>> = Vec::new();
    for upload in required.into_iter().chain(keeping) {
        let follows = senders
            .iter()
            .any(|sender| sender.may_give_to(upload) || sender.goes_before(upload));
        if !follows {
            senders.push(upload);
        }
    }
    let turn = |upload: &Arc<DestinationUpload>| match upload.is_required() {
        true => Some(None),
        false => Arc::clone(&upload.slots).try_acquire_owned().ok().map(Some),
    };
    // Who has as much under way as it may gets this one later.
    let senders = senders
        .into_iter()
        .filter_map(|upload| Some((upload, turn(upload)?)));
    let (senders, slots): (Vec<_>, Vec<_>) = senders.unzip();
    let places = places(blob, &senders).await;
    let mut required = Vec::new();
    for ((upload, turn), place) in senders.into_iter().zip(slots).zip(places) {
        let is_waited_for = turn.is_none();
        let (upload, blob) = (Arc::clone(upload), blob.clone());
        let sending = async move {
            upload.send(blob, place).await;
            drop(turn);
        };
        if is_waited_for {
            required.push(sending);
        } else {
            let mut background_uploads = background_uploads.lock();
            background_uploads.spawn(sending);
        }
    }
    join_all(required).await;
    // Those, and who left the read because its registry reads one upload at a time.
    let following = uploads
        .iter()
        .filter(|upload| upload.is_required() && upload.needs(digest));
    let following = following.map(|upload| async move {
        if !upload.mount(blob).await {
            upload.send(blob.clone(), upload.place(None)).await;
        }
    });
    join_all(following).await;
}

/// A place for each in one read of the blob.
async fn places(blob: &Blob, uploads: &[&Arc<DestinationUpload>]) -> Vec<Arc<BlobReader>> {
    if let (BlobSource::Source(source, key), [first, _, ..]) = (&blob.origin, uploads)
        // Where it cannot be opened, whoever opens it for itself is told why.
        && let Ok(bytes) = source.open_blob(key, 0).await
    {
        if first.locations.read(key) {
            first.destination.stats.read_again(blob.size);
        }
        let required = uploads.iter().map(|upload| upload.pace.clone()).collect();
        let shares = uploads.iter().zip(broadcast(bytes, required));
        return shares
            .map(|(upload, share)| upload.place(Some(share)))
            .collect();
    }
    uploads.iter().map(|upload| upload.place(None)).collect()
}
