//! `gcr-push doctor`: the table of checks, and the fix that each failed check names.

use standin::{Behaviour, Fault, FaultAction, NotMigrated, RequestKind};

use crate::mirror::{PLAIN, seed};
use crate::support::docker_registry::{DockerRegistry, PASSWORD, USER};
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::{Outcome, Run};

const NUMBER: &str = "123456789012";
const WRITER: &str = "roles/artifactregistry.createOnPushWriter";

fn doctor(google: &Google) -> Run {
    google
        .with_environment(Run::command("doctor"))
        .set("credentials_json", &google.key)
}

/// The table and the errors, without the expiry of a token.
fn read(outcome: &Outcome) -> String {
    let mut text = outcome.stdout.clone();
    if let Some(start) = outcome.stderr.find("error: ") {
        text += "\n";
        text += &outcome.stderr[start..];
    }
    let mut scrubbed = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(", valid until 2") {
        let (before, after) = rest.split_at(at + ", valid until ".len());
        scrubbed += before;
        scrubbed += "[TIME]";
        rest = after.split_once('Z').unwrap().1;
    }
    outcome.scrub(&(scrubbed + rest))
}

/// Google with the project `acme` described, and no `gcr.io` repository yet.
fn google() -> Google {
    let google = Google::start();
    google.describe_project(NUMBER);
    google
}

/// The output of a failing doctor run for `gcr.io/acme/app`.
fn report_text(google: &Google, code: i32) -> String {
    let run = doctor(google).set("tags", "gcr.io/acme/app:1");
    read(&run.fails_with(code))
}

#[test]
fn healthy_setup_is_ok_for_each_destination() {
    let google = google();
    google.standin.grant(
        ACCOUNT,
        "roles/artifactregistry.writer",
        "projects/acme/locations/us/repositories/containers",
    );
    let outcome = doctor(&google)
        .set(
            "tags",
            "gcr.io/acme/app:1, us-docker.pkg.dev/acme/containers/app:1",
        )
        .set("report_file", "report.json")
        .succeeds();
    insta::assert_snapshot!(read(&outcome), @"
    CHECK       OF                                     RESULT  DETAIL
    credential  Google                                 ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        gcr.io                                 ok      it responds as a registry
    clock       gcr.io                                 ok      clock is in sync
    sign-in     gcr.io/acme/app                        ok      the registry accepts the credential
    API         acme                                   ok      Artifact Registry is enabled
    repository  gcr.io/gcr.io                          ok      it does not exist yet; the first push creates it
    host        us-docker.pkg.dev                      ok      it responds as a registry
    clock       us-docker.pkg.dev                      ok      clock is in sync
    sign-in     us-docker.pkg.dev/acme/containers/app  ok      the registry accepts the credential
    API         acme                                   ok      Artifact Registry is enabled
    repository  us-docker.pkg.dev/containers           ok      it exists
    upload      us-docker.pkg.dev/containers           ok      pushing is allowed
    download    us-docker.pkg.dev/containers           ok      pulling and listing are allowed
    ");
    let report: serde_json::Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["result"] == "ok"));
    // Nothing was written anywhere.
    let requests = google.standin.requests();
    let wrote =
        |one: &&standin::Request| !matches!(one.method.as_str(), "GET" | "HEAD" | "CONNECT");
    let mut written = requests.iter().filter(wrote);
    assert!(written.all(
        |one| one.kind == RequestKind::OAuthToken || one.path.ends_with(":testIamPermissions")
    ));
}

