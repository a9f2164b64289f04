//! Whatever a registry refuses, in one form: method, redacted URL, status, code, its own sentence.

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::auth::AuthError;
use crate::error::{ExitCode, Hint, harmless};
use crate::manifest::ManifestError;
use crate::reference::{Endpoint, HostKind};

/// A request to a registry that did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
#[error("{method} {}{outcome}", redacted(url))]
pub struct RegistryError {
    method: Method,
    url: Box<Url>,
    /// Whom a role would have to be granted to, where that is known.
    account: Option<Box<str>>,
    outcome: Box<Outcome>,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What came of the request.
#[derive(Clone, Debug)]
enum Outcome {
    /// An answer that refuses.
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The first code of the error envelope: `DENIED`, `MANIFEST_UNKNOWN`, …
        code: Option<String>,
        /// The registry's own sentence.
        sentence: Option<String>,
    },
    /// No answer, or one that broke off.
    Broken,
    /// A token for the request could not be had; the cause says why.
    NotSignedIn,
    /// An answer that the distribution spec does not allow.
    Unexpected,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { status, code, .. } => {
                write!(formatter, ": {}", status.as_u16())?;
                match (code, status.canonical_reason()) {
                    (Some(code), _) => write!(formatter, " {}", harmless(code)),
                    (None, Some(reason)) => write!(formatter, " {reason}"),
                    (None, None) => Ok(()),
                }
            }
            Self::Broken | Self::NotSignedIn | Self::Unexpected => Ok(()),
        }
    }
}

/// A sentence that stands as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", harmless(.0))]
struct Sentence(String);

/// The most bytes of an error's body that are read: enough for any sentence.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;

impl RegistryError {
    /// An answer that refuses, with the body that says why.
    pub(super) fn refused(method: Method, url: Url, status: StatusCode, body: &[u8]) -> Self {
        let (code, sentence) = read_envelope(body);
        Self {
            method,
            url: Box::new(url),
            account: None,
            cause: sentence
                .clone()
                .map(|text| Box::new(Sentence(text)) as Box<_>),
            outcome: Box::new(Outcome::Refused {
                status,
                code,
                sentence,
            }),
        }
    }

    /// No answer, or one that broke off.
    pub(super) fn broken(
        method: Method,
        url: Url,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::with_cause(method, url, Outcome::Broken, cause)
    }

    /// An answer that the distribution spec does not allow.
    pub(super) fn unexpected(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Outcome::Unexpected, Sentence(what.into()))
    }

    /// An answer that is not the document that it should be.
    pub(super) fn malformed(method: Method, url: Url, cause: ManifestError) -> Self {
        Self::with_cause(method, url, Outcome::Unexpected, cause)
    }

    /// No token for the request.
    pub(super) fn not_signed_in(method: Method, url: Url, cause: AuthError) -> Self {
        Self::with_cause(method, url, Outcome::NotSignedIn, cause)
    }

    fn with_cause(
        method: Method,
        url: Url,
        outcome: Outcome,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            method,
            url: Box::new(url),
            account: None,
            outcome: Box::new(outcome),
            cause: Some(cause.into()),
        }
    }

    /// The same error, naming the account that was refused.
    pub(super) fn of_account(mut self, account: Option<&str>) -> Self {
        self.account = account.map(Box::from);
        self
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match &*self.outcome {
            Outcome::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The registry's code for a refusal (`DENIED`, `NAME_UNKNOWN`, …).
    pub fn code(&self) -> Option<&str> {
        match &*self.outcome {
            Outcome::Refused { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match &*self.outcome {
            Outcome::Refused { status, code, .. } => match (status.as_u16(), code.as_deref()) {
                (401 | 403, _) => ExitCode::Denied,
                (408 | 429 | 500.., _)
                | (_, Some("TOOMANYREQUESTS" | "UNAVAILABLE" | "UNKNOWN")) => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Outcome::Broken if self.is_certificate() => ExitCode::Failed,
            Outcome::Broken => ExitCode::Temporary,
            Outcome::NotSignedIn => self
                .cause
                .as_ref()
                .and_then(|cause| cause.downcast_ref::<AuthError>())
                .map_or(ExitCode::Denied, AuthError::exit_code),
            Outcome::Unexpected => ExitCode::Failed,
        }
    }

    /// True when the registry answered, but not with the document that was asked for.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(*self.outcome, Outcome::Unexpected)
    }

    /// True when TLS failed because the other side's certificate is not trusted.
    pub(super) fn is_certificate(&self) -> bool {
        self.cause
            .as_deref()
            .is_some_and(|cause| is_certificate(cause))
    }
}

/// Looks for rustls' verdict on a certificate in a chain of causes; hyper keeps it inside an
/// [`std::io::Error`], whose `source` passes over it.
fn is_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|io| io.get_ref());
        let tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(rustls::Error::InvalidCertificate(_)) = tls {
            return true;
        }
        next = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => error.source(),
        };
    }
    false
}

