//! The faults of a request, reported together, under the names that the user typed and without
//! secret values.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::CommandName;
use super::help::with_long_flags;
use super::paths::PathFault;
use super::values::boolean;
use super::variables::VARIABLES;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::oci::reference::ReferenceError;

/// An invalid request, with all of its faults.
#[derive(Debug)]
pub struct ConfigError {
    command: CommandName,
    faults: Vec<Fault>,
    hints: Vec<String>,
}

/// The name under which a user sets a variable.
#[derive(Clone, Debug)]
pub(super) enum TypedName {
    /// A flag or a word of the command line.
    Argument(String),
    /// An environment variable.
    Variable(String),
}

#[derive(Debug)]
struct Fault {
    /// The name in the table or, for another tool's variable, in the environment.
    variable: String,
    /// The name that the user typed, if it is different.
    typed: Option<TypedName>,
    text: String,
    missing: bool,
}

impl Diagnostic for ConfigError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn hints(&self) -> Vec<String> {
        if self.hints.is_empty() {
            let command = self.command.word();
            vec![format!(
                "`gcr-push {command} --help` describes every variable"
            )]
        } else {
            self.hints.clone()
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut variables: Vec<&str> = self.faults.iter().map(|f| f.variable.as_str()).collect();
        variables.sort_unstable();
        variables.dedup();
        let (count, noun, verb) = match variables.len() {
            1 => ("an".to_owned(), "input", "is"),
            count => (in_words(count), "inputs", "are"),
        };
        if self.faults.iter().all(|fault| fault.missing) {
            write!(formatter, "{count} {noun} {verb} missing")?;
        } else {
            write!(formatter, "{count} {noun} cannot be used")?;
        }
        for fault in &self.faults {
            let (variable, text) = (&fault.variable, &fault.text);
            match &fault.typed {
                Some(TypedName::Argument(name)) => write!(formatter, "\n`{name}`: {text}")?,
                Some(TypedName::Variable(name)) => {
                    write!(formatter, "\n`{variable}`: {text} ({name})")?;
                }
                None => write!(formatter, "\n`{variable}`: {text}")?,
            }
        }
        Ok(())
    }
}

fn in_words(count: usize) -> String {
    const WORDS: [&str; 8] = [
        "two", "three", "four", "five", "six", "seven", "eight", "nine",
    ];
    match count.checked_sub(2).and_then(|index| WORDS.get(index)) {
        Some(word) => (*word).to_owned(),
        None => count.to_string(),
    }
}

/// Collects faults while the rest of the request is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    hints: Vec<String>,
    typed: HashMap<&'static str, TypedName>,
}

impl Faults {
    /// Records the name under which a variable is, or would be, set.
    pub(super) fn typed(&mut self, variable: &'static str, name: TypedName) {
        self.typed.insert(variable, name);
    }

    /// Reports a value that cannot be used. `text` is the reason and never quotes a secret.
    pub(super) fn unusable(&mut self, variable: &str, text: impl fmt::Display) {
        self.push(variable, text.to_string(), false);
    }

    /// Reports a required variable that is missing, unless it has a fault already.
    pub(super) fn missing(&mut self, variable: &str, text: impl fmt::Display) {
        if self.faults.iter().any(|fault| fault.variable == variable) {
            return;
        }
        self.push(variable, text.to_string(), true);
    }

    /// Returns the value. Reports an error and returns `None` if there is one.
    pub(super) fn accept<T>(
        &mut self,
        variable: &str,
        value: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        value.map_err(|fault| self.unusable(variable, fault)).ok()
    }

    /// Parses a boolean. It is false if the variable is absent or faulty.
    pub(super) fn switch(&mut self, variable: &str, text: Option<&str>) -> bool {
        text.and_then(|text| self.accept(variable, boolean(text)))
            .unwrap_or(false)
    }

    /// Does the same as [`Self::accept`] for a path, and adds a hint. `text` is the path as the
    /// user typed it.
    pub(super) fn accept_path(
        &mut self,
        variable: &str,
        text: &str,
        path: Result<PathBuf, PathFault>,
    ) -> Option<PathBuf> {
        path.map_err(|fault| {
            self.unusable(variable, fault.about(&quoted(text)));
            self.hint(fault.hint());
        })
        .ok()
    }

    /// Reports a login in an item of a list. Returns true if there is one; then the caller reports
    /// nothing else of the list, because a password may contain the separator.
    pub(super) fn refuse_login(&mut self, variable: &str, items: &[&str]) -> bool {
        let found = items.iter().find_map(|item| ReferenceError::login(item));
        let is_one = found.is_some();
        if let Some(fault) = found {
            self.unusable(variable, fault);
        }
        is_one
    }

    fn push(&mut self, variable: &str, text: String, missing: bool) {
        self.faults.push(Fault {
            variable: variable.to_owned(),
            typed: self.typed.get(variable).cloned(),
            text,
            missing,
        });
    }

    /// Adds a hint, unless it is there already.
    pub(super) fn hint(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.hints.contains(&text) {
            self.hints.push(text);
        }
    }

    /// Returns `read` if there is no fault. It is never `None` without a fault. `in_flags` says
    /// whether the user gives flags, which the messages then name instead of variables.
    pub(super) fn check<T>(
        mut self,
        read: Option<T>,
        command: CommandName,
        in_flags: bool,
    ) -> Result<T, ConfigError> {
        if let (true, Some(read)) = (self.faults.is_empty(), read) {
            return Ok(read);
        }
        // In the order of the table and of the documentation. Other tools' variables come last.
        self.faults.sort_by_key(|fault| {
            let place = VARIABLES.iter().position(|v| v.name == fault.variable);
            place.unwrap_or(VARIABLES.len())
        });
        if in_flags {
            let texts = self.faults.iter_mut().map(|fault| &mut fault.text);
            for text in texts.chain(&mut self.hints) {
                *text = with_long_flags(text);
            }
        }
        Err(ConfigError {
            command,
            faults: self.faults,
            hints: self.hints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::sanitize::looks_secret;

    #[test]
    fn misplaced_secret_is_recognized() {
        for secret in [
            "ya29.abc",
            "-----BEGIN PRIVATE KEY-----",
            "{\"private_key\": 1}",
            "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln",
            "ewogICJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCIK",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for name in [
            "gcr.io/acme/api:1",
            "ewok.example.com/team/app:1,ewok.example.com/team/app:2",
            "eyJ",
            "sha-0123456789abcdef0123456789abcdef01234567",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn quoted_value_stays_on_one_line() {
        assert_eq!(quoted("a\n::error::b"), "`a\\n::error::b`");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 83);
        assert_eq!(quoted("https://user:x@gcr.io"), "`https://…@gcr.io`");
    }
}
