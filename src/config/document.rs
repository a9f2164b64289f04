//! JSON documents that a variable holds as text, as base64, or as the path of a file.

use std::path::Path;

use super::environment::Environment;
use super::input::Input;
use crate::diagnostics::sanitize::base64;

/// The document of a variable, decoded.
pub(super) struct ObjectDocument {
    /// The text of the document. It is not checked to be JSON.
    pub(super) json: String,
    pub(super) from_file: bool,
}

/// Reads the document of a variable.
///
/// A text that starts with `{` is the document itself. A path that exists is read as a file; for a
/// directory, the file `in_directory` in it is read. Anything else is decoded as base64.
pub(super) fn document(
    environment: &Environment<'_>,
    input: &Input,
    in_directory: &str,
) -> Option<ObjectDocument> {
    let text = input.text()?;
    let named = match environment.paths.named_by(text) {
        _ if text.starts_with('{') => None,
        Ok(named) => named,
        // Base64 may start with `/`, so only a text that is not base64 is certain to be a path.
        Err(fault) if base64(text).is_none() || looks_like_a_path(text) => {
            input.unseen(fault);
            return None;
        }
        Err(_) => None,
    };
    let Some(mut path) = named else {
        return Some(ObjectDocument {
            json: decoded(text.to_owned()),
            from_file: false,
        });
    };
    if environment.paths.files().is_directory(&path) && !in_directory.is_empty() {
        path.push(in_directory);
    }
    let content = read_text(environment, &path)
        .map_err(|error| format!("the file that it names cannot be read: {error}"));
    Some(ObjectDocument {
        json: decoded(input.accept(content)?),
        from_file: true,
    })
}

/// Decodes a text to JSON: removes a byte order mark, the quotes that a shell or a YAML file left
/// around it, and base64, which may be applied twice. A text that does not decode to JSON is
/// returned unchanged.
pub(super) fn decoded(text: String) -> String {
    /// Enough for base64 of base64 in quotes, with a byte order mark.
    const DEPTH: usize = 5;
    let mut inner = text.clone();
    for _ in 0..DEPTH {
        match unwrapped(&inner) {
            Some(next) => inner = next,
            None => break,
        }
    }
    if inner.trim_start().starts_with(['{', '[']) {
        inner
    } else {
        text
    }
}

/// Removes the outermost encoding. `None` if there is none.
fn unwrapped(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix(MARK) {
        return Some(rest.to_owned());
    }
    let bare = text.trim();
    if bare.starts_with("{\\\"") {
        return serde_json::from_str(&format!("\"{bare}\"")).ok();
    }
    if bare.starts_with(['{', '[']) {
        return None;
    }
    without_quotes(bare).or_else(|| {
        let encoded = match bare.split_once(";base64,") {
            Some((kind, encoded)) if kind.starts_with("data:") => encoded,
            _ => bare,
        };
        text_of(base64(encoded)?)
    })
}

fn without_quotes(text: &str) -> Option<String> {
    if let Ok(inner) = serde_json::from_str::<String>(text) {
        return Some(inner);
    }
    let quoted = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    ['\'', '"', '`']
        .into_iter()
        .find_map(quoted)
        .map(str::to_owned)
}

/// The byte order mark.
const MARK: char = '\u{feff}';

/// Decodes UTF-8 or UTF-16, which PowerShell writes. UTF-16 is recognized by its byte order mark or
/// by the first character of JSON. `None` if the bytes are neither.
pub(super) fn text_of(bytes: Vec<u8>) -> Option<String> {
    let units = |read: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| read(*pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok())?
    };
    let text = match bytes.get(..2) {
        Some([0xff, 0xfe] | [b'{', 0]) => units(u16::from_le_bytes),
        Some([0xfe, 0xff] | [0, b'{']) => units(u16::from_be_bytes),
        _ => String::from_utf8(bytes).ok(),
    };
    // JSON must not begin with a byte order mark (RFC 8259, 8.1).
    text.map(|text| match text.strip_prefix(MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

pub(super) fn read_text(environment: &Environment<'_>, path: &Path) -> std::io::Result<String> {
    let content = environment.paths.files().read(path)?;
    text_of(content).ok_or_else(|| std::io::Error::other("it is not UTF-8"))
}

/// The error for a secret value that looks like a path to no file.
pub(super) const NO_FILE: &str =
    "if it is meant as a path, the file does not exist; its value is not shown";

pub(super) fn looks_like_a_path(text: &str) -> bool {
    text.len() < 1024
        && !text.contains(char::is_whitespace)
        && (text.starts_with(['/', '.', '~']) || text.ends_with(".json"))
}
