//! Compares the Secret with the object that kubectl creates.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::forms::render;
use crate::commands::pull_secret::request::PullSecretForm;
use crate::commands::pull_secret::*;
use crate::diagnostics::{Diagnostic as _, ExitCode};

const KEY_FILE: &str = include_str!("../../../tests/fixtures/service-account-key.json");

fn secret(name: &str, hosts: &[&str], user: &str, password: &str) -> PullSecret {
    let logins = hosts
        .iter()
        .map(|host| ((*host).to_owned(), SecretLogin::new(user, password)))
        .collect();
    build(name, &BTreeMap::new(), &logins, None).unwrap()
}

fn key_of(hosts: &[&str]) -> PullSecret {
    secret("gcr-pull", hosts, "_json_key", KEY_FILE)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The object that kubectl prints for these arguments. `None`, with a printed notice, if kubectl is
/// not installed.
fn kubectl(arguments: &[&str], input: &str) -> Option<Value> {
    let started = Command::new("kubectl")
        .args(arguments)
        .arg("--output=json")
        // No configuration, so that no real cluster is used.
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match started {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no kubectl on this machine to compare with");
            return None;
        }
        started => started.unwrap(),
    };
    // With some arguments kubectl reads no input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(comparable(serde_json::from_slice(&output.stdout).unwrap()))
}

/// The object without the empty time that kubectl omits since 1.34.
fn comparable(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    if metadata.get("creationTimestamp") == Some(&Value::Null) {
        metadata.remove("creationTimestamp");
    }
    object
}

/// The Secret that `kubectl create` makes for the same input.
fn theirs(name: &str, namespace: Option<&str>, user: &str, password: &str) -> Option<Value> {
    let user = format!("--docker-username={user}");
    let password = format!("--docker-password={password}");
    let mut arguments = vec![
        "create",
        "secret",
        "docker-registry",
        name,
        &user,
        &password,
    ];
    arguments.extend(["--docker-server=gcr.io", "--dry-run=client"]);
    arguments.extend(namespace.iter().flat_map(|name| ["--namespace", name]));
    kubectl(&arguments, "")
}

/// Our Secret as kubectl reads it, from YAML and from JSON.
fn ours(secret: &PullSecret, namespace: Option<&str>) -> Option<[Value; 2]> {
    let namespaces: Vec<_> = namespace.map(str::to_owned).into_iter().collect();
    let read = |form| {
        let text = render(secret, form, &namespaces);
        let arguments = [
            "patch",
            "--local",
            "--filename=-",
            "--type=merge",
            "--patch={}",
        ];
        kubectl(&arguments, text.expose())
    };
    Some([read(PullSecretForm::Yaml)?, read(PullSecretForm::Json)?])
}

