//! Documents that a variable gives in whichever form: JSON text, base64 of it, or a path.

use std::path::Path;

use super::fault::Faults;
use super::paths::Paths;
use crate::diagnostics::sanitize::base64;

/// A JSON document that a variable gave, in whichever form.
pub(super) struct ObjectDocument {
    /// Its text; perhaps not JSON at all, which its reader tells.
    pub(super) json: String,
    pub(super) from_file: bool,
}

/// A text that starts with `{` is the document itself; what is on disk is a file; all else is
/// base64. A directory stands for the file in it that is called `in_directory`.
pub(super) fn document(
    variable: &'static str,
    text: &str,
    in_directory: &str,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ObjectDocument> {
    if text.starts_with('{') {
        return Some(ObjectDocument {
            json: decoded(text.to_owned()),
            from_file: false,
        });
    }
    // What has line breaks, or is longer than a path can be, is not looked for on disk.
    if text.len() < 4096 && !text.contains(['\n', '\0']) {
        match paths.input(text) {
            Ok(path) if paths.files().exists(&path) => {
                let path = if paths.files().is_directory(&path) && !in_directory.is_empty() {
                    path.join(in_directory)
                } else {
                    path
                };
                return match read_text(&path, paths) {
                    Ok(content) => Some(ObjectDocument {
                        json: decoded(content),
                        from_file: true,
                    }),
                    Err(fault) => {
                        let fault = format!("the file that it names cannot be read: {fault}");
                        faults.unusable(variable, fault);
                        None
                    }
                };
            }
            Ok(_) => {}
            // Base64 may start with `/`, so only what is no base64 is surely meant as a path.
            Err(fault) if base64(text).is_none() || looks_like_a_path(text) => {
                faults.unusable(variable, fault.about("the file that it names"));
                faults.hint(fault.hint());
                return None;
            }
            Err(_) => {}
        }
    }
    Some(ObjectDocument {
        json: decoded(text.to_owned()),
        from_file: false,
    })
}

/// The JSON that a text stands for: without a byte order mark, quotes that a shell or a YAML file
/// left around it, and base64, which some encode twice. A text that stands for no JSON is given as
/// it is.
pub(super) fn decoded(text: String) -> String {
    /// Base64 of base64 in quotes, and a mark in front.
    const DEPTH: usize = 5;
    let mut inner = text.clone();
    for _ in 0..DEPTH {
        match unwrapped(&inner) {
            Some(next) => inner = next,
            None => break,
        }
    }
    match inner.trim_start().starts_with(['{', '[']) {
        true => inner,
        false => text,
    }
}

/// The same without its outermost wrapping; none where there is none.
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

const MARK: char = '\u{feff}';

/// The text in UTF-8 or, as PowerShell writes it, UTF-16, which JSON's first sign tells where no
/// byte order mark does.
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
    // JSON allows no mark (RFC 8259, 8.1).
    text.map(|text| match text.strip_prefix(MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

pub(super) fn read_text(path: &Path, paths: &Paths<'_>) -> std::io::Result<String> {
    let content = paths.files().read(path)?;
    text_of(content).ok_or_else(|| std::io::Error::other("it is not UTF-8"))
}

pub(super) fn looks_like_a_path(text: &str) -> bool {
    text.len() < 1024
        && !text.contains(char::is_whitespace)
        && (text.starts_with(['/', '.', '~']) || text.ends_with(".json"))
}
