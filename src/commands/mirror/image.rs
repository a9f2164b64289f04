//! The images of a mirror plan, and the state of each at its destinations.

use std::fmt;

use super::ImageOutcome;
use crate::oci::digest::Digest;
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::destinations::Target;
use crate::push::{PushOptions, Settings};

/// An image of the plan: its source, and its state at each destination.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The reference that the image is read by: a tag, or the digest that it is pinned to.
    pub source: Reference,
    /// The name in reports, with the tag.
    pub name: String,
    /// The destinations, each with its state.
    pub destinations: Vec<(Target, SyncState)>,
    /// The platforms that are copied.
    pub platforms: Platforms,
    /// True if its referrers are copied too.
    pub referrers: bool,
    /// The digest of its tags at the destinations. `None` if it is not known yet.
    pub digest: Option<Digest>,
}

impl PlannedImage {
    /// The state of the destination that needs the most work.
    pub fn state(&self) -> SyncState {
        let states = self.destinations.iter().map(|(_, state)| *state);
        states.min().unwrap_or(SyncState::UpToDate)
    }

    /// The destinations that are not up to date.
    pub fn pending(&self) -> impl Iterator<Item = &Target> {
        self.targets(|state| state != SyncState::UpToDate)
    }

    /// The destinations that are up to date.
    pub fn up_to_date(&self) -> impl Iterator<Item = &Target> {
        self.targets(|state| state == SyncState::UpToDate)
    }

    /// The destinations whose state matches.
    fn targets(&self, matches: impl Fn(SyncState) -> bool) -> impl Iterator<Item = &Target> {
        let matching = self
            .destinations
            .iter()
            .filter(move |(_, state)| matches(*state));
        matching.map(|(target, _)| target)
    }

    /// The settings of the run with the options of this image.
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

    /// True if its failure does not fail the run.
    pub fn best_effort(&self) -> bool {
        self.destinations
            .iter()
            .all(|(target, _)| target.best_effort)
    }
}

/// The state of an image at a destination, in the order in which images are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncState {
    /// The destination does not have the image.
    Missing,
    /// The tag is another image at the destination.
    Outdated,
    /// The destination has the image, but not all of its referrers.
    ReferrersMissing,
    /// Digests alone are not enough to know the state.
    Unknown,
    /// The destination has the same image.
    UpToDate,
}

/// The images in the order in which they are copied.
#[derive(Debug, Default)]
pub struct MirrorPlan {
    /// The planned images.
    pub images: Vec<PlannedImage>,
    /// The images whose state could not be determined, each with its error.
    pub unplanned: Vec<ImageOutcome>,
}

impl fmt::Display for MirrorPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |state| {
            self.images
                .iter()
                .filter(|image| image.state() == state)
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
