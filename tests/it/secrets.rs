//! No key and no token appears anywhere at the loudest log level: not on standard output or error,
//! not in a result, not in the temporary folder.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gcr_push::config::VARIABLES;
use standin::{
    Behaviour, BlobDownload, Fault, FaultAction, PlainAuth, RequestKind, UploadLocation,
};

use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{LayerCompression, Layout, TestImage, classic_archive};
use crate::support::run::{Outcome, Run};
use crate::support::secret_leaks::{Secrets, files};

/// The loudest values of `RUST_LOG`: everything, and each library that is known to log secrets.
const LOUDEST: [&str; 3] = [
    "trace",
    "oci_client=trace,oci_distribution=trace,reqwest=trace,yup_oauth2=trace,hyper=trace,\
     hyper_util=trace,hyper_rustls=trace,rustls=trace,h2=trace,log=trace",
    "gcr_push=trace,warn",
];

fn oci() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

fn docker() -> Vec<u8> {
    classic_archive(&[(&TestImage::new("app", 2), &["app:1"])])
}

/// Repeats the run with every kind of log. No secret is shown, and the temporary folder is empty
/// afterwards.
fn run_loudly_without_leak(google: &Google, run: impl Fn() -> Run) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (number, loud) in LOUDEST.iter().enumerate() {
        let run = run().file("tmp/.keep", "").variable("RUST_LOG", loud);
        let temporary = run.path().join("tmp");
        let outcome = run
            .variable("TMPDIR", temporary.display().to_string())
            .set("log_format", ["plain", "json", "auto"][number])
            .run();
        assert_eq!(files(&temporary), [".keep"]);
        Secrets::of(google).assert_no_leak(&outcome, &["key.json", "ca.pem"]);
        outcomes.push(outcome);
    }
    outcomes
}

fn push(google: &Google, image: &[u8]) -> Run {
    google
        .run()
        // A lasting refusal is not waited for.
        .set("retry_timeout", "1s")
        .file("image.tar", image)
        .set("image", "image.tar")
        .set("registry", "gcr.io, us-docker.pkg.dev")
        .set("repository", "containers")
        .set("report_file", "report.json")
        .set("digest_file", "digest")
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_OUTPUT", "output")
}

fn assert_codes(outcomes: &[Outcome], code: i32) {
    for outcome in outcomes {
        assert_eq!(outcome.code, code, "{}", outcome.stderr);
    }
}

#[test]
fn push_shows_no_secret() {
    for image in [oci(), docker()] {
        let google = Google::start();
        assert_codes(
            &run_loudly_without_leak(&google, || push(&google, &image)),
            0,
        );
        // There were secrets to find.
        assert!(google.standin.secrets().len() > 10);
    }
}

#[test]
fn key_is_shown_in_no_form() {
    let google = Google::start();
    let image = docker();
    let base64 = STANDARD.encode(&google.key);
    for key in [google.key.as_str(), &base64, "key.json"] {
        let run = || {
            push(&google, &image)
                .file("key.json", &google.key)
                .set("credentials_json", key)
        };
        assert_codes(&run_loudly_without_leak(&google, run), 0);
    }
    let token = google.standin.access_token(ACCOUNT);
    let run = || {
        google
            .with_environment(Run::new())
            .file("image.tar", &image)
            .set("image", "image.tar")
            .set("access_token", &token)
            .set("tags", "gcr.io/acme/app:1")
    };
    assert_codes(&run_loudly_without_leak(&google, run), 0);
    google.standin.expire_tokens();
    assert_codes(&run_loudly_without_leak(&google, run), 3);
}

#[test]
fn refused_key_and_missing_permission_show_no_secret() {
    let google = Google::start();
    let role = "roles/artifactregistry.createOnPushWriter";
    google.standin.revoke(ACCOUNT, role, "projects/acme");
    for image in [oci(), docker()] {
        assert_codes(
            &run_loudly_without_leak(&google, || push(&google, &image)),
            3,
        );
    }
    google.standin.delete_keys(ACCOUNT);
    assert_codes(
        &run_loudly_without_leak(&google, || push(&google, &oci())),
        3,
    );
    google.standin.disable_account(ACCOUNT);
    assert_codes(
        &run_loudly_without_leak(&google, || push(&google, &oci())),
        3,
    );
}

