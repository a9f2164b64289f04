//! Untrusted text: nothing from a registry or an image reaches a CI log as a command, or a terminal
//! as a control sequence.

mod registry;

use serde_json::json;
use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind};

use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, OCI_MANIFEST, TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// Sequences that GitHub's runner, a terminal or GitLab's log act on.
const HOSTILE: [&str; 7] = [
    "::error::owned",
    "\n::set-output name=digest::owned",
    "\r\n  ::add-path::/tmp/owned",
    "fine ##[error]owned",
    "\x1b[2J\x1b]0;owned\x07\x1b[31mowned",
    "\u{9b}31mowned\u{2028}::error::owned\u{202e}denwo",
    "\x1b[0Ksection_start:1:owned\r\x1b[0Kowned",
];

/// The starts of our own commands; the data after them is never acted on.
const OURS: [&str; 5] = [
    "::group::Push the image",
    "::endgroup::",
    "::error title=gcr-push::",
    "::warning title=gcr-push::",
    "::debug::",
];

fn assert_no_command(outcome: &Outcome) {
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    for text in [&outcome.stdout, &outcome.stderr] {
        for line in text.split('\n') {
            assert!(!line.contains("##["), "{line:?}");
            let ours = OURS.iter().find_map(|ours| line.strip_prefix(ours));
            let is_command = line.trim_start().starts_with("::");
            assert!(!is_command || ours.is_some(), "{line:?}");
            let character = line
                .chars()
                .find(|c| c.is_control() || "\u{2028}\u{202e}".contains(*c));
            assert_eq!(character, None, "{line:?}");
        }
    }
}

fn oci() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

fn push(google: &Google) -> Run {
    google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
        .variable("GITHUB_ACTIONS", "true")
        .variable("RUST_LOG", "gcr_push=trace")
}

fn json_status(code: u16, body: String) -> FaultAction {
    FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body),
        headers: Vec::new(),
    }
}

#[test]
fn registry_message_is_no_runner_command() {
    let google = Google::start();
    for text in HOSTILE {
        let envelope = json!({"errors": [{"code": text, "message": text, "detail": text}]});
        for body in [text.to_owned(), envelope.to_string()] {
            for kind in [
                RequestKind::Ping,
                RequestKind::Token,
                RequestKind::ManifestGet,
                RequestKind::UploadStart,
                RequestKind::UploadPut,
                RequestKind::ManifestPut,
            ] {
                google.standin.clear_faults();
                let hostile = json_status(403, body.clone());
                google.standin.fault(Fault::always(kind, hostile.clone()));
                if kind == RequestKind::ManifestGet {
                    let head = Fault::always(RequestKind::ManifestHead, hostile);
                    google.standin.fault(head);
                }
                let outcome = push(&google).fails_with(3);
                assert!(outcome.stderr.contains("owned"), "{}", outcome.stderr);
                assert_no_command(&outcome);
            }
        }
    }
}

#[test]
fn token_endpoint_message_is_no_runner_command() {
    let google = Google::start();
    for text in HOSTILE {
        google.standin.clear_faults();
        let body = json!({"error": text, "error_description": text, "error_uri": text});
        let hostile = json_status(400, body.to_string());
        google
            .standin
            .fault(Fault::always(RequestKind::OAuthToken, hostile));
        let outcome = push(&google).fails_with(3);
        assert!(outcome.stderr.contains("owned"), "{}", outcome.stderr);
        assert_no_command(&outcome);
    }
}

#[test]
fn listed_name_is_no_runner_command() {
    let google = Google::start();
    let digest = format!("sha256:{}", "0".repeat(64));
    let mut manifests = serde_json::Map::new();
    for text in HOSTILE {
        let entry = json!({
            "mediaType": text, "tag": HOSTILE, "imageSizeBytes": text,
            "timeCreatedMs": text, "timeUploadedMs": text,
        });
        manifests.insert(text.to_owned(), entry.clone());
        manifests.insert(digest.clone(), entry);
    }
    let listing = json!({
        "name": HOSTILE[0], "tags": HOSTILE, "child": HOSTILE, "manifest": manifests,
    });
    let hostile = json_status(200, listing.to_string());
    google
        .standin
        .fault(Fault::always(RequestKind::TagsList, hostile));
    let list = || {
        google
            .with_environment(Run::command("list"))
            .set("credentials_json", &google.key)
            .variable("GITHUB_ACTIONS", "true")
    };
    for outcome in [
        list().succeeds(),
        list().set("name", "app").succeeds(),
        push(&google).succeeds(),
    ] {
        // Names that no registry can have are skipped, with a warning that quotes them.
        let output = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(output.contains("owned"), "{output}");
        assert_no_command(&outcome);
    }
    // A plain registry is asked for the digest of each tag.
    let plain = format!("{}/app", google.standin.plain_address());
    assert_no_command(&Run::command("list").set("tags", plain).run());
}

