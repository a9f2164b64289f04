//! The HTTP clients for token exchanges, whose bodies contain secrets, and for link-local
//! addresses.

use reqwest::redirect::Policy;

use super::{Network, NetworkError, USER_AGENT};

impl Network {
    /// The client for token endpoints. It follows no redirects, because a 307 would send the body
    /// with its secret to any address.
    ///
    /// # Errors
    ///
    /// If the address of a proxy or a certificate cannot be used.
    pub fn exchange_client(&self) -> Result<reqwest::Client, NetworkError> {
        let mut builder = self.bare_client();
        for proxy in self.proxies.for_reqwest().map_err(NetworkError::Http)? {
            builder = builder.proxy(proxy);
        }
        let builder = builder.tls_backend_preconfigured(self.tls()?);
        builder.build().map_err(NetworkError::Http)
    }

    /// The client for plain HTTP on this machine or at a link-local address, such as the metadata
    /// server. It uses no proxy and follows no redirects.
    ///
    /// # Errors
    ///
    /// If the client cannot be built.
    pub fn link_local_client(&self) -> Result<reqwest::Client, NetworkError> {
        let builder = self.bare_client().tls_certs_only([]);
        builder.build().map_err(NetworkError::Http)
    }

    fn bare_client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            // reqwest's default of 30 s would end connections before `stall_timeout`.
            .tcp_user_timeout(None)
            .read_timeout(self.stall_timeout)
            .no_proxy()
    }
}
