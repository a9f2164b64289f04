//! The report of a push, and its table for the terminal.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::PushCommandError;
use crate::ci::table::{Table, bytes};
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::report::PullSecretTable;
use crate::diagnostics::sanitize::sanitize;
use crate::push::PushedTag;
use crate::push::result::{FailedDestination, PushedImage, Status};
use crate::push::verify::Verified;

/// The report of a push.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Notes on what the source lacks, or on what had to be changed, as sentences.
    pub notes: Vec<String>,
    /// The destinations that have the image now.
    pub pushed: Vec<PushedImage>,
    /// The destinations that failed.
    pub failed: Vec<FailedDestination>,
    /// True if nothing was pushed, and the report is what would be done.
    pub dry_run: bool,
    /// The duration of the push, with the verification.
    pub took: Duration,
    /// The created pull secret. `None` if none was created.
    pub pull_secret: Option<PullSecretResult>,
    /// True if nothing was pushed because there is no credential.
    pub skipped: bool,
    /// The errors, each with its causes and hints.
    pub errors: Vec<String>,
}

impl Report {
    /// The report of these results, and the errors of the required destinations.
    pub fn of(
        results: Vec<Result<PushedImage, FailedDestination>>,
        notes: Vec<String>,
    ) -> (Self, Vec<PushCommandError>) {
        let mut report = Self {
            notes,
            ..Self::default()
        };
        let mut errors = Vec::new();
        for result in results {
            match result {
                Ok(pushed) => report.pushed.push(pushed),
                Err(failed) => {
                    if failed.best_effort {
                        tracing::warn!(
                            "`{}` did not get the image, but the run does not fail: {}",
                            failed.name,
                            sanitize(&failed.reason())
                        );
                    } else {
                        errors.push(PushCommandError::Destination(Arc::clone(&failed.error)));
                    }
                    report.failed.push(failed);
                }
            }
        }
        (report, errors)
    }

    /// The status of the whole push.
    pub fn status(&self) -> Status {
        let all = |status| self.pushed.iter().all(|image| image.status() == status);
        if self.skipped {
            Status::Skipped
        } else if self.pushed.is_empty() {
            Status::Failed
        } else if !(self.errors.is_empty() && self.failed.is_empty()) {
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

    /// The destination whose digest is an output: the first required one, or else the first
    /// best-effort one. `None` if there is none, or if a required destination failed and no
    /// required one succeeded.
    pub fn first(&self) -> Option<&PushedImage> {
        let required = self.pushed.iter().find(|image| !image.best_effort);
        let needs_none = self.failed.iter().all(|failed| failed.best_effort);
        required.or_else(|| self.pushed.first().filter(|_| needs_none))
    }

    /// Logs a warning for each tag or image that the listing did not confirm.
    pub fn log_doubts(&self) {
        let verified = self
            .pushed
            .iter()
            .filter_map(|image| image.verified.as_ref());
        for doubt in verified.flat_map(|verified| &verified.doubts) {
            tracing::warn!("{doubt}; the image itself exists under its tags and its digest");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            writeln!(formatter, "dry run: nothing was sent, mounted or tagged")?;
        }
        if !self.pushed.is_empty() {
            write!(formatter, "{}", self.table())?;
        }
        for failed in &self.failed {
            let (word, name) = (word(failed), &failed.name);
            writeln!(formatter, "{word}: {name}: {}", sanitize(&failed.reason()))?;
        }
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        for image in &self.pushed {
            // An untagged image is not listed.
            let listed = image.verified.as_ref();
            if let Some(verified) = listed.filter(|_| !image.pushed.tags.is_empty()) {
                write_listing(formatter, image, verified)?;
            }
        }
        match &self.pull_secret {
            Some(secret) => PullSecretTable(secret).fmt(formatter),
            None => Ok(()),
        }
    }
}

impl Report {
    /// A tag in the table, with its result if it was kept or in a dry run.
    fn tag_cell(&self, tag: &PushedTag) -> String {
        let name = &tag.tag;
        match (self.dry_run, &tag.kept, tag.moved) {
            (_, Some(_), _) => format!("{name} (kept)"),
            (true, None, true) => format!("{name} (to set)"),
            (true, None, false) => format!("{name} (exists)"),
            (false, None, _) => name.clone(),
        }
    }

    /// The table with one row for each destination. The column of mounted bytes is omitted if all
    /// are zero.
    fn table(&self) -> Table {
        let [sent, mounted] = if self.dry_run {
            ["TO SEND", "TO MOUNT"]
        } else {
            ["SENT", "MOUNTED"]
        };
        let headings = ["IMAGE", "TAGS", "DIGEST", sent, mounted, "EXISTING"];
        let mut table = Table::new(headings);
        for PushedImage { pushed, .. } in &self.pushed {
            let tags: Vec<_> = pushed.tags.iter().map(|tag| self.tag_cell(tag)).collect();
            table.row([
                pushed.name.clone(),
                tags_cell(&tags),
                pushed.digest.to_string(),
                bytes(pushed.sent_bytes),
                bytes(pushed.mounted_bytes),
                bytes(pushed.present_bytes),
            ]);
        }
        for failed in &self.failed {
            let [none, no_more, nothing] = std::array::from_fn(|_| "-".to_owned());
            let (name, tags) = (failed.name.clone(), tags_cell(&failed.tags));
            table.row([name, tags, word(failed).to_owned(), none, no_more, nothing]);
        }
        let mut pushed = self.pushed.iter();
        if pushed.any(|image| image.pushed.mounted_bytes > 0) {
            table
        } else {
            table.without(mounted)
        }
    }
}

/// The word for a failed destination.
fn word(failed: &FailedDestination) -> &'static str {
    if failed.best_effort {
        "missed"
    } else {
        "failed"
    }
}

/// The tags in a cell of a table, or a dash if there are none.
pub(super) fn tags_cell(tags: &[String]) -> String {
    match tags {
        [] => "-".to_owned(),
        tags => tags.join(","),
    }
}

/// Writes the registry's listing after the push.
fn write_listing(
    formatter: &mut fmt::Formatter<'_>,
    image: &PushedImage,
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
        tags.row([image.pushed.name.clone(), tag.clone(), digest.to_string()]);
    }
    if !tags.is_empty() {
        write!(formatter, "{tags}")?;
    }
    Ok(())
}
