//! GitHub and GitLab: reads the ids of a repository, and builds the pool and the provider for its
//! jobs.
//!
//! A name can be reused by another owner, an id cannot. So conditions and bindings contain ids only.
//! <https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines>

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::federation::{Pool, Provider};
use super::{Setup, SetupError};
use crate::commands::setup::request::{Forge, ForgeIds, ForgeKind};
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{
    BoxError, ErrorResponse, HttpError, HttpErrorKind, RetryKind, RetryPolicy, Retryable, WINDOW,
    read_bounded,
};
use crate::oci::digest::Digest;

/// A repository whose jobs may push, with its pool and provider.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) forge: Forge,
    pub(super) pool: Pool,
    pub(super) provider: Provider,
    /// The attribute and the value in the pusher's binding: `attribute.repository_id/456`.
    pub(super) attribute: String,
}

impl Trust {
    fn new(forge: &Forge, ids: &ForgeIds) -> Self {
        let ForgeIds { owner, repository } = ids;
        let (pool, issuer, kind, claims) = match &forge.kind {
            ForgeKind::GitHub => (
                "gcr-push-github".to_owned(),
                "https://token.actions.githubusercontent.com".to_owned(),
                "GitHub",
                ["repository_id", "repository_owner_id", "run_id"],
            ),
            ForgeKind::GitLab(host) => (
                pool_of_gitlab(host),
                format!("https://{host}"),
                "GitLab",
                ["project_id", "namespace_id", "job_id"],
            ),
        };
        let [own, owner_claim, run] = claims;
        let id = format!("{}-{repository}", kind.to_ascii_lowercase());
        let host = match &forge.kind {
            ForgeKind::GitHub => "github.com",
            ForgeKind::GitLab(host) => host,
        };
        Self {
            forge: forge.clone(),
            pool: Pool {
                id: pool.clone(),
                purpose: format!("Jobs of {host}"),
            },
            provider: Provider {
                pool,
                id,
                purpose: format!("Jobs of {host}/{}", forge.path),
                issuer,
                // Not `sub`, which contains the branch: Google refuses a subject of more than 127
                // bytes. https://cloud.google.com/iam/docs/workload-identity-federation#mapping
                mapping: vec![
                    (
                        "google.subject".to_owned(),
                        format!("assertion.{own} + ':' + assertion.{run}"),
                    ),
                    (format!("attribute.{own}"), format!("assertion.{own}")),
                    (
                        format!("attribute.{owner_claim}"),
                        format!("assertion.{owner_claim}"),
                    ),
                ],
                condition: format!(
                    "assertion.{own} == '{repository}' && assertion.{owner_claim} == '{owner}'"
                ),
            },
            attribute: format!("attribute.{own}/{repository}"),
        }
    }
}

/// The pool of a GitLab instance. Each has its own, because the ids of different instances collide.
fn pool_of_gitlab(host: &str) -> String {
    if host == "gitlab.com" {
        return "gcr-push-gitlab".to_owned();
    }
    let hash = Digest::of(host.as_bytes());
    format!("gcr-push-gitlab-{}", &hash.hex()[..8])
}

/// The maximum size of a forge's response. GitHub's have about ten KiB.
const MAX_BODY: usize = 1024 * 1024;

#[derive(Deserialize)]
struct GitHubRepository {
    id: u64,
    owner: Numbered,
}

#[derive(Deserialize)]
struct GitLabProject {
    id: u64,
    namespace: Numbered,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

impl Setup<'_> {
    /// The pool and the provider of each repository that may push.
    pub(super) async fn trusts(&self) -> Result<Vec<Trust>, SetupError> {
        let mut trusts = Vec::new();
        for forge in &self.request.forges {
            let ids = match &forge.ids {
                Some(ids) => ids.clone(),
                None => self.look_up(forge).await?,
            };
            trusts.push(Trust::new(forge, &ids));
        }
        Ok(trusts)
    }

    /// Requests the ids of a repository from the forge, with retries of temporary errors.
    async fn look_up(&self, forge: &Forge) -> Result<ForgeIds, SetupError> {
        let client = self.network.http_client().map_err(SetupError::Network)?;
        let retries = RetryPolicy::within(self.network.retry_timeout);
        let ids = retries.run(|| self.request_ids(&client, forge)).await;
        ids.map_err(|cause| SetupError::Forge {
            forge: forge.clone(),
            cause,
        })
    }

