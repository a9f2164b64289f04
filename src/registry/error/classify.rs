//! Classifies a failed request: its exit code, whether a retry helps, and hints.

use std::time::Duration;

use reqwest::StatusCode;

use super::{Contact, Kind, RegistryError};
use crate::auth::AuthError;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, RetryKind, Retryable};
use crate::oci::manifest::ManifestError;
use crate::registry::hints::{NO_REGISTRY, PULL_LIMIT, Refusal, hints_for, host};
use crate::registry::upload::LocationError;

/// The error codes of temporary refusals, whatever their status: a quota, and an expired upload
/// session. go-containerregistry includes `UNKNOWN` and `UNAVAILABLE`, which here do not override a
/// more specific status.
/// <https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/transport/error.go>
const TEMPORARY_CODES: [&str; 3] = [
    "TOOMANYREQUESTS",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
];

/// The hint for a document that is not an image.
const NO_IMAGE: &str = "what is there is no image that can be pushed: check the tag or the digest";

/// The error codes for a manifest that names a missing blob or manifest: the one of the
/// specification, and Google's.
const INCOMPLETE_CODES: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];

impl RegistryError {
    /// True if a manifest was refused because the registry lacks something that it names.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.code()
            .is_some_and(|code| INCOMPLETE_CODES.contains(&code))
    }

    /// True if a manifest was refused for its content, and not for what it names or for its tag.
    pub(crate) fn refuses_manifest(&self) -> bool {
        let Kind::Status {
            status, message, ..
        } = &*self.kind
        else {
            return false;
        };
        let contains = |word: &str| message.as_ref().is_some_and(|text| text.contains(word));
        let code = self.code();
        *self.method == reqwest::Method::PUT
            && self.url.path().contains("/manifests/")
            && match status.as_u16() {
                415 => true,
                400 | 406 | 422 => {
                    matches!(
                        code,
                        None | Some("MANIFEST_INVALID" | "UNSUPPORTED" | "UNKNOWN")
                    ) && !contains("immutab")
                }
                _ => false,
            }
    }

    /// The error of the source registry, if the upload failed because reading from it did.
    fn source_error(&self) -> Option<&Self> {
        let cause = self.cause.as_ref()?.downcast_ref::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref()
    }

    pub(super) fn connection_failure(&self) -> ConnectionFailure {
        match (&*self.kind, &self.cause) {
            (Kind::Auth(_), _) => self
                .auth_error()
                .and_then(AuthError::connection_failure)
                .unwrap_or(ConnectionFailure::Broken),
            (_, Some(cause)) => ConnectionFailure::of(&**cause),
            (_, None) => ConnectionFailure::Broken,
        }
    }

    fn is_of_schema_1(&self) -> bool {
        matches!(self.manifest_error(), Some(ManifestError::Schema1))
    }

    fn manifest_error(&self) -> Option<&ManifestError> {
        self.cause.as_ref()?.downcast_ref()
    }

    fn is_without_tls(&self) -> bool {
        let cause = self.cause.as_ref().and_then(|cause| cause.downcast_ref());
        matches!(cause, Some(LocationError::WithoutTls(_)))
    }

    fn auth_error(&self) -> Option<&AuthError> {
        self.cause.as_ref()?.downcast_ref()
    }
}

