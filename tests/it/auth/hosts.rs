//! Logins for registries that are not Google's: each goes to its own host, and to no other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use standin::{Behaviour, PlainAuth, Standin};

use super::image;
use crate::support::images::{Layout, Packed, Picture};
use crate::support::run::Run;

/// A registry that asks `robot` for a password, under these names.
fn registry(names: &[&str]) -> Standin {
    let mut builder = Standin::builder().behaviour(Behaviour {
        plain_auth: PlainAuth::Basic,
        ..Behaviour::default()
    });
    for name in names {
        builder = builder.name(name);
    }
    let standin = builder.start();
    standin.basic_user("robot", "hunter2-hunter2-hunter2");
    standin
}

fn push(standin: &Standin, to: &str) -> Run {
    Run::new()
        .variable("HTTPS_PROXY", standin.proxy_url())
        .set("ca_certificates", standin.ca_pem())
        .file("image.tar", image())
        .set("image", "image.tar")
        .set("tags", to)
}

fn config(host: &str) -> String {
    let auth = STANDARD.encode("robot:hunter2-hunter2-hunter2");
    json!({"auths": {host: {"auth": auth}}}).to_string()
}

#[test]
fn a_login_is_found_in_every_docker_config_that_other_tools_read() {
    let standin = registry(&["registry.example"]);
    let to = "registry.example/app:1";
    let text = config("registry.example");
    let with_path = |variable: &str, file: &str, path: &str| {
        let run = push(&standin, to).file(file, &text);
        let path = run.path().join(path).display().to_string();
        run.variable(variable, path)
    };
    let runs = [
        push(&standin, to).set("docker_config", &text),
        push(&standin, to).variable("DOCKER_AUTH_CONFIG", &text),
        with_path("DOCKER_CONFIG", "docker/config.json", "docker"),
        with_path("REGISTRY_AUTH_FILE", "auth.json", "auth.json"),
        with_path("HOME", "home/.docker/config.json", "home"),
    ];
    for run in runs {
        run.succeeds();
    }
    // What names another host is passed over for what names this one.
    push(&standin, to)
        .variable("DOCKER_AUTH_CONFIG", config("elsewhere.example"))
        .file("auth.json", &text)
        .variable("REGISTRY_AUTH_FILE", "auth.json")
        .succeeds();
    let outcome = push(&standin, to)
        .variable("DOCKER_AUTH_CONFIG", config("elsewhere.example"))
        .fails_with(3);
    assert!(outcome.error().contains("401"), "{}", outcome.stderr);
}

