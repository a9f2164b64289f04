//! OIDC issuers: the CIs whose tokens Google accepts, each with its own key, and the two URLs that
//! issue such tokens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::call::{self, Call};
use crate::keys::Key;
use crate::random::opaque;

/// Where GitHub's jobs request their tokens. The real host is one of many below this name.
pub(crate) const GITHUB: &str = "pipelines.actions.githubusercontent.com";
/// Where GitLab's jobs with `identity: google_cloud` do.
pub(crate) const GITLAB: &str = "auth.gcp.gitlab.com";

/// The issuer of GitHub's tokens.
pub(crate) const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Every issuer of a token, and the jobs that may request one.
#[derive(Default)]
pub(crate) struct Issuers {
    keys: Mutex<BTreeMap<String, Arc<Key>>>,
    /// The claims of each job's token, by the credential for its URL.
    jobs: Mutex<BTreeMap<String, (String, Value)>>,
}

/// Keys of issuers come after those of accounts in the key pool of the process.
const FIRST_KEY: usize = 2;

impl Issuers {
    /// Issues a token with these claims and the times of every token.
    pub(crate) fn token(&self, issuer: &str, claims: &Value, lifetime: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("the clock is past 1970").as_secs();
        let mut claims = claims.clone();
        for (name, value) in [
            ("iss", json!(issuer)),
            ("iat", json!(now)),
            ("nbf", json!(now.saturating_sub(300))),
            ("exp", json!(now + lifetime.as_secs())),
        ] {
            if claims[name].is_null() {
                claims[name] = value;
            }
        }
        let head = json!({"alg": "RS256", "typ": "JWT", "kid": "1"});
        let text = [head, claims]
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = self.key(issuer).sign(&text);
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// True if this issuer made the signature.
    pub(crate) fn signed(&self, issuer: &str, text: &str, signature: &[u8]) -> bool {
        let keys = self.keys.lock().unwrap();
        let key = keys.get(issuer);
        key.is_some_and(|key| key.signed(text, signature))
    }

    /// Lets a job request tokens with these claims. Returns its credential.
    pub(crate) fn job(&self, issuer: &str, claims: Value) -> String {
        let opens = opaque(60);
        let mut jobs = self.jobs.lock().unwrap();
        jobs.insert(opens.clone(), (issuer.to_owned(), claims));
        opens
    }

    fn key(&self, issuer: &str) -> Arc<Key> {
        let mut keys = self.keys.lock().unwrap();
        let next = FIRST_KEY + keys.len();
        let key = keys
            .entry(issuer.to_owned())
            .or_insert_with(|| Key::nth(next));
        Arc::clone(key)
    }
}

/// Answers a URL that issues tokens.
pub(crate) fn answer(call: &Call, path: &str) -> Result<Answer, Refusal> {
    let is_github = call.site.host == GITHUB;
    let known = if is_github {
        path.ends_with("/idtoken")
    } else {
        path == "/token"
    };
    if call.method != Method::GET || !known {
        return Err(Refusal::page(404, "Not Found"));
    }
    let refused = || {
        let message = json!({"message": "The job is not known, or has ended."});
        Refusal::json(401, &message)
    };
    let opens = call::bearer(&call.headers).ok_or_else(refused)?;
    let issuers = &call.shared.issuers;
    let job = issuers.jobs.lock().unwrap().get(opens).cloned();
    let (issuer, mut claims) = job.ok_or_else(refused)?;
    if is_github {
        // The URL has a query of its own, and the audience is appended to it.
        let audiences: Vec<&str> = call.query.all("audience").collect();
        if call.query.get("api-version") != Some("2.0") || audiences.len() > 1 {
            return Err(Refusal::json(400, &json!({"message": "Bad Request"})));
        }
        let own = "https://github.com/acme";
        claims["aud"] = audiences.first().copied().unwrap_or(own).into();
    }
    let lifetime = call.behaviour.oidc_lifetime;
    let token = issuers.token(&issuer, &claims, lifetime);
    call.shared.accounts.keep_secret(&token);
    let body = if is_github {
        json!({"count": token.len(), "value": token})
    } else {
        json!({"token": token})
    };
    Ok(answer::json_body(200, &body))
}
