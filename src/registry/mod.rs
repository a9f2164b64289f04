//! One registry, met with the credential it was opened with.

pub mod auth;
mod blobs;
mod download;
pub mod downtime;
mod error;
mod gitlab;
mod google;
pub mod hints;
mod http;
mod manifests;
mod mount;
pub mod once_map;
mod pages;
pub mod pool;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod pull;
mod referrers;
mod resumed;
mod retry;
mod tags;
mod transport;
mod upload;
mod upload_progress;

pub(crate) use downtime::RetryState;
pub use error::RegistryError;
pub use google::ListedManifest;
pub(crate) use retry::{RetryKind, RetryPolicy, Retryable};
pub use tags::Listing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use crate::auth::Credential;
use crate::diagnostics::{Diagnostic, ExitCode};
use crate::http::{Network, NetworkError};
use crate::oci::reference::Endpoint;
use auth::challenge::{Challenge, Realms};
use auth::scope::Access;
use auth::token::TokenCache;
use transport::{Ask, Transport};
use upload::Redirected;

/// A registry that answered, with the way to sign in to it.
pub struct Registry {
    endpoint: Endpoint,
    root: Url,
    transport: Transport,
    tokens: TokenCache,
    access: Access,
    stall_timeout: Duration,
    finish_timeout: Duration,
    /// The bytes of blobs that were sent.
    moved: Arc<AtomicU64>,
    /// The bytes of blobs that came.
    received: Arc<AtomicU64>,
    /// What is known of uploads that are redirected.
    redirected: Redirected,
    retries: RetryPolicy,
    referrers_api: referrers::Api,
}

/// A registry that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It did not answer as a registry does.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nobody is there on this machine, which is no more than the container of an action.
    #[error(transparent)]
    InAction(RegistryError),
    /// The HTTP client could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl OpenError {
    /// What could not be done at `endpoint`.
    pub(crate) fn headline(&self, endpoint: &Endpoint) -> String {
        match self {
            Self::Registry(error) if error.status().is_some() => {
                format!("`{endpoint}` refused the first request")
            }
            Self::Registry(_) | Self::InAction(_) | Self::Network(_) => {
                format!("could not connect to `{endpoint}`")
            }
        }
    }
}

impl Diagnostic for OpenError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry(error) | Self::InAction(error) => error.exit_code(),
            Self::Network(_) => ExitCode::Failed,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Registry(error) => error.hints(),
            Self::InAction(_) => vec![IN_ACTION.to_owned()],
            Self::Network(_) => Vec::new(),
        }
    }
}

/// <https://docs.github.com/en/actions/concepts/workflows-and-actions/about-communicating-with-docker-service-containers>
const IN_ACTION: &str = "in the container of an action `localhost` is that container: name the \
    registry by the label of its service and its own port, such as `registry:5000`, and in \
    `insecure_registries` too where it has no TLS";

