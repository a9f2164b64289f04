//! A registry that never stops: answers without an end or in drips, listings that always name another
//! page. What is read of it is bounded in bytes and in time, and told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::support::images::{Layout, Packed, Picture, classic_archive};
use crate::support::run::{Outcome, Run};

/// What a peer answers.
enum Answer {
    /// A head, and a body that ends.
    Whole(String, String),
    /// A head, and a body that does not.
    Endless(String),
    /// A head, and a body that does not either, a byte at a time.
    Drips(String),
    /// A head that does not end.
    EndlessHead(String),
}

/// Answers by method and path; `head` of an [`Answer`] is its status and headers.
struct Peer {
    address: String,
}

impl Peer {
    fn start(answer: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answer) = (stream.unwrap(), Arc::clone(&answer));
                // The other side may hang up whenever it likes.
                thread::spawn(move || serve(stream, &*answer).is_ok());
            }
        });
        Self { address }
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&str, &str) -> Answer) -> std::io::Result<()> {
    // Or a piece of an answer waits until the one before is acknowledged, 40 ms later.
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
        match answer(method, path) {
            Answer::Whole(head, body) => write!(
                output,
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{}",
                body.len(),
                if method == "HEAD" { "" } else { &body },
            )?,
            Answer::Endless(head) => {
                write!(
                    output,
                    "HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n"
                )?;
                let piece = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
                loop {
                    output.write_all(piece.as_bytes())?;
                }
            }
            Answer::EndlessHead(head) => {
                write!(output, "HTTP/1.1 {head}\r\n")?;
                let line = format!("x: {}\r\n", "[".repeat(1000));
                loop {
                    output.write_all(line.as_bytes())?;
                }
            }
            Answer::Drips(head) => {
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

fn whole(head: &str, body: &str) -> Answer {
    Answer::Whole(head.to_owned(), body.to_owned())
}

/// A run that dies when it takes more memory than the program itself needs many times over.
fn bounded(run: Run) -> Run {
    run.set("retry_timeout", "0s").set("timeout", "2m").under(&[
        "sh",
        "-c",
        "ulimit -v 4000000; exec \"$0\" \"$@\"",
    ])
}

fn list(peer: &Peer) -> Outcome {
    bounded(Run::command("list").set("tags", format!("{}/app", peer.address))).run()
}

#[test]
fn a_listing_without_an_end_is_told() {
    let peer = Peer::start(|_, path| match path {
        "/v2/" => whole("200 OK", "{}"),
        _ => Answer::Endless("200 OK".to_owned()),
    });
    let outcome = list(&peer);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("longer than"), "{}", outcome.stderr);
}

#[test]
fn pages_without_an_end_are_told() {
    let peer = Peer::start(|_, path| match path {
        "/v2/" => whole("200 OK", "{}"),
        _ => {
            let page: u64 = path.rsplit('=').next().unwrap().parse().unwrap_or(0);
            let next = format!("</v2/app/tags/list?last={}>; rel=\"next\"", page + 1);
            whole(
                &format!("200 OK\r\nlink: {next}"),
                r#"{"name":"app","tags":["a"]}"#,
            )
        }
    });
    let outcome = list(&peer);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("has no end"), "{}", outcome.stderr);
}

#[test]
fn an_error_page_without_an_end_costs_no_more_than_any_other() {
    let peer = Peer::start(|_, _| Answer::Endless("500 Oh".to_owned()));
    let outcome = list(&peer);
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("500"), "{}", outcome.stderr);
}

#[test]
fn a_token_without_an_end_is_told() {
    let token = Peer::start(|_, _| Answer::Endless("200 OK".to_owned()));
    let realm = format!("Bearer realm=\"http://{}/token\"", token.address);
    let front = Peer::start(move |_, _| whole(&format!("401 No\r\nwww-authenticate: {realm}"), ""));
    // Another port is another server, which has to be named where it has no TLS.
    let run = Run::command("list")
        .set("tags", format!("{}/app", front.address))
        .set("insecure_registries", &token.address);
    let outcome = bounded(run).run();
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("longer than"), "{}", outcome.stderr);
}

#[test]
fn a_manifest_without_an_end_is_taken_for_none() {
    let peer = Peer::start(|method, path| match (method, path) {
        (_, "/v2/") => whole("200 OK", "{}"),
        ("GET", path) if path.contains("/manifests/") => Answer::Endless("200 OK".to_owned()),
        ("POST", _) => whole(
            "403 No",
            r#"{"errors":[{"code":"DENIED","message":"enough"}]}"#,
        ),
        _ => whole("404 Not Found", "{}"),
    });
    let run = Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 1), &["app:1"])]),
        )
        .set("image", "image.tar")
        .set("tags", format!("{}/app:1", peer.address));
    let outcome = bounded(run).run();
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("enough"), "{}", outcome.stderr);
}

