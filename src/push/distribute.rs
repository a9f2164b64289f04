//! One image to all its destinations.
//!
//! Those that count set the pace and are done as soon as they can be. Those whose failure the user
//! can live with (`best_effort`) keep up, or follow when the others are done; a dead one costs the
//! others a moment, and the run no more than the time that nothing moves.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::blob_locations::Holdings;
use super::blobs::{Blob, Blobs, Origin};
use super::manifests::{deliver, pushed};
use super::probe::Standing;
use super::upload::{self, Lane};
use super::{Destination, PushError, Pushed, Settings};
use crate::ci::progress::Work;
use crate::image::{Companions, Tree};
use crate::oci::digest::Digest;

/// How long those who are not waited for may take to say what they have, once the others have.
const GRACE: Duration = Duration::from_secs(1);

/// Finds out how a destination stands.
pub(super) type Looking<'a> = BoxFuture<'a, Result<Standing, PushError>>;

/// An image on its way.
pub(super) struct Shipment<'a> {
    pub(super) tree: &'a Tree,
    pub(super) companions: &'a Companions,
    pub(super) blobs: &'a Blobs,
    pub(super) settings: &'a Settings,
    pub(super) holdings: &'a Arc<Holdings>,
}

/// A destination and what it lacks.
struct Sight {
    standing: Standing,
    missing: HashSet<Digest>,
}

/// A destination whose blobs are under way.
struct Leg {
    index: usize,
    standing: Standing,
    lane: Arc<Lane>,
}

/// True for each destination that the others wait for: those that count, or all where none does.
pub(super) fn pacing(destinations: &[Destination]) -> Vec<bool> {
    let all = destinations
        .iter()
        .all(|destination| destination.best_effort);
    let pacing = destinations
        .iter()
        .map(|destination| all || !destination.best_effort);
    pacing.collect()
}

/// Those of `chosen` that are the first of their registry: the others can take blobs from there.
pub(super) fn first_of_registry(destinations: &[Destination], chosen: &[bool]) -> Vec<bool> {
    let mut seen = HashSet::new();
    let pairs = destinations.iter().zip(chosen);
    let is_first = |(destination, chosen): (&Destination, &bool)| {
        *chosen && seen.insert(destination.registry.endpoint().clone())
    };
    pairs.map(is_first).collect()
}

/// Brings the image everywhere; one result a destination, in their order.
pub(super) async fn bring(
    shipment: &Shipment<'_>,
    destinations: &[Destination],
    looking: Vec<Looking<'_>>,
) -> Vec<Result<Pushed, PushError>> {
    let paces = pacing(destinations);
    let slots: Vec<OnceLock<_>> = destinations.iter().map(|_| OnceLock::new()).collect();
    let results = &slots;
    let sights = looking.into_iter().enumerate().map(|(index, looking)| {
        let destination = &destinations[index];
        async move { (index, shipment.sight(destination, looking).await) }
    });
    let mut sights: FuturesUnordered<_> = sights.collect();
    let in_time = match shipment.settings.dry_run {
        // Nobody waits for anybody.
        true => in_time(&mut sights, &vec![true; paces.len()]).await,
        false => in_time(&mut sights, &paces).await,
    };

    let mut legs = Vec::new();
    for (index, sight) in in_time {
        match sight {
            Ok(sight) => legs.push(shipment.leg(index, &destinations[index], sight, paces[index])),
            Err(error) => drop(results[index].set(Err(error))),
        }
    }
    if shipment.settings.dry_run {
        for leg in &legs {
            let foreseen = shipment.foreseen(&destinations[leg.index], leg);
            let _ = results[leg.index].set(foreseen);
        }
        return shipment.results(slots, destinations);
    }
    let stragglers = shipment.send(&legs).await;
    let (waited_for, others): (Vec<_>, Vec<_>) = legs.into_iter().partition(|leg| paces[leg.index]);

    let arrive = |leg: Leg| async move {
        let index = leg.index;
        let _ = results[index].set(shipment.arrive(&destinations[index], leg).await);
    };
    let (finishing, finished) = oneshot::channel::<()>();
    let first = async {
        join_all(waited_for.into_iter().map(arrive)).await;
        drop(finishing);
    };
    let keeping_up = async {
        stragglers.join_all().await;
        let again = others.into_iter().filter_map(|mut leg| {
            let Leg { index, .. } = leg;
            match leg.standing.add(leg.lane.take_done()) {
                Ok(()) => {
                    let sight = Sight {
                        missing: shipment.lacked(&leg.standing),
                        standing: leg.standing,
                    };
                    Some(shipment.leg(index, &destinations[index], sight, true))
                }
                Err(error) => {
                    let _ = results[index].set(Err(error));
                    None
                }
            }
        });
        let again: Vec<_> = again.collect();
        // What they lack was announced when they were to share the reads.
        shipment.carry(&again).await;
        join_all(again.into_iter().map(arrive)).await;
    };
    let late = sights.for_each_concurrent(None, |(index, sight)| async move {
        match sight {
            Ok(sight) => {
                let leg = [shipment.leg(index, &destinations[index], sight, true)];
                shipment.send(&leg).await;
                let [leg] = leg;
                arrive(leg).await;
            }
            Err(error) => drop(results[index].set(Err(error))),
        }
    });
    let following = async {
        let followers = destinations
            .iter()
            .zip(&paces)
            .filter(|(_, paces)| !**paces);
        let followers = followers.map(|(destination, _)| destination).collect();
        let stand_still = stand_still(finished, followers, shipment.settings.patience);
        tokio::select! {
            _ = async { tokio::join!(keeping_up, late) } => {}
            () = stand_still => {}
        }
    };
    tokio::join!(first, following);
    shipment.results(slots, destinations)
}