#[test]
fn failed_requests_show_no_secret() {
    let kinds = [
        RequestKind::Connect,
        RequestKind::OAuthToken,
        RequestKind::Ping,
        RequestKind::Token,
        RequestKind::ManifestHead,
        RequestKind::ManifestGet,
        RequestKind::BlobHead,
        RequestKind::UploadStart,
        RequestKind::UploadPut,
        RequestKind::ManifestPut,
        RequestKind::TagsList,
    ];
    let faults = [
        FaultAction::status(401),
        FaultAction::status(500),
        FaultAction::ResetBeforeAnswer,
        FaultAction::ResetAfterWork,
        FaultAction::CutRequestAt(20),
        FaultAction::CutResponseAt(20),
        FaultAction::CorruptByte(20),
        FaultAction::ExpireTokens,
    ];
    let image = oci();
    for kind in kinds {
        let google = Google::start();
        for fault in &faults {
            google.standin.clear_faults();
            google.standin.fault(Fault::always(kind, fault.clone()));
            let run = push(&google, &image)
                .variable("RUST_LOG", "trace")
                .set("verify", "off");
            let outcome = run.run();
            Secrets::of(&google).assert_no_leak(&outcome, &[]);
        }
    }
}

#[test]
fn redirected_upload_shows_no_secret_of_its_url() {
    for (location, has_query) in [
        (UploadLocation::OutsideV2, true),
        (UploadLocation::UnderV2, false),
        (UploadLocation::Absolute, true),
        (UploadLocation::OtherHost("us.gcr.io".to_owned()), false),
        (UploadLocation::OtherHost("us.gcr.io".to_owned()), true),
    ] {
        let google = Google::with(Behaviour {
            upload_location: location,
            upload_location_has_query: has_query,
            ..Behaviour::default()
        });
        for fault in [
            FaultAction::status(500),
            FaultAction::status(403),
            FaultAction::ResetBeforeAnswer,
            FaultAction::CutRequestAt(20),
        ] {
            google.standin.clear_faults();
            let fault = Fault::always(RequestKind::UploadPut, fault);
            google.standin.fault(fault);
            let outcome = push(&google, &oci()).variable("RUST_LOG", "trace").run();
            assert_ne!(outcome.code, 0);
            Secrets::of(&google).assert_no_leak(&outcome, &[]);
        }
        google.standin.clear_faults();
        assert_codes(
            &run_loudly_without_leak(&google, || push(&google, &oci())),
            0,
        );
    }
}

#[test]
fn misdirected_upload_shows_no_secret_of_its_url() {
    let google = Google::start();
    for location in [
        "https://storage.example/upload/hunter2-session-hunter2?sig=hunter2-signature-hunter2",
        "http://gcr.io/artifacts-uploads/hunter2-session-hunter2",
        "/uploads/hunter2-session-hunter2",
        "::not a url:: hunter2-session-hunter2",
        "https://user:hunter2-password-hunter2@gcr.io/x/y",
        "",
    ] {
        google.standin.clear_faults();
        let action = FaultAction::Status {
            code: 202,
            retry_after: None,
            body: Some(String::new()),
            headers: vec![("location".to_owned(), location.to_owned())],
        };
        google
            .standin
            .fault(Fault::always(RequestKind::UploadStart, action));
        let outcome = push(&google, &oci()).variable("RUST_LOG", "trace").run();
        assert_ne!(outcome.code, 0, "{location}");
        let mut secrets = Secrets::of(&google);
        secrets.add("hunter2");
        secrets.assert_no_leak(&outcome, &[]);
    }
}

#[test]
fn echoed_token_is_kept_out_of_the_log() {
    let google = Google::start();
    let token = google.standin.access_token(ACCOUNT);
    let basic = STANDARD.encode(format!("oauth2accesstoken:{token}"));
    for kind in [
        RequestKind::Token,
        RequestKind::ManifestGet,
        RequestKind::UploadStart,
        RequestKind::UploadPut,
        RequestKind::ManifestPut,
    ] {
        for code in [401, 403, 500] {
            google.standin.clear_faults();
            let echo = FaultAction::Status {
                code,
                retry_after: None,
                body: Some(format!("you sent {token} as Authorization: Basic {basic}!")),
                headers: Vec::new(),
            };
            google.standin.fault(Fault::always(kind, echo.clone()));
            if kind == RequestKind::ManifestGet {
                let head = Fault::always(RequestKind::ManifestHead, echo);
                google.standin.fault(head);
            }
            let outcome = google
                .with_environment(Run::new())
                .file("image.tar", oci())
                .set("image", "image.tar")
                .set("access_token", &token)
                .set("tags", "gcr.io/acme/app:1")
                .set("retry_timeout", "1s")
                .variable("RUST_LOG", "trace")
                .run();
            assert_ne!(outcome.code, 0);
            assert!(
                outcome.stderr.contains("you sent ***"),
                "{}",
                outcome.stderr
            );
            Secrets::of(&google).assert_no_leak(&outcome, &[]);
        }
    }
}

