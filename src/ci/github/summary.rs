//! The summary of a step, in GitHub's Markdown.
//!
//! <https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#adding-a-job-summary>

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// The largest summary of a step, in bytes. The runner drops a larger one completely.
const LARGEST: u64 = 1024 * 1024;

/// The bytes that are reserved for other parts of the run.
const RESERVE: usize = 64 * 1024;

/// Appends as many lines of `text` as fit to the runner's file.
///
/// # Errors
///
/// If the file cannot be written.
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

/// Appends the rows of a table that fit, without the reserve.
pub(crate) fn push_rows(text: &mut String, rows: &[String]) {
    for (number, row) in rows.iter().enumerate() {
        if text.len() + row.len() + RESERVE > LARGEST as usize {
            text.push_str(&format!("\nand {} more\n", rows.len() - number));
            break;
        }
        text.push_str(row);
    }
}

/// The summary of a failed run, with the same errors as in the log.
pub fn of_failure(texts: &[String]) -> String {
    format!("### gcr-push: :x: failed\n{}\n", errors(texts))
}

/// Renders errors with their causes and hints as paragraphs. A code block would not wrap its lines.
pub(crate) fn errors(texts: &[String]) -> String {
    let paragraph = |text: &String| {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(plain).collect();
        format!("\n{}\n", lines.join("<br>\n"))
    };
    texts.iter().map(paragraph).collect()
}

/// Renders a name as inline code, escaped and with line break opportunities.
pub(crate) fn code(name: &str) -> String {
    format!("<code>{}</code>", plain(name))
}

/// Escapes untrusted text. Markdown allows every ASCII punctuation character to be escaped.
pub(crate) fn plain(text: &str) -> String {
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

/// Splits a word where a line may break, so that a table is no wider than its page: after each `/`,
/// and within longer pieces.
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
