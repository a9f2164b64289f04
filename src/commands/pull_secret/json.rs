//! The bytes of a `.dockerconfigjson`, and of a Secret, as kubectl writes them: Go's
//! `encoding/json`, which escapes more than JSON asks for.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::document::Document;
use super::logins::SecretLogin;

/// One login for every server, sorted by their names as Go sorts the keys of a map.
pub(super) fn docker_config(logins: &BTreeMap<String, SecretLogin>) -> String {
    let entries: Vec<String> = logins
        .iter()
        .map(|(server, login)| {
            let (user, password) = (&login.user, login.password.expose());
            let auth = STANDARD.encode(format!("{user}:{password}"));
            format!(
                r#"{}:{{"username":{},"password":{},"auth":"{auth}"}}"#,
                string(server),
                string(user),
                string(password)
            )
        })
        .collect();
    format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
}

/// One Secret as kubectl prints it with `--output=json`; several as the list that it would read.
pub(super) fn documents(documents: &[Document<'_>]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        kind: &'static str,
        api_version: &'static str,
        metadata: BTreeMap<(), ()>,
        items: &'a [Document<'a>],
    }
    match documents {
        [document] => indented(document),
        items => indented(&List {
            kind: "List",
            api_version: "v1",
            metadata: BTreeMap::new(),
            items,
        }),
    }
}

/// Four blanks a level and a line break at the end. Nothing that Go alone escapes can stand in it:
/// the names of Kubernetes are checked, and the data is base64.
fn indented(value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    #[expect(clippy::expect_used, reason = "strings and maps always make JSON")]
    value
        .serialize(&mut serializer)
        .expect("a document is JSON");
    json.push(b'\n');
    String::from_utf8_lossy(&json).into_owned()
}

/// A string as Go's `json.Marshal` writes it since Go 1.22: what could end a `<script>` and what
/// JavaScript takes for line breaks are escaped too.
/// <https://pkg.go.dev/encoding/json#Marshal>
pub(super) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // A `String` takes all that is written to it.
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_escaped_reads_back(text in any::<String>()) {
            let json = string(&text);
            let escaped = json.contains(['<', '>', '&', '\n', '\u{2028}']);
            prop_assert!(!escaped);
            prop_assert_eq!(serde_json::from_str::<String>(&json).ok(), Some(text));
        }
    }

    /// As kubectl 1.32 writes it, which an older one on this machine may not.
    #[test]
    fn controls_are_escaped_as_go_has_done_it_since_1_22() {
        assert_eq!(
            string("\u{7}\u{8}\t\n\u{b}\u{c}\r\u{e}"),
            r#""\u0007\b\t\n\u000b\f\r\u000e""#
        );
    }

    #[test]
    fn each_server_has_one_login_in_the_order_of_the_names() {
        let logins = ["us.gcr.io", "gcr.io", "us.gcr.io"]
            .map(|server| (server.to_owned(), SecretLogin::new("u", "p")));
        let json = docker_config(&logins.into());
        assert_eq!(
            json,
            r#"{"auths":{"gcr.io":{"username":"u","password":"p","auth":"dTpw"},"us.gcr.io":{"username":"u","password":"p","auth":"dTpw"}}}"#
        );
    }
}
