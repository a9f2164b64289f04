//! Builds the HTTP clients for a [`Network`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};

use super::client_identity::{CertsDError, HostCertificates};
use super::redirect::{MAX_REDIRECTS, RedirectError};
use super::upload_client::UploadClient;
use super::{Network, Proxies};
use crate::oci::reference::Endpoint;

/// The `User-Agent` of all requests.
pub const USER_AGENT: &str = concat!("gcr-push/", env!("CARGO_PKG_VERSION"));

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// reqwest refused the settings.
    #[error("could not set up the HTTP client")]
    Http(#[source] reqwest::Error),
    /// rustls refused the settings.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
    /// A file in a `certs.d` directory cannot be used.
    #[error(transparent)]
    CertsD(#[from] CertsDError),
}

/// The clients for one registry. Neither follows redirects.
#[derive(Clone)]
pub(crate) struct RegistryClients {
    /// The client for all requests but uploads of blobs.
    pub(crate) requests: reqwest::Client,
    /// The client for uploads of blobs.
    pub(crate) uploads: UploadClient,
}

impl Network {
    /// The client for services other than registries.
    ///
    /// It follows a few redirects, but never from HTTPS to HTTP. reqwest removes the
    /// `Authorization` header if the host or the port changes.
    ///
    /// # Errors
    ///
    /// If the address of a proxy or a certificate cannot be used.
    pub fn http_client(&self) -> Result<reqwest::Client, NetworkError> {
        self.client_builder()?
            .redirect(Policy::custom(follow))
            .read_timeout(self.stall_timeout)
            .tls_backend_preconfigured(self.tls()?)
            .build()
            .map_err(NetworkError::Http)
    }

    /// The clients for the registry at `host`, with its certificates.
    ///
    /// # Errors
    ///
    /// If the address of a proxy or a certificate cannot be used.
    pub(crate) fn registry_clients(
        &self,
        host: &Endpoint,
    ) -> Result<RegistryClients, NetworkError> {
        let own = HostCertificates::read(&self.certs_d, host)?;
        let identity = own.identity.as_ref().or(self.client_identity.as_ref());
        let identity = identity.filter(|_| !host.is_google()).map(Arc::as_ref);
        let tls = self.tls_with(&own.roots, identity)?;
        let requests = self
            .client_builder()?
            .redirect(Policy::none())
            .read_timeout(self.stall_timeout)
            .tls_backend_preconfigured(tls.clone())
            .build();
        Ok(RegistryClients {
            requests: requests.map_err(NetworkError::Http)?,
            uploads: UploadClient::new(self, tls)?,
        })
    }

    fn client_builder(&self) -> Result<reqwest::ClientBuilder, NetworkError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.connect_timeout)
            // reqwest's default of 30 s would end connections before `stall_timeout`.
            .tcp_user_timeout(None)
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy();
        for proxy in self.proxies.for_reqwest().map_err(NetworkError::Http)? {
            builder = builder.proxy(proxy);
        }
        Ok(builder)
    }

    /// The client for a Docker engine, over its `socket` or over TCP. It follows no redirects and
    /// has no timeout, because only the caller knows how long an engine may take.
    ///
    /// # Errors
    ///
    /// If the address of a proxy cannot be used.
    pub fn engine_client(&self, socket: Option<&Path>) -> Result<reqwest::Client, NetworkError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            // reqwest's default of 30 s would end connections before `stall_timeout`.
            .tcp_user_timeout(None)
            .tls_certs_only([])
            .no_proxy();
        match socket {
            Some(path) => builder = builder.unix_socket(path),
            None => {
                for proxy in self.proxies.for_reqwest().map_err(NetworkError::Http)? {
                    builder = builder.proxy(proxy);
                }
            }
        }
        builder.build().map_err(NetworkError::Http)
    }
}

impl Proxies {
    pub(super) fn for_reqwest(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let direct = || reqwest::NoProxy::from_string(&self.direct());
        let https = self.https.as_deref().map(reqwest::Proxy::https);
        let http = self.http.as_deref().map(reqwest::Proxy::http);
        https
            .into_iter()
            .chain(http)
            .map(|proxy| Ok(proxy?.no_proxy(direct())))
            .collect()
    }
}

fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let downgrade = attempt.url().scheme() != "https"
        && attempt.previous().iter().any(|url| url.scheme() == "https");
    if downgrade {
        attempt.error(RedirectError::Downgrade)
    } else if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(RedirectError::TooMany)
    } else {
        attempt.follow()
    }
}
