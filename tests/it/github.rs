//! GitHub Actions: how its runner reads what a step prints and writes.

use std::os::unix::fs::{MetadataExt as _, chown};

use standin::{Fault, FaultAction, RequestKind};

use crate::support::docker_registry::DockerRegistry;
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::Run;
use crate::support::runner::{Step, StepResult};
use crate::support::secret_leaks::Secrets;

/// A step that pushes a small image to `gcr.io/acme/app:1`.
fn push(google: &Google) -> Step {
    Step::of(google.with_environment(Run::new()))
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]),
        )
        .with("image", "docker-archive:image.tar")
        .with("credentials_json", &google.key)
}

/// The text without what differs between runs.
fn steady(text: &str, step_result: &StepResult) -> String {
    let text = match step_result.outputs.get("digest") {
        Some(digest) => text.replace(digest, "sha256:[DIGEST]"),
        None => text.to_owned(),
    };
    let mut steady = String::new();
    for line in text.split_inclusive('\n') {
        let time = [", in ", "; found in "]
            .into_iter()
            .find(|word| line.contains(word));
        match time.and_then(|word| Some((word, line.split_once(word)?.0))) {
            Some((word, before)) => steady.push_str(&format!("{before}{word}[TIME] s.\n")),
            None => steady.push_str(line),
        }
    }
    steady
}

/// Digests shortened as a table shows them.
fn short(text: &str, digest: &str) -> String {
    let digest = digest.trim_start_matches("sha256:");
    text.replace(&digest[..12], "[SHORT]")
}

