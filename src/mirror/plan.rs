//! What has to be done, told by digests: no blob is read for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::companions::{CompanionTags, Companions};
use super::item::{Item, Need, Plan};
use super::select::{ListedTag, NoDates};
use super::shard::Division;
use super::{Entry, MirrorError, MirrorRequest, Origin, PlanFile, repositories};
use crate::digest::Digest;
use crate::error::Error;
use crate::once::OnceEach;
use crate::push::Settings;
use crate::push::targets::Target;
use crate::reference::{Endpoint, Reference};
use crate::registries::Registries;
use crate::registry::{Listing, Registry, RegistryError};

/// Questions that are under way at once.
pub(super) const QUESTIONS_AT_ONCE: usize = 16;

/// Makes the plan. An entry that cannot be planned does not stop the others: its error comes beside
/// them.
///
/// # Errors
///
/// When two images would arrive under one name.
pub async fn plan(
    request: &MirrorRequest,
    registries: &Registries<'_>,
    settings: &Settings,
) -> Result<(Plan, Vec<Error>), Error> {
    let shares = match &request.plan_file {
        Some(PlanFile::Read(_, shares)) => Some(shares),
        Some(PlanFile::Write(_)) | None => None,
    };
    let planner = Planner {
        request,
        registries,
        settings,
        division: Division::of(request.shard, shares),
        listings: OnceEach::default(),
        companion_tags: OnceEach::default(),
        companions: OnceEach::default(),
    };
    let mut errors = Vec::new();
    let mut items = Vec::new();
    for entry in &request.entries {
        match planner.items(entry).await {
            Ok(found) => items.extend(found),
            Err(error) if entry.best_effort => {
                tracing::warn!("an entry is left out, which fails nothing: {error}");
            }
            Err(error) => errors.push(error),
        }
    }
    planner.check_plan_file().map_err(Error::Mirror)?;
    check_collisions(&items).map_err(Error::Mirror)?;
    let compared: Vec<_> = stream::iter(items)
        .map(|item| planner.compared(item))
        .buffered(QUESTIONS_AT_ONCE)
        .collect()
        .await;
    let mut plan = Plan::default();
    for (item, outcome) in compared {
        match outcome {
            Ok(item) => plan.items.push(item),
            Err(error) => {
                let best_effort = item.best_effort();
                plan.unplanned.push(item.into_missed(&error));
                if best_effort {
                    tracing::warn!("an image is left out, which fails nothing: {error}");
                } else {
                    errors.push(error);
                }
            }
        }
    }
    plan.items.sort_by_key(|item| item.need);
    Ok((plan, errors))
}

pub(super) struct Planner<'a> {
    request: &'a MirrorRequest,
    pub(super) registries: &'a Registries<'a>,
    pub(super) settings: &'a Settings,
    division: Division,
    /// What a repository lists.
    listings: OnceEach<(Endpoint, String), Option<Arc<Listing>>>,
    /// The tags of a repository that companions are found by.
    pub(super) companion_tags: OnceEach<(Endpoint, String), Option<Arc<CompanionTags>>>,
    /// What goes along with an image of a repository.
    pub(super) companions: OnceEach<(Endpoint, String, Digest), Option<Arc<Companions>>>,
}

