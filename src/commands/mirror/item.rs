//! An image of the plan, and what has to be done for it.

use std::fmt;

use super::ImageOutcome;
use crate::diagnostics::render::causes;
use crate::error::Error;
use crate::oci::digest::Digest;
use crate::oci::platform::Platforms;
use crate::oci::reference::Reference;
use crate::push::Settings;
use crate::push::destinations::Target;
use crate::push::result::Missed;

/// One image: where it is read, where it goes, and why.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// The image, by its tag or by the digest that it is pinned to.
    pub source: Reference,
    /// The name that reports call it by: with its tag.
    pub name: String,
    /// Where it goes, and what has to be done there.
    pub homes: Vec<(Target, SyncState)>,
    /// Which of its platforms.
    pub platforms: Platforms,
    /// Whether what refers to it comes along.
    pub referrers: bool,
    /// What its tags lead to where it is already; none while that is not known.
    pub digest: Option<Digest>,
}

impl PlannedImage {
    /// What has to be done for it anywhere.
    pub fn need(&self) -> SyncState {
        let needs = self.homes.iter().map(|(_, need)| *need);
        needs.min().unwrap_or(SyncState::UpToDate)
    }

    /// Where something has to be done.
    pub fn pending(&self) -> impl Iterator<Item = &Target> {
        let lacking = self
            .homes
            .iter()
            .filter(|(_, need)| *need != SyncState::UpToDate);
        lacking.map(|(target, _)| target)
    }

    /// Where it is already, the same.
    pub fn there(&self) -> impl Iterator<Item = &Target> {
        let there = self
            .homes
            .iter()
            .filter(|(_, need)| *need == SyncState::UpToDate);
        there.map(|(target, _)| target)
    }

    /// How it is pushed, where the others are pushed so.
    pub(super) fn settings(&self, others: &Settings) -> Settings {
        Settings {
            platforms: self.platforms.clone(),
            referrers: self.referrers,
            ..others.clone()
        }
    }

    /// True where its failure fails nothing.
    pub fn best_effort(&self) -> bool {
        self.homes.iter().all(|(target, _)| target.best_effort)
    }

    /// What comes of it where one reason keeps it from all that it lacks.
    pub(super) fn into_failed(self, error: &Error) -> ImageOutcome {
        let why = causes(error)
            .into_iter()
            .fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        let missed = self.pending().map(|target| Missed {
            name: format!("{}/{}", target.endpoint, target.repository),
            tags: target.tags.clone(),
            best_effort: target.best_effort,
            why: why.clone(),
        });
        ImageOutcome {
            arrivals: Vec::new(),
            missed: missed.collect(),
            item: self,
        }
    }
}

/// What has to be done for an image at a home; in the order in which it is done.
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
    pub items: Vec<PlannedImage>,
    /// Those of which it could not be found out, and why, as what came of them.
    pub unplanned: Vec<ImageOutcome>,
}

impl fmt::Display for MirrorPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |need| self.items.iter().filter(|item| item.need() == need).count();
        let (missing, differing) = (count(SyncState::Missing), count(SyncState::Outdated));
        let all = self.items.len() + self.unplanned.len();
        write!(
            formatter,
            "{all} image{}: {missing} missing, {differing} different, {} the same",
            if all == 1 { "" } else { "s" },
            count(SyncState::UpToDate),
        )?;
        for (count, what) in [
            (count(SyncState::ReferrersMissing), "lacking referrers"),
            (count(SyncState::Unknown), "to be looked at more closely"),
            (self.unplanned.len(), "that cannot be read"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
