//! What follows from a request that failed: the exit code, whether it helps to try again, and what
//! to do.

use std::time::Duration;

use reqwest::StatusCode;

use super::{Contact, Kind, RegistryError};
use crate::auth::AuthError;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::ConnectionFailure;
use crate::oci::manifest::ManifestError;
use crate::registry::hints::{NO_REGISTRY, PULL_LIMIT, Refusal, advice, host};
use crate::registry::retry::{RetryKind, Retryable};
use crate::registry::upload::LocationError;

/// The codes of refusals that pass, whatever their status: a quota, and an upload session that has
/// run out. go-containerregistry counts `UNKNOWN` and `UNAVAILABLE` among them, which here do not
/// outweigh a status that says more.
/// <https://github.com/google/go-containerregistry/blob/main/pkg/v1/remote/transport/error.go>
const PASSING: [&str; 3] = [
    "TOOMANYREQUESTS",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
];

/// What to do where a registry holds something else than an image.
const NO_IMAGE: &str = "what is there is no image that can be pushed: check the tag or the digest";

/// The codes for a manifest that names what the registry does not have: the spec's, and Google's.
const INCOMPLETE: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];

impl RegistryError {
    /// True when a manifest was refused because the registry lacks something that it names.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.code().is_some_and(|code| INCOMPLETE.contains(&code))
    }

    /// True when a manifest was refused for what it is, and not for what it names or for its tag.
    pub(crate) fn refuses_manifest(&self) -> bool {
        let Kind::Status {
            status, sentence, ..
        } = &*self.outcome
        else {
            return false;
        };
        let says = |word: &str| sentence.as_ref().is_some_and(|text| text.contains(word));
        let code = self.code();
        *self.method == reqwest::Method::PUT
            && self.url.path().contains("/manifests/")
            && match status.as_u16() {
                415 => true,
                400 | 406 | 422 => {
                    matches!(
                        code,
                        None | Some("MANIFEST_INVALID" | "UNSUPPORTED" | "UNKNOWN")
                    ) && !says("immutab")
                }
                _ => false,
            }
    }

    /// What the registry said that an image was being read from.
    fn source_error(&self) -> Option<&Self> {
        let cause = self.cause.as_ref()?.downcast_ref::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref()
    }

    pub(super) fn trouble(&self) -> ConnectionFailure {
        match (&*self.outcome, &self.cause) {
            (Kind::Auth(_), _) => self
                .auth_error()
                .and_then(AuthError::trouble)
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
        match &*self.outcome {
            Kind::Status {
                has_another_way: true,
                ..
            } => RetryKind::Reauthenticate,
            // The same bytes again would be refused again: what is missing has to be sent.
            Kind::Status { .. } if self.is_incomplete() => RetryKind::Never,
            // What was read here without fault may have been changed on the way.
            Kind::Status { .. } if self.code() == Some("DIGEST_INVALID") => RetryKind::Limited,
            // It counts over hours.
            Kind::Status { sentence, .. }
                if sentence
                    .as_deref()
                    .is_some_and(|says| says.contains(PULL_LIMIT)) =>
            {
                RetryKind::Never
            }
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
            Kind::Connection(peer) | Kind::Auth(peer) if self.trouble().is_unreachable() => {
                match peer {
                    Contact::Established => RetryKind::HostDown,
                    Contact::First => RetryKind::NeverReached,
                }
            }
            // Some byte may have been changed on the way.
            Kind::Connection(_) if self.trouble() == ConnectionFailure::NoHttp => {
                RetryKind::Limited
            }
            Kind::Connection(_) | Kind::Auth(_) if self.exit_code() == ExitCode::Temporary => {
                RetryKind::Transient(None)
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
    fn exit_code(&self) -> ExitCode {
        match &*self.outcome {
            Kind::Status { status, code, .. } => match (status.as_u16(), code.as_deref()) {
                (401 | 403, _) => ExitCode::Denied,
                (408 | 429 | 500.., _) => ExitCode::Temporary,
                (_, Some(code)) if PASSING.contains(&code) => ExitCode::Temporary,
                (400 | 404 | 412 | 413, _) if !self.is_incomplete() => ExitCode::Failed,
                (_, Some("UNKNOWN" | "UNAVAILABLE")) => ExitCode::Temporary,
                // It had all of it a moment ago.
                _ if self.is_incomplete() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            Kind::Connection(_) => self.trouble().exit_code(),
            Kind::Auth(_) => self
                .auth_error()
                .map_or(ExitCode::Denied, AuthError::exit_code),
            Kind::Source => self
                .source_error()
                .map_or(ExitCode::Failed, Self::exit_code),
            Kind::Protocol | Kind::Corrupt => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match &*self.outcome {
            Kind::Status {
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
                    sent_on_to: self.sent_on_to.as_deref(),
                };
                let mut hints = advice(refusal, self.asker.as_deref());
                if let Some(asked) = retry_after {
                    let seconds = asked.as_secs();
                    hints.insert(0, format!("the registry asks to be left alone for {seconds} s; `retry_timeout` says how long is waited"));
                }
                hints
            }
            Kind::Connection(_) => match &self.sent_on_to {
                Some(other) => vec![
                    self.trouble().hint(other),
                    format!(
                        "`{}` keeps its blobs at `{other}`, which has to be reached from here too",
                        host(&self.url)
                    ),
                ],
                None => vec![self.trouble().hint(&host(&self.url))],
            },
            Kind::Auth(_) => self.auth_error().map(Diagnostic::hints).unwrap_or_default(),
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
            Kind::Source => match self.source_error() {
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
            RegistryError::refused(
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
            RegistryError::not_signed_in(Method::GET, url, cause)
        };
        for (error, expected) in [
            (failed("dns error: no such host"), RetryKind::HostDown),
            (
                failed("dns error").at_first_contact(),
                RetryKind::NeverReached,
            ),
            // There was somebody.
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