impl Planner<'_> {
    /// A plan file that knows nothing of all this is of something else; one that does not know all of
    /// it is getting old.
    fn check_plan_file(&self) -> Result<(), MirrorError> {
        let Some(PlanFile::Read(name, _)) = &self.request.plan_file else {
            return Ok(());
        };
        match self.division.strangers() {
            Some([unknown, 0]) if unknown > 0 => Err(MirrorError::ForeignPlan(name.clone())),
            Some([unknown, known]) if unknown > 0 => {
                tracing::warn!(
                    "{unknown} of {} repositories are not in `{name}` and are shared out by their names: \
                     make it anew, with `dry_run`",
                    unknown + known
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The images of one entry that are this runner's.
    async fn items(&self, entry: &Entry) -> Result<Vec<Item>, Error> {
        let mine = |endpoint: &Endpoint, repository: &str| {
            let name = repositories::name(endpoint, repository);
            self.division.has(&name)
        };
        match &entry.origin {
            Origin::Image(reference) => {
                let tag = reference.tag.as_deref().unwrap_or("latest");
                let is_mine = mine(&reference.endpoint, &reference.repository);
                let item = is_mine.then(|| self.item(entry, reference, tag));
                item.into_iter().collect::<Result<_, _>>()
            }
            Origin::Repository(reference) => {
                if !mine(&reference.endpoint, &reference.repository) {
                    return Ok(Vec::new());
                }
                self.chosen(entry, reference).await
            }
            Origin::Below(endpoint, path) => {
                let mut found = self.below(endpoint, path).await?;
                found.retain(|repository| mine(endpoint, repository));
                let items: Vec<_> = stream::iter(found)
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
                    .try_collect()
                    .await?;
                Ok(items.into_iter().flatten().collect())
            }
        }
    }

    /// The chosen tags of one repository.
    async fn chosen(&self, entry: &Entry, reference: &Reference) -> Result<Vec<Item>, Error> {
        let tags = match entry.tags.literal() {
            Some(tags) => tags,
            None => {
                let registry = self.registries.source(&reference.endpoint).await?;
                let listing = self.listing(&registry, &reference.repository).await?;
                let no_repository = || MirrorError::NoRepository(reference.name());
                let listing = listing.ok_or_else(no_repository).map_err(Error::Mirror)?;
                let no_dates = |NoDates| MirrorError::NoDates(reference.name());
                let chosen = entry.tags.choose(&listed(&listing));
                chosen.map_err(no_dates).map_err(Error::Mirror)?
            }
        };
        if tags.is_empty() {
            tracing::warn!("no tag of `{}` is chosen", reference.name());
        }
        let items = tags.iter().map(|tag| {
            let source = reference.with_tag(tag);
            self.item(entry, &source, tag)
        });
        items.collect()
    }

    fn item(&self, entry: &Entry, source: &Reference, tag: &str) -> Result<Item, Error> {
        let name = format!("{}:{tag}", source.name());
        let (path, tag) = entry.to.apply(&source.repository, tag);
        let targets = self.request.homes.iter().map(|home| {
            let text = format!("{}/{}/{path}:{tag}", home.endpoint, home.path);
            let reference: Reference = text.parse().map_err(|cause| {
                Error::Mirror(MirrorError::Name {
                    source_name: name.clone(),
                    cause,
                })
            })?;
            Ok(Target {
                endpoint: reference.endpoint,
                repository: reference.repository,
                tags: vec![tag.clone()],
                best_effort: entry.best_effort,
            })
        });
        Ok(Item {
            targets: targets.collect::<Result<_, Error>>()?,
            there: Vec::new(),
            source: source.clone(),
            platforms: entry.platforms.clone(),
            referrers: entry.referrers,
            need: Need::Unknown,
            name,
        })
    }

    /// What a repository lists; none where there is no such repository.
    pub(super) async fn listing(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
    ) -> Result<Option<Arc<Listing>>, Error> {
        let key = (registry.endpoint().clone(), repository.to_owned());
        let cell = self.listings.of(key);
        let listing = cell.get_or_try_init(|| async {
            let listing = registry.list(repository).await;
            let listing =
                listing.map_err(|cause| list_error(registry.endpoint(), repository, cause))?;
            Ok::<_, Error>(listing.map(Arc::new))
        });
        listing.await.cloned()
    }
}

pub(super) fn list_error(endpoint: &Endpoint, path: &str, cause: RegistryError) -> Error {
    let what = repositories::name(endpoint, path);
    Error::Mirror(MirrorError::List { what, cause })
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

/// No two images may arrive under one name: whichever came last would win.
fn check_collisions(items: &[Item]) -> Result<(), MirrorError> {
    let mut seen: HashMap<String, &Item> = HashMap::new();
    for item in items {
        for target in &item.targets {
            for tag in &target.tags {
                let name = format!("{}/{}:{tag}", target.endpoint, target.repository);
                match seen.insert(name.clone(), item) {
                    // The same image twice is a repetition, not a contradiction.
                    Some(other) if other.source != item.source => {
                        return Err(MirrorError::Collision {
                            first: other.name.clone(),
                            second: item.name.clone(),
                            target: name,
                        });
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
