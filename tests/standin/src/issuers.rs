//! OIDC issuers: the CIs whose tokens Google takes in trade, each with a key of its own, and the two
//! URLs that hand such tokens out.

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

/// Where GitHub's jobs ask for their tokens. The real host is one of many below this name.
pub(crate) const GITHUB: &str = "pipelines.actions.githubusercontent.com";
/// Where GitLab's jobs with `identity: google_cloud` do.
pub(crate) const GITLAB: &str = "auth.gcp.gitlab.com";

/// Who says so in a token of GitHub's.
pub(crate) const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Every issuer that gave out a token, and the jobs that may ask for one.
#[derive(Default)]
pub(crate) struct Issuers {
    keys: Mutex<BTreeMap<String, Arc<Key>>>,
    /// What the token of a job says, by what opens the URL for it.
    jobs: Mutex<BTreeMap<String, (String, Value)>>,
}

/// Keys of issuers lie behind those of accounts in the pool of the process.
const FIRST_KEY: usize = 2;

impl Issuers {
    /// A token of this issuer: its claims, and the times that every token has.
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

    /// Whether this issuer signed that.
    pub(crate) fn signed(&self, issuer: &str, text: &str, signature: &[u8]) -> bool {
        let keys = self.keys.lock().unwrap();
        let key = keys.get(issuer);
        key.is_some_and(|key| key.signed(text, signature))
    }

    /// Lets a job ask for tokens with these claims; gives what it has to show.
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

/// Answers a URL that hands out tokens.
pub(crate) fn answer(call: &Call, path: &str) -> Result<Answer, Refusal> {
    let is_github = call.site.host == GITHUB;
    let known = match is_github {
        true => path.ends_with("/idtoken"),
        false => path == "/token",
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
        // The URL has a query of its own, which the audience goes behind.
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
    let body = match is_github {
        true => json!({"count": token.len(), "value": token}),
        false => json!({"token": token}),
    };
    Ok(answer::json_body(200, &body))
}
