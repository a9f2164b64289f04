//! The proxy: CONNECT for the names that the stand-in serves, and a refusal for all others.

use std::pin::Pin;
use std::sync::Arc;

use http::{Method, Request, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use crate::answer::{self, Answer, Refusal};
use crate::connection::{self, ConnectionReset, Endpoint, Link, finish};
use crate::fault_effects::apply_before;
use crate::log::{self, Arrival, RequestKind};
use crate::server::Shared;

/// Answers the proxy's clients. Only CONNECT to port 443 of a served name opens a tunnel; a client
/// that asks for anything else lacks a `NO_PROXY` rule, or would have reached the real network.
pub(crate) async fn respond(
    shared: Arc<Shared>,
    link: Link,
    request: Request<Incoming>,
) -> Result<Answer, ConnectionReset> {
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
        connection: link.number(),
        http2: false,
        headers: log::logged_headers(request.headers()),
    });
    let fault = shared.faults.take(kind, host, "CONNECT");
    if let Some(answer) = apply_before(&shared, &link, &entry, fault.as_ref(), request.uri(), false)
        .await?
        .replacement
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

/// Serves the name behind a tunnel. Boxed, because a connection may hold a tunnel, which is a
/// connection itself.
fn tunnel(
    shared: Arc<Shared>,
    link: Link,
    name: String,
    request: Request<Incoming>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let io = TokioIo::new(upgraded);
            let endpoint = Endpoint::Name(name.clone());
            connection::serve_tls(shared, io, link, endpoint, &[&name]).await;
        }
    })
}
