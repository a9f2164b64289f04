//! Registries whose answers, listings or pages never end, or trickle in. What is read of them is
//! bounded in bytes and in time, and reported.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// An answer of the registry.
enum Response {
    /// A head, and a complete body.
    Complete(String, String),
    /// A head, and a body that never ends.
    Endless(String),
    /// A head, and a body that never ends and comes a byte at a time.
    Trickling(String),
    /// A head that never ends.
    EndlessHead(String),
}

/// Answers by method and path; `head` of a [`Response`] is its status and headers.
struct FakeRegistry {
    address: String,
}

impl FakeRegistry {
    fn start(respond: impl Fn(&str, &str) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let respond = Arc::new(respond);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, respond) = (stream.unwrap(), Arc::clone(&respond));
                // The client may hang up at any time.
                thread::spawn(move || serve(stream, &*respond).is_ok());
            }
        });
        Self { address }
    }
}

fn serve(stream: TcpStream, respond: &dyn Fn(&str, &str) -> Response) -> std::io::Result<()> {
    // Without this a chunk waits 40 ms until the one before is acknowledged.
    stream.set_nodelay(true)?;
    let mut output = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            // TLS is not spoken here.
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line);
        }
        let length = lines.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse().unwrap())
        });
        std::io::copy(
            &mut (&mut input).take(length.unwrap_or(0)),
            &mut std::io::sink(),
        )?;
        let mut words = lines[0].split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match respond(method, path) {
            Response::Complete(head, body) => write!(
                output,
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{}",
                body.len(),
                if method == "HEAD" { "" } else { &body },
            )?,
            Response::Endless(head) => {
                write!(
                    output,
                    "HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n"
                )?;
                let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
                loop {
                    output.write_all(chunk.as_bytes())?;
                }
            }
            Response::EndlessHead(head) => {
                write!(output, "HTTP/1.1 {head}\r\n")?;
                let line = format!("x: {}\r\n", "[".repeat(1000));
                loop {
                    output.write_all(line.as_bytes())?;
                }
            }
            Response::Trickling(head) => {
                write!(
                    output,
                    "HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n"
                )?;
                loop {
                    output.write_all(b"1\r\n[\r\n")?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

fn complete(head: &str, body: &str) -> Response {
    Response::Complete(head.to_owned(), body.to_owned())
}

/// A run that is killed if it takes many times the memory that the program needs.
fn bounded(run: Run) -> Run {
    run.set("retry_timeout", "0s").set("timeout", "2m").under(&[
        "sh",
        "-c",
        "ulimit -v 4000000; exec \"$0\" \"$@\"",
    ])
}

fn list(registry: &FakeRegistry) -> Outcome {
    bounded(Run::command("list").set("tags", format!("{}/app", registry.address))).run()
}

#[test]
fn endless_listing_is_reported() {
    let registry = FakeRegistry::start(|_, path| match path {
        "/v2/" => complete("200 OK", "{}"),
        _ => Response::Endless("200 OK".to_owned()),
    });
    let outcome = list(&registry);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("longer than"), "{}", outcome.stderr);
}

#[test]
fn endless_pages_are_reported() {
    let registry = FakeRegistry::start(|_, path| match path {
        "/v2/" => complete("200 OK", "{}"),
        _ => {
            let page: u64 = path.rsplit('=').next().unwrap().parse().unwrap_or(0);
            let next = format!("</v2/app/tags/list?last={}>; rel=\"next\"", page + 1);
            complete(
                &format!("200 OK\r\nlink: {next}"),
                r#"{"name":"app","tags":["a"]}"#,
            )
        }
    });
    let outcome = list(&registry);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("does not end"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn endless_error_page_costs_no_more_than_another() {
    let registry = FakeRegistry::start(|_, _| Response::Endless("500 Oh".to_owned()));
    let outcome = list(&registry);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("500"), "{}", outcome.stderr);
}

#[test]
fn endless_token_is_reported() {
    let token = FakeRegistry::start(|_, _| Response::Endless("200 OK".to_owned()));
    let realm = format!("Bearer realm=\"http://{}/token\"", token.address);
    let front = FakeRegistry::start(move |_, _| {
        complete(&format!("401 No\r\nwww-authenticate: {realm}"), "")
    });
    // Another port is another server, which has to be listed if it has no TLS.
    let run = Run::command("list")
        .set("tags", format!("{}/app", front.address))
        .set("insecure_registries", &token.address);
    let outcome = bounded(run).run();
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("longer than"), "{}", outcome.stderr);
}

#[test]
fn endless_manifest_is_treated_as_invalid() {
    let registry = FakeRegistry::start(|method, path| match (method, path) {
        (_, "/v2/") => complete("200 OK", "{}"),
        ("GET", path) if path.contains("/manifests/") => Response::Endless("200 OK".to_owned()),
        ("POST", _) => complete(
            "403 No",
            r#"{"errors":[{"code":"DENIED","message":"enough"}]}"#,
        ),
        _ => complete("404 Not Found", "{}"),
    });
    let run = Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
        )
        .set("image", "image.tar")
        .set("tags", format!("{}/app:1", registry.address));
    let outcome = bounded(run).run();
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("enough"), "{}", outcome.stderr);
}

