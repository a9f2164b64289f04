//! Counts what one push transfers to one destination.
//!
//! The counts continue if a push starts again or a blob is sent again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::oci::digest::Digest;

/// The transfers to one destination; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct TransferStats(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// The bytes that were sent of each blob, over all attempts.
    sent: HashMap<Digest, u64>,
    /// The blobs that were mounted from another repository.
    mounted: HashSet<Digest>,
    /// The number of blobs that were read from the source again, and their bytes.
    read_again: (u64, u64),
    /// The digests that this push put under the tags.
    tags: HashMap<String, Digest>,
}

impl TransferStats {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock()
    }

    /// Records that a blob was sent.
    pub(super) fn sent(&self, digest: &Digest, size: u64) {
        *self.counts().sent.entry(digest.clone()).or_default() += size;
    }

    /// Records that a blob was mounted from another repository.
    pub(super) fn mounted(&self, digest: &Digest) {
        self.counts().mounted.insert(digest.clone());
    }

    /// Records that a blob was read from the source again.
    pub(super) fn read_again(&self, size: u64) {
        let mut counts = self.counts();
        counts.read_again.0 += 1;
        counts.read_again.1 += size;
    }

    /// Records that a tag was set.
    pub(super) fn tagged(&self, tag: &str, digest: &Digest) {
        self.counts().tags.insert(tag.to_owned(), digest.clone());
    }

    /// Returns whether this push sent the blob.
    pub(super) fn has_sent(&self, digest: &Digest) -> bool {
        self.counts().sent.contains_key(digest)
    }

    /// Returns whether this push mounted the blob and did not send it.
    pub(super) fn has_mounted(&self, digest: &Digest) -> bool {
        let counts = self.counts();
        counts.mounted.contains(digest) && !counts.sent.contains_key(digest)
    }

    /// Returns whether this push put the digest under the tag.
    pub(super) fn has_tagged(&self, tag: &str, digest: &Digest) -> bool {
        self.counts().tags.get(tag) == Some(digest)
    }

    /// Returns the bytes of the blobs that were sent, over all attempts.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.counts().sent.values().sum()
    }

    /// Returns the number of blobs that were read from the source again, and their bytes.
    pub(super) fn rereads(&self) -> (u64, u64) {
        self.counts().read_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resent_blob_counts_again_and_is_no_longer_mounted() {
        let stats = TransferStats::default();
        let [one, two] = [Digest::of(b"one"), Digest::of(b"two")];
        stats.sent(&one, 10);
        stats.mounted(&two);
        assert!(stats.has_mounted(&two) && !stats.has_sent(&two));
        stats.sent(&one, 10);
        stats.sent(&two, 5);
        assert!(!stats.has_mounted(&two));
        assert_eq!(stats.sent_bytes(), 25);
    }
}
