//! Redacts secrets from the text of servers, proxies and programs. All such text passes through
//! here before it gets into an error or a log.
//!
//! Some servers quote a request in their errors: OAuth servers an assertion, admission webhooks the
//! token or the Secret that they received. The secrets of the process are found in the forms in
//! which they are sent and in base64 of these. Other secrets are found by their format.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::forms::MEMBERS;
use super::known;

/// The replacement for a secret.
const HIDDEN: &str = "***";

/// A common part of this length is not accidental.
const MIN_COMMON: usize = 16;

/// How often base64 may be nested: a login in a Docker config in a Secret.
const MAX_DEPTH: u32 = 3;

/// Redacts all secrets of the process, and everything that looks like a secret.
pub fn redact(text: &str) -> String {
    let secrets = known::all();
    let mut text = without_private_keys(text);
    for form in secrets.iter().flat_map(|forms| forms.iter()) {
        if text.contains(form.as_str()) {
            text = text.replace(form.as_str(), HIDDEN);
        }
    }
    let secrets: Vec<&str> = secrets
        .iter()
        .flat_map(|forms| forms.iter().map(String::as_str))
        .collect();
    without_words(&without_members(&text), &secrets)
}

/// Redacts private keys in PEM, even if their line breaks were changed.
fn without_private_keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        let (label, inside) = block[BEGIN.len()..].split_once("-----").unwrap_or_default();
        if !label.ends_with("PRIVATE KEY") {
            kept.push_str(&rest[..at + BEGIN.len()]);
            rest = &rest[at + BEGIN.len()..];
            continue;
        }
        kept.push_str(before);
        kept.push_str(HIDDEN);
        rest = match inside.split_once(END) {
            Some((_, after)) => after.split_once("-----").map_or("", |(_, after)| after),
            None => "",
        };
    }
    kept + rest
}

/// Redacts the values of secret members in JSON.
fn without_members(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    // A quoted name. The quotes are escaped if the JSON is inside JSON.
    while let Some(end) = [rest.find("\":"), rest.find("\" :")]
        .into_iter()
        .flatten()
        .min()
    {
        let (before, after) = rest.split_at(end + 1);
        let name = before[..end].trim_end_matches('\\');
        let name = name
            .rsplit(['"', '\\', ' ', '{', ','])
            .next()
            .unwrap_or_default();
        kept.push_str(before);
        rest = after;
        if !MEMBERS.contains(&name.to_lowercase().as_str()) {
            continue;
        }
        let value = after.trim_start_matches([' ', ':']);
        let quote = match value.find('"') {
            Some(at) if value[..at].chars().all(|c| c == '\\') => &value[..=at],
            _ => continue,
        };
        let value = &value[quote.len()..];
        let Some(close) = closing(value, quote) else {
            // The value is cut off.
            kept.push_str(&after[..after.len() - value.len()]);
            kept.push_str(HIDDEN);
            return kept;
        };
        kept.push_str(&after[..after.len() - value.len()]);
        kept.push_str(HIDDEN);
        rest = &value[close..];
    }
    kept + rest
}

/// Returns the position of the quote that closes a text.
fn closing(value: &str, quote: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = value[from..].find(quote) {
        let at = from + at;
        let is_escaped = value[..at].ends_with('\\');
        if !is_escaped {
            return Some(at);
        }
        from = at + quote.len();
    }
    None
}

/// Redacts words that are a secret, contain a part of one, or look like one.
fn without_words(text: &str, secrets: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut last = "";
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_authorization =
            matches!(last, "Bearer" | "bearer" | "Basic" | "basic") && is_mixed(word);
        if is_authorization || is_secret(word, secrets, MAX_DEPTH) {
            kept.push_str(HIDDEN);
        } else {
            kept.push_str(word);
        }
        if !word.is_empty() {
            last = word;
        }
        let next = after.find(is_word_char).unwrap_or(after.len());
        kept.push_str(&after[..next]);
        rest = &after[next..];
    }
    kept
}

/// True for the characters of tokens, base64 and percent-encoding. `=` is used as padding.
fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=' | '%')
}

