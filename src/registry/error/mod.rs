//! The error of a registry request: method, redacted URL, status, code, and the registry's message.

pub(super) mod classify;
mod envelope;
mod redacted;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};

use super::hints::{Requester, host};
use super::http::BodyError;
use super::upload::LocationError;
use crate::auth::AuthError;
use crate::diagnostics::sanitize::sanitize;
use crate::http::{ConnectionFailure, retry_after};
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
pub(super) use envelope::NO_CLIENT_CERTIFICATE;
use envelope::read_envelope;
pub(super) use redacted::redacted;

/// A registry request that failed.
#[derive(Debug, thiserror::Error)]
pub struct RegistryError {
    method: Box<Method>,
    url: Box<Url>,
    requester: Option<Box<Requester>>,
    /// The other host that the registry redirected the request to.
    redirected_to: Option<Box<str>>,
    /// The media type of the manifest that was sent.
    media_type: Option<Box<str>>,
    /// The number of tries and their duration, if there was more than one.
    tries: Option<Box<(u32, Duration)>>,
    kind: Box<Kind>,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// How the request failed.
#[derive(Clone, Debug)]
enum Kind {
    /// The response has an error status.
    Status {
        /// The HTTP status.
        status: StatusCode,
        /// The first code in the error response: `DENIED`, `MANIFEST_UNKNOWN`, …
        code: Option<String>,
        /// The registry's message.
        message: Option<String>,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
        /// True if the request can be repeated at once: with another token, or at another address.
        can_repeat_now: bool,
    },
    /// No response, or an incomplete one.
    Connection(Contact),
    /// No token could be obtained for the request. The cause says why.
    Auth(Contact),
    /// A response that the distribution specification does not allow.
    Protocol,
    /// A response with another body than requested, for example because bytes were changed in
    /// transit.
    Corrupt,
    /// The source of an upload could not be read.
    Source,
}

/// Whether the host has answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// The host has answered before, or the step knows the host by other means.
    Established,
    /// The host has never answered and may not exist.
    First,
}

