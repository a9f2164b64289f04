//! How many bytes each repository has: what the plan file is made of.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, stream};

use super::plan::QUESTIONS_AT_ONCE;
use super::shares::ShardPlan;
use super::{MirrorPlan, PlannedImage, repositories};
use crate::error::Error;
use crate::image::{Content, Source};
use crate::oci::digest::Digest;
use crate::registry::pool::RegistryPool;

/// Weighs every image of a plan by its manifests, whether it is needed or not: what is there today may
/// be missing tomorrow. An image that cannot be read does not stop the others: its error comes beside
/// them.
pub async fn weigh(plan: &MirrorPlan, registries: &RegistryPool<'_>) -> (ShardPlan, Vec<Error>) {
    let weighed: Vec<_> = stream::iter(&plan.items)
        .map(|item| async move { (item, blobs(item, registries).await) })
        .buffer_unordered(QUESTIONS_AT_ONCE)
        .collect()
        .await;
    let mut errors = Vec::new();
    let mut all: BTreeMap<String, HashMap<Digest, u64>> = BTreeMap::new();
    for (item, blobs) in weighed {
        let name = repositories::name(&item.source.endpoint, &item.source.repository);
        let known = all.entry(name).or_default();
        match blobs {
            Ok(blobs) => known.extend(blobs),
            Err(error) if item.best_effort() => {
                tracing::warn!(
                    "`{}` weighs nothing, for it cannot be read: {error}",
                    item.name
                );
            }
            Err(error) => errors.push(error),
        }
    }
    (ShardPlan::of(&all), errors)
}

async fn blobs(
    item: &PlannedImage,
    registries: &RegistryPool<'_>,
) -> Result<Vec<(Digest, u64)>, Error> {
    let registry = registries.source(&item.source.endpoint).await?;
    let source = Source::open_remote(registry, &item.source, &item.platforms)
        .await
        .map_err(Error::Source)?;
    Ok(match &source.image().content {
        Content::Manifests(tree) => tree
            .blobs()
            .map(|blob| (blob.digest.clone(), blob.size))
            .collect(),
        Content::Unpacked(_) => Vec::new(),
    })
}
