//! The forms in which a pull secret is written: the object as YAML or JSON, or the login file in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::logins::Login;
use crate::commands::pull_secret::request::PullSecretForm;
use crate::diagnostics::secret::Secret;
use crate::kubernetes::PullSecret;

/// Writes the Secret in one of its forms, for each of `namespaces`; without one it goes to whichever
/// is current where it is applied.
///
/// YAML has a document for each namespace and JSON a list, as kubectl reads them.
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

/// A login file as Docker writes it.
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

/// The login file with one login for each server.
pub(super) fn docker_config(logins: &BTreeMap<String, Login>) -> String {
    let entry = |(server, login): (&String, &Login)| {
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
    json!(DockerConfig { auths }).to_string()
}

/// Reads back what [`docker_config`] writes; `None` if anything else stands in it.
pub(super) fn read_docker_config(text: &str) -> Option<BTreeMap<String, Login>> {
    let file: DockerConfig = serde_json::from_str(text).ok()?;
    let login = |(server, entry): (String, Entry)| {
        let login = Login {
            user: entry.username,
            password: Secret::new(entry.password),
        };
        (server, login)
    };
    let logins = file.auths.into_iter().map(login).collect();
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    (parse(&docker_config(&logins)) == parse(text)).then_some(logins)
}

/// An object in which every scalar is a string, as YAML that kubectl reads so too.
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

/// A name or a label of Kubernetes as YAML, in quotes where YAML 1.1 may take it for something else.
///
/// serde_yaml knows YAML 1.2. kubectl reads YAML 1.1, to which `no` is false and `1_000` a number.
pub(super) fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    match is_word || text.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("\"{text}\""),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_one_login_in_the_order_of_the_names() {
        let logins = ["us.gcr.io", "gcr.io", "us.gcr.io"]
            .map(|server| (server.to_owned(), Login::new("u", "p")));
        let text = docker_config(&logins.into());
        let entry = json!({ "username": "u", "password": "p", "auth": "dTpw" });
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({ "auths": { "gcr.io": entry, "us.gcr.io": entry } })
        );
    }

    #[test]
    fn a_login_file_is_ours_however_it_is_laid_out_and_only_if_nothing_else_stands_in_it() {
        let logins = BTreeMap::from([("gcr.io".to_owned(), Login::new("u", "p<>&\u{2028}"))]);
        let mut value: Value = serde_json::from_str(&docker_config(&logins)).unwrap();
        assert_eq!(read_docker_config(&format!("{value:#}")), Some(logins));
        value["auths"]["gcr.io"]["email"] = json!("a@b");
        assert_eq!(read_docker_config(&value.to_string()), None);
        assert_eq!(read_docker_config("{}"), None);
    }
}
