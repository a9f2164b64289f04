//! Diagnoses a text that should be a key's JSON but is not: the usual ways in which a key is
//! damaged on its way into a variable, and the fix for each.
//!
//! Messages quote no part of the text, except the name of a variable that was not replaced.

use super::document::{looks_like_a_path, text_of};
use crate::diagnostics::sanitize::base64;

/// The description of a damaged text, and the fix if there is one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) what: String,
    pub(super) fix: Option<String>,
}

impl Damage {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: Some(fix.into()),
        }
    }
}

/// The fix for keys that shells, YAML or web forms change.
const AS_BASE64: &str = "store it as base64, so that nothing changes it: `base64 -w0 key.json`";
const WHOLE_FILE: &str = "use the whole JSON file that `gcloud iam service-accounts keys create \
                          key.json --iam-account=ACCOUNT` writes";

/// Diagnoses a text that is not valid JSON. `None` if it matches no known damage.
pub(super) fn damage(text: &str) -> Option<Damage> {
    let text = text.trim();
    of_placeholder(text)
        .or_else(|| of_prefix(text))
        .or_else(|| text.starts_with('{').then(|| of_json(text)))
        .or_else(|| of_other_text(text))
        .or_else(|| of_base64(text))
}

/// Recognizes other kinds of JSON, without `type` or not an object. `None` if it is of no known
/// kind.
pub(super) fn other_json(text: &str) -> Option<Damage> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let has = |member: &str| json.get(member).is_some();
    if json.is_array() {
        return Some(Damage::new(
            "it is a JSON array",
            "use only the object in it, from `{` to `}`",
        ));
    }
    if has("installed") || has("web") {
        return Some(Damage::new(
            "it is an OAuth client, not a service-account key",
            WHOLE_FILE,
        ));
    }
    if has("auths") || has("credHelpers") || has("credsStore") {
        return Some(Damage::new(
            "it is a Docker config, not a service-account key",
            "put it in `docker_config`",
        ));
    }
    if has("apiVersion") && has("kind") {
        return Some(Damage::new(
            "it is a Kubernetes object, not a service-account key",
            "use the key in it: `kubectl get secret NAME -o jsonpath='{.data.KEY}'` prints it as \
             base64, which is accepted",
        ));
    }
    None
}

/// Diagnoses a `private_key` that cannot be parsed. `None` if the damage is not known.
pub(super) fn of_private_key(json: &str) -> Option<Damage> {
    const BEGIN: &str = "-----BEGIN";
    #[derive(serde::Deserialize)]
    struct File {
        private_key: String,
    }
    let key = serde_json::from_str::<File>(json).ok()?.private_key;
    let what = if key.contains("\\n") {
        "the line breaks of its `private_key` are escaped twice (`\\\\n` instead of `\\n`)"
    } else if !key.trim_start().starts_with(BEGIN) {
        "its `private_key` does not begin with `-----BEGIN PRIVATE KEY-----`"
    } else if key.contains("ENCRYPTED") {
        "its `private_key` is encrypted"
    } else if key.trim().contains('\n') {
        let is_cut = !key.contains("-----END");
        return is_cut.then(|| Damage::new("its `private_key` is cut off", AS_BASE64));
    } else if key.contains("-----n") {
        "the `\\n` of its `private_key` lost their backslashes"
    } else if key.trim_end_matches('-').contains("----- ") {
        "the line breaks of its `private_key` became spaces"
    } else {
        "the line breaks of its `private_key` are gone"
    };
    Some(Damage::new(what, AS_BASE64))
}

fn of_placeholder(text: &str) -> Option<Damage> {
    const FIX: &str = "check the variable's name, that the variable is set in this job, and that \
                       no quotes prevent its replacement";
    if is_placeholder(text) {
        return Some(Damage::new(
            format!("it is `{text}`: the variable was not replaced by its value"),
            FIX,
        ));
    }
    // The text in these forms may still be a secret, so it is not quoted.
    if text.starts_with("$(") && text.ends_with(')') {
        return Some(Damage::new(
            "it is a command in `$(…)` that no shell ran",
            FIX,
        ));
    }
    let is_reference = text.strip_prefix('$').is_some_and(is_variable);
    is_reference.then(|| {
        Damage::new(
            "it begins with `$`: a variable was not replaced by its value",
            FIX,
        )
    })
}

