//! Credential files that cannot be used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::push;
use super::refusals::error_text;
use crate::support::google::Google;

/// A credential file of the type `external_account`, with this source.
fn external(source: &serde_json::Value, extra: &serde_json::Value) -> String {
    let mut file = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        file[name] = value.clone();
    }
    file.to_string()
}

#[test]
fn unusable_credential_file_error_names_it_and_the_fix() {
    let google = Google::start();
    let none = json!({});
    let url = json!({"url": "https://example.invalid/token"});
    let files = [
        external(&json!({"executable": {"command": "/bin/get"}}), &none),
        external(
            &json!({"environment_id": "aws1", "url": "http://169.254.169.254/x"}),
            &none,
        ),
        external(
            &json!({"certificate": {"certificate_config_location": "x"}}),
            &none,
        ),
        external(
            &json!({"file": "a", "url": "https://example.invalid"}),
            &none,
        ),
        external(&json!({"url": "http://example.invalid/token"}), &none),
        external(&json!({"file": "a", "format": {"type": "xml"}}), &none),
        external(&json!({}), &none),
        external(&url, &json!({"token_url": "https://evil.example/v1/token"})),
        external(
            &url,
            &json!({"service_account_impersonation_url": "https://evil.example/x"}),
        ),
        external(&url, &json!({"universe_domain": "evil.example"})),
        r#"{"type": "authorized_user", "client_id": "x"}"#.to_owned(),
        r#"{"type": "external_account_authorized_user"}"#.to_owned(),
    ];
    let mut all = String::new();
    for file in files {
        let run = push(&google).set("credentials_json", file);
        all += &error_text(&google, run, 2);
        all += "\n";
    }
    insta::assert_snapshot!(all, @"
    error: an input cannot be used
      `credentials_json`: its `credential_source` is an executable, which gcr-push does not support (GCR_PUSH_CREDENTIALS_JSON)

    hint: run that program in an earlier step, and set `oidc_token` to the token that it prints, with `workload_identity_provider`

    error: an input cannot be used
      `credentials_json`: its `credential_source` is AWS, which gcr-push does not support (GCR_PUSH_CREDENTIALS_JSON)

    hint: get the token in an earlier step: `gcloud auth login --cred-file=FILE`, then set `access_token` to the output of `gcloud auth print-access-token`

    error: an input cannot be used
      `credentials_json`: its `credential_source` is a certificate, which gcr-push does not support (GCR_PUSH_CREDENTIALS_JSON)

    hint: get the token in an earlier step with Google's own libraries, and put it in `access_token`

    error: an input cannot be used
      `credentials_json`: its `credential_source` has both `file` and `url`: remove one of them (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: its `credential_source.url` cannot be used: it must use `https`, except on this machine or its metadata server (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: its `credential_source.format` is not supported: expected `text`, or `json` with `subject_token_field_name` (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: it is of type `external_account`, but `credential_source.url` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: its `token_url` is not `https` at a Google host, so it is not used (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: its `service_account_impersonation_url` is not `https` at a Google host, so it is not used (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: its `universe_domain` is not `googleapis.com` (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: it is of type `authorized_user`, but `client_secret` is missing (GCR_PUSH_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable

    error: an input cannot be used
      `credentials_json`: it is a credential of type `external_account_authorized_user`, which gcr-push cannot use (GCR_PUSH_CREDENTIALS_JSON)

    hint: set `access_token` to a token of this credential: `gcloud auth print-access-token`
    ");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn missing_file_from_environment_is_reported() {
    let google = Google::start();
    let run = push(&google)
        .variable(
            "GOOGLE_APPLICATION_CREDENTIALS",
            "/nowhere/gha-creds-0.json",
        )
        .variable("GITHUB_ACTIONS", "true")
        .set("log_format", "plain");
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input cannot be used
      `GOOGLE_APPLICATION_CREDENTIALS`: there is no file `/nowhere/gha-creds-0.json`

    hint: google-github-actions/auth writes its file to the workspace: check out the repository before that step, not after it, and do not turn off `create_credentials_file`
    ");
    let run = push(&google).file("adc.json", "{\"type\": \"nonsense\"}");
    let path = run.path().join("adc.json").display().to_string();
    let outcome = run
        .variable("GOOGLE_APPLICATION_CREDENTIALS", path)
        .fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: an input cannot be used
      `GOOGLE_APPLICATION_CREDENTIALS`: the file that it names cannot be used: it is a credential of type `nonsense`, which gcr-push cannot use

    hint: set `access_token` to a token of this credential: `gcloud auth print-access-token`
    ");
}

/// A user's credential file, as gcloud writes it.
fn user_credential() -> serde_json::Value {
    json!({
        "refresh_token": "1//0fooled-refresh-token",
        "client_secret": "fooled-client-secret",
        "client_id": "x",
        "type": "authorized_user",
    })
}

#[test]
fn variable_with_file_content_signs_in() {
    let google = Google::start();
    let variable = "GOOGLE_APPLICATION_CREDENTIALS";
    for text in [&google.key, &STANDARD.encode(&google.key)] {
        push(&google).variable(variable, text).succeeds();
    }
    let run = push(&google).file("adc", STANDARD.encode(&google.key));
    let path = run.path().join("adc").display().to_string();
    run.variable(variable, path).succeeds();
}

#[test]
fn content_given_as_path_is_never_shown() {
    let google = Google::start();
    let user_credential = user_credential().to_string();
    let cut = &user_credential[..user_credential.len() - 20];
    let texts = [
        cut.to_owned(),
        STANDARD.encode(cut),
        format!("'{cut}'"),
        user_credential.replace("\"type\"", "\"kind\""),
        "-----BEGIN PRIVATE KEY-----\nfooled".to_owned(),
        "fooled\nfooled".to_owned(),
    ];
    for variable in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    ] {
        for text in &texts {
            let outcome = push(&google).variable(variable, text).fails_with(2);
            assert!(!outcome.stderr.contains("fooled"), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("type File"), "{}", outcome.stderr);
        }
    }
    let run = push(&google).variable("GOOGLE_APPLICATION_CREDENTIALS", cut);
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input cannot be used
      `GOOGLE_APPLICATION_CREDENTIALS`: it is the content of a file, not its path, and its JSON ends too early (line 1, column 104): it was cut off; its value is not shown

    hint: use the whole file; if a variable accepts only one line, use base64: `base64 -w0 key.json`
    hint: `GOOGLE_APPLICATION_CREDENTIALS` must be the path of a file: on GitLab, make it a variable of type File, or set `credentials_json` to the content
    ");
}
