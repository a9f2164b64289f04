//! Every kind of credential, and how the log names it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use standin::{Machine, RequestKind};

use super::{
    NUMBER, claims, count, github_provider, has_image, image, in_github_job, may_impersonate,
    may_push, push, repository_set, sign_in_line,
};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;
use crate::support::secret_leaks::Secrets;

/// The push succeeds, logs how it signed in, and shows no secret at the loudest level. Returns the
/// log line.
fn succeeds(google: &Google, run: Run) -> String {
    let outcome = run.variable("RUST_LOG", "trace").succeeds();
    assert!(has_image(google));
    let files = ["key.json", "credentials.json", "token", "token.json"];
    Secrets::of(google).assert_no_leak(&outcome, &files);
    sign_in_line(&outcome)
}

#[test]
fn key_signs_in_in_any_form() {
    let google = Google::start();
    for value in [&google.key, &STANDARD.encode(&google.key), "key.json"] {
        let run = push(&google)
            .file("key.json", &google.key)
            .set("credentials_json", value);
        insta::allow_duplicates! { insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the key from `credentials_json`"); }
    }
}

#[test]
fn access_token_signs_in() {
    let google = Google::start();
    let token = google.standin.access_token(ACCOUNT);
    let run = push(&google).set("access_token", token);
    insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as the token's owner, with the token from `access_token`");
    assert_eq!(count(&google, RequestKind::OAuthToken), 0);
}

#[test]
fn github_oidc_token_impersonates_a_service_account() {
    let google = Google::start();
    let provider = github_provider(&google);
    may_impersonate(&google);
    let run = push(&google)
        .set("workload_identity_provider", provider)
        .set("service_account", ACCOUNT);
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the workload identity from `workload_identity_provider`");
    assert_eq!(count(&google, RequestKind::Oidc), 1);
    assert_eq!(count(&google, RequestKind::Sts), 1);
}

#[test]
fn github_oidc_token_signs_in_as_itself() {
    let google = Google::start();
    let provider = github_provider(&google);
    may_push(&google, "acme/shop");
    let full = format!("https://iam.googleapis.com/{provider}");
    let run = push(&google).set("workload_identity_provider", full);
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/*`, with the workload identity from `workload_identity_provider`");
}

#[test]
fn oidc_token_of_another_ci_signs_in_as_text_and_file() {
    let google = Google::start();
    google.describe_project(NUMBER);
    let audiences = ["https://gitlab.com"];
    let provider = google.standin.provider(
        "acme",
        "ci/gitlab",
        "https://gitlab.com",
        Some(&audiences),
        "assertion.project_path == 'acme/shop'",
    );
    may_impersonate(&google);
    let member = repository_set("acme/shop").replace("repository/", "project_path/");
    google.standin.grant(
        &member,
        "roles/iam.workloadIdentityUser",
        &format!("projects/acme/serviceAccounts/{ACCOUNT}"),
    );
    let claims = json!({
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "aud": "https://gitlab.com",
        "project_path": "acme/shop",
    });
    let token = google.standin.oidc_token("https://gitlab.com", &claims);
    for value in [token.as_str(), "token"] {
        let run = push(&google)
            .file("token", format!("{token}\n"))
            .variable("GITLAB_CI", "true")
            .set("log_format", "plain")
            .set("workload_identity_provider", &provider)
            .set("service_account", ACCOUNT)
            .set("oidc_token", value);
        insta::allow_duplicates! { insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the workload identity from `workload_identity_provider`"); }
    }
}

/// The credential file that google-github-actions/auth writes for this job.
fn google_action_output(google: &Google, service_account: Option<&str>) -> String {
    let provider = github_provider(google);
    let (url, opens) = google.standin.github_job(claims("acme/shop"));
    let mut file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{provider}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "url": format!("{url}&audience=https%3A%2F%2Fiam.googleapis.com%2F{}", provider.replace('/', "%2F")),
            "headers": {"Authorization": format!("Bearer {opens}")},
            "format": {"type": "json", "subject_token_field_name": "value"},
        },
    });
    if let Some(email) = service_account {
        file["service_account_impersonation_url"] = format!(
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        )
        .into();
    }
    file.to_string()
}

#[test]
fn google_github_actions_auth_output_signs_in() {
    let google = Google::start();
    may_impersonate(&google);
    for variable in [
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_GHA_CREDS_PATH",
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    ] {
        let file = google_action_output(&google, Some(ACCOUNT));
        let run = push(&google).file("gha-creds-0123456789abcdef.json", file);
        let path = run.path().join("gha-creds-0123456789abcdef.json");
        let run = run.variable(variable, path.display().to_string());
        let outcome = run.succeeds();
        assert_eq!(
            sign_in_line(&outcome),
            format!(
                "INFO signing in to gcr.io as `{ACCOUNT}`, with the workload identity from `{variable}`"
            )
        );
    }
    assert!(has_image(&google));
}

#[test]
fn untranslated_runner_path_is_found_in_the_workspace() {
    let google = Google::start();
    may_impersonate(&google);
    let file = google_action_output(&google, Some(ACCOUNT));
    let run = push(&google).file("work/gha-creds-0123456789abcdef.json", file);
    let workspace = run.path().join("work");
    let run = run
        .variable("GITHUB_ACTIONS", "true")
        .set("log_format", "plain")
        .variable("GITHUB_WORKSPACE", workspace.display().to_string())
        .variable(
            "GOOGLE_APPLICATION_CREDENTIALS",
            "/__w/shop/shop/gha-creds-0123456789abcdef.json",
        );
    run.succeeds();
    assert!(has_image(&google));
}

#[test]
fn gitlab_google_identity_signs_in() {
    let google = Google::start();
    google.describe_project(NUMBER);
    let issuer = "https://auth.gcp.gitlab.com/oidc/acme";
    let provider = google
        .standin
        .provider("acme", "ci/gitlab", issuer, Some(&["acme"]), "");
    let member = repository_set("x").replace("attribute.repository/x", "*");
    google.standin.grant(
        &member,
        "roles/artifactregistry.createOnPushWriter",
        "projects/acme",
    );
    let claims = json!({"sub": "acme/shop", "aud": "acme"});
    let (url, opens) = google.standin.gitlab_job(issuer, claims);
    let file = json!({
        "type": "external_account",
        "audience": format!("//iam.googleapis.com/{provider}"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {
            "url": url,
            "headers": {"Authorization": format!("Bearer {opens}")},
            "format": {"type": "json", "subject_token_field_name": "token"},
        },
    });
    let run = push(&google).file("credentials.json", file.to_string());
    let path = run.path().join("credentials.json").display().to_string();
    let run = run.variable("GOOGLE_APPLICATION_CREDENTIALS", path);
    insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/*`, with the workload identity from `GOOGLE_APPLICATION_CREDENTIALS`");
}

#[test]
fn token_file_signs_in_in_both_formats_with_lifetime() {
    let google = Google::start();
    let provider = github_provider(&google);
    may_impersonate(&google);
    let mut token_claims = claims("acme/shop");
    token_claims["aud"] = format!("https://iam.googleapis.com/{provider}").into();
    let issuer = "https://token.actions.githubusercontent.com";
    let token = google.standin.oidc_token(issuer, &token_claims);
    for (name, content, format) in [
        ("token", format!("{token}\n"), None),
        ("token", token.clone(), Some(json!({"type": "text"}))),
        (
            "token.json",
            json!({"id_token": token}).to_string(),
            Some(json!({"type": "json", "subject_token_field_name": "id_token"})),
        ),
    ] {
        let mut file = json!({
            "type": "external_account",
            "audience": format!("//iam.googleapis.com/{provider}"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": name},
            "service_account_impersonation_url": format!(
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
            ),
            "service_account_impersonation": {"token_lifetime_seconds": 1800},
        });
        if let Some(format) = format {
            file["credential_source"]["format"] = format;
        }
        let run = push(&google)
            .file(name, content)
            .set("credentials_json", file.to_string());
        insta::allow_duplicates! { insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the workload identity from `credentials_json`"); }
    }
    let requests = google.standin.requests();
    let mut bodies = requests
        .iter()
        .filter(|one| one.path.ends_with(":generateAccessToken"))
        .map(|one| one.body.as_deref().unwrap_or_default());
    assert!(bodies.all(|body| body.contains("\"1800s\"")));
}

#[test]
fn gcloud_user_login_signs_in() {
    let google = Google::start();
    google.standin.grant(
        "ada@example.com",
        "roles/artifactregistry.createOnPushWriter",
        "projects/acme",
    );
    let login = google.standin.user_login("ada@example.com").to_string();
    let run = push(&google).file(
        "home/.config/gcloud/application_default_credentials.json",
        login,
    );
    let home = run.path().join("home").display().to_string();
    let outcome = run.variable("HOME", home).succeeds();
    insta::assert_snapshot!(sign_in_line(&outcome), @"INFO signing in to gcr.io as the user who \
        logged in, with the login from gcloud's \
        `[FOLDER]/home/.config/gcloud/application_default_credentials.json`");
}

#[test]
fn user_or_key_can_impersonate_a_service_account() {
    let google = Google::start();
    google.describe_project(NUMBER);
    let robot = "robot@acme.iam.gserviceaccount.com";
    let robots_key: serde_json::Value =
        serde_json::from_str(&google.standin.service_account(robot, "acme")).unwrap();
    for member in ["ada@example.com", robot] {
        google.standin.grant(
            member,
            "roles/iam.serviceAccountTokenCreator",
            &format!("projects/acme/serviceAccounts/{ACCOUNT}"),
        );
    }
    for source in [google.standin.user_login("ada@example.com"), robots_key] {
        let file = json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": format!(
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
            ),
            "delegates": [],
            "source_credentials": source,
        });
        let run = push(&google).set("credentials_json", file.to_string());
        let outcome = run.variable("RUST_LOG", "trace").succeeds();
        insta::allow_duplicates! { insta::assert_snapshot!(sign_in_line(&outcome), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the impersonation from `credentials_json`"); }
    }
}

/// A run on a machine with a metadata server.
fn on_gce_machine(google: &Google, account: Option<&str>, flavor: bool) -> Run {
    let machine = Machine {
        account: account.map(str::to_owned),
        scopes: vec!["cloud-platform"],
        flavor,
    };
    google.standin.change(|it| it.machine = Some(machine));
    push(google).variable("GCE_METADATA_HOST", google.standin.plain_address())
}

#[test]
fn gce_machine_signs_in_with_its_account_without_proxy() {
    let google = Google::start();
    let run = on_gce_machine(&google, Some(ACCOUNT), true)
        .variable("HTTP_PROXY", google.standin.proxy_url())
        .variable("NO_PROXY", "nothing.example");
    insta::assert_snapshot!(succeeds(&google, run), @"INFO signing in to gcr.io as `ci@acme.iam.gserviceaccount.com`, with the account from the metadata server");
    let requests = google.standin.requests();
    let mut metadata_requests = requests
        .iter()
        .filter(|one| one.kind == RequestKind::Metadata);
    assert!(metadata_requests.all(|one| !one.via_proxy));
}

#[test]
fn foreign_or_accountless_metadata_server_is_ignored() {
    for (account, flavor) in [(Some(ACCOUNT), false), (None, true)] {
        let google = Google::start();
        let outcome = on_gce_machine(&google, account, flavor).fails_with(3);
        assert!(
            outcome
                .error()
                .starts_with("error: there is no credential for `gcr.io`"),
            "{}",
            outcome.stderr
        );
        assert_eq!(count(&google, RequestKind::Metadata), 1);
    }
}

#[test]
fn docker_config_entry_for_the_host_signs_in() {
    let google = Google::start();
    let login = STANDARD.encode(format!("_json_key:{}", google.key));
    let config = json!({"auths": {"gcr.io": {"auth": login}}}).to_string();
    let run = push(&google).set("docker_config", config);
    let outcome = run.succeeds();
    insta::assert_snapshot!(sign_in_line(&outcome), @"INFO signing in to gcr.io as `_json_key`, with `docker_config`");
    assert!(has_image(&google));
}

#[test]
fn pushed_image_is_the_same_for_every_credential() {
    let google = Google::start();
    push(&google)
        .set("credentials_json", &google.key)
        .succeeds();
    let (_, first) = google.standin.manifest("gcr.io", "acme/app", "1").unwrap();
    let token = google.standin.access_token(ACCOUNT);
    let other = google
        .with_environment(Run::new())
        .file("image.tar", image())
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/other:1")
        .set("access_token", token);
    other.succeeds();
    let (_, second) = google
        .standin
        .manifest("gcr.io", "acme/other", "1")
        .unwrap();
    assert_eq!(first, second);
}