impl Registry {
    /// Finds out how `endpoint` is spoken to and what it asks for; nothing is shown to it yet.
    ///
    /// HTTPS is tried first. Plain HTTP is tried when HTTPS is not spoken, and only on this machine
    /// or where `insecure_registries` names the host; a certificate that is not trusted is never a
    /// reason to.
    ///
    /// # Errors
    ///
    /// When nothing answers, or what answers is no registry or asks for a login that cannot be
    /// given.
    pub async fn open(
        endpoint: &Endpoint,
        credential: Credential,
        network: &Network,
        for_writing: bool,
    ) -> Result<Self, OpenError> {
        let transport = Transport::new(network.registry_clients(endpoint)?);
        let may_be_plain = endpoint.is_loopback()
            || network
                .insecure_registries
                .iter()
                .any(|plain| plain == endpoint || plain.host() == endpoint.host_name());
        let retries = RetryPolicy::new(network, endpoint);
        let is_own_container = network.in_action && endpoint.is_loopback();
        // Nothing is started in there that would be worth a wait.
        let opening = if is_own_container {
            retries.at_once()
        } else {
            retries.clone()
        };
        let realms = |scheme: &str| Realms {
            endpoint: endpoint.clone(),
            is_https: scheme == "https",
            insecure_registries: network.insecure_registries.clone(),
        };
        let ask = async |scheme: &str| {
            retries.pace.acquire().await;
            let ping = Ping {
                transport: &transport,
                realms: realms(scheme),
                retries: &retries,
                stall_timeout: network.stall_timeout,
            };
            ping.send(endpoint.url(scheme)).await
        };
        let (root, challenge) = opening
            .run(|| async {
                match ask("https").await {
                    Err(error) if may_be_plain && error.may_speak_plainly() => {
                        match ask("http").await {
                            Err(plain) if error.outweighs(&plain) => Err(error),
                            answer => answer,
                        }
                    }
                    answer => answer,
                }
            })
            .await
            .map_err(|error| {
                if is_own_container && error.is_unreachable() {
                    OpenError::InAction(error)
                } else {
                    OpenError::Registry(error)
                }
            })?;
        if root.scheme() == "http" {
            tracing::info!("{endpoint} is spoken to over plain HTTP");
        }
        tracing::info!("signing in to {endpoint} {credential}");
        let pace = match challenge.server() {
            Some(server) => network.paces.of(&server),
            None => retries.pace.clone(),
        };
        let stall_timeout = network.stall_timeout;
        let form_client = if credential.has_identity_token() {
            Some(network.exchange_client()?)
        } else {
            None
        };
        Ok(Self {
            tokens: TokenCache::new(
                root.clone(),
                credential,
                transport.clone(),
                realms(root.scheme()),
                challenge,
                pace,
                stall_timeout,
            )
            .with_form_client(form_client),
            endpoint: endpoint.clone(),
            access: if for_writing {
                Access::PullPush
            } else {
                Access::Pull
            },
            stall_timeout,
            finish_timeout: network.finish_timeout,
            moved: Arc::default(),
            received: Arc::default(),
            redirected: Redirected::default(),
            retries: retries.after_contact(),
            referrers_api: referrers::Api::default(),
            transport,
            root,
        })
    }

    /// Where this registry is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The bytes of blobs that were sent so far, by whomever: whether anything moves.
    pub fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Asks for the token that `repository` will be written with, so that a refusal is told before
    /// anything is read or sent.
    ///
    /// # Errors
    ///
    /// When there is no token to be had.
    pub async fn sign_in(&self, repository: &str) -> Result<(), RegistryError> {
        self.retries
            .without_downtime()
            .run(|| self.tokens.authorization(repository, self.access))
            .await
            .map(drop)
    }

    /// How steps that fail at this registry are repeated.
    pub(crate) fn retries(&self) -> &RetryPolicy {
        &self.retries
    }
}

/// `GET /v2/`, which every registry answers (distribution spec, "Determining Support").
struct Ping<'a> {
    transport: &'a Transport,
    realms: Realms,
    retries: &'a RetryPolicy,
    stall_timeout: Duration,
}

impl Ping<'_> {
    async fn send(&self, url: Url) -> Result<(Url, Challenge), RegistryError> {
        let ask = Ask {
            method: Method::GET,
            url: &url,
            authorization: None,
        };
        let answer = self.transport.send(ask, &self.retries.pace, |r| r).await?;
        let challenge = match answer.status() {
            StatusCode::OK if self.realms.endpoint.is_google() => {
                let what = "it asks for no login, as Google's registries do";
                return Err(RegistryError::unexpected(Method::GET, url, what));
            }
            StatusCode::OK => {
                let body = http::read_bounded(answer, error::MAX_ERROR_BODY, self.stall_timeout);
                if body.await.is_ok_and(|body| error::is_page(&body)) {
                    return Err(RegistryError::unexpected(Method::GET, url, error::PAGE));
                }
                Challenge::None
            }
            StatusCode::UNAUTHORIZED => {
                auth::challenge::read_challenge(answer.headers(), &self.realms)
                    .map_err(|what| RegistryError::unexpected(Method::GET, url.clone(), what))?
            }
            status => {
                let (headers, at) = (answer.headers().clone(), answer.url().clone());
                let body = http::read_bounded(answer, error::MAX_ERROR_BODY, self.stall_timeout)
                    .await
                    .unwrap_or_default();
                return Err(RegistryError::refused(Method::GET, url, status, &body)
                    .with_headers(&headers)
                    .at(&at));
            }
        };
        Ok((url, challenge))
    }
}