    /// Requests the ids of a repository once.
    async fn request_ids(
        &self,
        client: &reqwest::Client,
        forge: &Forge,
    ) -> Result<ForgeIds, ForgeError> {
        let (host, path) = match &forge.kind {
            ForgeKind::GitHub => ("api.github.com", format!("repos/{}", forge.path)),
            ForgeKind::GitLab(host) => {
                let path = forge.path.replace('/', "%2F");
                (host.as_str(), format!("api/v4/projects/{path}"))
            }
        };
        let url: Url = format!("https://{host}/{path}")
            .parse()
            .map_err(ForgeError::Url)?;
        let mut request = client.get(url.clone()).header(ACCEPT, "application/json");
        // The token raises the rate limit, and gives access to the job's own private repository.
        if let (ForgeKind::GitHub, Some(token)) = (&forge.kind, &self.request.github_token) {
            request = request.bearer_auth(token.expose());
        }
        let broken = |cause: BoxError| HttpError::broken(Method::GET, url.clone(), cause);
        let response = request.send().await;
        let response = response.map_err(|error| broken(error.without_url().into()))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_bounded(response, MAX_BODY, WINDOW).await;
        let body = body.map_err(|error| broken(error.into()))?;
        if status != StatusCode::OK {
            let mut refusal = ErrorResponse::parse(status, &headers, &body);
            refusal.retry_after = refusal.retry_after.or_else(|| limit_reset(&headers));
            return Err(HttpError::refused(Method::GET, url, refusal).into());
        }
        let ids = match &forge.kind {
            ForgeKind::GitHub => {
                serde_json::from_slice(&body).map(|found: GitHubRepository| ForgeIds {
                    owner: found.owner.id,
                    repository: found.id,
                })
            }
            ForgeKind::GitLab(_) => {
                serde_json::from_slice(&body).map(|found: GitLabProject| ForgeIds {
                    owner: found.namespace.id,
                    repository: found.id,
                })
            }
        };
        ids.map_err(|_| HttpError::protocol(Method::GET, url, "the response has no ids").into())
    }
}

/// The time until GitHub's rate limit is reset. `None` if it is not used up.
/// <https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api>
fn limit_reset(headers: &HeaderMap) -> Option<Duration> {
    let number =
        |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    if number("x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let reset = Duration::from_secs(number("x-ratelimit-reset").unwrap_or_default());
    let at = UNIX_EPOCH.checked_add(reset)?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// An error of reading the ids of a repository.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The request failed.
    #[error(transparent)]
    Http(Box<HttpError>),
    /// The name of the repository makes no URL.
    #[error("its name cannot be used in a URL")]
    Url(#[source] url::ParseError),
}

impl From<HttpError> for ForgeError {
    fn from(error: HttpError) -> Self {
        Self::Http(Box::new(error))
    }
}

/// True if too many requests were sent.
fn is_limit(response: &ErrorResponse) -> bool {
    match response.status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => response.retry_after.is_some() || response.contains("rate limit"),
        _ => false,
    }
}

impl ForgeError {
    /// The hints, most useful first.
    pub(super) fn hints(&self, forge: &Forge) -> Vec<String> {
        let Self::Http(error) = self else {
            return Vec::new();
        };
        let first = match (&error.kind, &forge.kind) {
            (HttpErrorKind::Connection, _) => Some(error.connection_failure().hint(&error.host())),
            (HttpErrorKind::Response(response), kind) => {
                refusal_hint(response, kind).map(str::to_owned)
            }
            _ => None,
        };
        first
            .into_iter()
            .chain(configure_ids_hints(forge))
            .collect()
    }
}

fn refusal_hint(response: &ErrorResponse, kind: &ForgeKind) -> Option<&'static str> {
    match (response.status.as_u16(), kind) {
        (_, ForgeKind::GitHub) if is_limit(response) => {
            Some("try again in an hour, or set `github_token`, which allows many more requests")
        }
        _ if is_limit(response) => Some("try again in a few minutes"),
        (401, ForgeKind::GitHub) => Some(
            "`github_token` is invalid or has expired: for a public repository, remove it; \
             otherwise, set another",
        ),
        (404, _) => Some("there is no such repository, or it is private"),
        (408 | 500.., _) => Some("the server has a temporary problem; try again in a few minutes"),
        _ => None,
    }
}

