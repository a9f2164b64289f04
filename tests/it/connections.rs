//! Connections to registries: logins, redirected uploads, plain HTTP, TLS, and hosts that stall or
//! are down.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind, UploadLocation};

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

fn oci() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

/// A push to `app:1` at this address.
fn push(address: &str) -> Run {
    Run::new()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("tags", format!("{address}/app:1"))
}

/// The login `u:p` for it.
fn login(address: &str) -> String {
    format!(r#"{{"auths":{{"{address}":{{"auth":"dTpw"}}}}}}"#)
}

fn has_image(google: &Google) -> bool {
    google.standin.tags("plain", "app").contains_key("1")
}

/// A registry whose `/v2/` asks for nothing.
fn open_ping(plain_auth: PlainAuth) -> Google {
    let google = Google::with(Behaviour {
        plain_auth,
        ..Behaviour::default()
    });
    google.standin.basic_user("u", "p");
    let open = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some("{}".to_owned()),
        headers: Vec::new(),
    };
    google.standin.fault(Fault::always(RequestKind::Ping, open));
    google
}

#[test]
fn login_is_sent_where_only_a_write_asks_for_it() {
    for auth in [PlainAuth::Basic, PlainAuth::Bearer] {
        let google = open_ping(auth);
        let address = google.standin.plain_address();
        push(&address)
            .set("docker_config", login(&address))
            .succeeds();
        assert!(has_image(&google));
    }
}

#[test]
fn hint_without_login_asks_for_one() {
    let google = open_ping(PlainAuth::Basic);
    let address = google.standin.plain_address();
    let error = push(&address).fails_with(3).stderr;
    assert!(
        error.contains(&format!(
            "put a login for `{address}` in `username` and `password`"
        )),
        "{error}"
    );
    let wrong = login(&address).replace("dTpw", "dTp3cm9uZw==");
    let error = push(&address)
        .set("docker_config", wrong)
        .fails_with(3)
        .stderr;
    assert!(
        error.contains("does not accept the password of `u`"),
        "{error}"
    );
}

#[test]
fn redirected_write_follows_the_location() {
    for code in [307, 308] {
        for kind in [
            RequestKind::UploadStart,
            RequestKind::UploadPut,
            RequestKind::ManifestPut,
        ] {
            let google = Google::start();
            let action = FaultAction::Redirect { code, to: None };
            google.standin.fault(Fault::always(kind, action));
            push(&google.standin.plain_address()).succeeds();
            assert!(has_image(&google), "{code} for {kind:?}");
        }
    }
}

#[test]
fn redirected_put_stays_a_put() {
    let google = Google::start();
    let action = |code| FaultAction::Redirect { code, to: None };
    for code in [301, 302] {
        google.standin.clear_faults();
        google
            .standin
            .fault(Fault::always(RequestKind::ManifestPut, action(code)));
        push(&google.standin.plain_address())
            .set("verify", "off")
            .succeeds();
        assert!(has_image(&google), "{code}");
    }
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, action(303)));
    let error = push(&google.standin.plain_address())
        .set("verify", "off")
        .fails_with(1)
        .stderr;
    assert!(
        error.contains("the registry answers the PUT with 303 See Other, so it stores nothing"),
        "{error}"
    );
}

#[test]
fn redirected_write_carries_no_login() {
    let google = Google::with(Behaviour {
        plain_auth: PlainAuth::Basic,
        ..Behaviour::default()
    });
    google.standin.basic_user("u", "p");
    let address = google.standin.plain_address();
    let other = address.replace("127.0.0.1", "localhost");
    for kind in [
        RequestKind::UploadStart,
        RequestKind::UploadPut,
        RequestKind::ManifestPut,
    ] {
        google.standin.clear_faults();
        google.standin.clear_requests();
        let action = FaultAction::Redirect {
            code: 307,
            to: Some(format!("http://{other}")),
        };
        google.standin.fault(Fault::always(kind, action));
        let error = push(&address)
            .set("docker_config", login(&address))
            .fails_with(3)
            .stderr;
        assert!(
            error.contains(&format!("(redirected to `{other}`)")),
            "{error}"
        );
        assert!(!error.contains("password"), "{error}");
        let requests = google.standin.requests();
        let mut led = requests.iter().filter(|r| r.query.contains("redirected"));
        assert!(led.all(|request| request.authorization.is_none()));
    }
}

#[test]
fn relative_upload_location_is_resolved() {
    for upload_location in [UploadLocation::LastComponent, UploadLocation::WithoutScheme] {
        let google = Google::with(Behaviour {
            upload_location: upload_location.clone(),
            ..Behaviour::default()
        });
        push(&google.standin.plain_address()).succeeds();
        assert!(has_image(&google), "{upload_location:?}");
    }
}

