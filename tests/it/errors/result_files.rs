//! Results that cannot be written: files, standard output, the temporary folder.

use std::fs::File;
use std::io::{PipeWriter, pipe};
use std::process::Stdio;

use super::{docker, oci, refused};
use serde_json::Value;
use standin::{Fault, FaultAction, RequestKind};

use crate::support::google::Google;
use crate::support::run::Run;

fn push(google: &Google, image: Vec<u8>) -> Run {
    google
        .run()
        .file("image.tar", image)
        .set("image", "image.tar")
}

/// The writing end of a pipe that nobody reads.
fn closed_pipe() -> PipeWriter {
    pipe().unwrap().1
}

#[test]
fn missing_result_folder_is_reported_before_any_upload() {
    let google = Google::start();
    let run = push(&google, oci())
        .set("report_file", "nowhere/report.json")
        .set("digest_file", "image.tar/digest")
        .set("pull_secret", "pull")
        .set("pull_secret_allow_push_key", "true")
        .set("pull_secret_file", "nowhere/secret.yaml")
        .variable("GITHUB_ACTIONS", "true")
        .set("log_format", "plain")
        .variable("GITHUB_OUTPUT", "nowhere/output");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: could not write `nowhere/report.json`: there is no folder `nowhere`

    hint: create it first: `mkdir -p nowhere`

    error: could not write `image.tar/digest`: there is no folder `image.tar`

    error: could not write `nowhere/secret.yaml`: there is no folder `nowhere`

    hint: create it first: `mkdir -p nowhere`

    error: could not write `nowhere/output`: there is no folder `nowhere`

    hint: create it first: `mkdir -p nowhere`
    ");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn unwritable_result_keeps_other_results() {
    let google = Google::start();
    let run = push(&google, oci())
        .set("report_file", ".")
        .set("digest_file", "digest")
        .set("pull_secret", "pull")
        .set("pull_secret_allow_push_key", "true")
        .set("pull_secret_file", "secret.yaml")
        .variable("GITHUB_ACTIONS", "true")
        .set("log_format", "plain")
        .variable("GITHUB_OUTPUT", "output");
    let outcome = run.fails_with(1);
    assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
    assert!(outcome.read("digest").starts_with("sha256:"));
    assert!(outcome.read("secret.yaml").starts_with("apiVersion"));
    assert!(outcome.read("output").contains("digest<<"));
    insta::assert_snapshot!(outcome.error(), @"
    error: could not write `.`
      caused by: Is a directory (os error 21)

    hint: the push itself succeeded; only this file is missing
    ");
}

#[test]
fn unwritable_pull_secret_is_reported_and_no_output() {
    let google = Google::start();
    let run = push(&google, oci())
        .set("pull_secret", "pull")
        .set("pull_secret_allow_push_key", "true")
        .set("pull_secret_file", ".")
        .variable("GITHUB_ACTIONS", "true")
        .set("log_format", "plain")
        .variable("GITHUB_OUTPUT", "output");
    let outcome = run.fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not write the pull secret to `.`: it exists, and is not a regular file

    hint: set `pull_secret_file` to a file, such as `pull-secret.yaml`
    ");
    assert!(outcome.read("output").contains("digest<<"));
    assert!(!outcome.read("output").contains("pull_secret_file<<"));
}

#[test]
fn missing_temporary_folder_is_reported() {
    let google = Google::start();
    let run = push(&google, docker()).variable("TMPDIR", "nowhere");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: could not compress the layer `sha256:621dd0cf3f59bb82b3ee9214dd4a505966f85d01dade6b03f37011cbad336b28`
      caused by: could not write the compressed layer to a temporary file in `nowhere`
      caused by: No such file or directory (os error 2)

    hint: compressed layers need a writable folder: set `TMPDIR` to one
    ");
    let run = push(&google, docker())
        .file("file", "")
        .variable("TMPDIR", "file");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: could not compress the layer `sha256:621dd0cf3f59bb82b3ee9214dd4a505966f85d01dade6b03f37011cbad336b28`
      caused by: could not write the compressed layer to a temporary file in `file`
      caused by: Not a directory (os error 20)

    hint: compressed layers need a writable folder: set `TMPDIR` to one
    ");
    // A run that needs no temporary folder does not ask for one.
    push(&google, oci())
        .variable("TMPDIR", "nowhere")
        .succeeds();
}

#[test]
fn closed_standard_output_causes_no_panic() {
    let google = Google::start();
    let outcome = push(&google, oci())
        .set("digest_file", "digest")
        .run_with(closed_pipe(), Stdio::piped());
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert!(
        outcome.directory.path().join("digest").exists(),
        "{}",
        outcome.stderr
    );
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.stderr), @"
    0
     INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`
    ");

    let outcome = google
        .with_environment(Run::command("list"))
        .set("credentials_json", &google.key)
        .run_with(closed_pipe(), Stdio::piped());
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.stderr), @"
    0
     INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`
    ");

    let help = Run::command("--help").run_with(closed_pipe(), Stdio::piped());
    insta::assert_snapshot!(format!("{}\n{}", help.code, help.stderr), @"0");

    // It is the same if nobody reads standard error.
    let outcome = push(&google, oci()).run_with(closed_pipe(), closed_pipe());
    assert_eq!(outcome.code, 0);
    let outcome = push(&google, Vec::new()).run_with(closed_pipe(), closed_pipe());
    assert_eq!(outcome.code, 2);
}

