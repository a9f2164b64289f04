//! The pull secret as it is asked for.

use super::*;

fn asked() -> Run {
    Run::push().with("GCR_PUSH_PULL_SECRET", "gcr-pull")
}

#[test]
fn it_holds_the_readers_key_for_every_host_of_googles() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "staging, production")
        .with("GCR_PUSH_REGISTRY", "us.gcr.io,registry.example.com,gcr.io");
    let secret = run.request().pull_secret.unwrap();
    assert_eq!(secret.name, "gcr-pull");
    assert_eq!(secret.namespaces, ["staging", "production"]);
    let hosts: Vec<&str> = secret.hosts.iter().map(|host| host.host()).collect();
    assert_eq!(hosts, ["us.gcr.io", "gcr.io"]);
    assert_eq!(
        secret.credential.client_email,
        "reader@acme.iam.gserviceaccount.com"
    );
    assert!(!secret.is_push_key);
    assert_eq!(secret.file, None);
}

#[test]
fn without_a_readers_key_both_ways_out_are_told() {
    insta::assert_snapshot!(asked().refused(), @r"
    error: an input is missing
      `pull_secret_credentials_json`: give the key of an account that may only read, or set `pull_secret_allow_push_key: true` to put the pushing key into the pull secret (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)

    hint: `gcr-push --help` tells what every variable means
    ");
    let run = asked().with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "True");
    let secret = run.request().pull_secret.unwrap();
    assert!(secret.is_push_key);
    assert_eq!(
        secret.credential.client_email,
        "pusher@acme.iam.gserviceaccount.com"
    );
}

#[test]
fn the_pushing_accounts_key_is_not_smuggled_in_as_a_readers() {
    let run = asked().with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", KEY);
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `pull_secret_credentials_json`: it is a key of the account that pushes, so whoever reads the pull secret could push: give a key of an account that may only read, or set `pull_secret_allow_push_key: true` (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)

    hint: `gcr-push --help` tells what every variable means
    ");
    let run = run.with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true");
    assert!(run.request().pull_secret.unwrap().is_push_key);
}

#[test]
fn a_token_is_no_key_that_could_be_taken() {
    let run = asked()
        .without("GCR_PUSH_CREDENTIALS_JSON")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.x")
        .with("GCR_PUSH_PROJECT_ID", "acme")
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input is missing
      `pull_secret_credentials_json`: there is no pushing key to take instead, for `credentials_json` is not set: give the key of an account that may only read (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn under_a_ci_it_is_never_printed() {
    for variable in ["GITHUB_ACTIONS", "GITLAB_CI", "CI"] {
        let run = asked()
            .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
            .with(variable, "true");
        let text = run.refused();
        assert!(text.contains("the log keeps it"), "{text}");
        let run = run.with("GCR_PUSH_PULL_SECRET_FILE", "pull-secret.yaml");
        let secret = run.request().pull_secret.unwrap();
        assert_eq!(secret.file, Some("pull-secret.yaml".into()));
    }
}

#[test]
fn its_names_are_checked_as_kubernetes_checks_them() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET", "Gcr_Pull")
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "ok, a.b")
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "yes");
    insta::assert_snapshot!(run.refused(), @r"
    error: three inputs cannot be used
      `pull_secret`: `Gcr_Pull` is no name of a Secret: lower-case letters, digits, `-` and `.`, with a letter or digit at each end and beside each dot (GCR_PUSH_PULL_SECRET)
      `pull_secret_namespaces`: `a.b` is no namespace: lower-case letters, digits and `-`, with a letter or digit at each end (GCR_PUSH_PULL_SECRET_NAMESPACES)
      `pull_secret_allow_push_key`: it is `yes`, expected `true` or `false` (GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn its_variables_do_nothing_without_its_name() {
    let run = Run::push()
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "a")
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true")
        .with("GCR_PUSH_PULL_SECRET_FILE", "x");
    insta::assert_snapshot!(run.refused(), @r"
    error: four inputs cannot be used
      `pull_secret_namespaces`: it does nothing without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_NAMESPACES)
      `pull_secret_credentials_json`: it does nothing without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)
      `pull_secret_allow_push_key`: it does nothing without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY)
      `pull_secret_file`: it does nothing without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_FILE)

    hint: `gcr-push --help` tells what every variable means
    ");
    let run = Run::push().with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "false");
    assert!(run.request().pull_secret.is_none());
}

#[test]
fn a_google_key_is_for_googles_registries_alone() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_REGISTRY", "registry.example.com");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `pull_secret`: it would sign in to Google's registries with a Google key, and no destination is Google's (GCR_PUSH_PULL_SECRET)

    hint: `gcr-push --help` tells what every variable means
    ");
}

#[test]
fn the_command_needs_neither_image_nor_project() {
    let run = Run::bare()
        .argument(Command::PullSecret)
        .with("GCR_PUSH_PULL_SECRET", "gcr-pull")
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_REGISTRY", "us-docker.pkg.dev");
    let secret = run.request().pull_secret.unwrap();
    assert_eq!(secret.hosts[0].host(), "us-docker.pkg.dev");
    let run = run.without("GCR_PUSH_PULL_SECRET");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input is missing
      `pull_secret`: name the Secret, such as `gcr-pull` (GCR_PUSH_PULL_SECRET)

    hint: `gcr-push --help` tells what every variable means
    ");
}
