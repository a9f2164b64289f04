//! Results that cannot be written: files, standard output, the temporary folder.

use std::fs::File;
use std::io::pipe;

use super::{docker, oci, refused};
use crate::support::google::Google;
use crate::support::run::Run;

fn push(google: &Google, image: Vec<u8>) -> Run {
    google
        .run()
        .file("image.tar", image)
        .set("image", "image.tar")
}

#[test]
fn a_result_in_a_folder_that_is_not_there_is_told() {
    let google = Google::start();
    let run = push(&google, oci()).set("report_file", "nowhere/report.json");
    insta::assert_snapshot!(run.run().error(), @"
    error: could not write `nowhere/report.json`
      caused by: No such file or directory (os error 2)
    ");
    let run = push(&google, oci()).set("digest_file", "nowhere/digest");
    insta::assert_snapshot!(run.run().error(), @"
    error: could not write `nowhere/digest`
      caused by: No such file or directory (os error 2)
    ");
    let run = push(&google, oci())
        .set("pull_secret", "pull")
        .set("pull_secret_allow_push_key", "true")
        .set("pull_secret_file", "nowhere/secret.yaml");
    insta::assert_snapshot!(run.run().error(), @r#"
    error: could not write the pull secret to `nowhere/secret.yaml`
      caused by: No such file or directory (os error 2) at path "[FOLDER]/nowhere/.gcr-push-8ehqLF"

    hint: the directory must be there already
    "#);
    let run = push(&google, oci())
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_OUTPUT", "nowhere/output");
    insta::assert_snapshot!(run.run().error(), @"
    error: could not write `nowhere/output`
      caused by: No such file or directory (os error 2)
    ");
}

#[test]
fn a_temporary_folder_that_is_not_there_is_told() {
    let google = Google::start();
    let run = push(&google, docker()).variable("TMPDIR", "nowhere");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: could not compress the layer `sha256:dabe3f9a2a1433978afe46d660ebccbe47ac4529823c43b8a73b07c2adf4756d`
      caused by: could not write the compressed layer to a temporary file in `nowhere`
      caused by: No such file or directory (os error 2)

    hint: compressed layers need room there: free some, or set `TMPDIR` to a larger disk
    ");
    let run = push(&google, docker())
        .file("file", "")
        .variable("TMPDIR", "file");
    insta::assert_snapshot!(refused(&google, run, 1), @"
    error: could not compress the layer `sha256:dabe3f9a2a1433978afe46d660ebccbe47ac4529823c43b8a73b07c2adf4756d`
      caused by: could not write the compressed layer to a temporary file in `file`
      caused by: Not a directory (os error 20)

    hint: compressed layers need room there: free some, or set `TMPDIR` to a larger disk
    ");
    // What needs no room there asks for none.
    push(&google, oci())
        .variable("TMPDIR", "nowhere")
        .succeeds();
}

#[test]
fn standard_output_that_is_closed_early_makes_no_panic() {
    let google = Google::start();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let outcome = push(&google, oci())
        .set("digest_file", "digest")
        .run_with_stdout(writer);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    assert!(
        outcome.directory.path().join("digest").exists(),
        "{}",
        outcome.stderr
    );
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.stderr), @"");

    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let outcome = google
        .reach(Run::command("list"))
        .set("credentials_json", &google.key)
        .run_with_stdout(writer);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.stderr), @"");

    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let help = Run::command("--help").run_with_stdout(writer);
    insta::assert_snapshot!(format!("{}\n{}", help.code, help.stderr), @"");
}

#[test]
fn a_standard_output_that_is_full_is_told() {
    let google = Google::start();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = push(&google, oci()).run_with_stdout(full);
    insta::assert_snapshot!(format!("{}\n{}", outcome.code, outcome.error()), @"
    1
    error: could not write the result
      caused by: No space left on device (os error 28)
    ");
}
