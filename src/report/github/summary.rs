//! The summary of a step: what went where, in GitHub's Markdown.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary>

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use crate::pull_secret::{HandedOut, utc};
use crate::report::mirror::MirrorReport;
use crate::report::table::bytes;
use crate::report::{Arrival, Missed, Report};

/// The most that a step may write; one byte more, and the runner drops the whole summary.
const LARGEST: u64 = 1024 * 1024;

/// Left for what another part of the run may add.
const RESERVE: usize = 64 * 1024;

/// Appends to the runner's file as much of `text` as it takes, by whole lines.
///
/// # Errors
///
/// When the file cannot be written.
pub fn append(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    let room = LARGEST.saturating_sub(file.metadata()?.len());
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if text.len() <= room {
        return file.write_all(text.as_bytes());
    }
    let mut start = &text.as_bytes()[..room];
    while !start.is_empty() && !start.ends_with(b"\n") {
        start = &start[..start.len() - 1];
    }
    file.write_all(start)
}

/// The summary of a push.
pub fn of_push(report: &Report) -> String {
    let mut text = format!("### gcr-push: {}\n\n", headline(report));
    let rows = report.arrivals.iter().map(arrived);
    let rows: Vec<_> = rows.chain(report.missed.iter().map(missed)).collect();
    if !rows.is_empty() {
        text.push_str("| Image | Tags | Digest | Sent | Saved | Result |\n");
        text.push_str("| --- | --- | --- | ---: | ---: | --- |\n");
    }
    push_rows(&mut text, &rows);
    let sum = |of: fn(&Arrival) -> u64| report.arrivals.iter().map(of).sum::<u64>();
    text.push_str(&format!(
        "\nSent {}, saved {} that were there already, in {:.1} s.\n",
        bytes(sum(|arrival| arrival.pushed.sent_bytes)),
        bytes(sum(saved)),
        report.took.as_secs_f64()
    ));
    for note in &report.notes {
        text.push_str(&format!("\n{}\n", plain(note)));
    }
    let doubts = report
        .arrivals
        .iter()
        .filter_map(|arrival| arrival.verified.as_ref());
    for doubt in doubts.flat_map(|verified| &verified.doubts) {
        text.push_str(&format!("\n:warning: {}\n", plain(doubt)));
    }
    if let (Some(Arrival { pushed, .. }), false) = (report.arrivals.first(), report.dry_run) {
        text.push_str(&format!(
            "\n```sh\ndocker pull {}@{}\n```\n\n",
            pushed.name, pushed.digest
        ));
    }
    if let Some(secret) = &report.pull_secret {
        text.push_str(&pull_secret(secret));
    }
    text
}

/// What a cluster pulls with, and a Pod to be pasted.
fn pull_secret(secret: &HandedOut) -> String {
    let hosts: Vec<_> = secret.hosts.iter().map(|host| code(host)).collect();
    let end = match secret.expires_at {
        Some(time) => format!(" until {}", utc(time)),
        None => String::new(),
    };
    let mut text = format!(
        "The pull secret {} lets a cluster pull from {}{end}.\n",
        code(&secret.name),
        hosts.join(", ")
    );
    for change in &secret.changes {
        text.push_str(&format!("- {change}\n"));
    }
    if let Some(pod) = &secret.pod {
        text.push_str(&format!("\n```yaml\n{pod}```\n\n"));
    }
    text
}

