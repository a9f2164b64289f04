//! Text of another side without what it was shown: the one way in which anything that a server, a
//! proxy or a program says gets into an error or a log.
//!
//! Some quote a request in their errors: OAuth's servers an assertion, admission webhooks the token
//! or the Secret that they were sent. What the process holds is found in the forms in which it is
//! sent and in base64 of them; what it does not hold, by its look.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::forms::MEMBERS;
use super::known;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A part of a secret of this length is no accident.
const PART: usize = 16;

/// How often base64 may be in base64: a login in a Docker config in a Secret.
const DEPTH: u32 = 3;

/// Takes every secret out of a text, and whatever looks like one.
pub fn redact(text: &str) -> String {
    let held = known::all();
    let mut text = without_private_keys(text);
    for form in held.iter().flat_map(|forms| forms.iter()) {
        if text.contains(form.as_str()) {
            text = text.replace(form.as_str(), HIDDEN);
        }
    }
    let held: Vec<&str> = held
        .iter()
        .flat_map(|forms| forms.iter().map(String::as_str))
        .collect();
    without_words(&without_members(&text), &held)
}

/// Without PEM's private keys, whatever their line breaks have become.
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

/// Without the values of the members of a JSON text that hold a secret.
fn without_members(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    // A name in quotes, which may be escaped themselves where JSON stands in JSON.
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
            // It is cut off.
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

/// Where the quote stands that ends a text which began with the same.
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

/// Without the words that are a secret, hold a part of one, or look like one.
fn without_words(text: &str, held: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    let mut last = "";
    while !rest.is_empty() {
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_shown = matches!(last, "Bearer" | "bearer" | "Basic" | "basic") && is_mixed(word);
        if is_shown || is_secret(word, held, DEPTH) {
            kept.push_str(HIDDEN);
        } else {
            kept.push_str(word);
        }
        if !word.is_empty() {
            last = word;
        }
        let next = after.find(is_of_word).unwrap_or(after.len());
        kept.push_str(&after[..next]);
        rest = &after[next..];
    }
    kept
}

/// True for what tokens, base64 and percent-encoding are made of. An `=` is, as padding.
fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '=' | '%')
}

/// True for what is data, not language.
fn is_mixed(word: &str) -> bool {
    word.len() >= PART
        && word.bytes().any(|byte| byte.is_ascii_digit())
        && word.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// True for a word that has a secret in it.
fn is_secret(word: &str, held: &[&str], depth: u32) -> bool {
    if word.len() < PART {
        return false;
    }
    looks_secret(word)
        || held.iter().any(|form| shares_a_part(word, form))
        || (word.contains('%') && holds_a_secret(&unescaped(word), held, depth))
        || decoded(word).any(|text| holds_a_secret(&text, held, depth))
}

/// True for text, out of base64, that has a secret in it.
fn holds_a_secret(text: &str, held: &[&str], depth: u32) -> bool {
    text.contains("PRIVATE KEY-----")
        || held.iter().any(|form| text.contains(form))
        || without_members(text) != text
        || (depth > 0
            && text
                .split(|c| !is_of_word(c))
                .any(|word| is_secret(word, held, depth - 1)))
}

/// The starts of tokens that are known by them: Google's, GitHub's and GitLab's.
const STARTS: [&str; 13] = [
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

/// True for what is a token by its look.
fn looks_secret(word: &str) -> bool {
    // `name=value`, as in a form.
    let value = match word.trim_end_matches('=').rsplit_once('=') {
        Some((_, value)) => value,
        None => word,
    };
    let is_token = STARTS.iter().any(|start| value.starts_with(start));
    (is_token && value.len() >= PART) || has_jwt(word)
}

/// True where two parts of a JWT stand in it: JSON objects in base64, with a point between them.
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

/// True where the two have that much in common. What is no single word, such as a whole key, has in
/// it what anybody may know.
fn shares_a_part(word: &str, form: &str) -> bool {
    form.len() >= PART
        && form.chars().all(is_of_word)
        && word
            .as_bytes()
            .windows(PART)
            .filter_map(|part| std::str::from_utf8(part).ok())
            .any(|part| form.contains(part))
}

/// The texts that a word may be base64 of, wherever in the whole of it the word may have begun.
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
    let is_base64 = word.len() >= PART && !word.contains(['.', '~', '%']);
    (0..4).filter_map(move |skipped| {
        let part = word.get(skipped..).filter(|_| is_base64)?;
        // One letter left over is half of a byte.
        let part = match part.len() % 4 {
            1 => &part[..part.len() - 1],
            _ => part,
        };
        let bytes = engine.decode(part).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// Without percent-encoding.
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

    /// No part of a secret of this length may be left.
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
            // A part of it.
            assert_hidden(&format!("{before} {}", &secret[start..start + 16]), &secret);
            for engine in [&BASE64, &URL_SAFE_NO_PAD] {
                let whole = engine.encode(format!("{before}{secret}{after}"));
                // Cut off, and begun anywhere.
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
