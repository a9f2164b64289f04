//! The command: what a request names is examined, and told.

use std::io::Write;

use super::Patient;
use crate::auth::Credentials;
use crate::config::{ImageOrigin, Request};
use crate::error::{Error, Failure};
use crate::push::targets::{self, Target};
use crate::report;

/// Checks all that can be checked, prints the table of it, and fails by what is wrong.
///
/// # Errors
///
/// Everything that was found wrong.
pub async fn run(
    request: &Request,
    credentials: &Credentials,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(report::check(request)) {
        return Err(failure);
    }
    // The image is not opened, and may have a name that only it knows.
    let names = [request
        .destinations
        .parts
        .name
        .as_deref()
        .unwrap_or("image")
        .to_owned()];
    let targets = targets::targets(&request.destinations, &names).map_err(Error::Target)?;
    let source = match &request.image {
        Some(ImageOrigin::Registry(reference)) => Some(Target {
            endpoint: reference.endpoint.clone(),
            repository: reference.repository.clone(),
            tags: Vec::new(),
            best_effort: false,
        }),
        Some(ImageOrigin::Local(_)) | None => None,
    };
    let patient = Patient {
        credentials,
        targets: &targets,
        source: source.as_ref(),
        network: &request.network,
    };
    let examination = super::examine(&patient).await;
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
