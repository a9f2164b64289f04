//! gcr-push: a built container image into Google's registries, from any CI, with no Docker daemon.
//!
//! # The way of the data
//!
//! ```text
//! env ─► RawInputs ─► Request ─┬─► Credentials ─┐
//!        (envy)      (checked) ├─► Source ──────┼─► plan ─► push ─► verify ─► Report ─► outputs
//!                              └─► Registry ×N ─┘                     └─► pull secret
//! ```
//!
//! One direction: `main` → [`run`] → [`push`] → [`registry::Registry`] → the wire. [`config`] alone
//! reads the environment and parses text; [`report`] alone speaks a CI's language.
//!
//! # Layout
//!
//! | module | what it is |
//! |---|---|
//! | [`digest`], [`manifest`], [`mod@reference`], [`secret`], [`progress`], [`once`] | the words; no I/O |
//! | [`network`], [`auth`], [`registry`], [`google`], [`source`], [`compress`], [`private_file`] | the edges; I/O, no policy |
//! | [`push`], [`verify`], [`unsent`], [`doctor`], [`mirror`], [`list`], [`pull_secret`], [`kubernetes`], [`setup`] | the steps |
//! | [`cli`], [`config`], [`logging`], [`report`], [`error`] | the side that people and CIs see |

// The futures of a push, from here to the wire, nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

pub mod auth;
pub mod ci;
pub mod commands;
pub mod config;
pub mod diagnostics;
pub mod error;
pub mod google;
pub mod http;
pub mod image;
pub mod kubernetes;
pub mod oci;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod push;
pub mod registry;

use crate::commands::pull_secret::create_pull_secret;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use auth::Credentials;
use ci::console::Group;
use ci::progress::Progress;
use ci::progress_bars::Display;
use commands::interrupt::{Interrupted, RunState, Stop};
use commands::list::ListOptions;
use commands::mirror::ImageOutcome;
use commands::mirror::PlanFile;
use commands::mirror::report::{MirrorReport, PlanReport};
use commands::pull_secret::{PullSecretInput, PullSecretResult, PulledImage, one_a_repository};
use commands::push::table::Report;
use commands::session::MissingCredentials;
use config::{Command, Request};
pub use error::{Error, Failure};
use google::Google;
use image::Source;
use image::location::ImageOrigin;
use oci::reference::Endpoint;
use push::destinations;
use push::job::PushJob;
use push::verify::Verify;
use push::{Settings, TagLog, UploadSlots};
use registry::pool::RegistryPool;

/// Does what was asked for. `stdout` gets what was asked to be printed; talk goes to the log.
///
/// # Errors
///
/// Everything that went wrong, one error a destination where several were asked for; or what had
/// become of the tags when a signal or `timeout` ended it.
pub fn run(request: Request, mut stdout: impl Write + Send + 'static) -> Result<(), Failure> {
    let (tag_log, state) = (TagLog::default(), RunState::default());
    let (timeout, own, own_state) = (request.timeout, tag_log.clone(), state.clone());
    let work = move |stop: Stop| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                // Whoever stops it tells.
                _ = stop => Ok(()),
                done = act(&request, &own, &own_state, &mut stdout) => done,
            }
        });
        // Threads that still read or compress for a run that was stopped are not waited for.
        runtime.shutdown_background();
        done
    };
    match commands::interrupt::supervise(timeout, work).map_err(Error::Start)? {
        Ok(done) => done,
        Err(cause) => Err(Error::Stopped(Interrupted::new(cause, &tag_log, &state)).into()),
    }
}

async fn act(
    request: &Request,
    tag_log: &TagLog,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    match request.command {
        Command::Push | Command::Mirror => {}
        Command::List => state.set("before anything was listed"),
        Command::PullSecret => state.set("while the pull secret was made"),
        Command::Setup => state.set("before anything was changed"),
        Command::Doctor => state.set("before anything was checked"),
    }
    match request.command {
        Command::Push => push_image(request, tag_log, stdout).await,
        Command::Mirror => mirror_images(request, tag_log, stdout).await,
        Command::List => list_images(request, state, stdout).await,
        Command::PullSecret => write_pull_secret(request, stdout).await,
        Command::Setup => set_up(request, state, stdout).await,
        Command::Doctor => examine(request, state, stdout).await,
    }
}

