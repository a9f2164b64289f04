//! A destination of one push, and everything that is known of it: which blobs it has and how they
//! came there, where its tags point, and what came of the push.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::blobs::Blobs;
use super::{BlobLocations, PushError, Pushed, TagLog};
use crate::oci::digest::Digest;
use crate::oci::manifest::Descriptor;
use crate::registry::Registry;

/// A repository that the image is pushed to, and its tags there.
pub struct Destination {
    /// The client of the destination's registry.
    pub registry: Arc<Registry>,
    /// The repository path, without the host.
    pub repository: String,
    /// The tags. Empty if the image is pushed by digest only.
    pub tags: Vec<String>,
    /// Whether its failure does not fail the run.
    pub best_effort: bool,
    /// The state of every tag of the run.
    pub tag_log: TagLog,
    pub(super) locations: Arc<BlobLocations>,
    pub(super) state: Mutex<DestinationState>,
    /// Wakes the transfers of other blobs when the destination has failed.
    pub(super) finished: Notify,
}

/// How a blob came to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BlobState {
    /// The destination had it before the push.
    Present,
    /// This push mounted it from another repository.
    Mounted,
    /// This push sent so many bytes of it: its size, once for each time that it was sent.
    Uploaded(u64),
}

/// What is known of a destination. It is kept when a push starts again.
#[derive(Default)]
pub(super) struct DestinationState {
    /// The digest of each tag before the push, in the destination's order. `None` if the tag is
    /// new. `None` before they are known.
    pub(super) tags: Option<Vec<Option<Digest>>>,
    /// Whether the image's manifest is at the destination. A registry accepts a manifest only if it
    /// has everything that the manifest names, so all blobs are there too.
    pub(super) image_is_present: bool,
    /// For each referrer of the image, whether it is at the destination.
    pub(super) referrers: Vec<bool>,
    /// Whether the repository has no image yet, so that it is unlikely to have any blob.
    pub(super) is_empty: bool,
    /// Every blob that the destination has.
    blobs: HashMap<Digest, BlobState>,
    /// The number of blobs that were read from the source again, and their bytes.
    reread: (u64, u64),
    /// The digests that this push put under the tags.
    tagged: HashMap<String, Digest>,
    /// What came of the push. `None` while it goes on.
    result: Option<Result<Pushed, PushError>>,
}

impl Destination {
    /// Returns `host/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry.endpoint(), self.repository)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, DestinationState> {
        self.state.lock()
    }

    /// Returns whether the other repository is in the same registry.
    pub(super) fn shares_registry_with(&self, other: &Self) -> bool {
        self.registry.endpoint() == other.registry.endpoint()
    }

    /// Returns whether the push to it goes on.
    pub(super) fn is_open(&self) -> bool {
        self.state().result.is_none()
    }

    /// Ends the push to it, unless it has ended.
    pub(super) fn finish(&self, result: Result<Pushed, PushError>) {
        self.state().result.get_or_insert(result);
        self.finished.notify_waiters();
    }

    /// Ends the push to it if the result is known.
    pub(super) fn finish_if(&self, result: Result<Option<Pushed>, PushError>) {
        if let Some(result) = result.transpose() {
            self.finish(result);
        }
    }

    /// Resolves once the push to it has ended.
    pub(super) async fn until_finished(&self) {
        let mut finished = std::pin::pin!(self.finished.notified());
        finished.as_mut().enable();
        if self.is_open() {
            finished.await;
        }
    }

    /// Takes what came of the push. What has not ended has timed out.
    pub(super) fn take_result(&self, after: Duration) -> Result<Pushed, PushError> {
        let result = self.state().result.take();
        result.unwrap_or_else(|| Err(self.timed_out(after)))
    }

    /// Creates the error of a push that was given up after nothing had moved for this time.
    pub(super) fn timed_out(&self, after: Duration) -> PushError {
        PushError::TimedOut {
            destination: self.name(),
            after,
        }
    }

    /// Replaces what came of the push.
    pub(super) fn replace_result(&self, result: Result<Pushed, PushError>) {
        self.state().result = Some(result);
    }

    /// Returns what `ask` answers about the result. `None` if the push has not ended.
    pub(super) fn of_result<T>(
        &self,
        ask: impl FnOnce(&Result<Pushed, PushError>) -> T,
    ) -> Option<T> {
        self.state().result.as_ref().map(ask)
    }

    /// Starts the push again. What it was believed to have from earlier images may be gone.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.tags = None;
        state.image_is_present = false;
        state.result = None;
        state.blobs.retain(|_, blob| *blob != BlobState::Present);
        let (endpoint, repository) = (self.registry.endpoint(), &self.repository);
        self.locations
            .forget(endpoint, repository, |blob| !state.blobs.contains_key(blob));
    }

    /// Returns whether the destination has the blob, so that it need not be sent.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.state().blobs.contains_key(digest)
    }

    /// Returns whether the blob is still to be sent or mounted.
    pub(super) fn needs(&self, digest: &Digest) -> bool {
        let state = self.state();
        state.result.is_none() && !state.blobs.contains_key(digest)
    }

    /// Records that the destination has a blob. One that was sent stays so if it is found later.
    pub(super) fn record(&self, digest: &Digest, found: BlobState) {
        let mut state = self.state();
        let known = state.blobs.get(digest).copied();
        let now = match (known, found) {
            (Some(BlobState::Uploaded(before)), BlobState::Uploaded(bytes)) => {
                BlobState::Uploaded(before + bytes)
            }
            (Some(known), found) => known.max(found),
            (None, found) => found,
        };
        state.blobs.insert(digest.clone(), now);
        self.locations
            .record(self.registry.endpoint(), &self.repository, digest);
    }

    /// Records the blobs of a manifest that is at the destination.
    pub(super) fn record_present<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) {
        for blob in blobs {
            self.record(&blob.digest, BlobState::Present);
        }
    }

    /// Records that a blob was read from the source again.
    pub(super) fn record_reread(&self, size: u64) {
        let mut state = self.state();
        state.reread.0 += 1;
        state.reread.1 += size;
    }

    /// Records that a tag was set.
    pub(super) fn record_tagged(&self, tag: &str, digest: &Digest) {
        let mut state = self.state();
        state.tagged.insert(tag.to_owned(), digest.clone());
    }

    /// Returns whether this push put the digest under the tag.
    pub(super) fn has_tagged(&self, tag: &str, digest: &Digest) -> bool {
        self.state().tagged.get(tag) == Some(digest)
    }

    /// Returns the number of blobs that were read from the source again, and their bytes.
    pub(super) fn reread(&self) -> (u64, u64) {
        self.state().reread
    }

    /// Returns the bytes of all blobs that were sent, and of those of the image that were mounted
    /// and that were there before.
    pub(super) fn totals(&self, blobs: &Blobs) -> (u64, u64, u64) {
        let state = self.state();
        let sent = state.blobs.values().map(|blob| match blob {
            BlobState::Uploaded(bytes) => *bytes,
            BlobState::Mounted | BlobState::Present => 0,
        });
        let bytes = |counted: BlobState| -> u64 {
            let of_state = |digest: &Digest| {
                let known = state.blobs.get(digest).copied();
                known.unwrap_or(BlobState::Present) == counted
            };
            let counted = blobs.iter().filter(|blob| of_state(&blob.digest));
            counted.map(|blob| blob.size).sum()
        };
        (
            sent.sum(),
            bytes(BlobState::Mounted),
            bytes(BlobState::Present),
        )
    }
}
