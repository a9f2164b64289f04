//! The clients for exchanges that carry secrets in their bodies, and for this machine's neighbours.

use reqwest::redirect::Policy;

use super::{Network, NetworkError, USER_AGENT};

impl Network {
    /// The client for token endpoints. It follows no redirect: a 307 would carry the body, and with
    /// it the secret, to wherever it says.
    ///
    /// # Errors
    ///
    /// When a proxy's address or a certificate cannot be used.
    pub fn exchange_client(&self) -> Result<reqwest::Client, NetworkError> {
        let mut builder = self.bare_client();
        for proxy in self.proxies.for_reqwest().map_err(NetworkError::Http)? {
            builder = builder.proxy(proxy);
        }
        let builder = builder.tls_backend_preconfigured(self.tls()?);
        builder.build().map_err(NetworkError::Http)
    }

    /// The client for what is spoken to over plain HTTP on this very machine or right beside it, as
    /// the metadata server is: it never goes through a proxy, and follows no redirect.
    ///
    /// # Errors
    ///
    /// When the client cannot be built.
    pub fn link_local_client(&self) -> Result<reqwest::Client, NetworkError> {
        let builder = self.bare_client().tls_certs_only([]);
        builder.build().map_err(NetworkError::Http)
    }

    fn bare_client(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            // reqwest's own, 30 s, would end what `stall_timeout` allows.
            .tcp_user_timeout(None)
            .read_timeout(self.stall_timeout)
            .no_proxy()
    }
}
