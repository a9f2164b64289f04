//! An image of the plan, and what has to be done for it.

use std::fmt;

use super::Outcome;
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
pub struct Item {
    /// The image, by its tag or by the digest that it is pinned to.
    pub source: Reference,
    /// The name that reports call it by: with its tag.
    pub name: String,
    /// Where it goes, and what has to be done there.
    pub homes: Vec<(Target, Need)>,
    /// Which of its platforms.
    pub platforms: Platforms,
    /// Whether what refers to it comes along.
    pub referrers: bool,
    /// What its tags lead to where it is already; none while that is not known.
    pub digest: Option<Digest>,
}

impl Item {
    /// What has to be done for it anywhere.
    pub fn need(&self) -> Need {
        let needs = self.homes.iter().map(|(_, need)| *need);
        needs.min().unwrap_or(Need::Nothing)
    }

    /// Where something has to be done.
    pub fn lacking(&self) -> impl Iterator<Item = &Target> {
        let lacking = self.homes.iter().filter(|(_, need)| *need != Need::Nothing);
        lacking.map(|(target, _)| target)
    }

    /// Where it is already, the same.
    pub fn there(&self) -> impl Iterator<Item = &Target> {
        let there = self.homes.iter().filter(|(_, need)| *need == Need::Nothing);
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
    pub(super) fn into_missed(self, error: &Error) -> Outcome {
        let why = causes(error)
            .into_iter()
            .fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        let missed = self.lacking().map(|target| Missed {
            name: format!("{}/{}", target.endpoint, target.repository),
            tags: target.tags.clone(),
            best_effort: target.best_effort,
            why: why.clone(),
        });
        Outcome {
            arrivals: Vec::new(),
            missed: missed.collect(),
            item: self,
        }
    }
}

/// What has to be done for an image at a home; in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It is missing.
    Missing,
    /// There is another.
    Differs,
    /// It is there, but not all that refers to it.
    Referrers,
    /// Digests alone do not tell.
    Unknown,
    /// It is there, the same.
    Nothing,
}

/// What is to be done, in the order in which it will be.
#[derive(Debug, Default)]
pub struct Plan {
    /// The images.
    pub items: Vec<Item>,
    /// Those of which it could not be found out, and why, as what came of them.
    pub unplanned: Vec<Outcome>,
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |need| self.items.iter().filter(|item| item.need() == need).count();
        let (missing, differing) = (count(Need::Missing), count(Need::Differs));
        let all = self.items.len() + self.unplanned.len();
        write!(
            formatter,
            "{all} image{}: {missing} missing, {differing} different, {} the same",
            if all == 1 { "" } else { "s" },
            count(Need::Nothing),
        )?;
        for (count, what) in [
            (count(Need::Referrers), "lacking referrers"),
            (count(Need::Unknown), "to be looked at more closely"),
            (self.unplanned.len(), "that cannot be read"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
