//! Exchanging a CI's token for Google's: the issuers, the exchange, its refusals, and gcloud as a
//! client.

use std::process::Command;

use serde_json::{Value, json};
use standin::{Behaviour, Machine, Project, Standin};

use crate::clients::{command, succeeded};
use crate::http_client::{Answer, Client};
use crate::images::{PUSHER, ready};

const NUMBER: &str = "123456789012";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// A stand-in with the provider `ci/github`, and the provider's name.
fn with_provider(condition: &str) -> (Standin, String) {
    let standin = ready();
    let project = Project::new(NUMBER).service("iamcredentials");
    standin.project("proj", project);
    let name = standin.provider("proj", "ci/github", GITHUB, None, condition);
    (standin, name)
}

fn claims(provider: &str) -> Value {
    json!({
        "sub": "repo:acme/shop:ref:refs/heads/main",
        "repository": "acme/shop",
        "aud": format!("https://iam.googleapis.com/{provider}"),
    })
}

fn fields(provider: &str, token: &str) -> Vec<(&'static str, &'static str, String)> {
    let urn = "urn:ietf:params:oauth";
    vec![
        (
            "grant_type",
            "grantType",
            format!("{urn}:grant-type:token-exchange"),
        ),
        (
            "audience",
            "audience",
            format!("//iam.googleapis.com/{provider}"),
        ),
        (
            "scope",
            "scope",
            "https://www.googleapis.com/auth/cloud-platform".to_owned(),
        ),
        (
            "requested_token_type",
            "requestedTokenType",
            format!("{urn}:token-type:access_token"),
        ),
        ("subject_token", "subjectToken", token.to_owned()),
        (
            "subject_token_type",
            "subjectTokenType",
            format!("{urn}:token-type:jwt"),
        ),
    ]
}

fn exchange_form(standin: &Standin, provider: &str, token: &str) -> Answer {
    let encoded: Vec<String> = fields(provider, token)
        .iter()
        .map(|(name, _, value)| {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("{name}={value}")
        })
        .collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let client = Client::at(standin, "sts.googleapis.com");
    client.send("POST", "/v1/token", &headers, encoded.join("&").as_bytes())
}

fn exchange_json(standin: &Standin, provider: &str, token: &str) -> Answer {
    let mut body = json!({});
    for (_, name, value) in fields(provider, token) {
        body[name] = value.into();
    }
    let headers = [("content-type", "application/json")];
    let client = Client::at(standin, "sts.googleapis.com");
    client.send("POST", "/v1/token", &headers, body.to_string().as_bytes())
}

