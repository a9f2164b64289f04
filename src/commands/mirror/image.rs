//! An image of the plan, and its state at each destination.

use std::fmt;

use std::sync::Arc;

use super::{ImageOutcome, MirrorError};
use crate::diagnostics::SharedError;
use crate::oci::digest::Digest;
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::destinations::Target;
use crate::push::result::FailedDestination;
use crate::push::{PushOptions, Settings};

/// One image: where it is read, where it goes, and why.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The image, by its tag or by the digest that it is pinned to.
    pub source: Reference,
    /// The name that reports call it by: with its tag.
    pub name: String,
    /// Where it goes, and what has to be done there.
    pub destinations: Vec<(Target, SyncState)>,
    /// Which of its platforms.
    pub platforms: Platforms,
    /// Whether what refers to it comes along.
    pub referrers: bool,
    /// What its tags lead to where it is already; none while that is not known.
    pub digest: Option<Digest>,
}

impl PlannedImage {
    /// The state of the destination that lags furthest behind.
    pub fn state(&self) -> SyncState {
        let states = self.destinations.iter().map(|(_, state)| *state);
        states.min().unwrap_or(SyncState::UpToDate)
    }

    /// The destinations that lack something.
    pub fn pending(&self) -> impl Iterator<Item = &Target> {
        self.targets(|state| state != SyncState::UpToDate)
    }

    /// The destinations that have the image already.
    pub fn up_to_date(&self) -> impl Iterator<Item = &Target> {
        self.targets(|state| state == SyncState::UpToDate)
    }

    fn targets(&self, is_wanted: impl Fn(SyncState) -> bool) -> impl Iterator<Item = &Target> {
        let wanted = self
            .destinations
            .iter()
            .filter(move |(_, state)| is_wanted(*state));
        wanted.map(|(target, _)| target)
    }

    /// The settings of its push, out of those of the run.
    pub(super) fn settings(&self, run: &Settings) -> Settings {
        Settings {
            options: PushOptions {
                platforms: self.platforms.clone(),
                referrers: self.referrers,
                ..run.options.clone()
            },
            ..run.clone()
        }
    }

    /// True if its failure fails nothing.
    pub fn best_effort(&self) -> bool {
        self.destinations
            .iter()
            .all(|(target, _)| target.best_effort)
    }

    /// The outcome of an image that one error keeps from all of its pending destinations.
    pub(super) fn failed(self, error: Arc<MirrorError>) -> ImageOutcome {
        let failed = self.pending();
        let failed = failed.map(|target| {
            let error: SharedError = error.clone();
            FailedDestination::new(target, error)
        });
        ImageOutcome {
            failed: failed.collect(),
            pushed: Vec::new(),
            image: self,
        }
    }
}

/// How an image is at a destination, in the order in which it is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncState {
    /// It is missing.
    Missing,
    /// There is another.
    Outdated,
    /// It is there, but not all that refers to it.
    ReferrersMissing,
    /// Digests alone do not tell.
    Unknown,
    /// It is there, the same.
    UpToDate,
}

/// What is to be done, in the order in which it will be.
#[derive(Debug, Default)]
pub struct MirrorPlan {
    /// The images.
    pub images: Vec<PlannedImage>,
    /// Those of which it could not be found out, and why, as what came of them.
    pub unplanned: Vec<ImageOutcome>,
}

impl fmt::Display for MirrorPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |need| {
            self.images
                .iter()
                .filter(|image| image.state() == need)
                .count()
        };
        let (missing, differing) = (count(SyncState::Missing), count(SyncState::Outdated));
        let all = self.images.len() + self.unplanned.len();
        write!(
            formatter,
            "{all} image{}: {missing} missing, {differing} different, {} the same",
            if all == 1 { "" } else { "s" },
            count(SyncState::UpToDate),
        )?;
        for (count, what) in [
            (count(SyncState::ReferrersMissing), "lacking referrers"),
            (count(SyncState::Unknown), "unknown"),
            (self.unplanned.len(), "that cannot be read"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
