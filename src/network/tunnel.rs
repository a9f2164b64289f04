//! Connections for kube's hyper client: direct, or through a proxy by `CONNECT`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Network, NetworkError};

/// Opens the TCP connection to a host, or the tunnel to it.
#[derive(Clone)]
pub(crate) struct ProxyConnector {
    matcher: Arc<Matcher>,
    direct: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which way a connection takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'a> {
    /// By the proxies of the environment.
    Environment,
    /// By this proxy.
    Proxy(&'a str),
    /// By none.
    Direct,
}

impl ProxyConnector {
    /// Makes ready to connect.
    pub(crate) fn new(network: &Network, way: Way<'_>) -> Result<Self, NetworkError> {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_connect_timeout(Some(network.connect_timeout));
        let proxies = &network.proxies;
        let matcher = match way {
            Way::Environment => Matcher::builder()
                .https(proxies.https.clone().unwrap_or_default())
                .http(proxies.http.clone().unwrap_or_default())
                .no(proxies.direct())
                .build(),
            Way::Proxy(url) => Matcher::builder().all(url).build(),
            Way::Direct => Matcher::builder().build(),
        };
        let tls = HttpsConnectorBuilder::new().with_tls_config(network.tls()?);
        Ok(Self {
            matcher: Arc::new(matcher),
            to_proxy: tls
                .https_or_http()
                .enable_http1()
                .wrap_connector(direct.clone()),
            direct,
        })
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        match self.matcher.intercept(&destination) {
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::pin(async move { tunnel.call(destination).await.map_err(Into::into) })
            }
            None => {
                let connection = self.direct.call(destination);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connection.await?)) })
            }
        }
    }
}
