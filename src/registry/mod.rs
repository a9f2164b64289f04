//! A client for one registry, which uses one credential.

pub mod auth;
mod blobs;
mod download;
mod error;
mod gitlab;
mod google;
pub mod hints;
mod http;
mod manifests;
mod mount;
mod pages;
pub mod pool;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod pull;
mod referrers;
mod repositories;
mod resumed;
mod tags;
mod transport;
mod upload;
mod upload_progress;

pub use error::RegistryError;
pub use google::ListedManifest;
pub use repositories::{FoundRepository, ListingError};
pub use tags::Listing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use crate::auth::Credential;
use crate::diagnostics::Diagnostic;
use crate::http::{Network, NetworkError, PAGE, RetryPolicy, is_page};
use crate::oci::reference::Endpoint;
use auth::challenge::{Challenge, Realms};
use auth::scope::Access;
use auth::token::TokenCache;
use transport::{RegistryRequest, Transport};
use upload::Redirected;

/// An opened registry.
pub struct Registry {
    endpoint: Endpoint,
    root: Url,
    transport: Transport,
    tokens: TokenCache,
    access: Access,
    stall_timeout: Duration,
    finish_timeout: Duration,
    /// The number of blob bytes that were sent.
    moved: Arc<AtomicU64>,
    /// The number of blob bytes that were received.
    received: Arc<AtomicU64>,
    /// What is known about redirected uploads.
    redirected: Redirected,
    retries: RetryPolicy,
    referrers_api: referrers::ReferrersApi,
}

/// Why a registry could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not answer as a registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No server listens on `localhost`, which is the container of a GitHub action.
    #[error(transparent)]
    InAction(RegistryError),
    /// The HTTP client could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

impl OpenError {
    /// Describes what failed at `endpoint`.
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
    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Registry(error) | Self::InAction(error) => Some(error),
            Self::Network(_) => None,
        }
    }

    fn hints(&self) -> Vec<String> {
        if let Self::InAction(_) = self {
            return vec![IN_ACTION.to_owned()];
        }
        self.source_hints()
    }
}

/// The hint for `localhost` in the container of an action.
/// <https://docs.github.com/en/actions/concepts/workflows-and-actions/about-communicating-with-docker-service-containers>
const IN_ACTION: &str = "in the container of an action, `localhost` is that container: use the \
                         label of the registry's service and its own port, such as \
                         `registry:5000`; if it has no TLS, add it to `insecure_registries` too";

impl Registry {
    /// Pings `endpoint` to find its scheme and its challenge. No credential is sent yet.
    ///
    /// HTTPS is tried first. Plain HTTP is tried only if the server does not speak TLS, and only
    /// for this machine and the hosts in `insecure_registries`. An untrusted certificate is never a
    /// reason for plain HTTP.
    ///
    /// # Errors
    ///
    /// If no registry answers, or if its challenge cannot be met.
    pub async fn open(
        endpoint: &Endpoint,
        credential: Credential,
        network: &Network,
        for_writing: bool,
    ) -> Result<Self, OpenError> {
        let transport = Transport::new(network.registry_clients(endpoint)?);
        let may_use_plain_http = endpoint.is_loopback()
            || network
                .insecure_registries
                .iter()
                .any(|plain| plain == endpoint || plain.host() == endpoint.host_name());
        let retries = RetryPolicy::new(network, endpoint);
        let is_own_container = network.in_action && endpoint.is_loopback();
        // No server is starting in the container of an action, so waiting does not help.
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
        let open_with = async |scheme: &str| {
            retries.rate_limiter.acquire().await;
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
                match open_with("https").await {
                    Err(error) if may_use_plain_http && error.may_be_plain_http() => {
                        match open_with("http").await {
                            Err(plain) if error.explains_more_than(&plain) => Err(error),
                            response => response,
                        }
                    }
                    response => response,
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
            tracing::info!("using plain HTTP for {endpoint}");
        }
        tracing::info!("signing in to {endpoint} {credential}");
        let rate_limiter = match challenge.server() {
            Some(server) => network.rate_limiters.of(&server),
            None => retries.rate_limiter.clone(),
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
                rate_limiter,
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
            referrers_api: referrers::ReferrersApi::default(),
            transport,
            root,
        })
    }

    /// The host and port of the registry.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The number of blob bytes that all uploads have sent so far. It shows whether there is any
    /// progress.
    pub fn moved_bytes(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// The number of blob bytes that the registry has acknowledged, of all uploads. Without
    /// progress, it takes none of them.
    pub(crate) fn acknowledged_bytes(&self) -> u64 {
        let unacknowledged = self.transport.uploads().send_queues().unacknowledged();
        self.moved_bytes().saturating_sub(unacknowledged)
    }

    /// Obtains the token for writing to `repository`, so that a refusal is reported before anything
    /// is read or sent.
    ///
    /// # Errors
    ///
    /// If no token can be obtained.
    pub async fn sign_in(&self, repository: &str) -> Result<(), RegistryError> {
        self.retries
            .without_downtime()
            .run(|| self.tokens.authorization(repository, self.access))
            .await
            .map(drop)
    }

    /// The retry policy for steps at this registry.
    pub(crate) fn retries(&self) -> &RetryPolicy {
        &self.retries
    }
}

/// `GET /v2/`, which every registry supports (distribution spec, "Determining Support").
struct Ping<'a> {
    transport: &'a Transport,
    realms: Realms,
    retries: &'a RetryPolicy,
    stall_timeout: Duration,
}

impl Ping<'_> {
    async fn send(&self, url: Url) -> Result<(Url, Challenge), RegistryError> {
        let request = RegistryRequest {
            method: Method::GET,
            url: &url,
            authorization: None,
        };
        let response = self
            .transport
            .send(request, &self.retries.rate_limiter, |r| r)
            .await?;
        let challenge = match response.status() {
            StatusCode::OK if self.realms.endpoint.is_google() => {
                let what = "it does not ask for a login, but Google's registries do";
                return Err(RegistryError::protocol_violation(Method::GET, url, what));
            }
            StatusCode::OK => {
                let body = http::read_bounded(response, error::MAX_ERROR_BODY, self.stall_timeout);
                if body.await.is_ok_and(|body| is_page(&body)) {
                    return Err(RegistryError::protocol_violation(Method::GET, url, PAGE));
                }
                Challenge::None
            }
            StatusCode::UNAUTHORIZED => {
                auth::challenge::parse_challenge(response.headers(), &self.realms).map_err(
                    |what| RegistryError::protocol_violation(Method::GET, url.clone(), what),
                )?
            }
            _ => {
                let clean = <[u8]>::to_vec;
                let stall_timeout = self.stall_timeout;
                return Err(RegistryError::of_response(
                    Method::GET,
                    url,
                    response,
                    stall_timeout,
                    clean,
                )
                .await);
            }
        };
        Ok((url, challenge))
    }
}
