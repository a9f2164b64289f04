//! `doctor`: checks the image, the credentials and the destinations before a push. Every failure
//! has hints that fix it.
//!
//! A check that cannot be made is a note. Only a known problem is a failure.

mod clock;
mod command;
mod problem;
mod repository;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::auth::{Credential, Credentials, Identity, TokenSource};
use crate::ci::output::json;
use crate::ci::table::{Table, timestamp};
use crate::commands::interrupt::RunState;
use crate::diagnostics::render::causes;
use crate::diagnostics::{Diagnostic, SharedError};
use crate::google::Google;
use crate::google::preflight::with_owner;
use crate::http::Network;
use crate::image::location::{ImageOrigin, ImageSource};
use crate::image::{Image, Source};
use crate::oci::platform::Platforms;
use crate::oci::reference::{ArtifactRegistryRepository, Endpoint, Reference};
use crate::push::result::DestinationError;
use crate::push::targets::Target;
use crate::registry::Registry;
use crate::registry::pool::PoolError;

pub use command::{DoctorError, DoctorRequest, run};
use problem::Problem;

/// The results of all checks.
#[derive(Debug, Default)]
pub struct DoctorReport {
    checks: Vec<Check>,
    /// The subject of the current check, for the message of an interrupted run.
    current: String,
    state: RunState,
}

/// One check: what was checked, of which subject, and its result.
#[derive(Debug)]
struct Check {
    what: &'static str,
    of: String,
    result: CheckResult,
}

/// The result of a check.
#[derive(Debug)]
enum CheckResult {
    /// The check passed.
    Ok(String),
    /// The check could not be made, or the user decides.
    Note(String),
    /// The check found a problem that would make a push fail.
    Failed(SharedError),
}

/// The input of the checks.
pub struct DoctorInput<'a> {
    /// The credentials of the run.
    pub credentials: &'a Credentials,
    /// The destinations of the image. Its name may be a placeholder.
    pub targets: &'a [Target],
    /// The request.
    pub request: &'a DoctorRequest,
}

/// The registry of each host, and whether it is a source. `None` if the host could not be reached.
type Hosts = BTreeMap<(Endpoint, bool), Option<Arc<Registry>>>;

/// The identity of each token source. `None` if it has no token.
type SignedIn = BTreeMap<*const TokenSource, Option<Identity>>;

/// The destination or the source of the image.
struct Side<'a> {
    endpoint: &'a Endpoint,
    repository: &'a str,
    /// The image that is read. `None` for a destination.
    source: Option<&'a Reference>,
}

impl Side<'_> {
    fn is_source(&self) -> bool {
        self.source.is_some()
    }

    fn name(&self) -> String {
        format!("{}/{}", self.endpoint, self.repository)
    }
}

impl DoctorReport {
    /// A report without checks.
    fn new(state: &RunState) -> Self {
        Self {
            state: state.clone(),
            ..Self::default()
        }
    }

    /// Opens a local image as a push does, and returns its names.
    async fn local_image(&mut self, request: &DoctorRequest) -> Vec<String> {
        let Some(ImageOrigin::Local(image)) = &request.image else {
            return Vec::new();
        };
        if let ImageSource::StandardInput(..) = image {
            self.note(
                "image",
                "standard input",
                "not checked, because a push reads it",
            );
            return Vec::new();
        }
        self.begin("the image".to_owned());
        match Source::open(
            image,
            &request.session.network,
            &request.session.temporary_directory,
        )
        .await
        {
            Ok(source) => {
                let what = source.what().trim_matches('`');
                self.pass("image", what, &image_detail(source.image()));
                source.image().names.clone()
            }
            Err(error) => {
                self.fail("image", "this machine".to_owned(), error);
                Vec::new()
            }
        }
    }

    /// Makes every check of the destinations and of a remote source.
    async fn run_checks(&mut self, input: &DoctorInput<'_>) {
        let (mut signed_in, mut hosts) = (SignedIn::new(), Hosts::new());
        let source = match &input.request.image {
            Some(ImageOrigin::Registry(reference)) => Some(Side {
                endpoint: &reference.endpoint,
                repository: &reference.repository,
                source: Some(reference),
            }),
            Some(ImageOrigin::Local(_)) | None => None,
        };
        let targets = input.targets.iter().map(|target| Side {
            endpoint: &target.endpoint,
            repository: &target.repository,
            source: None,
        });
        for side in targets.chain(source) {
            self.begin(format!("`{}`", side.name()));
            self.check_side(input, &side, &mut signed_in, &mut hosts)
                .await;
        }
    }

