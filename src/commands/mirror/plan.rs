//! Plans what has to be copied, by comparing digests. No blob is read for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::image::{MirrorPlan, PlannedImage, SyncState};
use super::tag_filter::{ListedTag, NoDates};
use super::workloads::{self, WorkloadImage};
use super::{ImageOutcome, MirrorEntry, MirrorError, MirrorFile, MirrorSource};
use crate::auth::once_map::OnceMap;
use crate::http::Network;
use crate::image::{ManifestReferrers, ReferrerTags};
use crate::oci::digest::Digest;
use crate::oci::reference::{Endpoint, Reference, check_tag, is_at_or_below};
use crate::oci::referrers::is_referrer_tag;
use crate::push::Settings;
use crate::push::targets::Target;
use crate::registry::pool::RegistryPool;
use crate::registry::{Listing, ListingError, Registry};

/// Requests that are in flight at once.
const QUESTIONS_AT_ONCE: usize = 16;

/// Makes the plan. An entry that cannot be planned does not stop the others: its error is returned
/// beside the plan.
///
/// # Errors
///
/// When two images would get the same name.
pub(super) async fn plan(
    request: &MirrorFile,
    registries: &RegistryPool<'_>,
    settings: &Settings,
    network: &Network,
) -> Result<(MirrorPlan, Vec<MirrorError>), MirrorError> {
    let planner = Planner {
        request,
        registries,
        settings,
        network,
        listings: OnceMap::default(),
        referrer_tags: OnceMap::default(),
        referrers: OnceMap::default(),
    };
    let mut errors = Vec::new();
    let mut items = Vec::new();
    let mut plan = MirrorPlan::default();
    for entry in &request.entries {
        for found in planner.items(entry).await {
            if let Err(MirrorError::NoReference { image, .. }) = &found {
                plan.unreadable.push(image.clone());
            }
            match found {
                Ok(found) => items.extend(found),
                Err(error) if entry.best_effort => {
                    tracing::warn!(
                        "skipping what cannot be listed, the run does not fail: {error}"
                    );
                }
                Err(error) => errors.push(error),
            }
        }
    }
    let items = each_once(items)?;
    let compared: Vec<_> = stream::iter(items)
        .map(|item| planner.diff(item))
        .buffered(QUESTIONS_AT_ONCE)
        .collect()
        .await;
    for (item, outcome) in compared {
        match outcome {
            Ok((item, unasked)) => {
                plan.images.push(item);
                // Copying the image reports the error too.
                if settings.options.dry_run {
                    errors.extend(unasked);
                }
            }
            Err(error) => {
                let error = Arc::new(error.of_workload(&item));
                if item.best_effort() {
                    tracing::warn!("skipping an image, the run does not fail: {error}");
                } else {
                    errors.push(MirrorError::Destination(error.clone()));
                }
                let mut outcome = ImageOutcome::new(item);
                outcome.fail(&error);
                plan.unplanned.push(outcome);
            }
        }
    }
    plan.images.sort_by_key(PlannedImage::state);
    Ok((plan, errors))
}

pub(super) struct Planner<'a> {
    request: &'a MirrorFile,
    pub(super) registries: &'a RegistryPool<'a>,
    pub(super) settings: &'a Settings,
    /// For requests to a cluster.
    network: &'a Network,
    /// The listing of each repository. `None` if the repository does not exist.
    pub(super) listings: OnceMap<(Endpoint, String), Option<Arc<Listing>>>,
    /// The tags by which referrers of a repository are found.
    pub(super) referrer_tags: OnceMap<(Endpoint, String), Option<Arc<ReferrerTags>>>,
    /// The referrers of each image of a repository.
    pub(super) referrers: OnceMap<(Endpoint, String, Digest), Arc<Vec<ManifestReferrers>>>,
}

