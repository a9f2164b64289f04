//! The errors of a request, reported together, under the names that the user typed and without
//! secret values.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::CommandName;
use super::help::with_long_flags;
use super::paths::PathError;
use super::variables::VARIABLES;
use crate::diagnostics::sanitize::quoted;
use crate::diagnostics::{Diagnostic, ExitCode};

/// An invalid request, with all of its errors.
#[derive(Debug)]
pub struct ConfigError {
    command: CommandName,
    inputs: Vec<InvalidInput>,
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
struct InvalidInput {
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
        let mut variables: Vec<&str> = self
            .inputs
            .iter()
            .map(|input| input.variable.as_str())
            .collect();
        variables.sort_unstable();
        variables.dedup();
        let (count, noun, verb) = match variables.len() {
            1 => ("an".to_owned(), "input", "is"),
            count => (in_words(count), "inputs", "are"),
        };
        if self.inputs.iter().all(|input| input.missing) {
            write!(formatter, "{count} {noun} {verb} missing")?;
        } else {
            write!(formatter, "{count} {noun} cannot be used")?;
        }
        for input in &self.inputs {
            let (variable, text) = (&input.variable, &input.text);
            match &input.typed {
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

/// Collects the errors of a request while it is read, so that all are reported together.
#[derive(Debug, Default)]
pub(super) struct Errors(RefCell<Found>);

#[derive(Debug, Default)]
struct Found {
    inputs: Vec<InvalidInput>,
    hints: Vec<String>,
    typed: HashMap<&'static str, TypedName>,
}

impl Errors {
    /// Records the name under which a variable is, or would be, set.
    pub(super) fn typed(&self, variable: &'static str, name: TypedName) {
        self.0.borrow_mut().typed.insert(variable, name);
    }

    /// Reports a value that cannot be used. `text` is the reason and never quotes a secret.
    pub(super) fn invalid(&self, variable: &str, text: impl fmt::Display) {
        self.push(variable, text.to_string(), false);
    }

    /// Reports a required variable that is missing, unless it has an error already.
    pub(super) fn missing(&self, variable: &str, text: impl fmt::Display) {
        let has_error = |input: &InvalidInput| input.variable == variable;
        if !self.0.borrow().inputs.iter().any(has_error) {
            self.push(variable, text.to_string(), true);
        }
    }

    /// Returns the value. Reports an error and returns `None` if there is one.
    pub(super) fn accept<T>(
        &self,
        variable: &str,
        value: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        value.map_err(|error| self.invalid(variable, error)).ok()
    }

    /// Does the same as [`Self::accept`] for a path, and adds a hint. `text` is the path as the
    /// user typed it.
    pub(super) fn accept_path(
        &self,
        variable: &str,
        text: &str,
        path: Result<PathBuf, PathError>,
    ) -> Option<PathBuf> {
        path.map_err(|error| {
            self.invalid(variable, error.about(&quoted(text)));
            self.hint(error.hint());
        })
        .ok()
    }

    fn push(&self, variable: &str, text: String, missing: bool) {
        let mut found = self.0.borrow_mut();
        let typed = found.typed.get(variable).cloned();
        found.inputs.push(InvalidInput {
            variable: variable.to_owned(),
            typed,
            text,
            missing,
        });
    }

    /// Adds a hint, unless it is there already.
    pub(super) fn hint(&self, text: impl Into<String>) {
        let text = text.into();
        let mut found = self.0.borrow_mut();
        if !found.hints.contains(&text) {
            found.hints.push(text);
        }
    }

    /// Runs `read`, and forgets the errors that it reports if `forgets`.
    pub(super) fn forgetting<T>(&self, forgets: bool, read: impl FnOnce() -> T) -> T {
        let before = {
            let found = self.0.borrow();
            (found.inputs.len(), found.hints.len())
        };
        let value = read();
        if forgets {
            let mut found = self.0.borrow_mut();
            found.inputs.truncate(before.0);
            found.hints.truncate(before.1);
        }
        value
    }

    /// Returns `read` if there is no error. It is never `None` without an error. `in_flags` says
    /// whether the user gives flags, which the messages then name instead of variables.
    pub(super) fn check<T>(
        &self,
        read: Option<T>,
        command: CommandName,
        in_flags: bool,
    ) -> Result<T, ConfigError> {
        let mut found = self.0.take();
        if let (true, Some(read)) = (found.inputs.is_empty(), read) {
            return Ok(read);
        }
        // In the order of the table and of the documentation. Other tools' variables come last.
        found.inputs.sort_by_key(|input| {
            let place = VARIABLES.iter().position(|v| v.name == input.variable);
            place.unwrap_or(VARIABLES.len())
        });
        if in_flags {
            let texts = found.inputs.iter_mut().map(|input| &mut input.text);
            for text in texts.chain(&mut found.hints) {
                *text = with_long_flags(text);
            }
        }
        Err(ConfigError {
            command,
            inputs: found.inputs,
            hints: found.hints,
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
