//! Whether a push may write, asked once for each of Google's repositories.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::destinations::Target;
use crate::google::preflight::{MissingRole, preflight};
use crate::oci::reference::ArtifactRegistryRepository;
use crate::registry::pool::RegistryPool;

/// The repositories that were asked about already.
#[derive(Clone, Debug, Default)]
pub struct Preflight(Arc<Mutex<HashSet<ArtifactRegistryRepository>>>);

impl Preflight {
    /// Asks, if this is the first push to the target's repository.
    ///
    /// # Errors
    ///
    /// When it is known that the credential may not write there.
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
            let mut asked = self.0.lock();
            asked.insert(repository.clone())
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
