//! Input and output for terminals and CIs: log, progress, annotations and result files. No module
//! here depends on a command.

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

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text.
    #[default]
    Plain,
    /// Plain text with the workflow commands of GitHub for annotations and groups.
    GitHub,
    /// Plain text with the markers of GitLab for sections.
    GitLab,
    /// One JSON object per line.
    Json,
}

/// A CI, which keeps everything that is printed in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ci {
    /// GitHub Actions, in a container action or a job.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Any other CI that sets `CI`.
    Other,
}
