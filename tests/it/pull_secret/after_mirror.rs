//! The pull secret of `mirror`: one for all destinations.

use serde_json::Value;
use standin::{RequestKind, Standin};

use super::reader;
use crate::mirror::{PLAIN, seed};
use crate::support::google::Google;
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

/// Puts a small image into the plain registry of a stand-in, with another content for each name.
fn put(standin: &Standin, repository: &str) {
    let mut layout = Layout::default();
    let root = layout.image(
        &TestImage::on("amd64", repository, 2),
        LayerCompression::Gzip,
    );
    seed(standin, PLAIN, repository, &layout, &root, "1");
}

/// A mirror of two images to `gcr.io` and to Artifact Registry, with the reader's key.
fn mirror(google: &Google, source: &Standin) -> Run {
    let file = format!(
        "destinations: [gcr.io/acme, europe-docker.pkg.dev/acme/containers]\n\
         images:\n  - from: {}/team/**\n",
        source.plain_address()
    );
    google
        .with_environment(Run::command("mirror"))
        .file("gcr-push.yaml", file)
        .set("credentials_json", &google.key)
        .set("pull_secret", "gcr-pull")
        .set("pull_secret_credentials_json", reader(google))
        .set("pull_secret_file", "secret.yaml")
}

fn source() -> Standin {
    let source = Standin::start();
    for repository in ["team/api", "team/web"] {
        put(&source, repository);
    }
    source
}

fn hosts(outcome: &crate::support::run::Outcome) -> Vec<String> {
    let login: Value = serde_json::from_str(&outcome.read("secret.yaml")).unwrap();
    let hosts = login["auths"].as_object().unwrap();
    hosts.keys().cloned().collect()
}

#[test]
fn every_destination_gets_a_verified_entry() {
    let (google, source) = (Google::start(), source());
    let outcome = mirror(&google, &source)
        .set("pull_secret_format", "dockerconfigjson")
        .succeeds();
    assert_eq!(hosts(&outcome), ["europe-docker.pkg.dev", "gcr.io"]);
    assert!(
        !outcome.stderr.contains("did not check"),
        "{}",
        outcome.stderr
    );
    for host in ["europe-docker.pkg.dev", "gcr.io"] {
        let requests = google.standin.requests();
        let as_kubelet = requests.iter().filter(|request| {
            request.host == host
                && request
                    .headers
                    .get("range")
                    .is_some_and(|r| r == "bytes=0-0")
        });
        assert_ne!(as_kubelet.count(), 0, "{host}");
    }
    // Nothing is copied, and everything is still verified.
    let outcome = mirror(&google, &source)
        .set("pull_secret_format", "dockerconfigjson")
        .succeeds();
    assert!(
        outcome.stdout.contains("2 images: 2 unchanged"),
        "{}",
        outcome.stdout
    );
    assert!(
        !outcome.stderr.contains("did not check"),
        "{}",
        outcome.stderr
    );
    assert_eq!(hosts(&outcome), ["europe-docker.pkg.dev", "gcr.io"]);
}

#[test]
fn mirror_secret_is_in_report_summary_and_outputs() {
    let (google, source) = (Google::start(), source());
    let outcome = mirror(&google, &source)
        .set("report_file", "report.json")
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_STEP_SUMMARY", "summary.md")
        .variable("GITHUB_OUTPUT", "output")
        .succeeds();
    let (_, table) = outcome.stdout.split_once("PULL SECRET").unwrap();
    assert!(table.contains("europe-docker.pkg.dev,gcr.io"), "{table}");
    assert!(table.contains("kind: Pod"), "{table}");
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
    let secret = &report["pull_secret"];
    assert_eq!(secret["name"], "gcr-pull");
    assert_eq!(
        secret["hosts"],
        serde_json::json!(["europe-docker.pkg.dev", "gcr.io"])
    );
    assert!(secret["file"].as_str().unwrap().ends_with("secret.yaml"));
    let summary = outcome.read("summary.md");
    assert!(
        summary.contains(
            "The pull secret <code>gcr-pull</code> lets a cluster pull from <code>europe-docker.pkg.dev</code>, <code>gcr.io</code>"
        ),
        "{summary}"
    );
    let output = outcome.read("output");
    let value = |name: &str| {
        let mut lines = output
            .lines()
            .skip_while(|line| !line.starts_with(&format!("{name}<<")));
        lines.nth(1).map(str::to_owned)
    };
    assert!(value("pull_secret_file").unwrap().ends_with("secret.yaml"));
    assert!(value("report_file").unwrap().ends_with("report.json"));
    assert_ne!(value("pushed_bytes").unwrap(), "0");
    assert_eq!(value("skipped_bytes").unwrap(), "0");
}

#[test]
fn mirror_standard_output_holds_only_the_secret() {
    let (google, source) = (Google::start(), source());
    let outcome = mirror(&google, &source)
        .set("pull_secret_file", "-")
        .succeeds();
    let secret: Value = serde_yaml::from_str(&outcome.stdout).unwrap();
    assert_eq!(secret["kind"], "Secret");
    assert!(
        outcome.stderr.contains("2 images: 2 copied"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn failed_image_leaves_no_secret_and_is_reported() {
    let (google, source) = (Google::start(), source());
    google.standin.fault(standin::Fault::always(
        RequestKind::ManifestPut,
        standin::FaultAction::status(400),
    ));
    let outcome = mirror(&google, &source).fails_with(1);
    assert!(!outcome.directory.path().join("secret.yaml").exists());
    assert!(outcome.stdout.contains("2 failed"), "{}", outcome.stdout);
}

#[test]
fn other_registries_need_permission_to_use_their_login() {
    let source = source();
    let destination = Standin::start();
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/team/**\n",
        destination.plain_address(),
        source.plain_address()
    );
    let outcome = Run::command("mirror")
        .file("gcr-push.yaml", file)
        .set("pull_secret", "gcr-pull")
        .set("pull_secret_file", "secret.yaml")
        .fails_with(2);
    assert!(
        outcome.error().contains("no destination is Google's"),
        "{}",
        outcome.error()
    );
}
