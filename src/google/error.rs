//! The error of a request to a Google API: method, URL, status, and Google's code, reason and
//! message, with hints.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use super::refusal::{ApiError, Rpc, Violation, parse_error};
use crate::auth::AuthError;
use crate::auth::google::quota;
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ConnectionFailure, RetryKind, Retryable};

/// A request to a Google API that failed.
#[derive(Debug, thiserror::Error)]
pub struct GoogleError {
    method: Method,
    url: Box<Url>,
    kind: Box<GoogleErrorKind>,
    /// The wait that `Retry-After` requests.
    retry_after: Option<Duration>,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// How the request failed.
#[derive(Debug)]
enum GoogleErrorKind {
    /// An error response, or an operation that ended in an error.
    Status(ApiError),
    /// No response, or an incomplete one.
    Connection,
    /// No token could be obtained for the request. The cause says why.
    Auth,
    /// A response that the API does not define.
    Protocol,
    /// An operation that was not done in time.
    NotDone(String),
}

/// The text of a cause.
#[derive(Debug, thiserror::Error)]
#[error("{}", sanitize(.0))]
struct CauseText(String);

impl GoogleError {
    /// An error status, with the body of the response.
    pub(super) fn from_response(method: Method, url: Url, status: StatusCode, body: &[u8]) -> Self {
        Self::with_refusal(method, url, parse_error(status, body))
    }

    /// Adds the wait that `Retry-After` requests.
    pub(super) fn with_wait(self, retry_after: Option<Duration>) -> Self {
        Self {
            retry_after,
            ..self
        }
    }

    fn with_refusal(method: Method, url: Url, error: ApiError) -> Self {
        let sentence = Some(error.message.clone()).filter(|text| !text.trim().is_empty());
        Self {
            method,
            url: Box::new(url),
            kind: Box::new(GoogleErrorKind::Status(error)),
            retry_after: None,
            cause: sentence.map(|text| Box::new(CauseText(text)) as Box<_>),
        }
    }

    /// An operation that ended in an error, presented as an error of the request.
    pub(super) fn from_operation(method: Method, url: Url, rpc: Rpc) -> Self {
        Self::with_refusal(method, url, ApiError::from_operation(rpc))
    }

    /// No response, or an incomplete one.
    pub(super) fn connection_failed(
        method: Method,
        url: Url,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::with_cause(method, url, GoogleErrorKind::Connection, cause)
    }

    /// A response that the API does not define.
    pub(super) fn malformed(method: Method, url: Url, cause: serde_json::Error) -> Self {
        let what = if cause.is_data() {
            "the answer is JSON, but not what was asked for"
        } else {
            "the answer is no JSON"
        };
        let cause = CauseText(what.to_owned());
        Self::with_cause(method, url, GoogleErrorKind::Protocol, cause)
    }

    /// A list whose pages never end.
    pub(super) fn endless(method: Method, url: Url) -> Self {
        let cause = CauseText("the list has no last page".to_owned());
        Self::with_cause(method, url, GoogleErrorKind::Protocol, cause)
    }

    /// No token could be obtained for the request.
    pub(super) fn auth_failed(method: Method, url: Url, cause: AuthError) -> Self {
        Self::with_cause(method, url, GoogleErrorKind::Auth, cause)
    }

    /// An operation that was not done in time.
    pub(super) fn not_done(method: Method, url: Url, name: String) -> Self {
        Self {
            method,
            url: Box::new(url),
            kind: Box::new(GoogleErrorKind::NotDone(name)),
            retry_after: None,
            cause: None,
        }
    }

    fn with_cause(
        method: Method,
        url: Url,
        kind: GoogleErrorKind,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            method,
            url: Box::new(url),
            kind: Box::new(kind),
            retry_after: None,
            cause: Some(cause.into()),
        }
    }

    fn refusal(&self) -> Option<&ApiError> {
        match &*self.kind {
            GoogleErrorKind::Status(error) => Some(error),
            _ => None,
        }
    }

