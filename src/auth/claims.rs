//! Claims of an OIDC token. Google verifies the signature.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims that hints depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtClaims {
    /// The `iss` claim.
    pub issuer: String,
    /// The `sub` claim.
    pub subject: String,
    /// The `aud` claim.
    pub audience: String,
    /// GitHub's `repository` claim, `OWNER/NAME`.
    pub repository: String,
    /// GitHub's `repository_id` claim.
    pub repository_id: String,
    /// GitLab's `project_path` claim, `GROUP/NAME`.
    pub project_path: String,
    /// GitLab's `project_id` claim.
    pub project_id: String,
}

impl JwtClaims {
    /// Decodes the claims of a JWT.
    pub fn of(token: &str) -> Option<Self> {
        let claims = payload(token)?;
        let text = |name: &str| {
            let text = match claims.get(name) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                // Of several audiences the first is the requested one.
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

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Returns when a JWT expires. `None` if it is not a JWT or has no `exp` claim.
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
