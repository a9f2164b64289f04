//! Checks the write permission, once for each Artifact Registry repository of a run.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::targets::Target;
use crate::google::preflight::{MissingRole, preflight};
use crate::oci::reference::ArtifactRegistryRepository;
use crate::registry::pool::RegistryPool;

/// The repositories that were checked before; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Preflight(Arc<Mutex<HashSet<ArtifactRegistryRepository>>>);

impl Preflight {
    /// Checks the permissions if this is the first push to the target's repository.
    ///
    /// # Errors
    ///
    /// If Google reports that the credential may not write to the repository.
    pub(super) async fn check(
        &self,
        target: &Target,
        registries: &RegistryPool<'_>,
    ) -> Result<(), MissingRole> {
        let endpoint = &target.endpoint;
        let Some(repository) = ArtifactRegistryRepository::of(endpoint, &target.repository) else {
            return Ok(());
        };
        let is_first = {
            let mut checked = self.0.lock();
            checked.insert(repository.clone())
        };
        if !is_first {
            return Ok(());
        }
        preflight(
            registries.credentials(),
            endpoint,
            &repository,
            registries.network(),
        )
        .await
    }
}
