//! One connection: HTTP on it, the tunnel that CONNECT opens inside it, and each request's
//! way from arrival over faults to its answer.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::answer::{self, Answer, Refusal};
use crate::body::{Spoil, Upload};
use crate::call::{Call, Query};
use crate::faults::{FaultAction, usual_error};
use crate::log::{self, Arrival, Entry, RequestKind};
use crate::server::Shared;
use crate::{route, upstream};

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
struct Broken;

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

async fn serve_tls<Io>(shared: Arc<Shared>, io: Io, link: Link, front: Front, names: &[&str])
where
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
        let (shared, link, front) = (Arc::clone(&shared), link.clone(), front.clone());
        async move {
            if matches!(front, Front::Proxy) {
                proxy(shared, link, request).await
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

/// Answers the proxy's clients. Only CONNECT to port 443 of a name we stand in for opens a
/// tunnel; a client that asks for anything else has forgotten a `NO_PROXY` rule, or would
/// have reached the real network.
async fn proxy(
    shared: Arc<Shared>,
    link: Link,
    request: Request<Incoming>,
) -> Result<Answer, Broken> {
    let authority = request.uri().authority().cloned();
    let host = authority.as_ref().map_or("", |authority| authority.host());
    let connect = request.method() == Method::CONNECT;
    let kind = if connect {
        RequestKind::Connect
    } else {
        RequestKind::Other
    };
    let entry = shared.log.open(Arrival {
        method: request.method().to_string(),
        host: host.to_owned(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        kind,
        authorization: None,
        via_proxy: true,
        connection: link.number,
        headers: log::kept(request.headers()),
    });
    let fault = shared.faults.strike(kind, host);
    if let Some(answer) = early(&shared, &link, &entry, fault.as_ref(), false)
        .await?
        .instead
    {
        return Ok(finish(answer, &entry));
    }
    let port = authority
        .as_ref()
        .and_then(|authority| authority.port_u16());
    if !connect || port != Some(443) || !shared.names.serves(host) {
        let text = format!("the stand-in does not stand in for {host}\n");
        return Ok(finish(Refusal::text(403, text).into(), &entry));
    }
    tokio::spawn(tunnel(shared, link, host.to_owned(), request));
    let mut answer = answer::empty(200);
    // A tunnel has no length (RFC 9110, section 9.3.6).
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(finish(answer, &entry))
}

/// Serves the name behind a tunnel. Boxed, because a connection may hold a tunnel which is
/// a connection itself.
fn tunnel(
    shared: Arc<Shared>,
    link: Link,
    name: String,
    request: Request<Incoming>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let io = TokioIo::new(upgraded);
            let front = Front::Name(name.clone());
            serve_tls(shared, io, link, front, &[&name]).await;
        }
    })
}

async fn respond(
    shared: Arc<Shared>,
    link: Link,
    front: Front,
    request: Request<Incoming>,
) -> Result<Answer, Broken> {
    let (head, incoming) = request.into_parts();
    let behaviour = shared.behaviour();
    let site = shared.names.site(&front);
    let path = head.uri.path().to_owned();
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
        headers: log::kept(&head.headers),
    });
    if !behaviour.latency.is_zero() {
        tokio::time::sleep(behaviour.latency).await;
    }
    let fault = shared.faults.strike(kind, &site.host);
    let has_body = head.method != Method::GET && head.method != Method::HEAD;
    let spoilt = early(&shared, &link, &entry, fault.as_ref(), has_body).await?;
    if let Some(answer) = spoilt.instead {
        return Ok(finish(answer, &entry));
    }
    let body = Upload::new(incoming, Arc::clone(&entry), link.clone(), spoilt.request);
    let mut answer = match shared.upstream_for(&front) {
        Some(upstream) => upstream::forward(upstream, &site, head, body).await,
        None => {
            let call = Call {
                shared,
                behaviour,
                site,
                method: head.method,
                query,
                headers: head.headers,
                body,
                forget_blobs: matches!(fault, Some(FaultAction::ForgetBlobs)),
            };
            // Strictness: behind one certificate there is one name.
            if call.misdirected() {
                Refusal::page(421, "Misdirected Request").into()
            } else {
                route::handle(call, route).await
            }
        }
    };
    if matches!(fault, Some(FaultAction::ResetAfterWork)) {
        link.reset();
    }
    if link.is_reset() {
        return Err(Broken);
    }
    if let Some(spoil) = spoilt.response {
        answer.body_mut().spoil(spoil);
    }
    Ok(finish(answer, &entry))
}

/// What a fault changes before the request is looked at.
#[derive(Default)]
struct Spoilt {
    instead: Option<Answer>,
    request: Option<Spoil>,
    response: Option<Spoil>,
}

async fn early(
    shared: &Shared,
    link: &Link,
    entry: &Entry,
    fault: Option<&FaultAction>,
    has_body: bool,
) -> Result<Spoilt, Broken> {
    let mut spoilt = Spoilt::default();
    let Some(fault) = fault else {
        return Ok(spoilt);
    };
    entry.faulted();
    match fault {
        FaultAction::Status {
            code,
            retry_after,
            body,
            headers,
        } => spoilt.instead = Some(instead(*code, *retry_after, body.as_deref(), headers)),
        FaultAction::ResetBeforeAnswer => {
            link.reset();
            return Err(Broken);
        }
        FaultAction::Stall => pending::<()>().await,
        FaultAction::CutRequestAt(at) => spoilt.request = Some(Spoil::Cut(*at)),
        FaultAction::StallRequestAt(at) => spoilt.request = Some(Spoil::Stall(*at)),
        FaultAction::CutResponseAt(at) => spoilt.response = Some(Spoil::Cut(*at)),
        FaultAction::StallResponseAt(at) => spoilt.response = Some(Spoil::Stall(*at)),
        FaultAction::CorruptByte(at) if has_body => spoilt.request = Some(Spoil::Corrupt(*at)),
        FaultAction::CorruptByte(at) => spoilt.response = Some(Spoil::Corrupt(*at)),
        FaultAction::ExpireTokens => shared.accounts.expire_tokens(),
        FaultAction::Delay(delay) => tokio::time::sleep(*delay).await,
        FaultAction::ForgetBlobs | FaultAction::ResetAfterWork => {}
    }
    Ok(spoilt)
}

fn instead(
    code: u16,
    retry_after: Option<u64>,
    body: Option<&str>,
    headers: &[(String, String)],
) -> Answer {
    let mut answer: Answer = match body {
        Some(body) if body.starts_with('{') => {
            answer::bytes(code, "application/json", body.to_owned())
        }
        Some(body) => Refusal::text(code, body).into(),
        None => {
            let (error, message) = usual_error(code);
            Refusal::registry(code, error, message).into()
        }
    };
    if let Some(seconds) = retry_after {
        answer::set(&mut answer, header::RETRY_AFTER, &seconds.to_string());
    }
    for (name, value) in headers {
        let name = name.parse().expect("a fault's header names are names");
        answer::set(&mut answer, name, value);
    }
    answer
}

/// Notes the answer in the log before any byte of it can reach the client.
fn finish(mut answer: Answer, entry: &Arc<Entry>) -> Answer {
    entry.answered(answer.status().as_u16());
    answer.body_mut().count(Arc::clone(entry));
    answer
}

/// The credential's scheme, and the user where the scheme shows one.
fn described(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().unwrap_or("?");
    let (scheme, _) = value.split_once(' ').unwrap_or((value, ""));
    Some(match crate::call::basic(headers) {
        Some((user, _)) => format!("{scheme} {user}"),
        None => scheme.to_owned(),
    })
}
