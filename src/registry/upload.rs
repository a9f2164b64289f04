//! Uploads a blob with one POST and one PUT, because Artifact Registry does not support chunked
//! uploads. <https://cloud.google.com/artifact-registry/docs/reference/docker-api>

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::auth::scope::{Access, Authorization};
use super::upload_progress::{HostProgress, Stall, UploadLimits, UploadProgress};
use super::{Registry, RegistryError};
use crate::http::{
    BoxError, ErrorResponse, UploadError, has_login, host, redacted, redirect_target,
    send_upload_logged,
};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

/// How long the body of an upload is delayed if the host is known to redirect uploads, so that the
/// redirect arrives before any byte is sent.
const BODY_DELAY: Duration = Duration::from_secs(1);

/// Why the `Location` of an upload session cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocationError {
    /// It is missing.
    #[error("its response has no `Location`")]
    Absent,
    /// It cannot be parsed.
    #[error("its response has a `Location` that is not a URL")]
    NoUrl,
    /// It contains a user or a password.
    #[error("its response has a `Location` that contains a login, which gcr-push does not follow")]
    Login,
    /// It would downgrade the upload from TLS to plain HTTP.
    #[error(
        "its response has an upload address without TLS, at `{0}`, where gcr-push sends nothing"
    )]
    WithoutTls(String),
}

/// What is known about redirected uploads.
#[derive(Default)]
pub(super) struct Redirected {
    /// The hosts and ports that redirect uploads.
    hosts: Mutex<HashSet<String>>,
    /// The redirect targets of uploads whose body was already consumed.
    next: Mutex<HashMap<(String, Digest), Url>>,
}

impl Redirected {
    fn record_host(&self, from: &Url) {
        let mut hosts = self.hosts.lock();
        hosts.insert(host(from));
    }

    fn is_known_from(&self, url: &Url) -> bool {
        let hosts = self.hosts.lock();
        hosts.contains(&host(url))
    }

    fn store_target(&self, upload: &Upload<'_>, next: Url) {
        let mut targets = self.next.lock();
        targets.insert(upload.key(), next);
    }

    fn take_target(&self, upload: &Upload<'_>) -> Option<Url> {
        let mut targets = self.next.lock();
        targets.remove(&upload.key())
    }
}

/// A blob to be uploaded.
#[derive(Clone, Copy)]
struct Upload<'a> {
    repository: &'a str,
    digest: &'a Digest,
    size: u64,
}

impl Upload<'_> {
    fn key(&self) -> (String, Digest) {
        (self.repository.to_owned(), self.digest.clone())
    }
}

/// The body of an upload in progress.
struct Outgoing {
    /// `None` once the upload has ended. A hanging connection may keep its end of the body, and
    /// other subscribers of the same source must not wait for it.
    body: Arc<Mutex<Option<ByteStream>>>,
    /// True once the body is being sent.
    is_spent: Arc<AtomicBool>,
    progress: Arc<UploadProgress>,
    /// The error of reading the source.
    read_error: Arc<Mutex<Option<io::Error>>>,
}

impl Registry {
    /// Uploads a blob of `size` bytes with one POST and one PUT.
    ///
    /// The registry checks the digest. This is a single try, because the stream can be read only
    /// once. The retry layer repeats it with a new stream. After a 401 the token is dropped, so
    /// that the next try uses a new one. After a redirect that arrived when bytes were already
    /// sent, the next try goes to its target.
    ///
    /// # Errors
    ///
    /// If the registry refuses, the connection breaks, or the body makes no progress for the stall
    /// timeout.
    pub async fn put_blob(
        &self,
        repository: &str,
        digest: &Digest,
        size: u64,
        body: ByteStream,
    ) -> Result<(), RegistryError> {
        let upload = Upload {
            repository,
            digest,
            size,
        };
        let mut url = match self.redirected.take_target(&upload) {
            Some(url) => url,
            None => self.upload_url(repository, digest).await?,
        };
        let outgoing = Outgoing::new(body, size, Arc::clone(&self.moved));
        let mut redirects = 0;
        loop {
            let response = self.send_body(upload, &url, &outgoing).await?;
            let next = redirect_target(&Method::PUT, &response);
            let next = next.map_err(|cause| self.upload_error(&upload, &url, cause))?;
            let Some(next) = next else {
                return self.check_response(upload, &url, response).await;
            };
            self.redirected.record_host(&url);
            redirects += 1;
            if redirects > crate::http::MAX_REDIRECTS {
                let endless = crate::http::RedirectError::TooMany;
                return Err(self.upload_error(&upload, &url, endless));
            }
            if outgoing.is_spent() {
                self.redirected.store_target(&upload, next);
                let logged = self.logged_url(&upload, &url);
                let redirect = ErrorResponse::parse(response.status(), response.headers(), &[]);
                let refusal = RegistryError::refused(Method::PUT, logged, redirect);
                return Err(refusal.at(&url).repeatable_now());
            }
            url = next;
        }
    }

