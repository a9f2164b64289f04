//! The error of a registry request, with what the registry's room knows beside it: who sent the
//! request, and whether the host has answered before.

pub(super) mod classify;

use std::fmt;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, Url};

use super::hints::Requester;
use super::upload::LocationError;
use crate::auth::AuthError;
use crate::http::{
    BodyError, BoxError, ConnectionFailure, ErrorResponse, HttpError, HttpErrorKind, host,
    read_bounded,
};
use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;

/// A registry request that failed.
#[derive(Debug)]
pub struct RegistryError {
    http: Box<HttpError>,
    requester: Option<Box<Requester>>,
    /// The media type of the manifest that was sent.
    media_type: Option<Box<str>>,
    /// True if the host has never answered and may not exist.
    is_first_contact: bool,
    /// True if the request can be repeated at once: with another token, or at another address.
    can_repeat_now: bool,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.http.fmt(formatter)
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.http.source()
    }
}

impl From<HttpError> for RegistryError {
    fn from(http: HttpError) -> Self {
        Self {
            http: Box::new(http),
            requester: None,
            media_type: None,
            is_first_contact: false,
            can_repeat_now: false,
        }
    }
}

/// The maximum size of an error body that is read.
pub(super) const MAX_ERROR_BODY: usize = 64 * 1024;

impl RegistryError {
    /// A response with an error status. `clean` removes what was sent from its body.
    pub(super) async fn of_response(
        method: Method,
        url: Url,
        response: Response,
        stall_timeout: Duration,
        clean: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let at = response.url().clone();
        let body = read_bounded(response, MAX_ERROR_BODY, stall_timeout).await;
        let body = clean(&body.unwrap_or_default());
        let response = ErrorResponse::parse(status, &headers, &body);
        Self::refused(method, url, response).at(&at)
    }

    /// A response with an error status.
    pub(super) fn refused(method: Method, url: Url, response: ErrorResponse) -> Self {
        HttpError::refused(method, url, response).into()
    }

    /// No response, or an incomplete one.
    pub(super) fn connection_failed(method: Method, url: Url, cause: impl Into<BoxError>) -> Self {
        HttpError::broken(method, url, cause).into()
    }

    /// A response that the distribution specification does not allow.
    pub(super) fn protocol_violation(method: Method, url: Url, what: impl Into<String>) -> Self {
        HttpError::protocol(method, url, what).into()
    }

    /// An upload session whose `Location` cannot be used.
    pub(super) fn unusable_location(url: Url, cause: LocationError) -> Self {
        HttpError::new(Method::POST, url, HttpErrorKind::Protocol, cause).into()
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
            HttpErrorKind::Protocol
        } else {
            HttpErrorKind::Corrupt
        };
        HttpError::new(method, url, kind, cause).into()
    }

    /// A response whose bytes are not the requested ones.
    pub(super) fn corrupt(method: Method, url: Url, what: impl Into<String>) -> Self {
        HttpError::corrupt(method, url, what).into()
    }

    /// A response whose body could not be read completely.
    pub(super) fn incomplete_body(method: Method, url: Url, cause: BodyError) -> Self {
        let kind = match cause {
            BodyError::Broken(_) | BodyError::TooSlow(_) => HttpErrorKind::Connection,
            BodyError::TooLong(_) => HttpErrorKind::Protocol,
        };
        HttpError::new(method, url, kind, cause).into()
    }

    /// The source of an upload could not be read.
    pub(super) fn source_failed(method: Method, url: Url, cause: std::io::Error) -> Self {
        HttpError::new(method, url, HttpErrorKind::Source, cause).into()
    }

    /// No token could be obtained for the request.
    pub(super) fn auth_failed(method: Method, url: Url, cause: AuthError) -> Self {
        HttpError::new(method, url, HttpErrorKind::Auth, cause).into()
    }

    /// Marks an upload that can be repeated at once: with a new token, or at the address of a
    /// redirect.
    pub(super) fn repeatable_now(self) -> Self {
        Self {
            can_repeat_now: true,
            ..self
        }
    }

    /// Records the URL that failed, if its host differs from the registry's.
    pub(super) fn at(mut self, at: &Url) -> Self {
        if host(at) != self.http.host() {
            self.http.redirected_to = Some(host(at).into());
            // A response of the registry says nothing about the other host.
            return self.at_first_contact();
        }
        self
    }

    /// Marks the host as one that has never answered.
    pub(super) fn at_first_contact(self) -> Self {
        Self {
            is_first_contact: true,
            ..self
        }
    }

    /// Adds who sent the request.
    pub(super) fn of(self, requester: Requester) -> Self {
        Self {
            requester: Some(Box::new(requester)),
            ..self
        }
    }

    /// Adds the media type of the manifest that was sent.
    pub(super) fn of_manifest(self, media_type: &str) -> Self {
        Self {
            media_type: Some(media_type.into()),
            ..self
        }
    }

    /// The HTTP status of an error response.
    pub fn status(&self) -> Option<StatusCode> {
        self.http.status()
    }

    /// The error code of the registry (`DENIED`, `NAME_UNKNOWN`, …).
    pub fn code(&self) -> Option<&str> {
        self.http.code()
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
        matches!(
            self.http.kind,
            HttpErrorKind::Protocol | HttpErrorKind::Corrupt
        )
    }

    /// True if there was no response, or an incomplete one.
    pub(crate) fn is_broken(&self) -> bool {
        self.http.is_broken()
    }

    /// True if the source of an upload could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self.http.kind, HttpErrorKind::Source)
    }

    /// Records the number of tries.
    pub(crate) fn note_tries(&mut self, times: u32, during: Duration) {
        self.http.note_tries(times, during);
    }

    /// True if the registry's message names this digest.
    pub(crate) fn names(&self, digest: &Digest) -> bool {
        self.http.message().contains(digest.as_str())
    }
}