fn refusal(answer: &Answer) -> (u16, String) {
    let error = answer.json()["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status, error)
}

#[test]
fn token_exchange_takes_form_and_json_and_caps_lifetime() {
    let (standin, provider) = with_provider("assertion.repository == 'acme/shop'");
    let token = standin.oidc_token(GITHUB, &claims(&provider));
    for answer in [
        exchange_form(&standin, &provider, &token),
        exchange_json(&standin, &provider, &token),
    ] {
        assert_eq!(answer.status, 200);
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer");
        assert!(body["expires_in"].as_u64().unwrap() <= 300);
        assert!(
            standin
                .secrets()
                .contains(&body["access_token"].as_str().unwrap().to_owned())
        );
    }
}

#[test]
fn rejected_sign_in_uses_google_wording() {
    let (standin, provider) = with_provider("assertion.repository == 'acme/shop'");
    let with = |name: &str, value: Value| {
        let mut claims = claims(&provider);
        claims[name] = value;
        let token = standin.oidc_token(GITHUB, &claims);
        refusal(&exchange_form(&standin, &provider, &token))
    };
    let grant = (400, "invalid_grant".to_owned());
    assert_eq!(with("aud", "https://github.com/acme".into()), grant);
    assert_eq!(with("exp", 1_700_000_000.into()), grant);
    assert_eq!(with("iss", "https://gitlab.com".into()), grant);
    assert_eq!(with("sub", "x".repeat(128).into()), grant);
    let condition = (400, "unauthorized_client".to_owned());
    assert_eq!(with("repository", "acme/other".into()), condition);

    let token = standin.oidc_token(GITHUB, &claims(&provider));
    // Signed by another key than the issuer's.
    let mut forged = token.clone();
    let last = if forged.pop() == Some('A') { 'Q' } else { 'A' };
    forged.push(last);
    let (head, _) = token.rsplit_once('.').unwrap();
    let unsigned = format!("{head}.AAAA");
    for bad in [unsigned.as_str(), "nonsense", ""] {
        assert_eq!(
            refusal(&exchange_form(&standin, &provider, bad)),
            grant,
            "{bad}"
        );
    }
    let target = (400, "invalid_target".to_owned());
    for name in [
        provider.replace("/github", "/other"),
        provider.replace(NUMBER, "1"),
        // With the project's id, as users write it.
        provider.replace(NUMBER, "proj"),
    ] {
        assert_eq!(
            refusal(&exchange_form(&standin, &name, &token)),
            target,
            "{name}"
        );
    }
    let request = (400, "invalid_request".to_owned());
    let pool = provider.replace("/providers/github", "");
    assert_eq!(refusal(&exchange_form(&standin, &pool, &token)), request);
}

#[test]
fn github_and_gitlab_give_tokens_to_their_job_only() {
    let (standin, provider) = with_provider("");
    let (url, opens) = standin.github_job(claims(&provider));
    let path = url
        .strip_prefix("https://pipelines.actions.githubusercontent.com")
        .unwrap();
    let client = Client::at(&standin, "pipelines.actions.githubusercontent.com");
    let bearer = format!("Bearer {opens}");
    let request =
        |path: &str, bearer: &str| client.send("GET", path, &[("authorization", bearer)], b"");
    let answer = request(&format!("{path}&audience=x"), &bearer);
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()["value"].as_str().unwrap().split('.').count(),
        3
    );
    assert_eq!(request(path, "Bearer other").status, 401);
    assert_eq!(request("/x/idtoken?audience=x", &bearer).status, 400);

    let (url, opens) = standin.gitlab_job("https://auth.gcp.gitlab.com/oidc/acme", json!({}));
    assert_eq!(url, "https://auth.gcp.gitlab.com/token");
    let client = Client::at(&standin, "auth.gcp.gitlab.com");
    let bearer = format!("Bearer {opens}");
    let answer = client.send("GET", "/token", &[("authorization", &bearer)], b"");
    assert_eq!(
        answer.json()["token"].as_str().unwrap().split('.').count(),
        3
    );
}

#[test]
fn metadata_server_answers_like_a_google_machine() {
    let machine = Machine {
        account: Some(PUSHER.to_owned()),
        scopes: vec!["cloud-platform"],
        flavor: true,
    };
    let standin = Standin::builder()
        .behaviour(Behaviour {
            machine: Some(machine),
            ..Behaviour::default()
        })
        .start();
    let client = Client::plain(&standin);
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let flavor = ("metadata-flavor", "Google");
    let answer = client.send("GET", path, &[flavor], b"");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("metadata-flavor"), Some("Google"));
    assert_eq!(client.send("GET", path, &[], b"").status, 403);
    let proxied = [flavor, ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(client.send("GET", path, &proxied, b"").status, 403);
}

/// Signs gcloud in with a credential file and returns its token.
fn gcloud_token(standin: &Standin, file: &Value) -> Option<String> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let mut command: Command = command(standin, &home, "gcloud")?;
    command
        .env_remove("CLOUDSDK_AUTH_ACCESS_TOKEN")
        .env("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", &path)
        .args(["auth", "print-access-token"]);
    Some(succeeded(&command.output().unwrap()).trim().to_owned())
}

#[test]
fn gcloud_signs_in_with_github_federation() {
    let (standin, provider) = with_provider("assertion.repository == 'acme/shop'");
    standin.grant(
        &format!(
            "principalSet://iam.googleapis.com/projects/{NUMBER}/locations/global/\
             workloadIdentityPools/ci/attribute.repository/acme/shop"
        ),
        "roles/iam.workloadIdentityUser",
        &format!("projects/proj/serviceAccounts/{PUSHER}"),
    );
    let (url, opens) = standin.github_job(claims(&provider));
    let file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{provider}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "url": format!("{url}&audience=https://iam.googleapis.com/{provider}"),
            "headers": {"Authorization": format!("Bearer {opens}")},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
        "service_account_impersonation_url": format!(
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{PUSHER}:generateAccessToken"
        ),
    });
    let Some(token) = gcloud_token(&standin, &file) else {
        return;
    };
    let client = Client::at(&standin, "gcr.io");
    let bearer = format!("Bearer {token}");
    let answer = client.send("GET", "/v2/", &[("authorization", &bearer)], b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn gcloud_signs_in_with_a_user_login() {
    let (standin, _) = with_provider("");
    let Some(token) = gcloud_token(&standin, &standin.user_login("ada@example.com")) else {
        return;
    };
    assert!(standin.secrets().contains(&token));
}
