//! A real registry behind the stand-in: requests are passed on unbuffered, with the log and the
//! faults.

use http::request::Parts;
use http::{HeaderValue, Response, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::answer::{Answer, Refusal};
use crate::body::{Outgoing, Source, Upload};
use crate::hosts::RequestedHost;

/// The upstream registry, over plain HTTP/1.1.
pub(crate) struct Upstream {
    authority: String,
    /// Names behind CONNECT that it answers for too.
    names: Vec<String>,
    client: Client<HttpConnector, Upload>,
}

impl Upstream {
    /// `url` is `http://HOST:PORT`.
    pub(crate) fn new(url: &str, names: Vec<String>) -> Self {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            authority: authority
                .expect("an upstream is http://HOST:PORT")
                .to_owned(),
            names,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    pub(crate) fn answers_for(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// Passes a request on, and returns its answer.
pub(crate) async fn forward(
    upstream: &Upstream,
    site: &RequestedHost,
    mut head: Parts,
    body: Upload,
) -> Answer {
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let uri = format!("http://{}{target}", upstream.authority);
    head.uri = uri
        .parse::<Uri>()
        .expect("a path of ours under an authority");
    head.version = http::Version::HTTP_11;
    let host = HeaderValue::from_str(&upstream.authority).expect("an authority is plain text");
    head.headers.insert(header::HOST, host);
    head.headers.remove(header::CONNECTION);
    let request = http::Request::from_parts(head, body);
    match upstream.client.request(request).await {
        Ok(response) => rewrite_addresses(upstream, site, response),
        Err(error) => Refusal::text(502, format!("the upstream failed: {error}\n")).into(),
    }
}

/// The upstream's answer, with its own address replaced where a client would follow it.
fn rewrite_addresses(
    upstream: &Upstream,
    site: &RequestedHost,
    response: Response<hyper::body::Incoming>,
) -> Answer {
    let (mut head, incoming) = response.into_parts();
    head.headers.remove(header::CONNECTION);
    let upstream_origin = format!("http://{}", upstream.authority);
    for name in [header::LOCATION, header::WWW_AUTHENTICATE] {
        let value = head
            .headers
            .get(&name)
            .and_then(|value| value.to_str().ok());
        if let Some(value) = value.filter(|value| value.contains(&upstream_origin)) {
            let value = value.replace(&upstream_origin, &site.origin());
            let value = HeaderValue::from_str(&value).expect("a URL is plain text");
            head.headers.insert(name, value);
        }
    }
    Response::from_parts(head, Outgoing::new(Source::Upstream(incoming)))
}