/// The hints on how to configure the ids.
fn configure_ids_hints(forge: &Forge) -> Vec<String> {
    let path = &forge.path;
    match &forge.kind {
        ForgeKind::GitHub => vec![
            "only members can read the ids of a private repository: add them, as in \
             `setup_github: OWNER/REPO#OWNER_ID/REPO_ID`"
                .to_owned(),
            format!(
                "`gh api repos/{path} --jq '\"\\(.full_name)#\\(.owner.id)/\\(.id)\"'` prints \
                 this value"
            ),
        ],
        ForgeKind::GitLab(host) => vec![
            format!(
                "only members can read the ids of a private project: add them, as in \
                 `setup_gitlab: https://{host}/{path}#NAMESPACE_ID/PROJECT_ID`"
            ),
            "its jobs have the ids in CI_PROJECT_NAMESPACE_ID and CI_PROJECT_ID; in such a job, \
             setup reads them there"
                .to_owned(),
        ],
    }
}

impl Retryable for ForgeError {
    fn retry(&self) -> RetryKind {
        match self {
            Self::Http(error)
                if error.is_broken() && error.connection_failure().is_unreachable() =>
            {
                RetryKind::HostDown
            }
            Self::Http(error) if self.exit_code() == ExitCode::Temporary => {
                let response = error.response();
                RetryKind::Transient(response.and_then(|response| response.retry_after))
            }
            _ => RetryKind::Never,
        }
    }
}

impl Diagnostic for ForgeError {
    fn exit_code(&self) -> ExitCode {
        let Self::Http(error) = self else {
            return ExitCode::Usage;
        };
        match &error.kind {
            HttpErrorKind::Response(response) if is_limit(response) => ExitCode::Temporary,
            HttpErrorKind::Response(response) if response.status == StatusCode::NOT_FOUND => {
                ExitCode::Usage
            }
            HttpErrorKind::Protocol => ExitCode::Usage,
            _ => error.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_and_provider_names_follow_google_rules() {
        let host = format!("gitlab.{}.example.com", "a".repeat(60));
        for kind in [
            ForgeKind::GitHub,
            ForgeKind::GitLab("gitlab.com".to_owned()),
            ForgeKind::GitLab(host),
        ] {
            let forge = Forge {
                kind,
                path: "a/b".to_owned(),
                ids: None,
            };
            let ids = ForgeIds {
                owner: 1,
                repository: u64::MAX,
            };
            let trust = Trust::new(&forge, &ids);
            for id in [&trust.pool.id, &trust.provider.id] {
                let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
                assert!(
                    (4..=32).contains(&id.len()) && id.bytes().all(inside),
                    "{id}"
                );
                assert!(!id.starts_with("gcp-"));
            }
        }
    }

    #[test]
    fn rate_limit_is_distinguished_from_forbidden() {
        let of = |status: u16, headers: &[(&'static str, &'static str)], body: &str| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let status = StatusCode::from_u16(status).unwrap();
            let mut refusal = ErrorResponse::parse(status, &map, body.as_bytes());
            refusal.retry_after = refusal.retry_after.or_else(|| limit_reset(&map));
            let url = "https://api.github.com/repos/a/b".parse().unwrap();
            ForgeError::from(HttpError::refused(Method::GET, url, refusal))
        };
        let limit = r#"{"message":"API rate limit exceeded for 192.0.2.1."}"#;
        for (error, code) in [
            (of(403, &[], limit), ExitCode::Temporary),
            (
                of(
                    403,
                    &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
                    "{}",
                ),
                ExitCode::Temporary,
            ),
            (of(403, &[("retry-after", "60")], ""), ExitCode::Temporary),
            (of(429, &[], ""), ExitCode::Temporary),
            (of(502, &[], "<html>"), ExitCode::Temporary),
            (
                of(401, &[], r#"{"message":"Bad credentials"}"#),
                ExitCode::Denied,
            ),
            (of(403, &[], r#"{"message":"Forbidden"}"#), ExitCode::Denied),
            (of(404, &[], r#"{"message":"Not Found"}"#), ExitCode::Usage),
        ] {
            assert_eq!(error.exit_code(), code, "{error}");
        }
        let asked = of(403, &[("retry-after", "60")], "").retry();
        let minute = Duration::from_secs(60);
        assert_eq!(asked, RetryKind::Transient(Some(minute)));
    }

    #[test]
    fn same_id_on_another_gitlab_has_another_pool() {
        assert_ne!(
            pool_of_gitlab("gitlab.com"),
            pool_of_gitlab("gitlab.a.example")
        );
        assert_ne!(
            pool_of_gitlab("gitlab.a.example"),
            pool_of_gitlab("gitlab.b.example")
        );
    }
}
