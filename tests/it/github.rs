//! At home in GitHub Actions: what its runner makes of what a step prints and writes.

use std::os::unix::fs::{MetadataExt as _, chown};

use standin::{Fault, FaultAction, RequestKind};

use crate::support::docker_registry::DockerRegistry;
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{Picture, classic_archive};
use crate::support::run::Run;
use crate::support::runner::{Seen, Step};
use crate::support::secrecy::Secrets;

/// A step that pushes a small image to `gcr.io/acme/app:1`.
fn push(google: &Google) -> Step {
    Step::of(google.reach(Run::new()))
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 2), &["app:1"])]),
        )
        .with("image", "docker-archive:image.tar")
        .with("credentials_json", &google.key)
}

/// Text without what differs from run to run.
fn steady(text: &str, seen: &Seen) -> String {
    let text = match seen.outputs.get("digest") {
        Some(digest) => text.replace(digest, "sha256:[DIGEST]"),
        None => text.to_owned(),
    };
    let mut steady = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once(", in ") {
            Some((before, _)) => steady.push_str(&format!("{before}, in [TIME] s.\n")),
            None => steady.push_str(line),
        }
    }
    steady
}

#[test]
fn a_push_leaves_outputs_and_a_summary_and_no_annotation() {
    let google = Google::start();
    let seen = push(&google)
        .with("tags", "1.2, latest")
        .with("report_file", "report.json")
        .run()
        .exits_with(0);
    let digest = &seen.outputs["digest"];
    assert_eq!(seen.outputs["image"], "gcr.io/acme/app");
    assert_eq!(
        seen.outputs["reference"],
        format!("gcr.io/acme/app@{digest}")
    );
    assert_eq!(
        seen.outputs["references"],
        "gcr.io/acme/app:1.2\ngcr.io/acme/app:latest"
    );
    assert_eq!(seen.outputs["report_file"], "report.json");
    assert_ne!(seen.outputs["pushed_bytes"], "0");
    assert_eq!(seen.outputs["skipped_bytes"], "0");
    assert!(!seen.outputs.contains_key("pull_secret_file"));
    assert_eq!(seen.annotations.len(), 0);
    assert_eq!(seen.groups, ["Push the image"]);
    assert_eq!(seen.debug, [""; 0]);
    insta::assert_snapshot!(steady(&seen.summary, &seen), @"
    ### gcr-push: pushed `gcr.io/acme/app`

    | Image | Tags | Digest | Sent | Saved | Result |
    | --- | --- | --- | ---: | ---: | --- |
    | `gcr.io/acme/app` | `1.2` `latest` | `sha256:[DIGEST]` | 468 B | 0 B | checked |

    Sent 468 B, saved 0 B that were there already, in [TIME] s.

    ```sh
    docker pull gcr.io/acme/app@sha256:[DIGEST]
    ```
    ");
}

#[test]
fn what_is_wrong_with_the_inputs_is_an_annotation_and_a_summary() {
    let google = Google::start();
    let seen = push(&google)
        .with("verify", "maybe\n::error::x")
        .with("credentials_json", "")
        .run()
        .exits_with(2);
    assert_eq!(seen.annotations[0].properties["title"], "gcr-push");
    let [error] = seen.annotated("error")[..] else {
        panic!("one error: {:?}", seen.annotations)
    };
    insta::assert_snapshot!(error, @r"
    an input cannot be used
      `verify`: it is `maybe\n::error::x`, expected `listing`, `blobs` or `off` (INPUT_VERIFY)

    hint: `gcr-push --help` tells what every variable means
    ");
    assert!(seen.summary.contains(&format!("\nerror: {error}\n")));
    assert!(seen.outputs.is_empty());
}

#[test]
fn an_input_next_to_one_of_ours_is_refused_and_any_other_is_a_warning() {
    let google = Google::start();
    let seen = push(&google)
        .with("push", "true")
        .with("args", "")
        .with("cache-from", "type=gha")
        .run()
        .exits_with(0);
    assert_eq!(
        seen.annotated("warning"),
        [
            "there is no input `cache-from`: it changes nothing",
            "there is no input `push`: it changes nothing"
        ]
    );
    let seen = push(&google)
        .with("tag", "1.2")
        .with("project-id", "acme")
        .with("project", "acme")
        .run()
        .exits_with(2);
    insta::assert_snapshot!(seen.annotated("error")[0], @"
    three inputs cannot be used
      `project`: there is no such input; did you mean `project_id`?
      `project-id`: there is no such input; did you mean `project_id`?
      `tag`: there is no such input; did you mean `tags`?

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn a_refused_push_is_an_annotation_with_the_fix_in_it() {
    let google = Google::start();
    let role = "roles/artifactregistry.createOnPushWriter";
    google.standin.revoke(ACCOUNT, role, "projects/acme");
    let seen = push(&google)
        .with(
            "tags",
            "gcr.io/acme/app:1, us-docker.pkg.dev/acme/containers/app:1",
        )
        .run()
        .exits_with(3);
    insta::assert_snapshot!(seen.annotated("error").join("\n---\n"), @r#"
    could not push to `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if there is no repository `gcr.io` in `us` yet, create it once: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    ---
    could not push to `us-docker.pkg.dev/acme/containers/app:1`
      caused by: GET https://us-docker.pkg.dev/v2/acme/containers/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if there is no repository `containers` in `us` yet, create it once: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    "#);
    assert_eq!(seen.groups, ["Push the image"]);
}

#[test]
fn what_was_missed_stands_in_the_summary_with_its_reason() {
    let google = Google::start();
    let seen = push(&google)
        .with("tags", "gcr.io/acme/app:1, us.gcr.io/other/app:1")
        .with("best_effort", "us.gcr.io")
        .run()
        .exits_with(0);
    let row = seen.summary.lines().find(|line| line.contains("us.gcr.io"));
    insta::assert_snapshot!(row.unwrap(), @r#"| `us.gcr.io/other/app` | `1` | | | | :warning: missed: could not push to \`us.gcr.io/other/app\:1\`\: GET https\://us.gcr.io/v2/other/app/manifests/1\: 403 DENIED\: Permission \"artifactregistry.repositories.downloadArtifacts\" denied on resource \"projects/other/locations/us/repositories/us.gcr.io\" \(or it may not exist\) |"#);
    assert_eq!(seen.annotated("warning").len(), 1);
    assert_eq!(seen.outputs["references"], "gcr.io/acme/app:1");
}

#[test]
fn a_doubt_is_a_warning() {
    let google = Google::start();
    let refused = Fault::always(RequestKind::TagsList, FaultAction::status(403));
    google.standin.fault(refused);
    let seen = push(&google).run().exits_with(0);
    insta::assert_snapshot!(seen.annotated("warning").join("\n---\n"), @"
    `gcr.io/acme/app` could not be listed: GET https://gcr.io/v2/acme/app/tags/list?n=10000: 403 DENIED: Permission denied; the image itself is there under its tags and its digest
    ---
    `gcr.io/acme` could not be listed: GET https://gcr.io/v2/acme/tags/list?n=10000: 403 DENIED: Permission denied; the image itself is there under its tags and its digest
    ");
    assert!(seen.summary.contains(":warning:"), "{}", seen.summary);
}

#[test]
fn with_step_debugging_details_are_debug_lines() {
    let google = Google::start();
    let seen = push(&google).variable("RUNNER_DEBUG", "1").run();
    let line = seen
        .debug
        .iter()
        .find(|line| line.starts_with("sending sha256:"));
    assert!(line.is_some(), "{:?}", seen.debug);
}

#[test]
fn every_secret_is_masked_and_nothing_else() {
    for form in [serde_json::to_string, serde_json::to_string_pretty] {
        let google = Google::start();
        let key: serde_json::Value = serde_json::from_str(&google.key).unwrap();
        let key = &form(&key).unwrap();
        let seen = push(&google)
            .with("credentials_json", key)
            .with("pull_secret", "gcr-pull")
            .with("pull_secret_allow_push_key", "true")
            .with("pull_secret_file", "pull-secret.yaml")
            .variable("RUNNER_DEBUG", "1")
            .run()
            .exits_with(0);
        // What the runner shows of the log has no secret, and it is told of each that could be.
        let secrets = Secrets::of(&google);
        for line in seen.log.iter().chain(&seen.debug).chain([&seen.summary]) {
            assert_eq!(secrets.find(line.as_bytes()), None, "{line}");
        }
        let key: serde_json::Value = serde_json::from_str(key).unwrap();
        let key = key["private_key"].as_str().unwrap();
        let body = key.lines().filter(|line| !line.starts_with("-----"));
        for secret in body.filter(|line| line.len() >= 20) {
            assert!(seen.masks.iter().any(|mask| mask == secret), "{secret}");
        }
        for token in google.standin.secrets() {
            if token.starts_with("ya29.") {
                assert!(seen.masks.contains(&token), "{token}");
            }
        }
        for mask in &seen.masks {
            assert!(mask.len() >= 8, "{mask}");
            for known in ["acme", "gcr.io", ACCOUNT, "gcr-pull", "{", "image.tar"] {
                assert_ne!(mask, known);
            }
        }
        // A mask hides it in whatever is printed by the steps that follow.
        assert_eq!(seen.outputs["image"], "gcr.io/acme/app");
    }
}

#[test]
fn outside_an_action_no_command_holds_a_secret() {
    let google = Google::start();
    let seen = push(&google)
        .run_as(|run| run.variable("GITHUB_WORKSPACE", "/home/runner/work/shop/shop"))
        .run()
        .exits_with(0);
    assert_eq!(seen.masks, [""; 0]);
    Secrets::of(&google).assert_unseen(&seen.outcome, &[]);
}

#[test]
fn in_another_form_of_the_log_there_are_no_commands() {
    let google = Google::start();
    for format in ["plain", "json"] {
        let seen = push(&google)
            .with("log_format", format)
            .with("tags", "gcr.io/other/app:1")
            .run()
            .exits_with(3);
        assert_eq!(seen.annotations.len(), 0);
        assert_eq!(seen.groups, [""; 0]);
        let last = seen.outcome.stderr.lines().last().unwrap();
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(last).unwrap();
            assert_eq!(line["level"], "ERROR");
            assert_eq!(line["fields"]["exit_code"], 3);
        }
    }
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_workspace() {
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
        // Only root can play the runner's other user.
        let is_root = chown(run.path(), Some(1001), Some(118)).is_ok();
        let metadata = run.path().metadata().unwrap();
        owner = (metadata.uid(), metadata.gid());
        assert!(!is_root || owner == (1001, 118));
        run
    });
    let seen = step.run().exits_with(0);
    for file in ["report.json", "digest", "push.env", "pull-secret.yaml"] {
        let metadata = seen.outcome.directory.path().join(file).metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), owner, "{file}");
    }
}

#[test]
fn a_mirror_of_many_images_leaves_a_summary() {
    let registry = DockerRegistry::start();
    Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 2), &["app:1"])]),
        )
        .set("image", "image.tar")
        .set("tags", format!("{}/acme/api:1", registry.address()))
        .succeeds();
    let file = format!(
        "destinations: [{0}/mirror]\nimages:\n  - from: {0}/acme/api:1\n",
        registry.address()
    );
    let seen = Step::of(Run::new())
        .file("gcr-push.yaml", file)
        .with("command", "mirror")
        .run()
        .exits_with(0);
    insta::assert_snapshot!(seen.outcome.scrub(&seen.summary), @"
    ### gcr-push mirror: 1 image: 1 brought, 0 B sent

    | Image | Result | Sent |
    | --- | --- | ---: |
    | `127.0.0.1:[PORT]/acme/api:1` | brought | 0 B |
    ");
}
