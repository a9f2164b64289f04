//! Challenges, the token endpoint, and where each credential is accepted.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use standin::{Behaviour, Challenge, Fault, FaultAction, RequestKind, Standin};

use crate::http_client::Client;
use crate::images::{GCR, PUSHER, prepare, ready};

fn challenge(answer: &crate::http_client::Answer) -> Option<&str> {
    answer.header("www-authenticate")
}

#[test]
fn anonymous_ping_names_the_service_on_gcr_io_only() {
    let standin = ready();
    for (host, expected) in [
        (
            "gcr.io",
            "Bearer realm=\"https://gcr.io/v2/token\",service=\"gcr.io\"",
        ),
        (
            "eu.gcr.io",
            "Bearer realm=\"https://eu.gcr.io/v2/token\",service=\"eu.gcr.io\"",
        ),
        (
            "us-docker.pkg.dev",
            "Bearer realm=\"https://us-docker.pkg.dev/v2/token\"",
        ),
    ] {
        let answer = Client::at(&standin, host).get("/v2/");
        assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()), "{host}");
        assert_eq!(
            answer.message(),
            "not authenticated: No credential was supplied."
        );
        assert_eq!(challenge(&answer), Some(expected));
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            Some("registry/2.0")
        );
    }
}

#[test]
fn challenge_has_a_scope_on_pkg_dev_only() {
    let standin = ready();
    let digest = crate::images::sha256(b"");
    let blob = format!("/v2/p/r/i/blobs/{digest}");
    for (host, method, path, scope) in [
        (
            "us-docker.pkg.dev",
            "GET",
            "/v2/p/r/i/tags/list",
            Some("p/r/i:pull"),
        ),
        (
            "us-docker.pkg.dev",
            "HEAD",
            blob.as_str(),
            Some("p/r/i:pull"),
        ),
        (
            "us-docker.pkg.dev",
            "GET",
            "/v2/p/r/tags/list",
            Some("p/r/pkg:pull"),
        ),
        (
            "us-docker.pkg.dev",
            "POST",
            "/v2/p/r/i/blobs/uploads/",
            Some("p/r/i:pull,push"),
        ),
        (
            "us-docker.pkg.dev",
            "DELETE",
            "/v2/p/r/i/manifests/t",
            Some("p/r/i:pull,push"),
        ),
        ("gcr.io", "GET", "/v2/proj/i/manifests/t", None),
        ("gcr.io", "POST", "/v2/proj/i/blobs/uploads/", None),
    ] {
        let answer = Client::at(&standin, host).send(method, path, &[], b"");
        assert_eq!(answer.status, 401, "{method} {path}");
        let expected = scope.map(|scope| {
            format!(
                "Bearer realm=\"https://{host}/v2/token\",service=\"{host}\",\
                 scope=\"repository:{scope}\""
            )
        });
        assert_eq!(challenge(&answer), expected.as_deref(), "{method} {path}");
    }
}

#[test]
fn challenge_and_realm_can_be_configured() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io");
    standin.change(|behaviour| {
        behaviour.ping_challenge = Challenge::WithoutService;
        behaviour.data_challenge = Challenge::WithService;
        behaviour.realm = Some("https://evil.example/token".to_owned());
    });
    let ping = client.get("/v2/");
    let expected = "Bearer realm=\"https://evil.example/token\"";
    assert_eq!(challenge(&ping), Some(expected));
    let data = client.get("/v2/proj/i/tags/list");
    let expected = format!("{expected},service=\"gcr.io\",scope=\"repository:proj/i:pull\"");
    assert_eq!(challenge(&data), Some(expected.as_str()));
    standin.change(|behaviour| behaviour.ping_challenge = Challenge::Absent);
    assert_eq!(challenge(&client.get("/v2/")), None);
}

#[test]
fn every_user_name_of_google_tools_gets_a_token() {
    let standin = ready();
    let key = standin.service_account(PUSHER, "proj");
    let token = standin.access_token(PUSHER);
    let encoded = BASE64_STANDARD.encode(&key);
    for (user, password) in [
        ("_json_key", &key),
        ("_json_key_base64", &encoded),
        ("oauth2accesstoken", &token),
        ("_token", &token),
        ("_dcgcloud_token", &token),
        ("_dcgcr_0_0_0_token", &token),
        ("_dcgcr_2_1_5_token", &token),
        ("gclouddockertoken", &token),
    ] {
        let client = Client::at(&standin, "gcr.io");
        let path = "/v2/token?service=gcr.io&scope=repository:proj/i:pull,push";
        let answer = client.clone().basic(user, password).get(path);
        assert_eq!(answer.status, 200, "{user}: {}", answer.text());
        let json = answer.json();
        assert_eq!(json["expires_in"], 43200);
        assert_eq!(
            json.as_object().unwrap().len(),
            2,
            "token and expires_in only"
        );
        let bought = json["token"].as_str().unwrap();
        let content = BASE64_STANDARD.decode(bought).unwrap();
        let content: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(content["product"], "artifactregistry");
        assert_eq!(client.clone().bearer(bought).get("/v2/").status, 200);
        assert_eq!(client.basic(user, password).get("/v2/").status, 200);
    }
    let mut named = standin
        .requests()
        .into_iter()
        .filter(|request| request.kind == RequestKind::Token && request.authorization.is_some());
    assert_eq!(
        named.next().unwrap().authorization.as_deref(),
        Some("Basic _json_key")
    );
}

