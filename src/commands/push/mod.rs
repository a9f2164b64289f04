//! `push`: pushes one image to all of its destinations, verifies it, and creates the requested pull
//! secret.

mod error;
mod json;
mod report;
mod request;
mod results;
mod summary;
mod without_credentials;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

pub use error::PushCommandError;
pub use report::Report;
pub use request::PushRequest;

use crate::ci::console::Group;
use crate::ci::gitlab;
use crate::ci::output::{OutputError, write_file};
use crate::ci::progress_bars::Display;
use crate::commands::outputs::{self, print_beside_secret};
use crate::commands::pull_secret::{PullSecretInput, PulledImage, create_pull_secret};
use crate::commands::session::MissingCredentials;
use crate::diagnostics::{Failure, texts};
use crate::image::Source;
use crate::image::location::ImageOrigin;
use crate::push::targets::{TargetError, targets};
use crate::push::{PushJob, Settings, TagLog};
use crate::registry::pool::RegistryPool;

/// Opens the image, pushes it to every destination, verifies it, and writes the results.
///
/// # Errors
///
/// One error for each failure: of a destination, of the pull secret, or of a result.
pub async fn run(
    request: &PushRequest,
    tag_log: &TagLog,
    stdout: &mut dyn Write,
) -> Result<(), Failure<PushCommandError>> {
    outputs::check(&request.files, request.pull_secret.as_ref())?;
    let session = &request.session;
    let started = Instant::now();
    let group = Group::open(session.console.log_format, "gcr_push", "Push the image");
    let credentials = session
        .credentials()
        .await
        .map_err(PushCommandError::Auth)?;
    let registries = RegistryPool::new(&credentials, &session.network);
    let has_credentials = credentials.check(&request.destinations.required()).await;
    if let Err(error) = has_credentials {
        if request.missing_credentials == MissingCredentials::Fail {
            return Err(PushCommandError::Auth(error).into());
        }
        let source = open(request, &registries).await?;
        // The notice is printed outside of the folded group of a CI's log.
        drop(group);
        return without_credentials::validate(&source, request, stdout).await;
    }
    let source = open(request, &registries).await?;
    let targets = targets(&request.destinations, &source.image().names)
        .map_err(|cause| PushCommandError::Target(TargetError(cause)))?;
    let settings = Settings::new(
        &request.options,
        &session.network,
        session.temporary_directory.clone(),
        tag_log.clone(),
    );
    settings.tag_log.expect_all(&targets);
    let display = Display::start(&settings.progress, &session.console);
    let job = PushJob {
        source: &source,
        registries: &registries,
        settings: &settings,
        locations: &Arc::default(),
    };
    let outcome = job.run(&targets).await;
    drop(display);

    let (mut report, mut errors) = Report::of(outcome.results, outcome.notes);
    report.dry_run = request.options.dry_run;
    errors.extend(outcome.failure.map(PushCommandError::Push));
    let has_no_result = report.pushed.is_empty() && !errors.is_empty();
    report.log_doubts();
    report.took = started.elapsed();
    drop(group);
    // The pull secret is only created if every image exists at the destinations.
    if let Some(options) = &request.pull_secret
        && errors.is_empty()
        && !report.dry_run
    {
        let pushed = report.pushed.iter();
        let images: Vec<_> = pushed
            .filter_map(|image| PulledImage::of(&image.pushed))
            .collect();
        let input = PullSecretInput {
            options,
            hosts: &request.destinations.hosts(),
            images: &images,
            dry_run: false,
        };
        match create_pull_secret(input, &credentials, &session.network, stdout).await {
            Ok(created) => report.pull_secret = created,
            Err(failed) => errors.extend(failed.into_iter().map(PushCommandError::PullSecret)),
        }
    }
    report.errors = texts(&errors);
    let mut unwritten = Vec::new();
    if !has_no_result {
        let printed = print_beside_secret(&report, request.pull_secret.as_ref(), stdout);
        unwritten.extend(printed.err());
    }
    unwritten.extend(write_results(&report, request));
    let outputs = outputs::write_step_outputs(
        results::results(&report),
        report.pull_secret.as_ref(),
        &request.files,
    );
    unwritten.extend(outputs.err());
    let unwritten = unwritten
        .into_iter()
        .map(PushCommandError::Output)
        .collect();
    Failure::check_reported(errors, unwritten)
}

/// Opens the local or remote image.
async fn open(
    request: &PushRequest,
    registries: &RegistryPool<'_>,
) -> Result<Source, PushCommandError> {
    let session = &request.session;
    let reference = match &request.image {
        ImageOrigin::Local(image) => {
            let directory = &session.temporary_directory;
            return Ok(Source::open(image, &session.network, directory).await?);
        }
        ImageOrigin::Registry(reference) => reference,
    };
    let registry = registries.source(&reference.endpoint).await?;
    Ok(Source::open_remote(registry, reference, &request.options.platforms).await?)
}

/// Writes the requested files and those that the CI or builder reads. Returns the errors of those
/// that failed.
fn write_results(report: &Report, request: &PushRequest) -> Vec<OutputError> {
    let files = &request.files;
    let mut results = Vec::new();
    if let Some(path) = &files.report {
        results.push(write_file(path, &json::report(report)));
    }
    if let (Some(path), Some(first)) = (&files.digest, report.first()) {
        results.push(write_file(path, first.pushed.digest.as_str()));
    }
    if let Some(path) = &files.dotenv {
        results.push(write_file(path, &gitlab::dotenv(results::results(report))));
    }
    // A dry run has no pushed images.
    let pushed = report.pushed.iter().filter(|_| !report.dry_run);
    let console = &request.session.console;
    outputs::write_unasked(
        &summary::of(report),
        &pushed.collect::<Vec<_>>(),
        files,
        console,
    );
    results.into_iter().filter_map(Result::err).collect()
}
