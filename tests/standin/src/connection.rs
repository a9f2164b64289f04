//! One connection: HTTP, the tunnel that CONNECT opens in it, and each request from its faults to
//! its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::answer::Answer;
use crate::body::Upload;
use crate::call::{Call, Query};
use crate::fault_effects::{apply_after, apply_before, echo_request};
use crate::faults::FaultAction;
use crate::log::{self, Arrival, Entry};
use crate::server::Shared;
use crate::{call, proxy, route, upstream};

/// What a client connected to.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// The proxy: CONNECT only.
    Proxy,
    /// The plain registry under our own address.
    Address { secure: bool, address: String },
    /// A name that was reached through the proxy.
    Name(String),
}

/// The connection, as far as faults need it.
#[derive(Clone)]
pub(crate) struct Link {
    number: u64,
    socket: Arc<Socket>,
    reset: Arc<AtomicBool>,
}

impl Link {
    /// The number of the connection.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The same connection for one request: over HTTP/2 a reset ends one stream only.
    fn for_request(&self) -> Self {
        Self {
            reset: Arc::default(),
            ..self.clone()
        }
    }

    /// Closes the connection by a reset (RST instead of FIN).
    pub(crate) fn reset(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
        self.reset.store(true, Ordering::SeqCst);
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }
}

/// Ends a connection within a request: hyper closes it when a service fails.
#[derive(Debug)]
pub(crate) struct ConnectionReset;

impl std::fmt::Display for ConnectionReset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a fault ended the connection")
    }
}

impl std::error::Error for ConnectionReset {}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, endpoint: Endpoint) {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let _ = stream.set_nodelay(true);
    let Ok(socket) = SockRef::from(&stream).try_clone() else {
        return;
    };
    let link = Link {
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        socket: Arc::new(socket),
        reset: Arc::default(),
    };
    match &endpoint {
        Endpoint::Address { secure: true, .. } => {
            let names = &["localhost", "127.0.0.1"];
            serve_tls(shared, stream, link, endpoint.clone(), names).await;
        }
        _ => serve_http(shared, stream, link, endpoint, false).await,
    }
}

/// Serves TLS with a certificate for these names, and HTTP inside it.
pub(crate) async fn serve_tls<Io>(
    shared: Arc<Shared>,
    io: Io,
    link: Link,
    endpoint: Endpoint,
    names: &[&str],
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let acceptor = TlsAcceptor::from(shared.certificates.server_config(names));
    // A client that does not trust the certificate ends the handshake.
    if let Ok(stream) = acceptor.accept(io).await {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve_http(shared, stream, link, endpoint, http2).await;
    }
}

async fn serve_http<Io>(shared: Arc<Shared>, io: Io, link: Link, endpoint: Endpoint, http2: bool)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, link, endpoint) = (Arc::clone(&shared), link.for_request(), endpoint.clone());
        async move {
            if matches!(endpoint, Endpoint::Proxy) {
                proxy::respond(shared, link, request).await
            } else {
                respond(shared, link, endpoint, request).await
            }
        }
    });
    let io = TokioIo::new(io);
    // Errors here are clients that disconnected, or our own faults.
    if http2 {
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(io, service).await;
    } else {
        let server = http1::Builder::new().serve_connection(io, service);
        let _ = server.with_upgrades().await;
    }
}

async fn respond(
    shared: Arc<Shared>,
    link: Link,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Result<Answer, ConnectionReset> {
    let (head, incoming) = request.into_parts();
    let behaviour = shared.behaviour();
    let site = shared.names.site(&endpoint, &head.headers);
    let path = head.uri.path().to_owned();
    let method_and_path = format!("{} {path}", head.method);
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let route = route::parse(&site, &path);
    let kind = route::kind(&route, &head.method, &query);
    shared.accounts.record_secrets(&head.headers);
    let entry = shared.log.open(Arrival {
        method: head.method.to_string(),
        host: site.host.clone(),
        path,
        query: head.uri.query().unwrap_or_default().to_owned(),
        kind,
        authorization: describe_authorization(&head.headers),
        via_proxy: matches!(endpoint, Endpoint::Name(_)),
        connection: link.number,
        http2: head.version == Version::HTTP_2,
        headers: log::logged_headers(&head.headers),
    });
    if !behaviour.latency.is_zero() {
        tokio::time::sleep(behaviour.latency).await;
    }
    let fault = shared.faults.take(kind, &site.host, &method_and_path);
    let has_body = !incoming.is_end_stream();
    let effects = apply_before(&shared, &link, &entry, fault.as_ref(), &head.uri, has_body).await?;
    let mut body = Upload::new(incoming, Arc::clone(&entry), link.clone(), effects.request);
    let waits = head.headers.contains_key(header::EXPECT);
    let early = behaviour.answers_early || waits;
    let mut answer = if let Some(FaultAction::Quote(code)) = fault {
        let sent = body.whole(64 * 1024).await.ok().flatten();
        echo_request(kind, code, &head.headers, &sent.unwrap_or_default())
    } else if let Some(answer) = effects.replacement {
        body.drain(early).await;
        answer
    } else if let Some(upstream) = shared.upstream_for(&endpoint) {
        upstream::forward(upstream, &site, head, body).await
    } else {
        let mut call = Call {
            shared,
            behaviour,
            site,
            method: head.method,
            query,
            headers: head.headers,
            body,
            forget_blobs: matches!(fault, Some(FaultAction::ForgetBlobs)),
        };
        let answer = route::handle(&mut call, route).await;
        call.body.drain(early).await;
        answer
    };
    apply_after(&mut answer, &link, fault.as_ref()).await;
    if link.is_reset() {
        return Err(ConnectionReset);
    }
    if let Some(body_fault) = effects.response {
        answer.body_mut().body_fault(body_fault);
    }
    Ok(finish(answer, &entry))
}

/// Logs the answer before any byte of it can reach the client.
pub(crate) fn finish(mut answer: Answer, entry: &Arc<Entry>) -> Answer {
    entry.answered(answer.status().as_u16());
    answer.body_mut().count(Arc::clone(entry));
    answer
}

/// The credential's scheme, and the user if the scheme shows one.
fn describe_authorization(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or("?");
    let (scheme, _) = value.split_once(' ').unwrap_or((value, ""));
    Some(match call::basic(headers) {
        Some((user, _)) => format!("{scheme} {user}"),
        None => scheme.to_owned(),
    })
}
