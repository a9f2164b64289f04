//! The outputs of `push`, `mirror` and `pull-secret` for the next step or job of a CI.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use crate::ci::console::{self, Console, TERMINATION_MESSAGE_LIMIT};
use crate::ci::github::{outputs, summary};
use crate::ci::output::{OutputError, ResultFiles, print};
use crate::ci::result_file;
use crate::commands::pull_secret::PullSecretResult;
use crate::commands::pull_secret::request::{PullSecretOptions, PullSecretOutput};
use crate::diagnostics::{Diagnostic, Failure};
use crate::push::Pushed;
use crate::push::result::PushedImage;

/// Checks that the directory of every requested file exists, before anything is done.
///
/// # Errors
///
/// If a directory does not exist.
pub(super) fn check<E: Diagnostic + From<OutputError>>(
    files: &ResultFiles,
    pull_secret: Option<&PullSecretOptions>,
) -> Result<(), Failure<E>> {
    let secret = pull_secret.and_then(|options| options.file());
    let errors = files.check(secret.map(|file| file.as_path()));
    Failure::check(errors.into_iter().map(E::from).collect())
}

/// Prints a report to `stdout`, or to standard error if the pull secret is printed to `stdout`.
pub(super) fn print_beside_secret(
    report: impl fmt::Display,
    pull_secret: Option<&PullSecretOptions>,
    stdout: &mut dyn Write,
) -> Result<(), OutputError> {
    let output = pull_secret.and_then(|options| options.output.as_ref());
    if output == Some(&PullSecretOutput::Stdout) {
        print(&mut io::stderr(), report)
    } else {
        print(stdout, report)
    }
}

/// Writes the files that the CI or builder reads without a request of the user: the step summary,
/// the termination message and the builder output. A failure is only a warning.
pub(super) fn write_unasked(
    summary: &str,
    pushed: &[&PushedImage],
    files: &ResultFiles,
    console: &Console,
) {
    // Cloud Build keeps the first 50 KB of a step's output.
    // https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds#results
    const BUILDER_OUTPUT_LIMIT: usize = 50_000;
    let written = [
        console
            .step_summary
            .as_ref()
            .map(|file| (file, summary::append(file, summary))),
        console.termination_log.as_ref().map(|file| {
            let text = lines(pushed, TERMINATION_MESSAGE_LIMIT);
            (file, console::write_termination_message(file, &text))
        }),
        files.builder_output.as_ref().map(|file| {
            let text = lines(pushed, BUILDER_OUTPUT_LIMIT);
            (file, result_file::write(file, &text))
        }),
    ];
    for (file, written) in written.into_iter().flatten() {
        if let Err(error) = written {
            tracing::warn!("could not write {}: {error}", file.display());
        }
    }
}

/// Writes the outputs of a GitHub step, with the paths of the written files.
///
/// # Errors
///
/// If the runner's file cannot be written.
pub(super) fn write_step_outputs(
    mut values: Vec<(&'static str, String)>,
    secret: Option<&PullSecretResult>,
    files: &ResultFiles,
) -> Result<(), OutputError> {
    let Some(file) = &files.github_output else {
        return Ok(());
    };
    let written = [
        (
            "pull_secret_file",
            secret.and_then(|secret| secret.file.as_deref()),
        ),
        ("report_file", files.report.as_deref()),
    ];
    let temporary = files.temporary_directory_on_host.as_deref();
    let path = |path: &Path| outputs::path(path, temporary);
    values.extend(
        written
            .into_iter()
            .filter_map(|(name, file)| Some((name, path(file?)))),
    );
    outputs::write(file, &values).map_err(|error| OutputError::File(file.clone(), error))
}

/// The outputs with the byte totals of all images and destinations.
pub(super) fn byte_totals(pushed: &[&PushedImage]) -> [(&'static str, String); 2] {
    let sum = |of: fn(&Pushed) -> u64| {
        let bytes = pushed.iter().map(|image| of(&image.pushed));
        bytes.sum::<u64>().to_string()
    };
    [
        ("pushed_bytes", sum(|pushed| pushed.sent_bytes)),
        (
            "skipped_bytes",
            sum(|pushed| pushed.present_bytes + pushed.mounted_bytes),
        ),
    ]
}

/// One line for each destination, up to `limit` bytes of whole lines.
fn lines(pushed: &[&PushedImage], limit: usize) -> String {
    let mut text = String::new();
    for PushedImage { pushed, .. } in pushed {
        let tags: Vec<_> = pushed.tags.iter().map(|tag| tag.tag.as_str()).collect();
        let line = format!("{}@{} {}", pushed.name, pushed.digest, tags.join(","));
        let line = format!("{}\n", line.trim_end());
        if text.len() + line.len() > limit {
            break;
        }
        text.push_str(&line);
    }
    text
}