/// Reads the image, pushes it everywhere, proves that it arrived, and reports.
async fn push_image(
    request: &Request,
    tag_log: &TagLog,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(commands::push::report::check(request)) {
        return Err(failure);
    }
    let started = Instant::now();
    let group = Group::open(request.console.log_format, "gcr_push", "Push the image");
    let image = request.image.as_ref().ok_or(Error::NoImage)?;
    let credentials = sign_in(request).await?;
    let registries = RegistryPool::new(&credentials, &request.network);
    let lacking = credentials.check(&request.destinations.required()).await;
    match (lacking, request.missing_credentials) {
        (Ok(()), _) => {}
        (Err(_), MissingCredentials::Skip) => {
            let source = open_source(image, &registries, request).await?;
            // What was not done stands outside of what a CI's log folds away.
            drop(group);
            return commands::unsent::validate_without_credentials(&source, request, stdout).await;
        }
        (Err(error), MissingCredentials::Fail) => return Err(Error::Auth(error).into()),
    }
    let source = open_source(image, &registries, request).await?;
    let targets = destinations::targets(&request.destinations, &source.image().names)
        .map_err(Error::Target)?;
    let settings = settings(request, tag_log);
    settings.tag_log.expect_all(&targets);
    let display = Display::start(&settings.progress, &request.console);
    let job = PushJob {
        source: &source,
        registries: &registries,
        settings: &settings,
        locations: &Arc::default(),
        verify: if request.dry_run {
            Verify::Off
        } else {
            request.verify
        },
    };
    let arrived = job.run(&targets).await;
    drop(display);

    let (mut report, mut errors) = Report::of(arrived.results, arrived.notes);
    report.dry_run = request.dry_run;
    errors.extend(arrived.failure.map(Error::Push));
    let is_nowhere = report.arrivals.is_empty() && !errors.is_empty();
    report.log_doubts();
    report.took = started.elapsed();
    drop(group);
    // A cluster is not told to pull what has not arrived.
    if errors.is_empty() && !request.dry_run {
        let arrived = report.arrivals.iter();
        let images: Vec<_> = arrived.filter_map(|a| PulledImage::of(&a.pushed)).collect();
        let hosts = request.destinations.hosts();
        match give_pull_secret(&hosts, &images, &credentials, request, stdout).await {
            Ok(handed_out) => report.pull_secret = handed_out,
            Err(failed) => errors.extend(failed),
        }
    }
    report.errors = error::texts(&errors);
    let mut unwritten = if is_nowhere {
        commands::push::report::write_files(&report, request)
    } else {
        commands::push::report::write(&report, request, stdout)
    };
    unwritten.extend(commands::push::report::write_outputs(&report, request).err());
    Failure::reported(errors, unwritten).map_or(Ok(()), Err)
}

fn settings(request: &Request, tag_log: &TagLog) -> Settings {
    let progress = Progress::default();
    Settings {
        platforms: request.platforms.clone(),
        compression: request.compression,
        layer_reuse: request.layer_reuse,
        slots: Arc::new(UploadSlots::new(
            push::open_files::bounded(request.concurrency),
            progress.clone(),
        )),
        attestations: request.attestations,
        referrers: request.referrers,
        dry_run: request.dry_run,
        existing_tag: request.existing_tag,
        patience: request.network.retry_timeout,
        temporary_directory: request.temporary_directory.clone(),
        progress,
        tag_log: tag_log.clone(),
    }
}

/// Plans, brings what is missing or differs, and reports a line an image.
async fn mirror_images(
    request: &Request,
    tag_log: &TagLog,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    let Some(asked) = &request.mirror else {
        return Ok(());
    };
    if let Some(failure) = Failure::of(commands::push::report::check(request)) {
        return Err(failure);
    }
    let group = Group::open(request.console.log_format, "gcr_push", "Mirror the images");
    let credentials = sign_in(request).await?;
    let registries = RegistryPool::new(&credentials, &request.network);
    let lacking = credentials.check(&asked.destinations()).await;
    match (lacking, request.missing_credentials) {
        (Ok(()), _) => {}
        (Err(_), MissingCredentials::Skip) => {
            drop(group);
            return commands::unsent::list_without_credentials(asked, request, stdout);
        }
        (Err(error), MissingCredentials::Fail) => return Err(Error::Auth(error).into()),
    }
    let settings = settings(request, tag_log);
    let (plan, mut errors) = commands::mirror::plan(asked, &registries, &settings).await?;
    if request.dry_run {
        errors.extend(commands::push::report::print(stdout, PlanReport(&plan)).err());
        if let Some(PlanFile::Write(file)) = &asked.plan_file {
            let (shares, unread) = commands::mirror::weigh(&plan, &registries).await;
            errors.extend(unread);
            errors.extend(commands::push::report::write_file(file, &shares.json()).err());
        }
        return Failure::of(errors).map_or(Ok(()), Err);
    }
    tracing::info!("{plan}");
    let display = Display::start(&settings.progress, &request.console);
    let (outcomes, failures) =
        commands::mirror::copy_all(plan, &registries, &settings, request.verify).await;
    drop(display);
    errors.extend(failures);
    drop(group);
    let mut report = MirrorReport {
        outcomes: &outcomes,
        pull_secret: None,
        errors: Vec::new(),
    };
    // A cluster is not told to pull what has not arrived.
    if errors.is_empty() {
        let images = one_a_repository(outcomes.iter().flat_map(ImageOutcome::pulled));
        let hosts = asked.destinations();
        match give_pull_secret(&hosts, &images, &credentials, request, stdout).await {
            Ok(handed_out) => report.pull_secret = handed_out,
            Err(failed) => errors.extend(failed),
        }
    }
    report.errors = error::texts(&errors);
    let unwritten = commands::push::report::write_mirror(&report, request, stdout);
    Failure::reported(errors, unwritten).map_or(Ok(()), Err)
}

