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
use crate::push::{self, Destination, Holdings, Outcome, PushError, Pushed, Settings, Tally};
use crate::registry::pool::Registries;

/// What an image is brought with.
pub struct Bearer<'a> {
    /// The image.
    pub source: &'a Source,
    /// Where it goes through.
    pub registries: &'a Registries<'a>,
    /// How.
    pub settings: &'a Settings,
    /// What is known of the repositories.
    pub holdings: &'a Arc<Holdings>,
    /// How the result is checked.
    pub verify: Verify,
}

/// What became of an image.
#[derive(Debug, Default)]
pub struct Arrived {
    /// What became of each target, in their order; all of them, unless the source failed.
    pub fates: Vec<Fate>,
    /// What had to become of the source's manifests, and what was unusual, as sentences.
    pub notes: Vec<String>,
    /// Why the source itself could not be pushed anywhere.
    pub failure: Option<PushError>,
}

/// A target by its number, and the destination that it became, or why it did not.
type Reached = (usize, Result<Destination, Option<Error>>);

impl Bearer<'_> {
    /// Brings the image to every target.
    pub async fn bring(&self, targets: &[Target]) -> Arrived {
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
        let paces: Vec<_> = groups.iter().map(counts).collect();
        let opening = groups
            .iter()
            .enumerate()
            .map(|(number, group)| async move { (number, self.reach(targets, group).await) });
        let mut opening: FuturesUnordered<_> = opening.collect();
        let ready = push::in_time(&mut opening, &paces).await;

        let mut fates: Vec<_> = targets.iter().map(|_| None).collect();
        let mut arrived = Arrived::default();
        let (first, late) = tokio::join!(self.push(ready), opening.collect::<Vec<_>>());
        for batch in [first, self.push(late).await] {
            arrived.notes.extend(batch.notes);
            arrived.failure = arrived.failure.or(batch.failure);
            for (number, fate) in batch.fates {
                fates[number] = Some(match fate {
                    Ok(arrival) => Fate::Arrived(arrival),
                    Err(error) => Fate::Missed(missed(&targets[number], error.as_ref()), error),
                });
            }
        }
        let fates = fates.into_iter().flatten().collect();
        arrived.fates = with_reasons(fates);
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
                journal: self.settings.journal.clone(),
                tally: Tally::default(),
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
                Err(error) => batch.fates.push((number, Err(error))),
            }
        }
        numbered.sort_by_key(|(number, _)| *number);
        let (numbers, destinations): (Vec<_>, Vec<_>) = numbered.into_iter().unzip();
        if destinations.is_empty() {
            return batch;
        }
        let pushing = push::push(self.source, &destinations, self.settings, self.holdings);
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
            let fate = match result {
                Ok(pushed) => self.prove(destination, pushed, tree.as_ref()).await,
                Err(error) => Err(Error::Push(error)),
            };
            if let Ok(arrival) = &fate {
                batch
                    .notes
                    .extend(unusual(&arrival.pushed, self.settings.dry_run));
            }
            batch.fates.push((number, fate.map_err(Some)));
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
    fates: Vec<(usize, Result<Arrival, Option<Error>>)>,
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
fn with_reasons(mut fates: Vec<Fate>) -> Vec<Fate> {
    let mut last = String::new();
    for fate in &mut fates {
        if let Fate::Missed(missed, error) = fate {
            match error {
                Some(_) => last.clone_from(&missed.why),
                None => missed.why.clone_from(&last),
            }
        }
    }
    fates
}

/// What the reader of a report would not expect.
fn unusual(pushed: &Pushed, dry_run: bool) -> Vec<String> {
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