/// True for a word that is data and not language.
fn is_mixed(word: &str) -> bool {
    word.len() >= MIN_COMMON
        && word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// True for a word that contains a secret.
fn is_secret(word: &str, secrets: &[&str], depth: u32) -> bool {
    if word.len() < MIN_COMMON {
        return false;
    }
    looks_secret(word)
        || secrets.iter().any(|form| has_common_part(word, form))
        || (word.contains('%') && contains_secret(&unescaped(word), secrets, depth))
        || decoded(word).any(|text| contains_secret(&text, secrets, depth))
}

/// True for decoded text that contains a secret.
fn contains_secret(text: &str, secrets: &[&str], depth: u32) -> bool {
    text.contains("PRIVATE KEY-----")
        || secrets.iter().any(|form| text.contains(form))
        || without_members(text) != text
        || (depth > 0
            && text
                .split(|c| !is_word_char(c))
                .any(|word| is_secret(word, secrets, depth - 1)))
}

/// The prefixes of tokens of Google, GitHub and GitLab.
const TOKEN_PREFIXES: [&str; 13] = [
    "ya29.",
    "1//0",
    "GOCSPX-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "glcbt-",
    "gldt-",
    "glrt-",
];

/// True for a word that looks like a token.
fn looks_secret(word: &str) -> bool {
    // `name=value`, as in a form.
    let value = match word.trim_end_matches('=').rsplit_once('=') {
        Some((_, value)) => value,
        None => word,
    };
    let is_token = TOKEN_PREFIXES.iter().any(|start| value.starts_with(start));
    (is_token && value.len() >= MIN_COMMON) || has_jwt(word)
}

/// True if the word contains two parts of a JWT: JSON objects in base64, separated by a point.
fn has_jwt(word: &str) -> bool {
    let (parts, mut from) = ("eyJ", 0);
    while let Some(at) = word[from..].find(parts) {
        let rest = &word[from + at..];
        let is_jwt = rest.split_once('.').is_some_and(|(head, claims)| {
            head.len() >= 10 && claims.len() >= 10 && !head.contains('/')
        });
        if is_jwt {
            return true;
        }
        from += at + parts.len();
    }
    false
}

/// True if the word and the form have a common part of [`MIN_COMMON`] bytes. Forms of several
/// words, such as a whole key, contain public text and are excluded.
fn has_common_part(word: &str, form: &str) -> bool {
    form.len() >= MIN_COMMON
        && form.chars().all(is_word_char)
        && word
            .as_bytes()
            .windows(MIN_COMMON)
            .filter_map(|part| std::str::from_utf8(part).ok())
            .any(|part| form.contains(part))
}

/// Decodes a word as base64, for all possible positions of its start in the encoded text.
fn decoded(word: &str) -> impl Iterator<Item = String> {
    let engine = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let word = word.trim_end_matches('=');
    let word = word.rsplit('=').next().unwrap_or(word);
    let word = word.replace('-', "+").replace('_', "/");
    let is_base64 = word.len() >= MIN_COMMON && !word.contains(['.', '~', '%']);
    (0..4).filter_map(move |skipped| {
        let part = word.get(skipped..).filter(|_| is_base64)?;
        // A single remaining character is not a complete byte.
        let part = match part.len() % 4 {
            1 => &part[..part.len() - 1],
            _ => part,
        };
        let bytes = engine.decode(part).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// Decodes percent-encoding.
fn unescaped(word: &str) -> String {
    let pairs = url::form_urlencoded::parse(word.as_bytes());
    let parts: Vec<String> = pairs
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::diagnostics::secret::Secret;

    /// No part of a secret of this length may remain.
    fn assert_hidden(text: &str, secret: &str) {
        let shown = redact(text);
        for part in secret.as_bytes().windows(20) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!shown.contains(part), "`{part}` is left in {shown}");
        }
        assert!(shown.contains(HIDDEN), "{shown}");
    }

    #[test]
    fn text_without_secret_is_unchanged() {
        for text in [
            "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \
             \"projects/acme/locations/us/repositories/gcr.io\" (or it may not exist)",
            "The issuer in ID Token https://token.actions.githubusercontent.com/acme does not match",
            "secrets \"gcr-pull\" is forbidden: User \"system:serviceaccount:ci:gcr-push\" cannot get",
            "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github",
            "Remediate access - https://console.cloud.google.com/iam-admin/troubleshooter;errorId=0a1b2c3d4e5f",
            "Bearer realm=\"https://gcr.io/v2/token\",service=\"gcr.io\"",
            "-----BEGIN CERTIFICATE----- is not what was expected",
            "naïve – “token”: none",
            "",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn registered_secret_is_hidden_in_every_form_until_dropped() {
        let text = "correct horse/battery+staple\"9";
        let form = url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let quoted = serde_json::Value::from(text).to_string();
        let login = BASE64.encode(format!("robot:{text}"));
        let config = BASE64.encode(format!(r#"{{"auths":{{"r":{{"auth":"{login}"}}}}}}"#));
        let all = [text.to_owned(), quoted, login, config, form];
        {
            let _held = Secret::new(text);
            for text in &all[..4] {
                assert_ne!(redact(text), *text, "{text}");
            }
        }
        assert_eq!(redact(&all[0]), all[0]);
    }

    #[test]
    fn public_parts_of_a_key_are_shown() {
        let key =
            r#"{"client_email":"ci@acme.iam.gserviceaccount.com","private_key":"hunter2-hunter2"}"#;
        let _held = Secret::new(key);
        let text = "signing in as `ci@acme.iam.gserviceaccount.com`";
        assert_eq!(redact(text), text);
        assert_eq!(redact("hunter2-hunter2"), HIDDEN);
    }

    #[test]
    fn secret_looking_text_is_hidden() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJjaUBwIn0=.c2lnbmF0dXJlLXNpZ25hdHVyZQ==";
        for text in [
            jwt.to_owned(),
            format!("could not parse assertion={jwt}"),
            format!("grant_type=x&assertion={}", jwt.replace('=', "%3D")),
            format!("Authorization: Bearer {}", "x1y2z3".repeat(5)),
            format!(
                "Authorization: Basic {}",
                BASE64.encode("robot:hunter2hunter2")
            ),
            "the token ya29.a0AfH6SMBx-1234567890".to_owned(),
            "1//0gabcdefghijklmnop".to_owned(),
            r#"{"password":"hunter2","username":"robot"}"#.to_owned(),
            r#"denied: {\"data\":{\"token\":\"hunter2\"}}"#.to_owned(),
            r#"cut off: {"auth": "aHVudGVy"#.to_owned(),
            "-----BEGIN PRIVATE KEY-----\\nMIIEvQ\\n-----END PRIVATE KEY-----\\n".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQ".to_owned(),
            BASE64.encode(jwt),
            BASE64.encode(r#"{"auths":{"gcr.io":{"password":"hunter2"}}}"#),
        ] {
            let shown = redact(&text);
            assert!(shown.contains(HIDDEN), "{text} -> {shown}");
            for part in [
                "hunter2", "MIIEvQ", "eyJhbGci", "aHVudGVy", "x1y2z3", "AfH6SMBx",
            ] {
                assert!(!shown.contains(part), "{text} -> {shown}");
            }
        }
    }

    #[test]
    fn member_is_hidden_and_its_surroundings_are_not() {
        assert_eq!(
            redact(r#"admission webhook "w" denied: {"a":"b","token":"x\"y","c":1} is bad"#),
            r#"admission webhook "w" denied: {"a":"b","token":"***","c":1} is bad"#
        );
        assert_eq!(redact(r#"{"token":null,"x":1}"#), r#"{"token":null,"x":1}"#);
    }

    proptest! {
        #[test]
        fn no_part_of_a_quoted_secret_remains(
            secret in "[A-Za-z0-9._~+/-]{24,200}",
            before in "[ -~]{0,40}",
            after in "[ -~]{0,40}",
            start in 0..8usize,
        ) {
            let _held = Secret::new(secret.as_str());
            assert_hidden(&format!("{before}{secret}{after}"), &secret);
            // A part of the secret.
            assert_hidden(&format!("{before} {}", &secret[start..start + 16]), &secret);
            for engine in [&BASE64, &URL_SAFE_NO_PAD] {
                let whole = engine.encode(format!("{before}{secret}{after}"));
                // Cut off at both ends.
                let cut = &whole[..whole.len() - after.len()];
                let begun = &cut[start.min(before.len())..];
                for text in [&whole, cut, begun] {
                    let text = format!("{before} {text} {after}");
                    let shown = redact(&text);
                    prop_assert!(!shown.contains(begun), "{}", shown);
                }
            }
        }

        #[test]
        fn any_text_is_accepted(text in any::<String>()) {
            let shown = redact(&text);
            prop_assert_eq!(&redact(&shown), &shown);
        }
    }
}
