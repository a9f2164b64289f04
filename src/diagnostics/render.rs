//! How an error is written: its chain of causes and its hints, in text that is fit for any log.

use std::io::{self, Write};

use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;

/// Writes an error, its chain of causes and its hints, as a person reads them at the end of a log.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn write_chain(
    out: &mut dyn Write,
    error: &dyn std::error::Error,
    hints: &[String],
) -> io::Result<()> {
    writeln!(out, "{}", chain(error, hints))
}

/// The same as a text without a line break at its end.
///
/// Every line passes through [`sanitize`], because causes quote registries.
pub(crate) fn chain(error: &dyn std::error::Error, hints: &[String]) -> String {
    let mut lines = vec![format!("error: {}", indented(&redact(&error.to_string())))];
    let causes = causes(error);
    lines.extend(
        causes
            .iter()
            .map(|cause| format!("  caused by: {}", indented(cause))),
    );
    if !hints.is_empty() {
        lines.push(String::new());
    }
    lines.extend(hints.iter().map(|hint| format!("hint: {}", indented(hint))));
    lines.join("\n")
}

/// The texts of an error's causes, outermost first, without those that tell nothing of their own.
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        next = cause.source();
        // Some libraries repeat their cause in their own text.
        let is_repeated = last.ends_with(&text);
        if !(is_repeated || next.is_some() && is_wrapping(&text)) {
            texts.push(redact(without_wrapping(&text)));
        }
        last = text;
    }
    texts
}

/// An error and its causes in one line, which need not hold all that is told at the end.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    const LONGEST: usize = 240;
    let mut text = sanitize(&redact(&error.to_string()));
    for cause in causes(error) {
        text += ": ";
        match cause.char_indices().nth(LONGEST) {
            Some((end, _)) => text += &(sanitize(&cause[..end]) + "..."),
            None => text += &sanitize(&cause),
        }
    }
    text
}

/// What a library says of a time that ran out, in words that tell for what.
fn without_wrapping(text: &str) -> &str {
    match text {
        // tokio's own, in reqwest of nothing but connections.
        "deadline has elapsed" => "no connection was made in time",
        "operation timed out" => "nothing came in time",
        other => other,
    }
}

/// What reqwest, hyper and yup-oauth2 wrap around the cause that tells something.
fn is_wrapping(text: &str) -> bool {
    matches!(
        text,
        "error sending request"
            | "client error (Connect)"
            | "client error (SendRequest)"
            | "Hyper error: client error (Connect)"
            | "Hyper error: client error (SendRequest)"
            | "connection error"
            | "tcp connect error"
            | "error resolving DNS"
            | "error following redirect"
            | "error decoding response body"
            | "request or response body error"
            | "error reading a body from connection"
            | "error writing a body to connection"
    )
}

/// Further lines of a message are indented, so that none starts at the margin.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(sanitize).collect::<Vec<_>>().join("\n  ")
}

/// A word as it may stand in a command for a shell, quoted where it has to be.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let text = sanitize(text);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_can_neither_command_a_runner_nor_move_a_cursor() {
        assert_eq!(sanitize("::error::x"), ":\\:error::x");
        assert_eq!(
            sanitize("  ::set-output name=a::x"),
            "  :\\:set-output name=a::x"
        );
        assert_eq!(sanitize("a ##[error]b"), "a ##\\[error]b");
        assert_eq!(sanitize("\x1b[2Ja\r\nb"), "\\u{1b}[2Ja\\r\\nb");
        assert_eq!(sanitize("a\u{202e}b\u{2028}c"), "a\\u{202e}b\\u{2028}c");
        assert_eq!(sanitize("crème brûlée"), "crème brûlée");
    }

    #[test]
    fn a_word_for_a_shell_is_one_word() {
        for (text, word) in [
            ("serviceAccount:ci@p.example", "serviceAccount:ci@p.example"),
            ("principalSet://x/*", "'principalSet://x/*'"),
            ("a'; rm -rf b", r"'a'\''; rm -rf b'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[tokio::test]
    async fn a_time_that_ran_out_is_told_in_words_that_say_for_what() {
        let never = tokio::time::timeout(std::time::Duration::ZERO, std::future::pending::<()>());
        let elapsed = never.await.unwrap_err();
        let error = crate::Error::Start(io::Error::other(elapsed));
        assert_eq!(causes(&error), ["no connection was made in time"]);
    }
}
