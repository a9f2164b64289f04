//! Pushes one image to its destinations: opens the registries, pushes, and verifies. A failed
//! destination does not stop the others.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::destinations::Target;
use super::result::{DestinationError, FailedDestination, PushedImage};
use super::verify::{self, Verify};
use super::{BlobLocations, Destination, Outcome, PushError, Pushed, Settings, TransferStats};
use crate::ci::table::bytes;
use crate::image::{Source, Tree};
use crate::registry::pool::RegistryPool;

/// The inputs of a push of one image.
pub struct PushJob<'a> {
    /// The image.
    pub source: &'a Source,
    /// The registries of the run.
    pub registries: &'a RegistryPool<'a>,
    /// The settings of the run.
    pub settings: &'a Settings,
    /// The known locations of blobs.
    pub locations: &'a Arc<BlobLocations>,
}

/// The results of pushing one image.
#[derive(Debug, Default)]
pub struct PushOutcome {
    /// One result per target, in their order. Empty if the source failed.
    pub results: Vec<Result<PushedImage, FailedDestination>>,
    /// Changes to the source's manifests and what is unusual, as sentences.
    pub notes: Vec<String>,
    /// The error of the source itself, which fails all destinations.
    pub failure: Option<PushError>,
}

/// The index of a target with its destination, or with the error of opening it.
type Opened = (usize, Result<Destination, Arc<DestinationError>>);

impl PushJob<'_> {
    /// Pushes the image to every target, and verifies it there.
    pub async fn run(&self, targets: &[Target]) -> PushOutcome {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let same = |group: &&mut Vec<usize>| targets[group[0]].endpoint == target.endpoint;
            match groups.iter_mut().find(same) {
                Some(group) => group.push(number),
                None => groups.push(vec![number]),
            }
        }
        let none_required = targets.iter().all(|target| target.best_effort);
        let is_required =
            |group: &Vec<usize>| none_required || group.iter().any(|n| !targets[*n].best_effort);
        let required: Vec<_> = groups.iter().map(is_required).collect();
        let opening = groups
            .iter()
            .enumerate()
            .map(|(number, group)| async move { (number, self.open(targets, group).await) });
        let mut opening: FuturesUnordered<_> = opening.collect();
        let ready = super::wait_for_required(&mut opening, &required).await;

        let mut results: Vec<_> = targets.iter().map(|_| None).collect();
        let mut outcome = PushOutcome::default();
        let (first, late) = tokio::join!(self.push(ready), opening.collect::<Vec<_>>());
        for batch in [first, self.push(late).await] {
            outcome.notes.extend(batch.notes);
            outcome.failure = outcome.failure.or(batch.failure);
            for (number, result) in batch.results {
                let failed = |error| FailedDestination::new(&targets[number], error);
                results[number] = Some(result.map_err(|error| failed(error)));
            }
        }
        outcome.results = results.into_iter().flatten().collect();
        outcome
    }

    /// Opens one registry, signs in to the repositories of the group, and checks the permissions.
    /// The source is not read for a repository that cannot be pushed to.
    async fn open(&self, targets: &[Target], group: &[usize]) -> Vec<Opened> {
        let Some(first) = group.first() else {
            return Vec::new();
        };
        let best_effort = group.iter().all(|number| targets[*number].best_effort);
        let endpoint = &targets[*first].endpoint;
        let registry = match self.registries.destination(endpoint, best_effort).await {
            Ok(registry) => registry,
            Err(error) => {
                let error = Arc::new(DestinationError::Open(error));
                let failed = group
                    .iter()
                    .map(|number| (*number, Err(Arc::clone(&error))));
                return failed.collect();
            }
        };
        let mut opened = Vec::new();
        for number in group {
            let target = &targets[*number];
            let (signed_in, permitted) = tokio::join!(
                registry.sign_in(&target.repository),
                self.settings.preflight.check(target, self.registries),
            );
            let is_ready = signed_in
                .map_err(|cause| DestinationError::SignIn(target.endpoint.clone(), cause))
                .and(permitted.map_err(|error| DestinationError::MissingRole(Box::new(error))));
            let destination = is_ready.map(|()| Destination {
                registry: Arc::clone(&registry),
                repository: target.repository.clone(),
                tags: target.tags.clone(),
                best_effort: target.best_effort,
                tag_log: self.settings.tag_log.clone(),
                stats: TransferStats::default(),
            });
            opened.push((*number, destination.map_err(Arc::new)));
        }
        opened
    }

    /// Pushes to the opened destinations, and verifies each.
    async fn push(&self, groups: Vec<(usize, Vec<Opened>)>) -> Batch {
        let mut batch = Batch::default();
        let mut numbered = Vec::new();
        let opened = groups.into_iter().flat_map(|(_, group)| group);
        for (number, destination) in opened {
            match destination {
                Ok(destination) => numbered.push((number, destination)),
                Err(error) => batch.results.push((number, Err(error))),
            }
        }
        numbered.sort_by_key(|(number, _)| *number);
        let (numbers, destinations): (Vec<_>, Vec<_>) = numbered.into_iter().unzip();
        if destinations.is_empty() {
            return batch;
        }
        let pushing = super::push(self.source, &destinations, self.settings, self.locations);
        let Outcome {
            tree,
            notes,
            destinations: results,
        } = match pushing.await {
            Ok(outcome) => outcome,
            Err(error) => {
                batch.failure = Some(error);
                return batch;
            }
        };
        batch.notes = notes;
        for ((number, destination), result) in numbers.into_iter().zip(&destinations).zip(results) {
            let result = match result {
                Ok(pushed) => self.verify(destination, pushed, tree.as_ref()).await,
                Err(error) => Err(DestinationError::Push(error)),
            };
            if let Ok(image) = &result {
                let notes = push_notes(&image.pushed, self.settings.options.dry_run);
                batch.notes.extend(notes);
            }
            batch.results.push((number, result.map_err(Arc::new)));
        }
        batch
    }

    /// Verifies the image at one destination, unless `verify` is off.
    async fn verify(
        &self,
        destination: &Destination,
        pushed: Pushed,
        tree: Option<&Tree>,
    ) -> Result<PushedImage, DestinationError> {
        let verified = match (self.settings.options.verify, tree) {
            (Verify::Listing | Verify::Blobs, Some(tree)) => {
                let reads_blobs = self.settings.options.verify == Verify::Blobs;
                let verified = verify::verify(destination, &pushed, tree, reads_blobs).await;
                Some(verified.map_err(DestinationError::Verify)?)
            }
            (Verify::Off, _) | (_, None) => None,
        };
        Ok(PushedImage {
            pushed,
            verified,
            best_effort: destination.best_effort,
        })
    }
}

