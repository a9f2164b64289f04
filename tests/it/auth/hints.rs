//! The error and the hint after a refused sign-in.

use serde_json::json;
use standin::{Fault, FaultAction, Machine, Project, RequestKind};

use super::refusals::error_text;
use super::{NUMBER, claims, github_provider, in_github_job, push};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;
use crate::support::secret_leaks::Secrets;

/// Answers every request of a kind with this status and body.
fn refuse(google: &Google, kind: RequestKind, code: u16, body: &str) {
    let refused = FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: Vec::new(),
    };
    google.standin.fault(Fault::always(kind, refused));
}

/// A keyless push from GitHub, as `service_account` where one is given.
fn keyless(google: &Google, provider: &str, service_account: Option<&str>) -> Run {
    let mut run = push(google).set("workload_identity_provider", provider);
    if let Some(account) = service_account {
        run = run.set("service_account", account);
    }
    in_github_job(google, run, "acme/shop")
}

/// The error of a keyless push to which STS gives this answer.
fn sts_refusal_text(code: u16, body: serde_json::Value) -> String {
    let google = Google::start();
    let provider = github_provider(&google);
    refuse(&google, RequestKind::Sts, code, &body.to_string());
    error_text(&google, keyless(&google, &provider, None), 3)
}

fn hints(message: &str) -> String {
    let (_, hints) = message.split_once("\n\n").expect(message);
    hints.to_owned()
}

