//! What a run says, in the language of whoever listens: a table for people, files for the next job,
//! and what a CI makes annotations, groups and summaries of.

use crate::Report;
use crate::push::result::Arrival;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::ci::console::Console;
use crate::commands::list::Listed;
use crate::commands::list::report::{ListJson, ListTable};
use crate::commands::list::request::ListFormat;
use crate::commands::mirror::PlanFile;
use crate::commands::mirror::report::MirrorReport;
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::request::PullSecretOutput;
use crate::config::Request;
use crate::error::Error;

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
        results.push(write_file(
            path,
            &crate::commands::push::json::write(report),
        ));
    }
    if let (Some(path), Some(first)) = (&request.digest_file, report.first()) {
        results.push(write_file(path, first.pushed.digest.as_str()));
    }
    if let Some(path) = &request.dotenv_file {
        results.push(write_file(
            path,
            &crate::ci::gitlab::dotenv(crate::commands::push::results::results(report)),
        ));
    }
    let summary = crate::ci::github::summary::of_push(report);
    // What would be pushed is no result.
    let pushed = report.arrivals.iter().filter(|_| !report.dry_run);
    write_unasked(&summary, &pushed.collect::<Vec<_>>(), request);
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
    let summary = crate::ci::github::summary::of_mirror(report);
    write_unasked(&summary, &arrivals, request);
    let sums = crate::commands::push::results::sums(&arrivals);
    if let Some(path) = &request.dotenv_file {
        results.push(write_file(path, &crate::ci::gitlab::dotenv(sums.clone())));
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
            .map(|file| (file, crate::ci::github::summary::append(file, summary))),
        console.termination_log.as_ref().map(|file| {
            let text = crate::commands::push::results::brief(
                arrivals,
                crate::ci::console::TERMINATION_MESSAGE_LIMIT,
            );
            (file, crate::ci::console::write_last_words(file, &text))
        }),
        request.builder_output.as_ref().map(|file| {
            let text = crate::commands::push::results::brief(arrivals, BUILDER_OUTPUT);
            (file, crate::ci::result_file::write(file, &text))
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
    write_step_outputs(
        crate::commands::push::results::results(report),
        secret,
        request,
    )
}

fn write_step_outputs(
    mut outputs: Vec<(&'static str, String)>,
    secret: Option<&PullSecretResult>,
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
    outputs.extend(files.into_iter().filter_map(|(name, path)| {
        Some((name, crate::ci::github::outputs::path(path?, temporary)))
    }));
    crate::ci::github::outputs::write(file, &outputs)
        .map_err(|error| Error::File(file.to_owned(), error))
}

/// Takes away what an earlier run left where this one is to leave its results.
pub fn forget_earlier(console: &Console) {
    console
        .result_files
        .iter()
        .for_each(|path| crate::ci::result_file::forget(path));
}

/// Writes a file that was asked for.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    crate::ci::result_file::write(path, text).map_err(|error| Error::File(path.to_owned(), error))
}
