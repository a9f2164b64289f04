use std::collections::HashSet;

use super::render::{causes, chain, indented};
use super::{Diagnostic, ExitCode};

/// The errors that a run ends with, at least one.
#[derive(Debug)]
pub struct Failure<E> {
    errors: Vec<E>,
    is_reported: bool,
}

impl<E: Diagnostic> Failure<E> {
    /// `Err` with these errors, or `Ok` if there are none.
    ///
    /// # Errors
    ///
    /// When there are errors.
    pub fn check(errors: Vec<E>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Self {
            errors,
            is_reported: false,
        })
    }

    /// The same for a run whose report was to hold `errors`; `unwritten` is what could not be written
    /// of it.
    ///
    /// # Errors
    ///
    /// When there are errors of either kind.
    pub fn check_reported(mut errors: Vec<E>, unwritten: Vec<E>) -> Result<(), Self> {
        let is_reported = unwritten.is_empty();
        errors.extend(unwritten);
        Self::check(errors).map_err(|failure| Self {
            is_reported,
            ..failure
        })
    }

    /// True if the run's report and its step summary hold all of it already.
    pub fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// The errors, in the order in which they are printed.
    pub fn errors(&self) -> &[E] {
        &self.errors
    }

    /// The worst exit code of its errors.
    pub fn exit_code(&self) -> ExitCode {
        let codes = self.errors.iter().map(E::exit_code);
        codes.fold(ExitCode::Done, ExitCode::worst)
    }

    /// Every error as [`texts`] renders it.
    pub fn texts(&self) -> Vec<String> {
        texts(&self.errors)
    }

    /// The same failure with errors of another type.
    pub fn map<F>(self, convert: impl FnMut(E) -> F) -> Failure<F> {
        Failure {
            errors: self.errors.into_iter().map(convert).collect(),
            is_reported: self.is_reported,
        }
    }
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self {
            errors: vec![error],
            is_reported: false,
        }
    }
}

/// Every error with its causes and hints as one text, without a line break at its end. An error that
/// occurs more than once is rendered once; causes that several errors share are rendered once.
pub fn texts<E: Diagnostic>(errors: &[E]) -> Vec<String> {
    let mut rendered: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for error in errors {
        let reason = (causes(error), error.hints());
        if !seen.insert((error.to_string(), reason.clone())) {
            continue;
        }
        texts.push(if !reason.0.is_empty() && rendered.contains(&reason) {
            let error = indented(&error.to_string());
            format!("error: {error}, for the same reason")
        } else {
            chain(error, &reason.1)
        });
        rendered.push(reason);
    }
    texts
}
