//! Finds the repositories below a path.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::MirrorError;
use super::plan::Planner;
use crate::oci::reference::Endpoint;

impl Planner<'_> {
    /// Every repository at or below `path`, sorted. Listings that were read to find them are cached,
    /// because the plan needs them again.
    pub(super) async fn below(
        &self,
        endpoint: &Endpoint,
        path: &str,
    ) -> Result<BTreeSet<String>, MirrorError> {
        let registry = self.registries.source(endpoint).await?;
        let mut found = BTreeSet::new();
        for repository in registry.repositories(path).await? {
            if let Some(listing) = repository.listing {
                let cell = self
                    .listings
                    .of((endpoint.clone(), repository.path.clone()));
                cell.get_or_init(async || Some(Arc::new(listing))).await;
            }
            found.insert(repository.path);
        }
        if found.is_empty() {
            return Err(MirrorError::NothingBelow(endpoint.with_path(path)));
        }
        Ok(found)
    }
}
