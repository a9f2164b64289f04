//! Where the pull secret is written, in which forms, and the Pod that uses it.

use super::{pull_secret_command, push, reader};
use crate::support::google::Google;

const GCR_IO: &str = "gcr.io/acme/app:1";

#[test]
fn report_ends_with_a_usable_pod() {
    let google = Google::start();
    let outcome = push(&google, GCR_IO)
        .set("pull_secret_namespaces", "staging, production")
        .succeeds();
    let (_, end) = outcome.stdout.split_once("PULL SECRET").unwrap();
    insta::assert_snapshot!(end, @"
      HOSTS   EXPIRES
    gcr-pull     gcr.io

    apiVersion: v1
    kind: Pod
    metadata:
      name: app
      namespace: staging
    spec:
      containers:
        - name: app
          image: gcr.io/acme/app:1
      imagePullSecrets:
        - name: gcr-pull
    ");
    let (_, pod) = end.split_once("\n\n").unwrap();
    let pod: serde_json::Value = serde_yaml::from_str(pod).unwrap();
    assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "gcr-pull");
}

#[test]
fn github_summary_ends_with_the_pod() {
    let google = Google::start();
    let outcome = push(&google, GCR_IO)
        .variable("GITHUB_ACTIONS", "true")
        .variable("GITHUB_STEP_SUMMARY", "summary.md")
        .succeeds();
    let summary = outcome.read("summary.md");
    let (_, end) = summary.split_once("The pull secret").unwrap();
    insta::assert_snapshot!(end, @"
     <code>gcr-pull</code> lets a cluster pull from <code>gcr.io</code>.

    ```yaml
    apiVersion: v1
    kind: Pod
    metadata:
      name: app
    spec:
      containers:
        - name: app
          image: gcr.io/acme/app:1
      imagePullSecrets:
        - name: gcr-pull
    ```
    ");
}

#[test]
fn standard_output_holds_only_the_secret_on_request() {
    let google = Google::start();
    let outcome = push(&google, GCR_IO)
        .set("pull_secret_file", "-")
        .succeeds();
    let secret: serde_json::Value = serde_yaml::from_str(&outcome.stdout).unwrap();
    assert_eq!(secret["kind"], "Secret");
    for variable in ["CI", "GITHUB_ACTIONS", "GITLAB_CI"] {
        let run = push(&google, GCR_IO).set("pull_secret_file", "-");
        let outcome = run.variable(variable, "true").fails_with(2);
        assert_eq!(outcome.stdout, "");
    }
    let bare =
        pull_secret_command(&google, GCR_IO).set("pull_secret_credentials_json", reader(&google));
    let outcome = bare.fails_with(2);
    assert!(
        outcome.stderr.contains("`-` for standard output"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn every_form_holds_the_same_login() {
    use base64::Engine as _;
    let google = Google::start();
    push(&google, GCR_IO).succeeds();
    let written = |form: &str| {
        pull_secret_command(&google, GCR_IO)
            .set("pull_secret_credentials_json", reader(&google))
            .set("pull_secret_labels", "team=shop")
            .set("pull_secret_file", "secret")
            .set("pull_secret_format", form)
            .succeeds()
            .read("secret")
    };
    let key = |file: &str| {
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let password = file["auths"]["gcr.io"]["password"].as_str().unwrap();
        let key: serde_json::Value = serde_json::from_str(password).unwrap();
        key["client_email"].clone()
    };
    let data = |secret: serde_json::Value| {
        assert_eq!(secret["metadata"]["labels"]["team"], "shop");
        let data = secret["data"][".dockerconfigjson"].as_str().unwrap();
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap();
        key(&String::from_utf8(decoded).unwrap())
    };
    assert_eq!(key(&written("dockerconfigjson")), super::READER);
    assert_eq!(
        data(serde_yaml::from_str(&written("yaml")).unwrap()),
        super::READER
    );
    assert_eq!(
        data(serde_json::from_str(&written("json")).unwrap()),
        super::READER
    );
}
