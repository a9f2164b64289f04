//! Formats an error: its chain of causes and its hints, in text that is safe for any log.

use std::io::{self, Write};

use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::secret::redact;

/// Writes an error, its chain of causes and its hints, for the end of a log.
///
/// # Errors
///
/// If `out` cannot be written to.
pub fn write_chain(
    out: &mut dyn Write,
    error: &dyn std::error::Error,
    hints: &[String],
) -> io::Result<()> {
    writeln!(out, "{}", chain(error, hints))
}

/// The same as a text without a final line break.
///
/// Every line is sanitized, because causes quote registries.
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

/// Returns the texts of an error's causes, the outermost first, without those that add nothing.
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut last = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        next = cause.source();
        // Some libraries repeat the cause in their own text.
        let is_repeated = last.ends_with(&text);
        if !(is_repeated || next.is_some() && is_wrapping(&text)) {
            texts.push(redact(describe_timeout(&text)));
        }
        last = text;
    }
    texts
}

/// Formats an error and its causes on one line, shortened.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    const MAX_LENGTH: usize = 240;
    let mut text = sanitize(&redact(&error.to_string()));
    for cause in causes(error) {
        text += ": ";
        match cause.char_indices().nth(MAX_LENGTH) {
            Some((end, _)) => text += &(sanitize(&cause[..end]) + "..."),
            None => text += &sanitize(&cause),
        }
    }
    text
}

/// Replaces the text of a library for a timeout by one that states what timed out.
fn describe_timeout(text: &str) -> &str {
    match text {
        // The text of tokio. In reqwest it occurs only for connections.
        "deadline has elapsed" => "no connection was made in time",
        "operation timed out" => "nothing came in time",
        other => other,
    }
}

/// True for texts that reqwest, hyper and yup-oauth2 wrap around the actual cause.
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

/// Indents all lines of a message but the first, so that none starts at the margin.
pub(crate) fn indented(text: &str) -> String {
    text.lines().map(sanitize).collect::<Vec<_>>().join("\n  ")
}

/// Formats a word for a shell command, quoted if necessary.
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
    fn untrusted_text_is_no_command_and_moves_no_cursor() {
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
    fn shell_word_is_one_word() {
        for (text, word) in [
            ("serviceAccount:ci@p.example", "serviceAccount:ci@p.example"),
            ("principalSet://x/*", "'principalSet://x/*'"),
            ("a'; rm -rf b", r"'a'\''; rm -rf b'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("could not connect")]
    struct CouldNotConnect(#[source] io::Error);

    #[tokio::test]
    async fn timeout_is_described_with_its_purpose() {
        let never = tokio::time::timeout(std::time::Duration::ZERO, std::future::pending::<()>());
        let elapsed = never.await.unwrap_err();
        let error = CouldNotConnect(io::Error::other(elapsed));
        assert_eq!(causes(&error), ["no connection was made in time"]);
    }
}
