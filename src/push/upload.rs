//! Sends the blobs of an image to the destinations that lack them. A blob is read once for all of them,
//! or not at all if a registry can mount it from another of its repositories.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;

use super::blobs::{Blob, BlobSource};
use super::broadcast::{Subscriber, Subscription, broadcast};
use super::destination::{BlobState, Destination};
use super::prepare::Preparation;
use super::{PushError, Settings};
use crate::ci::progress::{Progress, Work};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

/// Sends every blob of an image as soon as it is ready to each destination that lacks it. The push to
/// a destination ends if a blob cannot be sent to it.
///
/// Of the blobs that are ready the largest are first, because the push lasts as long as the blob that
/// ends last.
///
/// # Errors
///
/// If the image cannot be prepared.
pub(super) async fn upload(
    preparation: &mut Preparation<'_>,
    destinations: &[Destination],
    settings: &Settings,
) -> Result<(), PushError> {
    let upload = Upload {
        destinations,
        settings,
    };
    let is_lacking = |blob: &&Blob| upload.lacking(&blob.digest).next().is_some();
    let mut ready: Vec<_> = preparation
        .blobs()
        .iter()
        .filter(is_lacking)
        .cloned()
        .collect();
    ready.sort_by_key(|blob| Reverse(blob.size));
    let sizes = ready.iter().flat_map(|blob| {
        let times = upload.lacking(&blob.digest).count();
        std::iter::repeat_n(blob.size, times)
    });
    settings.progress.expect(Work::Send, sizes);
    let probes = upload.mount_probes(&mut ready);
    upload.send_all(stream::iter(probes).map(Ok)).await?;
    let made = stream::try_unfold(preparation, async |preparation| {
        let next = preparation.next().await?;
        Ok(next.map(|blob| (blob, preparation)))
    });
    let made = made.and_then(async |blob| {
        let open = destinations.iter().filter(|one| one.is_open());
        let probes = open.map(async |destination| {
            let probed = destination
                .probe_blobs(std::slice::from_ref(&blob), 1)
                .await;
            destination.finish_if(probed.map(|()| None));
        });
        join_all(probes).await;
        Ok(blob)
    });
    let ready = stream::iter(ready).map(Ok);
    upload.send_all(stream::select(ready, made)).await
}

struct Upload<'a> {
    destinations: &'a [Destination],
    settings: &'a Settings,
}

impl<'a> Upload<'a> {
    /// Returns the destinations that a blob is still to be sent to.
    fn lacking(&self, digest: &Digest) -> impl Iterator<Item = &'a Destination> {
        let destinations = self.destinations.iter();
        destinations.filter(move |destination| destination.needs(digest))
    }

    /// Takes out, for each registry that might mount a blob, the smallest such blob: it shows whether
    /// the registry mounts at all, before larger blobs wait for a mount.
    fn mount_probes(&self, ready: &mut Vec<Blob>) -> Vec<Blob> {
        let mut probes: Vec<Blob> = Vec::new();
        for (number, destination) in self.destinations.iter().enumerate() {
            let is_there = |other: &&Destination| other.shares_registry_with(destination);
            if self.destinations[..number]
                .iter()
                .any(|other| is_there(&other))
            {
                continue;
            }
            let might_mount = |blob: &Blob| {
                let lacking: Vec<_> = self.lacking(&blob.digest).filter(is_there).collect();
                let has_source = |one: &&Destination| one.mount_source(&blob.digest).is_some();
                lacking.len() > 1 || lacking.iter().any(has_source)
            };
            let smallest = ready.iter().rposition(might_mount);
            probes.extend(smallest.map(|position| ready.remove(position)));
        }
        probes
    }

    /// Sends blobs, several at once, until no destination is left.
    async fn send_all(
        &self,
        blobs: impl Stream<Item = Result<Blob, PushError>>,
    ) -> Result<(), PushError> {
        let is_any_open = || self.destinations.iter().any(Destination::is_open);
        blobs
            .try_take_while(|_| std::future::ready(Ok(is_any_open())))
            .map_ok(async |blob| {
                self.send(&blob).await;
                Ok(())
            })
            .try_buffer_unordered(self.settings.slots.all())
            .try_collect()
            .await
    }

    /// Sends one blob to every destination that lacks it.
    async fn send(&self, blob: &Blob) {
        let _slot = self.settings.slots.acquire(blob.size).await;
        let progress = &self.settings.progress;
        if self.settings.options.dry_run {
            self.lacking(&blob.digest).for_each(|one| one.predict(blob));
            return;
        }
        join_all(self.lacking(&blob.digest).map(|one| one.mount(blob))).await;
        // The first destination of a registry gets the upload, the others mount from it.
        let mut first: Vec<&Destination> = Vec::new();
        for destination in self.lacking(&blob.digest) {
            if !first.iter().any(|sent| destination.waits_for(sent)) {
                first.push(destination);
            }
        }
        let shares = share(blob, &first).await;
        let sending = first.iter().zip(shares);
        join_all(sending.map(|(one, share)| one.send(blob, share, progress))).await;
        // These, and those that left the shared read because their registry reads one upload at a time.
        let following = self.lacking(&blob.digest).map(async |destination| {
            if !destination.mount(blob).await {
                destination.send(blob, None, progress).await;
            }
        });
        join_all(following).await;
    }
}

