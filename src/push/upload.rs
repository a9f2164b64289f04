//! Sends the missing blobs to several destinations. A blob is read once for all of them, or not at all
//! if a registry can mount it from another of its repositories.

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

/// How many blobs may be in flight to a best-effort destination, each with a window of its bytes.
const BEST_EFFORT_BLOBS: usize = 16;

/// How long a best-effort destination may hold up the required ones in all.
const STALL_BUDGET: Duration = Duration::from_secs(1);

/// A destination while blobs are sent to it.
pub(super) struct DestinationUpload {
    destination: Destination,
    subscriber: Subscriber,
    missing: HashSet<Digest>,
    locations: Arc<BlobLocations>,
    progress: Progress,
    /// Bounds the blobs in flight to a best-effort destination.
    slots: Arc<Semaphore>,
    done: Mutex<UploadResult>,
    /// Wakes the senders of other blobs when one blob could not be sent.
    failed: Notify,
}

/// What came of a destination's blobs.
#[derive(Default)]
pub(super) struct UploadResult {
    pub(super) sent: HashSet<Digest>,
    pub(super) mounted: HashSet<Digest>,
    pub(super) error: Option<PushError>,
}

impl DestinationUpload {
    /// A destination that lacks these blobs. The other destinations wait for a required one.
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
            subscriber: if is_required {
                Subscriber::Required(Arc::new(RegistryProgress::new(
                    destination.registry.endpoint().clone(),
                    Arc::clone(locations),
                    move || registry.acknowledged_bytes(),
                )))
            } else {
                Subscriber::BestEffort(Arc::new(StallBudget::new(STALL_BUDGET)))
            },
            missing,
            locations: Arc::clone(locations),
            progress: settings.progress.clone(),
            slots: Arc::new(Semaphore::new(BEST_EFFORT_BLOBS)),
            done: Mutex::default(),
            failed: Notify::new(),
        })
    }

    /// Takes what has come of its blobs so far.
    pub(super) fn take_done(&self) -> UploadResult {
        std::mem::take(&mut *self.done())
    }

    fn done(&self) -> MutexGuard<'_, UploadResult> {
        self.done.lock()
    }

    fn is_required(&self) -> bool {
        matches!(self.subscriber, Subscriber::Required(_))
    }

    /// True if the blob is still to be sent or mounted.
    pub(super) fn needs(&self, digest: &Digest) -> bool {
        let done = self.done();
        let is_there = done.sent.contains(digest) || done.mounted.contains(digest);
        self.missing.contains(digest) && !is_there && done.error.is_none()
    }

    fn shares_registry_with(&self, other: &Self) -> bool {
        self.destination.registry.endpoint() == other.destination.registry.endpoint()
    }

    /// True if the other's repository may mount a blob from this one's.
    fn can_mount_for(&self, other: &Self) -> bool {
        let (own, others) = (&self.destination, &other.destination);
        let endpoint = own.registry.endpoint();
        self.shares_registry_with(other)
            && self
                .locations
                .can_mount(endpoint, &own.repository, &others.repository)
    }

    /// True if the other's upload of a blob has to wait for this one's, because their registry reads
    /// one upload at a time.
    fn goes_before(&self, other: &Self) -> bool {
        let endpoint = self.destination.registry.endpoint();
        self.shares_registry_with(other) && self.locations.is_serial(endpoint)
    }

    fn reader(&self, share: Option<Subscription>) -> Arc<BlobReader> {
        BlobReader::new(share, self.destination.stats.clone(), &self.locations)
    }

    async fn send(&self, mut blob: Blob, reader: Arc<BlobReader>) {
        blob.place = Some(Arc::clone(&reader));
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
                    .record(registry.endpoint(), repository, &blob.digest);
                self.done().sent.insert(blob.digest);
            }
            // The blob is sent later, with a read of its own.
            Err(_) if reader.is_behind() => {
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

    /// Resolves once a blob could not be sent: without it the others are of no use.
    async fn has_failed(&self) {
        let mut failed = std::pin::pin!(self.failed.notified());
        failed.as_mut().enable();
        let is_failed = self.done().error.is_some();
        if !is_failed {
            failed.await;
        }
    }

    /// Mounts the blob from another repository of the registry, if one is known to have it. A blob that
    /// could not be sent is tried from every such repository.
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
                self.locations.record(endpoint, repository, digest);
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

/// Sends the blobs that required destinations lack, the largest first, because the push lasts as
/// long as the blob that ends last. A best-effort destination that lacks one gets it too, if it keeps
/// up.
///
/// Returns the uploads to best-effort destinations that are still running; dropping them aborts them.
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
                let _slot = slots.acquire(blob.size).await;
                send_one(blob, uploads, &background_uploads).await;
            })
            .buffer_unordered(slots.all())
            .for_each(std::future::ready)
            .await;
    }
    background_uploads.into_inner()
}

