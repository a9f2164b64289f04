//! Logins for registries other than Google's: each is sent to its own host only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use standin::{Behaviour, PlainAuth, Standin};

use super::image;
use crate::support::images::{LayerCompression, Layout, TestImage};
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
fn login_is_found_in_every_known_docker_config() {
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
    // A login for another host is skipped in favour of one for this host.
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
fn login_kept_by_a_missing_helper_is_reported() {
    let standin = registry(&["registry.example"]);
    let run = push(&standin, "registry.example/app:1").variable(
        "DOCKER_AUTH_CONFIG",
        r#"{"credHelpers": {"registry.example": "ecr-login"}}"#,
    );
    insta::assert_snapshot!(run.fails_with(3).error(), @"
    error: could not read the login from the Docker config in `DOCKER_AUTH_CONFIG`
      caused by: the login for `registry.example` is in the credential helper `docker-credential-ecr-login`, which is not on PATH

    hint: put a password in the file itself, or set `credentials_json` for Google hosts: a container does not have the helper for `registry.example`
    ");
}

#[test]
fn missing_helper_of_home_docker_config_is_a_warning() {
    let standin = registry(&["registry.example"]);
    let helped = r#"{"auths": {"registry.example": {}}, "credsStore": "desktop"}"#;
    let run = push(&standin, "registry.example/app:1").file("home/.docker/config.json", helped);
    let home = run.path().join("home").display().to_string();
    let outcome = run.variable("HOME", home).fails_with(3);
    assert!(outcome.error().contains("401"), "{}", outcome.stderr);
    let message = outcome.stderr.lines().find(|line| line.contains("helper"));
    insta::assert_snapshot!(message.unwrap(), @" WARN the login for `registry.example` is in the \
        credential helper `docker-credential-desktop`, which is not on PATH: continuing without \
        this login (`~/.docker/config.json`)");
}

#[test]
fn gitlab_job_login_is_used_for_its_registry_only() {
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
fn github_token_is_used_for_ghcr_io_only() {
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

/// Puts an image into the registry, as a source.
fn stored(standin: &Standin, host: &str) {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    let run = push(standin, &format!("{host}/app:1"))
        .file("image.tar", layout.archive())
        .set("docker_config", config(host));
    run.succeeds();
    standin.clear_requests();
}

#[test]
fn source_login_is_sent_to_the_source_host_only() {
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
    let login_was_sent = |host: &str| {
        let mut of_host = requests.iter().filter(|one| one.host == host);
        of_host.any(|one| one.authorization.is_some())
    };
    assert!(!login_was_sent("target.example"));
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
fn incomplete_source_login_is_reported() {
    let standin = registry(&[]);
    let run = push(&standin, "localhost:5000/app:1")
        .set("image", "docker://source.example/app:1")
        .set("source_username", "robot");
    insta::assert_snapshot!(run.fails_with(2).error(), @"
    error: an input is missing
      `source_password`: `source_username` is only half of a login (GCR_PUSH_SOURCE_PASSWORD)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = push(&standin, "localhost:5000/app:1")
        .set("source_username", "robot")
        .set("source_password", "hunter2");
    insta::assert_snapshot!(run.fails_with(2).error(), @"
    error: an input cannot be used
      `source_username`: it is for the registry of `image`, but `image.tar` is not in a registry (GCR_PUSH_SOURCE_USERNAME)

    hint: `gcr-push push --help` describes every variable
    ");
}

/// A registry whose users are restricted to their own paths, and the Docker config with their
/// logins.
fn by_path(auth: PlainAuth) -> (Standin, String) {
    let standin = Standin::builder()
        .behaviour(Behaviour {
            plain_auth: auth,
            ..Behaviour::default()
        })
        .name("quay.example")
        .start();
    let mut auths = serde_json::Map::new();
    for (path, user) in [
        ("quay.example/a", "robot-a"),
        ("quay.example/b", "robot-b"),
        ("quay.example/b/deep", "robot-deep"),
    ] {
        let password = format!("password-of-{user}");
        standin.basic_user(user, &password);
        standin.restrict_user(user, path.trim_start_matches("quay.example/"));
        let auth = STANDARD.encode(format!("{user}:{password}"));
        auths.insert(path.to_owned(), json!({"auth": auth}));
    }
    (standin, json!({"auths": auths}).to_string())
}

#[test]
fn longest_matching_path_login_is_used() {
    for auth in [PlainAuth::Basic, PlainAuth::Bearer] {
        let (standin, config) = by_path(auth);
        let to = "quay.example/a/app:1, quay.example/b/app:1, quay.example/b/deep/app:1";
        let outcome = push(&standin, to)
            .set("docker_config", &config)
            .set("verify", "blobs")
            .set("concurrency", "1")
            .succeeds();
        let signing = outcome
            .stderr
            .lines()
            .find(|line| line.contains("signing in"));
        insta::allow_duplicates! { insta::assert_snapshot!(signing.unwrap(), @" INFO signing in to quay.example as `robot-deep` for `b/deep`, with `docker_config`, as `robot-a` for `a`, with `docker_config`, as `robot-b` for `b`, with `docker_config`"); }
        let requests = standin.requests();
        let login_was_sent = |user: &str| {
            let header = format!("Basic {user}");
            let login_was_sent = requests.iter();
            login_was_sent
                .filter(|one| one.authorization.as_deref() == Some(&header))
                .count()
        };
        for user in ["robot-a", "robot-b", "robot-deep"] {
            assert!(login_was_sent(user) > 0, "{user}: {requests:#?}");
        }
        // As a source too, and for a list.
        push(&standin, "quay.example/a/copy:1")
            .set("image", "docker://quay.example/b/deep/app:1")
            .set("docker_config", &config)
            .succeeds();
        let listed = Run::command("list")
            .variable("HTTPS_PROXY", standin.proxy_url())
            .set("ca_certificates", standin.ca_pem())
            .set("image", "quay.example/b/app")
            .set("docker_config", &config)
            .succeeds();
        assert!(listed.stdout.contains('1'), "{}", listed.stdout);
        // If no login is for it, none is sent.
        standin.clear_requests();
        push(&standin, "quay.example/ab/app:1")
            .set("docker_config", &config)
            .fails_with(3);
        let requests = standin.requests();
        assert!(requests.iter().all(|one| one.authorization.is_none()));
    }
}

#[test]
fn pull_secret_uses_the_login_of_the_pushed_path() {
    let (standin, config) = by_path(PlainAuth::Bearer);
    let outcome = push(&standin, "quay.example/b/deep/app:1")
        .set("docker_config", &config)
        .set("pull_secret", "pull")
        .set("pull_secret_allow_push_key", "true")
        .set("pull_secret_format", "dockerconfigjson")
        .set("pull_secret_file", "secret.json")
        .succeeds();
    let secret: serde_json::Value = serde_json::from_str(&outcome.read("secret.json")).unwrap();
    let servers: Vec<_> = secret["auths"].as_object().unwrap().keys().collect();
    assert_eq!(servers, ["quay.example/b/deep"]);
}

#[test]
fn identity_token_is_exchanged_and_so_is_its_successor() {
    let standin = Standin::builder()
        .behaviour(Behaviour {
            plain_auth: PlainAuth::Bearer,
            ..Behaviour::default()
        })
        .name("acr.example")
        .start();
    let token = standin.identity_token("robot");
    let auth = STANDARD.encode("00000000-0000-0000-0000-000000000000:");
    let config = json!({"auths": {"acr.example": {"auth": auth, "identitytoken": token}}});
    let outcome = push(&standin, "acr.example/app:1, acr.example/other:1")
        .set("docker_config", config.to_string())
        .variable("RUST_LOG", "trace")
        .succeeds();
    for secret in standin.secrets() {
        assert!(!outcome.stderr.contains(&secret), "{}", outcome.stderr);
    }
    // It works once and is consumed by that.
    let outcome = push(&standin, "acr.example/app:1")
        .set("docker_config", config.to_string())
        .fails_with(3);
    assert!(!outcome.stderr.contains(&token), "{}", outcome.stderr);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not sign in to `acr.example`
      caused by: POST https://acr.example/token: 401 UNAUTHORIZED
      caused by: authentication failed

    hint: the registry does not accept the password of `00000000-0000-0000-0000-000000000000` from `docker_config`
    ");
}

/// The same with a credential helper on PATH.
fn with_helper(run: Run, script: &str) -> Run {
    use std::os::unix::fs::PermissionsExt as _;
    let name = "bin/docker-credential-fake";
    let run = run.file(name, format!("#!/bin/sh\n{script}\n"));
    let file = run.path().join(name);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", run.path().join("bin").display());
    run.variable("PATH", path)
}

const HELPED: &str = r#"{"credHelpers": {"registry.example": "fake"}}"#;

#[test]
fn credential_helper_on_path_is_run_once() {
    let standin = registry(&["registry.example"]);
    let answer =
        r#"{"ServerURL":"registry.example","Username":"robot","Secret":"hunter2-hunter2-hunter2"}"#;
    let script = format!(
        "env >environment; printf '%s ' \"$1\" >>asked; cat >>asked; echo noise >&2; echo \
         '{answer}'"
    );
    let run = push(&standin, "registry.example/app:1, registry.example/other:1");
    let outcome = with_helper(run, &script)
        .variable("DOCKER_AUTH_CONFIG", HELPED)
        .set("source_password", "")
        .variable("KEPT", "for the helper")
        .variable("RUST_LOG", "trace")
        .succeeds();
    assert_eq!(outcome.read("asked"), "get registry.example\n");
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    let environment = outcome.read("environment");
    assert!(environment.contains("KEPT=for the helper"), "{environment}");
    assert!(!environment.contains("GCR_PUSH_"), "{environment}");
    // A credential store is used for every host without a login of its own.
    let run = push(&standin, "registry.example/app:1");
    with_helper(run, &script)
        .variable("DOCKER_AUTH_CONFIG", r#"{"credsStore": "fake"}"#)
        .succeeds();
}

#[test]
fn failed_credential_helper_output_is_not_shown() {
    let standin = registry(&["registry.example"]);
    let error_text = |script: &str| {
        let run = push(&standin, "registry.example/app:1");
        let run = with_helper(run, script).variable("DOCKER_AUTH_CONFIG", HELPED);
        let outcome = run.fails_with(3);
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
        outcome.error()
    };
    let scripts = [
        "echo hunter2; exit 3",
        "echo hunter2",
        "while :; do echo hunter2-hunter2-hunter2-hunter2; done",
        "echo credentials not found in native keychain; exit 1",
    ];
    insta::assert_snapshot!(scripts.map(error_text).join("\n"), @"
    error: could not read the login from the Docker config in `DOCKER_AUTH_CONFIG`
      caused by: the credential helper `docker-credential-fake` did not return a login for `registry.example`: exit status: 3

    hint: see the error with `echo registry.example | docker-credential-fake get`; log in again, or set `username` and `password`

    error: could not read the login from the Docker config in `DOCKER_AUTH_CONFIG`
      caused by: the credential helper `docker-credential-fake` did not return a login for `registry.example`: it did not print JSON with a login

    hint: see the error with `echo registry.example | docker-credential-fake get`; log in again, or set `username` and `password`

    error: could not read the login from the Docker config in `DOCKER_AUTH_CONFIG`
      caused by: the credential helper `docker-credential-fake` did not return a login for `registry.example`: it printed too much

    hint: see the error with `echo registry.example | docker-credential-fake get`; log in again, or set `username` and `password`

    error: could not push to `registry.example/app:1`
      caused by: GET https://registry.example/v2/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `registry.example` in `username` and `password`, or in `docker_config`
    ");
}

#[test]
fn username_and_password_are_for_the_other_registry() {
    let standin = registry(&["registry.example", "other.example"]);
    let login = |to: &str| {
        push(&standin, to)
            .set("username", "robot")
            .set("password", "hunter2-hunter2-hunter2")
    };
    let outcome = login("registry.example/app:1, registry.example/app:2")
        .variable("RUST_LOG", "trace")
        .succeeds();
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    // The source is another registry.
    stored(&standin, "other.example");
    login("registry.example/app:3")
        .set("image", "docker://other.example/app:1")
        .fails_with(3);
    let requests = standin.requests();
    let of_other = requests.iter().filter(|one| one.host == "other.example");
    assert!(of_other.into_iter().all(|one| one.authorization.is_none()));
    // As an action's inputs they are masked.
    let wrong = |run: Run| run.fails_with(2).error();
    let faults = [
        wrong(login("registry.example/app:1, other.example/app:1")),
        wrong(login("gcr.io/acme/app:1")),
        wrong(login("gcr.io/acme/app:1").set("username", "_json_key")),
        wrong(login("registry.example/app:1").set("password", "")),
    ];
    insta::assert_snapshot!(faults.join("\n"), @"
    error: an input cannot be used
      `username`: it is for one registry, but there are `other.example`, `registry.example` (GCR_PUSH_USERNAME)

    hint: put the logins of several registries in `docker_config`

    error: an input cannot be used
      `username`: it is for a destination that is not Google's, but there is none (GCR_PUSH_USERNAME)

    hint: for Google's registries, set `credentials_json`, `access_token` or `workload_identity_provider`; for the registry of `image`, set `source_username`

    error: an input cannot be used
      `username`: the sign-in to Google's registries does not use it (GCR_PUSH_USERNAME)

    hint: put the key in `credentials_json`, and remove `username` and `password`

    error: an input is missing
      `password`: `username` is only half of a login (GCR_PUSH_PASSWORD)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn config_with_logins_for_other_hosts_only_is_reported() {
    let google = crate::support::google::Google::start();
    let configs = [
        config("eu.gcr.io"),
        config("*.gcr.io"),
        // The file that `docker login` wrote before `config.json`.
        json!({"eu.gcr.io": {"auth": STANDARD.encode("user:password"), "email": "x@example.com"}})
            .to_string(),
    ];
    for docker in configs {
        for variable in ["GCR_PUSH_DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"] {
            let run = super::push(&google).variable(variable, &docker);
            let error = run.fails_with(3).error();
            let hint = error
                .lines()
                .find(|line| line.contains("has logins only for"));
            assert!(hint.is_some(), "{error}");
        }
    }
}

#[test]
fn google_user_names_error_says_which_password_fits() {
    let google = crate::support::google::Google::start();
    for (user, password, hint) in [
        (
            "_json_key",
            STANDARD.encode(&google.key),
            "_json_key_base64",
        ),
        ("oauth2accesstoken", "ya29.hunter2".to_owned(), "one hour"),
    ] {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let config = json!({"auths": {"gcr.io": {"auth": auth}}});
        let run = super::push(&google).set("docker_config", config.to_string());
        let error = run.fails_with(3).error();
        assert!(error.contains(hint), "{error}");
    }
}

#[test]
fn invalid_docker_config_error_says_what_it_is() {
    let google = crate::support::google::Google::start();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "e30="},
    });
    let error_text = |variable: &str, text: &str| {
        super::push(&google)
            .variable(variable, text)
            .fails_with(2)
            .error()
    };
    let mut all = String::new();
    for text in [&google.key, &secret.to_string(), "hunter2"] {
        for variable in ["GCR_PUSH_DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"] {
            all += &error_text(variable, text);
            all += "\n";
        }
        let run = super::push(&google).file("docker/config.json", text);
        let path = run.path().join("docker").display().to_string();
        all += &run.variable("DOCKER_CONFIG", path).fails_with(2).error();
        all += "\n";
    }
    assert!(!all.contains("hunter2"));
    insta::assert_snapshot!(all, @r"
    error: an input cannot be used
      `docker_config`: it is a Google credential, not a Docker config: expected JSON with `auths`; its value is not shown (GCR_PUSH_DOCKER_CONFIG)

    hint: put the key in `credentials_json`

    error: an input cannot be used
      `DOCKER_AUTH_CONFIG`: it is a Google credential, not a Docker config: expected JSON with `auths`; its value is not shown

    hint: put the key in `credentials_json`

    error: an input cannot be used
      `DOCKER_CONFIG`: in its `config.json`: it is a Google credential, not a Docker config: expected JSON with `auths`

    hint: put the key in `credentials_json`

    error: an input cannot be used
      `docker_config`: it is a Kubernetes Secret, not a Docker config: expected JSON with `auths`; its value is not shown (GCR_PUSH_DOCKER_CONFIG)

    hint: use the config in it: `kubectl get secret NAME -o jsonpath='{.data.\.dockerconfigjson}'` prints it as base64, which gcr-push accepts

    error: an input cannot be used
      `DOCKER_AUTH_CONFIG`: it is a Kubernetes Secret, not a Docker config: expected JSON with `auths`; its value is not shown

    hint: use the config in it: `kubectl get secret NAME -o jsonpath='{.data.\.dockerconfigjson}'` prints it as base64, which gcr-push accepts

    error: an input cannot be used
      `DOCKER_CONFIG`: in its `config.json`: it is a Kubernetes Secret, not a Docker config: expected JSON with `auths`

    hint: use the config in it: `kubectl get secret NAME -o jsonpath='{.data.\.dockerconfigjson}'` prints it as base64, which gcr-push accepts

    error: an input cannot be used
      `docker_config`: it is not a Docker config: expected JSON with `auths`; its value is not shown (GCR_PUSH_DOCKER_CONFIG)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `DOCKER_AUTH_CONFIG`: it is not a Docker config: expected JSON with `auths`; its value is not shown

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `DOCKER_CONFIG`: in its `config.json`: it is not a Docker config: expected JSON with `auths`

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn auth_with_line_breaks_is_accepted() {
    let standin = registry(&["registry.example"]);
    let auth = STANDARD.encode("robot:hunter2-hunter2-hunter2");
    let lines: Vec<_> = auth
        .as_bytes()
        .chunks(10)
        .map(String::from_utf8_lossy)
        .collect();
    for end in ["\n", "\r\n"] {
        let config = json!({"auths": {"registry.example": {"auth": lines.join(end)}}});
        push(&standin, "registry.example/app:1")
            .set("docker_config", config.to_string())
            .succeeds();
    }
    let config = json!({"auths": {"registry.example": {"auth": "%%%"}}});
    let run = push(&standin, "registry.example/app:1").set("docker_config", config.to_string());
    insta::assert_snapshot!(run.fails_with(3).error(), @r#"
    error: could not read the login from the Docker config in `docker_config`
      caused by: the `auth` for `registry.example` is not base64 of `user:password`

    hint: create it with `printf '%s' "$USER:$PASSWORD" | base64 -w0`
    "#);
}

#[test]
fn localhost_in_a_container_action_is_reported_at_once() {
    let run = Run::new()
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_WORKSPACE", "/github/workspace")
        .file("image.tar", image())
        .variable("INPUT_IMAGE", "image.tar")
        .variable("INPUT_LOG_FORMAT", "plain")
        // Port 9 is the discard service, which nobody runs any more.
        .variable("INPUT_TAGS", "localhost:9/app:1");
    let outcome = run.run();
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("trying again"),
        "{}",
        outcome.stderr
    );
    insta::assert_snapshot!(outcome.error(), @"
    error: could not connect to `localhost:9`
      caused by: GET https://localhost:9/v2/
      caused by: Connection refused (os error 111)

    hint: in the container of an action, `localhost` is that container: use the label of the registry's service and its own port, such as `registry:5000`; if it has no TLS, add it to `insecure_registries` too
    ");
}
