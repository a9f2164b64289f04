//! Blobs of one registry. This is the file that knows oci-client, which carries them.
//!
//! It is given a token for each request and never a credential. Uploads are monolithic, one POST
//! and one PUT: Artifact Registry does not take chunks.
//! <https://cloud.google.com/artifact-registry/docs/reference/docker-api>

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::{RegistryToken, RegistryTokenType};
use oci_distribution::{Reference, RegistryOperation};
use reqwest::{Method, Response, StatusCode, Url};

use super::authorization::{Access, Authorization};
use super::http::read_bounded;
use super::turns::within_turns;
use super::{Registry, RegistryError};
use crate::digest::Digest;
use crate::manifest::MAX_MANIFEST_SIZE;
use crate::network::{Network, NetworkError, USER_AGENT};
use crate::source::ByteStream;

/// How long oci-client may believe in a token that tells no expiry: longer than any lives, because
/// [`super::token`] renews them.
const TOKEN_LIFETIME_SECONDS: usize = 24 * 60 * 60;

/// The client that carries the blobs of the registry at `root`.
pub(super) fn client(
    network: &Network,
    root: &Url,
) -> Result<oci_distribution::Client, NetworkError> {
    let config = ClientConfig {
        protocol: if root.scheme() == "http" {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        use_monolithic_push: true,
        tls_certs_only: network
            .ca_certificates
            .with_systems()
            .map(|der| Certificate {
                encoding: CertificateEncoding::Der,
                data: der.to_vec(),
            })
            .collect(),
        default_token_expiration_secs: TOKEN_LIFETIME_SECONDS,
        connect_timeout: Some(network.connect_timeout),
        user_agent: USER_AGENT,
        https_proxy: network.proxies.https.clone(),
        http_proxy: network.proxies.http.clone(),
        no_proxy: Some(network.proxies.direct()),
        ..ClientConfig::default()
    };
    oci_distribution::Client::try_from(config).map_err(|error| match error {
        OciDistributionError::RequestError(error) => NetworkError::Http(error),
        // Nothing else is fallible in it.
        _ => NetworkError::Tls(rustls::Error::General("unusable settings".to_owned())),
    })
}

impl Registry {
    /// True when `repository` holds the blob.
    ///
    /// # Errors
    ///
    /// When the registry refuses to say.
    pub async fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, RegistryError> {
        self.retries
            .run(|| self.has_blob_once(repository, digest))
            .await
    }

    /// The same question, asked once.
    pub(crate) async fn has_blob_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let url = self.blob_url(repository, digest);
        let answer = self
            .send(Method::HEAD, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            status if status.is_success() => return Ok(true),
            StatusCode::NOT_FOUND => return Ok(false),
            _ => {}
        }
        // A HEAD has no body, so the same question is asked again with GET to hear why; a blob that
        // comes after all is not read.
        let answer = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(Method::GET, url, answer).await),
        }
    }

    /// The bytes of a small blob, a config; none when it is not there.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or sends more than [`MAX_MANIFEST_SIZE`] bytes or other ones than
    /// the digest names.
    pub async fn get_config(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        // What a config tells only saves work.
        self.retries
            .brief()
            .run(|| self.get_config_once(repository, digest))
            .await
    }

    async fn get_config_once(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Option<Bytes>, RegistryError> {
        let url = self.blob_url(repository, digest);
        let answer = self
            .send(Method::GET, url.clone(), repository, self.access, |r| r)
            .await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(Method::GET, url, answer).await),
        }
        let limit = usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX);
        let body = read_bounded(answer, limit, self.stall_timeout)
            .await
            .map_err(|error| RegistryError::unfinished(Method::GET, url.clone(), error))?;
        if Digest::of(&body) == *digest {
            Ok(Some(body))
        } else {
            let what = format!("it sent a blob whose digest is {}", Digest::of(&body));
            Err(RegistryError::garbled(Method::GET, url, what))
        }
    }

    /// Sends a blob of `size` bytes, in one POST and one PUT.
    ///
    /// The registry checks the digest. This is one try, because the stream can be read but once: the
    /// retry layer repeats it, each time with a stream of its own. After a 401 the token is forgotten,
    /// so that the next try shows a new one.
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
        let shown = self
            .tokens
            .authorization(repository, Access::PullPush)
            .await?;
        let reference = Reference::with_digest(
            self.endpoint.host().to_owned(),
            repository.to_owned(),
            digest.to_string(),
        );
        self.show(&reference, &shown).await;
        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let total = Arc::clone(&self.moved);
        let unreadable = Arc::new(Mutex::new(None));
        let fault = Arc::clone(&unreadable);
        let starves = Arc::new(AtomicBool::new(false));
        let body = watched(body, Arc::clone(&starves))
            .inspect_ok(move |piece| {
                counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                total.fetch_add(piece.len() as u64, Ordering::Relaxed);
            })
            .map_err(move |error| {
                // The client tells of a body that fails as of a connection that breaks.
                let copy = io::Error::new(error.kind(), error.to_string());
                *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                OciDistributionError::IoError(copy)
            });
        self.retries.pace.turn().await;
        // The POST has its turn, and the PUT follows at once.
        self.retries.pace.count();
        tracing::debug!(
            "sending {digest}, {size} bytes, to {}/{repository}",
            self.endpoint
        );
        let sending =
            self.blobs
                .push_blob_stream(&reference, body.boxed(), digest.as_str(), Some(size));
        let sent = tokio::select! {
            sent = within_turns(sending) => match sent {
                Some(sent) => sent,
                None => return Err(self.endless_answer(repository).await),
            },
            () = stalled(&moved, &starves, self.stall_timeout) => {
                let text = format!("nothing moved for {} s", self.stall_timeout.as_secs());
                let stalled = io::Error::new(io::ErrorKind::TimedOut, text);
                return Err(self.upload_broken(repository, stalled));
            }
        };
        let unreadable = unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match (sent, unreadable) {
            (Ok(_), _) => {
                self.retries.pace.ease();
                Ok(())
            }
            (Err(_), Some(cause)) => {
                let url = self.uploads(repository);
                Err(RegistryError::unreadable(Method::PUT, url, cause))
            }
            // Some registries take a blob with another status than 201, or name no `Location`.
            (Err(error), None)
                if is_unusual(&error)
                    && self
                        .has_blob_once(repository, digest)
                        .await
                        .unwrap_or(false) =>
            {
                Ok(())
            }
            (Err(error), None) => {
                let error = self.upload_error(repository, error).await;
                if error.status() == Some(StatusCode::UNAUTHORIZED) {
                    self.tokens.refused(repository, Access::PullPush, &shown);
                    return Err(error.of_token());
                }
                Err(error)
            }
        }
    }

    /// Hands oci-client the token for its next request.
    async fn show(&self, reference: &Reference, shown: &Authorization) {
        let token = match shown {
            Authorization::None => return,
            Authorization::Basic(user, password) => {
                RegistryTokenType::Basic(user.clone(), password.expose().to_owned())
            }
            Authorization::Bearer(token) => RegistryTokenType::Bearer(RegistryToken::Token {
                token: token.expose().to_owned(),
            }),
        };
        // Without an entry in its store it does not look at the tokens at all.
        self.blobs
            .store_auth_if_needed(reference.resolve_registry(), &RegistryAuth::Anonymous)
            .await;
        self.blobs
            .tokens
            .insert(reference, RegistryOperation::Push, token)
            .await;
    }

    /// Says in our own form what oci-client says of an upload.
    async fn upload_error(&self, repository: &str, error: OciDistributionError) -> RegistryError {
        match error {
            OciDistributionError::ServerError { url, code, message } => {
                let url = Url::parse(&url).unwrap_or_else(|_| self.uploads(repository));
                let method = if url.query().is_some_and(|query| query.contains("digest=")) {
                    Method::PUT
                } else {
                    Method::POST
                };
                let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
                let body = self.tokens.without_secrets(message.as_bytes());
                RegistryError::refused(method, url, status, &body)
                    .of(self.tokens.asker(self.access, repository))
            }
            OciDistributionError::RequestError(error) => {
                let is_put = |url: &Url| url.query().is_some_and(|query| query.contains("digest="));
                let method = match error.url() {
                    Some(url) if !is_put(url) => Method::POST,
                    _ => Method::PUT,
                };
                let uploads = self.uploads(repository);
                let broken = RegistryError::broken(method, uploads, error.without_url());
                // A registry that refuses while we still send may close before we can read why;
                // the same question without a body lets it say so.
                match self.start_upload(repository).await {
                    Err(refusal) if refusal.status().is_some() => refusal,
                    _ => broken,
                }
            }
            OciDistributionError::RegistryNoLocationError => RegistryError::unexpected(
                Method::POST,
                self.uploads(repository),
                "its answer names no `Location`",
            ),
            OciDistributionError::SpecViolationError(text) => {
                let method = if text.starts_with("Expected HTTP Status 201") {
                    Method::PUT
                } else {
                    Method::POST
                };
                RegistryError::unexpected(method, self.uploads(repository), text)
            }
            _ => RegistryError::unexpected(
                Method::POST,
                self.uploads(repository),
                "its answer names a `Location` that is no URL",
            ),
        }
    }

    /// The error for an answer of which nobody saw the end, nor the beginning; what the registry
    /// says to the same question with a bound to what is read may tell more.
    async fn endless_answer(&self, repository: &str) -> RegistryError {
        match self.start_upload(repository).await {
            Err(refusal) if refusal.status().is_some() => refusal,
            _ => {
                let what = "the answer to the upload has no end";
                RegistryError::unexpected(Method::PUT, self.uploads(repository), what)
            }
        }
    }

    fn uploads(&self, repository: &str) -> Url {
        self.url(&format!("/v2/{repository}/blobs/uploads/"))
    }

    fn upload_broken(
        &self,
        repository: &str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> RegistryError {
        RegistryError::broken(Method::PUT, self.uploads(repository), cause)
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
                |r| r.header(reqwest::header::CONTENT_LENGTH, 0),
            )
            .await?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(self.refusal(Method::POST, url, answer).await)
        }
    }
}

/// True for an answer that is not the one that the distribution spec asks for, but no refusal.
fn is_unusual(error: &OciDistributionError) -> bool {
    !matches!(
        error,
        OciDistributionError::ServerError { .. } | OciDistributionError::RequestError(_)
    )
}

/// A body that tells whether it is itself waited for.
fn watched(mut body: ByteStream, starves: Arc<AtomicBool>) -> ByteStream {
    stream::poll_fn(move |context| {
        let polled = body.poll_next_unpin(context);
        starves.store(polled.is_pending(), Ordering::Relaxed);
        polled
    })
    .boxed()
}

/// Ends when `moved` has not changed for `limit`, unless it is the body that gives nothing: then
/// it is not the registry that stands still, but the source, or another that shares its read.
async fn stalled(moved: &AtomicU64, starves: &AtomicBool, limit: Duration) {
    let mut last = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(limit).await;
        let now = moved.load(Ordering::Relaxed);
        if now == last && !starves.load(Ordering::Relaxed) {
            return;
        }
        last = now;
    }
}