impl std::fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Kind::Auth(_), Some(cause)) = (&*self.kind, &self.cause) {
            // The request was never sent.
            return write!(formatter, "{cause}");
        }
        if let Kind::Source = &*self.kind {
            return formatter.write_str("the image could not be read while it was sent");
        }
        write!(
            formatter,
            "{} {}",
            self.method,
            redacted(&self.method, &self.url)
        )?;
        if let Some(host) = &self.redirected_to {
            write!(formatter, " (sent on to `{}`)", sanitize(host))?;
        }
        if let Kind::Status { status, code, .. } = &*self.kind {
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

/// The text of a cause.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(.0))]
struct Message(String);

/// The maximum size of an error body that is read.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;

impl RegistryError {
    /// An error status, with the body of the response.
    pub(super) fn from_response(method: Method, url: Url, status: StatusCode, body: &[u8]) -> Self {
        let (code, message) = read_envelope(body);
        Self {
            method: Box::new(method),
            url: Box::new(url),
            requester: None,
            redirected_to: None,
            media_type: None,
            tries: None,
            cause: message
                .clone()
                .map(|text| Box::new(Message(text)) as Box<_>),
            kind: Box::new(Kind::Status {
                status,
                code,
                message,
                retry_after: None,
                can_repeat_now: false,
            }),
        }
    }

    /// Adds `Retry-After` from the headers.
    pub(super) fn with_headers(mut self, headers: &HeaderMap) -> Self {
        if let Kind::Status {
            retry_after: asked, ..
        } = &mut *self.kind
        {
            *asked = retry_after(headers);
        }
        self
    }

    /// Marks an upload that can be repeated at once: with a new token, or at the address of a
    /// redirect.
    pub(super) fn repeatable_now(mut self) -> Self {
        if let Kind::Status { can_repeat_now, .. } = &mut *self.kind {
            *can_repeat_now = true;
        }
        self
    }

    /// No response, or an incomplete one.
    pub(super) fn connection_failed(
        method: Method,
        url: Url,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::with_cause(method, url, Kind::Connection(Contact::Established), cause)
    }

    /// Records the URL that failed, if its host differs from the registry's.
    pub(super) fn at(mut self, at: &Url) -> Self {
        if host(at) != host(&self.url) {
            self.redirected_to = Some(host(at).into());
            // A response of the registry says nothing about the other host.
            return self.at_first_contact();
        }
        self
    }

    /// Marks the host as one that has never answered.
    pub(super) fn at_first_contact(mut self) -> Self {
        if let Kind::Connection(contact) | Kind::Auth(contact) = &mut *self.kind {
            *contact = Contact::First;
        }
        self
    }

    /// A response that the distribution specification does not allow.
    pub(super) fn protocol_violation(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Kind::Protocol, Message(what.into()))
    }

    /// An upload session whose `Location` cannot be used.
    pub(super) fn unusable_location(url: Url, cause: LocationError) -> Self {
        Self::with_cause(Method::POST, url, Kind::Protocol, cause)
    }

    /// A response that is not the expected document. If `is_stored`, its digest is correct, so it
    /// was not changed in transit.
    pub(super) fn malformed(
        method: Method,
        url: Url,
        cause: ManifestError,
        is_stored: bool,
    ) -> Self {
        // A document that states that it is of an older type was not changed in transit.
        let is_older = matches!(cause, ManifestError::Schema1 | ManifestError::Artifact);
        let kind = if is_stored || is_older {
            Kind::Protocol
        } else {
            Kind::Corrupt
        };
        Self::with_cause(method, url, kind, cause)
    }

    /// A response whose bytes are not the requested ones.
    pub(super) fn corrupt(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self::with_cause(method, url, Kind::Corrupt, Message(what.into()))
    }

    /// A response whose body could not be read completely.
    pub(super) fn incomplete_body(method: Method, url: Url, cause: BodyError) -> Self {
        let kind = match cause {
            BodyError::Broken(_) | BodyError::TooSlow(_) => Kind::Connection(Contact::Established),
            BodyError::TooLong(_) => Kind::Protocol,
        };
        Self::with_cause(method, url, kind, cause)
    }

    /// The source of an upload could not be read.
    pub(super) fn source_failed(method: Method, url: Url, cause: std::io::Error) -> Self {
        Self::with_cause(method, url, Kind::Source, cause)
    }

    /// No token could be obtained for the request.
    pub(super) fn auth_failed(method: Method, url: Url, cause: AuthError) -> Self {
        Self::with_cause(method, url, Kind::Auth(Contact::Established), cause)
    }

    fn with_cause(
        method: Method,
        url: Url,
        kind: Kind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            method: Box::new(method),
            url: Box::new(url),
            requester: None,
            redirected_to: None,
            media_type: None,
            tries: None,
            kind: Box::new(kind),
            cause: Some(cause.into()),
        }
    }

    /// Adds who sent the request.
    pub(super) fn of(mut self, requester: Requester) -> Self {
        self.requester = Some(Box::new(requester));
        self
    }

    /// Adds the media type of the manifest that was sent.
    pub(super) fn of_manifest(mut self, media_type: &str) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// The HTTP status of an error response.
    pub fn status(&self) -> Option<StatusCode> {
        match &*self.kind {
            Kind::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The error code of the registry (`DENIED`, `NAME_UNKNOWN`, …).
    pub fn code(&self) -> Option<&str> {
        match &*self.kind {
            Kind::Status { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// True if no HTTP server answered and TLS was not spoken either, so that plain HTTP may work.
    pub(super) fn may_be_plain_http(&self) -> bool {
        let connection_failure = self.connection_failure();
        self.is_broken()
            && !connection_failure.is_tls_failure()
            && connection_failure != ConnectionFailure::Redirect
    }

    /// True if this HTTPS error explains more than the error `plain` of the same request over plain
    /// HTTP.
    pub(super) fn explains_more_than(&self, plain: &Self) -> bool {
        let speaks_no_tls = self.connection_failure() == ConnectionFailure::NoTls;
        plain.is_broken()
            && !speaks_no_tls
            && plain.connection_failure() != ConnectionFailure::Stalled
    }

    /// True if the host may be down or not reachable.
    pub(super) fn is_unreachable(&self) -> bool {
        self.is_broken() && self.connection_failure().is_unreachable()
    }

    /// True if the registry answered with another document than the requested one.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(*self.kind, Kind::Protocol | Kind::Corrupt)
    }

    /// True if there was no response, or an incomplete one.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(*self.kind, Kind::Connection(_))
    }

    /// True if the source of an upload could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(*self.kind, Kind::Source)
    }

    /// Records the number of tries.
    pub(crate) fn note_tries(&mut self, times: u32, during: Duration) {
        self.tries = (times > 1).then(|| Box::new((times, during)));
    }

    /// True if the registry's message names this digest.
    pub(crate) fn names(&self, digest: &Digest) -> bool {
        match &*self.kind {
            Kind::Status {
                message: Some(message),
                ..
            } => message.contains(digest.as_str()),
            _ => false,
        }
    }
}
