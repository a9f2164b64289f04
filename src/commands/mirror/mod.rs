//! `mirror`: copies many images, as a file lists them.
//!
//! The plan is made first, by comparing digests: it says which images are up to date, which are
//! outdated and which are missing. Then the images are copied, the missing ones first. A failed image
//! does not stop the others. The run after an interrupted one makes a new plan and copies the rest.

mod blob_locks;
mod compare;
mod copy;
mod error;
mod failover;
mod image;
pub mod name_template;
mod plan;
mod report;
mod repositories;
mod request;
pub mod shard;
mod summary;
pub mod tag_filter;
mod workloads;

use std::io::Write;

pub use copy::ImageOutcome;
pub use error::MirrorError;
pub use image::{MirrorPlan, PlannedImage, SyncState};
pub use request::{MirrorDestination, MirrorEntry, MirrorFile, MirrorRequest, MirrorSource};
pub use workloads::WorkloadSource;

use crate::ci::console::{self, Group};
use crate::ci::gitlab;
use crate::ci::output::{OutputError, print, write_file};
use crate::ci::progress_bars::Display;
use crate::ci::table::Table;
use crate::commands::outputs::{self, byte_totals, print_beside_secret};
use crate::commands::pull_secret::{PullSecretInput, create_pull_secret, one_a_repository};
use crate::commands::session::{MissingCredentials, NO_CREDENTIAL};
use crate::diagnostics::{Failure, texts};
use crate::push::{Settings, TagLog};
use crate::registry::pool::RegistryPool;
use report::{MirrorReport, PlanReport};

/// Makes the plan, copies the images that a destination lacks, and prints one line for each image.
///
/// # Errors
///
/// One error for each failure: of an entry of the file, of an image, of the pull secret, or of a
/// result that could not be written.
pub async fn run(
    request: &MirrorRequest,
    tag_log: &TagLog,
    stdout: &mut dyn Write,
) -> Result<(), Failure<MirrorError>> {
    outputs::check(&request.files, request.pull_secret.as_ref())?;
    let session = &request.session;
    let group = Group::open(session.console.log_format, "gcr_push", "Mirror the images");
    let credentials = session.credentials().await.map_err(MirrorError::Auth)?;
    let registries = RegistryPool::new(&credentials, &session.network);
    let hosts = request.file.hosts();
    if let Err(error) = credentials.check(&hosts).await {
        if request.missing_credentials == MissingCredentials::Fail || request.require_complete {
            return Err(MirrorError::Auth(error).into());
        }
        drop(group);
        return print_without_credentials(request, stdout);
    }
    let settings = Settings::new(
        &request.options,
        &session.network,
        session.temporary_directory.clone(),
        tag_log.clone(),
    );
    let (mut plan, mut errors) =
        plan::plan(&request.file, &registries, &settings, &session.network).await?;
    if let Some(folder) = &request.failover_directory {
        let unplanned = plan.unplanned.iter().map(|outcome| &outcome.image);
        let images = plan.images.iter().chain(unplanned);
        match failover::write(images, &session.network.insecure_registries, folder) {
            Ok(notes) => {
                for note in notes {
                    tracing::warn!("`failover_dir`: {note}");
                }
            }
            Err(error) => errors.push(MirrorError::Output(error)),
        }
    }
    if settings.options.dry_run {
        if request.require_complete {
            errors.extend(plan.lacks().map(MirrorError::Incomplete));
        }
        let report = PlanReport {
            plan: &plan,
            errors: texts(&errors),
        };
        let unwritten = write_plan(&report, request, stdout).into_iter();
        return Failure::check_reported(errors, unwritten.map(MirrorError::Output).collect());
    }
    tracing::info!("{plan}");
    let display = Display::start(&settings.progress, &session.console);
    let unreadable = std::mem::take(&mut plan.unreadable);
    let (outcomes, failures) = copy::copy_all(plan, &registries, &settings).await;
    drop(display);
    errors.extend(failures);
    drop(group);
    let mut report = MirrorReport {
        outcomes: &outcomes,
        unreadable: &unreadable,
        pull_secret: None,
        errors: Vec::new(),
    };
    // The pull secret is only created if every image exists at the destinations.
    if let Some(options) = &request.pull_secret
        && errors.is_empty()
    {
        let input = PullSecretInput {
            options,
            hosts: &hosts,
            images: &one_a_repository(outcomes.iter().flat_map(ImageOutcome::pulled)),
            dry_run: false,
        };
        match create_pull_secret(input, &credentials, &session.network, stdout).await {
            Ok(created) => report.pull_secret = created,
            Err(failed) => errors.extend(failed.into_iter().map(MirrorError::PullSecret)),
        }
    }
    report.errors = texts(&errors);
    let unwritten = write_results(&report, request, stdout).into_iter();
    Failure::check_reported(errors, unwritten.map(MirrorError::Output).collect())
}

