//! The command: checks what a request names, prints the table, and fails by what is wrong.

use std::io::Write;

use super::{DoctorInput, DoctorReport};
use crate::auth::AuthError;
use crate::ci::output::{OutputError, ResultFiles, print, write_file};
use crate::commands::interrupt::RunState;
use crate::commands::session::Session;
use crate::diagnostics::{Diagnostic, Failure, SharedError};
use crate::image::location::ImageOrigin;
use crate::oci::platform::Platforms;
use crate::push::destinations::{self, Destinations, TargetError};

/// What `doctor` is asked to do.
#[derive(Debug)]
pub struct DoctorRequest {
    /// How it signs in, connects and talks.
    pub session: Session,
    /// The image. `None` if only the destinations are checked.
    pub image: Option<ImageOrigin>,
    /// Where it would go.
    pub destinations: Destinations,
    /// Which platforms of it.
    pub platforms: Platforms,
    /// Where the results go.
    pub files: ResultFiles,
}

/// What `doctor` can end with.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum DoctorError {
    /// What was given makes no credential.
    Auth(#[from] AuthError),
    /// The names make no destination.
    Target(#[from] TargetError),
    /// A check found something wrong.
    Problem(SharedError),
    /// The report could not be written.
    Output(#[from] OutputError),
}

impl Diagnostic for DoctorError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        Some(match self {
            Self::Auth(error) => error,
            Self::Target(error) => error,
            Self::Problem(error) => &**error,
            Self::Output(error) => error,
        })
    }
}

/// Checks all that can be checked, prints the table of it, and fails by what is wrong.
///
/// # Errors
///
/// Everything that was found wrong.
pub async fn run(
    request: &DoctorRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<DoctorError>> {
    state.set("before anything was checked");
    let credentials = request.session.credentials().await;
    let credentials = credentials.map_err(DoctorError::Auth)?;
    let no_directory = request.files.check([]).into_iter();
    Failure::check(no_directory.map(DoctorError::Output).collect())?;
    let mut report = DoctorReport::new(state);
    let mut names = report.local_image(request).await;
    if names.is_empty() {
        // The image may have a name that only it knows.
        let name = request.destinations.parts.name.as_deref();
        names.push(name.unwrap_or("image").to_owned());
    }
    let targets = destinations::targets(&request.destinations, &names)
        .map_err(|cause| DoctorError::Target(TargetError(cause)))?;
    let input = DoctorInput {
        credentials: &credentials,
        targets: &targets,
        request,
    };
    report.run_checks(&input).await;
    let mut errors = Vec::new();
    errors.extend(print(stdout, &report).err().map(DoctorError::Output));
    if let Some(file) = &request.files.report {
        let written = write_file(file, &report.json());
        errors.extend(written.err().map(DoctorError::Output));
    }
    errors.extend(report.errors());
    Failure::check(errors)
}
