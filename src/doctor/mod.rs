//! `doctor`: every check that can be made before the first byte of a push, each failure with what
//! mends it; and the one of them that every push can afford.
//!
//! A check that cannot be made is a note: only what is known to be wrong is a failure.

mod clock;
mod command;
mod finding;
mod repository;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::auth::{Credential, Credentials, Tokens};
use crate::error::{Error, Hint as _, causes};
use crate::google::Google;
use crate::network::Network;
use crate::push::targets::Target;
use crate::reference::{Endpoint, Place};
use crate::registry::Registry;
use crate::report::table::{Table, timestamp};

pub use command::run;
pub use finding::Finding;

/// All that was looked at.
#[derive(Debug, Default)]
pub struct Examination {
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Check {
    what: &'static str,
    of: String,
    verdict: Verdict,
}

/// What came of it.
#[derive(Debug)]
enum Verdict {
    /// It is as it should be.
    Good(String),
    /// It could not be looked at, or is for the user to judge.
    Note(String),
    /// It would keep a push from being done.
    Bad(Error),
}

/// What is examined.
pub struct Patient<'a> {
    /// The credentials of the run.
    pub credentials: &'a Credentials,
    /// Where an image would go; its name may be made up.
    pub targets: &'a [Target],
    /// Where it would be read from.
    pub source: Option<&'a Target>,
    /// How everything is reached.
    pub network: &'a Network,
}

/// Makes every check.
pub async fn examine(patient: &Patient<'_>) -> Examination {
    let mut examination = Examination::default();
    let mut tokens = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    for (target, is_source) in patient
        .targets
        .iter()
        .map(|target| (target, false))
        .chain(patient.source.map(|target| (target, true)))
    {
        examination
            .target(patient, target, is_source, &mut tokens, &mut hosts)
            .await;
    }
    examination
}

/// What is known of a host: the registry there, or nothing where it was not reached.
type Hosts = BTreeMap<(Endpoint, bool), Option<Registry>>;

impl Examination {
    async fn target(
        &mut self,
        patient: &Patient<'_>,
        target: &Target,
        is_source: bool,
        signed_in: &mut BTreeMap<*const Tokens, bool>,
        hosts: &mut Hosts,
    ) {
        let endpoint = &target.endpoint;
        let name = format!("{endpoint}/{}", target.repository);
        let found = match is_source {
            true => patient.credentials.for_source(endpoint).await,
            false => patient.credentials.for_destination(endpoint).await,
        };
        let credential = match found {
            Ok(credential) => credential,
            Err(error) => {
                self.bad("credential", endpoint.to_string(), Error::Auth(error));
                return;
            }
        };
        if !self.credential(endpoint, &credential, signed_in).await {
            return;
        }
        let registry = match hosts.entry((endpoint.clone(), is_source)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let credential = credential.clone();
                let reached = self.host(endpoint, credential, is_source, patient.network);
                free.insert(reached.await)
            }
        };
        let Some(registry) = registry else {
            return;
        };
        match registry.sign_in(&target.repository).await {
            Ok(()) => self.good("sign-in", &name, "the registry takes the credential"),
            Err(cause) => {
                let error = Error::SignIn(endpoint.clone(), cause);
                self.bad("sign-in", name, error);
                return;
            }
        }
        if !endpoint.is_google() {
            return;
        }
        match (Place::of(endpoint, &target.repository), &credential) {
            (Some(place), Credential::Tokens(_)) => {
                match Google::new(credential.clone(), patient.network) {
                    Ok(google) => {
                        let google = google.impatient();
                        repository::examine(self, &google, endpoint, &place, is_source).await;
                    }
                    Err(error) => self.note("repository", &name, &error.to_string()),
                }
            }
            (Some(_), _) => self.note(
                "repository",
                &name,
                "Google's APIs take no password, so it cannot be looked at",
            ),
            (None, _) => {}
        }
    }

    /// Who we are, and until when; once for each way to sign in.
    async fn credential(
        &mut self,
        endpoint: &Endpoint,
        credential: &Credential,
        signed_in: &mut BTreeMap<*const Tokens, bool>,
    ) -> bool {
        let Credential::Tokens(tokens) = credential else {
            self.good("credential", endpoint.host(), &credential.to_string());
            return true;
        };
        if let Some(good) = signed_in.get(&Arc::as_ptr(tokens)) {
            return *good;
        }
        let of = "Google".to_owned();
        let good = match tokens.token().await {
            Ok(token) => {
                let info = tokens.info(&token).await;
                let owner = info.as_ref().and_then(|info| info.email.as_deref());
                let owner = owner.map_or(String::new(), |email| format!(", which is `{email}`'s"));
                let told = info.and_then(|info| SystemTime::now().checked_add(info.lifetime));
                let until = match token.expires_at.or(told) {
                    Some(at) => format!("until {}Z", timestamp(at)),
                    None => "until nobody says when".to_owned(),
                };
                self.good("credential", &of, &format!("{credential}{owner}, {until}"));
                true
            }
            Err(error) => {
                self.bad("credential", of, Error::Auth(error));
                false
            }
        };
        signed_in.insert(Arc::as_ptr(tokens), good);
        good
    }

    /// Whether the host is reached, and by whose clock.
    async fn host(
        &mut self,
        endpoint: &Endpoint,
        credential: Credential,
        is_source: bool,
        network: &Network,
    ) -> Option<Registry> {
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
                Some(registry)
            }
            Err(cause) => {
                let error = Error::Connect(endpoint.clone(), cause);
                self.bad("host", endpoint.to_string(), error);
                None
            }
        }
    }

    fn good(&mut self, what: &'static str, of: &str, told: &str) {
        self.push(what, of.to_owned(), Verdict::Good(told.to_owned()));
    }

    fn note(&mut self, what: &'static str, of: &str, told: &str) {
        self.push(what, of.to_owned(), Verdict::Note(told.to_owned()));
    }

    fn bad(&mut self, what: &'static str, of: String, error: Error) {
        self.push(what, of, Verdict::Bad(error));
    }

    fn push(&mut self, what: &'static str, of: String, verdict: Verdict) {
        self.checks.push(Check { what, of, verdict });
    }

    /// What was found wrong, in the order in which it was looked at.
    pub fn errors(self) -> Vec<Error> {
        let bad = self
            .checks
            .into_iter()
            .filter_map(|check| match check.verdict {
                Verdict::Bad(error) => Some(error),
                Verdict::Good(_) | Verdict::Note(_) => None,
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
                Verdict::Bad(error) => error.hints(),
                Verdict::Good(_) | Verdict::Note(_) => Vec::new(),
            },
        });
        #[expect(clippy::expect_used, reason = "strings and lists always make JSON")]
        let mut text = serde_json::to_string_pretty(&Document {
            checks: checks.collect(),
        })
        .expect("an examination is JSON");
        text.push('\n');
        text
    }
}

