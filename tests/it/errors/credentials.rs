//! Malformed credentials, and credentials that Google refuses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standin::RequestKind;

use super::{oci, refused};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;

/// A push with this in `credentials_json`; it must not send a request.
fn with_key(key: &str) -> String {
    let google = Google::start();
    let run = google
        .with_environment(Run::new())
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("project_id", "acme")
        .set("credentials_json", key);
    let message = refused(&google, run, 2);
    assert!(google.standin.requests().is_empty());
    message
}

#[test]
fn malformed_key_is_reported_but_not_shown() {
    insta::assert_snapshot!(with_key("hunter2"), @"
    error: an input cannot be used
      `credentials_json`: it is neither JSON nor base64 of JSON; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)

    hint: use the JSON of the key file, its base64 (`base64 -w0 key.json`), or a path to it
    ");
    insta::assert_snapshot!(with_key("{\"type\": \"service_account\", hunter2"), @"
    error: an input cannot be used
      `credentials_json`: its JSON is not valid (line 1, column 29); its value is not shown (GCR_PUSH_CREDENTIALS_JSON)

    hint: store it on one line, as `jq --compact-output . key.json` prints it, or as base64: `base64 -w0 key.json`
    ");
    insta::assert_snapshot!(with_key("key.json"), @"
    error: an input cannot be used
      `credentials_json`: if it is meant as a path, the file does not exist; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(with_key(r#"{"user": "hunter2"}"#), @"
    error: an input cannot be used
      `credentials_json`: it is JSON, but not a service-account key: `type` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(with_key("[]"), @"
    error: an input cannot be used
      `credentials_json`: it is a JSON array; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)

    hint: use only the object in it, from `{` to `}`
    ");
    insta::assert_snapshot!(with_key(&STANDARD.encode("hunter2")), @"
    error: an input cannot be used
      `credentials_json`: it is neither JSON nor base64 of JSON; its value is not shown (GCR_PUSH_CREDENTIALS_JSON)

    hint: use the JSON of the key file, its base64 (`base64 -w0 key.json`), or a path to it
    ");
}

#[test]
fn credential_of_another_type_is_named_by_type() {
    let other = r#"{"type": "gdch_service_account", "name": "hunter2"}"#;
    insta::assert_snapshot!(with_key(other), @"
    error: an input cannot be used
      `credentials_json`: it is a credential of type `gdch_service_account`, which gcr-push cannot use (GCR_PUSH_CREDENTIALS_JSON)

    hint: set `access_token` to a token of this credential: `gcloud auth print-access-token`
    ");
    let federated = r#"{"type": "external_account", "audience": "//iam.googleapis.com/x",
        "token_url": "https://sts.googleapis.com/v1/token"}"#;
    insta::assert_snapshot!(with_key(federated), @"
    error: an input cannot be used
      `credentials_json`: it is of type `external_account`, but `credential_source` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn broken_private_key_is_reported() {
    let google = Google::start();
    let lost_breaks = google.key.replace("\\n", " ");
    insta::assert_snapshot!(with_key(&lost_breaks), @"
    error: an input cannot be used
      `credentials_json`: the line breaks of its `private_key` became spaces (GCR_PUSH_CREDENTIALS_JSON)

    hint: store it as base64, so that nothing changes it: `base64 -w0 key.json`
    ");
    let start = google.key.find("PRIVATE KEY-----").unwrap() + 100;
    let mut cut = google.key.clone();
    cut.replace_range(start..start + 40, "");
    insta::assert_snapshot!(with_key(&cut), @"
    error: an input cannot be used
      `credentials_json`: its `private_key` is not an RSA key in PEM; it may be cut off, or its line breaks may be missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
    let none = google.key.replace("\"private_key\"", "\"no_private_key\"");
    insta::assert_snapshot!(with_key(&none), @"
    error: an input cannot be used
      `credentials_json`: it is JSON, but not a service-account key: `private_key` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn key_with_foreign_token_uri_is_reported() {
    let google = Google::start();
    let foreign_key = google.key.replace(
        "https://oauth2.googleapis.com/token",
        "https://evil.example/token",
    );
    insta::assert_snapshot!(with_key(&foreign_key), @"
    error: an input cannot be used
      `credentials_json`: its `token_uri` is not `https` at a Google host, so it is not used (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
}

/// A push of a valid image with the key of [`ACCOUNT`], which the caller may have changed.
fn push(google: &Google) -> Run {
    google
        .run()
        .file("image.tar", oci())
        .set("image", "image.tar")
}

#[test]
fn deleted_key_error_quotes_google() {
    let google = Google::start();
    google.standin.delete_keys(ACCOUNT);
    insta::assert_snapshot!(refused(&google, push(&google), 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 400 invalid_grant
      caused by: Invalid JWT Signature.

    hint: this key was deleted, or belongs to another account: create a new one with `gcloud iam service-accounts keys create key.json --iam-account=ci@acme.iam.gserviceaccount.com`
    ");
}

#[test]
fn disabled_account_error_quotes_google() {
    let google = Google::start();
    google.standin.disable_account(ACCOUNT);
    insta::assert_snapshot!(refused(&google, push(&google), 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 400 invalid_grant
      caused by: Invalid grant: account not found

    hint: the account was deleted or disabled; if it is disabled, enable it: `gcloud iam service-accounts enable ci@acme.iam.gserviceaccount.com`
    ");
}

/// A push with an access token.
fn with_token(google: &Google, token: &str, host: &str) -> Run {
    google
        .with_environment(Run::new())
        .file("image.tar", oci())
        .set("image", "image.tar")
        .set("access_token", token)
        .set("tags", format!("{host}/app:1"))
}

#[test]
fn expired_access_token_is_reported() {
    let google = Google::start();
    let token = google.standin.access_token(ACCOUNT);
    google.standin.expire_tokens();
    for host in ["gcr.io/acme", "us-docker.pkg.dev/acme/containers"] {
        let message = refused(&google, with_token(&google, &token, host), 3);
        assert!(!message.contains(&token));
        match host {
            "gcr.io/acme" => insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push: 401 UNAUTHORIZED
              caused by: authentication failed

            hint: `access_token` is invalid or has expired; it is valid for at most one hour: use `credentials_json` (a service-account key) or `workload_identity_provider`, which gcr-push renews
            "),
            _ => insta::assert_snapshot!(message, @"
            error: could not sign in to `us-docker.pkg.dev`
              caused by: GET https://us-docker.pkg.dev/v2/token?scope=repository:acme/containers/app:pull,push: 401 UNAUTHORIZED
              caused by: authentication failed

            hint: `access_token` is invalid or has expired; it is valid for at most one hour: use `credentials_json` (a service-account key) or `workload_identity_provider`, which gcr-push renews
            "),
        }
    }
}

#[test]
fn malformed_access_token_is_reported() {
    let google = Google::start();
    let run = with_token(&google, "hunter2", "gcr.io/acme");
    insta::assert_snapshot!(refused(&google, run, 3), @"
    error: could not sign in to `gcr.io`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:acme/app:pull,push: 401 UNAUTHORIZED
      caused by: authentication failed

    hint: `access_token` is invalid or has expired; it is valid for at most one hour: use `credentials_json` (a service-account key) or `workload_identity_provider`, which gcr-push renews
    ");
    google.standin.clear_requests();
    let run = with_token(&google, &google.key, "gcr.io/acme");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: an input cannot be used
      `access_token`: it is JSON, not a token; put a key in `credentials_json` (GCR_PUSH_ACCESS_TOKEN)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = with_token(&google, "Bearer ya29.hunter2", "gcr.io/acme");
    insta::assert_snapshot!(refused(&google, run, 2), @"
    error: an input cannot be used
      `access_token`: it contains a space or a line break; set it to the token only, without `Bearer`; its value is not shown (GCR_PUSH_ACCESS_TOKEN)

    hint: `gcr-push push --help` describes every variable
    ");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn missing_credential_is_reported_before_any_upload() {
    let google = Google::start();
    let push = || {
        google
            .with_environment(Run::new())
            .file("image.tar", oci())
            .set("image", "image.tar")
            .set("tags", "gcr.io/acme/app:1")
    };
    insta::assert_snapshot!(refused(&google, push(), 3), @"
    error: there is no credential for `gcr.io`

    hint: log in as yourself with `gcloud auth application-default login`, or for an hour with `export GCR_PUSH_ACCESS_TOKEN=$(gcloud auth print-access-token)`
    hint: a CI job has no such login: set `credentials_json` to a service-account key, or sign in without a key with `workload_identity_provider`
    ");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn token_that_expires_during_push_is_refreshed() {
    let google = Google::start();
    google.standin.fault(standin::Fault::once(
        RequestKind::UploadStart,
        standin::FaultAction::ExpireTokens,
    ));
    push(&google).succeeds();
    assert!(google.standin.tags("gcr.io", "acme/app").contains_key("1"));
}
