use crate::diagnostics::userinfo::without_login;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;

/// A value as a message may quote it: on one line, and not longer than a line.
///
/// For values that are no secret only; a value that looks like one in spite of that is kept back.
pub(crate) fn quoted(value: &str) -> String {
    const LONGEST: usize = 80;
    if looks_secret(value) {
        return "a value that looks like a secret and is not shown".to_owned();
    }
    let value = without_login(value);
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(LONGEST).collect();
    let more = if characters.next().is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{more}`", start.escape_debug())
}

/// True for a text that is, by its look, a key or a token that landed in the wrong variable.
pub(crate) fn looks_secret(value: &str) -> bool {
    // Perhaps in quotes, or behind the dashes of an option.
    let bare = value.trim_start_matches(['-', '"', '\'', '`']);
    // A key file in base64, or a JWT, whose first part is such JSON.
    let first = bare.split('.').next().unwrap_or_default();
    let encoded = first.len() >= 20 && base64(first).is_some_and(|text| text.starts_with(b"{"));
    encoded
        || value.contains("PRIVATE KEY")
        || value.contains("private_key")
        || bare.starts_with("ya29.")
}

/// Text that came from elsewhere, made fit for a terminal and for a CI log: control characters are
/// shown as escapes, and what GitHub's runner would take for a command is broken up.
///
/// The runner acts on `::` at the start of a line and on `##[` anywhere in it
/// (actions/runner, `ActionCommand.cs`).
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

/// True for what ends a line without being a control character, or has text read backwards
/// (<https://trojansource.codes>).
pub(crate) fn is_bidi_or_line_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Base64 as people paste it: either alphabet, with or without padding, with line breaks.
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
