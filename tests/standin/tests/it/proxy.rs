//! CONNECT, and what the log keeps of a request.

use std::io::{Read, Write};
use std::net::TcpStream;

use standin::{Fault, FaultAction, RequestKind, Standin};

use crate::http_client::{Client, tunnel};

#[test]
fn tunnels_open_to_impersonated_names_only() {
    let standin = Standin::builder().name("registry.example.com").start();
    for (target, opens) in [
        ("gcr.io:443", true),
        ("asia.gcr.io:443", true),
        ("europe-docker.pkg.dev:443", true),
        ("oauth2.googleapis.com:443", true),
        ("sts.googleapis.com:443", true),
        ("registry.example.com:443", true),
        ("gcr.io:80", false),
        ("example.com:443", false),
        ("notgcr.io:443", false),
        ("gcr.io.example.com:443", false),
        ("127.0.0.1:443", false),
    ] {
        assert_eq!(tunnel(&standin, target).is_ok(), opens, "{target}");
        let last = standin.requests().pop().unwrap();
        assert_eq!(last.kind, RequestKind::Connect);
        assert_eq!(Some(last.host.as_str()), target.split(':').next());
        assert_eq!(last.status, if opens { 200 } else { 403 });
        assert!(last.via_proxy);
    }
}

#[test]
fn request_without_tunnel_is_refused_and_logged() {
    let standin = Standin::start();
    let proxy = standin.proxy_url();
    let mut stream = TcpStream::connect(proxy.strip_prefix("http://").unwrap()).unwrap();
    let head = "GET http://metadata.google.internal/x?y HTTP/1.1\r\nhost: \
                metadata.google.internal\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let last = standin.requests().pop().unwrap();
    assert_eq!(
        (last.host.as_str(), last.path.as_str()),
        ("metadata.google.internal", "/x")
    );
    assert_eq!((last.kind, last.status), (RequestKind::Other, 403));
}

#[test]
fn tunnel_leads_to_its_own_name_only() {
    let standin = Standin::start();
    let client = Client::at(&standin, "gcr.io");
    let answer = client.send("GET", "/v2/", &[("host", "eu.gcr.io")], b"");
    assert_eq!(answer.status, 421);
    let answer = client.send("GET", "/v2/", &[("host", "gcr.io:443")], b"");
    assert_eq!(answer.status, 401);
}

#[test]
fn names_without_service_are_not_found() {
    let standin = Standin::start();
    for host in ["storage.googleapis.com", "mirror.gcr.io", "maven.pkg.dev"] {
        assert_eq!(Client::at(&standin, host).get("/v2/").status, 404, "{host}");
    }
}

#[test]
fn proxy_can_fail() {
    let standin = Standin::start();
    let status = FaultAction::status(502);
    standin.fault(Fault::once(RequestKind::Connect, status).at("gcr.io"));
    standin
        .fault(Fault::once(RequestKind::Connect, FaultAction::ResetBeforeAnswer).at("eu.gcr.io"));
    assert!(tunnel(&standin, "us.gcr.io:443").is_ok());
    let error = tunnel(&standin, "gcr.io:443").unwrap_err().to_string();
    assert!(error.starts_with("HTTP/1.1 502 "), "{error}");
    assert!(tunnel(&standin, "gcr.io:443").is_ok());
    assert!(tunnel(&standin, "eu.gcr.io:443").is_err());
}

#[test]
fn requests_are_logged_without_credentials() {
    let standin = Standin::start();
    let client = Client::at(&standin, "gcr.io").basic("_json_key", "a secret");
    let headers = [
        ("user-agent", "test/1"),
        ("accept", "text/a"),
        ("accept", "text/b"),
        ("cookie", "x"),
    ];
    client.send("GET", "/v2/proj/a/tags/list?n=3", &headers, b"");
    let request = standin.requests().pop().unwrap();
    assert_eq!(request.method, "GET");
    assert_eq!(
        (request.path.as_str(), request.query.as_str()),
        ("/v2/proj/a/tags/list", "n=3")
    );
    assert_eq!((request.kind, request.status), (RequestKind::TagsList, 401));
    assert_eq!(request.authorization.as_deref(), Some("Basic _json_key"));
    assert_eq!(request.headers["user-agent"], "test/1");
    assert_eq!(request.headers["accept"], "text/a, text/b");
    assert!(!request.headers.contains_key("cookie"));
    assert!(!format!("{request:?}").contains("a secret"));
    standin.clear_requests();
    assert!(standin.requests().is_empty());
}