/// Opens the blob once for all destinations. `None` for one that opens it itself.
async fn share(blob: &Blob, destinations: &[&Destination]) -> Vec<Option<Subscription>> {
    if let [first, _, ..] = destinations
        && blob.is_read_once()
        // If it cannot be opened, each destination that opens it itself reports why.
        && let Ok(bytes) = blob.open(first).await
    {
        let subscribers = destinations.iter().map(|one| one.subscriber());
        let shares = broadcast(bytes, subscribers.collect());
        return shares.into_iter().map(Some).collect();
    }
    destinations.iter().map(|_| None).collect()
}

impl Destination {
    /// Returns whether the upload of a blob has to wait for that to another destination: to mount it
    /// from there, or because their registry reads one upload at a time.
    fn waits_for(&self, other: &Self) -> bool {
        let (locations, endpoint) = (&self.locations, self.registry.endpoint());
        self.shares_registry_with(other)
            && (locations.can_mount(endpoint, &other.repository, &self.repository)
                || locations.is_serial(endpoint))
    }

    fn subscriber(&self) -> Subscriber {
        let registry = Arc::clone(&self.registry);
        let (endpoint, locations) = (registry.endpoint().clone(), Arc::clone(&self.locations));
        Subscriber::new(endpoint, locations, move || registry.acknowledged_bytes())
    }

    /// Sends a blob, by a share of a read if there is one. If the destination leaves that read, the
    /// blob is still to be sent.
    async fn send(&self, blob: &Blob, share: Option<Subscription>, progress: &Progress) {
        let (bytes, mut left) = share.map(|share| (share.bytes, share.left)).unzip();
        let leaves = async {
            match &mut left {
                Some(left) => left.wait().await,
                None => std::future::pending().await,
            }
        };
        let sent = tokio::select! {
            biased;
            () = leaves => return,
            () = self.until_finished() => return,
            sent = blob.send(self, bytes, progress) => sent,
        };
        if let Err(error) = sent
            && !left.is_some_and(|left| left.is_set())
        {
            self.finish(Err(error));
        }
    }

    /// Returns another repository of the registry that the blob may be mounted from.
    fn mount_source(&self, digest: &Digest) -> Option<String> {
        let endpoint = self.registry.endpoint();
        self.locations
            .mount_source(endpoint, &self.repository, digest)
    }