impl Planner<'_> {
    /// The images of one entry that this runner copies, by repository. An error in one repository does not
    /// stop the others.
    async fn items(&self, entry: &MirrorEntry) -> Vec<Result<Vec<PlannedImage>, MirrorError>> {
        let mine = |endpoint: &Endpoint, repository: &str| {
            let name = endpoint.with_path(repository);
            self.request.shard.is_none_or(|shard| shard.has(&name))
        };
        match &entry.source {
            MirrorSource::Image(reference) | MirrorSource::Repository(reference)
                if !mine(&reference.endpoint, &reference.repository) =>
            {
                Vec::new()
            }
            MirrorSource::Image(reference) => {
                let tag = reference.tag.as_deref().unwrap_or("latest");
                let item = self.item(entry, reference, Some(tag), None);
                vec![item.map(|item| vec![item])]
            }
            MirrorSource::Workloads { from, exclude } => {
                let (images, errors) = workloads::read(from, exclude, self.network).await;
                let images = images.into_iter();
                let images = images.filter(|one| {
                    let Reference {
                        endpoint,
                        repository,
                        ..
                    } = &one.reference;
                    // What runs from a destination already, as after a failover, is there.
                    let mut destinations = self.request.destinations.iter();
                    let is_there = destinations.any(|one| {
                        one.endpoint == *endpoint && is_at_or_below(repository, &one.path)
                    });
                    !is_there && mine(endpoint, repository)
                });
                let items = images.map(|image| {
                    let tag = image.reference.tag.as_deref();
                    let item = self.item(entry, &image.reference, tag, Some(&image));
                    item.map(|item| vec![item])
                });
                items.chain(errors.into_iter().map(Err)).collect()
            }
            MirrorSource::Repository(reference) => vec![self.chosen(entry, reference).await],
            MirrorSource::Prefix(endpoint, path) => {
                let found = match self.below(endpoint, path).await {
                    Ok(found) => found,
                    Err(error) => return vec![Err(error)],
                };
                let found = found.into_iter();
                stream::iter(found.filter(|repository| mine(endpoint, repository)))
                    .map(|repository| async move {
                        let reference = Reference {
                            endpoint: endpoint.clone(),
                            repository,
                            tag: None,
                            digest: None,
                        };
                        self.chosen(entry, &reference).await
                    })
                    .buffered(QUESTIONS_AT_ONCE)
                    .collect()
                    .await
            }
        }
    }

    /// The images of one repository whose tags pass the filter.
    async fn chosen(
        &self,
        entry: &MirrorEntry,
        reference: &Reference,
    ) -> Result<Vec<PlannedImage>, MirrorError> {
        // A repository below a path gives those of the tags that it has; a named one must have them all.
        let is_named = !matches!(entry.source, MirrorSource::Prefix(..));
        let tags = match entry.tags.literal().filter(|_| is_named) {
            Some(tags) => tags,
            None => {
                let registry = self.registries.source(&reference.endpoint).await?;
                let listing = match self.listing(&registry, &reference.repository).await? {
                    Some(listing) => listing,
                    // A catalog keeps the names of repositories whose images were all deleted.
                    None if !is_named => return Ok(Vec::new()),
                    None => {
                        let error = MirrorError::NoRepository(reference.name());
                        return Err(error);
                    }
                };
                let no_dates = |NoDates| MirrorError::NoDates(reference.name());
                let mut listed = listed(&listing);
                if entry.referrers {
                    // Referrers arrive with their image. As an image, the index under a fallback
                    // tag would replace the destination's own instead of being merged into it.
                    listed.retain(|tag| !is_referrer_tag(&tag.name) || entry.tags.names(&tag.name));
                }
                let chosen = entry.tags.choose(&listed);
                chosen.map_err(no_dates)?
            }
        };
        if tags.is_empty() && is_named {
            tracing::warn!("no tag of `{}` is selected", reference.name());
        } else if tags.is_empty() {
            tracing::info!("no tag of `{}` is selected", reference.name());
        }
        let items = tags.iter().map(|tag| {
            let source = reference.with_tag(tag);
            self.item(entry, &source, Some(tag), None)
        });
        items.collect()
    }

    fn item(
        &self,
        entry: &MirrorEntry,
        source: &Reference,
        tag: Option<&str>,
        workload: Option<&WorkloadImage>,
    ) -> Result<PlannedImage, MirrorError> {
        let name = match (tag, &source.digest) {
            (None, Some(digest)) => format!("{}@{digest}", source.name()),
            (tag, _) => format!("{}:{}", source.name(), tag.unwrap_or("latest")),
        };
        let (path, new_tag) = {
            let host = source.endpoint.to_string();
            entry
                .to
                .apply(&host, &source.repository, tag.unwrap_or("latest"))
        };
        let tags: Vec<_> = tag.map(|_| new_tag).into_iter().collect();
        let targets = self.request.destinations.iter().map(|below| {
            let text = format!("{}/{}/{path}", below.endpoint, below.path);
            let mut checked = tags.iter().map(|tag| check_tag(tag));
            let checked = checked.try_for_each(|checked| checked);
            let reference = checked.and_then(|()| text.parse::<Reference>());
            let reference = reference.map_err(|cause| MirrorError::Name {
                source_name: name.clone(),
                cause,
            })?;
            let target = Target {
                endpoint: reference.endpoint,
                repository: reference.repository,
                tags: tags.clone(),
                best_effort: entry.best_effort,
            };
            Ok((target, SyncState::Unknown))
        });
        Ok(PlannedImage {
            destinations: targets.collect::<Result<_, MirrorError>>()?,
            source: source.clone(),
            platforms: entry.platforms.clone(),
            referrers: entry.referrers,
            digest: None,
            running: workload.and_then(|image| image.running.clone()),
            used_by: workload.map(|image| image.used_by.clone()),
            name,
        })
    }

    /// The listing of a repository. `None` if the repository does not exist.
    pub(super) async fn listing(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
    ) -> Result<Option<Arc<Listing>>, MirrorError> {
        let key = (registry.endpoint().clone(), repository.to_owned());
        let cell = self.listings.of(key);
        let listing = cell.get_or_try_init(|| async {
            let listing = registry.list(repository).await;
            let failed = |cause| ListingError::new(registry.endpoint(), repository, cause);
            let listing = listing.map_err(failed)?;
            Ok::<_, MirrorError>(listing.map(Arc::new))
        });
        listing.await.cloned()
    }
}

