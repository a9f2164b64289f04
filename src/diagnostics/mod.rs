//! How a failure is reported: its exit code, its hints, its text, and what that text may never hold.

mod failure;
pub mod nearest;
pub mod render;
pub mod sanitize;
pub mod secret;
pub mod userinfo;

use std::sync::Arc;

pub use failure::{Failure, texts};

/// An error that a user reads: what the process exits with, and what to do about it.
///
/// The message says what was being done to which thing. The cause is in `source()`, never also in the
/// message.
pub trait Diagnostic: std::error::Error {
    /// The error below that decides the exit code and the hints. `None` if this one does.
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        None
    }

    /// What the process exits with.
    fn exit_code(&self) -> ExitCode {
        self.source_exit_code()
    }

    /// Advice on what to do about this very error, a sentence each, the most useful first.
    fn hints(&self) -> Vec<String> {
        self.source_hints()
    }

    /// The exit code of the source, for the variants of an error that have none of their own.
    fn source_exit_code(&self) -> ExitCode {
        let source = self.diagnostic_source();
        source.map_or(ExitCode::Failed, Diagnostic::exit_code)
    }

    /// The hints of the source, for the variants of an error that have none of their own.
    fn source_hints(&self) -> Vec<String> {
        let source = self.diagnostic_source();
        source.map_or_else(Vec::new, Diagnostic::hints)
    }
}

/// An error that several failures have in common.
pub type SharedError = Arc<dyn Diagnostic + Send + Sync>;

/// What the process exits with: an interface for `retry:exit_codes` and `podFailurePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Everything that was asked for was done.
    Done = 0,
    /// It failed, and will fail again in the same way.
    Failed = 1,
    /// The request itself is wrong.
    Usage = 2,
    /// Credentials or a permission were refused.
    Denied = 3,
    /// It failed for now; another try may succeed.
    Temporary = 4,
    /// Its user ended it with Ctrl-C, as shells number it.
    Interrupted = 130,
}

impl ExitCode {
    /// Of several failures the one to exit with: the first in the order 130, 2, 3, 1, 4.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |code| match code {
            Self::Interrupted => 0,
            Self::Usage => 1,
            Self::Denied => 2,
            Self::Failed => 3,
            Self::Temporary => 4,
            Self::Done => 5,
        };
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_exit_code_follows_the_documented_order() {
        use ExitCode::{Denied, Done, Failed, Interrupted, Temporary, Usage};
        let order = [Interrupted, Usage, Denied, Failed, Temporary, Done];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(first.worst(*second), *first);
                assert_eq!(second.worst(*first), *first);
            }
        }
    }
}
