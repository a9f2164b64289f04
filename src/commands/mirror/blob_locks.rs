//! Images that are brought at once and share blobs take turns with them, so that the second finds
//! what the first has brought and takes it from there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::oci::digest::Digest;

/// Who is bringing which blob.
#[derive(Default)]
pub(super) struct BlobLocks(SyncMutex<HashMap<Digest, Arc<Mutex<()>>>>);

impl BlobLocks {
    /// Waits until nobody else brings any of `blobs`, and keeps them until the guards are dropped.
    /// One that `is_there` by then needs no keeping.
    pub(super) async fn take(
        &self,
        blobs: BTreeSet<Digest>,
        is_there: impl Fn(&Digest) -> bool,
    ) -> Vec<OwnedMutexGuard<()>> {
        let mut taken = Vec::new();
        // Everybody takes them in one order, so that no two wait for each other.
        for digest in blobs {
            if is_there(&digest) {
                continue;
            }
            let claim = {
                let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(locks.entry(digest.clone()).or_default())
            };
            let guard = claim.lock_owned().await;
            if !is_there(&digest) {
                taken.push(guard);
            }
        }
        taken
    }
}
