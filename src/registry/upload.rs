//! Sending a blob: one POST and one PUT, because Artifact Registry does not take chunks.
//! <https://cloud.google.com/artifact-registry/docs/reference/docker-api>

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Body, Method, Response, StatusCode, Url};

use super::auth::scope::{Access, Authorization};
use super::error::redacted;
use super::hints::host;
use super::upload_progress::{Stall, Taken, UploadLimits, UploadProgress};
use super::{Registry, RegistryError};
use crate::http::{UploadError, has_login, redirect_target, send_upload_logged};
use crate::oci::blob::ByteStream;
use crate::oci::digest::Digest;

/// How long the body of an upload is held back where uploads are known to be redirected, so that
/// the redirect comes before a byte of it is sent.
const HOLD: Duration = Duration::from_secs(1);

/// A `Location` that an upload cannot go to.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocationError {
    /// There is none.
    #[error("its answer names no `Location`")]
    Absent,
    /// It cannot be read.
    #[error("its answer names a `Location` that is no URL")]
    NoUrl,
    /// It brings a user or a password of its own.
    #[error("its answer names a `Location` with a login in it, which is not followed")]
    Login,
    /// What came by TLS would go on in the clear.
    #[error("its answer names an upload address without TLS, at `{0}`, where nothing is sent")]
    WithoutTls(String),
}

/// What is known of uploads that are redirected.
#[derive(Default)]
pub(super) struct Redirected {
    /// Hosts and ports that redirect uploads.
    hosts: Mutex<HashSet<String>>,
    /// Where an upload goes on whose body was spent when it was redirected.
    next: Mutex<HashMap<(String, Digest), Url>>,
}

impl Redirected {
    fn note(&self, from: &Url) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(host(from));
    }

    fn may_come_from(&self, url: &Url) -> bool {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.contains(&host(url))
    }

    fn leave(&self, upload: &Upload<'_>, next: Url) {
        let mut all = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(upload.key(), next);
    }

    fn take(&self, upload: &Upload<'_>) -> Option<Url> {
        let mut all = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&upload.key())
    }
}

/// A blob that is sent.
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

/// The bytes of a blob on their way, and what is seen of them there.
struct Outgoing {
    /// `None` once the upload has ended. A connection that hangs may keep its end of the body, which
    /// others that share the read must not wait for.
    body: Arc<Mutex<Option<ByteStream>>>,
    /// True once the body is being sent.
    is_spent: Arc<AtomicBool>,
    progress: Arc<UploadProgress>,
    /// What the source failed with.
    unreadable: Arc<Mutex<Option<io::Error>>>,
}