#[test]
fn push_writes_outputs_and_summary_without_annotation() {
    let google = Google::start();
    let step_result = push(&google)
        .with("tags", "1.2, latest")
        .with("report_file", "report.json")
        .run()
        .exits_with(0);
    let digest = &step_result.outputs["digest"];
    assert_eq!(step_result.outputs["image"], "gcr.io/acme/app");
    assert_eq!(
        step_result.outputs["reference"],
        format!("gcr.io/acme/app@{digest}")
    );
    assert_eq!(
        step_result.outputs["references"],
        "gcr.io/acme/app:1.2\ngcr.io/acme/app:latest"
    );
    assert_eq!(step_result.outputs["report_file"], "report.json");
    assert_ne!(step_result.outputs["pushed_bytes"], "0");
    assert_eq!(step_result.outputs["skipped_bytes"], "0");
    assert!(!step_result.outputs.contains_key("pull_secret_file"));
    assert_eq!(step_result.annotations.len(), 0);
    assert_eq!(step_result.groups, ["Push the image"]);
    assert_eq!(step_result.debug, [""; 0]);
    insta::assert_snapshot!(short(&steady(&step_result.summary, &step_result), digest), @"
    ### gcr-push: :white_check_mark: pushed <code>gcr.io/<wbr>acme/<wbr>app</code>

    | Result | Image | Tags | Digest | Sent |
    | --- | --- | --- | --- | ---: |
    | pushed, checked | <code>gcr.io/<wbr>acme/<wbr>app</code> | <code>1.2</code> <code>latest</code> | <code>[SHORT]</code> | 468 B |

    468 B sent, 0 B already existed, in [TIME] s.

    ```text
    sha256:[DIGEST]
    ```
    ");
}

#[test]
fn wrong_inputs_are_an_annotation_and_a_summary() {
    let google = Google::start();
    let step_result = push(&google)
        .with("verify", "maybe\n::error::x")
        .with("credentials_json", "")
        .run()
        .exits_with(2);
    assert_eq!(step_result.annotations[0].properties["title"], "gcr-push");
    let [error] = step_result.annotations_of("error")[..] else {
        panic!("one error: {:?}", step_result.annotations)
    };
    insta::assert_snapshot!(error, @r"
    an input cannot be used
      `verify`: it is `maybe\n::error::x`, expected `listing`, `blobs` or `off` (INPUT_VERIFY)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(step_result.summary, @r"
    ### gcr-push: :x: failed

    error\: an input cannot be used<br>
    \`verify\`\: it is \`maybe\\n\:\:error\:\:x\`, expected \`listing\`, \`blobs\` or \`off\` \(INPUT\_VERIFY\)<br>
    hint\: \`gcr-push push --help\` describes every variable
    ");
    assert!(step_result.outputs.is_empty());
}

#[test]
fn similar_input_is_refused_and_unknown_is_a_warning() {
    let google = Google::start();
    let step_result = push(&google)
        .with("push", "true")
        .with("args", "")
        .with("cache-from", "type=gha")
        .run()
        .exits_with(0);
    assert_eq!(
        step_result.annotations_of("warning"),
        [
            "there is no input `cache-from`: it has no effect",
            "there is no input `push`: it has no effect"
        ]
    );
    let step_result = push(&google)
        .with("tag", "1.2")
        .with("project-id", "acme")
        .with("project", "acme")
        .run()
        .exits_with(2);
    insta::assert_snapshot!(step_result.annotations_of("error")[0], @"
    three inputs cannot be used
      `project`: there is no such input; did you mean `project_id`?
      `project-id`: there is no such input; did you mean `project_id`?
      `tag`: there is no such input; did you mean `tags`?

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn refused_push_is_an_annotation_with_the_fix() {
    let google = Google::start();
    let role = "roles/artifactregistry.createOnPushWriter";
    google.standin.revoke(ACCOUNT, role, "projects/acme");
    let step_result = push(&google)
        .with(
            "tags",
            "gcr.io/acme/app:1, us-docker.pkg.dev/acme/containers/app:1",
        )
        .run()
        .exits_with(3);
    insta::assert_snapshot!(step_result.annotations_of("error").join("\n---\n"), @r#"
    could not push to `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    ---
    could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `containers` does not exist in `us`, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    "#);
    assert_eq!(step_result.groups, ["Push the image"]);
}

#[test]
fn summary_shows_missed_destinations_with_reasons() {
    let google = Google::start();
    let step_result = push(&google)
        .with("tags", "gcr.io/acme/app:1, us.gcr.io/other/app:1")
        .with("best_effort", "us.gcr.io")
        .run()
        .exits_with(0);
    let [title, row] = ["### ", "| :warning:"].map(|start| {
        let line = step_result
            .summary
            .lines()
            .find(|line| line.starts_with(start));
        line.unwrap()
    });
    insta::assert_snapshot!(title, @"### gcr-push: :warning: 1 of 2 destinations has not got the \
                                     image");
    insta::assert_snapshot!(row, @r#"| :warning: missed: could not push to \`us.gcr.io/<wbr>other/<wbr>app\:1\`\: GET https\:/<wbr>/<wbr>us.gcr.io/<wbr>v2/<wbr>other/<wbr>app/<wbr>manifests/<wbr>1\: 403 DENIED\: Permission \"artifactregistry.reposi<wbr>tories.downloadArtifacts<wbr>\" denied on resource \"projects/<wbr>other/<wbr>locations/<wbr>us/<wbr>repositories/<wbr>us.gcr.io\" \(or it may not exist\) | <code>us.gcr.io/<wbr>other/<wbr>app</code> | <code>1</code> | | |"#);
    assert_eq!(step_result.annotations_of("warning").len(), 1);
    assert_eq!(step_result.outputs["references"], "gcr.io/acme/app:1");
    assert_eq!(step_result.outputs["failed"], "us.gcr.io/other/app:1");
}

#[test]
fn outputs_after_partial_failure_name_a_pushed_destination() {
    let google = Google::start();
    let lost = "gcr.io/other/app:1, gcr.io/other/app:2";
    let has_it = "eu.gcr.io/acme/app:1, asia.gcr.io/acme/app:1";
    let step_result = push(&google)
        .with("tags", format!("{lost}, {has_it}"))
        .with("best_effort", "eu.gcr.io")
        .with("report_file", "report.json")
        .run()
        .exits_with(3);
    assert_eq!(step_result.outputs["image"], "asia.gcr.io/acme/app");
    assert!(step_result.outputs["digest"].starts_with("sha256:"));
    assert_eq!(
        step_result.outputs["references"],
        "eu.gcr.io/acme/app:1\nasia.gcr.io/acme/app:1"
    );
    assert_eq!(
        step_result.outputs["failed"],
        "gcr.io/other/app:1\ngcr.io/other/app:2"
    );
    let report: serde_json::Value =
        serde_json::from_str(&step_result.outcome.read("report.json")).unwrap();
    assert_eq!(report["status"], "partial");
    let error = report["errors"][0].as_str().unwrap();
    assert!(
        error.starts_with("error: could not push to `gcr.io/other/app"),
        "{error}"
    );
    let title = step_result.summary.lines().next().unwrap();
    insta::assert_snapshot!(title, @"### gcr-push: :x: failed: 1 of 3 destinations has not got \
                                     the image");
    // It is reported once.
    assert_eq!(
        step_result.summary.matches("### ").count(),
        1,
        "{}",
        step_result.summary
    );
    assert!(
        step_result.summary.contains("<br>\nhint"),
        "{}",
        step_result.summary
    );
}

#[test]
fn outputs_never_name_a_best_effort_destination() {
    let google = Google::start();
    let step_result = push(&google)
        .with("tags", "gcr.io/other/app:1, eu.gcr.io/acme/app:1")
        .with("best_effort", "eu.gcr.io")
        .run()
        .exits_with(3);
    assert!(
        !step_result.outputs.contains_key("image") && !step_result.outputs.contains_key("digest")
    );
    assert_eq!(step_result.outputs["references"], "eu.gcr.io/acme/app:1");
}

#[test]
fn dry_run_has_no_push_outputs_and_says_so() {
    let google = Google::start();
    let step_result = push(&google)
        .with("dry_run", "true")
        .with("report_file", "report.json")
        .with("dotenv_file", "push.env")
        .run()
        .exits_with(0);
    let names: Vec<_> = step_result.outputs.keys().collect();
    assert_eq!(names, ["report_file"]);
    assert_eq!(step_result.outcome.read("push.env"), "");
    let report: serde_json::Value =
        serde_json::from_str(&step_result.outcome.read("report.json")).unwrap();
    assert_eq!(report["status"], "dry_run");
    let digest = report["destinations"][0]["digest"].as_str().unwrap();
    insta::assert_snapshot!(short(&steady(&step_result.summary, &step_result), digest), @"
    ### gcr-push: :information_source: dry run, nothing was sent

    | Result | Image | Tags | Digest | Sent |
    | --- | --- | --- | --- | ---: |
    | would be pushed | <code>gcr.io/<wbr>acme/<wbr>app</code> | <code>1</code> | <code>[SHORT]</code> | 468 B |

    468 B would be sent, 0 B already exist; checked in 0.1 s.
    ");
}

#[test]
fn kept_tag_and_present_image_are_no_push() {
    let google = Google::start();
    let first = push(&google).run().exits_with(0);
    let again = push(&google).run().exits_with(0);
    let title = |text: &str| text.lines().next().unwrap().to_owned();
    insta::assert_snapshot!(title(&again.summary), @"### gcr-push: :white_check_mark: \
                                                     <code>gcr.io/<wbr>acme/<wbr>app</code> already \
                                                     existed");
    let other = classic_archive(&[(&TestImage::new("other", 1), &["app:1"])]);
    let kept = push(&google)
        .file("image.tar", other)
        .with("existing_tag", "keep")
        .run()
        .exits_with(0);
    insta::assert_snapshot!(title(&kept.summary), @"### gcr-push: :white_check_mark: kept, no tag \
                                                    was moved");
    let row = kept.summary.lines().find(|line| line.starts_with("| kept"));
    assert!(row.unwrap().contains("stays at"), "{}", kept.summary);
    assert_eq!(first.outputs["references"], "gcr.io/acme/app:1");
    assert_eq!(kept.outputs["references"], "");
}

#[test]
fn skipped_run_is_announced() {
    let google = Google::start();
    let step_result = push(&google)
        .with("credentials_json", "")
        .with("missing_credentials", "skip")
        .with("project_id", "acme")
        .variable("GITHUB_ACTOR", "dependabot[bot]")
        .with("report_file", "report.json")
        .run()
        .exits_with(0);
    let title = step_result.summary.lines().next().unwrap();
    insta::assert_snapshot!(title, @"### gcr-push: :information_source: skipped, nothing was \
                                     pushed");
    let report: serde_json::Value =
        serde_json::from_str(&step_result.outcome.read("report.json")).unwrap();
    assert_eq!(report["status"], "skipped");
}

#[test]
fn unlistable_image_is_a_warning() {
    let google = Google::start();
    let refused = Fault::always(RequestKind::TagsList, FaultAction::status(403));
    google.standin.fault(refused);
    let step_result = push(&google).run().exits_with(0);
    insta::assert_snapshot!(step_result.annotations_of("warning").join("\n---\n"), @"
    `gcr.io/acme/app` could not be listed: GET https://gcr.io/v2/acme/app/tags/list?n=10000: 403 DENIED: Permission denied; the image itself exists under its tags and its digest
    ---
    `gcr.io/acme` could not be listed: GET https://gcr.io/v2/acme/tags/list?n=10000: 403 DENIED: Permission denied; the image itself exists under its tags and its digest
    ");
    assert!(
        step_result.summary.contains(":warning:"),
        "{}",
        step_result.summary
    );
}

#[test]
fn details_are_debug_lines_with_step_debugging() {
    let google = Google::start();
    let step_result = push(&google).variable("RUNNER_DEBUG", "1").run();
    let line = step_result
        .debug
        .iter()
        .find(|line| line.starts_with("PUT https://gcr.io/v2/acme/app/manifests/1: 201"));
    assert!(line.is_some(), "{:?}", step_result.debug);
}

#[test]
fn every_secret_is_masked_and_nothing_else() {
    for form in [serde_json::to_string, serde_json::to_string_pretty] {
        let google = Google::start();
        let key: serde_json::Value = serde_json::from_str(&google.key).unwrap();
        let key = &form(&key).unwrap();
        let step_result = push(&google)
            .with("credentials_json", key)
            .with("pull_secret", "gcr-pull")
            .with("pull_secret_allow_push_key", "true")
            .with("pull_secret_file", "pull-secret.yaml")
            .variable("RUNNER_DEBUG", "1")
            .run()
            .exits_with(0);
        // What the runner shows of the log has no secret, and every possible secret is masked.
        let secrets = Secrets::of(&google);
        for line in step_result
            .log
            .iter()
            .chain(&step_result.debug)
            .chain([&step_result.summary])
        {
            assert_eq!(secrets.find(line.as_bytes()), None, "{line}");
        }
        let key: serde_json::Value = serde_json::from_str(key).unwrap();
        let key = key["private_key"].as_str().unwrap();
        let body = key.lines().filter(|line| !line.starts_with("-----"));
        for secret in body.filter(|line| line.len() >= 20) {
            assert!(
                step_result.masks.iter().any(|mask| mask == secret),
                "{secret}"
            );
        }
        for token in google.standin.secrets() {
            if token.starts_with("ya29.") {
                assert!(step_result.masks.contains(&token), "{token}");
            }
        }
        for mask in &step_result.masks {
            assert!(mask.len() >= 8, "{mask}");
            for known in ["acme", "gcr.io", ACCOUNT, "gcr-pull", "{", "image.tar"] {
                assert_ne!(mask, known);
            }
        }
        // A mask hides it in the output of all following steps.
        assert_eq!(step_result.outputs["image"], "gcr.io/acme/app");
    }
}

#[test]
fn no_command_holds_a_secret_outside_an_action() {
    let google = Google::start();
    let step_result = push(&google)
        .run_as(|run| run.variable("GITHUB_WORKSPACE", "/home/runner/work/shop/shop"))
        .run()
        .exits_with(0);
    assert_eq!(step_result.masks, [""; 0]);
    Secrets::of(&google).assert_no_leak(&step_result.outcome, &[]);
}

#[test]
fn other_log_formats_print_no_commands() {
    let google = Google::start();
    for format in ["plain", "json"] {
        let step_result = push(&google)
            .with("log_format", format)
            .with("tags", "gcr.io/other/app:1")
            .run()
            .exits_with(3);
        assert_eq!(step_result.annotations.len(), 0);
        assert_eq!(step_result.groups, [""; 0]);
        let last = step_result.outcome.stderr.lines().last().unwrap();
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(line["level"], "ERROR");
            assert_eq!(line["fields"]["exit_code"], 3);
        }
    }
}

#[test]
fn files_written_by_root_belong_to_workspace_owner() {
    let google = Google::start();
    let step = push(&google)
        .with("report_file", "report.json")
        .with("digest_file", "digest")
        .with("dotenv_file", "push.env")
        .with("pull_secret", "gcr-pull")
        .with("pull_secret_allow_push_key", "true")
        .with("pull_secret_file", "pull-secret.yaml");
    let mut owner = (0, 0);
    let step = step.run_as(|run| {
        // Only root can act as another user.
        let is_root = chown(run.path(), Some(1001), Some(118)).is_ok();
        let metadata = run.path().metadata().unwrap();
        owner = (metadata.uid(), metadata.gid());
        assert!(!is_root || owner == (1001, 118));
        run
    });
    let step_result = step.run().exits_with(0);
    for file in ["report.json", "digest", "push.env", "pull-secret.yaml"] {
        let metadata = step_result
            .outcome
            .directory
            .path()
            .join(file)
            .metadata()
            .unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{file}");
    }
}

#[test]
fn mirror_of_many_images_writes_a_summary() {
    let registry = DockerRegistry::start();
    Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]),
        )
        .set("image", "image.tar")
        .set("tags", format!("{}/acme/api:1", registry.address()))
        .succeeds();
    let file = format!(
        "destinations: [{0}/mirror]\nimages:\n  - from: {0}/acme/api:1\n",
        registry.address()
    );
    let step_result = Step::of(Run::new())
        .file("gcr-push.yaml", file)
        .with("command", "mirror")
        .run()
        .exits_with(0);
    let summary = step_result.summary.replace("\\:", ":");
    insta::assert_snapshot!(step_result.outcome.scrub(&summary), @"
    ### gcr-push mirror: :white_check_mark: 1 image: 1 copied, 0 B sent

    | Result | Image | Sent |
    | --- | --- | ---: |
    | copied | <code>127.0.0.1:[PORT]/<wbr>acme/<wbr>api:1</code> | 0 B |
    ");
}
