//! The report of one push: a table for people, and what they would not expect.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::ci::table::{Table, bytes};
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::report::PullSecretTable;
use crate::diagnostics::sanitize::sanitize;
use crate::error::Error;
use crate::push::PushedTag;
use crate::push::result::Arrival;
use crate::push::result::Fate;
use crate::push::result::Missed;
use crate::push::verify::Verified;

/// What came of an image at one destination, or at all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing was done; the rest tells what would be.
    DryRun,
    /// There was nothing to push with, which fails nothing.
    Skipped,
    /// It is there, under a tag that did not point at it before.
    Pushed,
    /// It was there under all its tags already.
    Unchanged,
    /// Every tag stays at another image, as `existing_tag` has it.
    Kept,
    /// It is at some of the destinations alone, or something else failed after it was there.
    Partial,
    /// It is nowhere.
    Failed,
}

/// The report of a push, as it is printed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the source could not give, or what had to be changed, as sentences.
    pub notes: Vec<String>,
    /// The destinations that were reached.
    pub arrivals: Vec<Arrival>,
    /// The destinations that were not.
    pub missed: Vec<Missed>,
    /// True where nothing was done, and the rest tells what would be.
    pub dry_run: bool,
    /// How long it took, up to the last check.
    pub took: Duration,
    /// What became of the pull secret, when it was given out.
    pub pull_secret: Option<PullSecretResult>,
    /// True where nothing was pushed for want of a credential.
    pub skipped: bool,
    /// What failed, each with its causes and hints.
    pub errors: Vec<String>,
}

impl Report {
    /// The report of what became of each target, and the errors of those that count.
    pub fn of(results: Vec<Fate>, notes: Vec<String>) -> (Self, Vec<Error>) {
        let mut report = Self {
            notes,
            ..Self::default()
        };
        let mut errors = Vec::new();
        for result in results {
            match result {
                Fate::Arrived(arrival) => report.arrivals.push(arrival),
                Fate::Missed(missed, error) => {
                    if missed.best_effort {
                        tracing::warn!(
                            "`{}` has not got the image, which fails nothing: {}",
                            missed.name,
                            sanitize(&missed.why)
                        );
                    } else {
                        errors.extend(error);
                    }
                    report.missed.push(missed);
                }
            }
        }
        (report, errors)
    }

    /// What came of all of it.
    pub fn status(&self) -> Status {
        let all = |status| {
            self.arrivals
                .iter()
                .all(|arrival| arrival.status() == status)
        };
        if self.skipped {
            Status::Skipped
        } else if self.arrivals.is_empty() {
            Status::Failed
        } else if !(self.errors.is_empty() && self.missed.is_empty()) {
            Status::Partial
        } else if self.dry_run {
            Status::DryRun
        } else if all(Status::Kept) {
            Status::Kept
        } else if all(Status::Unchanged) {
            Status::Unchanged
        } else {
            Status::Pushed
        }
    }

    /// The destination that stands for all of them: the first that the push needs. One that it does
    /// not need stands for none that it does.
    pub fn first(&self) -> Option<&Arrival> {
        let required = self.arrivals.iter().find(|arrival| !arrival.best_effort);
        let needs_none = self.missed.iter().all(|missed| missed.best_effort);
        required.or_else(|| self.arrivals.first().filter(|_| needs_none))
    }

    /// Tells in the log what a listing could not confirm.
    pub fn log_doubts(&self) {
        let verified = self
            .arrivals
            .iter()
            .filter_map(|arrival| arrival.verified.as_ref());
        for doubt in verified.flat_map(|verified| &verified.doubts) {
            tracing::warn!("{doubt}; the image itself is there under its tags and its digest");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            writeln!(formatter, "dry run: nothing was sent, mounted or tagged")?;
        }
        if !self.arrivals.is_empty() {
            write!(formatter, "{}", self.table())?;
        }
        for missed in &self.missed {
            let (what, name) = (missed.word(), &missed.name);
            writeln!(formatter, "{what}: {name}: {}", sanitize(&missed.why))?;
        }
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        for arrival in &self.arrivals {
            // What has no tag is on no list.
            let listed = arrival.verified.as_ref();
            if let Some(verified) = listed.filter(|_| !arrival.pushed.tags.is_empty()) {
                write_listing(formatter, arrival, verified)?;
            }
        }
        match &self.pull_secret {
            Some(secret) => PullSecretTable(secret).fmt(formatter),
            None => Ok(()),
        }
    }
}

impl Report {
    /// A tag, and in a dry run what would become of it.
    fn shown(&self, tag: &PushedTag) -> String {
        let name = &tag.tag;
        match (self.dry_run, &tag.kept, tag.moved) {
            (_, Some(_), _) => format!("{name} (kept)"),
            (true, None, true) => format!("{name} (to set)"),
            (true, None, false) => format!("{name} (there)"),
            (false, None, _) => name.clone(),
        }
    }

    /// A line a destination; a column for what was mounted where anything was.
    fn table(&self) -> Table {
        let [sent, mounted] = match self.dry_run {
            true => ["TO SEND", "TO MOUNT"],
            false => ["SENT", "MOUNTED"],
        };
        let headings = ["IMAGE", "TAGS", "DIGEST", sent, mounted, "ALREADY THERE"];
        let mut table = Table::new(headings);
        for Arrival { pushed, .. } in &self.arrivals {
            let tags: Vec<_> = pushed.tags.iter().map(|tag| self.shown(tag)).collect();
            table.row([
                pushed.name.clone(),
                shown_tags(&tags),
                pushed.digest.to_string(),
                bytes(pushed.sent_bytes),
                bytes(pushed.mounted_bytes),
                bytes(pushed.present_bytes),
            ]);
        }
        for missed in &self.missed {
            let [none, no_more, nothing] = std::array::from_fn(|_| "-".to_owned());
            let (name, tags) = (missed.name.clone(), shown_tags(&missed.tags));
            table.row([name, tags, missed.word().to_owned(), none, no_more, nothing]);
        }
        let mut arrived = self.arrivals.iter();
        match arrived.any(|arrival| arrival.pushed.mounted_bytes > 0) {
            true => table,
            false => table.without(mounted),
        }
    }
}

/// Tags in a cell of a table; a dash where there is none.
pub(crate) fn shown_tags(tags: &[String]) -> String {
    match tags {
        [] => "-".to_owned(),
        tags => tags.join(","),
    }
}

/// The listing as the registry gave it after the push.
fn write_listing(
    formatter: &mut fmt::Formatter<'_>,
    arrival: &Arrival,
    verified: &Verified,
) -> fmt::Result {
    writeln!(formatter)?;
    if !verified.images.is_empty() {
        let mut images = Table::new(["NAME"]);
        for image in &verified.images {
            images.row([image.clone()]);
        }
        writeln!(formatter, "{images}")?;
    }
    let mut tags = Table::new(["LISTED IMAGE", "TAG", "DIGEST"]);
    for (tag, digest) in &verified.tags {
        tags.row([arrival.pushed.name.clone(), tag.clone(), digest.to_string()]);
    }
    if !tags.is_empty() {
        write!(formatter, "{tags}")?;
    }
    Ok(())
}
