//! `doctor`: every check that can be made before the first byte of a push, each failure with what
//! mends it.
//!
//! A check that cannot be made is a note: only what is known to be wrong is a failure.

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
use crate::push::destinations::Target;
use crate::push::result::DestinationError;
use crate::registry::Registry;
use crate::registry::pool::PoolError;

pub use command::{DoctorError, DoctorRequest, run};
use problem::Problem;

/// All that was looked at.
#[derive(Debug, Default)]
pub struct DoctorReport {
    checks: Vec<Check>,
    /// What is being checked, for whoever stops the run.
    current: String,
    state: RunState,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Check {
    what: &'static str,
    of: String,
    verdict: CheckResult,
}

/// What came of it.
#[derive(Debug)]
enum CheckResult {
    /// It is as it should be.
    Ok(String),
    /// It could not be looked at, or is for the user to judge.
    Note(String),
    /// It would keep a push from being done.
    Failed(SharedError),
}

/// What is examined.
pub struct DoctorInput<'a> {
    /// The credentials of the run.
    pub credentials: &'a Credentials,
    /// Where an image would go; its name may be made up.
    pub targets: &'a [Target],
    /// What was asked for.
    pub request: &'a DoctorRequest,
}

/// What is known of a host: the registry there, or nothing where it was not reached.
type Hosts = BTreeMap<(Endpoint, bool), Option<Arc<Registry>>>;

/// Whose each way to sign in is; none where it does not work.
type SignedIn = BTreeMap<*const TokenSource, Option<Identity>>;