/// The summary of many images: first those that did not arrive everywhere, with the reason.
pub fn of_mirror(report: &MirrorReport<'_>) -> String {
    let outcomes = report.outcomes;
    let mut text = format!("### gcr-push mirror: {}\n\n", report.sum());
    let missed = outcomes.iter().flat_map(|outcome| &outcome.missed);
    let rows: Vec<_> = missed.map(self::missed).collect();
    if !rows.is_empty() {
        text.push_str("| Image | Tags | Digest | Sent | Saved | Result |\n");
        text.push_str("| --- | --- | --- | ---: | ---: | --- |\n");
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    let others = report.rows().filter(|(_, word, _)| *word != "same");
    let rows =
        others.map(|(name, word, sent)| format!("| {} | {word} | {} |\n", code(name), bytes(sent)));
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push_str("| Image | Result | Sent |\n| --- | --- | ---: |\n");
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    if let Some(secret) = &report.pull_secret {
        text.push_str(&pull_secret(secret));
    }
    text
}

/// Adds the rows of a table, as many as leave room for the rest.
fn push_rows(text: &mut String, rows: &[String]) {
    for (number, row) in rows.iter().enumerate() {
        if text.len() + row.len() + RESERVE > LARGEST as usize {
            text.push_str(&format!("\nand {} more\n", rows.len() - number));
            break;
        }
        text.push_str(row);
    }
}

/// The summary of a run that failed, whatever came of its parts: the errors as the log has them.
pub fn of_failure(texts: &[String]) -> String {
    let mut text = "### gcr-push failed\n\n".to_owned();
    let errors = texts.join("\n\n");
    // A fence longer than any in the text cannot be ended by it.
    let longest = errors.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    text.push_str(&format!("{fence}text\n{errors}\n{fence}\n\n"));
    text
}

fn headline(report: &Report) -> String {
    match report.arrivals.as_slice() {
        _ if report.dry_run => "dry run, nothing was changed".to_owned(),
        [] => "nothing arrived".to_owned(),
        [one] => format!("pushed {}", code(&one.pushed.name)),
        several => format!("pushed to {} repositories", several.len()),
    }
}

fn arrived(arrival: &Arrival) -> String {
    let pushed = &arrival.pushed;
    let tags: Vec<_> = pushed
        .tags
        .iter()
        .map(|tag| match &tag.kept {
            Some(kept) => format!("{} (stays at {})", code(&tag.tag), code(kept.short())),
            None => code(&tag.tag),
        })
        .collect();
    let result = match &arrival.verified {
        Some(verified) if verified.doubts.is_empty() => "checked",
        Some(_) => "checked by digest and tag",
        None => "not checked",
    };
    format!(
        "| {} | {} | {} | {} | {} | {result} |\n",
        code(&pushed.name),
        tags.join(" "),
        code(pushed.digest.as_str()),
        bytes(pushed.sent_bytes),
        bytes(saved(arrival)),
    )
}

fn missed(missed: &Missed) -> String {
    let tags: Vec<_> = missed.tags.iter().map(|tag| code(tag)).collect();
    let sign = if missed.best_effort {
        ":warning: missed"
    } else {
        ":x: failed"
    };
    format!(
        "| {} | {} | | | | {sign}: {} |\n",
        code(&missed.name),
        tags.join(" "),
        plain(&missed.why)
    )
}

/// The bytes that did not have to be sent.
fn saved(arrival: &Arrival) -> u64 {
    arrival.pushed.present_bytes + arrival.pushed.mounted_bytes
}

/// A name as code. References, tags and digests hold nothing that Markdown would act on; that is
/// made sure of all the same.
fn code(name: &str) -> String {
    format!("`{}`", name.replace(['`', '|'], "?"))
}

/// Text from anywhere as nothing but text: Markdown lets every ASCII punctuation be escaped.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_punctuation() && !matches!(character, '.' | ',' | '/' | '-') {
            escaped.push('\\');
        }
        escaped.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_more_than_text() {
        assert_eq!(
            plain("<img src=x> `a` [b](c) | #1\n"),
            "\\<img src\\=x\\> \\`a\\` \\[b\\]\\(c\\) \\| \\#1 "
        );
    }

    #[test]
    fn no_error_ends_its_own_fence() {
        let text = of_failure(&["error: ````\n````".to_owned()]);
        assert_eq!(
            text,
            "### gcr-push failed\n\n`````text\nerror: ````\n````\n`````\n\n"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary");
        append(&file, "start\n").unwrap();
        append(&file, &"line of text\n".repeat(100_000)).unwrap();
        append(&file, "more\n").unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.len() as u64 <= LARGEST);
        assert!(written.starts_with("start\n") && written.ends_with('\n'));
    }
}
