//! Output besides log lines: groups, notices, and the error at the end of a run.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::github::{self, summary};
use super::{gitlab, output, progress_bars, result_file};
use crate::ci::LogFormat;
use crate::diagnostics::{Diagnostic, Failure};
use std::path::PathBuf;

/// The largest termination message that Kubernetes keeps, in bytes.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
pub(crate) const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// A group of log lines that a CI folds under one heading. Dropping it ends the group.
#[derive(Debug)]
pub struct Group {
    end: Option<String>,
}

impl Group {
    /// Begins a group. `name` consists of letters, digits and `_`. No other group may be open,
    /// because neither GitHub nor GitLab nests groups.
    pub fn open(format: LogFormat, name: &str, title: &str) -> Self {
        let (start, end) = match format {
            LogFormat::GitHub => (
                github::command("group", &[], title),
                github::command("endgroup", &[], ""),
            ),
            LogFormat::GitLab => (
                gitlab::section_start(name, title),
                gitlab::section_end(name),
            ),
            LogFormat::Plain | LogFormat::Json => return Self { end: None },
        };
        say(&start);
        Self { end: Some(end) }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            say(end);
        }
    }
}

/// Prints a notice, which is neither a warning nor an error.
pub fn notice(format: LogFormat, text: &str) {
    match format {
        LogFormat::GitHub => say(&github::annotation("notice", text)),
        LogFormat::Plain | LogFormat::GitLab | LogFormat::Json => tracing::info!("{text}"),
    }
}

/// Prints the error of a run to the log, the step summary, the termination message and the report
/// file. Write errors are ignored, because the exit code shows the failure as well.
pub fn print_failure(failure: &Failure<impl Diagnostic>, console: &Console) {
    // A run that is interrupted may not have come to drop its display.
    progress_bars::clear();
    let texts = failure.texts();
    say(&render(&texts, failure, console));
    if let Some(file) = &console.step_summary
        && !failure.is_reported()
    {
        let _ = summary::append(file, &summary::of_failure(&texts));
    }
    if let Some(file) = &console.termination_log {
        let _ = write_termination_message(file, &texts.join("\n\n"));
    }
    // An existing file is this run's own report, which has more details, or not a report of ours.
    if let Some(path) = &console.report_file
        && !path.exists()
    {
        let _ = result_file::write(path, &failure_report(&texts));
    }
}

/// Writes the termination message of a container, up to [`TERMINATION_MESSAGE_LIMIT`].
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_termination_message(file: &Path, text: &str) -> io::Result<()> {
    let mut end = text.len().min(TERMINATION_MESSAGE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    std::fs::write(file, &text[..end])
}

/// The JSON report of a failed run that wrote no report of its own.
fn failure_report(errors: &[String]) -> String {
    output::json(&json!({"status": "failed", "errors": errors}))
}

/// Renders the errors in the format of the log.
fn render(texts: &[String], failure: &Failure<impl Diagnostic>, console: &Console) -> String {
    match console.log_format {
        LogFormat::Plain => texts.join("\n\n"),
        LogFormat::GitLab if console.no_color => texts.join("\n\n"),
        LogFormat::GitLab => {
            let red = |text: &String| text.replacen("error:", "\x1b[31;1merror:\x1b[0;m", 1);
            texts.iter().map(red).collect::<Vec<_>>().join("\n\n")
        }
        LogFormat::GitHub => annotations(texts),
        LogFormat::Json => {
            let now = OffsetDateTime::now_utc()
                .format(&Rfc3339)
                .unwrap_or_default();
            let line = |text: &String| {
                json!({
                    "timestamp": now,
                    "level": "ERROR",
                    "fields": {"message": text, "exit_code": failure.exit_code() as u8},
                    "target": "gcr_push",
                })
                .to_string()
            };
            texts.iter().map(line).collect::<Vec<_>>().join("\n")
        }
    }
}

/// Renders one annotation for each error. The runner shows annotations in the log as well. An error
/// that is too long for one, or beyond the number that the runner keeps, is also printed in full.
fn annotations(texts: &[String]) -> String {
    let mut lines = String::new();
    for (number, text) in texts.iter().enumerate() {
        let fits = text.len() <= github::LONGEST_ANNOTATION;
        let is_kept = number < github::MOST_ANNOTATIONS;
        if !(fits && is_kept) {
            let _ = writeln!(lines, "{text}");
        }
        if is_kept {
            let text = text.strip_prefix("error: ").unwrap_or(text);
            let _ = writeln!(lines, "{}", github::annotation("error", text));
        }
    }
    lines.truncate(lines.trim_end().len());
    lines
}

/// Writes text to standard error in a single write, so that lines of other threads do not mix with
/// it. Errors are ignored, because there is no other place to report them.
fn say(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// The settings of the log and of error output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// The format of the log.
    pub log_format: LogFormat,
    /// The value of `RUST_LOG`.
    pub level: Option<String>,
    /// True if output must have no colours (<https://no-color.org>).
    pub no_color: bool,
    /// True if the user turned on debug logging in the CI.
    pub is_verbose: bool,
    /// True in the container of a GitHub action. There only the runner reads the output, and the
    /// process is root while the files belong to another user.
    pub is_action: bool,
    /// The file for GitHub's step summary.
    pub step_summary: Option<PathBuf>,
    /// The file for Kubernetes' termination message.
    pub termination_log: Option<PathBuf>,
    /// The path of `report_file`. `None` if it is not set or not usable.
    pub report_file: Option<PathBuf>,
    /// The paths of `report_file`, `digest_file` and `dotenv_file`, without those that are not
    /// usable.
    pub result_files: Vec<PathBuf>,
}

impl Console {
    /// Removes the result files of an earlier run, which this run will write anew.
    pub fn forget_earlier_results(&self) {
        for path in &self.result_files {
            result_file::forget(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_the_runner_would_drop_is_printed_in_full() {
        let long = format!("error: {}", "x".repeat(5000));
        let mut texts = vec![long.clone()];
        texts.extend((1..12).map(|number| format!("error: {number}\nhint: y")));
        let lines = annotations(&texts);
        assert!(lines.starts_with(&format!("{long}\n::error title=gcr-push::xxx")));
        assert_eq!(lines.matches("::error ").count(), 10);
        assert!(lines.contains("\n::error title=gcr-push::9%0Ahint: y\n"));
        assert!(lines.ends_with("\nerror: 11\nhint: y"));
    }

    #[test]
    fn termination_message_is_cut_between_characters() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        write_termination_message(&file, &"é".repeat(4000)).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "é".repeat(2048));
    }
}
