//! The OAuth token endpoint: what gets a token, and every refusal.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use standin::{RequestKind, Standin};

use crate::http_client::{Answer, Client};
use crate::images::PUSHER;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const FORM: &str = "application/x-www-form-urlencoded";

fn claims() -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = since.as_secs();
    json!({
        "iss": PUSHER,
        "aud": "https://oauth2.googleapis.com/token",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "iat": now,
        "exp": now + 3595,
    })
}

/// A JWT signed with the key of this file, with padding as yup-oauth2 writes it, or without, as the
/// standard does.
fn signed(key: &str, head: &Value, claims: &Value, padded: bool) -> String {
    let encode = |bytes: &[u8]| {
        if padded {
            BASE64_URL_SAFE.encode(bytes)
        } else {
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        }
    };
    let file: Value = serde_json::from_str(key).unwrap();
    let pem = file["private_key"].as_str().unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let pair = KeyPair::from_pkcs8(&BASE64_STANDARD.decode(der).unwrap()).unwrap();
    let text = [head, claims]
        .map(|part| encode(part.to_string().as_bytes()))
        .join(".");
    let mut signature = vec![0; pair.public_modulus_len()];
    let random = SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
        .unwrap();
    format!("{text}.{}", encode(&signature))
}

fn request(standin: &Standin, assertion: &str) -> Answer {
    let (grant, assertion) = (GRANT.replace(':', "%3A"), assertion.replace('=', "%3D"));
    post(
        standin,
        FORM,
        &format!("grant_type={grant}&assertion={assertion}"),
    )
}

fn post(standin: &Standin, content_type: &str, body: &str) -> Answer {
    let client = Client::at(standin, "oauth2.googleapis.com");
    let headers = [("content-type", content_type)];
    client.send("POST", "/token", &headers, body.as_bytes())
}

fn error(answer: &Answer) -> (u16, String, String) {
    let json = answer.json();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("error"), text("error_description"))
}

#[test]
fn signed_assertion_gets_a_token_for_the_registry() {
    let standin = crate::images::ready();
    let key = standin.service_account(PUSHER, "proj");
    let file: Value = serde_json::from_str(&key).unwrap();
    let with_id = json!({"alg": "RS256", "typ": "JWT", "kid": file["private_key_id"]});
    let without = json!({"alg": "RS256", "typ": "JWT"});
    for (head, padded) in [(&with_id, false), (&without, true)] {
        let answer = request(&standin, &signed(&key, head, &claims(), padded));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        assert_eq!(json["expires_in"], 3599);
        assert_eq!(json["token_type"], "Bearer");
        let token = json["access_token"].as_str().unwrap();
        assert!(token.starts_with("ya29.c."), "{token}");
        let client = Client::at(&standin, "gcr.io").basic("oauth2accesstoken", token);
        assert_eq!(client.get("/v2/token").status, 200);
        assert!(standin.secrets().iter().any(|secret| secret == token));
    }
    assert_eq!(standin.requests()[1].kind, RequestKind::OAuthToken);
}