fn is_variable(name: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(is_letter)
}

/// True for a reference to a variable that a CI or a shell should have replaced, which is no
/// secret. A bare `$NAME` has to be in upper case, because a password may look like `$name`.
pub(super) fn is_placeholder(text: &str) -> bool {
    const LONGEST: usize = 120;
    let inner = |before: &str, after: &str| text.strip_prefix(before)?.strip_suffix(after);
    let is_upper = |name: &str| is_variable(name) && !name.bytes().any(|b| b.is_ascii_lowercase());
    let is_path = |path: &str| {
        let path = path.trim();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.[]'\"".contains(c);
        path.contains('.') && path.chars().all(is_part)
    };
    let is_template = ["${{", "{{", "$[["]
        .iter()
        .zip(["}}", "}}", "]]"])
        .any(|(before, after)| inner(before, after).is_some_and(is_path));
    text.len() <= LONGEST
        && (is_template
            || inner("${", "}").is_some_and(is_variable)
            || inner("$", "").is_some_and(is_upper)
            || inner("%", "%").is_some_and(is_upper))
}

fn of_prefix(text: &str) -> Option<Damage> {
    if text.starts_with("-----BEGIN") {
        return Some(Damage::new("it is only a private key (PEM)", WHOLE_FILE));
    }
    if text.starts_with("_json_key") {
        return Some(Damage::new(
            "it begins with a registry's user name (`_json_key`)",
            "use only the key, from `{` to `}`",
        ));
    }
    let (name, rest) = text.split_once('=')?;
    let is_name = !name.is_empty()
        && name
            .trim_start_matches("export ")
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_value = rest.trim_start_matches(['\'', '"', ' ']).starts_with('{')
        || base64(rest).is_some_and(|bytes| bytes.starts_with(b"{"));
    (is_name && is_value).then(|| {
        Damage::new(
            "it begins with a name and `=`",
            "use only the value, without `NAME=`",
        )
    })
}

/// Diagnoses a text that begins as JSON but is invalid.
fn of_json(text: &str) -> Damage {
    use serde_json::error::Category;

    let compact = "store it on one line, as `jq --compact-output . key.json` prints it, or as base64: \
         `base64 -w0 key.json`";
    let fault = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => {
            return Damage {
                what: "it is JSON, but not a credential".to_owned(),
                fix: Some(WHOLE_FILE.to_owned()),
            };
        }
        Err(fault) => fault,
    };
    let place = format!("line {}, column {}", fault.line(), fault.column());
    let said = fault.to_string();
    let after_brace = text[1..].trim_start_matches(' ');
    if after_brace.starts_with("\\n") || after_brace.starts_with("\\r") {
        return Damage::new(
            "the line breaks between its members are escaped (as `\\n`)",
            compact,
        );
    }
    if said.starts_with("control character") {
        return Damage::new(
            format!("a value of its JSON contains a line break instead of `\\n` ({place})"),
            compact,
        );
    }
    if fault.classify() == Category::Eof {
        return Damage::new(
            format!("its JSON ends too early ({place}): it was cut off"),
            "use the whole file; if a variable accepts only one line, use base64: `base64 -w0 \
             key.json`",
        );
    }
    if text.contains(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2019}']) {
        return Damage::new(
            "an editor changed the quotes of its JSON to typographic quotes",
            "copy the file itself, or store it as base64: `base64 -w0 key.json`",
        );
    }
    if !text.contains('"') {
        let what = if text.contains('\'') {
            "it has single quotes, but JSON requires double quotes"
        } else {
            "its quotes are missing: a shell or a template removed them"
        };
        return Damage::new(what, AS_BASE64);
    }
    if said.starts_with("trailing comma") {
        return Damage::new(format!("its JSON has an extra comma ({place})"), compact);
    }
    if said.starts_with("trailing characters") {
        return Damage::new(
            format!("there is text after its JSON ({place})"),
            "use only the key, from `{` to `}`",
        );
    }
    if text.contains('\u{a0}') {
        return Damage::new(
            format!("its JSON contains no-break spaces ({place})"),
            "copy the file itself, or store it as base64: `base64 -w0 key.json`",
        );
    }
    Damage::new(format!("its JSON is not valid ({place})"), compact)
}

