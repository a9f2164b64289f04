//! `list`: the images of a project, or the tags of one image, as gcloud prints them.

use std::time::SystemTime;

use crate::config;
use crate::error::{ExitCode, Hint, harmless};
use crate::registry::{Listing, Registry, RegistryError};
use crate::report::table::{Table, timestamp};

/// A listing that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The registry refused.
    #[error("could not list `{0}`")]
    Registry(String, #[source] RegistryError),
    /// The registry knows nothing there.
    #[error("there is nothing at `{0}`")]
    Nothing(String),
}

impl ListError {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry(_, cause) => cause.exit_code(),
            Self::Nothing(_) => ExitCode::Failed,
        }
    }
}

impl Hint for ListError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Registry(_, cause) => cause.hints(),
            Self::Nothing(_) => vec!["check `project_id`, `repository` and `name`".to_owned()],
        }
    }
}

/// The table of one listing: an image a row, or a manifest a row.
///
/// # Errors
///
/// When the registry refuses or knows nothing there.
pub async fn list(registry: &Registry, asked: &config::Listing) -> Result<Table, ListError> {
    match asked {
        config::Listing::Images { path, .. } => images(registry, path).await,
        config::Listing::Tags(reference) => tags(registry, &reference.repository).await,
    }
}

async fn images(registry: &Registry, path: &str) -> Result<Table, ListError> {
    let listing = fetch(registry, path).await?;
    let mut table = Table::new(["NAME"]);
    let mut children = listing.children;
    children.sort();
    for child in children {
        table.row([format!(
            "{}/{path}/{}",
            registry.endpoint(),
            harmless(&child)
        )]);
    }
    Ok(table)
}

/// Newest first; on a registry that lists tags alone, each tag with the digest under it.
async fn tags(registry: &Registry, repository: &str) -> Result<Table, ListError> {
    let listing = fetch(registry, repository).await?;
    let mut table = Table::new(["DIGEST", "TAGS", "TIMESTAMP"]);
    for manifest in &listing.manifests {
        let tags: Vec<_> = manifest.tags.iter().map(|tag| harmless(tag)).collect();
        let time = manifest.created.or(manifest.uploaded);
        table.row([
            manifest.digest.short().to_owned(),
            tags.join(","),
            timestamp(time.unwrap_or(SystemTime::UNIX_EPOCH)),
        ]);
    }
    if listing.manifests.is_empty() {
        for tag in &listing.tags {
            let digest = registry
                .head_manifest(repository, tag)
                .await
                .map_err(|cause| failed(registry, repository, cause))?;
            let digest = digest.map_or(String::new(), |digest| digest.short().to_owned());
            table.row([digest, harmless(tag), String::new()]);
        }
    }
    Ok(table)
}

async fn fetch(registry: &Registry, path: &str) -> Result<Listing, ListError> {
    registry
        .list(path)
        .await
        .map_err(|cause| failed(registry, path, cause))?
        .ok_or_else(|| ListError::Nothing(format!("{}/{path}", registry.endpoint())))
}

fn failed(registry: &Registry, path: &str, cause: RegistryError) -> ListError {
    ListError::Registry(format!("{}/{path}", registry.endpoint()), cause)
}