/// A registry that accepts a push, except for what `special_response` answers.
fn accepting_registry(
    special_response: impl Fn(&str, &str) -> Option<Response> + Send + Sync + 'static,
) -> FakeRegistry {
    FakeRegistry::start(move |method, path| {
        let usual = || match (method, path) {
            (_, "/v2/") => complete("200 OK", "{}"),
            ("POST", _) => complete("202 Accepted\r\nlocation: /v2/app/blobs/uploads/1", ""),
            ("PUT", _) => complete("201 Created\r\nlocation: /v2/app/x", ""),
            _ => complete("404 Not Found", "{}"),
        };
        special_response(method, path).unwrap_or_else(usual)
    })
}

fn push(registry: &FakeRegistry) -> Run {
    bounded(
        Run::new()
            .file(
                "image.tar",
                classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
            )
            .set("image", "image.tar")
            .set("tags", format!("{}/app:1", registry.address))
            .set("verify", "off"),
    )
}

/// Runs to the end. Returns the outcome and the peak memory in KiB.
fn with_memory(run: Run) -> (Outcome, u64) {
    let mut running = run.start();
    let mut peak = 0;
    while !running.has_ended() {
        peak = running.peak_memory().unwrap_or(peak);
        thread::sleep(Duration::from_millis(2));
    }
    (running.wait(), peak)
}

#[test]
fn endless_upload_refusal_fills_no_memory() {
    let (_, usual) = with_memory(push(&accepting_registry(|_, _| None)));
    for method in ["POST", "PUT"] {
        let registry = accepting_registry(move |request_method, path| {
            let is_upload = request_method == method && path.contains("/uploads/");
            is_upload.then(|| Response::Endless("503 Later".to_owned()))
        });
        let (outcome, peak) = with_memory(push(&registry));
        assert_eq!(outcome.code, 4, "{}", outcome.stderr);
        assert!(
            outcome.error().contains("503 Service Unavailable"),
            "{}",
            outcome.stderr
        );
        assert!(
            peak < usual + 100_000,
            "{method}: {peak} KiB, where {usual} KiB are usual"
        );
    }
}

#[test]
fn endless_head_is_reported() {
    for method in ["POST", "PUT"] {
        let registry = accepting_registry(move |request_method, path| {
            let is_upload = request_method == method && path.contains("/uploads/");
            is_upload.then(|| Response::EndlessHead("202 Accepted".to_owned()))
        });
        let outcome = push(&registry).run();
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        let message = outcome.error().replace(method, "[METHOD]");
        insta::allow_duplicates!(insta::assert_snapshot!(message, @"
        error: could not push to `127.0.0.1:[PORT]/app`
          caused by: [METHOD] http://127.0.0.1:[PORT]/v2/app/blobs/uploads/
          caused by: message head is too large

        hint: `127.0.0.1:[PORT]` did not return valid HTTP: check the host and the port, and any proxy on the way
        "));
    }
}

#[test]
fn endless_body_of_a_success_is_not_read() {
    for (method, part) in [
        ("POST", "/uploads/"),
        ("PUT", "/uploads/"),
        ("PUT", "/manifests/"),
        ("GET", "/v2/"),
        ("GET", "/tags/list"),
    ] {
        let registry = accepting_registry(move |request_method, path| {
            let head = match request_method {
                "POST" => "202 Accepted\r\nlocation: /v2/app/blobs/uploads/1",
                "PUT" => "201 Created\r\nlocation: /v2/app/x",
                _ => "200 OK",
            };
            let is_match = request_method == method && path.contains(part);
            is_match.then(|| Response::Endless(head.to_owned()))
        });
        let outcome = push(&registry).run();
        assert_eq!(outcome.code, 0, "{method} {part}: {}", outcome.stderr);
    }
}

#[test]
fn trickling_answer_is_aborted_for_any_request() {
    let drips = |head: &str| Response::Trickling(head.to_owned());
    // (what trickles, its status, the message)
    for (part, head, message) in [
        ("/tags/list", "200 OK", "the response is too slow"),
        ("/tags/list", "500 Oh", "500"),
        ("/v2/", "500 Oh", "500"),
    ] {
        let registry = FakeRegistry::start(move |_, path| match path {
            path if path.contains(part) && (part != "/v2/" || path == part) => drips(head),
            _ => complete("200 OK", "{}"),
        });
        let run = Run::command("list").set("tags", format!("{}/app", registry.address));
        let outcome = bounded(run).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{part}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(message),
            "{part}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn trickling_upload_and_download_are_aborted() {
    for (method, part) in [
        ("POST", "/uploads/"),
        ("PUT", "/uploads/"),
        ("PUT", "/manifests/"),
    ] {
        let registry = accepting_registry(move |request_method, path| {
            let is_match = request_method == method && path.contains(part);
            is_match.then(|| Response::Trickling("503 Later".to_owned()))
        });
        let outcome = push(&registry).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{method} {part}: {}", outcome.stderr);
    }
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    let manifest = String::from_utf8(layout.get(&root).to_vec()).unwrap();
    for part in ["/manifests/", "/blobs/"] {
        let manifest = manifest.clone();
        let source = FakeRegistry::start(move |_, path| match path {
            path if path.contains(part) => Response::Trickling("200 OK".to_owned()),
            path if path.contains("/manifests/") => complete("200 OK", &manifest),
            _ => complete("200 OK", "{}"),
        });
        let destination = accepting_registry(|_, _| None);
        let run = Run::new()
            .set("image", format!("docker://{}/app:1", source.address))
            .set("tags", format!("{}/app:1", destination.address));
        let outcome = bounded(run).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{part}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("bytes arrived in"),
            "{}",
            outcome.stderr
        );
    }
}
