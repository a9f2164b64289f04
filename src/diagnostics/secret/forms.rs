//! The strings that are redacted for a secret: the secret members of a key, the lines of a private
//! key.

use serde_json::Value;

/// The minimum length of a string that is redacted. Shorter ones would match parts of words and
/// numbers.
pub(super) const MIN_LENGTH: usize = 8;

/// The minimum length of a word in a larger text that is considered a secret.
const MIN_WORD_LENGTH: usize = 20;

/// The members with secrets in keys, credential files, token responses and Docker configs.
pub(super) const MEMBERS: [&str; 13] = [
    "access_token",
    "accesstoken",
    "auth",
    "authorization",
    "client_secret",
    "id_token",
    "identitytoken",
    "password",
    "private_key",
    "refresh_token",
    "registrytoken",
    "subject_token",
    "token",
];

/// Returns the strings that are redacted for a secret. Each is a single line, none is short, and
/// none is public, such as the project in a key. A CI masks each line of a multi-line mask, which
/// would include `{`.
pub fn forms(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    collect(text, &mut forms);
    forms
}

fn collect(text: &str, forms: &mut Vec<String>) {
    let text = text.trim();
    if !text.contains(['\n', '\r']) {
        if text.len() >= MIN_LENGTH {
            forms.push(text.to_owned());
        }
    } else if !text.starts_with('{') {
        // A private key, or YAML that contains one.
        let escaped = text.replace('\n', "\\n");
        if text.starts_with("-----BEGIN") {
            forms.push(escaped);
        }
        let words = text.split_whitespace();
        forms.extend(words.filter(|word| is_opaque(word)).map(str::to_owned));
    }
    if let Ok(document) = serde_json::from_str::<Value>(text) {
        collect_from(&document, forms);
    }
}

/// Collects the secrets in a key, a credential file or a Docker `config.json`, by the names of
/// their members.
fn collect_from(document: &Value, forms: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if MEMBERS.contains(&name.to_lowercase().as_str()) => {
                        collect(text.trim_start_matches("Bearer "), forms);
                    }
                    Value::String(_) => {}
                    _ => collect_from(value, forms),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_from(item, forms)),
        _ => {}
    }
}

/// True for a word that is data and not language: a line of PEM, or base64 in YAML. Names of
/// projects, hosts and namespaces have no capitals.
fn is_opaque(word: &str) -> bool {
    let is_data = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    word.len() >= MIN_WORD_LENGTH
        && word.bytes().all(is_data)
        && word.bytes().any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase())
        && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7VJTU\nt9w==\n-----END PRIVATE KEY-----\n";

    #[test]
    fn multi_line_key_is_masked_by_its_secret_only() {
        let key = serde_json::json!({
            "type": "service_account",
            "project_id": "acme-production",
            "private_key": PEM,
            "client_email": "ci@acme-production.iam.gserviceaccount.com",
        });
        let key = serde_json::to_string_pretty(&key).unwrap();
        let forms = forms(&key);
        assert_eq!(
            forms,
            [
                "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEF\\nAASCBKcwggSjAgEAAoIBAQC7VJTU\\nt9w==\\n-----END PRIVATE KEY-----",
                "MIIEvQIBADANBgkqhkiG9w0BAQEF",
                "AASCBKcwggSjAgEAAoIBAQC7VJTU",
            ]
        );
    }

    #[test]
    fn single_line_key_is_masked_as_a_line_too() {
        let key = serde_json::json!({"private_key": PEM}).to_string();
        assert_eq!(forms(&key)[0], key);
        assert!(forms(&key).contains(&"MIIEvQIBADANBgkqhkiG9w0BAQEF".to_owned()));
    }

    #[test]
    fn tokens_and_logins_are_masked_unless_short() {
        assert_eq!(forms("ya29.token-token\n"), ["ya29.token-token"]);
        assert_eq!(forms("hunter2"), [""; 0]);
        let config = r#"{
            "auths": {"registry.example": {"username": "robot-robot", "password": "hunter2hunter2"}},
            "HttpHeaders": {"Authorization": "Bearer token-token"}
        }"#;
        let mut masked = forms(config);
        masked.sort();
        assert_eq!(masked, ["hunter2hunter2", "token-token"]);
    }

    #[test]
    fn opaque_yaml_values_are_masked() {
        let yaml = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: gcr-pull-of-production-2\n  namespace: team-payments-production-2\ndata:\n  .dockerconfigjson: eyJhdXRocyI6eyJnY3IuaW8iOnt9fX0=\n";
        assert_eq!(forms(yaml), ["eyJhdXRocyI6eyJnY3IuaW8iOnt9fX0="]);
    }

    #[test]
    fn masks_are_long_and_on_one_line() {
        for text in [
            "{\n}",
            "{}",
            "[\n]",
            "a\nb",
            "",
            "\n\n",
            "{\"token\":\"x\"}",
        ] {
            for form in forms(text) {
                assert!(form.len() >= MIN_LENGTH && !form.contains('\n'), "{form}");
            }
        }
    }
}