/// Prints the report and writes the requested files. Returns the errors of those that failed.
fn write_results(
    report: &MirrorReport<'_>,
    request: &MirrorRequest,
    stdout: &mut dyn Write,
) -> Vec<OutputError> {
    let files = &request.files;
    let mut results = vec![print_beside_secret(
        report,
        request.pull_secret.as_ref(),
        stdout,
    )];
    if let Some(path) = &files.report {
        results.push(write_file(path, &report.json()));
    }
    let outcomes = report.outcomes.iter();
    let pushed: Vec<_> = outcomes.flat_map(|outcome| &outcome.pushed).collect();
    let summary = summary::of(report);
    outputs::write_unasked(&summary, &pushed, files, &request.session.console);
    let totals = byte_totals(&pushed);
    if let Some(path) = &files.dotenv {
        results.push(write_file(path, &gitlab::dotenv(totals.clone())));
    }
    if files.digest.is_some() {
        tracing::warn!(
            "`digest_file` is not written: several images have no single digest; `report_file` \
             has all digests"
        );
    }
    let secret = report.pull_secret.as_ref();
    results.push(outputs::write_step_outputs(totals.into(), secret, files));
    results.into_iter().filter_map(Result::err).collect()
}

/// Prints the plan and writes the report and the step summary. Returns the errors of those that failed.
fn write_plan(
    report: &PlanReport<'_>,
    request: &MirrorRequest,
    stdout: &mut dyn Write,
) -> Vec<OutputError> {
    let files = &request.files;
    let mut results = vec![print(stdout, report)];
    if let Some(path) = &files.report {
        results.push(write_file(path, &report.json()));
    }
    let summary = summary::of_plan(report);
    outputs::write_unasked(&summary, &[], files, &request.session.console);
    results.push(outputs::write_step_outputs(Vec::new(), None, files));
    results.into_iter().filter_map(Result::err).collect()
}

/// Prints the sources and the destinations of a run that has no credential.
fn print_without_credentials(
    request: &MirrorRequest,
    stdout: &mut dyn Write,
) -> Result<(), Failure<MirrorError>> {
    let mut table = Table::new(["WOULD MIRROR", "BELOW"]);
    for entry in &request.file.entries {
        for destination in &request.file.destinations {
            table.row([entry.source.to_string(), destination.to_string()]);
        }
    }
    print(stdout, table).map_err(MirrorError::Output)?;
    let notice = format!("nothing was mirrored: {NO_CREDENTIAL}");
    console::notice(request.session.console.log_format, &notice);
    let files = &request.files;
    let summary = summary::of_skipped(&notice);
    outputs::write_unasked(&summary, &[], files, &request.session.console);
    let report = files.report.iter();
    let report = report.map(|path| write_file(path, &report::skipped_json(&notice)));
    let dotenv = files.dotenv.iter();
    let dotenv = dotenv.map(|path| write_file(path, &gitlab::dotenv([])));
    let unwritten = report.chain(dotenv).filter_map(Result::err);
    Failure::check(unwritten.map(MirrorError::Output).collect())
}