/// Where an image goes, or is from.
struct Side<'a> {
    endpoint: &'a Endpoint,
    repository: &'a str,
    /// The image that is read; none where one is written.
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
    /// Nothing is looked at yet.
    fn new(state: &RunState) -> Self {
        Self {
            state: state.clone(),
            ..Self::default()
        }
    }

    /// Opens an image on this machine as a push does, and gives its own names.
    async fn local_image(&mut self, request: &DoctorRequest) -> Vec<String> {
        let Some(ImageOrigin::Local(image)) = &request.image else {
            return Vec::new();
        };
        if let ImageSource::StandardInput(..) = image {
            self.note(
                "image",
                "standard input",
                "a push reads it, so it is not looked at",
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
                self.good("image", what, &described(source.image()));
                source.image().names.clone()
            }
            Err(error) => {
                self.bad("image", "this machine".to_owned(), error);
                Vec::new()
            }
        }
    }

    /// Makes every check of the destinations and of a source that is a registry.
    async fn run_checks(&mut self, patient: &DoctorInput<'_>) {
        let (mut signed_in, mut hosts) = (SignedIn::new(), Hosts::new());
        let source = match &patient.request.image {
            Some(ImageOrigin::Registry(reference)) => Some(Side {
                endpoint: &reference.endpoint,
                repository: &reference.repository,
                source: Some(reference),
            }),
            Some(ImageOrigin::Local(_)) | None => None,
        };
        let targets = patient.targets.iter().map(|target| Side {
            endpoint: &target.endpoint,
            repository: &target.repository,
            source: None,
        });
        for side in targets.chain(source) {
            self.begin(format!("`{}`", side.name()));
            self.side(patient, &side, &mut signed_in, &mut hosts).await;
        }
    }

    fn begin(&mut self, what: String) {
        self.current = what;
        self.tell_state();
    }

    fn tell_state(&self) {
        let checks = match self.checks.len() {
            0 => "no check".to_owned(),
            1 => "one check".to_owned(),
            count => format!("{count} checks"),
        };
        let what = &self.current;
        self.state.set(format!(
            "while {what} was checked, with {checks} made before"
        ));
    }

    async fn side(
        &mut self,
        patient: &DoctorInput<'_>,
        side: &Side<'_>,
        signed_in: &mut SignedIn,
        hosts: &mut Hosts,
    ) {
        let endpoint = side.endpoint;
        let found = match side.is_source() {
            true => patient.credentials.for_source(endpoint).await,
            false => patient.credentials.for_destination(endpoint).await,
        };
        let credential = match found {
            Ok(credential) => credential,
            Err(error) => {
                self.bad("credential", endpoint.to_string(), error);
                return;
            }
        };
        let Some(identity) = self.credential(endpoint, &credential, signed_in).await else {
            return;
        };
        let network = &patient.request.session.network;
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
            self.image(registry, reference, &patient.request.platforms)
                .await;
        }
        let Some(place) = ArtifactRegistryRepository::of(endpoint, side.repository) else {
            return;
        };
        match (Google::new(credential.clone(), network), &credential) {
            (Ok(google), Credential::Tokens(_)) => {
                let google = google.short_retries();
                let is_source = side.is_source();
                repository::examine(self, &google, &identity, endpoint, &place, is_source).await;
            }
            (Err(error), Credential::Tokens(_)) => {
                self.note("repository", &side.name(), &error.to_string());
            }
            _ => self.note(
                "repository",
                &side.name(),
                "Google's APIs take no password, so it cannot be looked at",
            ),
        }
    }

    /// Whether the registry takes the credential, by what a push would send it. At Google that is
    /// the token for pushing: an upload could make a repository there.
    async fn sign_in(&mut self, registry: &Registry, side: &Side<'_>) -> bool {
        let name = side.name();
        if let Err(cause) = registry.sign_in(side.repository).await {
            let error = DestinationError::SignIn(side.endpoint.clone(), cause);
            self.bad("sign-in", name, error);
            return false;
        }
        if side.is_source() {
            // Reading the image tells.
            return true;
        }
        if side.endpoint.is_google() {
            self.good("sign-in", &name, "the registry takes the credential");
            return true;
        }
        match registry.probe_upload(side.repository).await {
            Ok(()) => {
                self.good("sign-in", &name, "the registry takes the credential");
                self.good("upload", &name, "it may be pushed to");
                true
            }
            Err(cause) if cause.status().is_some_and(|status| status == 401) => {
                let error = DestinationError::SignIn(side.endpoint.clone(), cause);
                self.bad("sign-in", name, error);
                false
            }
            Err(cause) => {
                let error = Problem::Upload(name.clone(), cause);
                self.bad("upload", name, error);
                false
            }
        }
    }

    /// Reads the image that is to be pushed out of its registry, as a push does.
    async fn image(
        &mut self,
        registry: Arc<Registry>,
        reference: &Reference,
        platforms: &Platforms,
    ) {
        match Source::open_remote(registry, reference, platforms).await {
            Ok(_) => self.good("image", &reference.to_string(), "it can be read"),
            Err(error) => self.bad("image", reference.to_string(), error),
        }
    }

    /// Who we are, and until when; once for each way to sign in. None where it does not work.
    async fn credential(
        &mut self,
        endpoint: &Endpoint,
        credential: &Credential,
        signed_in: &mut SignedIn,
    ) -> Option<Identity> {
        let Credential::Tokens(tokens) = credential else {
            self.good("credential", endpoint.host(), &credential.to_string());
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
                    .map_or(String::new(), |email| format!(", which is `{email}`'s"));
                let told = info.and_then(|info| SystemTime::now().checked_add(info.lifetime));
                let until = match token.expires_at.or(told) {
                    Some(at) => format!("until {}Z", timestamp(at)),
                    None => "until nobody says when".to_owned(),
                };
                self.good("credential", &of, &format!("{credential}{whose}, {until}"));
                Some(with_owner(credential.identity(), owner))
            }
            Err(error) => {
                self.bad("credential", of, error);
                None
            }
        };
        signed_in.insert(Arc::as_ptr(tokens), identity.clone());
        identity
    }

    /// Whether the host is reached, and by whose clock.
    async fn host(
        &mut self,
        endpoint: &Endpoint,
        credential: Credential,
        is_source: bool,
        network: &Network,
    ) -> Option<Arc<Registry>> {
        match Registry::open(endpoint, credential, network, !is_source).await {
            Ok(registry) => {
                self.good("host", endpoint.host(), "it answers as a registry");
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
                self.bad("host", endpoint.to_string(), error);
                None
            }
        }
    }

    fn good(&mut self, what: &'static str, of: &str, told: &str) {
        self.push(what, of.to_owned(), CheckResult::Ok(told.to_owned()));
    }

    fn note(&mut self, what: &'static str, of: &str, told: &str) {
        self.push(what, of.to_owned(), CheckResult::Note(told.to_owned()));
    }

    fn bad(
        &mut self,
        what: &'static str,
        of: String,
        error: impl Diagnostic + Send + Sync + 'static,
    ) {
        self.push(what, of, CheckResult::Failed(Arc::new(error)));
    }

    fn push(&mut self, what: &'static str, of: String, verdict: CheckResult) {
        self.checks.push(Check { what, of, verdict });
        self.tell_state();
    }

    /// What was found wrong, in the order in which it was looked at.
    fn errors(self) -> Vec<DoctorError> {
        let bad = self
            .checks
            .into_iter()
            .filter_map(|check| match check.verdict {
                CheckResult::Failed(error) => Some(DoctorError::Problem(error)),
                CheckResult::Ok(_) | CheckResult::Note(_) => None,
            });
        bad.collect()
    }

    /// All of it as a JSON document with a newline at its end.
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
            result: check.verdict.word(),
            detail: check.verdict.detail(),
            hints: match &check.verdict {
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

    /// It in a sentence; of a failure its innermost cause, which is what the other side said.
    fn detail(&self) -> String {
        match self {
            Self::Ok(told) | Self::Note(told) => told.clone(),
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
                check.verdict.word().to_owned(),
                crate::diagnostics::sanitize::sanitize(&check.verdict.detail()),
            ]);
        }
        write!(formatter, "{table}")
    }
}

/// What an image is, in a few words.
fn described(image: &Image) -> String {
    match image.names.as_slice() {
        [] => "it can be read".to_owned(),
        names => format!("it can be read, and calls itself {}", names.join(", ")),
    }
}
