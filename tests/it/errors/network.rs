//! Registries that cannot be reached, or are none.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind};

use super::{oci, refused, told};
use crate::support::google::Google;
use crate::support::run::Run;

fn push(run: Run, tag: &str) -> Run {
    run.file("image.tar", oci())
        .set("image", "image.tar")
        .set("tags", tag)
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told() {
    let google = Google::start();
    let untrusting = Run::new()
        .variable("HTTPS_PROXY", google.standin.proxy_url())
        .set("credentials_json", &google.key);
    insta::assert_snapshot!(refused(&google, push(untrusting, "gcr.io/acme/app:1"), 1), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: invalid peer certificate: UnknownIssuer

    hint: if a company proxy or a private registry signed this certificate, give its root in `ca_certificates`
    ");

    let own = format!("{}/app:1", google.standin.tls_address());
    insta::assert_snapshot!(refused(&google, push(Run::new(), &own), 1), @"
    error: could not sign in to `127.0.0.1:[PORT]`
      caused by: GET https://127.0.0.1:[PORT]/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: invalid peer certificate: UnknownIssuer

    hint: if a company proxy or a private registry signed this certificate, give its root in `ca_certificates`
    ");
}

#[test]
fn a_port_where_nobody_listens_is_told() {
    // Nobody gets a port that was bound and not used, for a while.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let outcome = push(Run::new(), &format!("{closed}/app:1")).fails_with(4);
    insta::assert_snapshot!(told(&outcome), @"
    error: could not sign in to `127.0.0.1:[PORT]`
      caused by: GET https://127.0.0.1:[PORT]/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tcp connect error
      caused by: Connection refused (os error 111)

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
}

#[test]
fn a_proxy_that_is_not_there_is_told() {
    let google = Google::start();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let run = google
        .run()
        .variable("HTTPS_PROXY", format!("http://{closed}"));
    insta::assert_snapshot!(refused(&google, push(run, "gcr.io/acme/app:1"), 4), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tunnel error: failed to create underlying connection
      caused by: tcp connect error
      caused by: Connection refused (os error 111)

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
}

#[test]
fn a_proxy_that_refuses_to_connect_is_told() {
    let google = Google::start();
    let refusing = FaultAction::status(403);
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing).at("gcr.io"));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tunnel error: unsuccessful

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
    google.standin.clear_faults();
    let refusing = FaultAction::status(407);
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by: tunnel error: proxy authorization required

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
    let refusing = FaultAction::status(403);
    google.standin.clear_faults();
    google
        .standin
        .fault(Fault::always(RequestKind::Connect, refusing).at("oauth2.googleapis.com"));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com` from https://oauth2.googleapis.com/token
      caused by: the connection failed
      caused by: Hyper error: client error (Connect)
      caused by: tunnel error: unsuccessful

    hint: if this runner reaches the internet through a proxy, set `HTTPS_PROXY`; if the proxy opens TLS, give its root in `ca_certificates`
    ");
}

#[test]
fn a_host_that_no_name_server_knows_is_told() {
    // RFC 6761: `.invalid` never resolves.
    let outcome = push(Run::new(), "registry.invalid/app:1").fails_with(4);
    let told = told(&outcome);
    let (start, _) = told.split_once("dns error").expect(&told);
    insta::assert_snapshot!(start, @"
    error: could not sign in to `registry.invalid`
      caused by: GET https://registry.invalid/v2/
      caused by: error sending request
      caused by: client error (Connect)
      caused by:
    ");
}

/// Answers every connection with the same bytes, until the test ends.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection: TcpStream = connection.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    address.to_string()
}

const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\
    Connection: close\r\n\r\n<html>Hello!</html>";
const PAGE_FOR_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\
    Connection: close\r\n\r\n";

#[test]
fn a_web_server_that_answers_a_page_to_everything_is_no_registry() {
    for answer in [PAGE, PAGE_FOR_HEAD] {
        let address = answering(answer);
        let outcome = push(Run::new(), &format!("{address}/app:1")).run();
        assert_ne!(outcome.code, 0);
        if answer == PAGE {
            assert_eq!(outcome.code, 1, "{}", outcome.stderr);
            insta::assert_snapshot!(told(&outcome), @"
            error: could not push to `127.0.0.1:[PORT]/app:1`
              caused by: GET http://127.0.0.1:[PORT]/v2/app/manifests/1
              caused by: it is no manifest
              caused by: expected value at line 1 column 1
            ");
        }
    }
}

#[test]
fn a_page_in_place_of_google_s_registry_is_told() {
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
        let outcome = push(google.run(), "gcr.io/acme/app:1").run();
        assert!(google.is_untouched());
        let told = format!("{}exit code {}", told(&outcome), outcome.code);
        match kind {
            RequestKind::Ping => insta::assert_snapshot!(told, @"
            error: could not push to `gcr.io/acme/app:1`
              caused by: GET https://gcr.io/v2/acme/app/manifests/1: 401 UNAUTHORIZED
              caused by: not authenticated: No valid credential was supplied.

            hint: the registry does not take the token of `ci@acme.iam.gserviceaccount.com`
            exit code 3
            "),
            RequestKind::Token => insta::assert_snapshot!(told, @"
            error: could not sign in to `gcr.io`
              caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push
              caused by: the answer holds no registry token
            exit code 1
            "),
            RequestKind::OAuthToken => insta::assert_snapshot!(told, @"
            error: could not sign in to `gcr.io`
              caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push
              caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com` from https://oauth2.googleapis.com/token
              caused by: the answer is no OAuth token; a proxy or an outage may have answered instead
            exit code 4
            "),
            _ => insta::assert_snapshot!(told, @"
            error: could not push to `gcr.io/acme/app:1`
              caused by: GET https://gcr.io/v2/acme/app/manifests/1
              caused by: it is no manifest
              caused by: expected value at line 1 column 1
            exit code 1
            "),
        }
    }
}

#[test]
fn a_token_realm_on_another_host_gets_no_credential() {
    let google = Google::with(Behaviour {
        realm: Some("https://evil.example/v2/token".to_owned()),
        ..Behaviour::default()
    });
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 1), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: the registry asks to send the credentials to `evil.example`, which is not `gcr.io`
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
fn a_token_realm_without_tls_gets_no_credential() {
    let google = Google::with(Behaviour {
        realm: Some("http://gcr.io/v2/token".to_owned()),
        ..Behaviour::default()
    });
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 1), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/
      caused by: the registry asks to send the credentials to `gcr.io` without TLS, which is not done
    ");

    let google = Google::with(Behaviour {
        realm: Some("http://tokens.example/token".to_owned()),
        plain_auth: PlainAuth::Bearer,
        ..Behaviour::default()
    });
    let tag = format!("{}/app:1", google.standin.plain_address());
    insta::assert_snapshot!(refused(&google, push(Run::new(), &tag), 1), @"");
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_a_layer_is_worth_another_try() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::UploadPut,
        FaultAction::CutRequestAt(100),
    ));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 4), @"
    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: error sending request
      caused by: client error (SendRequest)
      caused by: connection error
      caused by: Connection reset by peer (os error 104)

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
}

