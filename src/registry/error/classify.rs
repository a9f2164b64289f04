//! Classifies a failed request: its exit code, whether a retry helps, and hints.

use std::time::Duration;

use super::RegistryError;
use crate::auth::AuthError;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, ErrorResponse, HttpErrorKind, RetryKind, Retryable};
use crate::oci::manifest::ManifestError;
use crate::registry::hints::{NO_REGISTRY, PULL_LIMIT, Refusal, hints_for};
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
const NO_IMAGE: &str = "this is not an image that gcr-push can push: check the tag or the digest";

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
        let Some(response) = self.http.response() else {
            return false;
        };
        let code = self.code();
        self.http.method == reqwest::Method::PUT
            && self.http.url.path().contains("/manifests/")
            && match response.status.as_u16() {
                415 => true,
                400 | 406 | 422 => {
                    matches!(
                        code,
                        None | Some("MANIFEST_INVALID" | "UNSUPPORTED" | "UNKNOWN")
                    ) && !response.contains("immutab")
                }
                _ => false,
            }
    }

    /// The error of the source registry, if the upload failed because reading from it did.
    fn source_error(&self) -> Option<&Self> {
        let cause = self.http.cause::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref()
    }

    fn auth_error(&self) -> Option<&AuthError> {
        self.http.cause()
    }

    fn manifest_error(&self) -> Option<&ManifestError> {
        self.http.cause()
    }

    pub(super) fn connection_failure(&self) -> ConnectionFailure {
        match self.auth_error() {
            Some(error) => error
                .connection_failure()
                .unwrap_or(ConnectionFailure::Broken),
            None => self.http.connection_failure(),
        }
    }

    /// Whether a retry of a refused request helps.
    fn retry_refused(&self, response: &ErrorResponse) -> RetryKind {
        let retry_after = response.retry_after;
        match self.code() {
            _ if self.can_repeat_now => RetryKind::Reauthenticate,
            // The same bytes would be refused again, because the missing blob must be uploaded
            // first.
            _ if self.is_incomplete() => RetryKind::Never,
            // The bytes were correct when they were read, so they may have been changed in transit.
            Some("DIGEST_INVALID") => RetryKind::Limited,
            // Docker Hub counts pulls over hours.
            _ if response.contains(PULL_LIMIT) => RetryKind::Never,
            Some("TOOMANYREQUESTS") => RetryKind::RateLimited(retry_after),
            _ if response.status.as_u16() == 429 => RetryKind::RateLimited(retry_after),
            _ if self.exit_code() == ExitCode::Temporary => RetryKind::Transient(retry_after),
            _ => RetryKind::Never,
        }
    }

    /// Whether a retry helps after a request, or the exchange for its token, got no answer.
    fn retry_unanswered(&self) -> RetryKind {
        let failure = self.connection_failure();
        match &self.http.kind {
            _ if failure.is_unreachable() && self.is_first_contact => RetryKind::NeverReached,
            _ if failure.is_unreachable() => RetryKind::HostDown,
            // A byte may have been changed in transit.
            HttpErrorKind::Connection if failure == ConnectionFailure::NoHttp => RetryKind::Limited,
            _ if self.exit_code() == ExitCode::Temporary => {
                RetryKind::Transient(self.auth_error().and_then(AuthError::retry_after))
            }
            _ => RetryKind::Never,
        }
    }

    fn refusal_hints(&self, response: &ErrorResponse) -> Vec<String> {
        let refusal = Refusal {
            url: &self.http.url,
            status: response.status.as_u16(),
            code: response.code.as_deref().unwrap_or_default(),
            message: &response.message,
            media_type: self.media_type.as_deref(),
            redirected_to: self.http.redirected_to.as_deref(),
        };
        let mut hints = hints_for(refusal, self.requester.as_deref());
        if let Some(asked) = response.retry_after {
            let seconds = asked.as_secs();
            hints.insert(
                0,
                format!(
                    "the registry asks to wait {seconds} s; if you want to wait that long, raise \
                     `retry_timeout`"
                ),
            );
        }
        hints
    }

    fn connection_hints(&self) -> Vec<String> {
        let (failure, host) = (self.connection_failure(), self.http.host());
        match &self.http.redirected_to {
            Some(other) => vec![
                failure.hint(other),
                format!(
                    "`{host}` stores its blobs at `{other}`: check that this machine can reach \
                     that host too"
                ),
            ],
            None => vec![failure.hint(&host)],
        }
    }

    /// The hint for a response that is not the requested document.
    fn document_hint(&self) -> String {
        if let Some(LocationError::WithoutTls(_)) = self.http.cause() {
            return format!(
                "`{}` uses TLS: set the proxy in front of it to forward `X-Forwarded-Proto: https` \
                 and the requested host",
                self.http.host()
            );
        }
        match self.manifest_error() {
            Some(ManifestError::Schema1) => {
                "pull the image with a current Docker and push it there again, or copy it with \
                 `skopeo copy --format v2s2`"
                    .to_owned()
            }
            Some(error) if error.is_another_document() => {
                error.hint().unwrap_or(NO_IMAGE).to_owned()
            }
            _ => NO_REGISTRY.to_owned(),
        }
    }
}

