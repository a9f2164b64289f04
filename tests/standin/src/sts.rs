//! `sts.googleapis.com`: exchanges a token of another issuer for one of Google's (RFC 8693), if a
//! provider accepts it. cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token; the texts
//! of refusals are those that users pasted.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, header};
use serde_json::{Value, json};

use crate::answer::{self, Answer, Refusal};
use crate::call::{Call, Query};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/iam",
];

/// Answers a request.
pub(crate) async fn answer(call: &mut Call, path: &str) -> Result<Answer, Refusal> {
    if call.method != Method::POST {
        return Err(Refusal::page(404, "Not Found"));
    }
    let body = call.body.whole(64 * 1024).await?.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    match path {
        "/v1/token" => token(call, &text),
        "/v1/introspect" => introspect(call, &text),
        _ => Err(Refusal::page(404, "Not Found")),
    }
}

/// The fields of a request, as a form or as JSON in camel case.
fn fields(call: &Call, text: &str) -> Result<BTreeMap<&'static str, String>, Refusal> {
    const NAMES: [(&str, &str); 7] = [
        ("grant_type", "grantType"),
        ("audience", "audience"),
        ("scope", "scope"),
        ("requested_token_type", "requestedTokenType"),
        ("subject_token", "subjectToken"),
        ("subject_token_type", "subjectTokenType"),
        ("options", "options"),
    ];
    let kind = call.header(header::CONTENT_TYPE).unwrap_or_default();
    let mut fields = BTreeMap::new();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let form = Query::parse(text);
        for (name, _) in NAMES {
            if let Some(value) = form.get(name) {
                fields.insert(name, value.to_owned());
            }
        }
    } else if kind.starts_with("application/json") {
        let json: Value = serde_json::from_str(text).map_err(|_| refused("invalid_request", ""))?;
        for (name, camel) in NAMES {
            if let Some(value) = json[camel].as_str() {
                fields.insert(name, value.to_owned());
            }
        }
    } else {
        return Err(refused("invalid_request", "Unsupported content type."));
    }
    Ok(fields)
}

fn token(call: &Call, text: &str) -> Result<Answer, Refusal> {
    let fields = fields(call, text)?;
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let subject = field("subject_token");
    call.shared.accounts.keep_secret(subject);
    if field("grant_type") != TOKEN_EXCHANGE {
        return Err(refused("unsupported_grant_type", "Invalid grant_type."));
    }
    if field("requested_token_type") != ACCESS_TOKEN {
        return Err(refused("invalid_request", "Invalid requested token type."));
    }
    let kinds = ["jwt", "id_token"].map(|kind| format!("urn:ietf:params:oauth:token-type:{kind}"));
    if !kinds.iter().any(|kind| kind == field("subject_token_type")) {
        return Err(refused("invalid_request", "Invalid subject token type."));
    }
    let mut scopes = field("scope").split(' ');
    if !scopes.all(|scope| SCOPES.contains(&scope)) {
        return Err(refused("invalid_scope", "The scope is not known."));
    }
    let provider = Provider::find(call, field("audience"))?;
    let claims = provider.claims(call, subject)?;
    let principal = provider.apply_mapping(call, &claims)?;
    // It lives no longer than the token that it was exchanged for.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("the clock is past 1970").as_secs();
    let left = claims["exp"].as_u64().unwrap_or(0).saturating_sub(now);
    let lifetime = call
        .behaviour
        .oauth_lifetime
        .min(std::time::Duration::from_secs(left));
    let token = call.shared.accounts.access_token(&principal, lifetime);
    Ok(answer::json_body(
        200,
        &json!({
            "access_token": token,
            "issued_token_type": ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
        }),
    ))
}

/// gcloud's request for the owner of a token.
fn introspect(call: &Call, text: &str) -> Result<Answer, Refusal> {
    let form = Query::parse(text);
    let token = form.get("token").unwrap_or_default();
    let owner = call.shared.accounts.access_token_owner(token);
    let body = match owner {
        Some(owner) => json!({"active": true, "username": owner}),
        None => json!({"active": false}),
    };
    Ok(answer::json_body(200, &body))
}

fn refused(error: &str, description: &str) -> Refusal {
    Refusal::oauth(400, error, description)
}

/// A stored provider.
struct Provider {
    /// `//iam.googleapis.com/projects/NUMBER/…/workloadIdentityPools/POOL`.
    pool: String,
    audience: String,
    held: Value,
}