fn of_other_text(text: &str) -> Option<Damage> {
    let yaml = ["type:", "private_key:", "client_email:", "\"type\":"];
    if text.lines().any(|line| {
        yaml.iter()
            .any(|member| line.trim_start().starts_with(member))
    }) {
        let what = if text.contains("\"type\":") {
            "its JSON has lost its braces"
        } else {
            "it is YAML"
        };
        return Some(Damage::new(what, WHOLE_FILE));
    }
    if text.ends_with(".gserviceaccount.com") && text.contains('@') {
        return Some(Damage::new(
            "it is the address of a service account, not its key",
            WHOLE_FILE,
        ));
    }
    if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(Damage::new(
            "it is the ID of a key, not the key",
            WHOLE_FILE,
        ));
    }
    if text.starts_with("ya29.") {
        return Some(Damage::new(
            "it is an access token",
            "put it in `access_token`",
        ));
    }
    let is_jwt = text.starts_with("ey") && text.split('.').count() == 3;
    is_jwt.then(|| {
        Damage::new(
            "it is a JWT",
            "put an OIDC token in `oidc_token`, and set `workload_identity_provider`",
        )
    })
}

fn of_base64(text: &str) -> Option<Damage> {
    // Any short word is valid base64.
    const SHORTEST: usize = 8;
    if text.len() < SHORTEST || looks_like_a_path(text) {
        return None;
    }
    let bytes = base64(text)?;
    // The start of an ASN.1 sequence of two length bytes (PKCS #12).
    if bytes.starts_with(&[0x30, 0x82]) {
        return Some(Damage::new(
            "it is base64 of a key in another format (P12 or DER)",
            WHOLE_FILE,
        ));
    }
    let inner = text_of(bytes)?;
    let inner = inner.trim();
    if inner.is_empty() || !inner.chars().all(|c| !c.is_control() || c.is_whitespace()) {
        return None;
    }
    if looks_like_a_path(inner) {
        return Some(Damage::new(
            "it is base64 of a path, not of the file",
            "encode the file: `base64 -w0 key.json`",
        ));
    }
    let damage = damage(inner)?;
    Some(Damage {
        what: format!("decoded from base64: {}", damage.what),
        fix: damage.fix,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";

    fn what(text: &str) -> String {
        damage(text).map(|damage| damage.what).unwrap_or_default()
    }

    #[test]
    fn placeholder_is_named() {
        for text in [
            "$GCR_KEY",
            "${GCR_KEY}",
            "${gcr_key}",
            "${{ secrets.GCR_KEY }}",
            "{{ .Values.key }}",
            "$[[ inputs.key ]]",
            "%GCR_KEY%",
        ] {
            assert!(what(text).contains(text), "{text}: {}", what(text));
        }
        for text in ["$hunter2", "$(echo hunter2)"] {
            assert!(what(text).contains("`$"), "{text}: {}", what(text));
            assert!(!what(text).contains("hunter2"), "{text}: {}", what(text));
        }
        let long = format!("$hunter.{}", "x".repeat(200));
        for text in ["$", "${}", "<hunter2>", "%hunter2%", "$2y$10$abc", &long] {
            assert!(!what(text).contains(text), "{text}: {}", what(text));
        }
    }

    #[test]
    fn unrecognizable_text_gets_no_description() {
        for text in ["hunter2", "nonsense", "correct horse", "key.json", "~/key"] {
            assert_eq!(damage(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn damage_shows_no_secret(
            before in "[-{\\[\"'$\\\\n =:,a-z]{0,12}",
            after in "[-}\\]\"'$\\\\n =:,a-z]{0,12}",
            encoded: bool,
        ) {
            use base64::Engine as _;
            use base64::engine::general_purpose::STANDARD;
            let mut text = format!("{before}{SECRET}{after}");
            if encoded {
                text = STANDARD.encode(text);
            }
            let found = [damage(&text), other_json(&text), of_private_key(&text)];
            for damage in found.into_iter().flatten() {
                // The name of a variable is no secret.
                if !damage.what.contains("nothing replaced") {
                    prop_assert!(!damage.what.contains(SECRET));
                    prop_assert!(!damage.fix.unwrap_or_default().contains(SECRET));
                }
            }
        }
    }
}