#[test]
fn key_file_has_google_fields_in_google_order() {
    let standin = Standin::start();
    let key = standin.service_account(PUSHER, "proj");
    let names: Vec<&str> = key
        .lines()
        .filter_map(|line| line.strip_prefix("  \"")?.split('"').next())
        .collect();
    assert_eq!(
        names,
        [
            "type",
            "project_id",
            "private_key_id",
            "private_key",
            "client_email",
            "client_id",
            "auth_uri",
            "token_uri",
            "auth_provider_x509_cert_url",
            "client_x509_cert_url",
            "universe_domain",
        ]
    );
    let file: Value = serde_json::from_str(&key).unwrap();
    assert_eq!(file["private_key_id"].as_str().unwrap().len(), 40);
    let pem = file["private_key"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{pem}");
    let other = standin.service_account("other@proj.iam.gserviceaccount.com", "proj");
    let other: Value = serde_json::from_str(&other).unwrap();
    assert_ne!(other["private_key"], file["private_key"]);
}

#[test]
fn rejected_assertion_uses_google_wording() {
    const SHORT: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                         reasonable timeframe. Check your iat and exp values in the JWT claim.";
    const SIGNATURE: &str = "Invalid JWT Signature.";
    const ACCOUNT: &str = "Invalid grant: account not found";
    let standin = Standin::start();
    let key = standin.service_account(PUSHER, "proj");
    let foreign = standin.service_account("other@proj.iam.gserviceaccount.com", "proj");
    let head = json!({"alg": "RS256", "typ": "JWT"});
    let now = claims()["iat"].as_u64().unwrap();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        signed(&key, &head, &claims, false)
    };
    let past = {
        let mut claims = claims();
        claims["iat"] = json!(now - 7200);
        claims["exp"] = json!(now - 3600);
        signed(&key, &head, &claims, false)
    };
    let wrong_id = json!({"alg": "RS256", "kid": "0000"});
    let unsigned = json!({"alg": "none"});
    for (what, assertion, description) in [
        (
            "foreign key",
            signed(&foreign, &head, &claims(), false),
            SIGNATURE,
        ),
        (
            "unknown key id",
            signed(&key, &wrong_id, &claims(), false),
            SIGNATURE,
        ),
        (
            "no algorithm",
            signed(&key, &unsigned, &claims(), false),
            SIGNATURE,
        ),
        (
            "unknown account",
            with("iss", json!("x@y.iam.gserviceaccount.com")),
            ACCOUNT,
        ),
        ("too long", with("exp", json!(now + 3601)), SHORT),
        ("expired", past, SHORT),
        ("from the future", with("iat", json!(now + 3000)), SHORT),
        ("no times", with("iat", Value::Null), SHORT),
        (
            "other audience",
            with("aud", json!("https://gcr.io")),
            "Invalid JWT: Failed audience check. The right audience is \
             https://oauth2.googleapis.com/token",
        ),
        ("no JWT", "abc".to_owned(), "Bad Request"),
    ] {
        let expected = (400, "invalid_grant".to_owned(), description.to_owned());
        assert_eq!(error(&request(&standin, &assertion)), expected, "{what}");
    }
    let scope = request(
        &standin,
        &with("scope", json!("https://www.googleapis.com/auth/iam")),
    );
    assert_eq!(error(&scope).1, "invalid_scope");
    let good = signed(&key, &head, &claims(), false);
    standin.delete_keys(PUSHER);
    assert_eq!(error(&request(&standin, &good)).2, SIGNATURE);
    standin.disable_account(PUSHER);
    assert_eq!(error(&request(&standin, &good)).2, ACCOUNT);
}

#[test]
fn only_jwt_bearer_form_posts_are_accepted() {
    let standin = Standin::start();
    let answer = post(&standin, "application/json", "{}");
    assert_eq!(error(&answer).1, "invalid_request");
    let answer = post(&standin, FORM, "grant_type=password");
    assert_eq!(error(&answer).1, "unsupported_grant_type");
    let client = Client::at(&standin, "oauth2.googleapis.com");
    assert_eq!(client.get("/token").status, 404);
    assert_eq!(client.get("/other").status, 404);
    assert_eq!(
        client.try_send("POST", "/token", &[], b"").unwrap().status,
        411
    );
}

#[test]
fn self_signed_jwt_is_a_token_only_if_enabled() {
    let standin = crate::images::ready();
    let key = standin.service_account(PUSHER, "proj");
    let jwt = signed(&key, &json!({"alg": "RS256"}), &claims(), false);
    let client = Client::at(&standin, "gcr.io").basic("_dcgcr_2_0_0_token", &jwt);
    assert_eq!(client.get("/v2/token").status, 401);
    standin.change(|behaviour| behaviour.self_signed_jwt = true);
    assert_eq!(client.get("/v2/token").status, 200);
}
