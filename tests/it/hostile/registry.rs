//! Every kind of request, every hostile answer: the run ends by itself, within its memory, with the
//! right exit code, and sends no credential to another host.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind, Standin};

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, OCI_MANIFEST, TestImage};
use crate::support::run::Run;

/// The memory limit of a run in KiB; many times what it needs.
const MEMORY: u32 = 500_000;

/// A host without any credential.
const ELSEWHERE: &str = "elsewhere.example";

const PASSWORD: &str = "hunter2-hunter2-hunter2";

/// The command, and the host that misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// A push to `gcr.io`, which misbehaves.
    Google,
    /// A push with a login to another registry, which misbehaves.
    Plain,
    /// A mirror to `gcr.io` from another registry, which misbehaves.
    Mirror,
    /// A listing of another registry.
    List,
}

const REQUESTS: [(Scenario, RequestKind); 21] = [
    (Scenario::Google, RequestKind::OAuthToken),
    (Scenario::Google, RequestKind::Ping),
    (Scenario::Google, RequestKind::Token),
    (Scenario::Google, RequestKind::ManifestHead),
    (Scenario::Google, RequestKind::UploadStart),
    (Scenario::Google, RequestKind::UploadPut),
    (Scenario::Google, RequestKind::ManifestPut),
    (Scenario::Google, RequestKind::TagsList),
    (Scenario::Plain, RequestKind::Ping),
    (Scenario::Plain, RequestKind::Token),
    (Scenario::Plain, RequestKind::ManifestHead),
    (Scenario::Plain, RequestKind::UploadStart),
    (Scenario::Plain, RequestKind::UploadPut),
    (Scenario::Plain, RequestKind::ManifestPut),
    (Scenario::Mirror, RequestKind::Ping),
    (Scenario::Mirror, RequestKind::Token),
    (Scenario::Mirror, RequestKind::ManifestGet),
    (Scenario::Mirror, RequestKind::BlobGet),
    (Scenario::List, RequestKind::Ping),
    (Scenario::List, RequestKind::Token),
    (Scenario::List, RequestKind::TagsList),
];

/// A server without TLS on a port without any credential. It records what it receives.
struct OtherHost {
    address: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl OtherHost {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
                // The client may hang up at any time.
                thread::spawn(move || record(stream, &kept).is_ok());
            }
        });
        Self { address, received }
    }

    fn take(&self) -> String {
        let received = std::mem::take(&mut *self.received.lock().unwrap());
        String::from_utf8_lossy(&received).into_owned()
    }
}

fn record(mut stream: TcpStream, kept: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let read = stream.read(&mut buffer)?;
    kept.lock().unwrap().extend_from_slice(&buffer[..read]);
    let body = json!({"token": "t", "access_token": "t"}).to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn answer(code: u16, headers: &[(&str, &str)], body: &str) -> FaultAction {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: headers.collect(),
    }
}

fn header(name: &str, value: &str) -> FaultAction {
    FaultAction::Header {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

/// Hostile answers to any request, each with a name.
fn hostile_answers(other_host: &str) -> Vec<(&'static str, FaultAction)> {
    let redirected = |code, to: &str| answer(code, &[("location", to)], "");
    let challenged = |realm: &str| {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"registry\"");
        answer(401, &[("www-authenticate", &challenge)], "")
    };
    let later = |code| FaultAction::Status {
        code,
        retry_after: Some(99_999_999),
        body: None,
        headers: Vec::new(),
    };
    let long = "x".repeat(50_000);
    vec![
        (
            "302 elsewhere",
            redirected(302, "https://elsewhere.example/x"),
        ),
        (
            "307 elsewhere",
            redirected(307, "https://elsewhere.example/x"),
        ),
        (
            "308 to plain HTTP",
            redirected(308, &format!("http://{other_host}/x")),
        ),
        ("303 to itself", redirected(303, "?again")),
        ("307 to itself", redirected(307, "?again")),
        ("307 to a file", redirected(307, "file:///etc/passwd")),
        (
            "307 with a login",
            redirected(307, "https://user:word@elsewhere.example/x"),
        ),
        ("307 to nowhere", answer(307, &[], "")),
        (
            "realm elsewhere",
            challenged("https://elsewhere.example/token"),
        ),
        (
            "realm over plain HTTP",
            challenged(&format!("http://{other_host}/token")),
        ),
        (
            "realm with a login",
            challenged("https://user:word@elsewhere.example/token"),
        ),
        ("realm that is no URL", challenged("::")),
        (
            "realm of 50 KB",
            challenged(&format!("https://elsewhere.example/{long}")),
        ),
        ("401 without a challenge", answer(401, &[], "")),
        (
            "407",
            answer(407, &[("proxy-authenticate", "Basic realm=\"x\"")], ""),
        ),
        ("418", answer(418, &[], "short and stout")),
        ("204", answer(204, &[], "")),
        ("206", answer(206, &[("content-range", "bytes 5-1/0")], "x")),
        ("304", answer(304, &[], "")),
        ("599", answer(599, &[], "")),
        ("429 until years later", later(429)),
        ("503 until years later", later(503)),
        (
            "200 with a page",
            answer(
                200,
                &[("content-type", "text/html")],
                "<html>sign in</html>",
            ),
        ),
        (
            "200 with null",
            answer(200, &[("content-type", "application/json")], "null"),
        ),
        (
            "200 with other types",
            answer(200, &[], &format!("{OTHER_TYPES:2000}")),
        ),
        (
            "200 with endless depth",
            answer(200, &[], &"{\"a\":".repeat(20_000)),
        ),
        (
            "200 with 8 MB",
            answer(200, &[], &format!("{{\"a\":\"{}", "x".repeat(8 << 20))),
        ),
        (
            "upload elsewhere",
            header("location", "https://elsewhere.example/up"),
        ),
        (
            "upload over plain HTTP",
            header("location", &format!("http://{other_host}/up")),
        ),
        (
            "upload without a scheme",
            header("location", "//elsewhere.example/up"),
        ),
        (
            "upload with a login",
            header("location", "https://user:word@elsewhere.example/up"),
        ),
        ("upload at no URL", header("location", "::")),
        (
            "another digest",
            header("docker-content-digest", "sha256:00"),
        ),
        ("gzip that is none", header("content-encoding", "gzip")),
        (
            "next page elsewhere",
            header("link", "<https://elsewhere.example/v2/x>; rel=\"next\""),
        ),
    ]
}

/// A document with a wrong type for each member; longer than any blob when it is padded.
const OTHER_TYPES: &str = r#"{"token": 5, "access_token": [], "expires_in": "soon", "errors": 7,
    "tags": {"a": 1}, "manifests": "x", "layers": 3, "config": [], "child": 1, "schemaVersion": {}}"#;

