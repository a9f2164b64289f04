//! The formats of a pull secret: the object as YAML or JSON, or the Docker config in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::logins::SecretLogin;
use crate::commands::pull_secret::request::PullSecretForm;
use crate::diagnostics::secret::Secret;
use crate::kubernetes::PullSecret;

/// Renders the Secret in one format, once for each of `namespaces`. Without a namespace the field is
/// omitted, so that kubectl uses its current namespace.
///
/// For several namespaces YAML has several documents, and JSON is a list. kubectl reads both.
pub(super) fn render(secret: &PullSecret, form: PullSecretForm, namespaces: &[String]) -> Secret {
    let mut objects: Vec<_> = namespaces
        .iter()
        .map(|namespace| secret.object(Some(namespace)))
        .collect();
    if objects.is_empty() {
        objects.push(secret.object(None));
    }
    Secret::new(match (form, objects.as_slice()) {
        (PullSecretForm::Yaml, objects) => {
            let documents: Vec<_> = objects.iter().map(yaml).collect();
            documents.join("---\n")
        }
        (PullSecretForm::Json, [object]) => format!("{object:#}\n"),
        (PullSecretForm::Json, items) => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            format!("{list:#}\n")
        }
        (PullSecretForm::DockerConfigJson, _) => secret.docker_config().expose().to_owned(),
    })
}

/// A Docker config file, as Docker writes it.
#[derive(Deserialize, Serialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Serialize)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// The text of a Docker config with one login for each server, byte for byte as kubectl writes it.
pub(super) fn docker_config(logins: &BTreeMap<String, SecretLogin>) -> String {
    let entry = |(server, login): (&String, &SecretLogin)| {
        let (username, password) = (login.user.clone(), login.password.expose().to_owned());
        let auth = STANDARD.encode(format!("{username}:{password}"));
        let entry = Entry {
            username,
            password,
            auth,
        };
        (server.clone(), entry)
    };
    let auths = logins.iter().map(entry).collect();
    #[expect(clippy::expect_used, reason = "strings and maps always make JSON")]
    let text = serde_json::to_string(&DockerConfig { auths }).expect("a Docker config is JSON");
    // Go escapes these too. JSON has them in strings alone.
    let escaped = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    escaped.into_iter().fold(text, |text, character| {
        text.replace(character, &format!("\\u{:04x}", u32::from(character)))
    })
}

/// Parses the text that [`docker_config`] writes. `None` if it contains anything else.
pub(super) fn read_docker_config(text: &str) -> Option<BTreeMap<String, SecretLogin>> {
    let file: DockerConfig = serde_json::from_str(text).ok()?;
    let login = |(server, entry): (String, Entry)| {
        let login = SecretLogin {
            user: entry.username,
            password: Secret::new(entry.password),
        };
        (server, login)
    };
    let logins = file.auths.into_iter().map(login).collect();
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    (parse(&docker_config(&logins)) == parse(text)).then_some(logins)
}

/// Renders an object whose scalars are all strings, as YAML in which kubectl reads strings too.
fn yaml(object: &Value) -> String {
    #[expect(clippy::expect_used, reason = "strings and maps always make YAML")]
    let yaml = serde_yaml::to_string(object).expect("an object is YAML");
    let line = |line: &str| {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match text.split_once(':') {
            Some((key, "")) => format!("{indent}{}:\n", scalar(key)),
            Some((key, value)) => {
                format!("{indent}{}: {}\n", scalar(key), scalar(value.trim_start()))
            }
            None => format!("{line}\n"),
        }
    };
    yaml.lines().map(line).collect()
}

/// A name or a label of Kubernetes as a YAML scalar, quoted if YAML 1.1 may not read it as a string.
///
/// serde_yaml writes YAML 1.2. kubectl reads YAML 1.1, in which `no` is false and `1_000` is a
/// number.
pub(super) fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    if is_word || text.starts_with(|c: char| c.is_ascii_digit()) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_one_login_in_the_order_of_the_names() {
        let logins = ["us.gcr.io", "gcr.io", "us.gcr.io"]
            .map(|server| (server.to_owned(), SecretLogin::new("u", "p")));
        let text = docker_config(&logins.into());
        let entry = r#"{"username":"u","password":"p","auth":"dTpw"}"#;
        assert_eq!(
            text,
            format!(r#"{{"auths":{{"gcr.io":{entry},"us.gcr.io":{entry}}}}}"#)
        );
    }

    #[test]
    fn docker_config_with_unknown_fields_is_rejected() {
        let logins = BTreeMap::from([("gcr.io".to_owned(), SecretLogin::new("u", "p<>&\u{2028}"))]);
        let mut value: Value = serde_json::from_str(&docker_config(&logins)).unwrap();
        assert_eq!(read_docker_config(&format!("{value:#}")), Some(logins));
        value["auths"]["gcr.io"]["email"] = json!("a@b");
        assert_eq!(read_docker_config(&value.to_string()), None);
        assert_eq!(read_docker_config("{}"), None);
    }
}