impl Registry {
    /// Sends a blob of `size` bytes, in one POST and one PUT.
    ///
    /// The registry checks the digest. This is one try, because the stream can be read but once: the
    /// retry layer repeats it, each time with a stream of its own. After a 401 the token is forgotten,
    /// so that the next try shows a new one; after a redirect that came when bytes were sent already,
    /// the next try goes where it leads.
    ///
    /// # Errors
    ///
    /// When the registry refuses, the connection breaks, or the body stands still for the
    /// stall time-out.
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
        let mut url = match self.redirected.take(&upload) {
            Some(url) => url,
            None => self.upload_url(repository, digest).await?,
        };
        let outgoing = Outgoing::new(body, size, Arc::clone(&self.moved));
        let mut redirects = 0;
        loop {
            let answer = self.send_body(upload, &url, &outgoing).await?;
            let next = redirect_target(&Method::PUT, &answer);
            let next = next.map_err(|cause| self.broken_upload(&upload, &url, cause))?;
            let Some(next) = next else {
                return self.judge(upload, &url, answer).await;
            };
            self.redirected.note(&url);
            redirects += 1;
            if redirects > crate::http::MAX_REDIRECTS {
                let endless = crate::http::RedirectError::TooMany;
                return Err(self.broken_upload(&upload, &url, endless));
            }
            if outgoing.is_spent() {
                self.redirected.leave(&upload, next);
                let (shown, status) = (self.shown_url(&upload, &url), answer.status());
                let refusal = RegistryError::refused(Method::PUT, shown, status, &[]);
                return Err(refusal.at(&url).worth_sending_again());
            }
            url = next;
        }
    }

    /// Begins an upload: where its bytes go.
    async fn upload_url(&self, repository: &str, digest: &Digest) -> Result<Url, RegistryError> {
        let answer = self.start_upload(repository).await?;
        let uploads = self.uploads(repository);
        if answer.status() != StatusCode::ACCEPTED {
            let status = answer.status();
            let what = format!("Expected HTTP Status 202 Accepted, got {status} instead");
            return Err(RegistryError::unexpected(Method::POST, uploads, what));
        }
        let mut url = self
            .location(answer.url(), answer.headers())
            .map_err(|cause| RegistryError::unusable_location(uploads, cause))?;
        url.query_pairs_mut().append_pair("digest", digest.as_str());
        Ok(url)
    }

    /// The `Location` in an answer from `base`, resolved as RFC 3986 says.
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
            // A proxy that ends the TLS in front of a registry has not told it so.
            let is_own = url.host() == self.root.host()
                && url.port_or_known_default().filter(|port| *port != 80) == self.root.port();
            if !is_own || url.set_scheme("https").is_err() {
                return Err(LocationError::WithoutTls(host(&url)));
            }
        }
        Ok(url)
    }

    /// Sends the bytes to `url`, the login with them where it is the registry's own.
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
        let shown = if is_own {
            self.tokens
                .authorization(repository, Access::PullPush)
                .await?
        } else {
            Authorization::None
        };
        let hold = if self.redirected.may_come_from(url) {
            HOLD
        } else {
            Duration::ZERO
        };
        let mut request = self
            .transport
            .upload_request(url.clone())
            .header(CONTENT_LENGTH, size)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(outgoing.body(hold));
        if let Some(header) = shown.header() {
            request = request.header(AUTHORIZATION, header);
        }
        self.retries.pace.acquire().await;
        let address = if is_own {
            redacted(&Method::PUT, url)
        } else {
            format!("{}://{}/...", url.scheme(), host(url))
        };
        let client = self.transport.uploads();
        let sent = tokio::select! {
            sent = send_upload_logged(client, request, &address) => sent,
            stall = self.stalled(upload.digest, outgoing) => {
                return Err(self.broken_upload(&upload, url, io::Error::from(stall)));
            }
        };
        if let Some(cause) = outgoing.fault() {
            let url = self.uploads(repository);
            return Err(RegistryError::unreadable(Method::PUT, url, cause));
        }
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(cause) => return Err(self.unanswered(&upload, url, cause).await),
        };
        self.retries.observe(&answer);
        if answer.status() == StatusCode::UNAUTHORIZED && is_own {
            // What it asks for is taken up by the next try, whose POST asks for it again.
            if answer.headers().contains_key(WWW_AUTHENTICATE) {
                drop(self.tokens.challenged(repository, answer.headers()));
            }
            self.tokens.refused(repository, Access::PullPush, &shown);
        }
        answer
            .extensions_mut()
            .insert(self.tokens.presented(repository, &shown, is_own));
        Ok(answer)
    }

    /// Ends when an upload is to be given up.
    async fn stalled(&self, digest: &Digest, outgoing: &Outgoing) -> Stall {
        let limits = UploadLimits {
            stall: self.stall_timeout,
            finish: self.finish_timeout,
        };
        let taken = || Taken {
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

    /// Whether an answer says that the blob is there now.
    async fn judge(
        &self,
        upload: Upload<'_>,
        url: &Url,
        answer: Response,
    ) -> Result<(), RegistryError> {
        let Upload {
            repository, digest, ..
        } = upload;
        let status = answer.status();
        if status == StatusCode::CREATED {
            return Ok(());
        }
        if !status.is_success() {
            let refusal = tokio::time::timeout(
                self.stall_timeout,
                self.refusal(Method::PUT, self.shown_url(&upload, url), answer),
            );
            let Ok(refusal) = refusal.await else {
                let text = "the answer to the upload stands still";
                let stalled = io::Error::new(io::ErrorKind::TimedOut, text);
                return Err(self.broken_upload(&upload, url, stalled));
            };
            return Err(match status {
                StatusCode::UNAUTHORIZED if url.origin() == self.root.origin() => {
                    refusal.worth_sending_again()
                }
                _ => refusal,
            });
        }
        // Some registries take a blob with another status.
        if self
            .has_blob_once(repository, digest)
            .await
            .unwrap_or(false)
        {
            return Ok(());
        }
        let what = format!("Expected HTTP Status 201 Created, got {status} instead");
        let url = self.uploads(repository);
        Err(RegistryError::unexpected(Method::PUT, url, what))
    }

    /// The error of an upload that got no answer.
    async fn unanswered(
        &self,
        upload: &Upload<'_>,
        url: &Url,
        cause: UploadError,
    ) -> RegistryError {
        let broken = self.broken_upload(upload, url, cause);
        if url.origin() != self.root.origin() {
            return broken;
        }
        // A registry that refuses while we still send may close before we can read why; the same
        // question without a body lets it say so.
        match self.start_upload(upload.repository).await {
            Err(refusal) if refusal.status().is_some() => refusal,
            _ => broken,
        }
    }

    fn broken_upload(
        &self,
        upload: &Upload<'_>,
        url: &Url,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> RegistryError {
        let is_own = host(url) == host(&self.root);
        let shown = if is_own {
            self.uploads(upload.repository)
        } else {
            self.shown_url(upload, url)
        };
        RegistryError::broken(Method::PUT, shown, cause).at(url)
    }

    /// The URL that an error names: the registry's own, also where the bytes go elsewhere.
    fn shown_url(&self, upload: &Upload<'_>, url: &Url) -> Url {
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

    /// Opens an upload session and leaves it; registries drop it by themselves.
    pub(super) async fn start_upload(&self, repository: &str) -> Result<Response, RegistryError> {
        let url = self.uploads(repository);
        let answer = self
            .send(
                Method::POST,
                url.clone(),
                repository,
                Access::PullPush,
                |r| r.header(CONTENT_LENGTH, 0),
            )
            .await?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(self.refusal(Method::POST, url, answer).await)
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        drop(
            self.body
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

impl Outgoing {
    fn new(body: ByteStream, size: u64, total: Arc<AtomicU64>) -> Self {
        let progress = Arc::new(UploadProgress::new(size));
        let unreadable = Arc::new(Mutex::new(None));
        let fault = Arc::clone(&unreadable);
        let body = progress.watch(body, total).map_err(move |error| {
            // hyper tells of a body that fails as of a connection that breaks.
            let copy = io::Error::new(error.kind(), error.to_string());
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            copy
        });
        Self {
            body: Arc::new(Mutex::new(Some(body.boxed()))),
            is_spent: Arc::default(),
            progress,
            unreadable,
        }
    }

    /// A body that takes up the bytes after `hold`, unless the answer comes before.
    fn body(&self, hold: Duration) -> Body {
        let (body, is_spent) = (Arc::clone(&self.body), Arc::clone(&self.is_spent));
        let bytes = stream::once(async move {
            if !hold.is_zero() {
                tokio::time::sleep(hold).await;
            }
            is_spent.store(true, Ordering::Relaxed);
            stream::poll_fn(move |context| {
                let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn fault(&self) -> Option<io::Error> {
        let mut fault = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        fault.take()
    }
}
