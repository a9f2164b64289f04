//! The error of a request to a Google API, with what its code and its details mean.

use reqwest::{Method, Url};

use super::refusal::{self, Rpc};
use crate::auth::google::{disabled_api, quota};
use crate::auth::{AuthError, is_of_narrow_scopes};
use crate::diagnostics::sanitize::sanitize;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{ErrorResponse, HttpError, HttpErrorKind, RetryKind, Retryable, redacted};

/// A request to a Google API that failed.
#[derive(Debug, thiserror::Error)]
pub enum GoogleError {
    /// The request failed, or the operation that it started ended in an error.
    #[error(transparent)]
    Http(Box<HttpError>),
    /// An operation was not done in time.
    #[error("{}: its operation `{}` is not done yet", .request, sanitize(.operation))]
    NotDone {
        /// The method and the URL of the request.
        request: String,
        /// The name of the operation.
        operation: String,
    },
}

impl From<HttpError> for GoogleError {
    fn from(error: HttpError) -> Self {
        Self::Http(Box::new(error))
    }
}

impl GoogleError {
    /// An operation that ended in an error, presented as an error of the request.
    pub(super) fn of_operation(method: Method, url: Url, error: Rpc) -> Self {
        HttpError::refused(method, url, error.into()).into()
    }

    /// A response that the API does not define.
    pub(super) fn malformed(method: Method, url: Url, cause: &serde_json::Error) -> Self {
        let what = if cause.is_data() {
            "the response is JSON, but not the expected content"
        } else {
            "the response is not JSON"
        };
        HttpError::protocol(method, url, what).into()
    }

    /// No token could be obtained for the request.
    pub(super) fn auth_failed(method: Method, url: Url, cause: AuthError) -> Self {
        HttpError::new(method, url, HttpErrorKind::Auth, cause).into()
    }

    /// An operation that was not done in time.
    pub(super) fn not_done(method: &Method, url: &Url, operation: String) -> Self {
        let request = format!("{method} {}", redacted(method, url));
        Self::NotDone { request, operation }
    }

    fn http(&self) -> Option<&HttpError> {
        match self {
            Self::Http(error) => Some(error),
            Self::NotDone { .. } => None,
        }
    }

    fn response(&self) -> Option<&ErrorResponse> {
        self.http()?.response()
    }

    fn auth_error(&self) -> Option<&AuthError> {
        self.http()?.cause()
    }

    /// The HTTP status of an error response, or the equivalent status of an operation's error.
    pub fn status(&self) -> Option<u16> {
        self.response().map(|response| response.status.as_u16())
    }

    /// The code of an error: `PERMISSION_DENIED`, `ALREADY_EXISTS`, ….
    pub fn code(&self) -> Option<&str> {
        self.http()?.code()
    }

    /// The reason of an error: `SERVICE_DISABLED`, `UREQ_PROJECT_BILLING_NOT_FOUND`, ….
    pub fn reason(&self) -> Option<&str> {
        self.response()?.reason()
    }

    /// The metadata of an error, by name: `service`, `permission`, `consumer`, ….
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.response()?.metadata(name)
    }

    /// The API's message. Empty if there is none.
    pub fn message(&self) -> &str {
        self.http().map_or("", HttpError::message)
    }

    /// True if the error names preconditions that failed.
    pub fn has_violations(&self) -> bool {
        let response = self.response();
        response.is_some_and(|response| response.violations().next().is_some())
    }

    /// The constraint of the organisation policy that forbids the request.
    pub fn constraint(&self) -> Option<&str> {
        refusal::constraint(self.response()?)
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
        self.response().is_some_and(disabled_api::is_disabled)
    }

    /// True if the scopes of the token do not permit the request.
    pub fn is_of_narrow_scopes(&self) -> bool {
        self.response().is_some_and(is_of_narrow_scopes)
    }

    /// True if the resource may have been created so recently that it is not visible yet. False if
    /// another reason forbids the request.
    pub fn may_be_young(&self) -> bool {
        self.response().is_some_and(|response| {
            matches!(response.status.as_u16(), 403 | 404)
                && !disabled_api::is_disabled(response)
                && !is_of_narrow_scopes(response)
                && !quota::is_missing(&response.message)
                && !refusal::is_blocked_by_service_controls(response)
        })
    }

    /// True if a later retry may succeed.
    pub fn is_temporary(&self) -> bool {
        self.exit_code() == ExitCode::Temporary
    }

    /// True if there was no response, or an incomplete one.
    pub fn is_broken(&self) -> bool {
        self.http().is_some_and(HttpError::is_broken)
    }
}

