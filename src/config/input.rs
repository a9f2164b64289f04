//! The value of one variable, with a reader for each form. A reader reports what it cannot use.

use std::fmt::Display;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::environment::Environment;
use super::errors::Errors;
use super::paths::PathError;
use super::values::{boolean, duration, list, number, word};
use super::variables::Form;
use crate::oci::reference::ReferenceError;

/// The value of a variable. It has no `Debug`, because some values are secrets.
pub(super) struct Input {
    /// The name of the variable in the table.
    pub(super) name: &'static str,
    form: Form,
    text: Option<String>,
    errors: Rc<Errors>,
}

impl Input {
    pub(super) fn new(
        name: &'static str,
        form: Form,
        text: Option<String>,
        errors: &Rc<Errors>,
    ) -> Self {
        Self {
            name,
            form,
            text,
            errors: Rc::clone(errors),
        }
    }

    /// The text. `None` if it is absent.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// True if there is a value.
    pub(super) fn is_set(&self) -> bool {
        self.text.is_some()
    }

    /// The items of a list. Empty if it is absent.
    pub(super) fn items(&self) -> Vec<&str> {
        list(self.text().unwrap_or_default())
    }

    /// The items of a list. Reports a login in one of them and returns `None`: a password may contain
    /// the separator, so that the other items mean nothing.
    pub(super) fn items_without_login(&self) -> Option<Vec<&str>> {
        let items = self.items();
        match items.iter().find_map(|item| ReferenceError::login(item)) {
            Some(login) => {
                self.invalid(login);
                None
            }
            None => Some(items),
        }
    }

    /// A switch. False if it is absent or invalid.
    pub(super) fn switch(&self) -> bool {
        self.read(boolean).unwrap_or_default()
    }

    /// A duration within the bounds of the table.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Form::Duration(from, to) = self.form else {
            return None;
        };
        let [from, to] = [from, to].map(Duration::from_secs);
        self.read(|text| duration(text, from..=to))
    }

    /// A number within the bounds of the table.
    pub(super) fn count(&self) -> Option<u32> {
        let Form::Count(from, to) = self.form else {
            return None;
        };
        self.read(|text| number(text, from..=to))
    }

    /// The meaning of a word, in the order of the table's words. `None` if it is absent.
    pub(super) fn word<T: Copy, const N: usize>(&self, meanings: [T; N]) -> Option<T> {
        let Form::Words(words) = self.form else {
            return None;
        };
        let words: Vec<_> = words.iter().copied().zip(meanings).collect();
        self.read(|text| word(text, &words))
    }

    /// The meaning of a word. The first one if it is absent.
    pub(super) fn word_or_first<T: Copy, const N: usize>(&self, meanings: [T; N]) -> T {
        self.word(meanings).unwrap_or(meanings[0])
    }

    /// The path of a file to write.
    pub(super) fn output(&self, environment: &Environment<'_>) -> Option<PathBuf> {
        let text = self.text()?;
        let path = environment.paths.output(text);
        self.errors.accept_path(self.name, text, path)
    }

    /// Parses the text.
    pub(super) fn read<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.accept(parse(self.text()?))
    }

    /// Returns the value. Reports an error and returns `None` if there is one.
    pub(super) fn accept<T>(&self, value: Result<T, impl Display>) -> Option<T> {
        self.errors.accept(self.name, value)
    }

    /// Reports that the value cannot be used. `text` is the reason and never quotes a secret.
    pub(super) fn invalid(&self, text: impl Display) {
        self.errors.invalid(self.name, text);
    }

    /// Reports that the file that a secret value names cannot be seen.
    pub(super) fn unseen(&self, fault: PathError) {
        self.invalid(fault.about("the file that it names"));
        self.errors.hint(fault.hint());
    }

    /// Reports that the value is missing, unless it has an error already.
    pub(super) fn missing(&self, text: impl Display) {
        self.errors.missing(self.name, text);
    }

    /// Adds a hint to the errors.
    pub(super) fn hint(&self, text: impl Into<String>) {
        self.errors.hint(text);
    }

    /// Reports a value that does nothing without the variables that it needs. `false` is the same
    /// as absent.
    pub(super) fn refuse_without(&self, needed: &str) {
        if self.text().is_some_and(|text| boolean(text) != Ok(false)) {
            self.invalid(format!("it has no effect without {needed}"));
        }
    }
}
