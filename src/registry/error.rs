//! Whatever a registry refuses, in one form: method, redacted URL, status, code, its own sentence.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::advice::{Asker, NO_REGISTRY, Refusal, advice, host};
use super::http::BodyError;
use super::retry::{Retry, Retryable, retry_after};
use crate::auth::AuthError;
use crate::digest::Digest;
use crate::error::{ExitCode, Hint, harmless};
use crate::manifest::ManifestError;
use crate::network::Trouble;

/// A request to a registry that did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
pub struct RegistryError {
    method: Method,
    url: Box<Url>,
    asker: Option<Box<Asker>>,
    /// How often it was tried and for how long, where more than once.
    tries: Option<(u32, Duration)>,
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
        /// After how long it asks to be asked again.
        retry_after: Option<Duration>,
        /// True when it was the token that was refused, and another may not be.
        is_token: bool,
    },
    /// No answer, or one that broke off.
    Broken,
    /// A token for the request could not be had; the cause says why.
    NotSignedIn,
    /// An answer that the distribution spec does not allow.
    Unexpected,
    /// An answer whose body is not what was asked for, as when bytes change on the way.
    Garbled,
    /// What was to be sent could not be read.
    Unreadable,
}

impl std::fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Outcome::NotSignedIn, Some(cause)) = (&*self.outcome, &self.cause) {
            // The request was never sent.
            return write!(formatter, "{cause}");
        }
        if let Outcome::Unreadable = &*self.outcome {
            return formatter.write_str("the image could not be read while it was sent");
        }
        write!(
            formatter,
            "{} {}",
            self.method,
            redacted(&self.method, &self.url)
        )?;
        if let Outcome::Refused { status, code, .. } = &*self.outcome {
            write!(formatter, ": {}", status.as_u16())?;
            match (code, status.canonical_reason()) {
                (Some(code), _) => write!(formatter, " {}", harmless(code))?,
                (None, Some(reason)) => write!(formatter, " {reason}")?,
                (None, None) => {}
            }
        }
        if let Some((times, during)) = self.tries {
            write!(formatter, " ({times} tries in {} s)", during.as_secs())?;
        }
        Ok(())
    }
}

/// A sentence that stands as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", harmless(.0))]
struct Sentence(String);

/// The codes of refusals that pass, whatever their status: a quota, and an upload session that has
/// run out. go-containerregistry counts `UNKNOWN` and `UNAVAILABLE` among them, which here do not
/// outweigh a status that says more.
/// <https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/transport/error.go>
const PASSING: [&str; 3] = [
    "TOOMANYREQUESTS",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
];

/// The codes for a manifest that names what the registry does not have: the spec's, and Google's.
const INCOMPLETE: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];

/// The most bytes of an error's body that are read: enough for any sentence.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;

impl RegistryError {
    /// An answer that refuses, with the body that says why.
    pub(super) fn refused(method: Method, url: Url, status: StatusCode, body: &[u8]) -> Self {
        let (code, sentence) = read_envelope(body);
        Self {
            method,
            url: Box::new(url),
            asker: None,
            tries: None,
            cause: sentence
                .clone()
                .map(|text| Box::new(Sentence(text)) as Box<_>),
            outcome: Box::new(Outcome::Refused {
                status,
                code,
                sentence,
                retry_after: None,
                is_token: false,
            }),
        }
    }