#[test]
fn upload_location_without_tls_keeps_the_host() {
    let google = Google::with(Behaviour {
        upload_location: UploadLocation::PlainHttp,
        plain_auth: PlainAuth::Basic,
        ..Behaviour::default()
    });
    google.standin.basic_user("u", "p");
    let address = google.standin.tls_address();
    push(&address)
        .set("ca_certificates", google.standin.ca_pem())
        .set("docker_config", login(&address))
        .succeeds();
    assert!(has_image(&google));
}

#[test]
fn foreign_upload_location_without_tls_gets_nothing() {
    let google = Google::start();
    let elsewhere = FaultAction::Header {
        name: "location".to_owned(),
        value: Some("http://127.0.0.1:9/upload".to_owned()),
    };
    google
        .standin
        .fault(Fault::always(RequestKind::UploadStart, elsewhere));
    let error = push(&google.standin.tls_address())
        .set("ca_certificates", google.standin.ca_pem())
        .fails_with(1)
        .stderr;
    assert!(
        error.contains("at `127.0.0.1:9`, where gcr-push sends nothing"),
        "{error}"
    );
    assert!(error.contains("X-Forwarded-Proto"), "{error}");
}

#[test]
fn unreachable_upload_host_is_named() {
    let google = Google::start();
    let elsewhere = FaultAction::Header {
        name: "location".to_owned(),
        value: Some("http://127.0.0.1:9/upload?signature=SECRET".to_owned()),
    };
    google
        .standin
        .fault(Fault::always(RequestKind::UploadStart, elsewhere));
    let error = push(&google.standin.plain_address()).fails_with(4).stderr;
    assert!(error.contains("(redirected to `127.0.0.1:9`)"), "{error}");
    assert!(
        error.contains(
            "stores its blobs at `127.0.0.1:9`: check that this machine can reach that host too"
        ),
        "{error}"
    );
    assert!(!error.contains("SECRET"), "{error}");
}

#[test]
fn upload_retry_after_beyond_timeout_is_reported_at_once() {
    let google = Google::start();
    let later = FaultAction::Status {
        code: 503,
        retry_after: Some(4000),
        body: None,
        headers: Vec::new(),
    };
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, later));
    let error = push(&google.standin.plain_address())
        .set("retry_timeout", "1h")
        .fails_with(4)
        .stderr;
    assert!(error.contains("asks to wait 4000 s"), "{error}");
}

#[test]
fn self_signed_certificate_is_trusted_when_given() {
    let google = Google::with(Behaviour {
        self_signed: true,
        ..Behaviour::default()
    });
    let address = google.standin.tls_address();
    push(&address)
        .set("ca_certificates", google.standin.ca_pem())
        .succeeds();
    assert!(has_image(&google));
    let error = push(&address).fails_with(1).stderr;
    assert!(
        error.contains("is self-signed: put it in `ca_certificates`"),
        "{error}"
    );
}

#[test]
fn client_certificate_is_presented_on_request() {
    let google = Google::with(Behaviour {
        wants_client_certificate: true,
        ..Behaviour::default()
    });
    let address = google.standin.tls_address();
    let push = || push(&address).set("ca_certificates", google.standin.ca_pem());
    // A permanent failure is not waited for.
    let error = push().set("retry_timeout", "1h").fails_with(1).stderr;
    assert!(error.contains("set `client_certificate`"), "{error}");

    let pem = google.standin.client_pem();
    push()
        .file("client.pem", &pem)
        .set("client_certificate", "client.pem")
        .succeeds();
    let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").unwrap());
    push()
        .file("client.key", key)
        .set("client_certificate", certificate)
        .set("client_key", "client.key")
        .succeeds();

    let folder = format!(".config/containers/certs.d/{address}");
    let run = push()
        .file(&format!("{folder}/client.cert"), certificate)
        .file(&format!("{folder}/client.key"), key);
    let home = run.path().display().to_string();
    run.variable("HOME", home).succeeds();

    let folder = format!(".config/containers/certs.d/{address}");
    let run = push().file(&format!("{folder}/client.cert"), certificate);
    let home = run.path().display().to_string();
    let error = run.variable("HOME", home).fails_with(1).stderr;
    assert!(error.contains("client.key"), "{error}");
}

