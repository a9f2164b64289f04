//! Opens connections for hyper clients: directly, or through a proxy with `CONNECT`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{BoxError, Network, NetworkError};

/// Opens the TCP connection to a host, or the tunnel to it.
#[derive(Clone)]
pub(crate) struct ProxyConnector {
    matcher: Arc<Matcher>,
    direct: HttpConnector,
    to_proxy: HttpsConnector<HttpConnector>,
}

/// A connection to a host, or to the proxy in front of it.
pub(super) type ProxiedStream = MaybeHttpsStream<TokioIo<TcpStream>>;

type Connecting = Pin<Box<dyn Future<Output = Result<ProxiedStream, BoxError>> + Send>>;

/// How many unsent bytes the kernel may buffer: enough for a millisecond at 1 Gbit/s.
const MAX_UNSENT: u32 = 128 * 1024;

/// After how much idle time a connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How a connection is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ProxyMode<'a> {
    /// Through the proxies of the environment.
    Environment,
    /// Through this proxy.
    Proxy(&'a str),
    /// Without a proxy.
    Direct,
}

impl ProxyConnector {
    /// Prepares the connector. Nothing is opened yet.
    pub(crate) fn new(network: &Network, mode: ProxyMode<'_>) -> Result<Self, NetworkError> {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_connect_timeout(Some(network.connect_timeout));
        direct.set_nodelay(true);
        direct.set_keepalive(Some(KEEPALIVE));
        direct.set_keepalive_interval(Some(KEEPALIVE));
        direct.set_keepalive_retries(Some(3));
        let proxies = &network.proxies;
        let matcher = match mode {
            ProxyMode::Environment => Matcher::builder()
                .https(proxies.https.clone().unwrap_or_default())
                .http(proxies.http.clone().unwrap_or_default())
                .no(proxies.direct())
                .build(),
            ProxyMode::Proxy(url) => Matcher::builder().all(url).build(),
            ProxyMode::Direct => Matcher::builder().build(),
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

    /// The proxies and the hosts that they are for.
    pub(super) fn proxies(&self) -> &Arc<Matcher> {
        &self.matcher
    }

    /// Connects to the proxy that forwards plain-HTTP requests to a host. `None` if the host is
    /// accessed directly or over TLS.
    pub(super) fn forwarding(&self, destination: &Uri) -> Option<Connecting> {
        let is_plain = destination.scheme() == Some(&Scheme::HTTP);
        let proxy = self.matcher.intercept(destination).filter(|_| is_plain)?;
        let mut to_proxy = self.to_proxy.clone();
        Some(Box::pin(async move {
            let stream = to_proxy.call(proxy.uri().clone()).await?;
            bound_unsent(tcp(&stream));
            Ok(stream)
        }))
    }
}

/// The TCP connection to the host or the proxy.
pub(super) fn tcp(stream: &ProxiedStream) -> &TcpStream {
    match stream {
        MaybeHttpsStream::Http(tcp) => tcp.inner(),
        MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner(),
    }
}

/// Limits the unsent bytes in the kernel to [`MAX_UNSENT`].
fn bound_unsent(tcp: &TcpStream) {
    if let Err(error) = SockRef::from(tcp).set_tcp_notsent_lowat(MAX_UNSENT) {
        tracing::debug!("the kernel does not limit unsent data: {error}");
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = ProxiedStream;
    type Error = BoxError;
    type Future = Connecting;

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
                Box::pin(async move {
                    let stream = tunnel.call(destination).await?;
                    bound_unsent(tcp(&stream));
                    Ok(stream)
                })
            }
            None => {
                let connection = self.direct.call(destination);
                Box::pin(async move {
                    let stream = MaybeHttpsStream::Http(connection.await?);
                    bound_unsent(tcp(&stream));
                    Ok(stream)
                })
            }
        }
    }
}