#[test]
fn unreachable_issuer_is_not_reported_as_wrong_issuer() {
    insta::assert_snapshot!(hints(&sts_refusal_text(400, json!({
        "error": "invalid_grant",
        "error_description": "Error connecting to the given credential's issuer.",
    }))), @"
    hint: Google could not verify the token with the keys of `https://token.actions.githubusercontent.com`: https://token.actions.githubusercontent.com/.well-known/openid-configuration and its keys must be open to the internet, with a certificate of a public authority
    hint: or upload the keys, and upload them again when they change: `gcloud iam workload-identity-pools providers update-oidc github --workload-identity-pool=ci --location=global --project=123456789012 --jwk-json-path=FILE`
    ");
}

#[test]
fn mapping_without_subject_is_reported_with_the_fix() {
    insta::assert_snapshot!(hints(&sts_refusal_text(400, json!({
        "error": "unauthorized_client",
        "error_description": "Could not obtain a value for google.subject from the given credential.",
    }))), @"
    hint: the provider's mapping does not give this token a subject: see the mapping with `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci --location=global --project=123456789012 --format='value(attributeMapping)'`
    hint: map `google.subject` to a claim that the token has, and keep the other mappings: `gcloud iam workload-identity-pools providers update-oidc github --workload-identity-pool=ci --location=global --project=123456789012 --attribute-mapping=google.subject=assertion.sub`
    ");
}

#[test]
fn disabled_api_hint_names_the_project_of_the_error() {
    let off = |api: &str, host: &str| {
        let message = format!(
            "{api} API has not been used in project 987654321 before or it is disabled. Enable it by \
             visiting https://console.developers.google.com/apis/api/{host}/overview?project=987654321 \
             then retry."
        );
        json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}})
    };
    insta::assert_snapshot!(
        hints(&sts_refusal_text(403, off("Security Token Service", "sts.googleapis.com"))), @"
    hint: enable the API: `gcloud services enable sts.googleapis.com --project=987654321`; if you just enabled it, wait a few minutes
    ");
    let google = Google::start();
    let provider = github_provider(&google);
    let body = off(
        "IAM Service Account Credentials",
        "iamcredentials.googleapis.com",
    );
    refuse(&google, RequestKind::Api, 403, &body.to_string());
    insta::assert_snapshot!(
        hints(&error_text(&google, keyless(&google, &provider, Some(ACCOUNT)), 3)), @"
    hint: enable the API: `gcloud services enable iamcredentials.googleapis.com --project=987654321`; if you just enabled it, wait a few minutes
    ");
}

#[test]
fn missing_account_error_lists_existing_accounts() {
    let google = Google::start();
    let provider = github_provider(&google);
    let account = "ci@shop.example.com.iam.gserviceaccount.com";
    let body = json!({"error": {
        "code": 404,
        "message": format!("Not found; Gaia id not found for email {account}"),
        "status": "NOT_FOUND",
    }});
    refuse(&google, RequestKind::Api, 404, &body.to_string());
    insta::assert_snapshot!(error_text(&google, keyless(&google, &provider, Some(account)), 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not impersonate `ci@shop.example.com.iam.gserviceaccount.com`
      caused by: POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ci@shop.example.com.iam.gserviceaccount.com:generateAccessToken: 404 NOT_FOUND
      caused by: Not found; Gaia id not found for email ci@shop.example.com.iam.gserviceaccount.com

    hint: the service account `ci@shop.example.com.iam.gserviceaccount.com` does not exist: it is misspelt, in another project, or deleted; see the accounts with `gcloud iam service-accounts list --project=example.com:shop`
    ");
}

#[test]
fn token_for_the_provider_itself_needs_an_allowed_audience() {
    let google = Google::start();
    let audiences = ["https://github.com/acme"];
    google.describe_project(NUMBER);
    let issuer = "https://token.actions.githubusercontent.com";
    let provider = google
        .standin
        .provider("acme", "ci/github", issuer, Some(&audiences), "");
    insta::assert_snapshot!(hints(&error_text(&google, keyless(&google, &provider, None), 3)), @"hint: the token is for `https://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github`, which the provider does not allow: allow it with `gcloud iam workload-identity-pools providers update-oidc github --workload-identity-pool=ci --location=global --project=123456789012 --allowed-audiences=https://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github`; this list replaces the list that `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci --location=global --project=123456789012 --format='value(oidc.allowedAudiences)'` prints");
}

#[test]
fn setup_pool_principal_uses_the_mapped_number() {
    let google = Google::start();
    google.describe_project(NUMBER);
    let issuer = "https://token.actions.githubusercontent.com";
    let provider = google
        .standin
        .provider("acme", "gcr-push-github/github-42", issuer, None, "");
    let mut token_claims = claims("acme/shop");
    token_claims["repository_id"] = "42".into();
    token_claims["aud"] = format!("https://iam.googleapis.com/{provider}").into();
    let run = push(&google)
        .set("workload_identity_provider", &provider)
        .set("service_account", ACCOUNT)
        .set(
            "oidc_token",
            google.standin.oidc_token(issuer, &token_claims),
        );
    let hints = hints(&error_text(&google, run, 3));
    let member = "--member=principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/gcr-push-github/attribute.repository_id/42 --condition=None`; it takes effect";
    assert!(hints.contains(member), "{hints}");
}

#[test]
fn refused_key_fails_at_once_with_status_and_message() {
    let google = Google::start();
    let refused = |code: u16, body: &str| {
        google.standin.clear_faults();
        refuse(&google, RequestKind::OAuthToken, code, body);
        let run = push(&google)
            .set("credentials_json", &google.key)
            .set("retry_timeout", "60s");
        error_text(&google, run, 3)
    };
    insta::assert_snapshot!(refused(403, "<html>blocked by policy</html>"), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 403 Forbidden
      caused by: the response is a web page

    hint: check that no proxy or firewall blocks `oauth2.googleapis.com`: this response is not from Google
    ");
    let body = json!({"error": {
        "code": 403,
        "message": "Request is prohibited by organization policy.",
        "status": "PERMISSION_DENIED",
    }});
    insta::assert_snapshot!(refused(403, &body.to_string()), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://oauth2.googleapis.com/token: 403 PERMISSION_DENIED
      caused by: Request is prohibited by organization policy.
    ");
    let requests = google.standin.requests();
    let requests = requests
        .iter()
        .filter(|one| one.kind == RequestKind::OAuthToken);
    // Each run asks before it reads the image, and again to sign in.
    assert_eq!(requests.count(), 4);
}

#[test]
fn transient_refusal_is_retried_whatever_its_code() {
    for (code, body) in [
        (
            429,
            json!({"error": "rate_limit_exceeded", "error_description": "Slow down."}),
        ),
        (
            500,
            json!({"error": "internal", "error_description": "Oops."}),
        ),
        (
            503,
            json!({"error": {"code": 503, "message": "Later.", "status": "ABORTED"}}),
        ),
    ] {
        let google = Google::start();
        refuse(&google, RequestKind::OAuthToken, code, &body.to_string());
        let run = || push(&google).set("credentials_json", &google.key);
        let message = error_text(&google, run(), 4);
        assert!(message.contains(&format!("/token: {code} ")), "{message}");
        assert!(message.contains("try again in a few minutes"), "{message}");
        google.standin.clear_faults();
        let passing = FaultAction::Status {
            code,
            retry_after: None,
            body: Some(body.to_string()),
            headers: Vec::new(),
        };
        let once = Fault::once(RequestKind::OAuthToken, passing);
        google.standin.fault(once);
        run().succeeds();
    }
}

#[test]
fn endless_token_lifetime_and_endless_answer_are_bounded() {
    let google = Google::start();
    let token = google.standin.access_token(ACCOUNT);
    let body = json!({
        "access_token": token,
        "expires_in": 1_000_000_000_000_000_000_u64,
        "token_type": "Bearer",
    });
    refuse(&google, RequestKind::OAuthToken, 200, &body.to_string());
    push(&google)
        .set("credentials_json", &google.key)
        .succeeds();
    let google = Google::start();
    let endless = "x".repeat(2 * 1024 * 1024);
    refuse(&google, RequestKind::OAuthToken, 200, &endless);
    let run = push(&google).set("credentials_json", &google.key);
    let message = error_text(&google, run, 4);
    assert!(
        message.contains("the response is not an OAuth token"),
        "{message}"
    );
}

#[test]
fn quoted_request_is_shown_without_its_secrets() {
    for (kind, code) in [
        (RequestKind::OAuthToken, 400),
        (RequestKind::OAuthToken, 403),
        (RequestKind::Sts, 400),
        (RequestKind::Oidc, 401),
        (RequestKind::Api, 403),
    ] {
        let google = Google::start();
        let provider = github_provider(&google);
        let quoting = Fault::always(kind, FaultAction::Quote(code));
        google.standin.fault(quoting);
        let run = match kind {
            RequestKind::OAuthToken => push(&google).set("credentials_json", &google.key),
            _ => keyless(&google, &provider, Some(ACCOUNT)),
        };
        // A refusal of the API says nothing about who may impersonate the account.
        let message = error_text(&google, run, 3);
        assert!(message.contains("***"), "{message}");
        assert!(message.contains("denied the request"), "{message}");
    }
}

/// A run on a machine with a metadata server.
fn on_gce_machine(google: &Google, scopes: Vec<&'static str>) -> Run {
    google.standin.change(|it| {
        it.machine = Some(Machine {
            account: Some(ACCOUNT.to_owned()),
            scopes,
            flavor: true,
        });
    });
    push(google).variable("GCE_METADATA_HOST", google.standin.plain_address())
}

/// The error of a push whose metadata server gives this answer to the token request.
fn metadata_refusal_text(code: u16, body: &str) -> String {
    let google = Google::start();
    let run = on_gce_machine(&google, vec!["cloud-platform"]);
    let refused = FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: Vec::new(),
    };
    let fault = Fault::always(RequestKind::Metadata, refused);
    google.standin.fault(fault.path("/token"));
    error_text(&google, run, 3)
}

#[test]
fn metadata_server_error_is_shown_with_the_fix() {
    insta::assert_snapshot!(metadata_refusal_text(403, "Unable to generate access token; IAM returned 403 Forbidden: IAM Service Account Credentials API has not been used in project 889403714106 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/iamcredentials.googleapis.com/overview?project=889403714106 then retry.\nThis error could be caused by a missing IAM policy binding on the target IAM service account."), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: GET http://127.0.0.1:[PORT]/computeMetadata/v1/instance/service-accounts/default/token: 403 Forbidden
      caused by: Unable to generate access token; IAM returned 403 Forbidden: IAM Service Account Credentials API has not been used in project 889403714106 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/iamcredentials.googleapis.com/overview?project=889403714106 then retry. This error could be caused by a missing IAM policy binding on the target IAM service account.

    hint: enable the API: `gcloud services enable iamcredentials.googleapis.com --project=889403714106`; if you just enabled it, wait a few minutes
    hint: allow the pod's Kubernetes service account to impersonate it: `gcloud iam service-accounts add-iam-policy-binding ci@acme.iam.gserviceaccount.com --role=roles/iam.workloadIdentityUser --member='serviceAccount:PROJECT.svc.id.goog[NAMESPACE/NAME]' --condition=None`
    hint: check that the annotation `iam.gke.io/gcp-service-account` of the pod's Kubernetes service account is the account: `kubectl get serviceaccount NAME --namespace=NAMESPACE --output=yaml`
    ");
    insta::assert_snapshot!(metadata_refusal_text(404, "Unable to generate access token; IAM returned 404 Not Found: Not found; Gaia id not found for email ci@acme.iam.gserviceaccount.com\n"), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for `ci@acme.iam.gserviceaccount.com`
      caused by: GET http://127.0.0.1:[PORT]/computeMetadata/v1/instance/service-accounts/default/token: 404 Not Found
      caused by: Unable to generate access token; IAM returned 404 Not Found: Not found; Gaia id not found for email ci@acme.iam.gserviceaccount.com

    hint: the service account `ci@acme.iam.gserviceaccount.com` does not exist: it is misspelt, in another project, or deleted; see the accounts with `gcloud iam service-accounts list --project=acme`
    hint: check that the annotation `iam.gke.io/gcp-service-account` of the pod's Kubernetes service account is the account: `kubectl get serviceaccount NAME --namespace=NAMESPACE --output=yaml`
    ");
}

#[test]
fn concealed_metadata_server_is_reported_by_its_message() {
    let google = Google::start();
    let run = on_gce_machine(&google, vec!["cloud-platform"]);
    let body = "The request is rejected. Please check if the metadata server is concealed.";
    let refused = FaultAction::Status {
        code: 403,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: vec![("Metadata-Flavor".to_owned(), "Google".to_owned())],
    };
    let fault = Fault::always(RequestKind::Metadata, refused);
    google.standin.fault(fault);
    let outcome = run.fails_with(3);
    let line = format!(
        "WARN the metadata server does not return this machine's service account, so gcr-push does \
         not use it: 403 Forbidden: {body}"
    );
    assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);
}

#[test]
fn narrow_scopes_are_reported_before_missing_role() {
    let google = Google::start();
    let run = on_gce_machine(&google, vec!["devstorage.read_only", "logging.write"]);
    let denied = json!({"errors": [{
        "code": "DENIED",
        "message": "Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"projects/acme/locations/us/repositories/gcr.io\" (or it may not exist)",
    }]});
    let narrow = json!({"error": {
        "code": 403,
        "message": "Request had insufficient authentication scopes.",
        "status": "PERMISSION_DENIED",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            "domain": "googleapis.com",
        }],
    }});
    refuse(&google, RequestKind::UploadStart, 403, &denied.to_string());
    refuse(&google, RequestKind::Api, 403, &narrow.to_string());
    insta::assert_snapshot!(error_text(&google, run, 3), @r#"
    error: could not push to `gcr.io/acme/app`
      caused by: POST https://gcr.io/v2/acme/app/blobs/uploads/: 403 DENIED
      caused by: Permission "artifactregistry.repositories.uploadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: the tokens of `ci@acme.iam.gserviceaccount.com` are limited to the access scopes of this machine (`https://www.googleapis.com/auth/devstorage.read_only`, `https://www.googleapis.com/auth/logging.write`): stop the machine and give it `cloud-platform`: `gcloud compute instances set-service-account INSTANCE --zone=ZONE --project=PROJECT --service-account=ci@acme.iam.gserviceaccount.com --scopes=cloud-platform`, or use a node pool that was created with `--scopes=cloud-platform`, or use another credential
    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=serviceAccount:ci@acme.iam.gserviceaccount.com --role=roles/artifactregistry.writer`
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    "#);
    let outcome = google
        .with_environment(Run::command("doctor"))
        .variable("GCE_METADATA_HOST", google.standin.plain_address())
        .set("tags", "gcr.io/acme/app:1")
        .fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
        error: the token used as `ci@acme.iam.gserviceaccount.com` does not have the scopes for a push

        hint: the tokens of `ci@acme.iam.gserviceaccount.com` are limited to the access scopes of this machine (`https://www.googleapis.com/auth/devstorage.read_only`, `https://www.googleapis.com/auth/logging.write`): stop the machine and give it `cloud-platform`: `gcloud compute instances set-service-account INSTANCE --zone=ZONE --project=PROJECT --service-account=ci@acme.iam.gserviceaccount.com --scopes=cloud-platform`, or use a node pool that was created with `--scopes=cloud-platform`, or use another credential
        ");
    let row = "token       gcr.io/gcr.io    failed  the token used as \
               `ci@acme.iam.gserviceaccount.com` does not have the scopes for a push";
    assert!(outcome.stdout.contains(row), "{}", outcome.stdout);
}

#[test]
fn missing_credential_error_says_what_to_set() {
    let google = Google::start();
    google.describe_project(NUMBER);
    let plain = google.standin.plain_address();
    let run = google
        .with_environment(Run::new())
        .set("image", "docker://gcr.io/closed/app:1")
        .set("tags", format!("{plain}/app:1"));
    let outcome = run.fails_with(3);
    insta::assert_snapshot!(outcome.error(), @r#"
    error: could not read `gcr.io/closed/app:1`
      caused by: GET https://gcr.io/v2/token?service=gcr.io&scope=repository:closed/app:pull: 403 DENIED
      caused by: Unauthenticated request. Unauthenticated requests do not have permission "artifactregistry.repositories.downloadArtifacts" on resource "projects/closed/locations/us/repositories/gcr.io" (or it may not exist)

    hint: no credentials were sent to `gcr.io`: set `credentials_json` (a service-account key), `access_token`, or `workload_identity_provider`
    hint: grant the role to that account: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=closed --member=serviceAccount:ACCOUNT --role=roles/artifactregistry.reader`, where ACCOUNT is its address
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=closed`
    "#);
}

#[test]
fn quota_project_is_sent_to_google_apis_only() {
    let google = Google::start();
    google
        .standin
        .project("acme", Project::new(NUMBER).service("artifactregistry"));
    google.standin.grant(
        "ada@example.com",
        "roles/artifactregistry.createOnPushWriter",
        "projects/acme",
    );
    let mut login = google.standin.user_login("ada@example.com");
    login["quota_project_id"] = "acme-bills".into();
    for (variable, expected) in [(None, "acme-bills"), (Some("acme-other"), "acme-other")] {
        google.standin.clear_requests();
        let mut run = push(&google).set("credentials_json", login.to_string());
        if let Some(project) = variable {
            run = run.variable("GOOGLE_CLOUD_QUOTA_PROJECT", project);
        }
        let outcome = run.succeeds();
        Secrets::of(&google).assert_no_leak(&outcome, &[]);
        for request in google.standin.requests() {
            let quota_project = request.headers.get("x-goog-user-project");
            let is_api = request.kind == RequestKind::Api;
            assert_eq!(
                quota_project.map(String::as_str),
                is_api.then_some(expected),
                "{request:?}"
            );
        }
    }
}

#[test]
fn user_can_impersonate_with_quota_project() {
    let google = Google::start();
    google.describe_project(NUMBER);
    google.standin.grant(
        "ada@example.com",
        "roles/iam.serviceAccountTokenCreator",
        &format!("projects/acme/serviceAccounts/{ACCOUNT}"),
    );
    let mut login = google.standin.user_login("ada@example.com");
    login["quota_project_id"] = "acme-bills".into();
    let file = json!({
        "type": "impersonated_service_account",
        "service_account_impersonation_url": format!(
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
        ),
        "delegates": [],
        "source_credentials": login,
    });
    push(&google)
        .set("credentials_json", file.to_string())
        .succeeds();
    let requests = google.standin.requests();
    let acting = requests
        .iter()
        .find(|one| one.path.ends_with(":generateAccessToken"))
        .unwrap();
    let quota_project = acting.headers.get("x-goog-user-project");
    assert_eq!(quota_project.map(String::as_str), Some("acme-bills"));
}