#[test]
fn missing_credential_is_reported() {
    let google = google();
    let run = google
        .with_environment(Run::command("doctor"))
        .set("tags", "gcr.io/acme/app:1");
    insta::assert_snapshot!(read(&run.fails_with(3)), @"
    CHECK       OF      RESULT  DETAIL
    credential  gcr.io  failed  there is no credential for `gcr.io`

    error: there is no credential for `gcr.io`

    hint: log in as yourself with `gcloud auth application-default login`, or for an hour with `export GCR_PUSH_ACCESS_TOKEN=$(gcloud auth print-access-token)`
    hint: a CI job has no such login: set `credentials_json` to a service-account key, or sign in without a key with `workload_identity_provider`
    ");
}

#[test]
fn expired_token_is_reported() {
    let google = google();
    let token = google.standin.access_token(ACCOUNT);
    google.standin.expire_tokens();
    let run = google
        .with_environment(Run::command("doctor"))
        .set("access_token", token)
        .set("tags", "gcr.io/acme/app:1");
    insta::assert_snapshot!(read(&run.fails_with(3)), @"
    CHECK       OF               RESULT  DETAIL
    credential  Google           ok      as the token's owner, with the token from `access_token`, its expiry is not known
    host        gcr.io           ok      it responds as a registry
    clock       gcr.io           ok      clock is in sync
    sign-in     gcr.io/acme/app  failed  authentication failed

    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push: 401 UNAUTHORIZED
      caused by: authentication failed

    hint: `access_token` is invalid or has expired; it is valid for at most one hour: use `credentials_json` (a service-account key) or `workload_identity_provider`, which gcr-push renews
    ");
}

#[test]
fn token_owner_and_expiry_are_shown() {
    let google = google();
    let run = google
        .with_environment(Run::command("doctor"))
        .set("access_token", google.standin.access_token(ACCOUNT))
        .set("tags", "eu.gcr.io/acme/app:1");
    let report = read(&run.run());
    insta::assert_snapshot!(report.lines().nth(1).unwrap(), @"credential  Google               ok      as the token's owner, with the token from `access_token` of `ci@acme.iam.gserviceaccount.com`, valid until [TIME]");
}

#[test]
fn deleted_key_is_reported() {
    let google = google();
    google.standin.delete_keys(ACCOUNT);
    insta::assert_snapshot!(report_text(&google, 3), @"
    CHECK       OF      RESULT  DETAIL
    credential  Google  failed  Invalid JWT Signature.

    error: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 400 invalid_grant
      caused by: Invalid JWT Signature.

    hint: this key was deleted, or belongs to another account: create a new one with `gcloud iam service-accounts keys create key.json --iam-account=ci@acme.iam.gserviceaccount.com`
    ");
}

#[test]
fn missing_role_is_reported_with_its_binding() {
    let google = google();
    google.standin.revoke(ACCOUNT, WRITER, "projects/acme");
    google.standin.grant(
        ACCOUNT,
        "roles/artifactregistry.reader",
        "projects/acme/locations/us/repositories/containers",
    );
    let run = doctor(&google).set("tags", "us-docker.pkg.dev/acme/containers/app:1");
    insta::assert_snapshot!(read(&run.fails_with(3)), @"
    CHECK       OF                                     RESULT  DETAIL
    credential  Google                                 ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        us-docker.pkg.dev                      ok      it responds as a registry
    clock       us-docker.pkg.dev                      ok      clock is in sync
    sign-in     us-docker.pkg.dev/acme/containers/app  ok      the registry accepts the credential
    API         acme                                   ok      Artifact Registry is enabled
    repository  us-docker.pkg.dev/containers           ok      it exists
    upload      us-docker.pkg.dev/containers           failed  pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`
    download    us-docker.pkg.dev/containers           ok      pulling and listing are allowed

    error: pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`; it takes effect within minutes
    ");
}

#[test]
fn account_without_permissions_is_reported_with_its_role() {
    let google = google();
    google.standin.revoke(ACCOUNT, WRITER, "projects/acme");
    let run = doctor(&google).set("tags", "us-docker.pkg.dev/acme/containers/app:1");
    insta::assert_snapshot!(read(&run.fails_with(3)), @"
    CHECK       OF                                     RESULT  DETAIL
    credential  Google                                 ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        us-docker.pkg.dev                      ok      it responds as a registry
    clock       us-docker.pkg.dev                      ok      clock is in sync
    sign-in     us-docker.pkg.dev/acme/containers/app  ok      the registry accepts the credential
    repository  us-docker.pkg.dev/containers           note    not checked: Permission 'artifactregistry.repositories.get' denied on resource 'projects/acme/locations/us/repositories/containers' (or it may not exist).
    upload      us-docker.pkg.dev/containers           failed  pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    error: pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`; it takes effect within minutes
    hint: if the repository does not exist, create it: `gcloud artifacts repositories create containers --repository-format=docker --location=us --project=acme`
    ");
}

#[test]
fn disabled_api_is_reported() {
    let google = google();
    google.standin.change_project("acme", |project| {
        project.services.remove("artifactregistry.googleapis.com");
    });
    insta::assert_snapshot!(report_text(&google, 1), @"
    CHECK       OF               RESULT  DETAIL
    credential  Google           ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        gcr.io           ok      it responds as a registry
    clock       gcr.io           ok      clock is in sync
    sign-in     gcr.io/acme/app  ok      the registry accepts the credential
    API         123456789012     failed  the Artifact Registry API is not enabled in `123456789012`

    error: the Artifact Registry API is not enabled in `123456789012`

    hint: enable it: `gcloud services enable artifactregistry.googleapis.com --project=123456789012`; it takes effect within minutes
    ");
}

#[test]
fn missing_repository_is_reported_with_its_namesakes() {
    let google = google();
    let run = doctor(&google).set("tags", "asia-docker.pkg.dev/acme/containers/app:1");
    insta::assert_snapshot!(read(&run.fails_with(1)), @"
    CHECK       OF                                       RESULT  DETAIL
    credential  Google                                   ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        asia-docker.pkg.dev                      ok      it responds as a registry
    clock       asia-docker.pkg.dev                      ok      clock is in sync
    sign-in     asia-docker.pkg.dev/acme/containers/app  ok      the registry accepts the credential
    API         acme                                     ok      Artifact Registry is enabled
    repository  asia-docker.pkg.dev/containers           failed  there is no repository `containers` in the location `asia` of `acme`

    error: there is no repository `containers` in the location `asia` of `acme`

    hint: a repository with this name exists in `us`: push to `us-docker.pkg.dev/acme/containers`
    hint: create it: `gcloud artifacts repositories create containers --repository-format=docker --location=asia --project=acme`
    ");
    let run = doctor(&google).set("tags", "us-docker.pkg.dev/acme/nothing/app:1");
    insta::assert_snapshot!(read(&run.fails_with(1)), @"
    CHECK       OF                                  RESULT  DETAIL
    credential  Google                              ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        us-docker.pkg.dev                   ok      it responds as a registry
    clock       us-docker.pkg.dev                   ok      clock is in sync
    sign-in     us-docker.pkg.dev/acme/nothing/app  ok      the registry accepts the credential
    API         acme                                ok      Artifact Registry is enabled
    repository  us-docker.pkg.dev/nothing           failed  there is no repository `nothing` in the location `us` of `acme`

    error: there is no repository `nothing` in the location `us` of `acme`

    hint: create it: `gcloud artifacts repositories create nothing --repository-format=docker --location=us --project=acme`
    ");
}

#[test]
fn gcr_io_repository_not_creatable_by_push_is_reported() {
    let google = google();
    google.standin.revoke(ACCOUNT, WRITER, "projects/acme");
    google
        .standin
        .grant(ACCOUNT, "roles/artifactregistry.writer", "projects/acme");
    insta::assert_snapshot!(report_text(&google, 1), @"
    CHECK       OF               RESULT  DETAIL
    credential  Google           ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        gcr.io           ok      it responds as a registry
    clock       gcr.io           ok      clock is in sync
    sign-in     gcr.io/acme/app  ok      the registry accepts the credential
    API         acme             ok      Artifact Registry is enabled
    repository  gcr.io/gcr.io    failed  there is no repository `gcr.io` in the location `us` of `acme`

    error: there is no repository `gcr.io` in the location `us` of `acme`

    hint: create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    hint: or allow the push to create it: `gcloud projects add-iam-policy-binding acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.createOnPushWriter --condition=None`
    ");
}

#[test]
fn unmigrated_project_is_reported() {
    let google = Google::with(Behaviour {
        not_migrated: NotMigrated::TokenAndManifests,
        ..Behaviour::default()
    });
    insta::assert_snapshot!(report_text(&google, 1), @"
    CHECK       OF               RESULT  DETAIL
    credential  Google           ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        gcr.io           ok      it responds as a registry
    clock       gcr.io           ok      clock is in sync
    sign-in     gcr.io/acme/app  failed  Container Registry is deprecated and shutting down, please use the auto migration tool to migrate to Artifact Registry (gcloud artifacts docker upgrade migrate --projects='acme'). For more details see: https://cloud.google.com/artifact-registry/docs/transition/auto-migrate-gcr-ar

    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push: 412 Precondition Failed
      caused by: Container Registry is deprecated and shutting down, please use the auto migration tool to migrate to Artifact Registry (gcloud artifacts docker upgrade migrate --projects='acme'). For more details see: https://cloud.google.com/artifact-registry/docs/transition/auto-migrate-gcr-ar

    hint: the gcr.io names of `acme` were never moved to Artifact Registry: run `gcloud artifacts docker upgrade migrate --projects=acme --quiet`, or push to a `LOCATION-docker.pkg.dev` host
    ");
}

#[test]
fn path_without_repository_is_reported() {
    let google = google();
    let run = doctor(&google).set("tags", "us-docker.pkg.dev/acme/app:1");
    insta::assert_snapshot!(read(&run.fails_with(2)), @"

    error: an input cannot be used
      `tags`: image name `acme/app` is not valid: on pkg.dev an image is named `PROJECT/REPOSITORY/NAME` (GCR_PUSH_TAGS)

    hint: `gcr-push doctor --help` describes every variable
    ");
}

#[test]
fn unreachable_host_is_reported() {
    let google = google();
    let fault = Fault::always(RequestKind::Connect, FaultAction::status(403)).at("eu.gcr.io");
    google.standin.fault(fault);
    let run = doctor(&google).set("tags", "eu.gcr.io/acme/app:1");
    insta::assert_snapshot!(read(&run.fails_with(4)), @"
    CHECK       OF         RESULT  DETAIL
    credential  Google     ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host        eu.gcr.io  failed  tunnel error: unsuccessful

    error: could not connect to `eu.gcr.io`
      caused by: GET https://eu.gcr.io/v2/
      caused by: tunnel error: unsuccessful

    hint: the proxy in `HTTPS_PROXY` does not connect to `eu.gcr.io`: ask its administrator to allow it, or add the host to `NO_PROXY`
    ");
}

#[test]
fn wrong_clock_is_reported() {
    let google = google();
    let action = FaultAction::Header {
        name: "date".to_owned(),
        value: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
    };
    google
        .standin
        .fault(Fault::always(RequestKind::Ping, action));
    let run = doctor(&google).set("tags", "gcr.io/acme/app:1");
    let outcome = run.fails_with(1);
    let (before, after) = outcome
        .stderr
        .split_once("the clock of this machine is ")
        .unwrap();
    let (_, after) = after.split_once(" s ").unwrap();
    assert!(before.ends_with("error: "));
    insta::assert_snapshot!(after, @"
    ahead of that of `gcr.io`

    hint: set the clock: Google refuses a signature if the clock is wrong by more than a few minutes
    ");
}

#[test]
fn impossible_check_is_a_note() {
    let google = google();
    // Google's APIs cannot be reached from here; the registry can.
    let fault = Fault::always(RequestKind::Connect, FaultAction::status(403))
        .at("artifactregistry.googleapis.com");
    google.standin.fault(fault);
    let run = doctor(&google).set("tags", "gcr.io/acme/app:1");
    insta::assert_snapshot!(read(&run.succeeds()), @"
    CHECK        OF               RESULT  DETAIL
    credential   Google           ok      as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`, valid until [TIME]
    host         gcr.io           ok      it responds as a registry
    clock        gcr.io           ok      clock is in sync
    sign-in      gcr.io/acme/app  ok      the registry accepts the credential
    repository   gcr.io/gcr.io    note    not checked: GET https://artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io: tunnel error: unsuccessful
    permissions  gcr.io/gcr.io    note    not checked: POST https://artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io:testIamPermissions: tunnel error: unsuccessful
    ");
}

#[test]
fn other_registry_is_checked_as_far_as_possible() {
    let google = google();
    let address = google.standin.plain_address();
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    seed(&google.standin, PLAIN, "app", &layout, &root, "1");
    let run = Run::command("doctor")
        .set("image", format!("docker://{address}/app:1"))
        .set("tags", format!("{address}/other:1"));
    insta::assert_snapshot!(read(&run.succeeds()), @"
    CHECK       OF                     RESULT  DETAIL
    credential  127.0.0.1:[PORT]        ok      anonymously
    host        127.0.0.1:[PORT]        ok      it responds as a registry
    sign-in     127.0.0.1:[PORT]/other  ok      the registry accepts the credential
    upload      127.0.0.1:[PORT]/other  ok      pushing is allowed
    credential  127.0.0.1:[PORT]        ok      anonymously
    host        127.0.0.1:[PORT]        ok      it responds as a registry
    image       127.0.0.1:[PORT]/app:1  ok      it can be read
    ");
}

#[test]
fn wrong_or_missing_password_is_reported() {
    let registry = DockerRegistry::with_login();
    let address = registry.address();
    let wrong = run_with_login(address, "wrong");
    insta::assert_snapshot!(read(&wrong.fails_with(3)), @"
    CHECK       OF                   RESULT  DETAIL
    credential  127.0.0.1:[PORT]      ok      as `robot`, with `docker_config`
    host        127.0.0.1:[PORT]      ok      it responds as a registry
    sign-in     127.0.0.1:[PORT]/app  failed  authentication required

    error: could not sign in to `127.0.0.1:[PORT]`
      caused by: POST http://127.0.0.1:[PORT]/v2/app/blobs/uploads/: 401 UNAUTHORIZED
      caused by: authentication required

    hint: the registry does not accept the password of `robot` from `docker_config`
    ");
    let none = Run::command("doctor")
        .set("tags", format!("{address}/app:1"))
        .fails_with(3);
    assert!(
        none.stdout.contains("sign-in     127.0.0.1"),
        "{}",
        none.stdout
    );
    assert!(
        !none.stdout.contains("accepts the credential"),
        "{}",
        none.stdout
    );
    let right = run_with_login(address, PASSWORD).succeeds();
    assert!(
        right.stdout.contains("pushing is allowed"),
        "{}",
        right.stdout
    );
    assert!(registry.is_untouched());
}

/// The doctor with a Docker config's login for a registry.
fn run_with_login(address: &str, password: &str) -> Run {
    use base64::Engine as _;
    let auth = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{password}"));
    let config = serde_json::json!({"auths": {address: {"auth": auth}}});
    Run::command("doctor")
        .set("docker_config", config.to_string())
        .set("tags", format!("{address}/app:1"))
}

#[test]
fn local_image_is_checked() {
    let registry = DockerRegistry::start();
    let run = |image: &str| {
        Run::command("doctor")
            .file("image.tar", layout_archive())
            .file("notes.txt", "no image")
            .set("image", image)
            .set("tags", format!("{}/app:1", registry.address()))
    };
    let good = run("image.tar").succeeds();
    assert!(
        good.stdout.contains("image       image.tar"),
        "{}",
        good.stdout
    );
    let bad = run("notes.txt").fails_with(2);
    assert!(bad.stdout.contains("failed"), "{}", bad.stdout);
    let none = run("nothing.tar").run();
    assert_ne!(none.code, 0);
    assert!(
        none.stdout.contains("pushing is allowed"),
        "{}",
        none.stdout
    );
    // A source registry is read as well.
    let source = format!("docker://{}/nothing:1", registry.address());
    let missing = run(&source).fails_with(2);
    assert!(missing.error().contains("nothing:1"), "{}", missing.stderr);
}

fn layout_archive() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

/// Google's refusal for a disabled API in a project that is named by its number.
fn api_off(number: &str) -> FaultAction {
    let body = serde_json::json!({"error": {
        "code": 403, "status": "PERMISSION_DENIED",
        "message": format!("Artifact Registry API has not been used in project {number} before or \
                            it is disabled."),
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
            "metadata": {"service": "artifactregistry.googleapis.com", "consumer": format!("projects/{number}")}}],
    }});
    FaultAction::Status {
        code: 403,
        retry_after: None,
        body: Some(body.to_string()),
        headers: Vec::new(),
    }
}

#[test]
fn disabled_api_known_from_permission_test_alone_fails() {
    let google = google();
    let off = Fault::always(RequestKind::Api, api_off("777"));
    google.standin.fault(off.path(":testIamPermissions"));
    google.standin.grant(
        ACCOUNT,
        "roles/artifactregistry.writer",
        "projects/acme/locations/us/repositories/containers",
    );
    let run = doctor(&google).set("tags", "us-docker.pkg.dev/acme/containers/app:1");
    let report = read(&run.fails_with(1));
    assert!(report.contains("not enabled in `777`"), "{report}");
    assert!(report.contains("--project=777"), "{report}");
}

#[test]
fn user_token_is_reported_with_the_user_binding() {
    let google = google();
    let run = google
        .with_environment(Run::command("doctor"))
        .set(
            "access_token",
            google.standin.access_token("ann@example.com"),
        )
        .set("tags", "us-docker.pkg.dev/acme/containers/app:1");
    let report = read(&run.fails_with(3));
    assert!(report.contains("--member=user:ann@example.com"), "{report}");
    assert!(!report.contains("ACCOUNT"), "{report}");
}

#[test]
fn interrupted_run_reports_its_progress() {
    let google = google();
    let stall = Fault::always(RequestKind::Token, FaultAction::StallResponseAt(0));
    google.standin.fault(stall);
    let running = doctor(&google).set("tags", "gcr.io/acme/app:1").start();
    google.standin.wait_for(|requests| {
        requests
            .iter()
            .any(|request| request.kind == RequestKind::Token)
    });
    running.signal("TERM");
    let outcome = running.wait();
    assert_eq!(
        outcome.error().lines().next().unwrap(),
        "error: stopped by SIGTERM while checking `gcr.io/acme/app`, after 3 checks"
    );
}

#[test]
fn push_checks_permissions_before_uploading() {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    let google = google();
    let push = |tag: &str| {
        google
            .run()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set(
                "tags",
                format!("us-docker.pkg.dev/acme/containers/app:{tag}"),
            )
    };
    push("1").succeeds();
    let api = |one: &&standin::Request| one.kind == RequestKind::Api;
    assert_eq!(google.standin.requests().iter().filter(api).count(), 1);

    google.standin.clear_requests();
    google.standin.revoke(ACCOUNT, WRITER, "projects/acme");
    google
        .standin
        .grant(ACCOUNT, "roles/artifactregistry.reader", "projects/acme");
    insta::assert_snapshot!(push("2").fails_with(3).error(), @"
    error: pushing to `containers` in `us` of `acme` is not allowed as `ci@acme.iam.gserviceaccount.com`

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding containers --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`; it takes effect within minutes
    ");
    let requests = google.standin.requests();
    let sent = |one: &&standin::Request| one.kind == RequestKind::UploadStart;
    assert_eq!(requests.iter().filter(sent).count(), 0);

    // If that check cannot be made, the registry's own answer decides.
    let fault = Fault::always(RequestKind::Connect, FaultAction::status(403))
        .at("artifactregistry.googleapis.com");
    google.standin.fault(fault);
    let outcome = push("2").fails_with(3);
    let refusal = r#"Permission "artifactregistry.repositories.uploadArtifacts" denied on resource "projects/acme/locations/us/repositories/containers" (or it may not exist)"#;
    assert!(outcome.error().contains(refusal), "{}", outcome.stderr);
}