impl Retryable for GoogleError {
    fn retry(&self) -> RetryKind {
        let broken = self.http().filter(|error| error.is_broken());
        match broken {
            // A POST over a broken connection may have succeeded, so the caller must check.
            Some(error) if error.method == Method::POST => RetryKind::Never,
            Some(error) if error.connection_failure().is_unreachable() => RetryKind::HostDown,
            _ if self.is_temporary() => {
                let asked = self.response().and_then(|response| response.retry_after);
                let of_token = self.auth_error().and_then(AuthError::retry_after);
                RetryKind::Transient(asked.or(of_token))
            }
            _ => RetryKind::Never,
        }
    }
}

impl Diagnostic for GoogleError {
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        self.auth_error().map(|error| error as &dyn Diagnostic)
    }

    fn exit_code(&self) -> ExitCode {
        let Some(error) = self.http() else {
            return ExitCode::Temporary;
        };
        match &error.kind {
            HttpErrorKind::Auth => self.source_exit_code(),
            HttpErrorKind::Response(response)
                if response.is_temporary() && !refusal::is_temporary(response) =>
            {
                ExitCode::Failed
            }
            _ => error.exit_code(),
        }
    }

    fn hints(&self) -> Vec<String> {
        let Some(error) = self.http() else {
            return vec!["Google continues the operation: try again in a few minutes".to_owned()];
        };
        match &error.kind {
            HttpErrorKind::Response(response) => refusal::hints(response),
            HttpErrorKind::Connection => vec![error.connection_failure().hint(&error.host())],
            HttpErrorKind::Auth => self.source_hints(),
            _ => vec!["check that no proxy or sign-in page answers instead of Google".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn api_error(status: u16, body: &str) -> GoogleError {
        let url = "https://iam.googleapis.com/v1/projects/acme/serviceAccounts?pageToken=x";
        let status = StatusCode::from_u16(status).unwrap();
        let response = ErrorResponse::parse(status, &HeaderMap::new(), body.as_bytes());
        HttpError::refused(Method::POST, url.parse().unwrap(), response).into()
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

        hint: enable the API: `gcloud services enable iam.googleapis.com --project=42`; if you just enabled it, wait a few minutes
        ");
    }

    #[test]
    fn disabled_api_without_names_gets_the_command_all_the_same() {
        let body = r#"{"error":{"code":403,"message":"It is disabled.","status":"PERMISSION_DENIED",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED",
            "metadata":{"service":"iam.googleapis.com"}}]}}"#;
        let hints = api_error(403, body).hints();
        let command = "`gcloud services enable iam.googleapis.com --project=PROJECT`";
        assert!(hints[0].contains(command), "{hints:?}");
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
        assert!(error.has_violations());
        insta::assert_snapshot!(render(&error), @"
        error: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts: 400 FAILED_PRECONDITION
          caused by: Key creation is not allowed on this service account.

        hint: the organisation's policy `constraints/iam.disableServiceAccountKeyCreation` forbids it: ask the administrator of the policies to exempt the project
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

        hint: the organisation's VPC Service Controls do not allow this from here: ask their administrator to find the request `Ab-1` and to allow it with an ingress rule or an access level
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

        hint: a user's login needs a quota project: set one with `gcloud auth application-default set-quota-project PROJECT`, or in GOOGLE_CLOUD_QUOTA_PROJECT
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
        let error = GoogleError::of_operation(Method::POST, url.parse().unwrap(), rpc);
        assert_eq!(
            (error.status(), error.code()),
            (Some(400), Some("FAILED_PRECONDITION"))
        );
        assert_eq!(error.exit_code(), ExitCode::Failed);
    }
}