    /// The same refusal, with what its headers say of another try.
    pub(super) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        if let Outcome::Refused {
            retry_after: asked, ..
        } = &mut *self.outcome
        {
            *asked = retry_after(headers);
        }
        self
    }

    /// The same refusal, of a token that is forgotten now.
    pub(super) fn of_token(mut self) -> Self {
        if let Outcome::Refused { is_token, .. } = &mut *self.outcome {
            *is_token = true;
        }
        self
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

    /// An answer that is not the document that it should be; where its digest is right, it is what
    /// the registry has.
    pub(super) fn malformed(
        method: Method,
        url: Url,
        cause: ManifestError,
        is_what_it_has: bool,
    ) -> Self {
        let outcome = match is_what_it_has {
            true => Outcome::Unexpected,
            false => Outcome::Garbled,
        };
        Self::with_cause(method, url, outcome, cause)
    }

    /// An answer whose bytes are not those that were asked for.
    pub(super) fn garbled(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Outcome::Garbled, Sentence(what.into()))
    }

    /// An answer whose body could not be read whole.
    pub(super) fn unfinished(method: Method, url: Url, cause: BodyError) -> Self {
        let outcome = match cause {
            BodyError::Broken(_) => Outcome::Broken,
            BodyError::TooLong(_) => Outcome::Unexpected,
        };
        Self::with_cause(method, url, outcome, cause)
    }

    /// What was to be sent could not be read.
    pub(super) fn unreadable(method: Method, url: Url, cause: std::io::Error) -> Self {
        Self::with_cause(method, url, Outcome::Unreadable, cause)
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
            asker: None,
            tries: None,
            outcome: Box::new(outcome),
            cause: Some(cause.into()),
        }
    }

    /// The same error, knowing who was refused.
    pub(super) fn of(mut self, asker: Asker) -> Self {
        self.asker = Some(Box::new(asker));
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
                (408 | 429 | 500.., _) => ExitCode::Temporary,
                (_, Some(code)) if PASSING.contains(&code) => ExitCode::Temporary,
                (400 | 404 | 412 | 413, _) if !self.is_incomplete() => ExitCode::Failed,
                (_, Some("UNKNOWN" | "UNAVAILABLE")) => ExitCode::Temporary,
                // It had all of it a moment ago.
                _ if self.is_incomplete() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Outcome::Broken => self.trouble().exit_code(),
            Outcome::NotSignedIn => self
                .auth_error()
                .map_or(ExitCode::Denied, AuthError::exit_code),
            Outcome::Unreadable => self
                .source_error()
                .map_or(ExitCode::Failed, Self::exit_code),
            Outcome::Unexpected | Outcome::Garbled => ExitCode::Failed,
        }
    }

    /// True when nothing that speaks HTTP answered, for another reason than a certificate that is
    /// not trusted.
    pub(super) fn may_speak_plainly(&self) -> bool {
        matches!(*self.outcome, Outcome::Broken) && self.trouble() != Trouble::Certificate
    }

    /// True when the registry answered, but not with the document that was asked for.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(*self.outcome, Outcome::Unexpected | Outcome::Garbled)
    }

    /// True when no answer came, or one that broke off.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(*self.outcome, Outcome::Broken)
    }

    /// True when it was what should be sent that could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(*self.outcome, Outcome::Unreadable)
    }

    /// What the registry said that an image was being read from.
    fn source_error(&self) -> Option<&Self> {
        let cause = self.cause.as_ref()?.downcast_ref::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref()
    }

    /// Notes how often it was tried.
    pub(crate) fn note_tries(&mut self, times: u32, during: Duration) {
        self.tries = (times > 1).then_some((times, during));
    }

    /// True when a manifest was refused because the registry lacks something that it names.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.code().is_some_and(|code| INCOMPLETE.contains(&code))
    }

    /// True when the registry's sentence names this digest.
    pub(crate) fn names(&self, digest: &Digest) -> bool {
        match &*self.outcome {
            Outcome::Refused {
                sentence: Some(sentence),
                ..
            } => sentence.contains(digest.as_str()),
            _ => false,
        }
    }

    fn trouble(&self) -> Trouble {
        match &self.cause {
            Some(cause) => Trouble::of(&**cause),
            None => Trouble::Broken,
        }
    }

    fn auth_error(&self) -> Option<&AuthError> {
        self.cause.as_ref()?.downcast_ref()
    }
}

