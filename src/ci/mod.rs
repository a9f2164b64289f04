//! What terminals and CIs read and write. Nothing here knows a command.

pub mod console;
pub mod files;
pub mod github;
pub mod gitlab;
pub mod log;
pub mod output;
pub mod progress;
pub mod progress_bars;
pub mod result_file;
pub mod table;

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Plain,
    /// Lines for people, and what GitHub's runner makes annotations and groups of.
    GitHub,
    /// Lines for people, and what GitLab makes sections of.
    GitLab,
    /// A JSON object a line.
    Json,
}

/// A CI whose log keeps what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ci {
    /// GitHub Actions, in a container action or a job.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Any other that sets `CI`.
    Other,
}
