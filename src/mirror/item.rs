//! An image of the plan, and what has to be done for it.

use std::fmt;

use crate::config::Platforms;
use crate::error::{Error, causes};
use crate::push::Settings;
use crate::push::targets::Target;
use crate::reference::Reference;
use crate::report::Missed;

/// One image: where it is read, where it goes, and why.
#[derive(Clone, Debug)]
pub struct Item {
    /// The image, by its tag or by the digest that it is pinned to.
    pub source: Reference,
    /// The name that reports call it by: with its tag.
    pub name: String,
    /// Where it is lacking or another; everywhere that it goes when nothing is needed.
    pub targets: Vec<Target>,
    /// Where it is already, the same.
    pub there: Vec<Target>,
    /// Which of its platforms.
    pub platforms: Platforms,
    /// Whether what refers to it comes along.
    pub referrers: bool,
    /// What has to be done.
    pub need: Need,
}

impl Item {
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
        self.targets.iter().all(|target| target.best_effort)
    }

    /// Every target as one that was not reached, for one reason.
    pub(super) fn missed(&self, error: &Error) -> Vec<Missed> {
        let why = causes(error)
            .into_iter()
            .fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
        let targets = self.targets.iter();
        targets
            .map(|target| Missed {
                name: format!("{}/{}", target.endpoint, target.repository),
                tags: target.tags.clone(),
                best_effort: target.best_effort,
                why: why.clone(),
            })
            .collect()
    }
}

/// What has to be done for an image; in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It is missing somewhere.
    Missing,
    /// It is everywhere, but somewhere another.
    Differs,
    /// What refers to it is wanted as well, so that digests alone do not tell.
    Unknown,
    /// It is everywhere, the same.
    Nothing,
}

/// What is to be done, in the order in which it will be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The images.
    pub items: Vec<Item>,
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |need| self.items.iter().filter(|item| item.need == need).count();
        let (missing, differing) = (count(Need::Missing), count(Need::Differs));
        let (unknown, same) = (count(Need::Unknown), count(Need::Nothing));
        write!(
            formatter,
            "{} image{}: {missing} missing, {differing} different, {same} the same",
            self.items.len(),
            if self.items.len() == 1 { "" } else { "s" },
        )?;
        if unknown > 0 {
            write!(formatter, ", {unknown} to be looked at more closely")?;
        }
        Ok(())
    }
}