#[test]
fn registry_header_is_no_runner_command() {
    for (name, value) in [
        ("www-authenticate", "Bearer realm=\"::error::owned\""),
        (
            "www-authenticate",
            "Bearer realm=\"https://##[error]owned/\"",
        ),
        (
            "www-authenticate",
            "Bearer realm=\"http://owned/%0a::error::\"",
        ),
        ("www-authenticate", "::error::owned"),
        ("location", "::error::owned"),
        ("location", "https://gcr.io/##[error]owned?x=##[error]owned"),
        ("docker-content-digest", "::error::owned"),
        ("content-type", "##[error]owned"),
    ] {
        let google = Google::start();
        for (kind, code) in [
            (RequestKind::Ping, 401),
            (RequestKind::ManifestHead, 200),
            (RequestKind::UploadStart, 202),
            (RequestKind::UploadPut, 500),
            (RequestKind::ManifestPut, 201),
        ] {
            google.standin.clear_faults();
            let action = FaultAction::Status {
                code,
                retry_after: None,
                body: Some(String::new()),
                headers: vec![(name.to_owned(), value.to_owned())],
            };
            google.standin.fault(Fault::once(kind, action));
            assert_no_command(&push(&google).set("verify", "off").run());
        }
    }
}

#[test]
fn image_name_is_no_runner_command() {
    let google = Google::start();
    for text in HOSTILE {
        let named = classic_archive(&[(&TestImage::new("app", 1), &[text])]);
        let tagged = classic_archive(&[(&TestImage::new("app", 1), &[&format!("app:{text}")])]);
        let several = classic_archive(&[
            (&TestImage::new("app", 1), &[text]),
            (&TestImage::new("other", 1), &["other"]),
        ]);
        let mut layout = Layout::default();
        let mut manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
        manifest["platform"] = json!({"os": text, "architecture": text, "variant": text});
        manifest["mediaType"] = text.into();
        layout.list(&manifest, Some(text));
        let mut absent = Layout::default();
        let mut missing = absent.image(&TestImage::new("absent", 1), LayerCompression::Gzip);
        missing["platform"] = json!({"os": text, "architecture": text});
        let index = layout.index(&[manifest.clone(), missing.clone()]);
        let mut partial = Layout {
            listed: Vec::new(),
            ..layout.clone()
        };
        partial.list(&index, Some("app:1"));
        let gone = absent.index(&[missing]);
        let mut empty = Layout::default();
        empty.manifest(json!({}));
        empty.listed.push(gone.clone());
        empty.blobs.extend(absent.blobs.clone());
        for image in [
            named,
            tagged,
            several,
            layout.archive(),
            partial.archive(),
            empty.archive(),
        ] {
            let outcome = push(&google).file("image.tar", image).run();
            assert_no_command(&outcome);
        }
    }
}

#[test]
fn stored_manifest_is_no_runner_command() {
    for text in HOSTILE {
        let google = Google::with(Behaviour {
            plain_auth: PlainAuth::None,
            ..Behaviour::default()
        });
        let address = google.standin.plain_address();
        for manifest in [
            json!({"schemaVersion": 2, "mediaType": text, "config": text, "layers": text}),
            json!({"schemaVersion": text, "manifests": [{"digest": text, "mediaType": text}]}),
            json!({"errors": [{"message": text}]}),
        ] {
            let bytes = manifest.to_string();
            google
                .standin
                .put_manifest(&address, "app", "1", OCI_MANIFEST, bytes.as_bytes());
            let outcome = Run::new()
                .file(
                    "image.tar",
                    classic_archive(&[(&TestImage::new("app", 1), &[])]),
                )
                .set("image", "image.tar")
                .set("tags", format!("{address}/app:1"))
                .variable("RUST_LOG", "trace")
                .succeeds();
            assert_no_command(&outcome);
        }
    }
}