/// Hostile answers of a token server.
fn token_answers() -> Vec<(&'static str, FaultAction)> {
    let token = |token: Value| {
        answer(
            200,
            &[("content-type", "application/json")],
            &token.to_string(),
        )
    };
    let lasting = |seconds: Value| {
        token(
            json!({"token": "t", "access_token": "t", "token_type": "Bearer", "expires_in": seconds}),
        )
    };
    vec![
        (
            "token for ages",
            lasting(json!(1_000_000_000_000_000_000_u64)),
        ),
        ("token for minus one second", lasting(json!(-1))),
        ("token for no time", lasting(json!(0))),
        ("token for 1e300 seconds", lasting(json!(1e300))),
        (
            "token of two lines",
            token(json!({"token": "a\r\nx: y", "access_token": "a\r\nx: y"})),
        ),
        (
            "empty token",
            token(json!({"token": "", "access_token": ""})),
        ),
        (
            "token of 1 MB",
            token(json!({"token": "t".repeat(1 << 20), "access_token": "t".repeat(1 << 20)})),
        ),
    ]
}

struct Case {
    number: usize,
    scenario: Scenario,
    on: RequestKind,
    what: &'static str,
}

impl Case {
    /// True if the challenge may name a token server elsewhere over TLS. That server is sent the
    /// login of the registry, as the distribution specification says. Google's token is not.
    fn names_a_token_server(&self) -> bool {
        let is_named = matches!(self.what, "realm elsewhere" | "realm of 50 KB");
        is_named && self.on == RequestKind::Ping && self.scenario != Scenario::Google
    }
}

fn cases() -> Vec<Case> {
    let (any, token) = (hostile_answers(""), token_answers());
    let mut cases = Vec::new();
    for (what, is_token) in any
        .iter()
        .map(|it| (it.0, false))
        .chain(token.iter().map(|it| (it.0, true)))
    {
        for (scenario, on) in REQUESTS {
            if !is_token || matches!(on, RequestKind::Token | RequestKind::OAuthToken) {
                cases.push(Case {
                    number: cases.len(),
                    scenario,
                    on,
                    what,
                });
            }
        }
    }
    cases
}

/// Google, another registry and a third host, shared by all cases.
struct Servers {
    google: Google,
    other_host: OtherHost,
    archive: Vec<u8>,
}

impl Servers {
    fn new() -> Self {
        let behaviour = Behaviour {
            plain_auth: PlainAuth::Bearer,
            plain_anonymous_pull: false,
            ..Behaviour::default()
        };
        let standin = Standin::builder()
            .behaviour(behaviour)
            .name(ELSEWHERE)
            .start();
        standin.basic_user("robot", PASSWORD);
        let mut layout = Layout::default();
        let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
        layout.list(&manifest, None);
        let plain = standin.plain_address();
        for bytes in layout.blobs.values() {
            standin.put_blob(&plain, "acme/source", bytes);
        }
        let bytes = layout.get(&manifest);
        standin.put_manifest(&plain, "acme/source", "1", OCI_MANIFEST, bytes);
        Self {
            google: Google::of(standin),
            other_host: OtherHost::start(),
            archive: layout.archive(),
        }
    }

