//! The bytes of a `.dockerconfigjson` as kubectl writes them: Go's `json.Marshal`, which escapes
//! more than JSON asks for.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One login for every server, sorted by their names as Go sorts the keys of a map.
pub(super) fn docker_config<'a>(
    servers: impl Iterator<Item = &'a str>,
    user: &str,
    password: &str,
) -> String {
    let auth = STANDARD.encode(format!("{user}:{password}"));
    let login = format!(
        r#"{{"username":{},"password":{},"auth":"{auth}"}}"#,
        string(user),
        string(password)
    );
    let entries: Vec<String> = servers
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|server| format!("{}:{login}", string(server)))
        .collect();
    format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
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

    #[test]
    fn each_server_has_one_login_in_the_order_of_the_names() {
        let json = docker_config(["us.gcr.io", "gcr.io", "us.gcr.io"].into_iter(), "u", "p");
        assert_eq!(
            json,
            r#"{"auths":{"gcr.io":{"username":"u","password":"p","auth":"dTpw"},"us.gcr.io":{"username":"u","password":"p","auth":"dTpw"}}}"#
        );
    }
}