    /// Mounts the blob from another repository of the registry, if one is known to have it. A blob that
    /// cannot be sent is tried from every such repository.
    async fn mount(&self, blob: &Blob) -> bool {
        let (endpoint, repository) = (self.registry.endpoint(), &self.repository);
        while let Some(from) = self.mount_source(&blob.digest) {
            let mounted = self.registry.mount_blob(repository, &blob.digest, &from);
            match mounted.await {
                Ok(true) => {
                    self.record(&blob.digest, BlobState::Mounted);
                    return true;
                }
                Ok(false) => {
                    tracing::debug!("{endpoint} does not mount from {from} into {repository}");
                }
                Err(error) => {
                    tracing::debug!("{endpoint} does not mount from {from}: {error}");
                }
            }
            self.locations
                .record_mount_refused(endpoint, &from, repository);
            if !blob.is_absent() {
                break;
            }
        }
        false
    }

    /// Records what a push would do with a blob, if the registries accept all mounts.
    fn predict(&self, blob: &Blob) {
        if self.mount_source(&blob.digest).is_some() {
            self.record(&blob.digest, BlobState::Mounted);
        } else if blob.is_absent() {
            self.finish(Err(blob.absent_everywhere(self)));
        } else {
            self.record(&blob.digest, BlobState::Uploaded(blob.size));
        }
    }
}

impl Blob {
    /// Uploads the blob to one destination: the bytes of `shared` first, and its own read when that
    /// is retried from the beginning after a temporary error.
    pub(super) async fn send(
        &self,
        destination: &Destination,
        shared: Option<ByteStream>,
        progress: &Progress,
    ) -> Result<(), PushError> {
        let response_was_lost = AtomicBool::new(false);
        let shared = Mutex::new(shared);
        let attempt = || async {
            // The upload may have succeeded although the response was lost.
            if response_was_lost.swap(false, Ordering::Relaxed) && self.exists_at(destination).await
            {
                return Ok(());
            }
            let shared = shared.lock().take();
            let sent = self.send_once(destination, shared, progress).await;
            if let Err(PushError::Registry { cause, .. }) = &sent {
                response_was_lost.store(cause.is_broken(), Ordering::Relaxed);
            }
            sent
        };
        destination.registry.retries().run(attempt).await?;
        destination.record(&self.digest, BlobState::Uploaded(self.size));
        Ok(())
    }

    /// Returns whether the destination has the blob; false if it does not answer.
    async fn exists_at(&self, destination: &Destination) -> bool {
        let has_blob = destination
            .registry
            .has_blob_once(&destination.repository, &self.digest);
        has_blob.await.unwrap_or(false)
    }

    /// Uploads the blob once. If the registry reports a wrong digest, it checks the source's bytes.
    async fn send_once(
        &self,
        destination: &Destination,
        shared: Option<ByteStream>,
        progress: &Progress,
    ) -> Result<(), PushError> {
        if self.is_absent() {
            return Err(self.absent_everywhere(destination));
        }
        let meter = progress.begin(Work::Send, self.digest.short(), self.size);
        let body = match shared {
            Some(shared) => shared,
            None => self.open(destination).await?,
        };
        let sent = destination
            .registry
            .put_blob(
                &destination.repository,
                &self.digest,
                self.size,
                meter.watch(body),
            )
            .await;
        let Err(error) = sent else {
            meter.done();
            return Ok(());
        };
        if let BlobSource::Repository(registry, repository) = &self.origin
            && error.is_unreadable()
        {
            return Err(self.not_read_back(registry, repository, error));
        }
        let reports_digest = matches!(
            error.code(),
            Some("DIGEST_INVALID" | "BLOB_UPLOAD_INVALID" | "SIZE_INVALID")
        );
        if !reports_digest {
            return Err(destination.failed(None, error));
        }
        // Compressed layers and configs were hashed when they were made.
        if let BlobSource::Source(source, key) = &self.origin {
            let actual = source.hash(key).await.map_err(PushError::Source)?;
            if actual != self.digest {
                return Err(PushError::damaged(source, self.digest.clone(), actual));
            }
        }
        Err(match error.code() {
            Some("DIGEST_INVALID" | "SIZE_INVALID") => PushError::Changed {
                destination: destination.name(),
                cause: error,
            },
            _ => destination.failed(None, error),
        })
    }
}