    fn run_of(&self, case: &Case) -> Run {
        let plain = self.google.standin.plain_address();
        let login = STANDARD.encode(format!("robot:{PASSWORD}"));
        let logins = json!({"auths": {&plain: {"auth": login}}}).to_string();
        let push = |to: String| {
            self.google
                .run()
                .file("image.tar", &self.archive)
                .set("image", "image.tar")
                .set("tags", format!("{to}/acme/app-{}:1", case.number))
        };
        let run = match case.scenario {
            Scenario::Google => push("gcr.io".to_owned()),
            Scenario::Plain => push(plain),
            Scenario::Mirror => self
                .google
                .run()
                .set("image", format!("docker://{plain}/acme/source:1"))
                .set("tags", format!("gcr.io/acme/app-{}:1", case.number)),
            Scenario::List => self
                .google
                .with_environment(Run::command("list"))
                .set("tags", format!("{plain}/acme/source")),
        };
        let limits = format!("ulimit -d {MEMORY}; exec timeout 180 \"$0\" \"$@\"");
        run.set("docker_config", logins)
            .set("retry_timeout", "0s")
            .set("stall_timeout", "30s")
            .set("timeout", "2m")
            .under(&["sh", "-c", &limits])
    }

    /// Runs one case. Returns its exit code, or what is wrong with it.
    fn run(&self, case: &Case) -> Result<i32, String> {
        let standin = &self.google.standin;
        let all = hostile_answers(&self.other_host.address)
            .into_iter()
            .chain(token_answers());
        let (_, action) = all
            .into_iter()
            .find(|(what, _)| *what == case.what)
            .unwrap();
        let plain = standin.plain_address();
        let host = match (case.scenario, case.on) {
            (_, RequestKind::OAuthToken) => "oauth2.googleapis.com",
            (Scenario::Google, _) => "gcr.io",
            _ => &plain,
        };
        standin.clear_faults();
        standin.clear_requests();
        standin.fault(Fault::always(case.on, action).at(host));
        let outcome = self.run_of(case).run();
        standin.clear_faults();
        let requests = standin.requests();
        if !requests.iter().any(|request| request.faulted) {
            return Err(format!("it never happened\n{}", outcome.stderr));
        }
        let known = ["gcr.io", "artifactregistry.googleapis.com", plain.as_str()];
        let led_astray = requests.iter().find(|one| {
            one.authorization.is_some()
                && !known.contains(&one.host.as_str())
                && !case.names_a_token_server()
        });
        if let Some(request) = led_astray {
            return Err(format!(
                "{} was shown a credential: {request:?}",
                request.host
            ));
        }
        let received = self.other_host.take();
        let mut secrets = standin.secrets();
        secrets.push(PASSWORD.to_owned());
        // The tokens that the hostile server gave are no secrets.
        secrets.retain(|secret| secret.len() >= 16);
        let lower = received.to_ascii_lowercase();
        let tells_where_from = lower.contains("authorization:") || lower.contains("referer:");
        if tells_where_from || secrets.iter().any(|secret| received.contains(secret)) {
            return Err(format!("plain HTTP was shown a credential: {received}"));
        }
        let is_sound = (0..=4).contains(&outcome.code)
            && !outcome.stderr.contains("panicked")
            && !outcome.stderr.contains("stopped after");
        if !is_sound {
            return Err(format!("exit code {}\n{}", outcome.code, outcome.stderr));
        }
        Ok(outcome.code)
    }
}

#[test]
fn hostile_registry_gets_no_credential() {
    let cases = cases();
    assert!(cases.len() >= 400, "{}", cases.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; cases.len()]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let servers = Servers::new();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = servers.run(case);
                    results.lock().unwrap()[case.number] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let result = |what: &str, (scenario, on)| {
        let case = cases
            .iter()
            .find(|case| case.what == what && (case.scenario, case.on) == (scenario, on))?;
        results[case.number].as_ref()
    };
    let mut wrong = String::new();
    let mut table = String::new();
    for (number, (scenario, on)) in REQUESTS.iter().enumerate() {
        table += &format!("{number:2} {scenario:?}: {on:?}\n");
    }
    let numbers: Vec<_> = (0..REQUESTS.len())
        .map(|number| format!("{number:2}"))
        .collect();
    table += &format!("\n{:28} {}\n", "", numbers.join(" "));
    let mut names: Vec<_> = cases.iter().map(|case| case.what).collect();
    names.dedup();
    for what in names {
        let codes = REQUESTS.map(|request| match result(what, request) {
            None => " -".to_owned(),
            Some(Ok(code)) => format!("{code:2}"),
            Some(Err(fault)) => {
                wrong += &format!("{what}: {request:?}: {fault}\n\n");
                " !".to_owned()
            }
        });
        table += &format!("{what:28} {}\n", codes.join(" "));
    }
    assert!(wrong.is_empty(), "{wrong}{table}");
    insta::assert_snapshot!(table);
}
