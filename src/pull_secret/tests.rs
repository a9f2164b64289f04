//! The Secret against kubectl, and the file that it is written to.

use std::process::Command;

use super::*;

const KEY: &str = include_str!("../../tests/fixtures/service-account-key.json");

fn endpoints(hosts: &[&str]) -> Vec<Endpoint> {
    hosts.iter().map(|host| host.parse().unwrap()).collect()
}

fn secret(namespaces: &[&str], hosts: &[&str]) -> PullSecret {
    let namespaces: Vec<String> = namespaces.iter().map(|n| (*n).to_owned()).collect();
    let key = ServiceAccountKey::parse(KEY).unwrap();
    PullSecret::new("gcr-pull", &namespaces, &endpoints(hosts), &key).unwrap()
}

/// What kubectl prints for these arguments; none, with the reason told, where there is no kubectl.
fn kubectl(arguments: &[&str]) -> Option<String> {
    let output = Command::new("kubectl")
        .args(["create", "secret"])
        .args(arguments)
        .args(["--dry-run=client", "-o", "yaml"])
        // No configuration: a cluster that somebody is signed in to has no part in this.
        .env("KUBECONFIG", "/dev/null")
        .output();
    match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: there is no kubectl on this machine to compare with");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            // Since 1.34 kubectl leaves the empty line out that stood there for ten years.
            let line = "  creationTimestamp: null\n";
            Some(if text.contains(line) {
                text
            } else {
                text.replace("metadata:\n", &format!("metadata:\n{line}"))
            })
        }
    }
}

fn login(name: &str, namespace: Option<&str>, user: &str, password: &str) -> Option<String> {
    let user = format!("--docker-username={user}");
    let password = format!("--docker-password={password}");
    let server = "--docker-server=gcr.io";
    let mut arguments = vec!["docker-registry", name, server, &user, &password];
    arguments.extend(
        namespace
            .iter()
            .flat_map(|namespace| ["--namespace", namespace]),
    );
    kubectl(&arguments)
}

fn ours(name: &str, namespace: Option<&str>, user: &str, password: &str) -> String {
    let json = json::docker_config(["gcr.io"].into_iter(), user, password);
    yaml::document(name, namespace, &Secret::new(json))
}

#[test]
fn a_real_key_gives_the_bytes_that_kubectl_gives() {
    let Some(theirs) = login("gcr-pull", None, "_json_key", KEY) else {
        return;
    };
    assert_eq!(secret(&[], &["gcr.io"]).yaml().expose(), theirs);
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
        let Some(theirs) = login("gcr-pull", None, "u:v", password) else {
            return;
        };
        assert_eq!(
            ours("gcr-pull", None, "u:v", password),
            theirs,
            "{password:?}"
        );
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
        let Some(theirs) = login(name, Some(namespace), "u", "p") else {
            return;
        };
        assert_eq!(ours(name, Some(namespace), "u", "p"), theirs);
    }
}

#[test]
fn several_hosts_are_held_as_they_are() {
    let secret = secret(
        &["prod"],
        &["us.gcr.io", "gcr.io", "us-docker.pkg.dev", "gcr.io"],
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, secret.docker_config().expose()).unwrap();
    let Some(theirs) = kubectl(&[
        "generic",
        "gcr-pull",
        "--namespace=prod",
        "--type=kubernetes.io/dockerconfigjson",
        &format!("--from-file=.dockerconfigjson={}", file.display()),
    ]) else {
        return;
    };
    assert_eq!(secret.yaml().expose(), theirs);
    let hosts: Vec<usize> = ["\"gcr.io\"", "\"us-docker.pkg.dev\"", "\"us.gcr.io\""]
        .map(|host| secret.docker_config().expose().find(host).unwrap())
        .to_vec();
    assert!(hosts.is_sorted());
}

#[test]
fn each_namespace_has_a_document_of_its_own() {
    let yaml = secret(&["staging", "production"], &["gcr.io"]).yaml();
    let documents: Vec<&str> = yaml.expose().split("---\n").collect();
    assert_eq!(documents.len(), 2);
    for (document, namespace) in documents.iter().zip(["staging", "production"]) {
        assert!(document.starts_with("apiVersion: v1\n"));
        assert!(document.contains(&format!("\n  namespace: {namespace}\n")));
        let value: serde_json::Value = serde_yaml::from_str(document).unwrap();
        assert_eq!(value["metadata"]["name"], "gcr-pull");
        assert_eq!(value["type"], "kubernetes.io/dockerconfigjson");
    }
}

#[test]
fn a_secret_that_kubernetes_would_refuse_for_its_size_is_refused_here() {
    let large = KEY.replacen(
        '{',
        &format!("{{\"padding\":\"{}\",", "x".repeat(500_000)),
        1,
    );
    let key = ServiceAccountKey::parse(&large).unwrap();
    let error = PullSecret::new("x", &[], &endpoints(&["gcr.io"]), &key).unwrap_err();
    assert!(matches!(error, PullSecretError::TooLarge(_)));
    assert_eq!(error.exit_code(), ExitCode::Usage);
}

#[test]
fn it_prints_no_secret() {
    let printed = format!("{:?}", secret(&[], &["gcr.io"]));
    assert!(!printed.contains("private_key"), "{printed}");
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().mode() & 0o7777
}

#[test]
fn the_file_is_its_owners_alone_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pull-secret.yaml");
    let secret = secret(&[], &["gcr.io"]);
    for _ in 0..2 {
        secret.write(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        let written = std::fs::read_to_string(&file).unwrap();
        assert_eq!(written, secret.yaml().expose());
        // Whatever was there, and whoever might read it.
        std::fs::write(&file, "an earlier file, longer ".repeat(1000)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("public");
    std::fs::write(&public, "public").unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&public, &link).unwrap();
    secret(&[], &["gcr.io"]).write(&link).unwrap();
    assert_eq!(std::fs::read_to_string(&public).unwrap(), "public");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(mode(&link), 0o600);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("null");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for place in [directory.path(), Path::new("/dev/null"), &link] {
        let error = secret(&[], &["gcr.io"]).write(place).unwrap_err();
        assert!(matches!(error, PullSecretError::NoFile(_)), "{error:?}");
    }
    let error = secret(&[], &["gcr.io"])
        .write(&directory.path().join("missing/x"))
        .unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Failed);
    assert_eq!(error.hints(), ["the directory must be there already"]);
}

#[test]
fn root_gives_the_file_to_the_owner_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(directory.path(), Some(1001), Some(121)).is_err() {
        println!("skipped: only root can give files away");
        return;
    }
    let file = directory.path().join("pull-secret.yaml");
    secret(&[], &["gcr.io"]).write(&file).unwrap();
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1001, 121));
    assert_eq!(mode(&file), 0o600);
}
