//! What one push did at one destination, counted where it happens.
//!
//! A push may begin anew, and a blob may have to be sent again: what was done before counts as well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::oci::digest::Digest;

/// The count of one destination; clones share it.
#[derive(Clone, Debug, Default)]
pub struct TransferStats(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// The bytes that were sent of each blob, all times together.
    sent: HashMap<Digest, u64>,
    mounted: HashSet<Digest>,
    /// The blobs that were read from the source again, and their bytes.
    reread: (u64, u64),
    tags: HashMap<String, Digest>,
}

impl TransferStats {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock()
    }

    /// A blob was sent.
    pub(super) fn sent(&self, digest: &Digest, size: u64) {
        *self.counts().sent.entry(digest.clone()).or_default() += size;
    }

    /// A blob was mounted from another repository.
    pub(super) fn mounted(&self, digest: &Digest) {
        self.counts().mounted.insert(digest.clone());
    }

    /// A blob was read from the source again.
    pub(super) fn read_again(&self, size: u64) {
        let mut counts = self.counts();
        counts.reread.0 += 1;
        counts.reread.1 += size;
    }

    /// A tag was set.
    pub(super) fn tagged(&self, tag: &str, digest: &Digest) {
        self.counts().tags.insert(tag.to_owned(), digest.clone());
    }

    /// True when it was this push that sent the blob.
    pub(super) fn has_sent(&self, digest: &Digest) -> bool {
        self.counts().sent.contains_key(digest)
    }

    /// True when it was this push that had the blob mounted, and never had to send it.
    pub(super) fn has_mounted(&self, digest: &Digest) -> bool {
        let counts = self.counts();
        counts.mounted.contains(digest) && !counts.sent.contains_key(digest)
    }

    /// True when it was this push that put the digest under the tag.
    pub(super) fn has_tagged(&self, tag: &str, digest: &Digest) -> bool {
        self.counts().tags.get(tag) == Some(digest)
    }

    /// The bytes of blobs that were sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.counts().sent.values().sum()
    }

    /// The blobs that had to be read from the source again, and their bytes.
    pub(super) fn rereads(&self) -> (u64, u64) {
        self.counts().reread
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
