//! Credentials: service-account keys as text, base64 or a path, ready tokens, Docker logins.

use std::path::Path;

use super::GoogleCredential;
use super::fault::Faults;
use super::inputs::Given;
use super::paths::Paths;
use super::values::base64;
use crate::auth::docker_config::DockerConfig;
use crate::auth::google::{KeyError, ServiceAccountKey};
use crate::secret::Secret;

/// Reads `credentials_json` and `access_token`, which exclude each other.
pub(super) fn google(
    given: &Given,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<GoogleCredential> {
    let inputs = &given.inputs;
    let key = inputs
        .credentials_json
        .as_deref()
        .and_then(|text| key("credentials_json", text, paths, faults));
    let token = inputs
        .access_token
        .as_deref()
        .and_then(|token| faults.take("access_token", check_token(token)));
    if inputs.credentials_json.is_some() && inputs.access_token.is_some() {
        faults.unusable("access_token", "`credentials_json` is set too: keep one");
        return None;
    }
    key.map(GoogleCredential::Key)
        .or(token.map(GoogleCredential::AccessToken))
}

/// Makes a [`Secret`] of every secret value, before anything can be told of it: that is what masks
/// it. A path to a file is none; its content becomes one when it is read.
pub(super) fn take_into_custody(given: &Given, paths: &Paths<'_>) {
    for text in &given.secrets {
        let names_a_file = text.len() < 4096
            && !text.contains(['\n', '\0'])
            && paths
                .input(text)
                .is_ok_and(|path| paths.files().exists(&path));
        if !names_a_file && !looks_like_a_path(text) {
            drop(Secret::new(text.as_str()));
        }
    }
}

/// Reads the service-account key that a variable holds or names.
pub(super) fn key(
    variable: &'static str,
    text: &str,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<ServiceAccountKey> {
    let document = document(variable, text, "", paths, faults)?;
    match ServiceAccountKey::parse(&document.json) {
        Ok(key) => Some(key),
        Err(fault) => {
            let fault = match fault {
                KeyError::NotJson if document.from_file => {
                    "the file that it names is neither JSON nor base64 of JSON".to_owned()
                }
                KeyError::NotJson if looks_like_a_path(text) => {
                    "no file is there, if it is meant as a path; its value is not shown".to_owned()
                }
                KeyError::NotJson => format!("{fault}; its value is not shown"),
                _ => fault.to_string(),
            };
            faults.unusable(variable, fault);
            None
        }
    }
}

/// Reads `docker_config`, or else `$DOCKER_CONFIG/config.json`; the second only where a registry
/// that is not Google's is met (`needed`), for a run that has no use for it must not fail by it.
pub(super) fn docker_config(
    given: &Given,
    needed: bool,
    paths: &Paths<'_>,
    faults: &mut Faults,
) -> Option<DockerConfig> {
    const FILE: &str = "config.json";
    if let Some(text) = given.inputs.docker_config.as_deref() {
        let document = document("docker_config", text, FILE, paths, faults)?;
        return DockerConfig::parse(&document.json)
            .map_err(|fault| {
                let fault = if !document.from_file && looks_like_a_path(text) {
                    "no file is there, if it is meant as a path; its value is not shown".to_owned()
                } else {
                    format!("{fault}; its value is not shown")
                };
                faults.unusable("docker_config", fault);
            })
            .ok();
    }
    let directory = given.ambient("DOCKER_CONFIG").filter(|_| needed)?;
    // A directory of the host that the container does not have is as good as none.
    let file = paths.input(directory).ok()?.join(FILE);
    if !paths.files().exists(&file) {
        return None;
    }
    let fault = match read_text(&file, paths) {
        Ok(text) => match DockerConfig::parse(&text) {
            Ok(config) => return Some(config),
            Err(fault) => format!("in its `{FILE}`: {fault}"),
        },
        Err(fault) => format!("its `{FILE}` cannot be read: {fault}"),
    };
    faults.unusable("DOCKER_CONFIG", fault);
    None
}

/// A JSON document that a variable gave, in whichever form.
struct Document {
    /// Its text; perhaps not JSON at all, which its reader tells.
    json: String,
    from_file: bool,
}

/// A text that starts with `{` is the document itself; what is on disk is a file; all else is
/// base64. A directory stands for the file in it that is called `in_directory`.
fn document(
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
fn decoded(text: String) -> String {
    if text.trim_start().starts_with('{') {
        return text;
    }
    base64(&text)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(without_mark)
        .unwrap_or(text)
}

fn read_text(path: &Path, paths: &Paths<'_>) -> std::io::Result<String> {
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

fn looks_like_a_path(text: &str) -> bool {
    text.len() < 1024
        && !text.contains(char::is_whitespace)
        && (text.starts_with(['/', '.', '~']) || text.ends_with(".json"))
}

/// A token goes into a header, where a space or a line break would end it.
fn check_token(token: &str) -> Result<Secret, &'static str> {
    if token.starts_with('{') {
        return Err("it is JSON, not a token; a key belongs into `credentials_json`");
    }
    if token.contains(char::is_whitespace) {
        return Err(
            "it has a space or a line break in it; give the token alone, without `Bearer`; its value is not shown",
        );
    }
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it has characters that no token has; its value is not shown");
    }
    Ok(Secret::new(token))
}