impl Retryable for RegistryError {
    fn retry(&self) -> RetryKind {
        match &*self.kind {
            Kind::Status {
                can_repeat_now: true,
                ..
            } => RetryKind::Reauthenticate,
            // The same bytes would be refused again, because the missing blob must be uploaded
            // first.
            Kind::Status { .. } if self.is_incomplete() => RetryKind::Never,
            // The bytes were correct when they were read, so they may have been changed in transit.
            Kind::Status { .. } if self.code() == Some("DIGEST_INVALID") => RetryKind::Limited,
            // Docker Hub counts pulls over hours.
            Kind::Status {
                message: Some(message),
                ..
            } if message.contains(PULL_LIMIT) => RetryKind::Never,
            Kind::Status {
                status,
                retry_after,
                ..
            } if *status == StatusCode::TOO_MANY_REQUESTS
                || self.code() == Some("TOOMANYREQUESTS") =>
            {
                RetryKind::RateLimited(*retry_after)
            }
            Kind::Status { retry_after, .. } if self.exit_code() == ExitCode::Temporary => {
                RetryKind::Transient(*retry_after)
            }
            Kind::Connection(contact) | Kind::Auth(contact)
                if self.connection_failure().is_unreachable() =>
            {
                match contact {
                    Contact::Established => RetryKind::HostDown,
                    Contact::First => RetryKind::NeverReached,
                }
            }
            // A byte may have been changed in transit.
            Kind::Connection(_) if self.connection_failure() == ConnectionFailure::NoHttp => {
                RetryKind::Limited
            }
            Kind::Connection(_) | Kind::Auth(_) if self.exit_code() == ExitCode::Temporary => {
                RetryKind::Transient(self.auth_error().and_then(AuthError::retry_after))
            }
            Kind::Corrupt => RetryKind::Limited,
            Kind::Status { .. }
            | Kind::Connection(_)
            | Kind::Auth(_)
            | Kind::Protocol
            | Kind::Source => RetryKind::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        self.note_tries(times, during);
        self
    }
}

impl Diagnostic for RegistryError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match &*self.kind {
            Kind::Auth(_) => self.auth_error().map(|error| error as &dyn Diagnostic),
            Kind::Source => self.source_error().map(|error| error as &dyn Diagnostic),
            Kind::Status { .. } | Kind::Connection(_) | Kind::Protocol | Kind::Corrupt => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match &*self.kind {
            Kind::Status { status, code, .. } => match (status.as_u16(), code.as_deref()) {
                (401 | 403, _) => ExitCode::Denied,
                (408 | 429 | 500.., _) => ExitCode::Temporary,
                (_, Some(code)) if TEMPORARY_CODES.contains(&code) => ExitCode::Temporary,
                (400 | 404 | 412 | 413, _) if !self.is_incomplete() => ExitCode::Failed,
                (_, Some("UNKNOWN" | "UNAVAILABLE")) => ExitCode::Temporary,
                // All of it was present a moment ago.
                _ if self.is_incomplete() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Kind::Connection(_) => self.connection_failure().exit_code(),
            Kind::Auth(_) | Kind::Source => self.source_exit_code(),
            Kind::Protocol | Kind::Corrupt => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match &*self.kind {
            Kind::Status {
                status,
                code,
                message,
                retry_after,
                ..
            } => {
                let refusal = Refusal {
                    url: &self.url,
                    status: status.as_u16(),
                    code: code.as_deref().unwrap_or_default(),
                    message: message.as_deref().unwrap_or_default(),
                    media_type: self.media_type.as_deref(),
                    redirected_to: self.redirected_to.as_deref(),
                };
                let mut hints = hints_for(refusal, self.requester.as_deref());
                if let Some(asked) = retry_after {
                    let seconds = asked.as_secs();
                    hints.insert(0, format!("the registry asks to be left alone for {seconds} s; `retry_timeout` says how long is waited"));
                }
                hints
            }
            Kind::Connection(_) => match &self.redirected_to {
                Some(other) => vec![
                    self.connection_failure().hint(other),
                    format!(
                        "`{}` keeps its blobs at `{other}`, which has to be reached from here too",
                        host(&self.url)
                    ),
                ],
                None => vec![self.connection_failure().hint(&host(&self.url))],
            },
            Kind::Auth(_) => self.source_hints(),
            Kind::Protocol if self.is_of_schema_1() => vec![
                "pull the image with a current Docker and push it there again, or copy it with \
                 `skopeo copy --format v2s2`"
                    .to_owned(),
            ],
            Kind::Protocol if self.is_without_tls() => vec![format!(
                "`{}` is spoken to by TLS: the proxy in front of it has to hand on \
                 `X-Forwarded-Proto: https` and the host that was asked for",
                host(&self.url)
            )],
            Kind::Protocol | Kind::Corrupt => {
                let manifest = self.manifest_error();
                match manifest.filter(|error| error.is_another_document()) {
                    Some(error) => vec![error.hint().unwrap_or(NO_IMAGE).to_owned()],
                    None => vec![NO_REGISTRY.to_owned()],
                }
            }
            Kind::Source => match self.diagnostic_source() {
                Some(error) => error.hints(),
                None => vec![
                    "another process may have changed the file: push it when it is done".to_owned(),
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::auth::{AuthOperation, ExchangeError};

    #[test]
    fn statuses_map_to_the_exit_codes_ci_systems_retry() {
        let exit = |status: u16, body: &[u8]| {
            RegistryError::from_response(
                Method::GET,
                "https://gcr.io/v2/".parse().unwrap(),
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

    #[test]
    fn never_reached_token_endpoint_may_not_exist() {
        let failed = |words: &'static str| {
            let url = "https://gcr.io/v2/token".parse().unwrap();
            let cause = AuthError::Exchange {
                step: AuthOperation::User,
                endpoint: "https://oauth2.googleapis.com/token".to_owned(),
                cause: ExchangeError::Connection(words.into()),
            };
            RegistryError::auth_failed(Method::GET, url, cause)
        };
        for (error, expected) in [
            (failed("dns error: no such host"), RetryKind::HostDown),
            (
                failed("dns error").at_first_contact(),
                RetryKind::NeverReached,
            ),
            // The host was reached.
            (
                failed("connection reset").at_first_contact(),
                RetryKind::Transient(None),
            ),
        ] {
            assert_eq!(error.retry(), expected, "{error:?}");
        }
    }

    #[test]
    fn schema_1_manifest_is_not_retried_and_gets_a_hint() {
        let url = "https://r.example/v2/app/manifests/1".parse().unwrap();
        let error = RegistryError::malformed(Method::GET, url, ManifestError::Schema1, false);
        assert_eq!(error.retry(), RetryKind::Never);
        assert!(error.hints()[0].contains("--format v2s2"), "{error:?}");
    }
}
