//! The summary of a step: what went where, in GitHub's Markdown.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary>

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use crate::ci::table::bytes;
use crate::commands::mirror::report::MirrorReport;
use crate::commands::pull_secret::{PullSecretResult, utc};
use crate::commands::push::table::{Report, Status};
use crate::push::result::{Arrival, Missed};

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

/// The head of every table: the result first, and no more columns than can be read side by side.
const COLUMNS: &str =
    "| Result | Image | Tags | Digest | Sent |\n| --- | --- | --- | --- | ---: |\n";

/// The summary of a push: what came of it, then what is where, and the digests to be copied below.
pub fn of_push(report: &Report) -> String {
    let mut text = format!("### gcr-push: {}\n\n", headline(report));
    let missed = report.missed.iter().map(missed);
    let arrived = report
        .arrivals
        .iter()
        .map(|one| arrived(one, report.dry_run));
    let rows: Vec<_> = missed.chain(arrived).collect();
    if !rows.is_empty() {
        text.push_str(COLUMNS);
        push_rows(&mut text, &rows);
    }
    if !report.arrivals.is_empty() {
        text.push_str(&format!("\n{}\n", bytes_of(report)));
    }
    for note in &report.notes {
        text.push_str(&format!("\n{}\n", plain(note)));
    }
    let verified = report
        .arrivals
        .iter()
        .filter_map(|one| one.verified.as_ref());
    for doubt in verified.flat_map(|verified| &verified.doubts) {
        text.push_str(&format!("\n:warning: {}\n", plain(doubt)));
    }
    text.push_str(&errors(&report.errors));
    if !report.dry_run {
        text.push_str(&digests(report));
    }
    if let Some(secret) = &report.pull_secret {
        text.push_str(&pull_secret(secret));
    }
    text
}

fn bytes_of(report: &Report) -> String {
    let sum = |of: fn(&Arrival) -> u64| bytes(report.arrivals.iter().map(of).sum::<u64>());
    let (sent, there) = (sum(|one| one.pushed.sent_bytes), sum(saved));
    let seconds = report.took.as_secs_f64();
    match report.dry_run {
        true => {
            format!("{sent} would be sent, {there} are there already; found in {seconds:.1} s.")
        }
        false => format!("{sent} sent, {there} were there already, in {seconds:.1} s."),
    }
}

/// Every digest in full, once, in a block that GitHub has a button for to copy it.
fn digests(report: &Report) -> String {
    let mut digests: Vec<&str> = Vec::new();
    for Arrival { pushed, .. } in &report.arrivals {
        if !digests.contains(&pushed.digest.as_str()) {
            digests.push(pushed.digest.as_str());
        }
    }
    let block = |digest: &&str| format!("\n```text\n{digest}\n```\n");
    digests.iter().map(block).collect()
}

/// What a cluster pulls with, and a Pod to be pasted.
fn pull_secret(secret: &PullSecretResult) -> String {
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
    let sign = sign(report.status(), &report.errors);
    let mut text = format!("### gcr-push mirror: {sign} {}\n\n", report.sum());
    let missed = outcomes.iter().flat_map(|outcome| &outcome.missed);
    let rows: Vec<_> = missed.map(self::missed).collect();
    if !rows.is_empty() {
        text.push_str(COLUMNS);
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    let others = report.rows().filter(|(_, word, _)| *word != "same");
    let rows =
        others.map(|(name, word, sent)| format!("| {word} | {} | {} |\n", code(name), bytes(sent)));
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push_str("| Result | Image | Sent |\n| --- | --- | ---: |\n");
        push_rows(&mut text, &rows);
        text.push('\n');
    }
    text.push_str(&errors(&report.errors));
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
    format!("### gcr-push: :x: failed\n{}\n", errors(texts))
}

/// Errors with their causes and hints, each as a paragraph: a block of code would have to be
/// scrolled to be read.
fn errors(texts: &[String]) -> String {
    let paragraph = |text: &String| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(plain).collect();
        format!("\n{}\n", lines.join("<br>\n"))
    };
    texts.iter().map(paragraph).collect()
}