    /// The HTTP status of an error response, or the equivalent status of an operation's error.
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|error| error.status)
    }

    /// The code of an error: `PERMISSION_DENIED`, `ALREADY_EXISTS`, ….
    pub fn code(&self) -> Option<&str> {
        self.refusal()?.code.as_deref()
    }

    /// The reason of an error: `SERVICE_DISABLED`, `UREQ_PROJECT_BILLING_NOT_FOUND`, ….
    pub fn reason(&self) -> Option<&str> {
        self.refusal()?.reason.as_deref()
    }

    /// The metadata of an error, by name: `service`, `permission`, `consumer`, ….
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let value = self.refusal()?.metadata.get(name)?;
        Some(value)
    }

    /// The API's message. Empty if there is none.
    pub fn message(&self) -> &str {
        self.refusal().map_or("", |error| error.message.as_str())
    }

    /// The preconditions that failed.
    pub fn violations(&self) -> &[Violation] {
        self.refusal()
            .map_or(&[], |error| error.violations.as_slice())
    }

    /// The constraint of the organisation policy that forbids the request.
    pub fn constraint(&self) -> Option<&str> {
        self.refusal()?.constraint()
    }

    /// True if the resource does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// True if the resource already exists.
    pub fn is_already_there(&self) -> bool {
        self.status() == Some(409) && self.code() != Some("ABORTED")
    }

    /// True if the resource was changed concurrently, so that the read state is outdated. The
    /// storage API has a separate status for it.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(412)
            || (self.status() == Some(409)
                && matches!(self.code(), Some("ABORTED" | "conflict" | "aborted")))
    }

    /// True if the API is disabled, or was enabled so recently that not all servers know it.
    pub fn is_service_disabled(&self) -> bool {
        !quota::is_missing(self.message())
            && (self.reason() == Some("SERVICE_DISABLED")
                || (self.status() == Some(403)
                    && self.message().contains("has not been used in project")))
    }

    /// True if the scopes of the token do not permit the request.
    pub fn is_of_narrow_scopes(&self) -> bool {
        self.reason() == Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT")
            || (self.status() == Some(403)
                && self
                    .message()
                    .contains("insufficient authentication scopes"))
    }

    /// True if the resource may have been created so recently that it is not visible yet. False if
    /// another reason forbids the request.
    pub fn may_be_young(&self) -> bool {
        matches!(self.status(), Some(403 | 404))
            && !self.is_service_disabled()
            && !self.is_of_narrow_scopes()
            && !quota::is_missing(self.message())
            && !self
                .refusal()
                .is_some_and(ApiError::is_blocked_by_service_controls)
    }

    /// True if a later retry may succeed.
    pub fn is_temporary(&self) -> bool {
        self.exit_code() == ExitCode::Temporary
    }

    /// True if there was no response, or an incomplete one.
    pub fn is_broken(&self) -> bool {
        matches!(*self.kind, GoogleErrorKind::Connection)
    }

    fn connection_failure(&self) -> ConnectionFailure {
        match &self.cause {
            Some(cause) => ConnectionFailure::of(&**cause),
            None => ConnectionFailure::Broken,
        }
    }

    fn auth_error(&self) -> Option<&AuthError> {
        self.cause.as_ref()?.downcast_ref()
    }
}

impl fmt::Display for GoogleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (GoogleErrorKind::Auth, Some(cause)) = (&*self.kind, &self.cause) {
            // The request was never sent.
            return write!(formatter, "{cause}");
        }
        let (host, path) = (self.url.host_str().unwrap_or_default(), self.url.path());
        write!(
            formatter,
            "{} https://{host}{}",
            self.method,
            sanitize(path)
        )?;
        match &*self.kind {
            GoogleErrorKind::Status(error) => {
                write!(formatter, ": {}", error.status)?;
                let known = StatusCode::from_u16(error.status).ok();
                let reason = known.and_then(|status| status.canonical_reason());
                match (&error.code, reason) {
                    (Some(code), _) => write!(formatter, " {}", sanitize(code)),
                    (None, Some(reason)) => write!(formatter, " {reason}"),
                    (None, None) => Ok(()),
                }
            }
            GoogleErrorKind::NotDone(name) => write!(
                formatter,
                ": its operation `{}` is not done yet",
                sanitize(name)
            ),
            _ => Ok(()),
        }
    }
}

