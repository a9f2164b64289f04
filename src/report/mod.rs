//! What a run says at its end: a table for people, JSON for the next job.

pub mod github;
pub mod json;
pub mod table;

use std::fmt;
use std::io::Write;
use std::path::Path;

use crate::config::Request;
use crate::error::Error;
use crate::push::Pushed;
use crate::verify::Verified;
use table::{Table, bytes};

/// One destination that the image reached, and what the registry said afterwards.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What was pushed.
    pub pushed: Pushed,
    /// What was checked; none when `verify` is `off`.
    pub verified: Option<Verified>,
}

/// The report of a push, as it is printed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the source could not give, or what had to be changed, as sentences.
    pub notes: Vec<String>,
    /// The destinations that were reached.
    pub arrivals: Vec<Arrival>,
}

impl Report {
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

/// Prints the report and leaves what the next job was promised.
///
/// The table goes to `stdout`, unless the pull secret does: then `stdout` is for that alone, and
/// the table goes to the log's side.
///
/// # Errors
///
/// When `stdout` or one of the files cannot be written.
pub fn write(report: &Report, request: &Request, stdout: &mut dyn Write) -> Result<(), Error> {
    let secret = request.pull_secret.as_ref();
    if secret.is_some_and(|secret| secret.file.is_none()) {
        write!(std::io::stderr(), "{report}").map_err(Error::Output)?;
    } else {
        write!(stdout, "{report}").map_err(Error::Output)?;
    }
    if let Some(path) = &request.report_file {
        write_file(path, &json::write(report))?;
    }
    if let (Some(path), Some(first)) = (&request.digest_file, report.arrivals.first()) {
        write_file(path, first.pushed.digest.as_str())?;
    }
    Ok(())
}

/// Leaves the outputs of a GitHub step; the pull secret's file is one of them when it was written.
///
/// # Errors
///
/// When the runner's file cannot be written.
pub fn write_outputs(
    report: &Report,
    request: &Request,
    has_pull_secret: bool,
) -> Result<(), Error> {
    let Some(path) = &request.github_output else {
        return Ok(());
    };
    let secret = request.pull_secret.as_ref().filter(|_| has_pull_secret);
    let secret_file = secret.and_then(|secret| secret.file.as_deref());
    github::write_outputs(path, report, secret_file, request.report_file.as_deref())
        .map_err(|error| Error::File(path.to_owned(), error))
}

fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error))
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pushed = Table::new(["IMAGE", "TAGS", "DIGEST", "SENT", "ALREADY THERE"]);
        for Arrival {
            pushed: arrival, ..
        } in &self.arrivals
        {
            let tags: Vec<_> = arrival.tags.iter().map(|tag| tag.tag.as_str()).collect();
            pushed.row([
                arrival.name.clone(),
                tags.join(","),
                arrival.digest.to_string(),
                bytes(arrival.sent_bytes),
                bytes(arrival.present_bytes),
            ]);
        }
        if !pushed.is_empty() {
            write!(formatter, "{pushed}")?;
        }
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        for arrival in &self.arrivals {
            if let Some(verified) = &arrival.verified {
                write_listing(formatter, arrival, verified)?;
            }
        }
        Ok(())
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