impl Verdict {
    fn found(finding: Finding) -> Self {
        Self::Bad(Error::Doctor(Box::new(finding)))
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Good(_) => "ok",
            Self::Note(_) => "note",
            Self::Bad(_) => "failed",
        }
    }

    /// It in a sentence; of a failure its innermost cause, which is what the other side said.
    fn detail(&self) -> String {
        match self {
            Self::Good(told) | Self::Note(told) => told.clone(),
            Self::Bad(error) => causes(error).pop().unwrap_or_else(|| error.to_string()),
        }
    }
}

impl fmt::Display for Examination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["CHECK", "OF", "RESULT", "DETAIL"]);
        for check in &self.checks {
            table.row([
                check.what.to_owned(),
                check.of.clone(),
                check.verdict.word().to_owned(),
                crate::error::harmless(&check.verdict.detail()),
            ]);
        }
        write!(formatter, "{table}")
    }
}

/// How long is waited for what is only asked to know more, such as the one check of a push.
const PATIENCE: Duration = Duration::from_secs(3);

/// The check that every push makes before it reads or sends anything, in one request: whether it may
/// write there. Nothing is said where that cannot be told.
///
/// # Errors
///
/// When reading is allowed and writing is not.
pub async fn preflight(
    credentials: &Credentials,
    endpoint: &Endpoint,
    place: &Place,
    network: &Network,
) -> Result<(), Finding> {
    let Ok(credential @ Credential::Tokens(_)) = credentials.for_destination(endpoint).await else {
        return Ok(());
    };
    let identity = credential.identity();
    let Ok(google) = Google::new(credential, network) else {
        return Ok(());
    };
    match may(&google.impatient(), place).await {
        Some(may) if may.read && !may.write => Err(repository::role(place, &identity, &may, true)),
        Some(_) | None => Ok(()),
    }
}

/// Whether whoever is signed in to `google` may write to a repository, by its permissions alone:
/// nothing is sent to the registry. None where that cannot be told.
pub async fn may_write(google: &Google, place: &Place) -> Option<bool> {
    may(google, place).await.map(|may| may.write)
}

/// The permissions, where they are told within a few seconds.
async fn may(google: &Google, place: &Place) -> Option<repository::May> {
    let asked = repository::may(google, place);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(may)) => Some(may),
        Ok(Err(error)) => {
            let what = place.resource();
            tracing::debug!("could not ask for the permissions on {what}: {error}");
            None
        }
        Err(_) => {
            let what = place.resource();
            tracing::debug!("nobody told the permissions on {what} in time");
            None
        }
    }
}