/// The results of one call of [`super::push`], by the index of the target.
#[derive(Default)]
struct Batch {
    results: Vec<(usize, Result<PushedImage, Arc<DestinationError>>)>,
    notes: Vec<String>,
    failure: Option<PushError>,
}

/// Returns notes about kept tags, blobs that were read again, and pushed referrers.
fn push_notes(pushed: &Pushed, dry_run: bool) -> Vec<String> {
    let kept = pushed.tags.iter().filter_map(|tag| {
        let kept = tag.kept.as_ref()?;
        Some(format!(
            "the tag `{}:{}` stays at {kept}",
            pushed.name, tag.tag
        ))
    });
    let (blobs, size) = pushed.reread;
    let read_again = (blobs > 0).then(|| {
        let noun = if blobs == 1 { "blob" } else { "blobs" };
        format!(
            "{blobs} {noun}, {}, had to be read from the source again for `{}`",
            bytes(size),
            pushed.name
        )
    });
    let referrers = (pushed.referrers > 0).then(|| {
        let (verb, noun) = match pushed.referrers {
            1 => ("is", "manifest that refers"),
            _ => ("are", "manifests that refer"),
        };
        let verb = if dry_run { "would be" } else { verb };
        let (count, name) = (pushed.referrers, &pushed.name);
        format!("{count} {noun} to the image {verb} at `{name}` too")
    });
    kept.chain(read_again).chain(referrers).collect()
}