/// What all who are waited for said, and what the others said within a moment of that; in order.
pub(crate) async fn in_time<T>(
    saying: &mut FuturesUnordered<impl Future<Output = (usize, T)>>,
    paces: &[bool],
) -> Vec<(usize, T)> {
    let mut said = Vec::new();
    let mut waited_for = paces.iter().filter(|paces| **paces).count();
    while waited_for > 0
        && let Some((index, what)) = saying.next().await
    {
        waited_for -= usize::from(paces[index]);
        said.push((index, what));
    }
    let end = Instant::now() + GRACE;
    while let Ok(Some(more)) = timeout_at(end, saying.next()).await {
        said.push(more);
    }
    said.sort_by_key(|(index, _)| *index);
    said
}

/// Ends when, after the others have finished, nothing has moved to the followers for so long.
async fn stand_still(
    finished: oneshot::Receiver<()>,
    followers: Vec<&Destination>,
    patience: Duration,
) {
    // Nothing is ever sent: it is dropped.
    let _ = finished.await;
    let moved = || -> u64 { followers.iter().map(|d| d.registry.moved_bytes()).sum() };
    loop {
        let before = moved();
        sleep(patience).await;
        if moved() == before {
            return;
        }
    }
}

impl Shipment<'_> {
    /// What came of each; who has no result was given up.
    fn results(
        &self,
        slots: Vec<OnceLock<Result<Pushed, PushError>>>,
        destinations: &[Destination],
    ) -> Vec<Result<Pushed, PushError>> {
        let slots = slots.into_iter().zip(destinations);
        let result = |(slot, destination): (OnceLock<_>, &Destination)| {
            slot.into_inner().unwrap_or_else(|| {
                Err(PushError::Late {
                    destination: destination.name(),
                    after: self.settings.patience,
                })
            })
        };
        slots.map(result).collect()
    }

    /// What a push would do at a destination, if every registry mounted what it can.
    fn foreseen(&self, destination: &Destination, leg: &Leg) -> Result<Pushed, PushError> {
        let (endpoint, repository) = (destination.registry.endpoint(), &destination.repository);
        for blob in self
            .blobs
            .iter()
            .filter(|blob| leg.lane.needs(&blob.digest))
        {
            match self.holdings.donor(endpoint, repository, &blob.digest) {
                Some(_) => destination.tally.mounted(&blob.digest),
                None if blob.is_absent() => return Err(blob.absent_everywhere(destination)),
                None => destination.tally.sent(&blob.digest, blob.size),
            }
            self.holdings.note(endpoint, repository, &blob.digest);
        }
        let (digest, policy) = (self.tree.root.digest(), self.settings.existing_tag);
        let tags = destination.moves(&leg.standing, digest, policy);
        Ok(pushed(destination, self, tags))
    }

    /// How a destination stands, and what it lacks.
    async fn sight(
        &self,
        destination: &Destination,
        looking: Looking<'_>,
    ) -> Result<Sight, PushError> {
        let mut standing = looking.await?;
        let policy = self.settings.existing_tag;
        let digest = self.tree.root.digest();
        destination.check_tags(&standing, digest, policy)?;
        if destination.keeps_all(&standing, digest, policy) {
            let missing = HashSet::new();
            return Ok(Sight { standing, missing });
        }
        if standing.image_is_present {
            standing.holds_all_of(self.tree);
        }
        destination.look_for(self.companions, &mut standing).await?;
        let (endpoint, repository) = (destination.registry.endpoint(), &destination.repository);
        for blob in self.blobs {
            if self.holdings.has(endpoint, repository, &blob.digest) {
                standing.present.insert(blob.digest.clone());
            }
        }
        let concurrency = self.settings.turns.all();
        let missing = destination
            .missing(self.blobs, &mut standing, concurrency)
            .await?;
        let missing: HashSet<_> = missing
            .into_iter()
            .map(|blob| blob.digest.clone())
            .collect();
        for digest in standing.present.iter().chain(&standing.sent) {
            self.holdings.note(endpoint, repository, digest);
        }
        Ok(Sight { standing, missing })
    }

    /// The blobs that a destination lacks for all that is known of it.
    fn lacked(&self, standing: &Standing) -> HashSet<Digest> {
        let all = self.blobs.iter().map(|blob| &blob.digest);
        all.filter(|blob| !standing.holds(blob)).cloned().collect()
    }

    fn leg(&self, index: usize, destination: &Destination, sight: Sight, paces: bool) -> Leg {
        let lane = Lane::new(
            destination,
            sight.missing,
            paces,
            self.holdings,
            self.settings,
        );
        Leg {
            index,
            standing: sight.standing,
            lane,
        }
    }

    /// Announces what is to be sent, and sends it.
    async fn send(&self, legs: &[Leg]) -> JoinSet<()> {
        let sizes = self.blobs.iter().flat_map(|blob| {
            let lacking = legs.iter().filter(|leg| leg.lane.needs(&blob.digest));
            lacking.map(|_| blob.size)
        });
        self.settings.progress.expect(Work::Send, sizes);
        self.carry(legs).await
    }

    async fn carry(&self, legs: &[Leg]) -> JoinSet<()> {
        let lanes: Vec<_> = legs.iter().map(|leg| Arc::clone(&leg.lane)).collect();
        upload::send(self.blobs, &lanes, &self.settings.turns).await
    }

    /// The manifests and the tags, once the blobs are there.
    async fn arrive(&self, destination: &Destination, leg: Leg) -> Result<Pushed, PushError> {
        let Leg {
            mut standing, lane, ..
        } = leg;
        standing.add(lane.take_done())?;
        deliver(destination, self, standing).await
    }
}

/// The same blobs for a destination that was not asked what it has: what every other one has is
/// read from one of those.
pub(super) fn for_others(blobs: &Blobs, giver: &Destination) -> Blobs {
    let blobs = blobs.iter().cloned().map(|blob| match blob.origin {
        Origin::There => {
            let (registry, repository) = (Arc::clone(&giver.registry), giver.repository.clone());
            Blob {
                origin: Origin::Elsewhere(registry, repository),
                ..blob
            }
        }
        _ => blob,
    });
    blobs.collect()
}

/// The looking of one that has been looked at.
pub(super) fn looked<'a>(standing: Result<Standing, PushError>) -> Looking<'a> {
    std::future::ready(standing).boxed()
}
