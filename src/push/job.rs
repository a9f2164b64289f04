//! From targets to arrivals: opens each registry, pushes to all of them, and proves that the image is
//! there. What keeps us from one does not keep us from the others.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::ci::table::bytes;
use crate::diagnostics::render::causes;
use crate::error::Error;
use crate::image::{Source, Tree};
use crate::push::destinations::Target;
use crate::push::result::Fate;
use crate::push::result::{Arrival, Missed};
use crate::push::verify::Verify;
use crate::push::verify::{self, Verified};
use crate::push::{
    self, BlobLocations, Destination, Outcome, PushError, Pushed, Settings, TransferStats,
};
use crate::registry::pool::RegistryPool;

/// What an image is brought with.
pub struct PushJob<'a> {
    /// The image.
    pub source: &'a Source,
    /// Where it goes through.
    pub registries: &'a RegistryPool<'a>,
    /// How.
    pub settings: &'a Settings,
    /// What is known of the repositories.
    pub locations: &'a Arc<BlobLocations>,
    /// How the result is checked.
    pub verify: Verify,
}

/// What became of an image.
#[derive(Debug, Default)]
pub struct PushOutcome {
    /// What became of each target, in their order; all of them, unless the source failed.
    pub results: Vec<Fate>,
    /// What had to become of the source's manifests, and what was unusual, as sentences.
    pub notes: Vec<String>,
    /// Why the source itself could not be pushed anywhere.
    pub failure: Option<PushError>,
}

/// A target by its number, and the destination that it became, or why it did not.
type Reached = (usize, Result<Destination, Option<Error>>);

impl PushJob<'_> {
    /// Brings the image to every target.
    pub async fn run(&self, targets: &[Target]) -> PushOutcome {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            let same = |group: &&mut Vec<usize>| targets[group[0]].endpoint == target.endpoint;
            match groups.iter_mut().find(same) {
                Some(group) => group.push(number),
                None => groups.push(vec![number]),
            }
        }
        let all = targets.iter().all(|target| target.best_effort);
        let counts = |group: &Vec<usize>| all || group.iter().any(|n| !targets[*n].best_effort);
        let required: Vec<_> = groups.iter().map(counts).collect();
        let opening = groups
            .iter()
            .enumerate()
            .map(|(number, group)| async move { (number, self.reach(targets, group).await) });
        let mut opening: FuturesUnordered<_> = opening.collect();
        let ready = push::wait_for_required(&mut opening, &required).await;

        let mut results: Vec<_> = targets.iter().map(|_| None).collect();
        let mut arrived = PushOutcome::default();
        let (first, late) = tokio::join!(self.push(ready), opening.collect::<Vec<_>>());
        for batch in [first, self.push(late).await] {
            arrived.notes.extend(batch.notes);
            arrived.failure = arrived.failure.or(batch.failure);
            for (number, result) in batch.results {
                results[number] = Some(match result {
                    Ok(arrival) => Fate::Arrived(arrival),
                    Err(error) => Fate::Missed(missed(&targets[number], error.as_ref()), error),
                });
            }
        }
        let results = results.into_iter().flatten().collect();
        arrived.results = with_reasons(results);
        arrived
    }

    /// Opens one registry and signs in to its repositories, so that nothing is read for one that
    /// cannot be pushed to.
    async fn reach(&self, targets: &[Target], group: &[usize]) -> Vec<Reached> {
        let Some(first) = group.first() else {
            return Vec::new();
        };
        let best_effort = group.iter().all(|number| targets[*number].best_effort);
        let endpoint = &targets[*first].endpoint;
        let registry = match self.registries.destination(endpoint, best_effort).await {
            Ok(registry) => registry,
            Err(error) => {
                let mut error = Some(error);
                return group
                    .iter()
                    .map(|number| (*number, Err(error.take())))
                    .collect();
            }
        };
        let mut reached = Vec::new();
        for number in group {
            let target = &targets[*number];
            let (signed_in, may_write) = tokio::join!(
                registry.sign_in(&target.repository),
                self.registries.may_write(target),
            );
            let failed = |cause| Error::SignIn(target.endpoint.clone(), cause);
            let is_ready = signed_in.map_err(failed).and(may_write);
            let destination = is_ready.map(|()| Destination {
                registry: Arc::clone(&registry),
                repository: target.repository.clone(),
                tags: target.tags.clone(),
                best_effort: target.best_effort,
                tag_log: self.settings.tag_log.clone(),
                stats: TransferStats::default(),
            });
            reached.push((*number, destination.map_err(Some)));
        }
        reached
    }

    /// Pushes to what was reached, and proves it.
    async fn push(&self, groups: Vec<(usize, Vec<Reached>)>) -> Batch {
        let mut batch = Batch::default();
        let mut numbered = Vec::new();
        let reached = groups.into_iter().flat_map(|(_, group)| group);
        for (number, destination) in reached {
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
        let pushing = push::push(self.source, &destinations, self.settings, self.locations);
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
                Ok(pushed) => self.prove(destination, pushed, tree.as_ref()).await,
                Err(error) => Err(Error::Push(error)),
            };
            if let Ok(arrival) = &result {
                batch
                    .notes
                    .extend(push_notes(&arrival.pushed, self.settings.dry_run));
            }
            batch.results.push((number, result.map_err(Some)));
        }
        batch
    }

    /// Checks one destination, unless `verify` is off.
    async fn prove(
        &self,
        destination: &Destination,
        pushed: Pushed,
        tree: Option<&Tree>,
    ) -> Result<Arrival, Error> {
        let verified: Option<Verified> = match (self.verify, tree) {
            (Verify::Listing | Verify::Blobs, Some(tree)) => {
                let reads_blobs = self.verify == Verify::Blobs;
                let verified = verify::verify(destination, &pushed, tree, reads_blobs).await;
                Some(verified.map_err(Error::Verify)?)
            }
            (Verify::Off, _) | (_, None) => None,
        };
        Ok(Arrival {
            pushed,
            verified,
            best_effort: destination.best_effort,
        })
    }
}

/// What became of those that one push was for.
#[derive(Default)]
struct Batch {
    results: Vec<(usize, Result<Arrival, Option<Error>>)>,
    notes: Vec<String>,
    failure: Option<PushError>,
}

fn missed(target: &Target, error: Option<&Error>) -> Missed {
    let why = error.map(|error| {
        let causes = causes(error);
        causes
            .into_iter()
            .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    });
    Missed {
        name: format!("{}/{}", target.endpoint, target.repository),
        tags: target.tags.clone(),
        best_effort: target.best_effort,
        why: why.unwrap_or_default(),
    }
}

/// Where an error is told but once, the reason is the one before.
fn with_reasons(mut results: Vec<Fate>) -> Vec<Fate> {
    let mut last = String::new();
    for result in &mut results {
        if let Fate::Missed(missed, error) = result {
            match error {
                Some(_) => last.clone_from(&missed.why),
                None => missed.why.clone_from(&last),
            }
        }
    }
    results
}

/// What the reader of a report would not expect.
fn push_notes(pushed: &Pushed, dry_run: bool) -> Vec<String> {
    let kept = pushed.tags.iter().filter_map(|tag| {
        let kept = tag.kept.as_ref()?;
        Some(format!(
            "the tag `{}:{}` stays at {kept}",
            pushed.name, tag.tag
        ))
    });
    let (blobs, size) = pushed.reread;
    let reread = (blobs > 0).then(|| {
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
    kept.chain(reread).chain(referrers).collect()
}