impl Retryable for RegistryError {
    fn retry(&self) -> RetryKind {
        match &self.http.kind {
            HttpErrorKind::Response(response) => self.retry_refused(response),
            HttpErrorKind::Connection | HttpErrorKind::Auth => self.retry_unanswered(),
            HttpErrorKind::Corrupt => RetryKind::Limited,
            HttpErrorKind::Protocol | HttpErrorKind::Source => RetryKind::Never,
        }
    }

    fn tried(mut self, times: u32, during: Duration) -> Self {
        self.note_tries(times, during);
        self
    }
}

impl Diagnostic for RegistryError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match self.http.kind {
            HttpErrorKind::Auth => self.auth_error().map(|error| error as &dyn Diagnostic),
            HttpErrorKind::Source => self.source_error().map(|error| error as &dyn Diagnostic),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match &self.http.kind {
            HttpErrorKind::Response(response) => match (response.status.as_u16(), self.code()) {
                (401 | 403, _) => ExitCode::Denied,
                (408 | 429 | 500.., _) => ExitCode::Temporary,
                (_, Some(code)) if TEMPORARY_CODES.contains(&code) => ExitCode::Temporary,
                (400 | 404 | 412 | 413, _) if !self.is_incomplete() => ExitCode::Failed,
                (_, Some("UNKNOWN" | "UNAVAILABLE")) => ExitCode::Temporary,
                // All of it was present a moment ago.
                _ if self.is_incomplete() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            HttpErrorKind::Auth | HttpErrorKind::Source => self.source_exit_code(),
            _ => self.http.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match &self.http.kind {
            HttpErrorKind::Response(response) => self.refusal_hints(response),
            HttpErrorKind::Connection => self.connection_hints(),
            HttpErrorKind::Auth => self.source_hints(),
            HttpErrorKind::Protocol | HttpErrorKind::Corrupt => vec![self.document_hint()],
            HttpErrorKind::Source => match self.diagnostic_source() {
                Some(error) => error.hints(),
                None => vec![
                    "another process may have changed the file: wait until it has finished, and \
                     push again"
                        .to_owned(),
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;
    use reqwest::{Method, StatusCode};

    use super::*;
    use crate::auth::AuthOperation;
    use crate::http::HttpError;

    #[test]
    fn statuses_map_to_the_exit_codes_ci_systems_retry() {
        let exit = |status: u16, body: &[u8]| {
            let status = StatusCode::from_u16(status).unwrap();
            let response = ErrorResponse::parse(status, &HeaderMap::new(), body);
            let url = "https://gcr.io/v2/".parse().unwrap();
            RegistryError::refused(Method::GET, url, response).exit_code()
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
            let token_url = "https://oauth2.googleapis.com/token".parse().unwrap();
            let cause = AuthError::Exchange {
                step: AuthOperation::User,
                cause: Box::new(HttpError::broken(Method::POST, token_url, words)),
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