    /// Opens an upload session and returns the URL for its bytes.
    async fn upload_url(&self, repository: &str, digest: &Digest) -> Result<Url, RegistryError> {
        let response = self.start_upload(repository).await?;
        let uploads = self.uploads(repository);
        if response.status() != StatusCode::ACCEPTED {
            let status = response.status();
            let what = format!("Expected HTTP Status 202 Accepted, got {status} instead");
            return Err(RegistryError::protocol_violation(
                Method::POST,
                uploads,
                what,
            ));
        }
        let mut url = self
            .location(response.url(), response.headers())
            .map_err(|cause| RegistryError::unusable_location(uploads, cause))?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        Ok(url)
    }

    /// Resolves the `Location` of a response from `base`, by RFC 3986.
    fn location(&self, base: &Url, headers: &HeaderMap) -> Result<Url, LocationError> {
        let location = headers.get(LOCATION).ok_or(LocationError::Absent)?;
        let location = location.to_str().map_err(|_| LocationError::NoUrl)?;
        let mut url = base.join(location).map_err(|_| LocationError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(LocationError::NoUrl);
        }
        if has_login(&url) {
            return Err(LocationError::Login);
        }
        url.set_fragment(None);
        if url.scheme() == "http" && base.scheme() == "https" {
            // A proxy terminates TLS in front of a registry that does not know it.
            let is_own = url.host() == self.root.host()
                && url.port_or_known_default().filter(|port| *port != 80) == self.root.port();
            if !is_own || url.set_scheme("https").is_err() {
                return Err(LocationError::WithoutTls(host(&url)));
            }
        }
        Ok(url)
    }

    /// Sends the bytes to `url`, with credentials only if it is the registry's own origin.
    async fn send_body(
        &self,
        upload: Upload<'_>,
        url: &Url,
        outgoing: &Outgoing,
    ) -> Result<Response, RegistryError> {
        let Upload {
            repository, size, ..
        } = upload;
        let is_own = url.origin() == self.root.origin();
        let authorization = if is_own {
            self.tokens
                .authorization(repository, Access::PullPush)
                .await?
        } else {
            Authorization::None
        };
        let delay = if self.redirected.is_known_from(url) {
            BODY_DELAY
        } else {
            Duration::ZERO
        };
        let mut request = self
            .transport
            .upload_request(url.clone())
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(outgoing.body(delay));
        if let Some(header) = authorization.header() {
            request = request.header(AUTHORIZATION, header);
        }
        self.retries.rate_limiter.acquire().await;
        let address = if is_own {
            redacted(&Method::PUT, url)
        } else {
            format!("{}://{}/...", url.scheme(), host(url))
        };
        let client = self.transport.uploads();
        let sent = tokio::select! {
            sent = send_upload_logged(client, request, &address) => sent,
            stall = self.stalled(upload.digest, outgoing) => {
                return Err(self.upload_error(&upload, url, io::Error::from(stall)));
            }
        };
        if let Some(cause) = outgoing.source_error() {
            let url = self.uploads(repository);
            return Err(RegistryError::source_failed(Method::PUT, url, cause));
        }
        let mut response = match sent {
            Ok(response) => response,
            Err(cause) => return Err(self.no_response_error(&upload, url, cause).await),
        };
        self.retries.observe(&response);
        if response.status() == StatusCode::UNAUTHORIZED && is_own {
            // The next try starts with a POST, which meets the challenge.
            if response.headers().contains_key(WWW_AUTHENTICATE) {
                drop(self.tokens.update_challenge(repository, response.headers()));
            }
            self.tokens
                .forget(repository, Access::PullPush, &authorization);
        }
        response
            .extensions_mut()
            .insert(self.tokens.presented(repository, &authorization, is_own));
        Ok(response)
    }

    /// Resolves when an upload must be given up.
    async fn stalled(&self, digest: &Digest, outgoing: &Outgoing) -> Stall {
        let limits = UploadLimits {
            stall: self.stall_timeout,
            finish: self.finish_timeout,
        };
        let taken = || HostProgress {
            handed_over: self.moved_bytes(),
            unacknowledged: self.transport.uploads().send_queues().unacknowledged(),
        };
        let finishing = || {
            tracing::info!(
                "all bytes of {} are sent; {} is finishing the blob",
                digest.short(),
                self.endpoint
            );
        };
        outgoing.progress.stalled(taken, limits, finishing).await
    }

