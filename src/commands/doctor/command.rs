//! The command: what a request names is examined, and told.

use std::io::Write;

use super::{DoctorInput, DoctorReport};
use crate::auth::Credentials;
use crate::commands::interrupt::RunState;
use crate::commands::push::report;
use crate::config::Request;
use crate::error::{Error, Failure};
use crate::push::destinations;

/// Checks all that can be checked, prints the table of it, and fails by what is wrong.
///
/// # Errors
///
/// Everything that was found wrong.
pub async fn run(
    request: &Request,
    credentials: &Credentials,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(report::check(request)) {
        return Err(failure);
    }
    let mut examination = DoctorReport::new(state);
    let mut names = examination.local_image(request).await;
    if names.is_empty() {
        // The image may have a name that only it knows.
        let name = request.destinations.parts.name.as_deref();
        names.push(name.unwrap_or("image").to_owned());
    }
    let targets = destinations::targets(&request.destinations, &names).map_err(Error::Target)?;
    let patient = DoctorInput {
        credentials,
        targets: &targets,
        request,
    };
    examination.run_checks(&patient).await;
    let mut errors: Vec<Error> = report::print(stdout, &examination)
        .err()
        .into_iter()
        .collect();
    if let Some(file) = &request.report_file {
        errors.extend(report::write_file(file, &examination.json()).err());
    }
    errors.extend(examination.errors());
    Failure::of(errors).map_or(Ok(()), Err)
}
