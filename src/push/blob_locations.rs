//! The known locations of blobs: which repositories have a blob, between which repositories mounts
//! are refused, and which blobs were read from the source. All pushes of one process share them.

use std::collections::{HashMap, HashSet};

use parking_lot::{Mutex, MutexGuard};

use crate::oci::digest::Digest;
use crate::oci::reference::Endpoint;

/// The known locations of the blobs of a run.
#[derive(Debug, Default)]
pub struct BlobLocations(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The repositories that have a blob, by registry.
    holders: HashMap<(Endpoint, Digest), Vec<String>>,
    /// The repositories that may have a blob: those of base images.
    candidates: HashMap<(Endpoint, Digest), Vec<String>>,
    /// The registry, the source repository and the target repository of refused mounts.
    refused: HashSet<(Endpoint, String, String)>,
    /// The registries that read one upload at a time.
    serial: HashSet<Endpoint>,
    /// The blobs that were read from a source before.
    read: HashSet<Digest>,
}

impl BlobLocations {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }

    /// Records that a repository has a blob.
    pub(super) fn record(&self, endpoint: &Endpoint, repository: &str, digest: &Digest) {
        let mut known = self.known();
        let key = (endpoint.clone(), digest.clone());
        let holders = known.holders.entry(key).or_default();
        if !holders.iter().any(|known| known == repository) {
            holders.push(repository.to_owned());
        }
    }

    /// Forgets the matching blobs of a repository.
    pub(super) fn forget(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        is_forgotten: impl Fn(&Digest) -> bool,
    ) {
        for ((at, digest), holders) in &mut self.known().holders {
            if at == endpoint && is_forgotten(digest) {
                holders.retain(|holder| holder != repository);
            }
        }
    }

    /// Records that a repository may have a blob, so that a mount from it is tried.
    pub(super) fn record_candidate(&self, endpoint: &Endpoint, repository: &str, digest: &Digest) {
        let mut known = self.known();
        let key = (endpoint.clone(), digest.clone());
        let candidates = known.candidates.entry(key).or_default();
        candidates.push(repository.to_owned());
    }

    /// Returns whether the repository is known to have the blob.
    pub(super) fn has(&self, endpoint: &Endpoint, repository: &str, digest: &Digest) -> bool {
        let known = self.known();
        let holders = known.holders.get(&(endpoint.clone(), digest.clone()));
        holders.is_some_and(|holders| holders.iter().any(|known| known == repository))
    }

    /// Returns whether any repository of the registry is known to have the blob.
    pub fn are_known_at(&self, endpoint: &Endpoint, digest: &Digest) -> bool {
        let known = self.known();
        let holders = known.holders.get(&(endpoint.clone(), digest.clone()));
        holders.is_some_and(|holders| !holders.is_empty())
    }

    /// Returns another repository of the same registry that the blob may be mounted from.
    pub(super) fn mount_source(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        digest: &Digest,
    ) -> Option<String> {
        let known = self.known();
        let key = (endpoint.clone(), digest.clone());
        let holders = [&known.holders, &known.candidates].map(|all| all.get(&key));
        let holders = holders.into_iter().flatten().flatten();
        let mut others = holders.filter(|holder| *holder != repository);
        others
            .find(|from| !known.is_refused(endpoint, from, repository))
            .cloned()
    }

    /// Returns whether the registry has not refused a mount between two repositories.
    pub(super) fn can_mount(&self, endpoint: &Endpoint, from: &str, to: &str) -> bool {
        !self.known().is_refused(endpoint, from, to)
    }

    /// Records that a registry refused a mount between two repositories.
    pub(super) fn record_mount_refused(&self, endpoint: &Endpoint, from: &str, to: &str) {
        let pair = (endpoint.clone(), from.to_owned(), to.to_owned());
        self.known().refused.insert(pair);
    }

    /// True if the registry is known to read one upload at a time.
    pub(super) fn is_serial(&self, endpoint: &Endpoint) -> bool {
        self.known().serial.contains(endpoint)
    }

    /// Records that a registry reads one upload at a time.
    pub(super) fn record_serial(&self, endpoint: &Endpoint) {
        self.known().serial.insert(endpoint.clone());
    }

    /// Records that a blob is read from the source. Returns whether it was read before.
    pub(super) fn mark_read(&self, digest: &Digest) -> bool {
        !self.known().read.insert(digest.clone())
    }
}

impl Known {
    fn is_refused(&self, endpoint: &Endpoint, from: &str, to: &str) -> bool {
        let pair = (endpoint.clone(), from.to_owned(), to.to_owned());
        self.refused.contains(&pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_is_mounted_until_a_mount_is_refused() {
        let locations = BlobLocations::default();
        let here: Endpoint = "gcr.io".parse().unwrap();
        let elsewhere: Endpoint = "eu.gcr.io".parse().unwrap();
        let digest = Digest::of(b"layer");
        locations.record(&here, "p/a", &digest);
        assert_eq!(
            locations.mount_source(&here, "p/b", &digest).as_deref(),
            Some("p/a")
        );
        assert_eq!(locations.mount_source(&here, "p/a", &digest), None);
        assert_eq!(locations.mount_source(&elsewhere, "p/b", &digest), None);
        locations.record_mount_refused(&here, "p/a", "p/b");
        assert_eq!(locations.mount_source(&here, "p/b", &digest), None);
        assert!(locations.mount_source(&here, "p/c", &digest).is_some());
        assert!(locations.has(&here, "p/a", &digest) && !locations.has(&here, "p/b", &digest));
    }
}
