//! Locks on blobs, so that images copied at once that share a blob copy it once: the second finds what
//! the first has copied.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::oci::digest::Digest;

/// One lock for each blob that is being copied.
#[derive(Default)]
pub(super) struct BlobLocks(parking_lot::Mutex<HashMap<Digest, Arc<Mutex<()>>>>);

impl BlobLocks {
    /// Waits until no other image copies any of `blobs`, and locks those that do not `exist` by then.
    pub(super) async fn acquire(
        &self,
        blobs: BTreeSet<Digest>,
        exists: impl Fn(&Digest) -> bool,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut guards = Vec::new();
        // A set has one order for all, so that no two images wait for each other.
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
