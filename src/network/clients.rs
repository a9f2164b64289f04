//! The HTTP clients that are built from a [`Network`] for requests of our own.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};

use super::{Network, Proxies};

/// How we introduce ourselves.
pub const USER_AGENT: &str = concat!("gcr-push/", env!("CARGO_PKG_VERSION"));

/// A client that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// reqwest refused the settings.
    #[error("could not set up the HTTP client")]
    Http(#[source] reqwest::Error),
    /// rustls refused the settings.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
    /// Nobody could be trusted.
    #[error(
        "this system has no certificate authorities: install them (Debian: `ca-certificates`), or \
         name some in `ca_certificates`"
    )]
    NoRoots,
}

impl Network {
    /// The client for requests of our own: manifests, listings, tokens of registries.
    ///
    /// It follows a few redirects, never from HTTPS to HTTP; reqwest takes the `Authorization`
    /// header off when the host or the port changes.
    ///
    /// # Errors
    ///
    /// When a proxy's address or a certificate cannot be used.
    pub fn http_client(&self) -> Result<reqwest::Client, NetworkError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::custom(follow))
            // The address of an upload or a download is a secret of its own.
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.stall_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .no_proxy();
        for proxy in self.proxies.for_reqwest().map_err(NetworkError::Http)? {
            builder = builder.proxy(proxy);
        }
        builder
            .tls_backend_preconfigured(self.tls()?)
            .build()
            .map_err(NetworkError::Http)
    }

    /// The client for a Docker engine, over its `socket` or over TCP. It follows no redirect, and
    /// waits for an answer for ever: only who asks knows how long an engine may take.
    ///
    /// # Errors
    ///
    /// When a proxy's address cannot be used.
    pub fn engine_client(&self, socket: Option<&Path>) -> Result<reqwest::Client, NetworkError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
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
        attempt.error("the registry redirects from HTTPS to plain HTTP, which is not followed")
    } else if attempt.previous().len() > 5 {
        attempt.error("the registry redirects more than five times")
    } else {
        attempt.follow()
    }
}