#[test]
fn list_shows_no_secret() {
    let google = Google::start();
    push(&google, &oci()).succeeds();
    let list = || {
        google
            .with_environment(Run::command("list"))
            .set("credentials_json", &google.key)
    };
    assert_codes(&run_loudly_without_leak(&google, list), 0);
    assert_codes(
        &run_loudly_without_leak(&google, || list().set("name", "app")),
        0,
    );
    assert_codes(
        &run_loudly_without_leak(&google, || list().set("project_id", "other")),
        3,
    );
}

#[test]
fn layer_read_from_elsewhere_shows_no_secret_of_its_url() {
    let google = Google::with(Behaviour {
        blob_download: BlobDownload::CrossHostRedirect("us.gcr.io".to_owned()),
        ..Behaviour::default()
    });
    // The second push reads the config of the first to find reusable layers.
    assert_codes(
        &run_loudly_without_leak(&google, || push(&google, &docker())),
        0,
    );
    let changed = classic_archive(&[(&TestImage::new("other", 3), &["app:1"])]);
    assert_codes(
        &run_loudly_without_leak(&google, || push(&google, &changed)),
        0,
    );
    let cut = Fault::always(RequestKind::BlobDownload, FaultAction::ResetBeforeAnswer);
    google.standin.fault(cut);
    let changed = classic_archive(&[(&TestImage::new("third", 3), &["app:1"])]);
    run_loudly_without_leak(&google, || push(&google, &changed));
}

#[test]
fn only_the_pull_secret_holds_the_reader_key() {
    let google = Google::start();
    const READER: &str = "pull@acme.iam.gserviceaccount.com";
    let reader = google.standin.service_account(READER, "acme");
    let role = "roles/artifactregistry.reader";
    google.standin.grant(READER, role, "projects/acme");
    let with_secret = |run: Run| {
        run.set("pull_secret", "gcr-pull")
            .set("pull_secret_credentials_json", &reader)
            .set("pull_secret_file", "secret.yaml")
    };
    let alone = || {
        with_secret(google.with_environment(Run::command("pull-secret")))
            .set("credentials_json", &google.key)
    };
    for number in 0..2 {
        for loud in LOUDEST {
            let run = match number {
                0 => with_secret(push(&google, &docker())),
                _ => alone(),
            };
            let outcome = run.variable("RUST_LOG", loud).succeeds();
            Secrets::of(&google).assert_no_leak(&outcome, &["secret.yaml"]);
            let mut readers = Secrets::default();
            readers.add_key(&reader);
            readers.assert_no_leak(&outcome, &["secret.yaml"]);

            let path = outcome.directory.path().join("secret.yaml");
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let yaml = outcome.read("secret.yaml");
            let data = yaml
                .lines()
                .find_map(|line| line.trim().strip_prefix(".dockerconfigjson: "))
                .unwrap();
            let config = STANDARD.decode(data).unwrap();
            let mut pushers = Secrets::default();
            pushers.add_private_key(&google.key);
            assert_eq!(pushers.find(&config), None);
            assert_eq!(yaml.lines().count(), 7, "{yaml}");
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            for (_, login) in config["auths"].as_object().unwrap() {
                assert_eq!(login["password"], reader.trim());
                assert_eq!(login["username"], "_json_key");
            }
        }
    }
}

