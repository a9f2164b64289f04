//! A registry for `benches/peers` that takes every blob, checks nothing and keeps manifests alone:
//! what is measured against it is the tool, not a disk.
//!
//! `sink` prints its address.

#![expect(clippy::print_stdout, reason = "`benches/peers` reads it")]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Answer = Response<Full<Bytes>>;

/// What was put, by path.
#[derive(Default)]
struct Held {
    blobs: HashSet<String>,
    manifests: HashMap<String, (HeaderMap, Bytes)>,
}

fn answer(status: StatusCode, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    answer.body(Full::new(body)).unwrap_or_default()
}

/// Reads a body to its end and drops it, or returns it.
async fn drain(mut body: Incoming, keep: bool) -> Result<Vec<u8>, hyper::Error> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let (true, Ok(data)) = (keep, frame?.into_data()) {
            kept.extend_from_slice(&data);
        }
    }
    Ok(kept)
}

async fn serve(request: Request<Incoming>, held: Arc<Mutex<Held>>) -> Result<Answer, hyper::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let is_manifest = path.contains("/manifests/");
    let body = drain(body, is_manifest).await?;
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    let empty = Bytes::new();
    Ok(match parts.method {
        Method::POST => {
            let place = format!("{path}1");
            answer(StatusCode::ACCEPTED, &[("location", &place)], empty)
        }
        Method::PATCH => answer(StatusCode::ACCEPTED, &[("location", &path)], empty),
        Method::PUT if is_manifest => {
            let digest = gcr_push::oci::digest::Digest::of(&body).to_string();
            let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
            let mut headers = HeaderMap::new();
            headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            headers.extend(digest.parse().ok().map(|digest| {
                (
                    header::HeaderName::from_static("docker-content-digest"),
                    digest,
                )
            }));
            if let Some((folder, _)) = path.rsplit_once('/') {
                let put = (headers, Bytes::from(body));
                held.manifests
                    .insert(format!("{folder}/{digest}"), put.clone());
                held.manifests.insert(path, put);
            }
            answer(
                StatusCode::CREATED,
                &[("docker-content-digest", &digest)],
                empty,
            )
        }
        Method::PUT => {
            let (folder, _) = path.split_once("/uploads/").unwrap_or_default();
            let query = parts.uri.query().unwrap_or_default();
            let digest = query.split("digest=").nth(1).unwrap_or_default();
            held.blobs
                .insert(format!("{folder}/{}", digest.replace("%3A", ":")));
            answer(StatusCode::CREATED, &[], empty)
        }
        _ if path == "/v2/" => answer(StatusCode::OK, &[], empty),
        _ if held.blobs.contains(&path) => answer(StatusCode::OK, &[], empty),
        _ => match held.manifests.get(&path) {
            Some((headers, manifest)) => {
                let mut found = answer(StatusCode::OK, &[], manifest.clone());
                found.headers_mut().extend(headers.clone());
                found
            }
            None => answer(StatusCode::NOT_FOUND, &[], empty),
        },
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let held = Arc::new(Mutex::new(Held::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let held = Arc::clone(&held);
        tokio::spawn(async move {
            let service = service_fn(|request| serve(request, Arc::clone(&held)));
            // A client that breaks its connection is seen by the client.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
