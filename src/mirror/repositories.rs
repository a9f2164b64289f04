//! Which repositories there are below a path.

use std::collections::BTreeSet;

use super::MirrorError;
use crate::reference::Endpoint;
use crate::registry::{Registry, RegistryError};

/// Every repository at or below `path`, sorted.
pub(super) async fn below(registry: &Registry, path: &str) -> Result<Vec<String>, MirrorError> {
    let what = || match path {
        "" => registry.endpoint().to_string(),
        path => format!("{}/{path}", registry.endpoint()),
    };
    let failed = |cause| MirrorError::List {
        what: what(),
        cause,
    };
    let found = if registry.endpoint().is_google() {
        walk(registry, path).await.map_err(failed)?
    } else {
        let catalog = registry.catalog().await.map_err(failed)?;
        catalog
            .into_iter()
            .filter(|repository| is_below(repository, path))
            .collect()
    };
    if found.is_empty() {
        return Err(MirrorError::NothingBelow(what()));
    }
    Ok(found.into_iter().collect())
}

fn is_below(repository: &str, path: &str) -> bool {
    let rest = repository.strip_prefix(path);
    path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Google's listing tells the children of a path, and what is a repository has manifests.
async fn walk(registry: &Registry, path: &str) -> Result<BTreeSet<String>, RegistryError> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let Some(listing) = registry.list(&path).await? else {
            continue;
        };
        waiting.extend(
            listing
                .children
                .iter()
                .map(|child| format!("{path}/{child}")),
        );
        if !listing.manifests.is_empty() || !listing.tags.is_empty() {
            found.insert(path);
        }
    }
    Ok(found)
}

/// `host/repository`, by which runners share the work.
pub(super) fn name(endpoint: &Endpoint, repository: &str) -> String {
    format!("{endpoint}/{repository}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_ends_at_a_slash() {
        assert!(is_below("acme/api", "acme"));
        assert!(is_below("acme", "acme"));
        assert!(is_below("anything", ""));
        assert!(!is_below("acme-2/api", "acme"));
    }
}
