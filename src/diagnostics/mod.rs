pub mod nearest;
pub mod render;
pub mod sanitize;
pub mod secret;
/// Advice on what to do about an error, a sentence each; most useful first.
pub trait Diagnostic {
    /// The advice for this very error; empty when there is none.
    fn hints(&self) -> Vec<String>;
}

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
    /// It failed for now; another try may do.
    Temporary = 4,
    /// Its user ended it with Ctrl-C, as shells number it.
    Interrupted = 130,
}

impl ExitCode {
    /// Of several failures the one to exit with: the first in the order 2, 3, 1, 4.
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
