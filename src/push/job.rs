//! Pushes one image to its destinations, in one or two passes: the required destinations, and, once
//! those are done, the best-effort ones. A failed destination does not stop the others.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::prepare::{self, Preparation, PreparedImage};
use super::result::{DestinationError, FailedDestination, PushedImage};
use super::targets::Target;
use super::verify::{self, Verify};
use super::{BlobLocations, Destination, PushError, Pushed, Settings, publish, upload};
use crate::ci::progress::{Progress, Work};
use crate::ci::table::bytes;
use crate::diagnostics::render::one_line;
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

/// What came of a target.
type TargetResult = Result<PushedImage, Arc<DestinationError>>;

impl PushJob<'_> {
    /// Pushes the image to every target, and verifies it there. The best-effort targets come when the
    /// others are done, and are given up when nothing moves any more.
    pub async fn run(&self, targets: &[Target]) -> PushOutcome {
        let mut results: Vec<Option<TargetResult>> = targets.iter().map(|_| None).collect();
        let mut outcome = PushOutcome::default();
        let mut image = None;
        for best_effort in [false, true] {
            let numbers = 0..targets.len();
            let numbers = numbers.filter(|number| targets[*number].best_effort == best_effort);
            let numbers: Vec<_> = numbers.collect();
            let is_first = numbers.len() == targets.len() || !best_effort;
            let opening = numbers
                .iter()
                .map(|number| self.open(&targets[*number], targets));
            let mut destinations = Vec::new();
            for (number, opened) in numbers.iter().zip(join_all(opening).await) {
                match opened {
                    Ok(destination) => destinations.push((*number, destination)),
                    Err(error) => results[*number] = Some(Err(Arc::new(error))),
                }
            }
            let (numbers, destinations): (Vec<_>, Vec<_>) = destinations.into_iter().unzip();
            if destinations.is_empty() {
                continue;
            }
            let pass = self.pass(&destinations, &mut image, &mut outcome.notes);
            match pass.await {
                Ok(pushed) => {
                    for (number, result) in numbers.into_iter().zip(pushed) {
                        results[number] = Some(result);
                    }
                }
                Err(error) if is_first => {
                    outcome.failure = Some(error);
                    return outcome;
                }
                Err(error) => {
                    let error = Arc::new(DestinationError::Push(error));
                    for number in numbers {
                        results[number] = Some(Err(Arc::clone(&error)));
                    }
                }
            }
        }
        let results = targets.iter().zip(results).filter_map(|(target, result)| {
            let failed = |error| FailedDestination::new(target, error);
            Some(result?.map_err(|error| failed(error)))
        });
        outcome.results = results.collect();
        outcome
    }

    /// Opens the registry of a target, signs in to its repository, and checks the permissions. The
    /// source is not read for a repository that cannot be pushed to.
    async fn open(&self, target: &Target, all: &[Target]) -> Result<Destination, DestinationError> {
        let endpoint = &target.endpoint;
        let mut there = all.iter().filter(|other| other.endpoint == *endpoint);
        let best_effort = there.all(|other| other.best_effort);
        let registry = self.registries.destination(endpoint, best_effort).await;
        let registry = registry.map_err(DestinationError::Open)?;
        let (signed_in, permitted) = tokio::join!(
            registry.sign_in(&target.repository),
            self.settings.preflight.check(target, self.registries),
        );
        signed_in.map_err(|cause| DestinationError::SignIn(endpoint.clone(), cause))?;
        permitted.map_err(|error| DestinationError::MissingRole(Box::new(error)))?;
        Ok(Destination {
            registry,
            repository: target.repository.clone(),
            tags: target.tags.clone(),
            best_effort: target.best_effort,
            tag_log: self.settings.tag_log.clone(),
            locations: Arc::clone(self.locations),
            state: parking_lot::Mutex::default(),
            finished: Notify::new(),
        })
    }

    /// Pushes to these destinations, and verifies each. `image` is the image as the pass before
    /// prepared it, and then as this one did.
    async fn pass(
        &self,
        destinations: &[Destination],
        image: &mut Option<PreparedImage>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<TargetResult>, PushError> {
        let settings = self.settings;
        let is_given = image.is_some();
        *image = self.push(destinations, image.take()).await?;
        if let (Some(image), false) = (&*image, is_given) {
            notes.extend(image.notes.iter().cloned());
        }
        let tree = image.as_ref().map(PreparedImage::all_manifests);
        let verifying = destinations.iter().map(async |destination| {
            let pushed = destination.take_result(settings.best_effort_timeout);
            let pushed = pushed.map_err(DestinationError::Push)?;
            self.verify(destination, pushed, tree.as_ref()).await
        });
        let results = join_all(verifying).await;
        for pushed in results.iter().flatten() {
            notes.extend(push_notes(&pushed.pushed, settings.options.dry_run));
        }
        if let Some(image) = image
            && !settings.options.dry_run
        {
            let digest = image.tree.root.digest();
            let has_it = |result: &Result<PushedImage, _>| {
                result.as_ref().is_ok_and(|it| it.pushed.digest == *digest)
            };
            let mut pairs = destinations.iter().zip(&results);
            if let Some((holder, _)) = pairs.find(|(_, result)| has_it(result)) {
                image.read_from(holder);
            }
        }
        let results = results.into_iter();
        Ok(results.map(|result| result.map_err(Arc::new)).collect())
    }

    /// Pushes to these destinations. Returns the image. `None` if every destination had a result
    /// before it was ready.
    ///
    /// A blob that another repository should have may have been garbage-collected, or may not be
    /// readable. Everything is then read from the source, and all layers are compressed again, so
    /// that all destinations get the same digest.
    async fn push(
        &self,
        destinations: &[Destination],
        mut image: Option<PreparedImage>,
    ) -> Result<Option<PreparedImage>, PushError> {
        let mut settings = self.settings.clone();
        loop {
            let is_given = image.is_some();
            let pushed = self
                .push_once(destinations, image.take(), &settings)
                .await?;
            let mut failed = destinations.iter().filter_map(|destination| {
                destination.of_result(|result| match result {
                    Err(error) if error.is_caused_by_reuse() => Some(one_line(error)),
                    _ => None,
                })?
            });
            let next = match failed.next() {
                Some(error) if is_given => format!("{error}; reading the source instead"),
                Some(error) if settings.options.layer_reuse => {
                    format!("{error}; compressing every layer again")
                }
                _ => return Ok(pushed),
            };
            tracing::info!("{next}");
            settings.options.layer_reuse = false;
            destinations.iter().for_each(Destination::restart);
        }
    }

    /// Pushes without the second attempt of [`Self::push`].
    async fn push_once(
        &self,
        destinations: &[Destination],
        image: Option<PreparedImage>,
        settings: &Settings,
    ) -> Result<Option<PreparedImage>, PushError> {
        let mut preparation = match image {
            Some(image) => Preparation::Ready(Box::new(image)),
            None => prepare::prepare(self.source, destinations, settings, self.locations).await?,
        };
        let open = destinations.iter().filter(|one| one.is_open());
        let probes = open.map(|one| one.probe(preparation.image(), preparation.blobs(), settings));
        join_all(probes).await;
        if !destinations.iter().any(Destination::is_open) {
            return preparation.finish();
        }
        let stalled = async {
            if destinations
                .iter()
                .all(|destination| destination.best_effort)
            {
                until_stalled(&settings.progress, settings.best_effort_timeout).await;
            } else {
                pending().await
            }
        };
        tokio::select! {
            uploaded = upload::upload(&mut preparation, destinations, settings) => uploaded?,
            () = stalled => {}
        }
        let mut image = preparation.finish()?;
        if let Some(image) = &mut image {
            let lacks_blob = |one: &&Destination| {
                let mut blobs = image.blobs.iter();
                blobs.any(|blob| one.needs(&blob.digest))
            };
            for destination in destinations.iter().filter(lacks_blob) {
                destination.finish(Err(destination.timed_out(settings.best_effort_timeout)));
            }
            publish::publish(image, destinations, settings).await;
        }
        Ok(image)
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

/// Resolves once nothing was read, compressed or sent for `limit`.
async fn until_stalled(progress: &Progress, limit: Duration) {
    let moved = || {
        let snapshot = progress.snapshot();
        Work::ALL.map(|work| snapshot.total(work).moved)
    };
    loop {
        let before = moved();
        sleep(limit).await;
        if moved() == before {
            return;
        }
    }
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