#[test]
fn bad_credentials_get_one_text_from_the_token_endpoint() {
    let standin = ready();
    let key = standin.service_account(PUSHER, "proj");
    let token = standin.access_token(PUSHER);
    let wrapped = BASE64_STANDARD.encode(&key);
    let wrapped = format!("{}\n{}", &wrapped[..76], &wrapped[76..]);
    let other = standin.service_account("other@proj.iam.gserviceaccount.com", "proj");
    let forged = other.replace("other@proj.iam", "ci@proj.iam");
    for (user, password) in [
        ("nobody", token.as_str()),
        ("oauth2accesstoken", "ya29.garbage"),
        ("oauth2accesstoken", key.as_str()),
        ("_json_key", "{}"),
        ("_json_key", "not JSON"),
        ("_json_key", forged.as_str()),
        ("_json_key", token.as_str()),
        ("_json_key_base64", wrapped.as_str()),
        ("_json_key_base64", key.as_str()),
        ("_dcgcr_token", token.as_str()),
    ] {
        let client = Client::at(&standin, "us-docker.pkg.dev").basic(user, password);
        let answer = client.get("/v2/token");
        assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()), "{user}");
        assert_eq!(answer.message(), "authentication failed", "{user}");
        let answer = client.get("/v2/proj/r/i/tags/list");
        assert_eq!(answer.refusal(), (401, "UNAUTHORIZED".to_owned()), "{user}");
        assert_eq!(answer.message(), "No valid credential was supplied.");
        assert_eq!(
            challenge(&answer),
            None,
            "a bad credential gets no challenge"
        );
    }
    standin.change(|behaviour| behaviour.wrapped_json_key_base64 = true);
    let client = Client::at(&standin, "gcr.io").basic("_json_key_base64", &wrapped);
    assert_eq!(client.get("/v2/token").status, 200);
    standin.disable_account(PUSHER);
    for (user, password) in [("_json_key", &key), ("oauth2accesstoken", &token)] {
        let answer = Client::at(&standin, "gcr.io")
            .basic(user, password)
            .get("/v2/token");
        assert_eq!(answer.message(), "authentication failed", "{user}");
    }
}

#[test]
fn token_endpoint_accepts_get_only() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io").basic("_token", &standin.access_token(PUSHER));
    assert_eq!(client.send("POST", "/v2/token", &[], b"").status, 405);
    assert_eq!(client.send("PUT", "/v2/token", &[], b"").status, 405);
}

#[test]
fn anonymous_token_needs_a_public_repository() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io");
    assert_eq!(client.get("/v2/token").status, 200);
    assert_eq!(client.get("/v2/token?scope=registry:catalog:*").status, 200);
    let pull = "/v2/token?scope=repository:proj/i:pull";
    let answer = client.get(pull);
    assert_eq!(answer.refusal(), (403, "DENIED".to_owned()));
    assert_eq!(
        answer.message(),
        format!(
            "Unauthenticated request. Unauthenticated requests do not have permission \
             \"artifactregistry.repositories.downloadArtifacts\" on resource \"{GCR}\" (or it \
             may not exist)"
        )
    );
    standin.grant("allUsers", "roles/artifactregistry.reader", GCR);
    let token = client.get(pull).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    standin.put_manifest("gcr.io", "proj/i", "t", crate::images::OCI_MANIFEST, b"{}");
    let reader = client.clone().bearer(&token);
    assert_eq!(reader.get("/v2/proj/i/manifests/t").status, 200);
    let push = client.get("/v2/token?scope=repository:proj/i:pull,push");
    assert!(
        push.message().contains("uploadArtifacts"),
        "{}",
        push.text()
    );
    let upload = reader.send("POST", "/v2/proj/i/blobs/uploads/", &[], b"");
    assert!(
        upload.message().starts_with("Unauthenticated request."),
        "{}",
        upload.text()
    );
}

