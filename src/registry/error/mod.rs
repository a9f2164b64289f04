//! Whatever a registry refuses, in one form: method, redacted URL, status, code, its own sentence.

pub(super) mod classify;
mod envelope;
mod redacted;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};

use super::hints::{Requester, host};
use super::http::BodyError;
use super::retry::retry_after;
use super::upload::LocationError;
use crate::auth::AuthError;
use crate::diagnostics::sanitize::sanitize;
use crate::http::ConnectionFailure;
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use envelope::read_envelope;
pub(super) use envelope::{NO_CLIENT_CERTIFICATE, PAGE, is_page};
pub(super) use redacted::redacted;

/// A request to a registry that did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
pub struct RegistryError {
    method: Box<Method>,
    url: Box<Url>,
    asker: Option<Box<Requester>>,
    /// The other host that the registry sent the request on to.
    sent_on_to: Option<Box<str>>,
    /// How often it was tried and for how long, where more than once.
    tries: Option<Box<(u32, Duration)>>,
    outcome: Box<Kind>,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What came of the request.
#[derive(Clone, Debug)]
enum Kind {
    /// An answer that refuses.
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// The first code of the error envelope: `DENIED`, `MANIFEST_UNKNOWN`, …
        code: Option<String>,
        /// The registry's own sentence.
        sentence: Option<String>,
        /// After how long it asks to be asked again.
        retry_after: Option<Duration>,
        /// True when it helps to send the same at once: with another token, or to another place.
        has_another_way: bool,
    },
    /// No answer, or one that broke off.
    Connection(Contact),
    /// A token for the request could not be had; the cause says why.
    Auth(Contact),
    /// An answer that the distribution spec does not allow.
    Protocol,
    /// An answer whose body is not what was asked for, as when bytes change on the way.
    Corrupt,
    /// What was to be sent could not be read.
    Source,
}

/// Whom a connection was to be made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// Somebody who has answered before, or about whom the step knows by itself.
    Established,
    /// Somebody who never has: perhaps nobody is there.
    First,
}

impl std::fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Kind::Auth(_), Some(cause)) = (&*self.outcome, &self.cause) {
            // The request was never sent.
            return write!(formatter, "{cause}");
        }
        if let Kind::Source = &*self.outcome {
            return formatter.write_str("the image could not be read while it was sent");
        }
        write!(
            formatter,
            "{} {}",
            self.method,
            redacted(&self.method, &self.url)
        )?;
        if let Some(host) = &self.sent_on_to {
            write!(formatter, " (sent on to `{}`)", sanitize(host))?;
        }
        if let Kind::Status { status, code, .. } = &*self.outcome {
            write!(formatter, ": {}", status.as_u16())?;
            match (code, status.canonical_reason()) {
                (Some(code), _) => write!(formatter, " {}", sanitize(code))?,
                (None, Some(reason)) => write!(formatter, " {reason}")?,
                (None, None) => {}
            }
        }
        match self.tries.as_deref() {
            Some((times, during)) if during.as_secs() > 0 => {
                write!(formatter, " ({times} tries in {} s)", during.as_secs())
            }
            Some((times, _)) => write!(formatter, " ({times} tries)"),
            None => Ok(()),
        }
    }
}

/// A sentence that stands as the cause of an error.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(.0))]
struct Message(String);

/// The most bytes of an error's body that are read: enough for any sentence.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;

impl RegistryError {
    /// An answer that refuses, with the body that says why.
    pub(super) fn refused(method: Method, url: Url, status: StatusCode, body: &[u8]) -> Self {
        let (code, sentence) = read_envelope(body);
        Self {
            method: Box::new(method),
            url: Box::new(url),
            asker: None,
            sent_on_to: None,
            tries: None,
            cause: sentence
                .clone()
                .map(|text| Box::new(Message(text)) as Box<_>),
            outcome: Box::new(Kind::Status {
                status,
                code,
                sentence,
                retry_after: None,
                has_another_way: false,
            }),
        }
    }

