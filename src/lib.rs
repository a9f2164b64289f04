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
//! | [`digest`], [`manifest`], [`mod@reference`], [`secret`], [`progress`] | the words; no I/O |
//! | [`network`], [`auth`], [`registry`], [`google`], [`source`], [`compress`] | the edges; I/O, no policy |
//! | [`push`], [`verify`], [`list`], [`pull_secret`], [`setup`] | the steps |
//! | [`cli`], [`config`], [`logging`], [`report`], [`error`] | the side that people and CIs see |

pub mod auth;
pub mod cli;
pub mod compress;
pub mod config;
pub mod digest;
pub mod error;
pub mod google;
pub mod list;
pub mod logging;
pub mod manifest;
pub mod network;
pub mod progress;
pub mod pull_secret;
pub mod push;
pub mod reference;
pub mod registry;
pub mod report;
pub mod secret;
pub mod setup;
pub mod source;
pub mod verify;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use auth::Credentials;
use config::{Command, ImageOrigin, Request, Verify};
pub use error::{Error, Failure};
use google::Google;
use progress::Progress;
use pull_secret::PullSecret;
use push::targets::{self, Target};
use push::{Destination, Pushed, Settings};
use reference::Endpoint;
use registry::Registry;
use report::console::Group;
use report::progress::Display;
use report::{Arrival, Report};
use source::{Source, Tree};
use verify::Verified;

/// Does what was asked for. `stdout` gets what was asked to be printed; talk goes to the log.
///
/// # Errors
///
/// Everything that went wrong, one error a destination where several were asked for.
pub async fn run(request: Request, stdout: &mut dyn Write) -> Result<(), Failure> {
    let done = match request.command {
        Command::Push => push_image(&request, stdout).await,
        Command::List => list_images(&request, stdout).await.map_err(Failure::from),
        Command::PullSecret => write_pull_secret(&request, stdout).map_err(Failure::from),
        Command::Setup => set_up(&request, stdout).await.map_err(Failure::from),
    };
    report::hand_back(&request);
    done
}

/// Reads the image, pushes it everywhere, proves that it arrived, and reports.
async fn push_image(request: &Request, stdout: &mut dyn Write) -> Result<(), Failure> {
    if let Some(failure) = Failure::of(report::check(request)) {
        return Err(failure);
    }
    let started = Instant::now();
    let group = Group::open(request.console.log_format, "gcr_push", "Push the image");
    let image = request.image.as_ref().ok_or(Error::NoImage)?;
    let credentials = sign_in(request).await?;
    credentials
        .check(&request.destinations.hosts())
        .await
        .map_err(Error::Auth)?;
    let source = open_source(image, &credentials, request).await?;
    let targets =
        targets::targets(&request.destinations, &source.image().names).map_err(Error::Target)?;
    let (destinations, mut errors) = reach(targets, &credentials, request).await;
    if destinations.is_empty() {
        return Failure::of(errors).map_or(Ok(()), Err);
    }
    let settings = Settings {
        platforms: request.platforms.clone(),
        compression: request.compression,
        layer_reuse: request.layer_reuse,
        concurrency: request.concurrency,
        temporary_directory: request.temporary_directory.clone(),
        progress: Progress::default(),
    };
    let display = Display::start(&settings.progress, &request.console);
    let outcome = match push::push(&source, &destinations, &settings).await {
        Ok(outcome) => outcome,
        Err(error) => {
            errors.push(Error::Push(error));
            return Failure::of(errors).map_or(Ok(()), Err);
        }
    };

    let mut report = Report {
        notes: outcome.notes,
        ..Report::default()
    };
    for (destination, result) in destinations.iter().zip(outcome.destinations) {
        match result {
            Ok(pushed) => match prove(destination, &pushed, outcome.tree.as_ref(), request).await {
                Ok(verified) => report.arrivals.push(Arrival { pushed, verified }),
                Err(error) => errors.push(error),
            },
            Err(error) => errors.push(Error::Push(error)),
        }
    }
    drop(display);
    report.log_doubts();
    report.took = started.elapsed();
    drop(group);
    // A cluster is not told to pull what has not arrived.
    let mut gets_pull_secret = errors.is_empty();
    errors.extend(report::write(&report, request, stdout));
    if gets_pull_secret && let Err(error) = write_pull_secret(request, stdout) {
        errors.push(error);
        gets_pull_secret = false;
    }
    errors.extend(report::write_outputs(&report, request, gets_pull_secret).err());
    Failure::of(errors).map_or(Ok(()), Err)
}

/// Opens the image, wherever it is.
async fn open_source(
    image: &ImageOrigin,
    credentials: &Credentials,
    request: &Request,
) -> Result<Source, Error> {
    let network = &request.network;
    let reference = match image {
        ImageOrigin::Local(image) => {
            let opened = Source::open(image, network, &request.temporary_directory).await;
            return opened.map_err(Error::Source);
        }
        ImageOrigin::Registry(reference) => reference,
    };
    let endpoint = &reference.endpoint;
    let credential = credentials
        .for_source(endpoint)
        .await
        .map_err(Error::Auth)?;
    let registry = Registry::open(endpoint, credential, network, false)
        .await
        .map_err(|cause| Error::Connect(endpoint.clone(), cause))?;
    Source::open_remote(Arc::new(registry), reference, &request.platforms)
        .await
        .map_err(Error::Source)
}