#[test]
fn registry_token_is_valid_for_every_repository() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io");
    let buyer = client
        .clone()
        .basic("_token", &standin.access_token(PUSHER));
    let answer = buyer.get("/v2/token?scope=repository:proj/one:pull");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let path = "/v2/proj/other/blobs/uploads/";
    assert_eq!(
        client.bearer(&token).send("POST", path, &[], b"").status,
        202
    );
}

#[test]
fn registry_token_is_valid_for_its_host_only() {
    let standin = ready();
    let buyer = Client::at(&standin, "gcr.io").basic("_token", &standin.access_token(PUSHER));
    let json = buyer.get("/v2/token").json();
    let other = Client::at(&standin, "us-docker.pkg.dev").bearer(json["token"].as_str().unwrap());
    assert_eq!(other.get("/v2/").status, 401);
    standin.change(|behaviour| behaviour.registry_token_travels = true);
    assert_eq!(other.get("/v2/").status, 200);
    let plain = Client::plain(&standin).bearer(json["token"].as_str().unwrap());
    standin.change(|behaviour| behaviour.plain_auth = standin::PlainAuth::Bearer);
    assert_eq!(plain.get("/v2/").status, 401);
}

#[test]
fn oauth_token_works_as_bearer_without_exchange() {
    let standin = ready();
    let client = crate::images::pusher(&standin);
    let answer = client.get("/v2/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), Some("0"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=UTF-8")
    );
}

#[test]
fn tokens_expire_after_their_lifetime() {
    let behaviour = Behaviour {
        oauth_lifetime: Duration::ZERO,
        ..Behaviour::default()
    };
    let standin = Standin::builder().behaviour(behaviour).start();
    prepare(&standin);
    let client = Client::at(&standin, "gcr.io");
    let dead = client
        .clone()
        .basic("_token", &standin.access_token(PUSHER));
    assert_eq!(dead.get("/v2/token").status, 401);
    standin.change(|behaviour| {
        behaviour.oauth_lifetime = Duration::from_secs(60);
        behaviour.registry_token_lifetime = Duration::from_millis(900);
    });
    let buyer = client
        .clone()
        .basic("_token", &standin.access_token(PUSHER));
    assert_eq!(buyer.get("/v2/token").json()["expires_in"], 0);
    standin.change(|behaviour| behaviour.registry_token_lifetime = Duration::ZERO);
    let token = buyer.get("/v2/token").json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(client.bearer(&token).get("/v2/").status, 401);
}

#[test]
fn registry_token_may_outlive_its_oauth_token() {
    let standin = ready();
    let client = Client::at(&standin, "gcr.io");
    let account = "short@proj.iam.gserviceaccount.com";
    let buyer = client
        .clone()
        .basic("_token", &standin.access_token(account));
    let token = buyer.get("/v2/token").json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    standin.disable_account(account);
    let client = client.bearer(&token);
    assert_eq!(client.get("/v2/").status, 200);
    standin.change(|behaviour| behaviour.registry_token_outlives_oauth = false);
    assert_eq!(client.get("/v2/").status, 401);
}

#[test]
fn tokens_can_be_expired_at_a_given_request() {
    let standin = ready();
    let client = crate::images::pusher(&standin);
    let expire = Fault::once(RequestKind::UploadStart, FaultAction::ExpireTokens).after(1);
    standin.fault(expire);
    let path = "/v2/proj/i/blobs/uploads/";
    let statuses: Vec<u16> = (0..3)
        .map(|_| client.send("POST", path, &[], b"").status)
        .collect();
    assert_eq!(statuses, [202, 401, 401]);
    assert_eq!(crate::images::pusher(&standin).get("/v2/").status, 200);
}

#[test]
fn all_secrets_are_listed_for_leak_tests() {
    let standin = ready();
    let key = standin.service_account(PUSHER, "proj");
    let token = standin.access_token(PUSHER);
    let client = Client::at(&standin, "gcr.io").basic("_json_key", &key);
    let bought = client.get("/v2/token").json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let upload = crate::images::open_upload(&client, "proj/i");
    client
        .anonymous()
        .bearer("a-token-from-elsewhere")
        .get("/v2/");
    let secrets = standin.secrets();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    let pem = key["private_key"].as_str().unwrap();
    let url = upload.rsplit('/').next().unwrap();
    for secret in [
        pem,
        token.as_str(),
        bought.as_str(),
        url,
        "a-token-from-elsewhere",
    ] {
        assert!(secrets.iter().any(|known| known == secret), "{secret}");
    }
}
