//! Asking an API server, and reading what it answers.

use std::time::Duration;

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{FailedRequest, KubernetesError, Refusal, RequestError, Task};

/// The most bytes of an answer: an object has at most 1.5 MiB, which is what etcd takes.
const LARGEST: usize = 4 << 20;

/// A cluster that was found; nothing is asked of it yet.
pub struct Cluster {
    pub(super) client: kube::Client,
    pub(super) server: String,
    pub(super) namespace: String,
    pub(super) stall_timeout: Duration,
}

/// A request as the API server takes it.
pub(super) struct Ask {
    method: http::Method,
    path: String,
    query: Vec<(&'static str, &'static str)>,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Ask {
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
            body,
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

    fn request(self) -> Result<Request<Vec<u8>>, http::Error> {
        let query: Vec<_> = self.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let separator = if query.is_empty() { "" } else { "?" };
        Request::builder()
            .method(self.method)
            .uri(format!("{}{separator}{}", self.path, query.join("&")))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, self.content_type)
            .body(self.body)
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
        ask: Ask,
    ) -> Result<T, KubernetesError> {
        let failed = |cause| self.failed(task.clone(), cause);
        tracing::debug!("{} {}", ask.method, ask.path);
        let request = ask
            .request()
            .map_err(|error| failed(RequestError::Broken(Box::new(error))))?;
        let answering = async {
            let answer = self.client.send(request.map(Body::from)).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            Ok::<_, kube::Error>((status, body.map(|body| body.to_bytes())))
        };
        let answer = tokio::time::timeout(self.stall_timeout, answering).await;
        let (status, body) = match answer {
            Err(_) => return Err(failed(RequestError::TimedOut(self.stall_timeout.as_secs()))),
            Ok(Ok((status, Ok(body)))) => (status, body),
            Ok(Ok((_, Err(cause)))) => return Err(failed(RequestError::Broken(cause))),
            Ok(Err(kube::Error::Service(cause))) => {
                return Err(failed(RequestError::Broken(cause)));
            }
            Ok(Err(cause)) => return Err(failed(RequestError::Broken(Box::new(cause)))),
        };
        if !status.is_success() {
            return Err(failed(RequestError::Refused(Refusal::of(status, &body))));
        }
        serde_json::from_slice(&body).map_err(|_| failed(RequestError::Unreadable))
    }
}
