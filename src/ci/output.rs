//! Results on standard output and in result files.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::result_file;
use crate::diagnostics::{Diagnostic, ExitCode};

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output cannot be written.
    #[error("could not write the result to standard output")]
    Stdout(#[source] io::Error),
    /// A result file cannot be written.
    #[error("could not write `{}`", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The directory of a result file does not exist.
    #[error("could not write `{}`: there is no folder `{}`", file.display(), directory.display())]
    NoDirectory {
        /// The file.
        file: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
}

impl Diagnostic for OutputError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Stdout(_) | Self::File(..) => ExitCode::Failed,
            Self::NoDirectory { .. } => ExitCode::Usage,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Stdout(_) => Vec::new(),
            Self::File(..) => {
                vec!["the push itself succeeded; only this file is missing".to_owned()]
            }
            // A file has the name of the directory. The user has to decide what to do with it.
            Self::NoDirectory { directory, .. } if directory.exists() => Vec::new(),
            Self::NoDirectory { directory, .. } => {
                vec![format!(
                    "create it first: `mkdir -p {}`",
                    directory.display()
                )]
            }
        }
    }
}

/// The files in which a run leaves its results for the next step or job.
#[derive(Clone, Debug, Default)]
pub struct ResultFiles {
    /// The file for the JSON report.
    pub report: Option<PathBuf>,
    /// The file for the digest of the first destination.
    pub digest: Option<PathBuf>,
    /// The file for the results as `NAME=value` lines, for GitLab's dotenv reports.
    pub dotenv: Option<PathBuf>,
    /// GitHub's file for the step's outputs.
    pub github_output: Option<PathBuf>,
    /// Cloud Build's file for the step's results.
    pub builder_output: Option<PathBuf>,
    /// The host's path of the temporary directory that is mounted into the container of a GitHub
    /// action. `None` outside such a container.
    pub temporary_directory_on_host: Option<PathBuf>,
}

impl ResultFiles {
    /// Checks before any work that the directory of each file, and of each of `others`, exists.
    /// Returns one error for each that does not.
    pub fn check<'a>(&'a self, others: impl IntoIterator<Item = &'a Path>) -> Vec<OutputError> {
        let own = [&self.report, &self.digest, &self.dotenv];
        let own = own.into_iter().flatten().map(PathBuf::as_path);
        own.chain(others)
            .chain(self.github_output.as_deref())
            .filter_map(|file| {
                let directory = match file.parent() {
                    Some(directory) if directory != Path::new("") => directory,
                    _ => Path::new("."),
                };
                (!directory.is_dir()).then(|| OutputError::NoDirectory {
                    file: file.to_owned(),
                    directory: directory.to_owned(),
                })
            })
            .collect()
    }
}

/// Prints a result. A pipe that is closed early (`| head`) is no error.
///
/// # Errors
///
/// If `out` cannot be written for another reason.
pub fn print(out: &mut dyn Write, text: impl fmt::Display) -> Result<(), OutputError> {
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(OutputError::Stdout),
    }
}

/// Writes a result file.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_file(path: &Path, text: &str) -> Result<(), OutputError> {
    result_file::write(path, text).map_err(|error| OutputError::File(path.to_owned(), error))
}

/// Serializes a document as JSON with a final newline.
pub(crate) fn json(document: &impl serde::Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists always make JSON"
    )]
    let mut text = serde_json::to_string_pretty(document).expect("a report is JSON");
    text.push('\n');
    text
}