    /// The same refusal, with what its headers say of another try.
    pub(super) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        if let Kind::Status {
            retry_after: asked, ..
        } = &mut *self.outcome
        {
            *asked = retry_after(headers);
        }
        self
    }

    /// The same refusal of an upload, which goes another way when it is sent again: with a new
    /// token, or to where the registry redirects it.
    pub(super) fn worth_sending_again(mut self) -> Self {
        if let Kind::Status {
            has_another_way, ..
        } = &mut *self.outcome
        {
            *has_another_way = true;
        }
        self
    }

    /// No answer, or one that broke off.
    pub(super) fn broken(
        method: Method,
        url: Url,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::with_cause(method, url, Kind::Connection(Contact::Established), cause)
    }

    /// The same failure, at `at`, which is told where its host is another.
    pub(super) fn at(mut self, at: &Url) -> Self {
        if host(at) != host(&self.url) {
            self.sent_on_to = Some(host(at).into());
            // That the registry answers says nothing of the other host.
            return self.at_first_contact();
        }
        self
    }

    /// The same failure, of a host that has never answered.
    pub(super) fn at_first_contact(mut self) -> Self {
        if let Kind::Connection(peer) | Kind::Auth(peer) = &mut *self.outcome {
            *peer = Contact::First;
        }
        self
    }

    /// An answer that the distribution spec does not allow.
    pub(super) fn unexpected(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Kind::Protocol, Message(what.into()))
    }

    /// An upload was begun that cannot go on.
    pub(super) fn unusable_location(url: Url, cause: LocationError) -> Self {
        Self::with_cause(Method::POST, url, Kind::Protocol, cause)
    }

    /// An answer that is not the document that it should be; where its digest is right, it is what
    /// the registry has.
    pub(super) fn malformed(
        method: Method,
        url: Url,
        cause: ManifestError,
        is_what_it_has: bool,
    ) -> Self {
        // What says of itself that it is of an older kind was not changed on the way.
        let is_older = matches!(cause, ManifestError::Schema1 | ManifestError::Artifact);
        let outcome = if is_what_it_has || is_older {
            Kind::Protocol
        } else {
            Kind::Corrupt
        };
        Self::with_cause(method, url, outcome, cause)
    }

    /// An answer whose bytes are not those that were asked for.
    pub(super) fn garbled(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Kind::Corrupt, Message(what.into()))
    }

    /// An answer whose body could not be read whole.
    pub(super) fn unfinished(method: Method, url: Url, cause: BodyError) -> Self {
        let outcome = match cause {
            BodyError::Broken(_) | BodyError::Drips(_) => Kind::Connection(Contact::Established),
            BodyError::TooLong(_) => Kind::Protocol,
        };
        Self::with_cause(method, url, outcome, cause)
    }

    /// What was to be sent could not be read.
    pub(super) fn unreadable(method: Method, url: Url, cause: std::io::Error) -> Self {
        Self::with_cause(method, url, Kind::Source, cause)
    }

    /// No token for the request.
    pub(super) fn not_signed_in(method: Method, url: Url, cause: AuthError) -> Self {
        Self::with_cause(method, url, Kind::Auth(Contact::Established), cause)
    }

    fn with_cause(
        method: Method,
        url: Url,
        outcome: Kind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            method: Box::new(method),
            url: Box::new(url),
            asker: None,
            sent_on_to: None,
            tries: None,
            outcome: Box::new(outcome),
            cause: Some(cause.into()),
        }
    }

    /// The same error, knowing who was refused.
    pub(super) fn of(mut self, asker: Requester) -> Self {
        self.asker = Some(Box::new(asker));
        self
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match &*self.outcome {
            Kind::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The registry's code for a refusal (`DENIED`, `NAME_UNKNOWN`, …).
    pub fn code(&self) -> Option<&str> {
        match &*self.outcome {
            Kind::Status { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// True when nothing that speaks HTTP answered, for another reason than a handshake in which
    /// TLS was spoken.
    pub(super) fn may_speak_plainly(&self) -> bool {
        let trouble = self.trouble();
        self.is_broken() && !trouble.is_of_tls() && trouble != ConnectionFailure::Redirect
    }

    /// True when this is the better story of a host that was then asked over plain HTTP, and failed
    /// there as `plain` says.
    pub(super) fn outweighs(&self, plain: &Self) -> bool {
        let speaks_no_tls = self.trouble() == ConnectionFailure::NoTls;
        plain.is_broken() && !speaks_no_tls && plain.trouble() != ConnectionFailure::Stalled
    }

    /// True when there may be nobody there, or no way to them.
    pub(super) fn is_unreachable(&self) -> bool {
        self.is_broken() && self.trouble().is_unreachable()
    }

    /// True when the registry answered, but not with the document that was asked for.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(*self.outcome, Kind::Protocol | Kind::Corrupt)
    }

    /// True when no answer came, or one that broke off.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(*self.outcome, Kind::Connection(_))
    }

    /// True when it was what should be sent that could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(*self.outcome, Kind::Source)
    }

    /// Notes how often it was tried.
    pub(crate) fn note_tries(&mut self, times: u32, during: Duration) {
        self.tries = (times > 1).then(|| Box::new((times, during)));
    }

    /// True when the registry's sentence names this digest.
    pub(crate) fn names(&self, digest: &Digest) -> bool {
        match &*self.outcome {
            Kind::Status {
                sentence: Some(sentence),
                ..
            } => sentence.contains(digest.as_str()),
            _ => false,
        }
    }
}