impl Hint for RegistryError {
    fn hints(&self) -> Vec<String> {
        match &*self.outcome {
            Outcome::Refused {
                status,
                code,
                sentence,
            } => self.refusal_hints(
                status.as_u16(),
                code.as_deref().unwrap_or_default(),
                sentence.as_deref().unwrap_or_default(),
            ),
            Outcome::Broken if self.is_certificate() => vec![
                "if a company proxy or a private registry signed this certificate, give its root \
                 in `ca_certificates`"
                    .to_owned(),
            ],
            Outcome::Broken => vec![
                "check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`"
                    .to_owned(),
            ],
            Outcome::NotSignedIn => self
                .cause
                .as_ref()
                .and_then(|cause| cause.downcast_ref::<AuthError>())
                .map(Hint::hints)
                .unwrap_or_default(),
            Outcome::Unexpected => Vec::new(),
        }
    }
}

impl RegistryError {
    /// What Google's sentences ask for, with the names filled in.
    fn refusal_hints(&self, status: u16, code: &str, sentence: &str) -> Vec<String> {
        let account = self.account.as_deref();
        let google = self.artifact_registry();
        if status == 412 {
            return vec![
                "this project's gcr.io was never moved to Artifact Registry: run `gcloud \
                 artifacts docker upgrade migrate`, or push to a `LOCATION-docker.pkg.dev` host"
                    .to_owned(),
            ];
        }
        if sentence.contains("has not been used in project") {
            return vec![
                "enable the API: `gcloud services enable artifactregistry.googleapis.com`"
                    .to_owned(),
            ];
        }
        if sentence.contains("createOnPush") || sentence.contains("createOnPush permission") {
            if let Some((project, location, repository)) = google {
                return vec![format!(
                    "create the repository once: `gcloud artifacts repositories create {repository} \
                     --repository-format=docker --location={location} --project={project}`"
                )];
            }
        }
        let role = ["uploadArtifacts", "downloadArtifacts", "deleteArtifacts"]
            .iter()
            .zip(["writer", "reader", "repoAdmin"])
            .find(|(permission, _)| sentence.contains(**permission));
        if let (Some((_, role)), Some((project, location, repository))) = (role, &google) {
            let member = account.map_or("serviceAccount:ACCOUNT".to_owned(), |account| {
                format!("serviceAccount:{account}")
            });
            return vec![
                format!(
                    "grant the role: `gcloud artifacts repositories add-iam-policy-binding \
                     {repository} --location={location} --project={project} --member={member} \
                     --role=roles/artifactregistry.{role}`"
                ),
                format!(
                    "check that repository `{repository}` exists in location `{location}` of \
                     project `{project}`"
                ),
            ];
        }
        match (status, code) {
            (401, _) => vec![match (account, google.is_some()) {
                (Some(account), _) => {
                    format!("the registry does not take the token of `{account}`")
                }
                (None, true) => {
                    "the token may have expired: `access_token` lives an hour at most; a \
                     service-account key in `credentials_json` is renewed"
                        .to_owned()
                }
                (None, false) => "give the registry's login in `docker_config`".to_owned(),
            }],
            (404, "NAME_UNKNOWN") if google.is_some() => {
                let (project, location, repository) = google.unwrap_or_default();
                vec![format!(
                    "create the repository once: `gcloud artifacts repositories create {repository} \
                     --repository-format=docker --location={location} --project={project}`"
                )]
            }
            _ if sentence.contains("immutab") => {
                vec!["the repository lets no tag move: push under a new tag".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// Project, location and repository of the Artifact Registry path in the URL.
    fn artifact_registry(&self) -> Option<(String, String, String)> {
        let endpoint: Endpoint = self.url.host_str()?.parse().ok()?;
        let scope = self
            .url
            .query_pairs()
            .find(|(key, _)| key == "scope")
            .and_then(|(_, scope)| scope.split(':').nth(1).map(str::to_owned));
        let path = scope.unwrap_or_else(|| self.url.path().trim_start_matches("/v2/").to_owned());
        let mut parts = path.split('/');
        let mut project = parts.next()?.to_owned();
        if project.contains('.') {
            // A domain-scoped project is `example.com:project` everywhere but in a path.
            project = format!("{project}:{}", parts.next()?);
        }
        match endpoint.kind() {
            HostKind::Gcr { location } => {
                Some((project, location.to_owned(), endpoint.host().to_owned()))
            }
            HostKind::ArtifactRegistry { location } => {
                Some((project, location, parts.next()?.to_owned()))
            }
            HostKind::Other => None,
        }
    }
}

/// Reads `{"errors":[{"code","message"}]}` (distribution spec, "Error Codes"); text that is no such
/// JSON is the sentence itself, as Google's 412 is, unless it is a page for a browser.
fn read_envelope(body: &[u8]) -> (Option<String>, Option<String>) {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let non_empty = |text: String| Some(text).filter(|text| !text.trim().is_empty());
    match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => match envelope.errors.into_iter().next() {
            Some(entry) => (non_empty(entry.code), non_empty(entry.message)),
            None => (None, None),
        },
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            if text.is_empty() {
                (None, None)
            } else if text.starts_with('<') {
                (None, Some("the answer is an HTML page".to_owned()))
            } else {
                (None, Some(text.chars().take(1000).collect()))
            }
        }
    }
}

/// A URL as it may stand in a log: no user, no value of a query but the harmless ones, and no
/// upload session, which is a permission to write in itself.
fn redacted(url: &Url) -> String {
    const SHOWN: [&str; 8] = [
        "scope", "service", "mount", "from", "digest", "n", "last", "account",
    ];
    let mut shown = url.clone();
    // Both fail only on URLs that cannot have a user, which then have none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    let path = url.path();
    let session = path.find("/uploads/").map(|at| at + "/uploads/".len());
    if let Some(at) = session.filter(|at| *at < path.len()) {
        shown.set_path(&format!("{}...", &path[..at]));
    }
    let mut text = shown.to_string();
    for (index, (key, value)) in url.query_pairs().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&harmless(&key));
        text.push('=');
        text.push_str(&if SHOWN.contains(&&*key) {
            harmless(&value)
        } else {
            "...".to_owned()
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn an_upload_session_is_not_shown() {
        assert_eq!(
            redacted(&url(
                "https://u:p@gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/SECRET?digest=sha256:ab&_state=SECRET"
            )),
            "https://gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/...?digest=sha256:ab&_state=..."
        );
        assert_eq!(
            redacted(&url("https://gcr.io/v2/p/a/blobs/uploads/")),
            "https://gcr.io/v2/p/a/blobs/uploads/"
        );
    }

    #[test]
    fn the_first_error_of_an_envelope_is_told() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X","message":"y"}]}"#;
        assert_eq!(
            read_envelope(body),
            (Some("DENIED".to_owned()), Some("no".to_owned()))
        );
        assert_eq!(read_envelope(b""), (None, None));
        assert_eq!(
            read_envelope(b"Container Registry is deprecated"),
            (None, Some("Container Registry is deprecated".to_owned()))
        );
        assert_eq!(
            read_envelope(b"<html>502</html>").1.unwrap(),
            "the answer is an HTML page"
        );
    }

    #[test]
    fn a_missing_role_is_told_with_the_command_that_grants_it() {
        let body = br#"{"errors":[{"code":"DENIED","message":"Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/p/locations/us/repositories/r\" (or it may not exist)"}]}"#;
        let error = RegistryError::refused(
            Method::POST,
            url("https://us-docker.pkg.dev/v2/p/r/app/blobs/uploads/"),
            StatusCode::FORBIDDEN,
            body,
        )
        .of_account(Some("ci@p.iam.gserviceaccount.com"));
        assert_eq!(
            error.to_string(),
            "POST https://us-docker.pkg.dev/v2/p/r/app/blobs/uploads/: 403 DENIED"
        );
        assert_eq!(
            error.hints()[0],
            "grant the role: `gcloud artifacts repositories add-iam-policy-binding r \
             --location=us --project=p --member=serviceAccount:ci@p.iam.gserviceaccount.com \
             --role=roles/artifactregistry.writer`"
        );
        assert_eq!(error.exit_code(), ExitCode::Denied);
    }

    #[test]
    fn statuses_map_to_the_exit_codes_that_ci_systems_retry_by() {
        let exit = |status: u16, body: &[u8]| {
            RegistryError::refused(
                Method::GET,
                url("https://gcr.io/v2/"),
                StatusCode::from_u16(status).unwrap(),
                body,
            )
            .exit_code()
        };
        for status in [401, 403] {
            assert_eq!(exit(status, b""), ExitCode::Denied);
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(exit(status, b""), ExitCode::Temporary);
        }
        for status in [400, 404, 412, 413] {
            assert_eq!(exit(status, b""), ExitCode::Failed);
        }
    }
}
