//! Builds all HTTP clients: proxies, trusted roots, plain-HTTP hosts and timeouts.
//!
//! The process uses two HTTP stacks, reqwest and hyper. All clients are built from the same
//! [`Network`], so that the same network settings apply to all of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::oci::reference::Endpoint;

mod body;
pub mod client;
mod client_identity;
pub mod connection_failure;
mod error;
mod error_response;
mod error_text;
mod exchange;
mod pagination;
pub mod proxy;
pub mod rate_limit;
mod redirect;
mod request_log;
mod retry;
mod retry_after;
mod send_queue;
mod tls;
pub mod token_bucket;
mod upload_client;
mod url_text;

pub(crate) use body::{BodyError, MinimumThroughput, WINDOW, read_bounded};
pub(crate) use client::RegistryClients;
pub use client::{NetworkError, USER_AGENT};
pub use client_identity::{CertsDError, ClientIdentity, IdentityError};
pub use connection_failure::ConnectionFailure;
pub use error::HttpError;
pub(crate) use error::{BoxError, HttpErrorKind};
pub use error_response::ErrorResponse;
pub(crate) use error_text::{NO_CLIENT_CERTIFICATE, PAGE, bounded_text, is_page};
pub(crate) use pagination::{PageWalk, next_page, page_with_token};
pub(crate) use proxy::{ProxyConnector, ProxyMode};
pub(crate) use rate_limit::RateLimiter;
pub use rate_limit::RateLimiters;
pub(crate) use redirect::{MAX_REDIRECTS, RedirectError, has_login, redirect_target};
pub(crate) use request_log::{send_logged, send_upload_logged};
pub(crate) use retry::{RetryKind, RetryPolicy, RetryState, Retryable};
pub(crate) use retry_after::{date, retry_after};
pub(crate) use upload_client::{UploadClient, UploadError};
pub(crate) use url_text::{host, redacted};

/// The settings for all connections.
#[derive(Clone, Debug)]
pub struct Network {
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxies: Proxies,
    /// Trusted roots in addition to the system's.
    pub ca_certificates: Certificates,
    /// The client certificate for registries that require one. It is never used for Google's.
    pub client_identity: Option<Arc<ClientIdentity>>,
    /// The `certs.d` directories of Docker and Podman, in order of precedence.
    pub certs_d: Vec<PathBuf>,
    /// Hosts (`host` or `host:port`) that may be accessed over plain HTTP.
    pub insecure_registries: Vec<Endpoint>,
    /// The time limit for opening a connection.
    pub connect_timeout: Duration,
    /// How long a body may make no progress.
    pub stall_timeout: Duration,
    /// How long a registry may take to answer after the last byte of a blob.
    pub finish_timeout: Duration,
    /// How long temporary failures are retried.
    pub retry_timeout: Duration,
    /// True in the container of a GitHub action, where `localhost` is the container itself.
    pub in_action: bool,
    /// The rate limiters of all hosts.
    pub rate_limiters: RateLimiters,
}

impl Default for Network {
    /// No proxy, only the system's roots, and the default timeouts.
    fn default() -> Self {
        Self {
            proxies: Proxies::default(),
            ca_certificates: Certificates::default(),
            client_identity: None,
            certs_d: Vec::new(),
            insecure_registries: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            // A registry on an object store may copy a large blob before it answers.
            finish_timeout: Duration::from_secs(10 * 60),
            // Several times the minute over which Google counts a quota.
            retry_timeout: Duration::from_secs(5 * 60),
            in_action: false,
            rate_limiters: RateLimiters::default(),
        }
    }
}

/// The proxies of the environment, as curl and Go read them. `Debug` omits their addresses, which
/// may contain a password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxy for `https://` URLs.
    pub https: Option<String>,
    /// The proxy for `http://` URLs.
    pub http: Option<String>,
    /// Hosts, domains and networks that are accessed directly.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxies")
            .field("https", &self.https.as_ref().map(|_| "***"))
            .field("http", &self.http.as_ref().map(|_| "***"))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

impl Proxies {
    /// Returns `NO_PROXY` with this machine added, because loopback is never proxied.
    pub(crate) fn direct(&self) -> String {
        let own = "localhost,127.0.0.0/8,::1";
        match self.no_proxy.as_deref() {
            Some(listed) if !listed.trim().is_empty() => format!("{listed},{own}"),
            _ => own.to_owned(),
        }
    }
}

/// Certificates in PEM that were parsed.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<Vec<CertificateDer<'static>>>);

/// Why a text contains no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// It has no `-----BEGIN CERTIFICATE-----`.
    #[error("it does not contain a PEM certificate")]
    None,
    /// A block cannot be decoded.
    #[error("a certificate in it cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A block is not an X.509 certificate.
    #[error("certificate {0} in it is not an X.509 certificate that can be a root")]
    NotARoot(usize),
}

impl Certificates {
    /// Parses all certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// If there is none, or one of them cannot be a trusted root.
    pub fn parse(pem: &str) -> Result<Self, CertificatesError> {
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(CertificatesError::Pem)?;
        if certificates.is_empty() {
            return Err(CertificatesError::None);
        }
        let mut roots = rustls::RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            roots
                .add(certificate.clone())
                .map_err(|_| CertificatesError::NotARoot(index + 1))?;
        }
        Ok(Self(Arc::new(certificates)))
    }
}
