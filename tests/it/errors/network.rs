//! Registries that cannot be reached, and hosts that are no registry.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind};

use super::{error_text, oci, refused, without_digests};
use crate::support::google::Google;
use crate::support::run::Run;

fn push(run: Run, tag: &str) -> Run {
    run.file("image.tar", oci())
        .set("image", "image.tar")
        .set("tags", tag)
}

#[test]
fn untrusted_certificate_is_reported() {
    let google = Google::start();
    let untrusting = Run::new()
        .variable("HTTPS_PROXY", google.standin.proxy_url())
        .set("credentials_json", &google.key);
    insta::assert_snapshot!(refused(&google, push(untrusting, "gcr.io/acme/app:1"), 1), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: invalid peer certificate: UnknownIssuer

    hint: if a company proxy or a private registry signed this certificate, put its root certificate in `ca_certificates`
    ");

    let destination = format!("{}/app:1", google.standin.tls_address());
    insta::assert_snapshot!(refused(&google, push(Run::new(), &destination), 1), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET https://127.0.0.1:[PORT]/v2/
      caused by: invalid peer certificate: UnknownIssuer

    hint: if a company proxy or a private registry signed this certificate, put its root certificate in `ca_certificates`
    ");
}

#[test]
fn closed_port_is_reported() {
    // A port that was bound and closed is not reused for a while.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let outcome = push(Run::new(), &format!("{closed}/app:1")).fails_with(4);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET https://127.0.0.1:[PORT]/v2/
      caused by: Connection refused (os error 111)

    hint: check that `127.0.0.1:[PORT]` is correct and that this machine can reach it; if it needs a proxy, set `HTTPS_PROXY`
    ");
}

#[test]
fn unreachable_proxy_is_reported() {
    let google = Google::start();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let run = google
        .run()
        .variable("HTTPS_PROXY", format!("http://{closed}"));
    insta::assert_snapshot!(refused(&google, push(run, "gcr.io/acme/app:1"), 4), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: tunnel error: failed to create underlying connection
      caused by: Connection refused (os error 111)

    hint: the proxy in `HTTPS_PROXY` cannot be reached: check its address
    ");
}

#[test]
fn proxy_that_refuses_connect_is_reported() {
    let google = Google::start();
    let refusing = FaultAction::status(403);
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing).at("gcr.io"));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: tunnel error: unsuccessful

    hint: the proxy in `HTTPS_PROXY` does not connect to `gcr.io`: ask its administrator to allow it, or add the host to `NO_PROXY`
    ");
    google.standin.clear_faults();
    let refusing = FaultAction::status(407);
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 3), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: tunnel error: proxy authorization required

    hint: the proxy requires a login: put it in `HTTPS_PROXY`, as in `http://USER:PASSWORD@PROXY:PORT`
    ");
    let refusing = FaultAction::status(403);
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing).at("oauth2.googleapis.com"));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token
      caused by: tunnel error: unsuccessful

    hint: the proxy in `HTTPS_PROXY` does not connect to `oauth2.googleapis.com`: ask its administrator to allow it, or add the host to `NO_PROXY`
    ");
}

#[test]
fn unresolvable_host_is_reported() {
    // RFC 6761: `.invalid` never resolves.
    let outcome = push(Run::new(), "registry.invalid/app:1").fails_with(4);
    let message = error_text(&outcome);
    let (start, _) = message.split_once("dns error").expect(&message);
    insta::assert_snapshot!(start, @"
    error: could not connect to `registry.invalid`
      caused by: GET https://registry.invalid/v2/
      caused by:
    ");
}

/// A server that sends these texts in turn on every connection.
fn raw_server(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection: TcpStream = connection.unwrap();
            for answer in answers {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request);
                let _ = connection.write_all(answer.as_bytes());
            }
        }
    });
    address.to_string()
}

#[test]
fn web_server_that_answers_pages_is_no_registry() {
    let address = raw_server(&[
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\
         Connection: close\r\n\r\n<html>Hello!</html>",
    ]);
    let outcome = push(Run::new(), &format!("{address}/app:1")).fails_with(1);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET http://127.0.0.1:[PORT]/v2/
      caused by: the response is a web page

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
}