fn assert_same(name: &str, namespace: Option<&str>, user: &str, password: &str) {
    let secret = secret(name, &["gcr.io"], user, password);
    if let Some(theirs) = theirs(name, namespace, user, password) {
        for ours in ours(&secret, namespace).unwrap() {
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn real_key_gives_the_object_of_kubectl() {
    for namespace in [None, Some("prod")] {
        assert_same("gcr-pull", namespace, "_json_key", KEY_FILE);
    }
}

#[test]
fn awkward_passwords_give_the_object_of_kubectl() {
    let every_control: String = ('\u{1}'..='\u{a0}').collect();
    let long = "key ".repeat(10_000);
    for password in [
        "a<b>&c\u{2028}\u{2029}é\"\\\nend",
        &every_control,
        "\u{feff}\u{fffd}\u{fffe}\u{10ffff}😀",
        "---\n# yaml: [no]",
        " ",
        &long,
    ] {
        assert_same("gcr-pull", None, "u:v", password);
    }
}

/// Names that YAML 1.1 or 1.2 may not read as strings.
const NAMES: &[&str] = &[
    "a.b-c",
    "123",
    "0",
    "010",
    "08",
    "true",
    "null",
    "yes",
    "no",
    "on",
    "y",
    "n",
    "t",
    "1e3",
    "1e",
    "1e999",
    "0x1",
    "0xg",
    "0x-1",
    "0o7",
    "0b1",
    "0b-1",
    "1.5",
    "1.2.3",
    "0x1p3",
    "9999999999999999999999",
    "2001-01-01",
    "2001-1-1",
    "2001-02-30",
    "inf",
    "nan",
    "null.x",
    "1-1",
    "2001-01-01t00.00",
];

#[test]
fn awkward_names_are_read_as_names() {
    for pair in NAMES.chunks(2) {
        assert_same(pair[0], Some(pair[1]), "u", "p");
    }
}

/// Labels and keys that YAML may not read as strings.
const VALUES: &[&str] = &[
    "", "shop", "True", "TRUE", "tRUE", "NO", "Null", "Y", "1_000", "1_0.5", "0X1f", "0x_1", "0O7",
    "0b_1", "1E3", "1__2", "12e03", "2001-1-1", "a.b_c-D", "00_1",
];

#[test]
fn labels_and_the_expiry_are_read_as_strings() {
    let long = format!("{}/no", "a.".repeat(80) + "example");
    let mut labels: BTreeMap<String, String> = VALUES
        .iter()
        .enumerate()
        .map(|(number, value)| (format!("example.com/l{number}"), (*value).to_owned()))
        .collect();
    let keys = [
        "app.kubernetes.io/part-of",
        "y",
        "No",
        "1_000",
        "0b1",
        &long,
    ];
    labels.extend(keys.map(|key| (key.to_owned(), "on".to_owned())));
    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let secret = PullSecret::new("gcr-pull", &labels, Secret::new("{}"), Some(expiry));
    for object in ours(&secret, None).into_iter().flatten() {
        assert_eq!(object["metadata"]["labels"], json!(labels));
        let annotations = json!({ "gcr-push.github.io/expires-at": "2026-09-21T14:13:20Z" });
        assert_eq!(object["metadata"]["annotations"], annotations);
    }
}

#[test]
fn each_namespace_has_its_own_document() {
    let namespaces = owned(&["staging", "production"]);
    let yaml = render(&key_of(&["gcr.io"]), PullSecretForm::Yaml, &namespaces);
    let json = render(&key_of(&["gcr.io"]), PullSecretForm::Json, &namespaces);
    let list: Value = serde_json::from_str(json.expose()).unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&"List".into(), &"v1".into())
    );
    let documents: Vec<&str> = yaml.expose().split("---\n").collect();
    assert_eq!(documents.len(), 2);
    for (number, (document, namespace)) in documents.iter().zip(&namespaces).enumerate() {
        let value: Value = serde_yaml::from_str(document).unwrap();
        assert_eq!(value["metadata"]["name"], "gcr-pull");
        assert_eq!(value["metadata"]["namespace"], namespace.as_str());
        assert_eq!(value["type"], "kubernetes.io/dockerconfigjson");
        assert_eq!(list["items"][number], value);
    }
}

#[test]
fn docker_config_form_is_the_login_of_the_secret() {
    let secret = key_of(&["gcr.io"]);
    let form = PullSecretForm::DockerConfigJson;
    let file = render(&secret, form, &owned(&["staging"]));
    assert_eq!(file.expose(), secret.docker_config().expose());
    let file: Value = serde_json::from_str(file.expose()).unwrap();
    assert_eq!(file["auths"]["gcr.io"]["password"], KEY_FILE);
}

#[test]
fn secret_too_large_for_kubernetes_is_refused() {
    let logins = BTreeMap::from([(
        "gcr.io".to_owned(),
        SecretLogin::new("u", &"x".repeat(500_000)),
    )]);
    let error = build("x", &BTreeMap::new(), &logins, None).unwrap_err();
    assert!(matches!(error, PullSecretError::TooLarge(_)));
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn debug_output_shows_no_secret() {
    let printed = format!("{:?}", key_of(&["gcr.io"]));
    assert!(!printed.contains("private_key"), "{printed}");
}
