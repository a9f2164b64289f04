//! Answers that break the protocol, as odd registries or a library produce them.

use std::io;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use gcr_push::auth::Credential;
use gcr_push::diagnostics::Diagnostic as _;
use gcr_push::diagnostics::render::write_chain;
use gcr_push::http::Network;
use gcr_push::oci::digest::Digest;
use gcr_push::registry::Registry;
use std::time::Duration;

use standin::{Fault, FaultAction, RequestKind};

use super::{oci, refused, without_digests};
use crate::support::google::Google;

#[test]
fn unreadable_image_is_not_blamed_on_the_connection() {
    let google = Google::start();
    let network = Network {
        connect_timeout: Duration::from_secs(10),
        stall_timeout: Duration::from_secs(10),
        retry_timeout: Duration::ZERO,
        ..Network::default()
    };
    let endpoint = google.standin.plain_address().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let error = runtime.block_on(async {
        let registry = Registry::open(&endpoint, Credential::Anonymous, &network, true)
            .await
            .unwrap_or_else(|_| panic!("it opens"));
        let pieces = [
            Ok(Bytes::from_static(b"the first half")),
            Err(io::Error::other(
                "the file became shorter while it was read",
            )),
        ];
        let body = stream::iter(pieces).boxed();
        let digest = Digest::of(b"the whole");
        registry.put_blob("app", &digest, 28, body).await
    });
    let error = error.unwrap_err();
    let mut text = Vec::new();
    write_chain(&mut text, &error, &error.hints()).unwrap();
    insta::assert_snapshot!(String::from_utf8(text).unwrap(), @"
    error: could not read the image during the upload
      caused by: the file became shorter while it was read

    hint: another process may have changed the file: wait until it has finished, and push again
    ");
    assert_eq!(error.exit_code() as u8, 1);
}

#[test]
fn odd_but_present_blob_counts_as_uploaded() {
    for (name, value) in [("location", None), ("location", Some("/x\u{e9}"))] {
        let google = Google::start();
        let odd = FaultAction::Header {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        google
            .standin
            .fault(Fault::always(RequestKind::UploadPut, odd));
        google
            .run()
            .file("image.tar", oci())
            .set("image", "image.tar")
            .succeeds();
        assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
    }
}

#[test]
fn odd_upload_answer_is_reported() {
    let google = Google::start();
    let push = || {
        google
            .run()
            .file("image.tar", oci())
            .set("image", "image.tar")
    };
    let answer = |code: u16, location: Option<&str>| FaultAction::Status {
        code,
        retry_after: None,
        body: Some(String::new()),
        headers: location
            .map(|location| ("location".to_owned(), location.to_owned()))
            .into_iter()
            .collect(),
    };
    let faults = [
        (RequestKind::UploadStart, answer(202, None)),
        (
            RequestKind::UploadStart,
            answer(202, Some("https://[nonsense")),
        ),
        (RequestKind::UploadStart, answer(200, None)),
        (RequestKind::UploadPut, answer(202, None)),
        (
            RequestKind::UploadPut,
            answer(302, Some("https://gcr.io/x")),
        ),
    ];
    let mut all = String::new();
    for (kind, action) in faults {
        google.standin.clear_faults();
        google.standin.fault(Fault::always(kind, action));
        let message = without_digests(&refused(&google, push(), 1));
        // The elapsed time varies.
        let (start, rest) = message.split_once(" (2 tries").unwrap_or((&message, ""));
        all += start;
        all += rest.split_once(')').map_or("", |(_, end)| end);
        all += "\n";
    }
    insta::assert_snapshot!(all, @"
    error: could not push to `gcr.io/acme/app`
      caused by: POST https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: its response has no `Location`

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead

    error: could not push to `gcr.io/acme/app`
      caused by: POST https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: its response has a `Location` that is not a URL

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead

    error: could not push to `gcr.io/acme/app`
      caused by: POST https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: Expected HTTP Status 202 Accepted, got 200 OK instead

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead

    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: Expected HTTP Status 201 Created, got 202 Accepted instead

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead

    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/...: 404 Not Found
      caused by: the response is a web page

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
}

#[test]
fn sign_in_page_for_a_manifest_is_reported_unverified() {
    let google = Google::start();
    let page = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some("<html>Sign in</html>".to_owned()),
        headers: vec![(
            "content-type".to_owned(),
            "text/html; charset=utf-8".to_owned(),
        )],
    };
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, page));
    let run = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("verify", "off");
    insta::assert_snapshot!(run.fails_with(1).error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1
      caused by: the response is a web page

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
}

#[test]
fn forbidden_redirect_is_reported() {
    let google = Google::start();
    for location in ["http://gcr.io/v2/", "/v2/"] {
        google.standin.clear_faults();
        let action = FaultAction::Status {
            code: 302,
            retry_after: None,
            body: None,
            headers: vec![("location".to_owned(), location.to_owned())],
        };
        google
            .standin
            .fault(Fault::always(RequestKind::Ping, action));
        let run = google
            .run()
            .file("image.tar", oci())
            .set("image", "image.tar");
        let message = refused(&google, run, 1);
        match location {
            "/v2/" => insta::assert_snapshot!(message, @"
            error: could not connect to `gcr.io`
              caused by: GET https://gcr.io/v2/
              caused by: the registry redirects more than five times

            hint: check that `gcr.io` is the registry itself, and that no proxy or sign-in page answers instead
            "),
            _ => insta::assert_snapshot!(message, @"
            error: could not connect to `gcr.io`
              caused by: GET https://gcr.io/v2/
              caused by: the registry redirects from HTTPS to plain HTTP, which gcr-push does not follow

            hint: check that `gcr.io` is the registry itself, and that no proxy or sign-in page answers instead
            "),
        }
    }
}

#[test]
fn host_without_registry_is_reported() {
    let google = Google::start();
    let page = FaultAction::Status {
        code: 404,
        retry_after: None,
        body: Some("<html>Not found</html>".to_owned()),
        headers: Vec::new(),
    };
    google.standin.fault(Fault::always(RequestKind::Ping, page));
    let run = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: `gcr.io` refused the first request
      caused by: GET https://gcr.io/v2/: 404 Not Found
      caused by: the response is a web page

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
}

#[test]
fn truncated_answer_is_reported_in_plain_words() {
    let google = Google::start();
    let cut = FaultAction::CutResponseAt(5);
    google.standin.fault(Fault::always(RequestKind::Token, cut));
    let run = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar");
    insta::assert_snapshot!(refused(&google, run, 4), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push
      caused by: the response ended early
      caused by: end of file before message length reached

    hint: the connection was interrupted: try again; if it always stops at the same point, a proxy or firewall may limit the transfer
    ");
}

#[test]
fn refused_listing_is_a_quick_warning() {
    let google = Google::start();
    let refused = FaultAction::status(403);
    google
        .standin
        .fault(Fault::always(RequestKind::TagsList, refused));
    let outcome = google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .succeeds();
    insta::assert_snapshot!(outcome.stderr, @"
    INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`
    WARN `gcr.io/acme/app` could not be listed: GET https://gcr.io/v2/acme/app/tags/list?n=10000: 403 DENIED: Permission denied; the image itself exists under its tags and its digest
    WARN `gcr.io/acme` could not be listed: GET https://gcr.io/v2/acme/tags/list?n=10000: 403 DENIED: Permission denied; the image itself exists under its tags and its digest
    ");
    // Once before the push, and once each for the image and the project after it.
    let requests = google.standin.requests();
    let listings = requests.iter().filter(|r| r.kind == RequestKind::TagsList);
    assert_eq!(listings.count(), 3);
}