fn listed(listing: &Listing) -> Vec<ListedTag> {
    let uploaded: BTreeMap<_, _> = listing
        .manifests
        .iter()
        .flat_map(|manifest| manifest.tags.iter().map(|tag| (tag, manifest.uploaded)))
        .collect();
    let tags = listing.tags.iter();
    tags.map(|tag| ListedTag {
        uploaded: uploaded.get(tag).copied().flatten(),
        name: tag.clone(),
    })
    .collect()
}

/// Each image once, however many entries select it. It is copied with referrers if one entry asks for
/// them, and is best effort only if all entries are. Two images with the same name are an error: the
/// last one would win. But a digest that runs gives the tag up to an entry that takes the tag as it is.
fn each_once(mut items: Vec<PlannedImage>) -> Result<Vec<PlannedImage>, MirrorError> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut kept: Vec<PlannedImage> = Vec::new();
    items.sort_by_key(|item| item.running.is_some());
    let mut items = VecDeque::from(items);
    'items: while let Some(item) = items.pop_front() {
        let names = item.destinations.iter();
        let names: Vec<_> = names.map(|(target, _)| item.name_at(target)).collect();
        let mut same = None;
        for name in &names {
            let Some(number) = seen.get(name) else {
                continue;
            };
            let other = &kept[*number];
            let is_same = other.source == item.source && other.running == item.running;
            if !is_same
                && has_same_tag(&other.source, &item.source)
                && let Some(running) = item.running.clone()
            {
                items.push_back(item.by_digest(running));
                continue 'items;
            }
            // A name by digest is the same image, wherever it comes from.
            let is_by_digest = item.source.tag.is_none() && item.source.digest.is_some();
            if !is_same && !is_by_digest {
                return Err(MirrorError::Collision {
                    first: other.source.to_string(),
                    second: item.source.to_string(),
                    target: name.clone(),
                });
            }
            if other.platforms != item.platforms {
                return Err(MirrorError::Platforms {
                    image: item.name,
                    target: name.clone(),
                });
            }
            same = Some(*number);
        }
        let Some(number) = same else {
            seen.extend(names.into_iter().map(|name| (name, kept.len())));
            kept.push(item);
            continue;
        };
        let other = &mut kept[number];
        other.referrers |= item.referrers;
        for ((other, _), (target, _)) in other.destinations.iter_mut().zip(&item.destinations) {
            other.best_effort &= target.best_effort;
        }
    }
    Ok(kept)
}

fn has_same_tag(one: &Reference, other: &Reference) -> bool {
    let tag = |reference: &Reference| reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
    one.name() == other.name() && tag(one) == tag(other)
}