impl Retryable for GoogleError {
    fn retry(&self) -> RetryKind {
        match &*self.kind {
            // A POST over a broken connection may have succeeded, so the caller must check.
            GoogleErrorKind::Connection if self.method == Method::POST => RetryKind::Never,
            GoogleErrorKind::Connection if self.connection_failure().is_unreachable() => {
                RetryKind::HostDown
            }
            _ if self.is_temporary() => {
                let of_token = self.auth_error().and_then(AuthError::retry_after);
                RetryKind::Transient(self.retry_after.or(of_token))
            }
            _ => RetryKind::Never,
        }
    }
}

impl Diagnostic for GoogleError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match &*self.kind {
            GoogleErrorKind::Auth => self.auth_error().map(|error| error as &dyn Diagnostic),
            _ => None,
        }
    }

    fn exit_code(&self) -> ExitCode {
        match &*self.kind {
            GoogleErrorKind::Status(error) => match error.status {
                401 | 403 => ExitCode::Denied,
                _ if error.is_temporary() => ExitCode::Temporary,
                _ => ExitCode::Failed,
            },
            GoogleErrorKind::Connection => self.connection_failure().exit_code(),
            GoogleErrorKind::Auth => self
                .diagnostic_source()
                .map_or(ExitCode::Denied, Diagnostic::exit_code),
            GoogleErrorKind::Protocol => ExitCode::Failed,
            GoogleErrorKind::NotDone(_) => ExitCode::Temporary,
        }
    }

    fn hints(&self) -> Vec<String> {
        match &*self.kind {
            GoogleErrorKind::Status(error) => error.hints(),
            GoogleErrorKind::Connection => {
                let host = self.url.host_str().unwrap_or_default();
                vec![self.connection_failure().hint(host)]
            }
            GoogleErrorKind::Auth => self.source_hints(),
            GoogleErrorKind::Protocol => {
                vec!["check that no proxy or sign-in page answers in Google's place".to_owned()]
            }
            GoogleErrorKind::NotDone(_) => {
                vec!["Google goes on with it: run this again in a few minutes".to_owned()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api_error(status: u16, body: &str) -> GoogleError {
        let url = "https://iam.googleapis.com/v1/projects/acme/serviceAccounts?pageToken=x";
        GoogleError::from_response(
            Method::POST,
            url.parse().unwrap(),
            StatusCode::from_u16(status).unwrap(),
            body.as_bytes(),
        )
    }

    fn render(error: &GoogleError) -> String {
        let mut text = Vec::new();
        crate::diagnostics::render::write_chain(&mut text, error, &error.hints()).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn disabled_api_is_reported_with_the_enable_command() {
        let error = api_error(
            403,
            r#"{"error":{"code":403,"message":"IAM API has not been used in project 42 before or it is disabled.","status":"PERMISSION_DENIED",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED","domain":"googleapis.com",
            "metadata":{"service":"iam.googleapis.com","consumer":"projects/42"}}]}}"#,
        );
        assert!(error.is_service_disabled());
        assert_eq!(error.metadata("consumer"), Some("projects/42"));
        insta::assert_snapshot!(render(&error), @"
        error: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 403 PERMISSION_DENIED
          caused by: IAM API has not been used in project 42 before or it is disabled.

        hint: enable the API: `gcloud services enable iam.googleapis.com --project=42`; where it was enabled just now, it takes a few minutes to be known everywhere
        ");
    }

    #[test]
    fn managed_or_custom_organisation_policy_is_named() {
        for name in [
            "constraints/iam.managed.disableServiceAccountKeyCreation",
            "customConstraints/custom.noKeys",
        ] {
            let sentence = format!("Operation denied by org policy: [\"{name}\": \"No keys.\"].");
            for metadata in [json!({"customConstraints": name}), json!({})] {
                let body = json!({"error": {
                    "code": 400, "message": sentence, "status": "FAILED_PRECONDITION",
                    "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "CUSTOM_ORG_POLICY_VIOLATION", "domain": "googleapis.com",
                        "metadata": metadata}],
                }});
                let error = api_error(400, &body.to_string());
                assert_eq!(error.constraint(), Some(name));
                assert!(error.hints()[0].contains(&format!("policy `{name}`")));
            }
        }
        let other = r#"{"error":{"code":400,"message":"Precondition check failed.","status":"FAILED_PRECONDITION"}}"#;
        assert_eq!(api_error(400, other).constraint(), None);
    }

    #[test]
    fn organisation_policy_is_named() {
        let error = api_error(
            400,
            r#"{"error":{"code":400,"message":"Key creation is not allowed on this service account.","status":"FAILED_PRECONDITION",
            "details":[{"@type":"type.googleapis.com/google.rpc.PreconditionFailure","violations":[
            {"type":"constraints/iam.disableServiceAccountKeyCreation","subject":"s","description":"d"}]}]}}"#,
        );
        assert_eq!(error.violations().len(), 1);
        insta::assert_snapshot!(render(&error), @"
        error: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 400 FAILED_PRECONDITION
          caused by: Key creation is not allowed on this service account.

        hint: the organisation's policy `constraints/iam.disableServiceAccountKeyCreation` forbids it: who administers the organisation's policies can exempt the project
        ");
    }

    #[test]
    fn service_controls_refusal_is_no_new_account() {
        let error = api_error(
            403,
            r#"{"error":{"code":403,"message":"Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: Ab-1","status":"PERMISSION_DENIED",
            "details":[{"@type":"type.googleapis.com/google.rpc.PreconditionFailure","violations":[{"type":"VPC_SERVICE_CONTROLS","description":"Ab-1"}]}]}}"#,
        );
        assert!(!error.may_be_young());
        assert_eq!(error.exit_code(), ExitCode::Denied);
        insta::assert_snapshot!(render(&error), @"
        error: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 403 PERMISSION_DENIED
          caused by: Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: Ab-1

        hint: the organisation's VPC Service Controls do not allow this from here: who administers them finds the request by `Ab-1` and can allow it with an ingress rule or an access level
        ");
        let young = api_error(
            403,
            r#"{"error":{"message":"denied (or it may not exist)"}}"#,
        );
        assert!(young.may_be_young());
    }

    #[test]
    fn login_without_quota_project_is_no_disabled_api() {
        let error = api_error(
            403,
            r#"{"error":{"code":403,"message":"Your application is authenticating by using local Application Default Credentials. The iam.googleapis.com API requires a quota project, which is not set by default.","status":"PERMISSION_DENIED",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED","domain":"googleapis.com",
            "metadata":{"service":"iam.googleapis.com","consumer":"projects/764086051850"}}]}}"#,
        );
        assert!(!error.is_service_disabled());
        insta::assert_snapshot!(render(&error), @"
        error: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 403 PERMISSION_DENIED
          caused by: Your application is authenticating by using local Application Default Credentials. The iam.googleapis.com API requires a quota project, which is not set by default.

        hint: a person's login counts for no project by itself: name one with `gcloud auth application-default set-quota-project PROJECT`, or in GOOGLE_CLOUD_QUOTA_PROJECT
        ");
    }

    #[test]
    fn conflict_is_distinguished_from_already_exists() {
        let aborted = api_error(409, r#"{"error":{"message":"m","status":"ABORTED"}}"#);
        assert!(aborted.is_conflict() && !aborted.is_already_there());
        let there = api_error(
            409,
            r#"{"error":{"message":"m","status":"ALREADY_EXISTS"}}"#,
        );
        assert!(!there.is_conflict() && there.is_already_there());
        let storage = api_error(
            412,
            r#"{"error":{"code":412,"message":"m","errors":[{"reason":"conditionNotMet","message":"m"}]}}"#,
        );
        assert!(storage.is_conflict());
        assert_eq!(storage.code(), Some("conditionNotMet"));
    }

    #[test]
    fn non_google_answer_is_not_quoted_at_length() {
        let page = api_error(502, "<html>secret</html>");
        assert!(page.is_temporary());
        assert!(!render(&page).contains("secret"));
        let text = api_error(400, &"x".repeat(5000));
        assert_eq!(text.message().len(), 1000);
        assert_eq!(api_error(404, "").message(), "");
    }

    #[test]
    fn operation_error_equals_a_refused_request() {
        let rpc = serde_json::from_str::<Rpc>(r#"{"code":9,"message":"no billing"}"#).unwrap();
        let url = "https://serviceusage.googleapis.com/v1/projects/acme/services/x:enable";
        let error = GoogleError::from_operation(Method::POST, url.parse().unwrap(), rpc);
        assert_eq!(
            (error.status(), error.code()),
            (Some(400), Some("FAILED_PRECONDITION"))
        );
        assert_eq!(error.exit_code(), ExitCode::Failed);
    }
}
