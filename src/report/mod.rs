//! What a run says, in the language of whoever listens: a table for people, files for the next job,
//! and what a CI makes annotations, groups and summaries of.

pub mod console;
pub mod github;
pub mod gitlab;
pub mod json;
pub mod listing;
pub mod mirror;
mod ownership;
pub mod progress;
mod results;
pub mod table;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::arrivals::Fate;
use crate::config::{ListFormat, PullSecretOutput, Request};
use crate::error::{Error, harmless};
use crate::list::Listed;
use crate::mirror::PlanFile;
use crate::pull_secret::{HandedOut, utc};
use crate::push::{Pushed, PushedTag};
use crate::verify::Verified;
use listing::{ListJson, ListTable};
use mirror::MirrorReport;
use table::{Table, bytes};

/// One destination that the image reached, and what the registry said afterwards.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What was pushed.
    pub pushed: Pushed,
    /// What was checked; none when `verify` is `off`.
    pub verified: Option<Verified>,
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
    pub pull_secret: Option<HandedOut>,
}

impl Report {
    /// The report of what became of each target, and the errors of those that count.
    pub fn of(fates: Vec<Fate>, notes: Vec<String>) -> (Self, Vec<Error>) {
        let mut report = Self {
            notes,
            ..Self::default()
        };
        let mut errors = Vec::new();
        for fate in fates {
            match fate {
                Fate::Arrived(arrival) => report.arrivals.push(arrival),
                Fate::Missed(missed, error) => {
                    if missed.best_effort {
                        tracing::warn!(
                            "`{}` has not got the image, which fails nothing: {}",
                            missed.name,
                            harmless(&missed.why)
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

/// Tells before anything is done that a result could not be written: every file that was asked for
/// in a folder that is not there.
pub fn check(request: &Request) -> Vec<Error> {
    let files = result_files(request)
        .into_iter()
        .chain(request.github_output.as_deref());
    let folder = |file: &Path| match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    files
        .map(|file| (file, folder(file)))
        .filter(|(_, folder)| !folder.is_dir())
        .map(|(file, folder)| Error::NoFolder {
            file: file.to_owned(),
            folder,
        })
        .collect()
}

/// Every file that was asked for.
fn result_files(request: &Request) -> Vec<&Path> {
    let secret = request.pull_secret.as_ref();
    let plan = request.mirror.as_ref().and_then(|m| m.plan_file.as_ref());
    let plan = match plan {
        Some(PlanFile::Write(file)) => Some(file),
        Some(PlanFile::Read(..)) | None => None,
    };
    let files = [
        plan,
        request.report_file.as_ref(),
        request.digest_file.as_ref(),
        request.dotenv_file.as_ref(),
        secret.and_then(|secret| secret.file()),
    ];
    files.into_iter().flatten().map(PathBuf::as_path).collect()
}

/// Prints what was asked for. Whoever closes the other end early (`| head`) has seen enough.
///
/// # Errors
///
/// When `out` cannot be written for another reason.
pub fn print(out: &mut dyn Write, text: impl fmt::Display) -> Result<(), Error> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Error::Output),
    }
}

/// Prints the report and leaves what the next job was promised, each as far as it can be written;
/// returns what could not.
///
/// The table goes to `stdout`, unless the pull secret does: then `stdout` is for that alone, and
/// the table goes to the log's side.
pub fn write(report: &Report, request: &Request, stdout: &mut dyn Write) -> Vec<Error> {
    let mut errors: Vec<Error> = print_beside_secret(report, request, stdout)
        .err()
        .into_iter()
        .collect();
    errors.extend(write_files(report, request));
    errors
}

fn print_beside_secret(
    report: impl fmt::Display,
    request: &Request,
    stdout: &mut dyn Write,
) -> Result<(), Error> {
    let secret = request.pull_secret.as_ref();
    if secret.is_some_and(|secret| secret.output == Some(PullSecretOutput::Stdout)) {
        print(&mut io::stderr(), report)
    } else {
        print(stdout, report)
    }
}

/// The files of [`write()`] alone.
pub fn write_files(report: &Report, request: &Request) -> Vec<Error> {
    let mut results = Vec::new();
    if let Some(path) = &request.report_file {
        results.push(write_file(path, &json::write(report)));
    }
    if let (Some(path), Some(first)) = (&request.digest_file, report.arrivals.first()) {
        results.push(write_file(path, first.pushed.digest.as_str()));
    }
    if let Some(path) = &request.dotenv_file {
        results.push(write_file(path, &gitlab::dotenv(results::results(report))));
    }
    let summary = github::summary::of_push(report);
    write_unasked(
        &summary,
        &report.arrivals.iter().collect::<Vec<_>>(),
        request,
    );
    results.into_iter().filter_map(Result::err).collect()
}

/// Prints the report of many images, as [`write()`] does it, and leaves what the next job was
/// promised; returns what could not be written.
pub fn write_mirror(
    report: &MirrorReport<'_>,
    request: &Request,
    stdout: &mut dyn Write,
) -> Vec<Error> {
    let mut results = vec![print_beside_secret(report, request, stdout)];
    if let Some(path) = &request.report_file {
        results.push(write_file(path, &report.json()));
    }
    let outcomes = report.outcomes.iter();
    let arrivals: Vec<_> = outcomes.flat_map(|outcome| &outcome.arrivals).collect();
    let summary = github::summary::of_mirror(report);
    write_unasked(&summary, &arrivals, request);
    let sums = results::sums(&arrivals);
    if let Some(path) = &request.dotenv_file {
        results.push(write_file(path, &gitlab::dotenv(sums.clone())));
    }
    if request.digest_file.is_some() {
        tracing::warn!(
            "`digest_file` is not written: many images have no one digest; `report_file` has them all"
        );
    }
    let secret = report.pull_secret.as_ref();
    results.push(write_step_outputs(sums.into(), secret, request));
    results.into_iter().filter_map(Result::err).collect()
}

/// Prints what `list` found, and leaves it as JSON where that was asked for; returns what could not
/// be written.
pub fn write_list(listed: &[Listed], request: &Request, stdout: &mut dyn Write) -> Vec<Error> {
    let mut results = vec![match request.list_format {
        ListFormat::Table => print(stdout, ListTable(listed)),
        ListFormat::Json => print(stdout, ListJson(listed)),
    }];
    if let Some(path) = &request.report_file {
        results.push(write_file(path, &ListJson(listed).to_string()));
    }
    results.into_iter().filter_map(Result::err).collect()
}

/// Leaves the report where the machine at hand looks for one. Nobody asked for it, so that it fails
/// nothing.
fn write_unasked(summary: &str, arrivals: &[&Arrival], request: &Request) {
    // Cloud Build keeps the first 50 KB of a step's output.
    // https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds#results
    const BUILDER_OUTPUT: usize = 50_000;
    let console = &request.console;
    let written = [
        console
            .step_summary
            .as_ref()
            .map(|file| (file, github::summary::append(file, summary))),
        console.termination_log.as_ref().map(|file| {
            let text = results::brief(arrivals, console::LAST_WORDS);
            (file, console::write_last_words(file, &text))
        }),
        request.builder_output.as_ref().map(|file| {
            let text = results::brief(arrivals, BUILDER_OUTPUT);
            (file, std::fs::write(file, text))
        }),
    ];
    for (file, written) in written.into_iter().flatten() {
        if let Err(error) = written {
            tracing::warn!("could not write {}: {error}", file.display());
        }
    }
}

/// Leaves the outputs of a GitHub step; the pull secret's file is one of them when it was written.
///
/// # Errors
///
/// When the runner's file cannot be written.
pub fn write_outputs(report: &Report, request: &Request) -> Result<(), Error> {
    let secret = report.pull_secret.as_ref();
    write_step_outputs(results::results(report), secret, request)
}

fn write_step_outputs(
    mut outputs: Vec<(&'static str, String)>,
    secret: Option<&HandedOut>,
    request: &Request,
) -> Result<(), Error> {
    let Some(file) = &request.github_output else {
        return Ok(());
    };
    let secret_file = secret.and_then(|secret| secret.file.as_deref());
    let files = [
        ("pull_secret_file", secret_file),
        ("report_file", request.report_file.as_deref()),
    ];
    let temporary = request.temporary_directory_on_host.as_deref();
    outputs.extend(
        files
            .into_iter()
            .filter_map(|(name, path)| Some((name, github::outputs::path(path?, temporary)))),
    );
    github::outputs::write(file, &outputs).map_err(|error| Error::File(file.to_owned(), error))
}

/// Hands what was written back to the user of the runner, where we are root in its workspace.
pub fn hand_back(request: &Request) {
    if request.console.is_action {
        result_files(request)
            .into_iter()
            .for_each(ownership::hand_back);
    }
}

/// Writes a file that was asked for.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error))
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
            let what = if missed.best_effort {
                "missed"
            } else {
                "failed"
            };
            writeln!(
                formatter,
                "{what}: {}: {}",
                missed.name,
                harmless(&missed.why)
            )?;
        }
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        for arrival in &self.arrivals {
            if let Some(verified) = &arrival.verified {
                write_listing(formatter, arrival, verified)?;
            }
        }
        match &self.pull_secret {
            Some(secret) => write_pull_secret(formatter, secret),
            None => Ok(()),
        }
    }
}

/// What became of the pull secret, and how a Pod uses it.
fn write_pull_secret(formatter: &mut fmt::Formatter<'_>, secret: &HandedOut) -> fmt::Result {
    writeln!(formatter)?;
    let mut hosts = Table::new(["PULL SECRET", "HOSTS", "EXPIRES"]);
    hosts.row([
        secret.name.clone(),
        secret.hosts.join(","),
        secret.expires_at.map(utc).unwrap_or_default(),
    ]);
    write!(formatter, "{hosts}")?;
    match &secret.pod {
        Some(pod) => write!(formatter, "\n{pod}"),
        None => Ok(()),
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
                tags.join(","),
                pushed.digest.to_string(),
                bytes(pushed.sent_bytes),
                bytes(pushed.mounted_bytes),
                bytes(pushed.present_bytes),
            ]);
        }
        for missed in &self.missed {
            let what = if missed.best_effort {
                "missed"
            } else {
                "failed"
            };
            let [none, no_more, nothing] = std::array::from_fn(|_| "-".to_owned());
            let (name, tags) = (missed.name.clone(), missed.tags.join(","));
            table.row([name, tags, what.to_owned(), none, no_more, nothing]);
        }
        let mut arrived = self.arrivals.iter();
        match arrived.any(|arrival| arrival.pushed.mounted_bytes > 0) {
            true => table,
            false => table.without(mounted),
        }
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
