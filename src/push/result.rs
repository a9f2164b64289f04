use crate::commands::push::table::Status;
use crate::error::Error;
use crate::push::Pushed;
use crate::push::verify::Verified;

/// What became of one target.
#[derive(Debug)]
pub enum Fate {
    /// The image is there.
    Arrived(Arrival),
    /// It is not; the error comes with the first of the targets that have it in common.
    Missed(Missed, Option<Error>),
}

/// One destination that the image reached, and what the registry said afterwards.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What was pushed.
    pub pushed: Pushed,
    /// What was checked; none when `verify` is `off`.
    pub verified: Option<Verified>,
    /// True where the push would not have failed without it.
    pub best_effort: bool,
}

impl Arrival {
    /// What came of it here, or in a dry run would.
    pub fn status(&self) -> Status {
        let tags = &self.pushed.tags;
        if tags.is_empty() || tags.iter().any(|tag| tag.moved) {
            Status::Pushed
        } else if tags.iter().all(|tag| tag.kept.is_some()) {
            Status::Kept
        } else {
            Status::Unchanged
        }
    }
}

/// One destination that the image did not reach.
#[derive(Clone, Debug)]
pub struct Missed {
    /// `host/repository`.
    pub name: String,
    /// The tags that it was to get there.
    pub tags: Vec<String>,
    /// True where that fails nothing.
    pub best_effort: bool,
    /// Why, in one line.
    pub why: String,
}

impl Missed {
    pub(crate) fn word(&self) -> &'static str {
        match self.best_effort {
            true => "missed",
            false => "failed",
        }
    }
}
