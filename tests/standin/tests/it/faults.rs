//! Every fault, on request and response bodies, on client and server.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use standin::{BlobDownload, Fault, FaultAction, RequestKind, Standin};

use crate::http_client::{Client, Stream};
use crate::images::{
    Image, OCI_MANIFEST, open_upload, push_blob, pusher, put_manifest, ready, sha256,
};

const START: &str = "/v2/proj/a/blobs/uploads/";

/// The statuses of opening this number of uploads.
fn start_uploads(client: &Client<'_>, count: usize) -> Vec<u16> {
    let start = |_| client.send("POST", START, &[], b"").status;
    (0..count).map(start).collect()
}

#[test]
fn fault_applies_to_its_kind_after_skip_for_its_count() {
    let standin = ready();
    let client = pusher(&standin);
    let action = FaultAction::status(503);
    standin.fault(
        Fault::once(RequestKind::UploadStart, action.clone())
            .after(1)
            .times(2),
    );
    standin.fault(Fault::always(RequestKind::TagsList, action.clone()));
    standin.fault(Fault::always(RequestKind::UploadStart, action).at("eu.gcr.io"));
    assert_eq!(start_uploads(&client, 4), [202, 503, 503, 202]);
    for _ in 0..2 {
        assert_eq!(client.get("/v2/proj/a/tags/list").status, 503);
    }
    let log = standin.requests();
    let faulted = log.iter().filter(|request| request.faulted).count();
    assert_eq!(faulted, 4);
    standin.clear_faults();
    assert_eq!(client.get("/v2/proj/a/tags/list").status, 404);
}

#[test]
fn status_faults_use_the_error_envelope_or_given_body() {
    let standin = ready();
    let client = pusher(&standin);
    standin.fault(Fault::once(
        RequestKind::UploadStart,
        FaultAction::Status {
            code: 429,
            retry_after: Some(7),
            body: None,
            headers: vec![("x-quota".to_owned(), "spent".to_owned())],
        },
    ));
    let answer = client.send("POST", START, &[], b"");
    assert_eq!(answer.refusal(), (429, "TOOMANYREQUESTS".to_owned()));
    assert!(
        answer
            .message()
            .starts_with("Quota exceeded for quota metric")
    );
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("x-quota"), Some("spent"));
    for (body, content_type) in [
        ("upstream connect error", "text/plain; charset=utf-8"),
        ("{\"error\":\"internal_failure\"}", "application/json"),
    ] {
        standin.fault(Fault::once(
            RequestKind::Token,
            FaultAction::Status {
                code: 502,
                retry_after: None,
                body: Some(body.to_owned()),
                headers: Vec::new(),
            },
        ));
        let answer = client.get("/v2/token");
        assert_eq!((answer.status, answer.text().as_str()), (502, body));
        assert_eq!(answer.header("content-type"), Some(content_type));
    }
}

#[test]
fn reset_comes_before_the_answer_or_after_the_work() {
    let standin = ready();
    let client = pusher(&standin);
    let put = |action: FaultAction, bytes: &[u8]| {
        let opened = open_upload(&client, "proj/a");
        standin.fault(Fault::once(RequestKind::UploadPut, action));
        let target = format!("{opened}?digest={}", sha256(bytes));
        let length = bytes.len().to_string();
        let headers = [("content-length", length.as_str())];
        client
            .try_send("PUT", &target, &headers, bytes)
            .unwrap_err()
            .kind()
    };
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(gone.contains(&put(FaultAction::ResetBeforeAnswer, b"one")));
    assert_eq!(standin.blob("gcr.io", "proj/a", &sha256(b"one")), None);
    assert_eq!(standin.requests().pop().unwrap().status, 0);
    assert!(gone.contains(&put(FaultAction::ResetAfterWork, b"two")));
    assert!(standin.blob("gcr.io", "proj/a", &sha256(b"two")).is_some());
}

#[test]
fn request_body_can_be_cut() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/a");
    standin.fault(Fault::once(
        RequestKind::UploadPut,
        FaultAction::CutRequestAt(100_000),
    ));
    let bytes = vec![7; 1_000_000];
    let target = format!("{opened}?digest={}", sha256(&bytes));
    let headers = [("content-length", "1000000")];
    client
        .try_send("PUT", &target, &headers, &bytes)
        .unwrap_err();
    assert_eq!(standin.blob("gcr.io", "proj/a", &sha256(&bytes)), None);
    let put = standin.requests().pop().unwrap();
    assert_eq!((put.received_bytes, put.status), (100_000, 0));
    assert_eq!(push_blob(&client, "proj/a", &bytes).status, 201);
}

