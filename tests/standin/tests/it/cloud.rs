//! Google's APIs by raw requests: strict, stateful, and with Google's delays.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use standin::{Behaviour, Project, Standin, Switches};

use crate::http_client::{Answer, Client};

const ADMIN: &str = "admin@example.com";
const REPOSITORY: &str = "projects/acme/locations/us/repositories/gcr.io";

fn ready(switches: Switches) -> Standin {
    let behaviour = Behaviour {
        cloud: switches,
        ..Behaviour::default()
    };
    let standin = Standin::builder().behaviour(behaviour).start();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry");
    standin.project("acme", project);
    standin.grant(ADMIN, "roles/owner", "projects/acme");
    standin
}

fn request(standin: &Standin, method: &str, url: &str, body: &Value) -> Answer {
    let (host, path) = url.split_once('/').unwrap();
    let client = Client::at(standin, host).bearer(&standin.access_token(ADMIN));
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let headers = [("content-type", "application/json")];
    client.send(method, &format!("/{path}"), &headers, body.as_bytes())
}

fn ok_json(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn refusal(answer: &Answer) -> (u16, String) {
    let error = &answer.json()["error"];
    let status = error["status"].as_str().unwrap_or_default();
    (answer.status, status.to_owned())
}

#[test]
fn request_is_checked_against_the_discovery_document() {
    let standin = ready(Switches::default());
    let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
    for (method, url, body) in [
        ("POST", url.to_owned(), json!({"account": "ci-push"})),
        ("POST", format!("{url}?accountId=ci-push"), json!({})),
        ("GET", format!("{url}?pageSize=many"), Value::Null),
    ] {
        let answer = request(&standin, method, &url, &body);
        let expected = (400, "INVALID_ARGUMENT".to_owned());
        assert_eq!(refusal(&answer), expected, "{}", answer.text());
    }
    assert_eq!(request(&standin, "PUT", url, &json!({})).status, 404);
    let nobody =
        Client::at(&standin, "iam.googleapis.com").get("/v1/projects/acme/serviceAccounts");
    assert_eq!(refusal(&nobody).1, "UNAUTHENTICATED");
}

#[test]
fn missing_permission_is_named() {
    let standin = ready(Switches::default());
    standin.revoke(ADMIN, "roles/owner", "projects/acme");
    standin.grant(ADMIN, "roles/viewer", "projects/acme");
    let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
    ok_json(&request(&standin, "GET", url, &Value::Null));
    let answer = request(&standin, "POST", url, &json!({"accountId": "ci-push"}));
    assert_eq!(refusal(&answer), (403, "PERMISSION_DENIED".to_owned()));
    let detail = &answer.json()["error"]["details"][0]["metadata"];
    assert_eq!(detail["permission"], "iam.serviceAccounts.create");
}

#[test]
fn new_account_is_visible_only_after_a_while() {
    let standin = ready(Switches {
        account_delay: 1,
        binding_delay: 1,
        ..Switches::default()
    });
    let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
    let made = ok_json(&request(
        &standin,
        "POST",
        url,
        &json!({"accountId": "ci-push"}),
    ));
    let email = made["email"].as_str().unwrap();
    let resource_url = format!("{url}/{email}");
    let statuses = [(); 3].map(|()| request(&standin, "GET", &resource_url, &Value::Null).status);
    assert_eq!(statuses, [404, 403, 200]);
    let again = request(&standin, "POST", url, &json!({"accountId": "ci-push"}));
    assert_eq!(refusal(&again), (409, "ALREADY_EXISTS".to_owned()));
    let policy = "cloudresourcemanager.googleapis.com/v1/projects/acme";
    let body = json!({"options": {"requestedPolicyVersion": 3}});
    let read = ok_json(&request(
        &standin,
        "POST",
        &format!("{policy}:getIamPolicy"),
        &body,
    ));
    let mut set = read.clone();
    let binding = json!({"role": "roles/viewer", "members": [format!("serviceAccount:{email}")]});
    set["bindings"].as_array_mut().unwrap().push(binding);
    let set = json!({"policy": set});
    let answer = request(&standin, "POST", &format!("{policy}:setIamPolicy"), &set);
    assert_eq!(
        answer.json()["error"]["message"],
        format!("Service account {email} does not exist.")
    );
    ok_json(&request(
        &standin,
        "POST",
        &format!("{policy}:setIamPolicy"),
        &set,
    ));
    let stale = request(&standin, "POST", &format!("{policy}:setIamPolicy"), &set);
    assert_eq!(refusal(&stale), (409, "ABORTED".to_owned()));
}

#[test]
fn conditional_bindings_need_policy_version_3() {
    let standin = ready(Switches::default());
    let condition =
        json!({"title": "t", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"});
    standin.set_bindings(
        "projects/acme",
        json!([
            {"role": "roles/owner", "members": [format!("user:{ADMIN}")]},
            {"role": "roles/viewer", "members": ["user:x@example.com"], "condition": condition},
        ]),
    );
    let url = "cloudresourcemanager.googleapis.com/v1/projects/acme:getIamPolicy";
    let plain = ok_json(&request(&standin, "POST", url, &json!({})));
    assert_eq!(plain["bindings"].as_array().unwrap().len(), 1);
    let options = json!({"options": {"requestedPolicyVersion": 3}});
    let whole = ok_json(&request(&standin, "POST", url, &options));
    assert_eq!(
        (
            whole["bindings"].as_array().unwrap().len(),
            &whole["version"]
        ),
        (2, &json!(3))
    );
    let url = "cloudresourcemanager.googleapis.com/v1/projects/acme:setIamPolicy";
    let mut older = whole.clone();
    older["version"] = json!(1);
    let answer = request(&standin, "POST", url, &json!({"policy": older}));
    assert_eq!(refusal(&answer).1, "INVALID_ARGUMENT");
}

#[test]
fn operation_takes_time_and_finishes_without_polling() {
    let standin = ready(Switches {
        operation_delay: 2,
        ..Switches::default()
    });
    let parent = "artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories";
    let body = json!({"format": "DOCKER"});
    let begun = ok_json(&request(
        &standin,
        "POST",
        &format!("{parent}?repositoryId=gcr.io"),
        &body,
    ));
    assert_eq!(begun.get("done"), None);
    let resource_url = format!("{parent}/gcr.io");
    assert_eq!(
        request(&standin, "GET", &resource_url, &Value::Null).status,
        404
    );
    ok_json(&request(&standin, "GET", &resource_url, &Value::Null));
    let name = begun["name"].as_str().unwrap();
    let url = format!("artifactregistry.googleapis.com/v1/{name}");
    assert_eq!(
        ok_json(&request(&standin, "GET", &url, &Value::Null))["done"],
        true
    );
    let again = request(
        &standin,
        "POST",
        &format!("{parent}?repositoryId=gcr.io"),
        &body,
    );
    assert_eq!(refusal(&again), (409, "ALREADY_EXISTS".to_owned()));
    let elsewhere = parent.replace("/us/", "/europe/");
    let answer = request(
        &standin,
        "POST",
        &format!("{elsewhere}?repositoryId=gcr.io"),
        &body,
    );
    assert_eq!(refusal(&answer).1, "INVALID_ARGUMENT");
}

#[test]
fn created_key_signs_in_to_the_registry() {
    let standin = ready(Switches::default());
    let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
    ok_json(&request(
        &standin,
        "POST",
        url,
        &json!({"accountId": "ci-push"}),
    ));
    let keys = format!("{url}/ci-push@acme.iam.gserviceaccount.com/keys");
    let kind = json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"});
    let key = ok_json(&request(&standin, "POST", &keys, &kind));
    let file = BASE64_STANDARD
        .decode(key["privateKeyData"].as_str().unwrap())
        .unwrap();
    let file = String::from_utf8(file).unwrap();
    let token = |file: &str| {
        let client = Client::at(&standin, "gcr.io").basic("_json_key", file);
        client.get("/v2/token?service=gcr.io").status
    };
    assert_eq!(token(&file), 200);
    let listed = ok_json(&request(
        &standin,
        "GET",
        &format!("{keys}?keyTypes=USER_MANAGED"),
        &Value::Null,
    ));
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    for _ in 1..10 {
        ok_json(&request(&standin, "POST", &keys, &kind));
    }
    let answer = request(&standin, "POST", &keys, &kind);
    assert_eq!(refusal(&answer), (400, "FAILED_PRECONDITION".to_owned()));
    assert!(answer.json()["error"].get("details").is_none());
    let name = key["name"].as_str().unwrap();
    ok_json(&request(
        &standin,
        "DELETE",
        &format!("iam.googleapis.com/v1/{name}"),
        &Value::Null,
    ));
    assert_eq!(token(&file), 401);
}

#[test]
fn deleted_account_stays_in_policies_as_deleted() {
    let standin = ready(Switches::default());
    let url = "iam.googleapis.com/v1/projects/acme/serviceAccounts";
    ok_json(&request(
        &standin,
        "POST",
        url,
        &json!({"accountId": "ci-push"}),
    ));
    let email = "ci-push@acme.iam.gserviceaccount.com";
    standin.grant(email, "roles/artifactregistry.writer", REPOSITORY);
    ok_json(&request(
        &standin,
        "DELETE",
        &format!("{url}/{email}"),
        &Value::Null,
    ));
    let member = standin.bindings(REPOSITORY)[0]["members"][0].clone();
    let start = format!("deleted:serviceAccount:{email}?uid=");
    assert!(member.as_str().unwrap().starts_with(&start), "{member}");
}

#[test]
fn deleted_pool_keeps_its_name_and_can_be_undeleted() {
    let standin = ready(Switches::default());
    let parent = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools";
    let create = format!("{parent}?workloadIdentityPoolId=ci-jobs");
    ok_json(&request(
        &standin,
        "POST",
        &create,
        &json!({"displayName": "CI"}),
    ));
    let resource_url = format!("{parent}/ci-jobs");
    let found = ok_json(&request(&standin, "GET", &resource_url, &Value::Null));
    assert_eq!(
        found["name"],
        "projects/42/locations/global/workloadIdentityPools/ci-jobs"
    );
    let begun = ok_json(&request(&standin, "DELETE", &resource_url, &Value::Null));
    let operation = format!("iam.googleapis.com/v1/{}", begun["name"].as_str().unwrap());
    assert_eq!(
        ok_json(&request(&standin, "GET", &operation, &Value::Null))["done"],
        true
    );
    assert_eq!(
        ok_json(&request(&standin, "GET", &resource_url, &Value::Null))["state"],
        "DELETED"
    );
    let again = request(&standin, "POST", &create, &json!({}));
    assert_eq!(refusal(&again), (409, "ALREADY_EXISTS".to_owned()));
    ok_json(&request(
        &standin,
        "POST",
        &format!("{resource_url}:undelete"),
        &json!({}),
    ));
    let providers = format!("{resource_url}/providers?workloadIdentityPoolProviderId=github");
    let provider = json!({
        "attributeMapping": {"google.subject": "assertion.sub"},
        "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
    });
    let answer = request(&standin, "POST", &providers, &provider);
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("attribute condition"), "{message}");
}
