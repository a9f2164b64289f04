//! The images of a mirror plan, and the state of each at its destinations.

use std::fmt;

use super::ImageOutcome;
use crate::oci::digest::Digest;
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::targets::Target;
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
    /// The digest that a cluster runs under the tag, which may have moved. `None` if the tag is taken
    /// as it is.
    pub running: Option<Digest>,
    /// The objects that name it, in words. `None` if the mirror file does.
    pub used_by: Option<String>,
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

    /// The same image at the same destinations, by the digest that runs and without a tag.
    pub(super) fn by_digest(mut self, running: Digest) -> Self {
        self.name = format!("{}@{running}", self.source.name());
        self.source.tag = None;
        self.source.digest = Some(running);
        self.running = None;
        for (target, _) in &mut self.destinations {
            target.tags.clear();
        }
        self
    }

    /// Its name at a destination: by its tag, or by its digest if it has none there.
    pub(super) fn name_at(&self, target: &Target) -> String {
        let name = format!("{}/{}", target.endpoint, target.repository);
        match (target.tags.as_slice(), &self.digest) {
            ([], digest) => {
                let digest = digest.as_ref().or(self.source.digest.as_ref());
                format!("{name}@{}", digest.map_or("", Digest::as_str))
            }
            (tags, _) => format!("{name}:{}", tags.join(",")),
        }
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

impl SyncState {
    /// The state in reports.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Outdated => "outdated",
            Self::ReferrersMissing => "lacks referrers",
            Self::Unknown => "unknown",
            Self::UpToDate => "up to date",
        }
    }
}

/// The images in the order in which they are copied.
#[derive(Debug, Default)]
pub struct MirrorPlan {
    /// The planned images.
    pub images: Vec<PlannedImage>,
    /// The images whose state could not be determined, each with its error.
    pub unplanned: Vec<ImageOutcome>,
    /// What objects of a cluster name as an image and is none.
    pub unreadable: Vec<String>,
}

impl MirrorPlan {
    /// What required destinations lack, in words. `None` if each of them is up to date.
    pub(super) fn lacks(&self) -> Option<String> {
        let required = self.images.iter().flat_map(|image| &image.destinations);
        let required = required.filter(|(target, _)| !target.best_effort);
        let states: Vec<_> = required.map(|(_, state)| *state).collect();
        let count = |state| states.iter().filter(|known| **known == state).count();
        let lacking: Vec<_> = [
            SyncState::Missing,
            SyncState::Outdated,
            SyncState::ReferrersMissing,
            SyncState::Unknown,
        ]
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {}", count(state), state.word()))
        .collect();
        (!lacking.is_empty()).then(|| lacking.join(", "))
    }
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
        let unread = self.unplanned.len() + self.unreadable.len();
        let all = self.images.len() + unread;
        write!(
            formatter,
            "{all} image{}: {missing} missing, {differing} outdated, {} up to date",
            if all == 1 { "" } else { "s" },
            count(SyncState::UpToDate),
        )?;
        for (count, what) in [
            (count(SyncState::ReferrersMissing), "lacking referrers"),
            (count(SyncState::Unknown), "unknown"),
            (unread, "that cannot be read"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