#[test]
fn mismatched_client_key_is_refused_before_any_request() {
    let google = Google::start();
    let [one, other] = [google.standin.client_pem(), google.standin.client_pem()];
    let key = &other[other.find("-----BEGIN PRIVATE").unwrap()..];
    let outcome = push("localhost:1")
        .file("client.pem", one)
        .set("client_certificate", "client.pem")
        .set("client_key", key)
        .fails_with(2);
    let error = &outcome.stderr;
    assert!(
        error.contains("does not belong to the certificate"),
        "{error}"
    );
    assert!(
        !outcome.stderr.contains("BEGIN PRIVATE"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn each_request_is_logged_with_its_result() {
    let google = Google::with(Behaviour {
        plain_auth: PlainAuth::Bearer,
        ..Behaviour::default()
    });
    google.standin.basic_user("u", "p");
    let address = google.standin.plain_address();
    let log = push(&address)
        .set("docker_config", login(&address))
        .variable("RUST_LOG", "debug")
        .succeeds()
        .stderr;
    for request in ["GET", "POST", "PUT"] {
        let line = format!("{request} http://{address}/");
        assert!(log.contains(&line), "{line}\n{log}");
    }
    let line = log.lines().find(|line| line.contains("/token?")).unwrap();
    assert!(line.contains(": 200, 0 bytes sent, "), "{line}");
    let uploads = log.lines().filter(|line| line.contains(": 201, "));
    assert!(uploads.count() >= 3, "{log}");
}

#[test]
fn plain_http_registry_that_drops_a_request_is_retried() {
    let google = Google::start();
    let drop = FaultAction::ResetBeforeAnswer;
    google.standin.fault(Fault::once(RequestKind::Ping, drop));
    push(&google.standin.plain_address()).succeeds();
    assert!(has_image(&google));
}

#[test]
fn plain_http_registry_that_stalls_a_request_is_retried() {
    let google = Google::start();
    let address = google.standin.plain_address();
    // The answer to a TLS hello is HTTP, which tells the program that the server speaks no TLS.
    let mut connection = TcpStream::connect(&address).unwrap();
    connection.write_all(b"\x16\x03\x01\x00\x05hello").unwrap();
    let mut answer = [0; 8];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1");

    let stall = Fault::once(RequestKind::Ping, FaultAction::Stall);
    google.standin.fault(stall);
    let log = push(&address).set("stall_timeout", "1s").succeeds().stderr;
    assert!(has_image(&google));
    assert_eq!(log.matches("trying again").count(), 1, "{log}");
    let requests = google.standin.requests();
    let pings = requests.iter().filter(|it| it.kind == RequestKind::Ping);
    assert_eq!(pings.count(), 2);
}

#[test]
fn lasting_stall_of_a_plain_http_registry_is_reported() {
    let google = Google::start();
    let stall = Fault::always(RequestKind::Ping, FaultAction::Stall);
    google.standin.fault(stall);
    let outcome = push(&google.standin.plain_address())
        .set("stall_timeout", "1s")
        .fails_with(4);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET http://127.0.0.1:[PORT]/v2/
      caused by: nothing came in time

    hint: the server or the network did not respond in time; try again, or raise `stall_timeout`
    ");
}

#[test]
fn port_that_never_answers_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let start = Instant::now();
    let outcome = push(&address).set("stall_timeout", "1s").fails_with(4);
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    let error = outcome
        .stderr
        .lines()
        .find(|line| line.starts_with("error: "));
    assert!(error.unwrap().contains(&address), "{error:?}");
    insta::assert_snapshot!(outcome.error(), @"
    error: could not connect to `127.0.0.1:[PORT]`
      caused by: GET http://127.0.0.1:[PORT]/v2/
      caused by: nothing came in time

    hint: the server or the network did not respond in time; try again, or raise `stall_timeout`
    ");
}

#[test]
fn registry_that_is_down_is_reported_once() {
    let log = push("127.0.0.1:9")
        .set("retry_timeout", "2s")
        .fails_with(4)
        .stderr;
    assert_eq!(log.matches("trying again").count(), 1, "{log}");
}

#[test]
fn docker_hub_limit_is_not_waited_for() {
    let google = Google::start();
    let limit = FaultAction::Status {
        code: 429,
        retry_after: None,
        body: Some(
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"}]}"#
                .to_owned(),
        ),
        headers: Vec::new(),
    };
    for kind in [RequestKind::ManifestGet, RequestKind::ManifestHead] {
        google.standin.fault(Fault::always(kind, limit.clone()));
    }
    let address = google.standin.plain_address();
    let error = Run::new()
        .set("image", format!("docker://{address}/app:1"))
        .set("tags", format!("{address}/copy:1"))
        .set("retry_timeout", "1h")
        .fails_with(4)
        .stderr;
    assert!(error.contains("log in to pull more"), "{error}");
}

#[test]
fn few_open_files_lower_the_concurrency() {
    let google = Google::start();
    let log = push(&google.standin.plain_address())
        .under(&["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""])
        .succeeds()
        .stderr;
    assert!(log.contains("lowering `concurrency` to 4"), "{log}");
    assert!(has_image(&google));
}