impl Provider {
    fn find(call: &Call, audience: &str) -> Result<Self, Refusal> {
        let name = audience.strip_prefix("//iam.googleapis.com/");
        let parts: Vec<&str> = name.unwrap_or_default().split('/').collect();
        let [
            "projects",
            number,
            "locations",
            "global",
            "workloadIdentityPools",
            pool,
            "providers",
            provider,
        ] = parts.as_slice()
        else {
            let message = "Invalid value for \"audience\". This value should be the full resource \
                        name of the Identity Provider. See \
                        https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for \
                        the list of possible formats.";
            return Err(refused("invalid_request", message));
        };
        let mut state = call.shared.cloud.state();
        let mut projects = state.projects.values_mut();
        // By its number only: the audience does not have the project's id.
        let held = projects.find(|held| held.project.number == *number);
        let held = held.and_then(|held| {
            let pool = held.pools.get(*pool)?;
            let key = format!("{}/{provider}", parts[5]);
            let provider = held.providers.get(&key)?;
            let active = pool["state"] == "ACTIVE" && provider["state"] == "ACTIVE";
            (active && provider["disabled"] != true).then(|| provider.clone())
        });
        let message = "The target service indicated by the \"audience\" parameters is invalid. This \
                    might either be because the pool or provider is disabled or deleted or because \
                    it doesn't exist.";
        Ok(Self {
            pool: format!(
                "//iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/{pool}"
            ),
            audience: audience.to_owned(),
            held: held.ok_or_else(|| refused("invalid_target", message))?,
        })
    }

    /// Checks the token to exchange.
    fn claims(&self, call: &Call, token: &str) -> Result<Value, Refusal> {
        let malformed = || refused("invalid_grant", "The subject token is not a valid JWT.");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (_, payload) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let claims: Value = decode(payload)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(malformed)?;
        let wanted = self.held["oidc"]["issuerUri"].as_str().unwrap_or_default();
        let issuer = claims["iss"].as_str().unwrap_or_default();
        if issuer != wanted {
            let message = format!(
                "The issuer in ID Token {issuer} does not match the expected ones: {wanted}"
            );
            return Err(refused("invalid_grant", &message));
        }
        let signature = decode(signature).ok_or_else(malformed)?;
        if !call.shared.issuers.signed(issuer, signed, &signature) {
            let message =
                "Error connecting to the given credential's issuer: its key signed another.";
            return Err(refused("invalid_grant", message));
        }
        let allowed = self.held["oidc"]["allowedAudiences"].as_array();
        let allowed: Vec<String> = match allowed {
            Some(allowed) => allowed
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            None => vec![format!("https:{}", self.audience), self.audience.clone()],
        };
        let audience = claims["aud"].as_str().unwrap_or_default();
        if !allowed.iter().any(|one| one == audience) {
            let message = format!(
                "The audience in ID Token [{audience}] does not match the expected audience."
            );
            return Err(refused("invalid_grant", &message));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.expect("the clock is past 1970").as_secs();
        if claims["exp"].as_u64().is_none_or(|exp| exp <= now) {
            let message = "ID Token issued has expired: it is stale to sign-in.";
            return Err(refused("invalid_grant", message));
        }
        Ok(claims)
    }

    /// Maps the claims to an identity, and evaluates the condition.
    fn apply_mapping(&self, call: &Call, claims: &Value) -> Result<String, Refusal> {
        let condition = self.held["attributeCondition"].as_str().unwrap_or_default();
        if !condition_holds(condition, claims) {
            let message = "The given credential is rejected by the attribute condition.";
            return Err(refused("unauthorized_client", message));
        }
        let mapping = self.held["attributeMapping"].as_object();
        let mut subject = String::new();
        let mut sets = vec![format!("principalSet:{}/*", self.pool)];
        for (name, expression) in mapping.into_iter().flatten() {
            let value = evaluate(expression.as_str().unwrap_or_default(), claims);
            if value.len() > 127 {
                let message = "The size of mapped attribute exceeds the 127 bytes limit.";
                return Err(refused("invalid_grant", message));
            }
            match name.as_str() {
                "google.subject" => subject = value,
                name => sets.push(format!("principalSet:{}/{name}/{value}", self.pool)),
            }
        }
        let principal = format!("principal:{}/subject/{subject}", self.pool);
        call.shared.grants.add_principal_sets(&principal, sets);
        Ok(principal)
    }
}

/// The part of CEL that conditions of providers use: comparisons with a string, joined by `&&`.
fn condition_holds(condition: &str, claims: &Value) -> bool {
    let mut parts = condition.split("&&").map(str::trim);
    parts.all(|part| match part.split_once("==") {
        Some((left, right)) => evaluate(left, claims) == evaluate(right, claims),
        None => part.is_empty(),
    })
}

/// A claim, a quoted string, or several joined by `+`.
fn evaluate(expression: &str, claims: &Value) -> String {
    let parts = expression.split('+').map(str::trim);
    parts
        .map(|part| match part.strip_prefix("assertion.") {
            Some(claim) => match &claims[claim] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            },
            None => part.trim_matches(['\'', '"']).to_owned(),
        })
        .collect()
}
