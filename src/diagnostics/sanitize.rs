//! Makes untrusted text safe for terminals and CI logs.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::diagnostics::userinfo::without_login;

/// Quotes a value for a message: on one line, and shortened.
///
/// Only for values that are not secret. A value that nevertheless looks like a secret is not shown.
pub(crate) fn quoted(value: &str) -> String {
    const MAX_LENGTH: usize = 80;
    if looks_secret(value) {
        return "a value that looks like a secret and is not shown".to_owned();
    }
    let value = without_login(value);
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(MAX_LENGTH).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{more}`", start.escape_debug())
}

/// True if a value looks like a key or a token that was put into the wrong variable.
pub(crate) fn looks_secret(value: &str) -> bool {
    // It may be in quotes, or follow the dashes of an option.
    let bare = value.trim_start_matches(['-', '"', '\'', '`']);
    // A key file in base64, or a JWT, whose first part is JSON in base64.
    let first = bare.split('.').next().unwrap_or_default();
    let encoded = first.len() >= 20 && base64(first).is_some_and(|text| text.starts_with(b"{"));
    encoded
        || value.contains("PRIVATE KEY")
        || value.contains("private_key")
        || bare.starts_with("ya29.")
}

/// Makes untrusted text safe for terminals and CI logs: control characters are escaped, and text
/// that GitHub's runner would interpret as a command is changed.
///
/// The runner interprets `::` at the start of a line, and `##[` anywhere in it (actions/runner,
/// `ActionCommand.cs`).
pub fn sanitize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_bidi_or_line_separator(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    let safe = safe.replace("##[", "##\\[");
    if safe.trim_start().starts_with("::") {
        safe.replacen("::", ":\\:", 1)
    } else {
        safe
    }
}

/// True for characters that end a line without being control characters, or reverse the direction
/// of text (<https://trojansource.codes>).
pub(crate) fn is_bidi_or_line_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Decodes base64 leniently: either alphabet, with or without padding, with line breaks.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let standard: String = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    LENIENT.decode(standard).ok()
}
