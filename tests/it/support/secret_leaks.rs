//! Searches everything that a run left behind for secrets and parts of them.

use std::collections::HashSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::google::Google;
use super::run::Outcome;

/// A shorter part of a secret may be a coincidence.
const SHORTEST_PART: usize = 20;

/// Secrets that must not appear.
#[derive(Default)]
pub struct Secrets {
    parts: HashSet<Vec<u8>>,
    short: Vec<String>,
}

impl Secrets {
    /// Every secret that this stand-in issued or received, and the private key of its key file in
    /// every form.
    pub fn of(google: &Google) -> Self {
        let mut secrets = Self::default();
        // A whole key file also holds public values, such as the account.
        let whole = |secret: &String| secret.contains("client_email");
        for secret in google.standin.secrets() {
            if !whole(&secret) {
                secrets.add(&secret);
            }
        }
        secrets.add_key(&google.key);
        secrets
    }

    /// Adds a secret.
    pub fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST_PART {
            self.short.push(secret.to_owned());
        }
        let parts = secret.as_bytes().windows(SHORTEST_PART).map(<[u8]>::to_vec);
        self.parts.extend(parts);
    }

    /// Adds the private key of a key file, and the file in base64 at any offset in a longer text (a
    /// login is `USER:FILE`).
    pub fn add_key(&mut self, file: &str) {
        self.add_private_key(file);
        for before in ["", "1", "12"] {
            self.add(&STANDARD.encode(format!("{before}{file}")));
            self.add(&STANDARD.encode(format!("{before}{}", file.trim())));
        }
    }

    /// Adds the private key of a key file without its start, which all keys share.
    pub fn add_private_key(&mut self, file: &str) {
        let key: serde_json::Value = serde_json::from_str(file).unwrap();
        let pem = key["private_key"].as_str().unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
        self.add(&body[64..]);
        for line in pem.lines().skip(2).filter(|line| !line.starts_with("--")) {
            self.add(line);
        }
    }

    /// The first part of a secret in a text. `None` if there is none.
    pub fn find(&self, text: &[u8]) -> Option<String> {
        let short = self.short.iter().find(|secret| {
            text.windows(secret.len())
                .any(|part| part == secret.as_bytes())
        });
        let part = || {
            text.windows(SHORTEST_PART)
                .find(|part| self.parts.contains(*part))
        };
        short
            .cloned()
            .or_else(|| part().map(|part| String::from_utf8_lossy(part).into_owned()))
    }

    /// Checks standard output, standard error, and every file of the run's folder except `except`.
    pub fn assert_no_leak(&self, outcome: &Outcome, except: &[&str]) {
        for (name, text) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
            if let Some(part) = self.find(text.as_bytes()) {
                panic!("`{part}` is on {name}:\n{text}");
            }
        }
        let folder = outcome.directory.path();
        for file in files(folder) {
            if except.contains(&file.as_str()) {
                continue;
            }
            let bytes = std::fs::read(folder.join(&file)).unwrap();
            if let Some(part) = self.find(&bytes) {
                panic!(
                    "`{part}` is in {file}:\n{}",
                    String::from_utf8_lossy(&bytes)
                );
            }
        }
    }
}

/// The names of all files below a folder.
pub fn files(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                files.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}