#[test]
fn answer_body_can_be_cut_or_corrupted() {
    let standin = ready();
    standin.change(|behaviour| behaviour.blob_download = BlobDownload::Direct);
    let client = pusher(&standin);
    let bytes = vec![7; 1_000_000];
    push_blob(&client, "proj/a", &bytes);
    let path = format!("/v2/proj/a/blobs/{}", sha256(&bytes));
    for at in [0, 1, 300_000, 999_999] {
        standin.fault(Fault::once(
            RequestKind::BlobGet,
            FaultAction::CutResponseAt(at),
        ));
        let answer = client.get(&path);
        assert_eq!((answer.status, answer.complete), (200, false));
        assert_eq!(answer.body.len() as u64, at);
        assert_eq!(answer.header("content-length"), Some("1000000"));
    }
    for at in [0, 300_000, 999_999] {
        standin.fault(Fault::once(
            RequestKind::BlobGet,
            FaultAction::CorruptByte(at),
        ));
        let answer = client.get(&path);
        let changed: Vec<usize> = (0..bytes.len())
            .filter(|index| answer.body[*index] != bytes[*index])
            .collect();
        assert_eq!(changed, [usize::try_from(at).unwrap()]);
    }
    assert_eq!(client.get(&path).body, bytes);
}

#[test]
fn uploaded_byte_can_be_corrupted() {
    let standin = ready();
    let client = pusher(&standin);
    standin.fault(Fault::once(
        RequestKind::UploadPut,
        FaultAction::CorruptByte(2),
    ));
    let answer = push_blob(&client, "proj/a", b"content");
    assert_eq!(answer.refusal(), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(push_blob(&client, "proj/a", b"content").status, 201);
}

/// Stops the stand-in. Returns what a stalled connection had received. Before that, other requests
/// are served, so that an answer had every chance to come.
fn received_until_the_end(standin: Standin, mut stream: Box<dyn Stream>, until: &[u8]) -> Vec<u8> {
    let mut received = Vec::new();
    while !received.ends_with(until) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        received.push(byte[0]);
    }
    for _ in 0..5 {
        Client::plain(&standin).get("/v2/");
    }
    drop(standin);
    let _ = stream.read_to_end(&mut received);
    received
}

#[test]
fn answer_can_stall_before_or_within_its_body() {
    for (action, body) in [
        (FaultAction::Stall, &b""[..]),
        (FaultAction::StallResponseAt(4), b"cont"),
    ] {
        let standin = Standin::start();
        standin.put_blob("plain", "a", b"content");
        standin.fault(Fault::once(RequestKind::BlobGet, action));
        let mut stream = Client::plain(&standin).connect().unwrap();
        let path = format!("/v2/a/blobs/{}", sha256(b"content"));
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let received = received_until_the_end(standin, stream, body);
        let expected = if body.is_empty() { "" } else { "\r\n\r\ncont" };
        let text = String::from_utf8(received).unwrap();
        assert!(
            text.ends_with(expected) && text.is_empty() == body.is_empty(),
            "{text}"
        );
    }
}

#[test]
fn request_body_can_stall() {
    let standin = ready();
    let client = pusher(&standin);
    let opened = open_upload(&client, "proj/a");
    let action = FaultAction::StallRequestAt(3);
    standin.fault(Fault::once(RequestKind::UploadPut, action));
    let mut stream = client.anonymous().connect().unwrap();
    let target = format!("{opened}?digest={}", sha256(b"content"));
    let head = format!("PUT {target} HTTP/1.1\r\nhost: gcr.io\r\ncontent-length: 7\r\n\r\n");
    stream
        .write_all(format!("{head}content").as_bytes())
        .unwrap();
    let put = || {
        let mut log = standin.requests().into_iter();
        log.find(|request| request.kind == RequestKind::UploadPut)
    };
    while put().is_none_or(|put| put.received_bytes < 3) {
        std::thread::yield_now();
    }
    Client::plain(&standin).get("/v2/");
    let put = put().unwrap();
    assert_eq!((put.received_bytes, put.status), (3, 0));
    assert_eq!(received_until_the_end(standin, stream, b""), b"");
}

#[test]
fn answer_headers_can_be_changed_or_removed() {
    let standin = ready();
    let client = pusher(&standin);
    for value in [None, Some("https://evil.example/x".to_owned())] {
        let action = FaultAction::Header {
            name: "Location".to_owned(),
            value: value.clone(),
        };
        standin.fault(Fault::once(RequestKind::UploadStart, action));
        let answer = client.send("POST", START, &[], b"");
        assert_eq!(answer.status, 202);
        assert_eq!(answer.header("location"), value.as_deref());
    }
}

#[test]
fn delay_changes_nothing_else() {
    let standin = ready();
    let client = pusher(&standin);
    let action = FaultAction::Delay(Duration::from_millis(1));
    standin.fault(Fault::once(RequestKind::UploadStart, action));
    standin.change(|behaviour| behaviour.latency = Duration::from_millis(1));
    assert_eq!(start_uploads(&client, 2), [202, 202]);
}

#[test]
fn blobs_can_vanish_between_check_and_manifest() {
    let standin = ready();
    let client = pusher(&standin);
    let image = Image::new("a");
    image.push_blobs(&client, "proj/a");
    standin.fault(Fault::once(
        RequestKind::ManifestPut,
        FaultAction::ForgetBlobs,
    ));
    let answer = put_manifest(&client, "proj/a", "t", OCI_MANIFEST, &image.manifest);
    assert_eq!(answer.refusal(), (400, "BLOB_UNKNOWN".to_owned()));
    let path = format!("/v2/proj/a/blobs/{}", sha256(&image.layer));
    assert_eq!(client.head(&path).status, 404);
    image.push(&client, "proj/a", "t");
}
