//! Locks on blobs. Images that share a blob and are copied at the same time copy it once: the second
//! image waits and finds the blob at the destination.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::oci::digest::Digest;

/// One lock for each blob that is being copied.
#[derive(Default)]
pub(super) struct BlobLocks(parking_lot::Mutex<HashMap<Digest, Arc<Mutex<()>>>>);

impl BlobLocks {
    /// Waits until no other image copies any of `blobs`, and locks those that do not exist by then.
    pub(super) async fn acquire(
        &self,
        blobs: BTreeSet<Digest>,
        exists: impl Fn(&Digest) -> bool,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut guards = Vec::new();
        // All images lock in the order of the set, so that no two wait for each other.
        for digest in blobs {
            if exists(&digest) {
                continue;
            }
            let lock = {
                let mut locks = self.0.lock();
                Arc::clone(locks.entry(digest.clone()).or_default())
            };
            let guard = lock.lock_owned().await;
            if !exists(&digest) {
                guards.push(guard);
            }
        }
        guards
    }
}
