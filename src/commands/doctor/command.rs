//! Runs `doctor`: makes the checks, prints the table, and returns the problems.

use std::io::Write;

use super::{DoctorInput, DoctorReport};
use crate::auth::AuthError;
use crate::ci::output::{OutputError, ResultFiles, print, write_file};
use crate::commands::interrupt::RunState;
use crate::commands::outputs;
use crate::commands::session::Session;
use crate::diagnostics::{Diagnostic, Failure, SharedError};
use crate::image::location::ImageOrigin;
use crate::oci::platform::Platforms;
use crate::push::targets::{self, Destinations, TargetError};

/// The input of `doctor`.
#[derive(Debug)]
pub struct DoctorRequest {
    /// Sign-in, network and console.
    pub session: Session,
    /// The image. `None` if only the destinations are checked.
    pub image: Option<ImageOrigin>,
    /// The destinations of the image.
    pub destinations: Destinations,
    /// The platforms of the image.
    pub platforms: Platforms,
    /// The files that the results are written to.
    pub files: ResultFiles,
}

/// An error of `doctor`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum DoctorError {
    /// The configured credentials are invalid.
    Auth(#[from] AuthError),
    /// The destinations are invalid.
    Target(#[from] TargetError),
    /// A check found a problem.
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

/// Makes every check, prints the table, and returns the problems as errors.
///
/// # Errors
///
/// One error for each problem.
pub async fn run(
    request: &DoctorRequest,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure<DoctorError>> {
    state.set("before anything was checked");
    let credentials = request.session.credentials().await;
    let credentials = credentials.map_err(DoctorError::Auth)?;
    outputs::check(&request.files, None)?;
    let mut report = DoctorReport::new(state);
    let mut names = report.local_image(request).await;
    if names.is_empty() {
        // Without a name from the image, the checks use that of the request, or a placeholder.
        let name = request.destinations.parts.name.as_deref();
        names.push(name.unwrap_or("image").to_owned());
    }
    let targets = targets::targets(&request.destinations, &names)
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
