//! `oauth2.googleapis.com/token`: a signed assertion of a service account gets an OAuth token (RFC
//! 7523; developers.google.com/identity/protocols/oauth2/service-account).

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, header};
use serde_json::{Value, json};

use crate::accounts::Accounts;
use crate::answer::{self, Answer, Refusal};
use crate::call::{Call, Query};

/// The audience an assertion must name.
const ENDPOINT: &str = "https://oauth2.googleapis.com/token";

/// The only client that users log in with.
pub(crate) const CLIENT_ID: &str = "764086051850-standin.apps.googleusercontent.com";
pub(crate) const CLIENT_SECRET: &str = "d-FL95Q19q7MQmFpd7hHD0Ty-standin";

/// How far clocks may differ, in seconds.
const SKEW: u64 = 300;

const SHORT_LIVED: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                           reasonable timeframe. Check your iat and exp values in the JWT claim.";

/// Returns the remaining lifetime of a token
/// (cloud.google.com/docs/authentication/token-types#access-contents).
pub(crate) async fn token_info(call: &mut Call) -> Result<Answer, Refusal> {
    let body = call.body.whole(64 * 1024).await?.unwrap_or_default();
    let form = Query::parse(&String::from_utf8_lossy(&body));
    let token = form.get("access_token").or(call.query.get("access_token"));
    let token = token.unwrap_or_default();
    call.shared.accounts.keep_secret(token);
    let accounts = &call.shared.accounts;
    match (
        accounts.access_token_owner(token),
        accounts.access_token_lifetime(token),
    ) {
        (Some(email), Some(seconds)) => Ok(answer::json_body(
            200,
            &json!({
                "azp": "113456789012345678901",
                "aud": "113456789012345678901",
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "expires_in": seconds.to_string(),
                "email": email,
                "email_verified": "true",
                "access_type": "online",
            }),
        )),
        _ => Err(Refusal::oauth(400, "invalid_token", "Invalid Value")),
    }
}

/// Answers the endpoint.
pub(crate) async fn token(call: &mut Call) -> Result<Answer, Refusal> {
    if call.method != Method::POST {
        return Err(Refusal::page(404, "Not Found"));
    }
    if !call.has_length() {
        return Err(Refusal::page(411, "Length Required"));
    }
    let form = call.header(header::CONTENT_TYPE).unwrap_or_default();
    if !form.starts_with("application/x-www-form-urlencoded") {
        return Err(Refusal::oauth(400, "invalid_request", "Bad Request"));
    }
    let body = call.body.whole(64 * 1024).await?.unwrap_or_default();
    let form = Query::parse(&String::from_utf8_lossy(&body));
    let grant = form.get("grant_type").unwrap_or_default();
    if grant == "refresh_token" {
        return refresh(call, &form);
    }
    if grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        let description = format!("Invalid grant_type: {grant}");
        return Err(Refusal::oauth(400, "unsupported_grant_type", &description));
    }
    let assertion = form.get("assertion").unwrap_or_default();
    call.shared.accounts.keep_secret(assertion);
    let accounts = &call.shared.accounts;
    let (email, claims) = verified(accounts, assertion, Some(ENDPOINT))?;
    check_scope(&claims)?;
    let lifetime = call.behaviour.oauth_lifetime;
    let token = accounts.access_token(&email, lifetime);
    let mut answer = answer::json_body(
        200,
        &json!({
            "access_token": token,
            "expires_in": lifetime.as_secs(),
            "token_type": "Bearer",
        }),
    );
    answer::set(&mut answer, header::CACHE_CONTROL, "private");
    Ok(answer)
}

/// A user's refresh token, sent by the client that it was issued to (RFC 6749, section 6).
fn refresh(call: &Call, form: &Query) -> Result<Answer, Refusal> {
    let field = |name: &str| form.get(name).unwrap_or_default();
    let accounts = &call.shared.accounts;
    let (id, secret) = (field("client_id"), field("client_secret"));
    accounts.keep_secret(secret);
    accounts.keep_secret(field("refresh_token"));
    if (id, secret) != (CLIENT_ID, CLIENT_SECRET) {
        return Err(Refusal::oauth(401, "invalid_client", "Unauthorized"));
    }
    let email = accounts
        .owner_of_refresh_token(field("refresh_token"))
        .ok_or_else(|| invalid_grant("Token has been expired or revoked."))?;
    let lifetime = call.behaviour.oauth_lifetime;
    let token = accounts.access_token(&email, lifetime);
    Ok(answer::json_body(
        200,
        &json!({
            "access_token": token,
            "expires_in": lifetime.as_secs(),
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "token_type": "Bearer",
        }),
    ))
}

/// Checks a JWT of a service account. Returns its account and claims.
pub(crate) fn verified(
    accounts: &Accounts,
    jwt: &str,
    audience: Option<&str>,
) -> Result<(String, Value), Refusal> {
    let malformed = || invalid_grant("Bad Request");
    let (signed, signature) = jwt.rsplit_once('.').ok_or_else(malformed)?;
    let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
    let head = decode_json(head).ok_or_else(malformed)?;
    let claims = decode_json(claims).ok_or_else(malformed)?;
    if head["alg"] != "RS256" {
        return Err(invalid_grant("Invalid JWT Signature."));
    }
    let email = claims["iss"].as_str().ok_or_else(malformed)?;
    if !accounts.is_enabled(email) {
        return Err(invalid_grant("Invalid grant: account not found"));
    }
    let signature = decode(signature).ok_or_else(malformed)?;
    if !accounts.signed(email, head["kid"].as_str(), signed, &signature) {
        return Err(invalid_grant("Invalid JWT Signature."));
    }
    if audience.is_some_and(|audience| claims["aud"] != audience) {
        let text = format!("Invalid JWT: Failed audience check. The right audience is {ENDPOINT}");
        return Err(invalid_grant(&text));
    }
    let (Some(issued), Some(expires)) = (claims["iat"].as_u64(), claims["exp"].as_u64()) else {
        return Err(invalid_grant(SHORT_LIVED));
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.expect("the clock is past 1970").as_secs();
    let reasonable = issued <= now + SKEW && expires > now && expires > issued;
    if !reasonable || expires - issued > 3600 {
        return Err(invalid_grant(SHORT_LIVED));
    }
    Ok((email.to_owned(), claims))
}

/// A registry needs one of these scopes; a token without them would not work there.
fn check_scope(claims: &Value) -> Result<(), Refusal> {
    let scopes = claims["scope"].as_str().unwrap_or_default();
    let useful = |scope: &str| {
        scope == "https://www.googleapis.com/auth/cloud-platform"
            || scope.starts_with("https://www.googleapis.com/auth/devstorage.")
    };
    if scopes.split(' ').any(useful) {
        return Ok(());
    }
    // An ID token request gets this too (`target_audience` in place of `scope`). gcloud makes one
    // first and ignores its failure.
    let description = "Invalid OAuth scope or ID token audience provided.";
    Err(Refusal::oauth(400, "invalid_scope", description))
}

fn invalid_grant(description: &str) -> Refusal {
    Refusal::oauth(400, "invalid_grant", description)
}

fn decode_json(part: &str) -> Option<Value> {
    serde_json::from_slice(&decode(part)?).ok()
}

/// Base64url, with the padding that yup-oauth2 leaves on and RFC 7515 forbids.
fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part.trim_end_matches('='))
        .ok()
}
