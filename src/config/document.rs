//! Documents that a variable gives in whichever form: JSON text, base64 of it, or a path.

use std::path::Path;

use super::fault::Faults;
use super::paths::Paths;
use super::values::base64;

/// A JSON document that a variable gave, in whichever form.
pub(super) struct Document {
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
) -> Option<Document> {
    if text.starts_with('{') {
        return Some(Document {
            json: text.to_owned(),
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
                    Ok(content) => Some(Document {
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
    Some(Document {
        json: decoded(text.to_owned()),
        from_file: false,
    })
}

/// What base64 stands for, where it stands for text; else the text itself.
pub(super) fn decoded(text: String) -> String {
    if text.trim_start().starts_with('{') {
        return text;
    }
    base64(&text)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(without_mark)
        .unwrap_or(text)
}

pub(super) fn read_text(path: &Path, paths: &Paths<'_>) -> std::io::Result<String> {
    let content = paths.files().read(path)?;
    String::from_utf8(content)
        .map(without_mark)
        .map_err(|_| std::io::Error::other("it is not UTF-8"))
}

/// Windows' editors put a byte order mark in front of JSON, where JSON allows none (RFC 8259, 8.1).
fn without_mark(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

pub(super) fn looks_like_a_path(text: &str) -> bool {
    text.len() < 1024
        && !text.contains(char::is_whitespace)
        && (text.starts_with(['/', '.', '~']) || text.ends_with(".json"))
}