impl Retryable for RegistryError {
    fn retry(&self) -> Retry {
        match &*self.outcome {
            Outcome::Refused { is_token: true, .. } => Retry::Renewed,
            // The same bytes again would be refused again: what is missing has to be sent.
            Outcome::Refused { .. } if self.is_incomplete() => Retry::Never,
            // The manifest was read here without fault, so it may have been changed on the way.
            Outcome::Refused { sentence, .. }
                if matches!(self.code(), Some("MANIFEST_INVALID" | "DIGEST_INVALID"))
                    && !sentence
                        .as_ref()
                        .is_some_and(|says| says.contains("immutab")) =>
            {
                Retry::Twice
            }
            Outcome::Refused {
                status,
                retry_after,
                ..
            } if *status == StatusCode::TOO_MANY_REQUESTS
                || self.code() == Some("TOOMANYREQUESTS") =>
            {
                Retry::Throttled(*retry_after)
            }
            Outcome::Refused { retry_after, .. } if self.exit_code() == ExitCode::Temporary => {
                Retry::Later(*retry_after)
            }
            Outcome::Broken => match self.trouble() {
                Trouble::Name | Trouble::ProxyRefusal => Retry::Briefly,
                trouble if trouble.exit_code() == ExitCode::Temporary => Retry::Later(None),
                _ => Retry::Never,
            },
            Outcome::NotSignedIn if self.exit_code() == ExitCode::Temporary => Retry::Later(None),
            Outcome::Garbled => Retry::Twice,
            Outcome::Refused { .. }
            | Outcome::NotSignedIn
            | Outcome::Unexpected
            | Outcome::Unreadable => Retry::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        self.note_tries(times, during);
        self
    }
}

impl Hint for RegistryError {
    fn hints(&self) -> Vec<String> {
        match &*self.outcome {
            Outcome::Refused {
                status,
                code,
                sentence,
                retry_after,
                ..
            } => {
                let refusal = Refusal {
                    url: &self.url,
                    status: status.as_u16(),
                    code: code.as_deref().unwrap_or_default(),
                    sentence: sentence.as_deref().unwrap_or_default(),
                };
                let mut hints = advice(refusal, self.asker.as_deref());
                if let Some(asked) = retry_after {
                    let seconds = asked.as_secs();
                    hints.insert(0, format!("the registry asks to be left alone for {seconds} s; `retry_timeout` says how long is waited"));
                }
                hints
            }
            Outcome::Broken => {
                vec![self.trouble().hint(&host(&self.url))]
            }
            Outcome::NotSignedIn => self.auth_error().map(Hint::hints).unwrap_or_default(),
            Outcome::Unexpected | Outcome::Garbled => vec![NO_REGISTRY.to_owned()],
            Outcome::Unreadable => match self.source_error() {
                Some(error) => error.hints(),
                None => vec![
                    "another process may have changed the file: push it when it is done".to_owned(),
                ],
            },
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
            } else if is_page(body) {
                (None, Some(PAGE.to_owned()))
            } else {
                (None, Some(text.chars().take(1000).collect()))
            }
        }
    }
}

/// What is said of a page for a browser, whose text is for no log.
pub(super) const PAGE: &str = "the answer is a web page";

/// True for a page for a browser, in place of whatever else was asked for.
pub(super) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// A URL as it may stand in a log: no user, no value of a query but the harmless ones, and no
/// upload session, which is a permission to write in itself.
fn redacted(method: &Method, url: &Url) -> String {
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
    } else if *method == Method::PUT && !path.starts_with("/v2/") {
        // An upload may go on anywhere, and its path is the registry's own affair.
        shown.set_path("/...");
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
            redacted(
                &Method::PUT,
                &url(
                    "https://u:p@gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/SECRET?digest=sha256:ab&_state=SECRET"
                )
            ),
            "https://gcr.io/artifacts-uploads/namespaces/p/repositories/r/uploads/...?digest=sha256:ab&_state=..."
        );
        assert_eq!(
            redacted(&Method::POST, &url("https://gcr.io/v2/p/a/blobs/uploads/")),
            "https://gcr.io/v2/p/a/blobs/uploads/"
        );
        assert_eq!(
            redacted(
                &Method::PUT,
                &url("https://storage.example/SECRET?x=SECRET")
            ),
            "https://storage.example/...?x=..."
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
        assert_eq!(read_envelope(b"<html>502</html>").1.unwrap(), PAGE);
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