#[test]
fn a_layer_that_was_changed_on_the_wire_is_told() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::UploadPut,
        FaultAction::CorruptByte(50),
    ));
    insta::assert_snapshot!(refused(&google, push(google.run(), "gcr.io/acme/app:1"), 1), @"
    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/artifacts-uploads/namespaces/acme/repositories/gcr.io/uploads/...?digest=sha256:bda66f45cef5c1324ee40b5a7f58037d7dfba45e2f1283bfd39ab670fae76883: 400 DIGEST_INVALID
      caused by: provided digest sha256:bda66f45cef5c1324ee40b5a7f58037d7dfba45e2f1283bfd39ab670fae76883 did not match uploaded content sha256:f4de015709d4edd29fd3cebefa51cb4adea97559f18c158a7f665e22c527a39e
    ");
}

#[test]
fn a_registry_that_stands_still_is_given_up() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, FaultAction::Stall));
    let run = push(google.run(), "gcr.io/acme/app:1").set("stall_timeout", "1s");
    insta::assert_snapshot!(refused(&google, run, 4), @"
    error: could not push to `gcr.io/acme/app`
      caused by: PUT https://gcr.io/v2/acme/app/blobs/uploads/
      caused by: nothing moved for 1 s

    hint: check that this machine reaches the host; a proxy is taken from `HTTPS_PROXY`
    ");
}