    /// Sets the subject of the next checks.
    fn begin(&mut self, what: String) {
        self.current = what;
        self.update_state();
    }

    /// Updates the message that an interrupted run would have.
    fn update_state(&self) {
        let checks = match self.checks.len() {
            0 => "no check".to_owned(),
            1 => "one check".to_owned(),
            count => format!("{count} checks"),
        };
        let what = &self.current;
        self.state
            .set(format!("while checking {what}, after {checks}"));
    }

    /// Makes every check of one destination or source. Stops at the first problem.
    async fn check_side(
        &mut self,
        input: &DoctorInput<'_>,
        side: &Side<'_>,
        signed_in: &mut SignedIn,
        hosts: &mut Hosts,
    ) {
        let endpoint = side.endpoint;
        let found = if side.is_source() {
            input.credentials.for_source(endpoint).await
        } else {
            input.credentials.for_destination(endpoint).await
        };
        let credential = match found {
            Ok(credential) => credential,
            Err(error) => {
                self.fail("credential", endpoint.to_string(), error);
                return;
            }
        };
        let Some(identity) = self.credential(endpoint, &credential, signed_in).await else {
            return;
        };
        let network = &input.request.session.network;
        let registry = match hosts.entry((endpoint.clone(), side.is_source())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let credential = credential.clone();
                let reached = self.host(endpoint, credential, side.is_source(), network);
                free.insert(reached.await)
            }
        };
        let Some(registry) = registry.clone() else {
            return;
        };
        if !self.sign_in(&registry, side).await {
            return;
        }
        if let Some(reference) = side.source {
            self.image(registry, reference, &input.request.platforms)
                .await;
        }
        let Some(repository) = ArtifactRegistryRepository::of(endpoint, side.repository) else {
            return;
        };
        match (Google::new(credential.clone(), network), &credential) {
            (Ok(google), Credential::Tokens(_)) => {
                let google = google.short_retries();
                let is_source = side.is_source();
                repository::check_repository(
                    self,
                    &google,
                    &identity,
                    endpoint,
                    &repository,
                    is_source,
                )
                .await;
            }
            (Err(error), Credential::Tokens(_)) => {
                self.note("repository", &side.name(), &error.to_string());
            }
            _ => self.note(
                "repository",
                &side.name(),
                "not checked: Google's APIs do not accept a password",
            ),
        }
    }

    /// Checks that the registry accepts the credential, with the requests of a push. At Google only
    /// the token exchange is checked, because an upload could create a repository.
    async fn sign_in(&mut self, registry: &Registry, side: &Side<'_>) -> bool {
        let name = side.name();
        if let Err(cause) = registry.sign_in(side.repository).await {
            let error = DestinationError::SignIn(side.endpoint.clone(), cause);
            self.fail("sign-in", name, error);
            return false;
        }
        if side.is_source() {
            // Reading the image checks it.
            return true;
        }
        if side.endpoint.is_google() {
            self.pass("sign-in", &name, "the registry accepts the credential");
            return true;
        }
        match registry.probe_upload(side.repository).await {
            Ok(()) => {
                self.pass("sign-in", &name, "the registry accepts the credential");
                self.pass("upload", &name, "pushing is allowed");
                true
            }
            Err(cause) if cause.status().is_some_and(|status| status == 401) => {
                let error = DestinationError::SignIn(side.endpoint.clone(), cause);
                self.fail("sign-in", name, error);
                false
            }
            Err(cause) => {
                let error = Problem::Upload(name.clone(), cause);
                self.fail("upload", name, error);
                false
            }
        }
    }

    /// Reads the remote source image as a push does.
    async fn image(
        &mut self,
        registry: Arc<Registry>,
        reference: &Reference,
        platforms: &Platforms,
    ) {
        match Source::open_remote(registry, reference, platforms).await {
            Ok(_) => self.pass("image", &reference.to_string(), "it can be read"),
            Err(error) => self.fail("image", reference.to_string(), error),
        }
    }

    /// Checks the credential, and reports its identity and expiry once for each token source.
    /// `None` if it has no token.
    async fn credential(
        &mut self,
        endpoint: &Endpoint,
        credential: &Credential,
        signed_in: &mut SignedIn,
    ) -> Option<Identity> {
        let Credential::Tokens(tokens) = credential else {
            self.pass("credential", endpoint.host(), &credential.to_string());
            return Some(credential.identity());
        };
        if let Some(known) = signed_in.get(&Arc::as_ptr(tokens)) {
            return known.clone();
        }
        let of = "Google".to_owned();
        let identity = match tokens.token().await {
            Ok(token) => {
                let info = tokens.info(&token).await;
                let owner = info.as_ref().and_then(|info| info.email.clone());
                let whose = owner
                    .as_ref()
                    .map_or(String::new(), |email| format!(" of `{email}`"));
                let expiry = info.and_then(|info| SystemTime::now().checked_add(info.lifetime));
                let until = match token.expires_at.or(expiry) {
                    Some(at) => format!("valid until {}Z", timestamp(at)),
                    None => "its expiry is not known".to_owned(),
                };
                self.pass("credential", &of, &format!("{credential}{whose}, {until}"));
                Some(with_owner(credential.identity(), owner))
            }
            Err(error) => {
                self.fail("credential", of, error);
                None
            }
        };
        signed_in.insert(Arc::as_ptr(tokens), identity.clone());
        identity
    }

    /// Checks that the host is a registry, and at Google its clock. `None` if it cannot be reached.
    async fn host(
        &mut self,
        endpoint: &Endpoint,
        credential: Credential,
        is_source: bool,
        network: &Network,
    ) -> Option<Arc<Registry>> {
        match Registry::open(endpoint, credential, network, !is_source).await {
            Ok(registry) => {
                self.pass("host", endpoint.host(), "it responds as a registry");
                if endpoint.is_google() {
                    self.push(
                        "clock",
                        endpoint.to_string(),
                        clock::compare(endpoint, network).await,
                    );
                }
                Some(Arc::new(registry))
            }
            Err(cause) => {
                let error = PoolError::Connect(endpoint.clone(), cause);
                self.fail("host", endpoint.to_string(), error);
                None
            }
        }
    }

    fn pass(&mut self, what: &'static str, of: &str, detail: &str) {
        self.push(what, of.to_owned(), CheckResult::Ok(detail.to_owned()));
    }

    fn note(&mut self, what: &'static str, of: &str, detail: &str) {
        self.push(what, of.to_owned(), CheckResult::Note(detail.to_owned()));
    }

    fn fail(
        &mut self,
        what: &'static str,
        of: String,
        error: impl Diagnostic + Send + Sync + 'static,
    ) {
        self.push(what, of, CheckResult::Failed(Arc::new(error)));
    }

    fn push(&mut self, what: &'static str, of: String, result: CheckResult) {
        self.checks.push(Check { what, of, result });
        self.update_state();
    }

    /// The problems, in the order of the checks.
    fn errors(self) -> Vec<DoctorError> {
        let failures = self
            .checks
            .into_iter()
            .filter_map(|check| match check.result {
                CheckResult::Failed(error) => Some(DoctorError::Problem(error)),
                CheckResult::Ok(_) | CheckResult::Note(_) => None,
            });
        failures.collect()
    }

    /// The results as one JSON document with a newline at its end.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            checks: Vec<Row<'a>>,
        }
        #[derive(Serialize)]
        struct Row<'a> {
            check: &'a str,
            of: &'a str,
            result: &'a str,
            detail: String,
            hints: Vec<String>,
        }
        let checks = self.checks.iter().map(|check| Row {
            check: check.what,
            of: &check.of,
            result: check.result.word(),
            detail: check.result.detail(),
            hints: match &check.result {
                CheckResult::Failed(error) => error.hints(),
                CheckResult::Ok(_) | CheckResult::Note(_) => Vec::new(),
            },
        });
        json(&Document {
            checks: checks.collect(),
        })
    }
}

impl CheckResult {
    fn found(problem: Problem) -> Self {
        Self::Failed(Arc::new(problem))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Note(_) => "note",
            Self::Failed(_) => "failed",
        }
    }

    /// The detail of the result in one sentence. For a failure, that is the innermost cause.
    fn detail(&self) -> String {
        match self {
            Self::Ok(detail) | Self::Note(detail) => detail.clone(),
            Self::Failed(error) => causes(error).pop().unwrap_or_else(|| error.to_string()),
        }
    }
}

impl fmt::Display for DoctorReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["CHECK", "OF", "RESULT", "DETAIL"]);
        for check in &self.checks {
            table.row([
                check.what.to_owned(),
                check.of.clone(),
                check.result.word().to_owned(),
                crate::diagnostics::sanitize::sanitize(&check.result.detail()),
            ]);
        }
        write!(formatter, "{table}")
    }
}

/// The detail of an image that can be read, with its names.
fn image_detail(image: &Image) -> String {
    match image.names.as_slice() {
        [] => "it can be read".to_owned(),
        names => format!("it can be read; its names are {}", names.join(", ")),
    }
}
