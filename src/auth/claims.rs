//! What an OIDC token says of itself. Its signature is Google's to check.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// What a token says, as far as advice depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtClaims {
    /// Who gave it out.
    pub issuer: String,
    /// Whom it is about.
    pub subject: String,
    /// Whom it is for.
    pub audience: String,
    /// GitHub's repository, `OWNER/NAME`.
    pub repository: String,
    /// The number of GitHub's repository.
    pub repository_id: String,
    /// GitLab's project, `GROUP/NAME`.
    pub project_path: String,
    /// The number of GitLab's project.
    pub project_id: String,
}

impl JwtClaims {
    /// Reads them from a JWT.
    pub fn of(token: &str) -> Option<Self> {
        let claims = payload(token)?;
        let text = |name: &str| {
            let text = match claims.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                // Several audiences, the first of which is the one that is asked for.
                Some(Value::Array(all)) => {
                    let first = all.first().and_then(Value::as_str);
                    first.unwrap_or_default().to_owned()
                }
                _ => String::new(),
            };
            text.chars().take(300).collect()
        };
        Some(Self {
            issuer: text("iss"),
            subject: text("sub"),
            audience: text("aud"),
            repository: text("repository"),
            repository_id: text("repository_id"),
            project_path: text("project_path"),
            project_id: text("project_id"),
        })
    }
}

/// The last second that a calendar of four-digit years holds.
const LAST: u64 = 253_402_300_799;

/// When a JWT stops working; none where it is no JWT or does not say.
pub(crate) fn expiry(token: &str) -> Option<SystemTime> {
    let seconds = payload(token)?.get("exp")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(LAST)))
}

fn payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwt_expiry_is_read_with_and_without_padding() {
        for payload in ["eyJleHAiOjF9", "eyJleHAiOjEwfQ=="] {
            assert!(expiry(&format!("e30.{payload}.x")).is_some(), "{payload}");
        }
        for none in ["", "a.b", "e30.e30.x", "ya29.a.b", "e30.eyJleHAiOjF9.x.y"] {
            assert_eq!(expiry(none), None, "{none}");
        }
    }
}
