//! Asking an API server, and reading what it answers.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::auth::ClusterAuth;
use super::error::KubernetesError;
use super::failed_request::{FailedRequest, Refusal, RequestError, Task};
use crate::http::ProxyConnector;
use crate::oci::json;

/// The most bytes of an answer: an object has at most 1.5 MiB, which is what etcd takes.
const LARGEST: usize = 4 << 20;

/// How often a request is tried again that the cluster has no time for.
const RETRIES: usize = 4;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A cluster that was found; nothing is asked of it yet.
pub struct Cluster {
    pub(super) client: Client<HttpsConnector<ProxyConnector>, Full<Bytes>>,
    pub(super) sign_in: ClusterAuth,
    pub(super) server: String,
    pub(super) namespace: String,
    pub(super) stall_timeout: Duration,
}

/// A request as the API server takes it.
pub(super) struct ApiRequest {
    method: http::Method,
    path: String,
    query: Vec<(&'static str, &'static str)>,
    content_type: &'static str,
    body: Bytes,
}

impl ApiRequest {
    pub(super) fn get(path: String) -> Self {
        Self::new(http::Method::GET, path, "application/json", Vec::new())
    }

    pub(super) fn create(path: String, object: &Value) -> Self {
        let body = object.to_string().into_bytes();
        Self::new(http::Method::POST, path, "application/json", body)
    }

    pub(super) fn delete(path: String, options: &Value) -> Self {
        let body = options.to_string().into_bytes();
        Self::new(http::Method::DELETE, path, "application/json", body)
    }

    /// Server-side apply; JSON is YAML.
    pub(super) fn apply(path: String, object: &Value) -> Self {
        let body = object.to_string().into_bytes();
        Self::new(
            http::Method::PATCH,
            path,
            "application/apply-patch+yaml",
            body,
        )
    }

    /// A merge patch (RFC 7396).
    pub(super) fn merge(path: String, patch: &Value) -> Self {
        let body = patch.to_string().into_bytes();
        Self::new(
            http::Method::PATCH,
            path,
            "application/merge-patch+json",
            body,
        )
    }

    fn new(method: http::Method, path: String, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            content_type,
            body: body.into(),
        }
    }

    /// Adds a parameter, where it is wanted.
    pub(super) fn with(mut self, wanted: bool, name: &'static str, value: &'static str) -> Self {
        if wanted {
            self.query.push((name, value));
        }
        self
    }

    /// As us, and only tried where `dry_run` says so: everything is checked then, and nothing
    /// written.
    pub(super) fn writing(self, dry_run: bool) -> Self {
        self.with(true, "fieldManager", super::FIELD_MANAGER)
            .with(dry_run, "dryRun", "All")
    }

    /// The request at `server`, whose address may have a path of its own.
    fn request(
        &self,
        server: &str,
        signed: HeaderMap,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let query: Vec<_> = self.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        let uri = format!("{server}{}{separator}{}", self.path, query.join("&"));
        let mut request = Request::builder()
            .method(&self.method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, self.content_type)
            .header(USER_AGENT, crate::http::USER_AGENT)
            .body(Full::new(self.body.clone()))?;
        request.headers_mut().extend(signed);
        Ok(request)
    }
}

impl Cluster {
    /// Where it is, as messages call it.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn failed(&self, task: Task, cause: RequestError) -> KubernetesError {
        KubernetesError::Request(Box::new(FailedRequest {
            server: self.server.clone(),
            task,
            cause,
        }))
    }

    /// Asks, and reads the object that is answered. The text of an answer stays here: it may hold a
    /// secret.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        task: Task,
        ask: ApiRequest,
    ) -> Result<T, KubernetesError> {
        let failed = |cause| self.failed(task.clone(), cause);
        tracing::debug!("{} {}", ask.method, ask.path);
        let answering = tokio::time::timeout(self.stall_timeout, self.answer(&ask));
        let (status, body) = match answering.await {
            Err(_) => return Err(failed(RequestError::TimedOut(self.stall_timeout.as_secs()))),
            Ok(Ok(answer)) => answer,
            Ok(Err(SendError::NotSignedIn(error))) => return Err(error),
            Ok(Err(SendError::Broken(cause))) => return Err(failed(RequestError::Broken(cause))),
        };
        if !status.is_success() {
            return Err(failed(RequestError::Refused(Refusal::of(status, &body))));
        }
        json::from_slice(&body).map_err(|_| failed(RequestError::Unreadable))
    }

    /// Sends the request and reads its answer. Only what asks for patience is tried again: 429, 503
    /// and 504, within seconds or when the server says so.
    async fn answer(&self, ask: &ApiRequest) -> Result<(StatusCode, Bytes), SendError> {
        let broken = |cause: Cause| SendError::Broken(cause);
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(RETRIES)
            .with_jitter()
            .build();
        loop {
            let signed = self.sign_in.headers().await;
            let request = ask
                .request(&self.server, signed.map_err(SendError::NotSignedIn)?)
                .map_err(|error| broken(Box::new(error)))?;
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| broken(Box::new(error)))?;
            let status = answer.status();
            if matches!(status.as_u16(), 429 | 503 | 504)
                && let Some(pause) = pauses.next()
            {
                let asked = answer.headers().get(RETRY_AFTER);
                let asked = asked.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
                tokio::time::sleep(asked.map_or(pause, Duration::from_secs)).await;
                continue;
            }
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            return Ok((status, body.map_err(broken)?.to_bytes()));
        }
    }
}

/// Why there is no answer.
enum SendError {
    NotSignedIn(KubernetesError),
    Broken(Cause),
}