#[test]
fn host_without_tls_is_reported() {
    // A proxy whose target answers in plain text.
    let proxy = raw_server(&[
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    ]);
    let run = Run::new().variable("HTTPS_PROXY", format!("http://{proxy}"));
    let outcome = push(run, "registry.example/app:1").fails_with(1);
    insta::assert_snapshot!(error_text(&outcome), @"
    error: could not connect to `registry.example`
      caused by: GET https://registry.example/v2/
      caused by: received corrupt message of type InvalidContentType

    hint: `registry.example` does not use TLS on this port; if it is meant to use plain HTTP, add it to `insecure_registries`
    ");
}

#[test]
fn captive_page_for_google_registry_is_reported() {
    let google = Google::start();
    let page = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some("<html>Sign in to the hotel's network</html>".to_owned()),
        headers: Vec::new(),
    };
    for kind in [
        RequestKind::Ping,
        RequestKind::Token,
        RequestKind::OAuthToken,
        RequestKind::ManifestGet,
    ] {
        google.standin.clear_faults();
        google.standin.fault(Fault::always(kind, page.clone()));
        if kind == RequestKind::ManifestGet {
            google
                .standin
                .fault(Fault::always(RequestKind::ManifestHead, page.clone()));
        }
        let outcome = push(google.run(), "gcr.io/acme/app:1")
            .set("retry_timeout", "0s")
            .run();
        assert!(google.is_untouched());
        let message = format!("{}exit code {}", error_text(&outcome), outcome.code);
        match kind {
            RequestKind::Ping => insta::assert_snapshot!(message, @"
            error: could not connect to `gcr.io`
              caused by: GET https://gcr.io/v2/
              caused by: it does not ask for a login, but Google's registries do

            hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
            exit code 1
            "),
            RequestKind::Token => insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push
              caused by: the response is a web page

            hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
            exit code 1
            "),
            RequestKind::OAuthToken => insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
              caused by: POST https://oauth2.googleapis.com/token
              caused by: the response is not an OAuth token; a proxy or an outage may have answered instead

            hint: try again in a few minutes; if the problem continues, check that no proxy or sign-in page answers instead of Google
            exit code 4
            "),
            _ => insta::assert_snapshot!(message, @"
            error: could not push to `gcr.io/acme/app:1`
              caused by: GET https://gcr.io/v2/acme/app/manifests/1
              caused by: the response is a web page

            hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
            exit code 1
            "),
        }
    }
}

#[test]
fn token_realm_on_another_host_gets_no_credential() {
    let google = Google::with(Behaviour {
        realm: Some("https://evil.example/v2/token".to_owned()),
        ..Behaviour::default()
    });
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 1), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: the registry asks to send the credentials to `evil.example`, which is not `gcr.io`

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
    let requests = google.standin.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.authorization.is_none())
    );
    assert!(
        requests
            .iter()
            .all(|request| request.kind != RequestKind::OAuthToken)
    );
}

#[test]
fn token_realm_without_tls_gets_no_credential() {
    let google = Google::with(Behaviour {
        realm: Some("http://gcr.io/v2/token".to_owned()),
        ..Behaviour::default()
    });
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 1), @"
    error: could not connect to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: the registry asks to send the credentials to `gcr.io` without TLS, which gcr-push does not do

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");

    let google = Google::with(Behaviour {
        realm: Some("http://tokens.example/token".to_owned()),
        plain_auth: PlainAuth::Bearer,
        ..Behaviour::default()
    });
    let tag = format!("{}/app:1", google.standin.plain_address());
    insta::assert_snapshot!(refused(&google, push(Run::new(), &tag), 1), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET http://127.0.0.1:[PORT]/v2/
      caused by: the registry asks to send the credentials to `tokens.example` without TLS, which gcr-push does not do

    hint: this may not be a registry: check the host, and check that no proxy or sign-in page answers instead
    ");
}

#[test]
fn connection_lost_within_a_layer_is_retryable() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::UploadPut,
        FaultAction::CutRequestAt(100),
    ));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: Connection reset by peer (os error 104)

    hint: the connection was interrupted: try again; if it always stops at the same point, a proxy or firewall may limit the transfer
    ");
}

#[test]
fn layer_changed_in_transit_is_reported() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::UploadPut,
        FaultAction::CorruptByte(50),
    ));
    let message = refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4);
    insta::assert_snapshot!(without_digests(&message), @"
    error: a blob was changed on the way to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/artifacts-uploads/namespaces/acme/repositories/gcr.io/uploads/...?digest=[DIGEST]: 400 DIGEST_INVALID
      caused by: provided digest [DIGEST] did not match uploaded content [DIGEST]

    hint: the image itself is intact: try again; if the problem continues, check whether a proxy changes the data
    ");
}

#[test]
fn stalled_registry_times_out() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, FaultAction::Stall));
    let run = push(google.run(), "gcr.io/acme/app:1").set("finish_timeout", "1s");
    insta::assert_snapshot!(refused(&google, run, 4), @"
    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: the registry did not answer within 1 s (`finish_timeout`) after the last byte

    hint: the server or the network did not respond in time; try again, or raise `stall_timeout`
    ");
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestHead, FaultAction::Stall));
    let run = push(google.run(), "gcr.io/acme/app:1").set("stall_timeout", "1s");
    insta::assert_snapshot!(refused(&google, run, 4), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: HEAD https://gcr.io/v2/acme/app/manifests/1
      caused by: nothing came in time

    hint: the server or the network did not respond in time; try again, or raise `stall_timeout`
    ");
}