    /// Checks whether a response means that the blob is stored.
    async fn check_response(
        &self,
        upload: Upload<'_>,
        url: &Url,
        response: Response,
    ) -> Result<(), RegistryError> {
        let Upload {
            repository, digest, ..
        } = upload;
        let status = response.status();
        if status == StatusCode::CREATED {
            return Ok(());
        }
        if !status.is_success() {
            let refusal = tokio::time::timeout(
                self.stall_timeout,
                self.refusal(Method::PUT, self.logged_url(&upload, url), response),
            );
            let Ok(refusal) = refusal.await else {
                let text = "the response to the upload did not arrive in time";
                let stalled = io::Error::new(io::ErrorKind::TimedOut, text);
                return Err(self.upload_error(&upload, url, stalled));
            };
            return Err(match status {
                StatusCode::UNAUTHORIZED if url.origin() == self.root.origin() => {
                    refusal.repeatable_now()
                }
                _ => refusal,
            });
        }
        // Some registries answer a successful upload with another status.
        if self
            .has_blob_once(repository, digest)
            .await
            .unwrap_or(false)
        {
            return Ok(());
        }
        let what = format!("Expected HTTP Status 201 Created, got {status} instead");
        let url = self.uploads(repository);
        Err(RegistryError::protocol_violation(Method::PUT, url, what))
    }

    /// Builds the error of an upload without a response.
    async fn no_response_error(
        &self,
        upload: &Upload<'_>,
        url: &Url,
        cause: UploadError,
    ) -> RegistryError {
        let connection_failed = self.upload_error(upload, url, cause);
        if url.origin() != self.root.origin() {
            return connection_failed;
        }
        // A registry that refuses during the upload may close the connection before the response
        // can be read. The same request without a body shows the reason.
        match self.start_upload(upload.repository).await {
            Err(refusal) if refusal.status().is_some() => refusal,
            _ => connection_failed,
        }
    }

    fn upload_error(
        &self,
        upload: &Upload<'_>,
        url: &Url,
        cause: impl Into<BoxError>,
    ) -> RegistryError {
        let is_own = host(url) == host(&self.root);
        let logged = if is_own {
            self.uploads(upload.repository)
        } else {
            self.logged_url(upload, url)
        };
        RegistryError::connection_failed(Method::PUT, logged, cause).at(url)
    }

    /// The URL in an error. It is always at the registry, even if the bytes are sent elsewhere.
    fn logged_url(&self, upload: &Upload<'_>, url: &Url) -> Url {
        if host(url) == host(&self.root) {
            return url.clone();
        }
        let mut own = self.uploads(upload.repository);
        own.query_pairs_mut()
            .append_pair("digest", upload.digest.as_str());
        own
    }

    fn uploads(&self, repository: &str) -> Url {
        self.url(&format!("/v2/{repository}/blobs/uploads/"))
    }

    /// Opens an upload session. Registries discard it if it is not used.
    pub(super) async fn start_upload(&self, repository: &str) -> Result<Response, RegistryError> {
        let url = self.uploads(repository);
        let response = self
            .send(
                Method::POST,
                url.clone(),
                repository,
                Access::PullPush,
                |r| r.header(CONTENT_LENGTH, 0),
            )
            .await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(Method::POST, url, response).await)
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        drop(self.body.lock().take());
    }
}

impl Outgoing {
    fn new(body: ByteStream, size: u64, total: Arc<AtomicU64>) -> Self {
        let progress = Arc::new(UploadProgress::new(size));
        let read_error = Arc::new(Mutex::new(None));
        let source_error = Arc::clone(&read_error);
        let body = progress.watch(body, total).map_err(move |error| {
            // hyper reports a failing body as a broken connection.
            let copy = io::Error::new(error.kind(), error.to_string());
            *source_error.lock() = Some(error);
            copy
        });
        Self {
            body: Arc::new(Mutex::new(Some(body.boxed()))),
            is_spent: Arc::default(),
            progress,
            read_error,
        }
    }

    /// Builds a body that starts after `delay`, unless the response arrives before.
    fn body(&self, delay: Duration) -> Body {
        let (body, is_spent) = (Arc::clone(&self.body), Arc::clone(&self.is_spent));
        let bytes = stream::once(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            is_spent.store(true, Ordering::Relaxed);
            stream::poll_fn(move |context| {
                let mut body = body.lock();
                match &mut *body {
                    Some(body) => body.poll_next_unpin(context),
                    None => Poll::Ready(None),
                }
            })
        });
        Body::wrap_stream(bytes.flatten())
    }

    fn is_spent(&self) -> bool {
        self.is_spent.load(Ordering::Relaxed)
    }

    fn source_error(&self) -> Option<io::Error> {
        let mut source_error = self.read_error.lock();
        source_error.take()
    }
}