/// Takes out, for each registry that might mount a blob, the smallest such blob: it shows whether the
/// registry mounts at all, before larger blobs wait for a mount.
fn mount_probes<'a>(
    wanted: &mut Vec<&'a Blob>,
    uploads: &[Arc<DestinationUpload>],
) -> Vec<&'a Blob> {
    let mut probes: Vec<&Blob> = Vec::new();
    let mut probed: Vec<&DestinationUpload> = Vec::new();
    for upload in uploads {
        if probed
            .iter()
            .any(|other| other.shares_registry_with(upload))
        {
            continue;
        }
        probed.push(upload);
        let there: Vec<_> = uploads
            .iter()
            .filter(|l| l.shares_registry_with(upload))
            .collect();
        let might_mount = |blob: &&&Blob| {
            let needing: Vec<_> = there.iter().filter(|l| l.needs(&blob.digest)).collect();
            let has_mount_source = |upload: &&&&Arc<DestinationUpload>| {
                let Destination {
                    registry,
                    repository,
                    ..
                } = &upload.destination;
                let source =
                    upload
                        .locations
                        .mount_source(registry.endpoint(), repository, &blob.digest);
                source.is_some()
            };
            needing.len() > 1 || needing.iter().any(|upload| has_mount_source(&upload))
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

/// Sends one blob to every destination that lacks it.
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
    // A best-effort destination mounts in its own upload.
    let mounting = needing.iter().filter(|upload| upload.is_required());
    join_all(mounting.map(|upload| upload.mount(blob))).await;
    let needing = needing.into_iter().filter(|upload| upload.needs(digest));
    let (required, best_effort): (Vec<_>, Vec<_>) =
        needing.partition(|upload| upload.is_required());
    if required.is_empty() {
        return;
    }

    // The first destination of a registry gets the upload, the others mount from it.
    let mut senders: Vec<&Arc<DestinationUpload>> = Vec::new();
    for upload in required.into_iter().chain(best_effort) {
        let follows = senders
            .iter()
            .any(|sender| sender.can_mount_for(upload) || sender.goes_before(upload));
        if !follows {
            senders.push(upload);
        }
    }
    let permit = |upload: &Arc<DestinationUpload>| {
        if upload.is_required() {
            Some(None)
        } else {
            Arc::clone(&upload.slots).try_acquire_owned().ok().map(Some)
        }
    };
    // A best-effort destination without a free slot gets the blob later.
    let senders = senders
        .into_iter()
        .filter_map(|upload| Some((upload, permit(upload)?)));
    let (senders, slots): (Vec<_>, Vec<_>) = senders.unzip();
    let readers = readers(blob, &senders).await;
    let mut required = Vec::new();
    for ((upload, permit), reader) in senders.into_iter().zip(slots).zip(readers) {
        let is_required = permit.is_none();
        let (upload, blob) = (Arc::clone(upload), blob.clone());
        let sending = async move {
            upload.send(blob, reader).await;
            drop(permit);
        };
        if is_required {
            required.push(sending);
        } else {
            let mut background_uploads = background_uploads.lock();
            background_uploads.spawn(sending);
        }
    }
    join_all(required).await;
    // These, and those that left the shared read because their registry reads one upload at a time.
    let following = uploads
        .iter()
        .filter(|upload| upload.is_required() && upload.needs(digest));
    let following = following.map(|upload| async move {
        if !upload.mount(blob).await {
            upload.send(blob.clone(), upload.reader(None)).await;
        }
    });
    join_all(following).await;
}

/// One reader for each upload, all of one read of the blob.
async fn readers(blob: &Blob, uploads: &[&Arc<DestinationUpload>]) -> Vec<Arc<BlobReader>> {
    if let (BlobSource::Source(source, key), [first, _, ..]) = (&blob.origin, uploads)
        // If it cannot be opened, each destination that opens it itself reports why.
        && let Ok(bytes) = source.open_blob(key, 0).await
    {
        if first.locations.mark_read(key) {
            first.destination.stats.read_again(blob.size);
        }
        let required = uploads
            .iter()
            .map(|upload| upload.subscriber.clone())
            .collect();
        let shares = uploads.iter().zip(broadcast(bytes, required));
        return shares
            .map(|(upload, share)| upload.reader(Some(share)))
            .collect();
    }
    uploads.iter().map(|upload| upload.reader(None)).collect()
}