#[test]
fn logins_of_other_registries_are_not_shown() {
    for auth in [PlainAuth::Basic, PlainAuth::Bearer] {
        let google = Google::with(Behaviour {
            plain_auth: auth,
            ..Behaviour::default()
        });
        google.standin.basic_user("robot", "hunter2:hunter2");
        for address in [google.standin.plain_address(), google.standin.tls_address()] {
            for (password, code) in [("hunter2:hunter2", 0), ("hunter2-wrong", 3)] {
                let auth = STANDARD.encode(format!("robot:{password}"));
                let config = format!(r#"{{"auths":{{"{address}":{{"auth":"{auth}"}}}}}}"#);
                let run = || {
                    Run::new()
                        .file("image.tar", docker())
                        .set("image", "image.tar")
                        .set("tags", format!("{address}/app:1"))
                        .set("retry_timeout", "1s")
                        .set("ca_certificates", google.standin.ca_pem())
                        .set("docker_config", &config)
                };
                let outcomes = run_loudly_without_leak(&google, run);
                assert_codes(&outcomes, code);
                let mut secrets = Secrets::default();
                secrets.add(password);
                secrets.add(&auth);
                for outcome in &outcomes {
                    secrets.assert_no_leak(outcome, &[]);
                }
            }
        }
    }
}

#[test]
fn proxy_password_is_not_shown() {
    let google = Google::start();
    let address = google.standin.proxy_url().replace("http://", "");
    let mut secrets = Secrets::default();
    secrets.add("hunter2");
    secrets.add(&STANDARD.encode("user:hunter2"));
    for (proxy, fault) in [
        (format!("http://user:hunter2@{address}"), None),
        (format!("http://user:hunter2@{address}"), Some(407)),
        (format!("http://user:hunter2@{address}"), Some(502)),
        ("http://user:hunter2@127.0.0.1:9".to_owned(), None),
        ("http://user:hunter2@proxy.invalid:3128".to_owned(), None),
        ("http://user:hunter2#@proxy.invalid:3128".to_owned(), None),
        ("user:hunter2@:x".to_owned(), None),
    ] {
        google.standin.clear_faults();
        if let Some(code) = fault {
            let fault = FaultAction::status(code);
            google
                .standin
                .fault(Fault::always(RequestKind::Connect, fault));
        }
        let run = || push(&google, &oci()).variable("HTTPS_PROXY", &proxy);
        for outcome in run_loudly_without_leak(&google, run) {
            secrets.assert_no_leak(&outcome, &[]);
        }
    }
}

#[test]
fn secret_in_a_wrong_variable_is_not_shown() {
    let google = Google::start();
    let key: serde_json::Value = serde_json::from_str(&google.key).unwrap();
    let pem = key["private_key"].as_str().unwrap();
    let values = [
        google.key.clone(),
        STANDARD.encode(&google.key),
        pem.to_owned(),
        google.standin.access_token(ACCOUNT),
    ];
    let secrets = Secrets::of(&google);
    for value in &values {
        for variable in VARIABLES {
            let run = Run::new()
                .file("image.tar", docker())
                .set("image", "image.tar")
                .set("tags", "127.0.0.1:9/app:1")
                .set("retry_timeout", "1s")
                .set(variable.name, value);
            let outcome = run.variable("RUST_LOG", "trace").run();
            secrets.assert_no_leak(&outcome, &[]);
        }
        for misplaced in [
            Run::command(value),
            Run::command(&format!("--{value}")),
            Run::command(&format!("--credentials-json={value}")),
            Run::command("push").variable("HTTPS_PROXY", value),
            Run::command("push").variable("GOOGLE_CLOUD_PROJECT", value),
        ] {
            secrets.assert_no_leak(&misplaced.run(), &[]);
        }
    }
}

#[test]
fn rest_of_a_broken_key_is_not_shown() {
    let google = Google::start();
    let base64 = STANDARD.encode(&google.key);
    let third = |text: &str| text.len() / 3;
    let broken = [
        google.key[third(&google.key)..].to_owned(),
        google.key[..third(&google.key) * 2].to_owned(),
        google.key.replace("\\n", "\n"),
        google.key.replace(',', ""),
        format!("{}{}", google.key, google.key),
        format!("x{}", google.key),
        base64[third(&base64)..].to_owned(),
        base64[..third(&base64) * 2].to_owned(),
        format!("{base64}="),
        google.key.replace("service_account", pem_of(&google.key)),
    ];
    let secrets = Secrets::of(&google);
    for key in broken {
        let outcome = push(&google, &oci())
            .set("credentials_json", &key)
            .variable("RUST_LOG", "trace")
            .fails_with(2);
        secrets.assert_no_leak(&outcome, &[]);
    }
}

/// A part of the private key as it stands in the file.
fn pem_of(key: &str) -> &str {
    let start = key.find("PRIVATE KEY-----").unwrap();
    &key[start + 30..start + 200]
}