/// A registry that takes a push, but for what `odd` answers.
fn taking(odd: impl Fn(&str, &str) -> Option<Answer> + Send + Sync + 'static) -> Peer {
    Peer::start(move |method, path| {
        let usual = || match (method, path) {
            (_, "/v2/") => whole("200 OK", "{}"),
            ("POST", _) => whole("202 Accepted\r\nlocation: /v2/app/blobs/uploads/1", ""),
            ("PUT", _) => whole("201 Created\r\nlocation: /v2/app/x", ""),
            _ => whole("404 Not Found", "{}"),
        };
        odd(method, path).unwrap_or_else(usual)
    })
}

fn push(peer: &Peer) -> Run {
    bounded(
        Run::new()
            .file(
                "image.tar",
                classic_archive(&[(&Picture::new("app", 1), &["app:1"])]),
            )
            .set("image", "image.tar")
            .set("tags", format!("{}/app:1", peer.address))
            .set("verify", "off"),
    )
}

/// Runs to the end, and tells the most memory that was held on the way, in KiB.
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
fn a_refused_upload_without_an_end_fills_no_memory() {
    let (_, usual) = with_memory(push(&taking(|_, _| None)));
    for method in ["POST", "PUT"] {
        let peer = taking(move |asked, path| {
            let is_upload = asked == method && path.contains("/uploads/");
            is_upload.then(|| Answer::Endless("503 Later".to_owned()))
        });
        let (outcome, peak) = with_memory(push(&peer));
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
fn a_head_without_an_end_is_told() {
    for method in ["POST", "PUT"] {
        let peer = taking(move |asked, path| {
            let is_upload = asked == method && path.contains("/uploads/");
            is_upload.then(|| Answer::EndlessHead("202 Accepted".to_owned()))
        });
        let outcome = push(&peer).run();
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        let told = outcome.error().replace(method, "[METHOD]");
        insta::allow_duplicates!(insta::assert_snapshot!(told, @"
        error: could not push to `127.0.0.1:[PORT]/app`
          caused by: [METHOD] http://127.0.0.1:[PORT]/v2/app/blobs/uploads/
          caused by: message head is too large

        hint: what answers at `127.0.0.1:[PORT]` is no HTTP that can be read: check the host and the port, and what stands between here and there
        "));
    }
}

#[test]
fn what_is_said_without_an_end_beside_a_success_is_not_listened_to() {
    for (method, part) in [
        ("POST", "/uploads/"),
        ("PUT", "/uploads/"),
        ("PUT", "/manifests/"),
        ("GET", "/v2/"),
        ("GET", "/tags/list"),
    ] {
        let peer = taking(move |asked, path| {
            let head = match asked {
                "POST" => "202 Accepted\r\nlocation: /v2/app/blobs/uploads/1",
                "PUT" => "201 Created\r\nlocation: /v2/app/x",
                _ => "200 OK",
            };
            let is_it = asked == method && path.contains(part);
            is_it.then(|| Answer::Endless(head.to_owned()))
        });
        let outcome = push(&peer).run();
        assert_eq!(outcome.code, 0, "{method} {part}: {}", outcome.stderr);
    }
}

#[test]
fn an_answer_in_drips_is_given_up_whatever_it_is_for() {
    let drips = |head: &str| Answer::Drips(head.to_owned());
    // (what drips, its status, what is told)
    for (part, head, told) in [
        ("/tags/list", "200 OK", "the answer is too slow"),
        ("/tags/list", "500 Oh", "500"),
        ("/v2/", "500 Oh", "500"),
    ] {
        let peer = Peer::start(move |_, path| match path {
            path if path.contains(part) && (part != "/v2/" || path == part) => drips(head),
            _ => whole("200 OK", "{}"),
        });
        let run = Run::command("list").set("tags", format!("{}/app", peer.address));
        let outcome = bounded(run).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{part}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(told), "{part}: {}", outcome.stderr);
    }
}

#[test]
fn an_upload_and_a_download_in_drips_are_given_up() {
    for (method, part) in [
        ("POST", "/uploads/"),
        ("PUT", "/uploads/"),
        ("PUT", "/manifests/"),
    ] {
        let peer = taking(move |asked, path| {
            let is_it = asked == method && path.contains(part);
            is_it.then(|| Answer::Drips("503 Later".to_owned()))
        });
        let outcome = push(&peer).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{method} {part}: {}", outcome.stderr);
    }
    let mut layout = Layout::default();
    let root = layout.image(&Picture::new("app", 1), Packed::Gzip);
    let manifest = String::from_utf8(layout.get(&root).to_vec()).unwrap();
    for part in ["/manifests/", "/blobs/"] {
        let manifest = manifest.clone();
        let source = Peer::start(move |_, path| match path {
            path if path.contains(part) => Answer::Drips("200 OK".to_owned()),
            path if path.contains("/manifests/") => whole("200 OK", &manifest),
            _ => whole("200 OK", "{}"),
        });
        let home = taking(|_, _| None);
        let run = Run::new()
            .set("image", format!("docker://{}/app:1", source.address))
            .set("tags", format!("{}/app:1", home.address));
        let outcome = bounded(run).set("stall_timeout", "1s").run();
        assert_eq!(outcome.code, 4, "{part}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("bytes came in"),
            "{}",
            outcome.stderr
        );
    }
}
