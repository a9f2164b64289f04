//! Runs without any credential, such as those for pull requests of forks.

use serde_json::json;

use super::{ACCOUNT, github_provider, image, push};
use crate::support::google::Google;
use crate::support::run::Run;

fn skipping_push(google: &Google) -> Run {
    push(google).set("missing_credentials", "skip")
}

#[test]
fn image_is_checked_but_not_pushed_without_credential() {
    let google = Google::start();
    let run = skipping_push(&google)
        .set("tags", "1, latest")
        .set("registry", "gcr.io, us-docker.pkg.dev")
        .set("repository", "containers")
        .set("project_id", "acme")
        .set("name", "app")
        .set("report_file", "report.json");
    let outcome = run.succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    WOULD PUSH                             TAGS      BLOBS  SIZE
    gcr.io/acme/app                        1,latest  3      455 B
    us-docker.pkg.dev/acme/containers/app  1,latest  3      455 B
    ");
    insta::assert_snapshot!(outcome.stderr, @"INFO nothing was pushed: there is no credential, as \
                                              in a pull request from a fork, and \
                                              `missing_credentials` is `skip`; the image itself is \
                                              valid");
    assert!(outcome.read("report.json").contains("nothing was pushed"));
    assert!(google.standin.requests().is_empty());
}