/// What came of all of it, in one line.
fn headline(report: &Report) -> String {
    let status = report.status();
    let (arrived, missed) = (report.arrivals.len(), report.missed.len());
    let told = match (status, report.arrivals.as_slice()) {
        (Status::DryRun, _) => "dry run, nothing was sent".to_owned(),
        (Status::Skipped, _) => "skipped, nothing was pushed".to_owned(),
        (Status::Failed, _) => "failed, nothing was pushed".to_owned(),
        (Status::Partial, _) if report.dry_run => {
            format!(
                "dry run, {missed} of {} cannot be pushed to",
                arrived + missed
            )
        }
        (Status::Partial, _) if missed == 0 => "failed after the image was pushed".to_owned(),
        (Status::Partial, _) => format!(
            "{}{missed} of {} destinations {} not got the image",
            if report.errors.is_empty() {
                ""
            } else {
                "failed: "
            },
            arrived + missed,
            if missed == 1 { "has" } else { "have" }
        ),
        (Status::Kept, _) => "kept, no tag was moved".to_owned(),
        (Status::Unchanged, [one]) => format!("{} was there already", code(&one.pushed.name)),
        (Status::Unchanged, _) => "it was there already".to_owned(),
        (Status::Pushed, [one]) => format!("pushed {}", code(&one.pushed.name)),
        (Status::Pushed, several) => format!("pushed to {} repositories", several.len()),
    };
    format!("{} {told}", sign(status, &report.errors))
}

fn sign(status: Status, errors: &[String]) -> &'static str {
    match status {
        _ if !errors.is_empty() => ":x:",
        Status::Pushed | Status::Unchanged | Status::Kept => ":white_check_mark:",
        Status::DryRun | Status::Skipped => ":information_source:",
        Status::Partial => ":warning:",
        Status::Failed => ":x:",
    }
}

fn arrived(arrival: &Arrival, dry_run: bool) -> String {
    let pushed = &arrival.pushed;
    let tags: Vec<_> = pushed
        .tags
        .iter()
        .map(|tag| match &tag.kept {
            Some(kept) => format!("{} (stays at {})", code(&tag.tag), code(kept.short())),
            None => code(&tag.tag),
        })
        .collect();
    let result = match (arrival.status(), dry_run) {
        (Status::Kept, true) => "would be kept",
        (Status::Kept, false) => "kept",
        (Status::Unchanged, _) => "there already",
        (_, true) => "would be pushed",
        (_, false) => "pushed",
    };
    let checked = match &arrival.verified {
        Some(verified) if verified.doubts.is_empty() => ", checked",
        Some(_) => ", checked by digest and tag",
        None if dry_run => "",
        None => ", not checked",
    };
    format!(
        "| {result}{checked} | {} | {} | {} | {} |\n",
        code(&pushed.name),
        tags.join(" "),
        code(pushed.digest.short()),
        bytes(pushed.sent_bytes),
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
        "| {sign}: {} | {} | {} | | |\n",
        plain(&missed.why),
        code(&missed.name),
        tags.join(" "),
    )
}

/// The bytes that did not have to be sent.
fn saved(arrival: &Arrival) -> u64 {
    arrival.pushed.present_bytes + arrival.pushed.mounted_bytes
}

/// A name as code; what stands in it is text all the same, and a line may end in it.
fn code(name: &str) -> String {
    format!("<code>{}</code>", plain(name))
}

/// Text from anywhere as nothing but text: Markdown lets every ASCII punctuation be escaped.
fn plain(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let pieces: Vec<_> = pieces(word).into_iter().map(escaped).collect();
        pieces.join("<wbr>")
    });
    words.collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
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

/// A word in pieces between which a line may end, so that a table stays as wide as its page: after
/// each `/`, and within what is long all the same.
fn pieces(word: &str) -> Vec<&str> {
    const LONGEST: usize = 24;

    let mut pieces = Vec::new();
    for mut part in word.split_inclusive('/') {
        while let Some((end, _)) = part.char_indices().nth(LONGEST) {
            let (piece, rest) = part.split_at(end);
            pieces.push(piece);
            part = rest;
        }
        pieces.push(part);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(
            plain("<img src=x> `a` [b](c) | #1\n"),
            "\\<img src\\=x\\> \\`a\\` \\[b\\]\\(c\\) \\| \\#1 "
        );
    }

    #[test]
    fn error_is_a_paragraph_of_its_lines() {
        let text = of_failure(&["error: <a>\n  caused by: `b`\n\nhint: c".to_owned()]);
        assert_eq!(
            text,
            "### gcr-push: :x: failed\n\nerror\\: \\<a\\><br>\ncaused by\\: \\`b\\`<br>\nhint\\: c\n\n"
        );
    }

    #[test]
    fn long_words_can_be_broken() {
        assert_eq!(
            code("gcr.io/acme/app"),
            "<code>gcr.io/<wbr>acme/<wbr>app</code>"
        );
        assert_eq!(
            plain(&format!("a {}", "x".repeat(50))),
            format!("a {0}<wbr>{0}<wbr>xx", "x".repeat(24))
        );
        assert_eq!(code("a|<b>`_c_`"), "<code>a\\|\\<b\\>\\`\\_c\\_\\`</code>");
    }

    #[test]
    fn long_text_is_cut_at_a_line() {
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
