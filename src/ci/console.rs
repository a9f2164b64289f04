//! How a run talks besides its log lines: groups of them, and the failure at its end.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::github::{self, summary};
use super::{gitlab, output, result_file};
use crate::ci::LogFormat;
use crate::diagnostics::{Diagnostic, Failure};
use std::path::PathBuf;

/// How much Kubernetes keeps of a container's last words.
/// <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>
pub(crate) const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// Log lines that a CI shows under one heading, folded. It ends when this is dropped.
#[derive(Debug)]
pub struct Group {
    end: Option<String>,
}

impl Group {
    /// Begins a group; `name` has letters, digits and `_` alone. No group may be open: neither
    /// GitHub nor GitLab folds one inside another.
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

/// Tells what is worth knowing and is no fault.
pub fn notice(format: LogFormat, text: &str) {
    match format {
        LogFormat::GitHub => say(&github::annotation("notice", text)),
        LogFormat::Plain | LogFormat::GitLab | LogFormat::Json => tracing::info!("{text}"),
    }
}

/// Tells how a run failed, in the log and wherever else it is looked for. What cannot be written is
/// left: the exit code says the same.
pub fn print_failure(failure: &Failure<impl Diagnostic>, console: &Console) {
    let texts = failure.texts();
    say(&told(&texts, failure, console));
    if let Some(file) = &console.step_summary
        && !failure.is_reported()
    {
        let _ = summary::append(file, &summary::of_failure(&texts));
    }
    if let Some(file) = &console.termination_log {
        let _ = write_termination_message(file, &texts.join("\n\n"));
    }
    // What is there already is this run's own report, which says more, or no report of ours.
    if let Some(path) = &console.report_file
        && !path.exists()
    {
        let _ = result_file::write(path, &failure_report(&texts));
    }
}

/// Writes the last words of a container, as many as are kept.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn write_termination_message(file: &Path, text: &str) -> io::Result<()> {
    let mut end = text.len().min(TERMINATION_MESSAGE_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    std::fs::write(file, &text[..end])
}

/// The report as JSON of a run that wrote none of its own.
fn failure_report(errors: &[String]) -> String {
    output::json(&json!({"status": "failed", "errors": errors}))
}

fn told(texts: &[String], failure: &Failure<impl Diagnostic>, console: &Console) -> String {
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

/// One annotation an error, which the runner shows in the log as well; what it would cut or leave
/// out is printed in full.
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

/// One write, so that no line of another thread gets in between. With standard error gone there is
/// nobody to say it to.
fn say(text: &str) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// How the process talks, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// The form of the log.
    pub log_format: LogFormat,
    /// The text of `RUST_LOG`.
    pub level: Option<String>,
    /// True where nothing is to be coloured (<https://no-color.org>).
    pub no_color: bool,
    /// True when the CI was asked for a log with every detail.
    pub is_verbose: bool,
    /// True in the container of a GitHub action: there the runner, and nobody else, reads what we
    /// print, and we are root among files of another user.
    pub is_action: bool,
    /// GitHub's file for the summary of the step.
    pub step_summary: Option<PathBuf>,
    /// Kubernetes' file for the last words of a container.
    pub termination_log: Option<PathBuf>,
    /// `report_file`, where it can be one.
    pub report_file: Option<PathBuf>,
    /// `report_file`, `digest_file` and `dotenv_file`, as far as they can be files.
    pub result_files: Vec<PathBuf>,
}

impl Console {
    /// Removes the results of an earlier run where this one is to leave its own.
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