#[test]
fn full_standard_output_is_reported() {
    let google = Google::start();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = push(&google, oci()).run_with(full, Stdio::piped());
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.error()), @"
    1
    error: could not write the result to standard output
      caused by: No space left on device (os error 28)
    ");
}

/// A run in a folder with the results of an earlier run.
fn run_again(run: Run) -> Run {
    run.file("report.json", "{\"status\": \"pushed\"}\n")
        .file("digest", "sha256:00")
        .file("push.env", "PUSHED_DIGEST=sha256:00\n")
        .set("report_file", "report.json")
        .set("digest_file", "digest")
        .set("dotenv_file", "push.env")
}

#[test]
fn failed_run_reports_failure_and_removes_old_results() {
    let google = Google::start();
    let refused = Fault::always(RequestKind::ManifestPut, FaultAction::status(403));
    google.standin.fault(refused);
    for (run, code, message) in [
        // Only the report's name is valid in this request.
        (
            push(&google, oci()).set("verify", "maybe"),
            2,
            "error: an input cannot be used",
        ),
        // There is no image.
        (
            push(&google, oci()).set("image", "nothing.tar"),
            2,
            "nothing.tar",
        ),
        // The sign-in fails.
        (
            push(&google, oci())
                .set("credentials_json", "")
                .set("access_token", "ya29.x")
                .set("project_id", "acme"),
            3,
            "error: ",
        ),
        // The last step is refused.
        (
            push(&google, oci()),
            3,
            "error: could not push to `gcr.io/acme/app",
        ),
    ] {
        let outcome = run_again(run).fails_with(code);
        let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
        assert_eq!(report["status"], "failed", "{report}");
        let error = report["errors"][0].as_str().unwrap();
        assert!(error.contains(message), "{error}");
        assert!(
            !outcome.directory.path().join("digest").exists(),
            "{message}"
        );
        let dotenv = outcome.directory.path().join("push.env");
        let dotenv = std::fs::read_to_string(dotenv).unwrap_or_default();
        assert!(!dotenv.contains("PUSHED_DIGEST"), "{dotenv}");
    }
}

#[test]
fn symlink_at_result_path_is_not_followed() {
    let google = Google::start();
    let run = push(&google, oci())
        .file("theirs", "theirs")
        .set("report_file", "report.json")
        .set("digest_file", "digest")
        .set("dotenv_file", "push.env");
    for name in ["report.json", "digest", "push.env"] {
        std::os::unix::fs::symlink("theirs", run.path().join(name)).unwrap();
    }
    let outcome = run.succeeds();
    assert_eq!(outcome.read("theirs"), "theirs");
    assert!(outcome.read("digest").starts_with("sha256:"));
}

#[test]
fn unrelated_file_is_not_removed() {
    let google = Google::start();
    let image = oci();
    let outcome = push(&google, image.clone())
        .set("report_file", "image.tar")
        .set("verify", "maybe")
        .fails_with(2);
    let kept = std::fs::read(outcome.directory.path().join("image.tar")).unwrap();
    assert!(kept == image);
}
