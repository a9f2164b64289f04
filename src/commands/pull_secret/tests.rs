//! The Secret against kubectl.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::commands::pull_secret::*;
use crate::diagnostics::{Diagnostic as _, ExitCode};

const KEY_FILE: &str = include_str!("../../../tests/fixtures/service-account-key.json");

fn secret(name: &str, hosts: &[&str], user: &str, password: &str) -> PullSecret {
    let logins = hosts
        .iter()
        .map(|host| ((*host).to_owned(), Login::new(user, password)))
        .collect();
    build(name, &BTreeMap::new(), &logins, None).unwrap()
}

fn key_of(hosts: &[&str]) -> PullSecret {
    secret("gcr-pull", hosts, "_json_key", KEY_FILE)
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What kubectl prints for these arguments; none, with the reason told, where there is no kubectl.
fn kubectl(arguments: &[&str], input: &str) -> Option<String> {
    let started = Command::new("kubectl")
        .args(arguments)
        // No configuration: a cluster that somebody is signed in to has no part in this.
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
    // Some arguments make it read nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(with_timestamp(String::from_utf8(output.stdout).unwrap()))
}

/// What of a password this kubectl writes as we do: all of it, but where it was built with a Go
/// before 1.22, which has no short escapes for two of the controls.
/// <https://go.dev/doc/go1.22#encodingjsonpkgencodingjson>
fn comparable(password: &str) -> Option<String> {
    let version = kubectl(&["version", "--client", "--output=json"], "")?;
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let go = version["clientVersion"]["goVersion"].as_str().unwrap();
    let minor = go
        .strip_prefix("go1.")
        .unwrap()
        .split(['.', ' ', '-'])
        .next();
    let is_old = minor.unwrap().parse::<u32>().unwrap() < 22;
    Some(match is_old {
        true => password.replace(['\u{8}', '\u{c}'], ""),
        false => password.to_owned(),
    })
}

/// Since 1.34 kubectl leaves the empty line out that stood there for ten years.
fn with_timestamp(text: String) -> String {
    if text.contains("creationTimestamp") {
        return text;
    }
    let yaml = text.replace("metadata:\n", "metadata:\n  creationTimestamp: null\n");
    yaml.replace(
        "\n    },\n    \"data\"",
        ",\n        \"creationTimestamp\": null\n    },\n    \"data\"",
    )
}

fn login(
    name: &str,
    namespace: Option<&str>,
    user: &str,
    password: &str,
    form: &str,
) -> Option<String> {
    let user = format!("--docker-username={user}");
    let password = format!("--docker-password={password}");
    let server = "--docker-server=gcr.io";
    let mut arguments = vec![
        "create",
        "secret",
        "docker-registry",
        name,
        server,
        &user,
        &password,
    ];
    arguments.extend(["--dry-run=client", "--output", form]);
    arguments.extend(
        namespace
            .iter()
            .flat_map(|namespace| ["--namespace", namespace]),
    );
    kubectl(&arguments, "")
}

fn ours(name: &str, namespace: Option<&str>, user: &str, password: &str, form: &str) -> String {
    let form = match form {
        "json" => PullSecretForm::Json,
        _ => PullSecretForm::Yaml,
    };
    let namespaces: Vec<_> = namespace.map(str::to_owned).into_iter().collect();
    let text = written(
        &secret(name, &["gcr.io"], user, password),
        form,
        &namespaces,
    );
    text.expose().to_owned()
}

#[test]
fn a_real_key_gives_the_bytes_that_kubectl_gives() {
    for form in ["yaml", "json"] {
        for namespace in [None, Some("prod")] {
            let Some(theirs) = login("gcr-pull", namespace, "_json_key", KEY_FILE, form) else {
                return;
            };
            let ours = ours("gcr-pull", namespace, "_json_key", KEY_FILE, form);
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn awkward_passwords_give_the_bytes_that_kubectl_gives() {
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
        let Some(password) = comparable(password) else {
            return;
        };
        for form in ["yaml", "json"] {
            let Some(theirs) = login("gcr-pull", None, "u:v", &password, form) else {
                return;
            };
            let ours = ours("gcr-pull", None, "u:v", &password, form);
            assert_eq!(ours, theirs, "{password:?}");
        }
    }
}

#[test]
fn awkward_names_are_quoted_where_kubectl_quotes_them() {
    const NAMES: &[&str] = &[
        "gcr-pull",
        "a.b-c",
        "123",
        "0",
        "00",
        "010",
        "08",
        "true",
        "false",
        "null",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "n",
        "t",
        "1e3",
        "1e",
        "e1",
        "1e-3",
        "1e999",
        "1e-999",
        "1e308",
        "0x1",
        "0x",
        "0xg",
        "0x-1",
        "0xffffffffffffffff",
        "0x10000000000000000",
        "0o7",
        "0o8",
        "0o-7",
        "0b1",
        "0b2",
        "0b-1",
        "0b--1",
        "1.5",
        "1.2.3",
        "1.e3",
        "1.0.0e3",
        "0x1p3",
        "0x1.8",
        "9999999999999999999999",
        "2001-01-01",
        "2001-1-1",
        "2001-02-30",
        "2000-02-29",
        "1900-02-29",
        "2001-13-01",
        "2001-001-01",
        "2001-00-01",
        "0000-01-01",
        "12345-1-1",
        "1-2-3",
        "inf",
        "nan",
        "infinity",
        "null.x",
        "1-1",
        "2001-01-01t00.00",
    ];
    for pair in NAMES.chunks(2) {
        let (name, namespace) = (pair[0], pair[pair.len() - 1]);
        for form in ["yaml", "json"] {
            let Some(theirs) = login(name, Some(namespace), "u", "p", form) else {
                return;
            };
            assert_eq!(ours(name, Some(namespace), "u", "p", form), theirs);
        }
    }
}

/// Values of labels that YAML may take for something else.
const VALUES: &[&str] = &[
    "", "shop", "True", "TRUE", "tRUE", "NO", "Null", "Y", "1_000", "1_0.5", "0X1f", "0x_1", "0O7",
    "0b_1", "1E3", "1__2", "12e03", "2001-1-1", "a.b_c-D", "00_1",
];

#[test]
fn labels_and_the_expiry_stand_where_kubectl_puts_them() {
    for (number, pair) in VALUES.chunks(2).enumerate() {
        let labels = [("app.kubernetes.io/part-of", pair[0]), ("Team_1", pair[1])];
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let mut secret = secret("gcr-pull", &["gcr.io"], "u", "p");
        let plain = written(&secret, PullSecretForm::Yaml, &[]);
        let own = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let docker_config = secret.docker_config().clone();
        let expiry = (number % 2 == 0).then_some(expiry);
        secret = PullSecret::new("gcr-pull", &own.into(), docker_config, expiry);
        for (form, name) in [
            (PullSecretForm::Yaml, "yaml"),
            (PullSecretForm::Json, "json"),
        ] {
            let ours = written(&secret, form, &[]);
            let given = labels.map(|(key, value)| format!("{key}={value}"));
            let common = ["--local", "--filename=-", "--output"];
            let mut arguments = vec!["label"];
            arguments.extend(common);
            arguments.extend([name, &given[0], &given[1]]);
            let Some(mut theirs) = kubectl(&arguments, plain.expose()) else {
                return;
            };
            if let Some((key, value)) = secret.annotations().into_iter().next() {
                assert_eq!(value, "2026-09-21T14:13:20Z");
                let mut arguments = vec!["annotate"];
                let given = format!("{key}={value}");
                arguments.extend(common);
                arguments.extend([name, &given]);
                let Some(annotated) = kubectl(&arguments, &theirs) else {
                    return;
                };
                theirs = annotated;
            }
            if name == "json" {
                // Here kubectl prints an object without a type of Go's, its keys sorted.
                let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
                let ours: serde_json::Value = serde_json::from_str(ours.expose()).unwrap();
                assert_eq!(ours, theirs);
            } else {
                assert_eq!(ours.expose(), theirs);
            }
        }
    }
}

#[test]
fn several_hosts_are_held_as_they_are() {
    let secret = key_of(&["us.gcr.io", "gcr.io", "us-docker.pkg.dev", "gcr.io"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, secret.docker_config().expose()).unwrap();
    let arguments = [
        "create",
        "secret",
        "generic",
        "gcr-pull",
        "--namespace=prod",
        "--type=kubernetes.io/dockerconfigjson",
        &format!("--from-file=.dockerconfigjson={}", file.display()),
        "--dry-run=client",
        "--output=yaml",
    ];
    let Some(theirs) = kubectl(&arguments, "") else {
        return;
    };
    let ours = written(&secret, PullSecretForm::Yaml, &owned(&["prod"]));
    assert_eq!(ours.expose(), theirs);
    let hosts: Vec<usize> = ["\"gcr.io\"", "\"us-docker.pkg.dev\"", "\"us.gcr.io\""]
        .map(|host| secret.docker_config().expose().find(host).unwrap())
        .to_vec();
    assert!(hosts.is_sorted());
}

#[test]
fn each_namespace_has_a_document_of_its_own() {
    let namespaces = owned(&["staging", "production"]);
    let yaml = written(&key_of(&["gcr.io"]), PullSecretForm::Yaml, &namespaces);
    let json = written(&key_of(&["gcr.io"]), PullSecretForm::Json, &namespaces);
    let list: serde_json::Value = serde_json::from_str(json.expose()).unwrap();
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&"List".into(), &"v1".into())
    );
    let documents: Vec<&str> = yaml.expose().split("---\n").collect();
    assert_eq!(documents.len(), 2);
    for (number, (document, namespace)) in documents.iter().zip(&namespaces).enumerate() {
        assert!(document.starts_with("apiVersion: v1\n"));
        let value: serde_json::Value = serde_yaml::from_str(document).unwrap();
        assert_eq!(value["metadata"]["name"], "gcr-pull");
        assert_eq!(value["metadata"]["namespace"], namespace.as_str());
        assert_eq!(value["type"], "kubernetes.io/dockerconfigjson");
        assert_eq!(list["items"][number], value);
    }
}

#[test]
fn the_login_file_alone_is_what_the_secret_holds() {
    let secret = key_of(&["gcr.io"]);
    let file = written(
        &secret,
        PullSecretForm::DockerConfigJson,
        &owned(&["staging"]),
    );
    assert_eq!(file.expose(), secret.docker_config().expose());
    let file: serde_json::Value = serde_json::from_str(file.expose()).unwrap();
    assert_eq!(file["auths"]["gcr.io"]["password"], KEY_FILE);
}

#[test]
fn a_secret_that_kubernetes_would_refuse_for_its_size_is_refused_here() {
    let logins = BTreeMap::from([("gcr.io".to_owned(), Login::new("u", &"x".repeat(500_000)))]);
    let error = build("x", &BTreeMap::new(), &logins, None).unwrap_err();
    assert!(matches!(error, PullSecretError::TooLarge(_)));
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn it_prints_no_secret() {
    let printed = format!("{:?}", key_of(&["gcr.io"]));
    assert!(!printed.contains("private_key"), "{printed}");
}
