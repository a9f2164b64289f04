//! A registry that never stops: answers without an end, listings that always name another page.
//! What is read of it is bounded, and told.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::support::images::{Picture, classic_archive};
use crate::support::run::{Outcome, Run};

/// What a peer answers.
enum Answer {
    /// A head, and a body that ends.
    Whole(String, String),
    /// A head, and a body that does not.
    Endless(String),
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
    // The realm is on the registry's own host, as it has to be.
    let realm = format!("Bearer realm=\"http://{}/token\"", token.address);
    let front = Peer::start(move |_, _| whole(&format!("401 No\r\nwww-authenticate: {realm}"), ""));
    let outcome = list(&front);
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