#[test]
fn a_login_that_a_helper_keeps_is_refused_by_name() {
    let standin = registry(&["registry.example"]);
    let run = push(&standin, "registry.example/app:1").variable(
        "DOCKER_AUTH_CONFIG",
        r#"{"credHelpers": {"registry.example": "ecr-login"}}"#,
    );
    insta::assert_snapshot!(run.fails_with(3).error(), @"
    error: could not take the login from the Docker config in `DOCKER_AUTH_CONFIG`
      caused by: the login for `registry.example` is kept by the credential helper `docker-credential-ecr-login`, which gcr-push does not run

    hint: log in with a password that stands in the file itself, or give Google hosts `credentials_json`: in a container the helper for `registry.example` is not there
    ");
}

#[test]
fn a_login_that_a_helper_keeps_for_the_home_s_docker_config_is_passed_over() {
    let standin = registry(&["registry.example"]);
    let helped = r#"{"auths": {"registry.example": {}}, "credsStore": "desktop"}"#;
    let run = push(&standin, "registry.example/app:1").file("home/.docker/config.json", helped);
    let home = run.path().join("home").display().to_string();
    let outcome = run.variable("HOME", home).fails_with(3);
    assert!(outcome.error().contains("401"), "{}", outcome.stderr);
    let told = outcome.stderr.lines().find(|line| line.contains("helper"));
    insta::assert_snapshot!(told.unwrap(), @" WARN the login for `registry.example` is kept by the credential helper `docker-credential-desktop`, which gcr-push does not run: going on without (`~/.docker/config.json`)");
}

#[test]
fn gitlab_s_job_has_a_login_for_its_own_registry_alone() {
    let standin = registry(&["registry.gitlab.example", "other.example"]);
    let in_job = |run: Run| {
        run.variable("CI_REGISTRY", "registry.gitlab.example")
            .variable("CI_REGISTRY_USER", "robot")
            .variable("CI_REGISTRY_PASSWORD", "hunter2-hunter2-hunter2")
    };
    in_job(push(&standin, "registry.gitlab.example/acme/app:1")).succeeds();
    standin.clear_requests();
    in_job(push(&standin, "other.example/acme/app:1")).fails_with(3);
    let requests = standin.requests();
    assert!(requests.iter().all(|one| one.authorization.is_none()));
}

#[test]
fn github_s_token_opens_ghcr_io_alone() {
    let standin = registry(&["ghcr.io", "other.example"]);
    standin.basic_user("octocat", "ghs_hunter2hunter2hunter2");
    let in_job = |run: Run| {
        run.set("github_token", "ghs_hunter2hunter2hunter2")
            .variable("GITHUB_ACTOR", "octocat")
    };
    in_job(push(&standin, "ghcr.io/acme/app:1")).succeeds();
    standin.clear_requests();
    in_job(push(&standin, "other.example/acme/app:1")).fails_with(3);
    let requests = standin.requests();
    assert!(requests.iter().all(|one| one.authorization.is_none()));
}

/// An image in the registry, to be read from there.
fn stored(standin: &Standin, host: &str) {
    let mut layout = Layout::default();
    let manifest = layout.image(&Picture::new("app", 1), Packed::Gzip);
    layout.list(&manifest, Some("app:1"));
    let run = push(standin, &format!("{host}/app:1"))
        .file("image.tar", layout.archive())
        .set("docker_config", config(host));
    run.succeeds();
    standin.clear_requests();
}

#[test]
fn the_login_of_the_source_goes_to_the_host_of_the_image_and_no_other() {
    let standin = registry(&["source.example", "target.example"]);
    stored(&standin, "source.example");
    let copy = || {
        push(&standin, "target.example/app:1")
            .set("image", "docker://source.example/app:1")
            .set("source_username", "robot")
            .set("source_password", "hunter2-hunter2-hunter2")
    };
    copy().fails_with(3);
    let requests = standin.requests();
    let shown = |host: &str| {
        let mut of_host = requests.iter().filter(|one| one.host == host);
        of_host.any(|one| one.authorization.is_some())
    };
    assert!(!shown("target.example"));
    copy()
        .set("docker_config", config("target.example"))
        .succeeds();
    let requests = standin.requests();
    assert!(
        requests.iter().any(|one| one.host == "source.example"
            && one.authorization.as_deref() == Some("Basic robot"))
    );
}

#[test]
fn half_of_a_source_s_login_or_one_without_a_source_is_told() {
    let standin = registry(&[]);
    let run = push(&standin, "localhost:5000/app:1")
        .set("image", "docker://source.example/app:1")
        .set("source_username", "robot");
    insta::assert_snapshot!(run.fails_with(2).error(), @"
    error: an input is missing
      `source_password`: `source_username` is half of a login (GCR_PUSH_SOURCE_PASSWORD)

    hint: `gcr-push --help` tells what every variable means
    ");
    let run = push(&standin, "localhost:5000/app:1")
        .set("source_username", "robot")
        .set("source_password", "hunter2");
    insta::assert_snapshot!(run.fails_with(2).error(), @"
    error: an input cannot be used
      `source_username`: it is for the registry of `image`, and `image.tar` is of none (GCR_PUSH_SOURCE_USERNAME)

    hint: `gcr-push --help` tells what every variable means
    ");
}