#[test]
fn skipped_mirror_shows_its_destinations() {
    let google = Google::start();
    let file = "
destinations: [gcr.io/acme, us-docker.pkg.dev/acme/mirror]
images:
  - {from: 'registry.example/team/**'}
  - {from: registry.example/app, tags: ['1.*']}
  - {from: 'registry.example/tool:3'}
";
    let outcome = google
        .with_environment(Run::command("mirror"))
        .file("gcr-push.yaml", file)
        .set("missing_credentials", "skip")
        .succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    WOULD MIRROR              BELOW
    registry.example/team/**  gcr.io/acme
    registry.example/team/**  us-docker.pkg.dev/acme/mirror
    registry.example/app      gcr.io/acme
    registry.example/app      us-docker.pkg.dev/acme/mirror
    registry.example/tool:3   gcr.io/acme
    registry.example/tool:3   us-docker.pkg.dev/acme/mirror
    ");
    insta::assert_snapshot!(outcome.stderr, @"INFO nothing was mirrored: there is no credential, \
                                              as in a pull request from a fork, and \
                                              `missing_credentials` is `skip`");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn hosts_are_shown_without_a_project() {
    let google = Google::start();
    let outcome = google
        .with_environment(Run::new())
        .file("image.tar", image())
        .set("image", "image.tar")
        .set("missing_credentials", "skip")
        .set("pull_secret", "pull")
        .succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    WOULD PUSH  TAGS  BLOBS  SIZE
    gcr.io            3      455 B
    ");
}

#[test]
fn skip_on_github_is_one_notice() {
    let google = Google::start();
    let outcome = skipping_push(&google)
        .variable("GITHUB_ACTIONS", "true")
        .variable("INPUT_CREDENTIALS_JSON", "")
        .succeeds();
    assert_eq!(outcome.stderr.matches("::notice ").count(), 1);
    assert!(!outcome.stderr.contains("::warning") && !outcome.stderr.contains("::error"));
}

#[test]
fn damaged_image_still_fails() {
    let google = Google::start();
    let mut bytes = image();
    let gzip = bytes
        .windows(3)
        .position(|part| part == [0x1f, 0x8b, 0x08])
        .unwrap();
    bytes[gzip + 20] ^= 1;
    let outcome = skipping_push(&google)
        .file("image.tar", bytes)
        .fails_with(1);
    assert!(outcome.error().contains("sha256:"), "{}", outcome.stderr);
}

#[test]
fn incomplete_credentials_still_fail() {
    let google = Google::start();
    let provider = github_provider(&google);
    let halves = [
        skipping_push(&google).set("workload_identity_provider", &provider),
        skipping_push(&google).set("service_account", ACCOUNT),
        skipping_push(&google).set("credentials_json", "{}"),
        skipping_push(&google).variable("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere"),
    ];
    for half in halves {
        half.fails_with(2);
    }
    let token = google.standin.access_token(ACCOUNT);
    google.standin.expire_tokens();
    skipping_push(&google)
        .set("access_token", token)
        .fails_with(3);
}

/// A workflow's run for a pull request from this repository.
fn for_a_pull_request(google: &Google, from: &serde_json::Value, actor: &str) -> Run {
    let event = json!({"pull_request": {"head": {"repo": from}}});
    let run = skipping_push(google).file("event.json", event.to_string());
    let path = run.path().join("event.json").display().to_string();
    run.set("workload_identity_provider", github_provider(google))
        .set("service_account", ACCOUNT)
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_ACTOR", actor)
        .variable("GITHUB_REPOSITORY", "acme/shop")
        .variable("GITHUB_EVENT_NAME", "pull_request")
        .variable("GITHUB_EVENT_PATH", path)
}

#[test]
fn provider_without_oidc_url_is_skipped_for_forks() {
    let google = Google::start();
    let fork = json!({"full_name": "mallory/shop"});
    let same_repository = json!({"full_name": "acme/shop"});
    for (from, actor) in [
        (&fork, "mallory"),
        (&json!(null), "mallory"),
        (&same_repository, "dependabot[bot]"),
    ] {
        for_a_pull_request(&google, from, actor).succeeds();
    }
    // Within the repository itself it is an incomplete sign-in.
    for_a_pull_request(&google, &same_repository, "ada").fails_with(2);
    // Without `skip` it is an error that names forks.
    let outcome = for_a_pull_request(&google, &fork, "mallory")
        .set("missing_credentials", "fail")
        .set("log_format", "plain")
        .fails_with(2);
    assert!(outcome.error().contains("forks"), "{}", outcome.stderr);
    assert!(google.is_untouched());
}

/// A run in GitHub Actions for this event, without any credential.
fn in_github(google: &Google, event: &str, content: &serde_json::Value) -> Run {
    let run = skipping_push(google).file("event.json", content.to_string());
    let path = run.path().join("event.json").display().to_string();
    run.variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_REPOSITORY", "acme/shop")
        .variable("GITHUB_EVENT_NAME", event)
        .variable("GITHUB_EVENT_PATH", path)
        .set("log_format", "plain")
}

#[test]
fn missing_secret_fails_where_secrets_are_expected() {
    let google = Google::start();
    let same_repository = json!({"repository": {"fork": false}, "pull_request": {"head": {"repo": {"full_name": "acme/shop"}}}});
    for event in ["push", "schedule", "pull_request", "workflow_dispatch"] {
        in_github(&google, event, &same_repository).fails_with(3);
    }
    let protected = skipping_push(&google)
        .variable("GITLAB_CI", "true")
        .variable("CI_COMMIT_REF_PROTECTED", "true")
        .set("log_format", "plain");
    protected.fails_with(3);
    let outcome = in_github(&google, "push", &same_repository).fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
    error: there is no credential for `gcr.io`

    hint: set `credentials_json` to a service-account key from a secret, or use no key: add `permissions: id-token: write` and `contents: read` to the job, and set `workload_identity_provider`
    hint: `missing_credentials: skip` is only for runs that get no secrets, such as those for pull requests from forks; this run, for `push`, gets secrets
    hint: a secret is empty if its name is misspelled, if the job lacks the secret's `environment`, and in pull requests from forks and from Dependabot
    ");
    assert!(google.is_untouched());
}

#[test]
fn image_is_checked_where_no_secrets_are_given() {
    let google = Google::start();
    let fork = json!({"repository": {"fork": false}, "pull_request": {"head": {"repo": {"full_name": "mallory/shop"}}}});
    in_github(&google, "pull_request", &fork).succeeds();
    in_github(&google, "push", &json!({"repository": {"fork": true}})).succeeds();
    in_github(&google, "push", &json!({"repository": {"fork": false}}))
        .variable("GITHUB_ACTOR", "dependabot[bot]")
        .succeeds();
    let outcome = skipping_push(&google)
        .variable("GITLAB_CI", "true")
        .variable("CI_COMMIT_REF_PROTECTED", "false")
        .succeeds();
    // Outside of the section that GitLab folds.
    let end = outcome.stderr.rfind("section_end").unwrap_or_default();
    let notice = outcome.stderr.find("nothing was pushed").unwrap();
    assert!(notice > end, "{}", outcome.stderr);
}

#[test]
fn missing_credential_advice_fits_the_ci() {
    let google = Google::start();
    let place = |variable: &str| {
        let run = push(&google).variable(variable, "true");
        run.set("log_format", "plain").fails_with(3).error()
    };
    insta::assert_snapshot!(place("NOTHING"), @"
    error: there is no credential for `gcr.io`

    hint: log in as yourself with `gcloud auth application-default login`, or for an hour with `export GCR_PUSH_ACCESS_TOKEN=$(gcloud auth print-access-token)`
    hint: a CI job has no such login: set `credentials_json` to a service-account key, or sign in without a key with `workload_identity_provider`
    ");
    insta::assert_snapshot!(place("GITHUB_ACTIONS"), @"
    error: there is no credential for `gcr.io`

    hint: set `credentials_json` to a service-account key from a secret, or use no key: add `permissions: id-token: write` and `contents: read` to the job, and set `workload_identity_provider`
    hint: a secret is empty if its name is misspelled, if the job lacks the secret's `environment`, and in pull requests from forks and from Dependabot
    hint: for pull requests from forks, set `missing_credentials: skip`: it checks the image and pushes nothing
    ");
    insta::assert_snapshot!(place("GITLAB_CI"), @"
    error: there is no credential for `gcr.io`

    hint: set GCR_PUSH_CREDENTIALS_JSON to a service-account key in Settings > CI/CD > Variables, or use no key: add `id_tokens: {GCR_PUSH_OIDC_TOKEN: {aud: https://gitlab.com}}` to the job, and set GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER
    hint: a protected variable is set only on protected branches and tags, and a variable of an environment only in jobs of that environment; pipelines from forks have neither
    hint: for merge requests from forks, set `missing_credentials: skip`: it checks the image and pushes nothing
    ");
    insta::assert_snapshot!(place("CI"), @"
    error: there is no credential for `gcr.io`

    hint: set `credentials_json` to a service-account key, or set `access_token`, or set `workload_identity_provider` and put the CI's OIDC token in `oidc_token`; a secret is empty if its name is misspelled, or if this job is not allowed to read it
    hint: for pull requests from forks, set `missing_credentials: skip`: it checks the image and pushes nothing
    ");
}
