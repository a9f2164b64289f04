//! The HTTP client for uploads of blobs.
//!
//! Bytes that it takes from a body are on the network, or nearly so. Otherwise hyper and the kernel
//! buffer several megabytes of each body, which on a slow network is minutes. Then a slow
//! connection could not be distinguished from a dead one, nor its throughput be measured.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::{Body, Request, Response, ResponseBuilderExt as _};
use tower_service::Service;

use super::error::BoxError;
use super::proxy::{ProxiedStream, ProxyConnector, ProxyMode, tcp};
use super::send_queue::SendQueues;
use super::{Network, NetworkError};

/// How many bytes of a body hyper may buffer before it reads more.
const BUFFER: usize = 64 * 1024;

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The request cannot be sent as it is.
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] hyper_util::client::legacy::Error),
}

/// Sends requests with large bodies. It follows no redirects and has no timeout.
#[derive(Clone)]
pub(crate) struct UploadClient {
    client: Client<HttpsConnector<UploadConnector>, Body>,
    proxies: Arc<Matcher>,
    send_queues: SendQueues,
}

impl UploadClient {
    /// Creates a client with these TLS settings.
    ///
    /// # Errors
    ///
    /// If the certificate authorities cannot be loaded.
    pub(crate) fn new(network: &Network, tls: rustls::ClientConfig) -> Result<Self, NetworkError> {
        let send_queues = SendQueues::default();
        let connector = UploadConnector {
            connector: ProxyConnector::new(network, ProxyMode::Environment)?,
            send_queues: send_queues.clone(),
        };
        let proxies = Arc::clone(connector.connector.proxies());
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(BUFFER)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Self {
            client,
            proxies,
            send_queues,
        })
    }

    /// The unacknowledged bytes of its connections.
    pub(crate) fn send_queues(&self) -> &SendQueues {
        &self.send_queues
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// If there is no response.
    pub(crate) async fn execute(&self, request: Request) -> Result<Response, UploadError> {
        let url = request.url().clone();
        let mut request = http::Request::<Body>::try_from(request)?;
        let login = self.login_for(request.uri());
        let headers = request.headers_mut();
        if let Some(login) = login {
            headers.insert(PROXY_AUTHORIZATION, login);
        }
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(super::USER_AGENT));
        let (head, body) = self.client.request(request).await?.into_parts();
        let mut response = http::Response::builder()
            .status(head.status)
            .version(head.version)
            .url(url)
            .body(Body::wrap(body))
            // Cannot fail, because the status was parsed before.
            .unwrap_or_default();
        *response.headers_mut() = head.headers;
        Ok(response.into())
    }

    /// The credentials for a proxy that forwards a plain-HTTP request. A tunnel sends them itself.
    fn login_for(&self, uri: &Uri) -> Option<HeaderValue> {
        let is_plain = uri.scheme() == Some(&http::uri::Scheme::HTTP);
        let proxy = self.proxies.intercept(uri).filter(|_| is_plain)?;
        proxy.basic_auth().cloned()
    }
}

/// Connects to a host, or to the proxy that forwards plain-HTTP requests to it.
#[derive(Clone)]
struct UploadConnector {
    connector: ProxyConnector,
    send_queues: SendQueues,
}

impl Service<Uri> for UploadConnector {
    type Response = UploadStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<UploadStream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let forwarding = self.connector.forwarding(&destination);
        let is_forwarded = forwarding.is_some();
        let connecting = forwarding.unwrap_or_else(|| self.connector.call(destination));
        let send_queues = self.send_queues.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            if let Ok(own) = tcp(&stream).local_addr() {
                send_queues.add(own);
            }
            Ok(UploadStream {
                stream,
                is_forwarded,
            })
        })
    }
}

/// A connection that reports to hyper whether a proxy forwards its requests.
struct UploadStream {
    stream: ProxiedStream,
    is_forwarded: bool,
}

impl Connection for UploadStream {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_forwarded)
    }
}

impl Read for UploadStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl Write for UploadStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }
}