/// Opens every registry and signs in to it, so that nothing is read for one that cannot be pushed
/// to; what keeps us from one does not keep us from the others.
async fn reach(
    targets: Vec<Target>,
    credentials: &Credentials,
    request: &Request,
) -> (Vec<Destination>, Vec<Error>) {
    let mut registries = HashMap::new();
    let mut unreachable = HashSet::new();
    let (mut destinations, mut errors) = (Vec::new(), Vec::new());
    for target in targets {
        if unreachable.contains(&target.endpoint) {
            continue;
        }
        let registry = match open(&mut registries, &target.endpoint, credentials, request).await {
            Ok(registry) => registry,
            Err(error) => {
                errors.push(error);
                unreachable.insert(target.endpoint);
                continue;
            }
        };
        match registry.sign_in(&target.repository).await {
            Ok(()) => destinations.push(Destination {
                registry,
                repository: target.repository,
                tags: target.tags,
            }),
            Err(cause) => errors.push(Error::SignIn(target.endpoint, cause)),
        }
    }
    (destinations, errors)
}

/// Checks one destination, unless `verify` is off.
async fn prove(
    destination: &Destination,
    pushed: &Pushed,
    tree: Option<&Tree>,
    request: &Request,
) -> Result<Option<Verified>, Error> {
    match (request.verify, tree) {
        (Verify::Listing, Some(tree)) => verify::verify(destination, pushed, tree)
            .await
            .map(Some)
            .map_err(Error::Verify),
        (Verify::Off, _) | (_, None) => Ok(None),
    }
}

async fn list_images(request: &Request, stdout: &mut dyn Write) -> Result<(), Error> {
    let credentials = sign_in(request).await?;
    let mut registries = HashMap::new();
    for listing in &request.listings {
        let registry = open(&mut registries, listing.endpoint(), &credentials, request).await?;
        let table = list::list(&registry, listing).await.map_err(Error::List)?;
        report::print(stdout, table)?;
    }
    Ok(())
}

/// Writes the pull secret to its file or to `stdout`, when one was asked for.
fn write_pull_secret(request: &Request, stdout: &mut dyn Write) -> Result<(), Error> {
    let Some(asked) = &request.pull_secret else {
        return Ok(());
    };
    if asked.is_push_key {
        tracing::warn!(
            "the pull secret `{}` holds the pushing key: whoever reads it can push; give a \
             reader's key in `pull_secret_credentials_json`",
            asked.name
        );
    }
    let secret = PullSecret::new(
        &asked.name,
        &asked.namespaces,
        &asked.hosts,
        &asked.credential,
    )
    .map_err(Error::PullSecret)?;
    match &asked.file {
        Some(file) => {
            secret.write(file).map_err(Error::PullSecret)?;
            tracing::info!(
                "wrote the pull secret `{}` to {}",
                asked.name,
                file.display()
            );
            Ok(())
        }
        None => stdout
            .write_all(secret.yaml().expose().as_bytes())
            .map_err(Error::Output),
    }
}

/// Shows what the Google side lacks, and makes it or takes it away where that was asked for.
async fn set_up(request: &Request, stdout: &mut dyn Write) -> Result<(), Error> {
    let Some(asked) = &request.setup else {
        return Ok(());
    };
    let credentials = sign_in(request).await?;
    let credential = credentials.for_google().await.map_err(Error::Auth)?;
    let google = Google::new(credential, &request.network)
        .map_err(|cause| Error::Auth(auth::AuthError::Network(cause)))?;
    setup::setup(asked, &google, &request.network, stdout)
        .await
        .map_err(Error::Setup)
}

async fn sign_in(request: &Request) -> Result<Credentials, Error> {
    Credentials::new(request.sign_in.clone(), &request.network)
        .await
        .map_err(Error::Auth)
}

/// The registry at `endpoint`, opened once.
async fn open(
    registries: &mut HashMap<Endpoint, Arc<Registry>>,
    endpoint: &Endpoint,
    credentials: &Credentials,
    request: &Request,
) -> Result<Arc<Registry>, Error> {
    if let Some(registry) = registries.get(endpoint) {
        return Ok(Arc::clone(registry));
    }
    let credential = credentials
        .for_destination(endpoint)
        .await
        .map_err(Error::Auth)?;
    let writes = request.command == Command::Push;
    let registry = Registry::open(endpoint, credential, &request.network, writes)
        .await
        .map_err(|cause| Error::Connect(endpoint.clone(), cause))?;
    let registry = Arc::new(registry);
    registries.insert(endpoint.clone(), Arc::clone(&registry));
    Ok(registry)
}