/// Opens the image, wherever it is.
async fn open_source(
    image: &ImageOrigin,
    registries: &RegistryPool<'_>,
    request: &Request,
) -> Result<Source, Error> {
    let reference = match image {
        ImageOrigin::Local(image) => {
            let opened = Source::open(image, &request.network, &request.temporary_directory).await;
            return opened.map_err(Error::Source);
        }
        ImageOrigin::Registry(reference) => reference,
    };
    let registry = registries.source(&reference.endpoint).await?;
    Source::open_remote(registry, reference, &request.platforms)
        .await
        .map_err(Error::Source)
}

async fn examine(
    request: &Request,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    let credentials = sign_in(request).await?;
    commands::doctor::run(request, &credentials, state, stdout).await
}

/// Lists every place that was asked for; one that cannot be listed does not stop the others.
async fn list_images(
    request: &Request,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(commands::push::report::check(request)) {
        return Err(failure);
    }
    let credentials = sign_in(request).await?;
    let registries = RegistryPool::new(&credentials, &request.network);
    let (mut listed, mut errors) = (Vec::new(), Vec::new());
    let count = request.listings.len();
    for (number, listing) in request.listings.iter().enumerate() {
        let place = format!("{}/{}", listing.endpoint(), listing.path());
        let place = place.trim_end_matches('/');
        state.set(match count {
            1 => format!("while `{place}` was listed"),
            _ => format!("while `{place}` was listed, {number} of {count} places being done"),
        });
        let found = async {
            let endpoint = listing.endpoint();
            let registry = registries.listing(endpoint).await?;
            let google = commands::list::google(endpoint, &credentials, &request.network).await;
            let options = ListOptions {
                recursive: request.list_recursive,
                platforms: request.list_platforms,
            };
            commands::list::list(&registry, google.as_ref(), listing, options)
                .await
                .map_err(Error::List)
        };
        match found.await {
            Ok(found) => listed.push(found),
            Err(error) => errors.push(error),
        }
    }
    if !listed.is_empty() {
        errors.extend(commands::push::report::write_list(&listed, request, stdout));
    }
    Failure::of(errors).map_or(Ok(()), Err)
}

/// Gives out the pull secret alone, for the images that were named, as far as they were.
async fn write_pull_secret(request: &Request, stdout: &mut dyn Write) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(commands::push::report::check(request)) {
        return Err(failure);
    }
    let credentials = sign_in(request).await?;
    // Without a name there are hosts all the same.
    let targets = destinations::targets(&request.destinations, &[]).unwrap_or_default();
    let images: Vec<_> = targets.into_iter().map(PulledImage::from).collect();
    let hosts = request.destinations.hosts();
    match give_pull_secret(&hosts, &images, &credentials, request, stdout).await {
        Ok(handed_out) => {
            let report = Report {
                pull_secret: handed_out,
                ..Report::default()
            };
            Ok(commands::push::report::write_outputs(&report, request)?)
        }
        Err(errors) => Failure::of(errors).map_or(Ok(()), Err),
    }
}

/// Shows what the Google side lacks, and makes it or takes it away where that was asked for.
async fn set_up(
    request: &Request,
    state: &RunState,
    stdout: &mut dyn Write,
) -> Result<(), Failure> {
    let Some(asked) = &request.setup else {
        return Ok(());
    };
    if let Some(failure) = Failure::of(commands::push::report::check(request)) {
        return Err(failure);
    }
    let credentials = sign_in(request).await?;
    let credential = credentials.for_google().await.map_err(Error::Auth)?;
    let google = Google::new(credential, &request.network)
        .map_err(|cause| Error::Auth(auth::AuthError::Network(cause)))?;
    let report_file = request.report_file.as_deref();
    let network = &request.network;
    let errors = commands::setup::setup(asked, &google, network, report_file, state, stdout).await;
    Failure::of(errors).map_or(Ok(()), Err)
}

/// Gives out the pull secret, when one was asked for.
async fn give_pull_secret(
    hosts: &[Endpoint],
    images: &[PulledImage],
    credentials: &Credentials,
    request: &Request,
    stdout: &mut dyn Write,
) -> Result<Option<PullSecretResult>, Vec<Error>> {
    let Some(asked) = &request.pull_secret else {
        return Ok(None);
    };
    let wanted = PullSecretInput {
        asked,
        hosts,
        images,
        dry_run: request.dry_run,
    };
    create_pull_secret(wanted, credentials, &request.network, stdout)
        .await
        .map_err(|errors| errors.into_iter().map(Error::PullSecret).collect())
}

async fn sign_in(request: &Request) -> Result<Credentials, Error> {
    Credentials::new(request.sign_in.clone(), &request.network)
        .await
        .map_err(Error::Auth)
}
