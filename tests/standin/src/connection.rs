//! One connection: HTTP on it, the tunnel that CONNECT opens inside it, and each request's
//! way from arrival over faults to its answer.

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
use crate::faults::FaultAction;
use crate::log::{self, Arrival, Entry};
use crate::mishap::{aftermath, befall, quoting};
use crate::server::Shared;
use crate::{call, proxy, route, upstream};

/// What a listener, or a tunnel, is there for.
#[derive(Clone, Debug)]
pub(crate) enum Front {
    /// The proxy: CONNECT only.
    Proxy,
    /// The plain registry under our own address.
    Address { secure: bool, address: String },
    /// A name that was reached through the proxy.
    Name(String),
}

/// The connection itself, as far as faults need it.
#[derive(Clone)]
pub(crate) struct Link {
    number: u64,
    socket: Arc<Socket>,
    reset: Arc<AtomicBool>,
}

impl Link {
    /// Counts connections.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The same connection for one request of it: over HTTP/2 a reset ends one stream only.
    fn for_request(&self) -> Self {
        Self {
            reset: Arc::default(),
            ..self.clone()
        }
    }

    /// Makes the closing of the connection a reset (RST instead of FIN).
    pub(crate) fn reset(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
        self.reset.store(true, Ordering::SeqCst);
    }

    fn is_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }
}

/// Ends a connection in the middle of a request: hyper closes it when a service fails.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a fault ended the connection")
    }
}

impl std::error::Error for Broken {}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, stream: TcpStream, front: Front) {
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
    match &front {
        Front::Address { secure: true, .. } => {
            let names = &["localhost", "127.0.0.1"];
            serve_tls(shared, stream, link, front.clone(), names).await;
        }
        _ => serve_http(shared, stream, link, front, false).await,
    }
}

/// Serves TLS with a certificate for these names, and HTTP inside it.
pub(crate) async fn serve_tls<Io>(
    shared: Arc<Shared>,
    io: Io,
    link: Link,
    front: Front,
    names: &[&str],
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let acceptor = TlsAcceptor::from(shared.certificates.server_config(names));
    // A client that does not trust us ends the handshake; that is its business.
    if let Ok(stream) = acceptor.accept(io).await {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve_http(shared, stream, link, front, http2).await;
    }
}

async fn serve_http<Io>(shared: Arc<Shared>, io: Io, link: Link, front: Front, http2: bool)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, link, front) = (Arc::clone(&shared), link.for_request(), front.clone());
        async move {
            if matches!(front, Front::Proxy) {
                proxy::respond(shared, link, request).await
            } else {
                respond(shared, link, front, request).await
            }
        }
    });
    let io = TokioIo::new(io);
    // Errors here are clients that went away, or our own faults.
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
    front: Front,
    request: Request<Incoming>,
) -> Result<Answer, Broken> {
    let (head, incoming) = request.into_parts();
    let behaviour = shared.behaviour();
    let site = shared.names.site(&front, &head.headers);
    let path = head.uri.path().to_owned();
    let asked = format!("{} {path}", head.method);
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let route = route::parse(&site, &path);
    let kind = route::kind(&route, &head.method, &query);
    shared.accounts.saw(&head.headers);
    let entry = shared.log.open(Arrival {
        method: head.method.to_string(),
        host: site.host.clone(),
        path,
        query: head.uri.query().unwrap_or_default().to_owned(),
        kind,
        authorization: described(&head.headers),
        via_proxy: matches!(front, Front::Name(_)),
        connection: link.number,
        http2: head.version == Version::HTTP_2,
        headers: log::kept(&head.headers),
    });
    if !behaviour.latency.is_zero() {
        tokio::time::sleep(behaviour.latency).await;
    }
    let fault = shared.faults.strike(kind, &site.host, &asked);
    let has_body = !incoming.is_end_stream();
    let spoilt = befall(&shared, &link, &entry, fault.as_ref(), &head.uri, has_body).await?;
    let mut body = Upload::new(incoming, Arc::clone(&entry), link.clone(), spoilt.request);
    let waits = head.headers.contains_key(header::EXPECT);
    let early = behaviour.answers_early || waits;
    let mut answer = if let Some(FaultAction::Quote(code)) = fault {
        let sent = body.whole(64 * 1024).await.ok().flatten();
        quoting(kind, code, &head.headers, &sent.unwrap_or_default())
    } else if let Some(answer) = spoilt.instead {
        body.drain(early).await;
        answer
    } else if let Some(upstream) = shared.upstream_for(&front) {
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
    aftermath(&mut answer, &link, fault.as_ref());
    if link.is_reset() {
        return Err(Broken);
    }
    if let Some(spoil) = spoilt.response {
        answer.body_mut().spoil(spoil);
    }
    Ok(finish(answer, &entry))
}

/// Notes the answer in the log before any byte of it can reach the client.
pub(crate) fn finish(mut answer: Answer, entry: &Arc<Entry>) -> Answer {
    entry.answered(answer.status().as_u16());
    answer.body_mut().count(Arc::clone(entry));
    answer
}

/// The credential's scheme, and the user where the scheme shows one.
fn described(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or("?");
    let (scheme, _) = value.split_once(' ').unwrap_or((value, ""));
    Some(match call::basic(headers) {
        Some((user, _)) => format!("{scheme} {user}"),
        None => scheme.to_owned(),
    })
}
