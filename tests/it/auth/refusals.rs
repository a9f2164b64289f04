//! Sign-ins that fail: incomplete or conflicting credentials, unusable ones, and Google's refusals.

use standin::{Fault, FaultAction, RequestKind};

use super::{
    NUMBER, claims, github_provider, has_image, in_github_job, may_impersonate, push,
    repository_set,
};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;
use crate::support::secret_leaks::Secrets;

/// The error of a run that fails with this code and pushes nothing.
pub(super) fn error_text(google: &Google, run: Run, code: i32) -> String {
    let outcome = run.variable("RUST_LOG", "trace").fails_with(code);
    assert!(google.is_untouched());
    Secrets::of(google).assert_no_leak(&outcome, &["adc.json"]);
    outcome.error()
}

#[test]
fn half_of_keyless_sign_in_names_the_other_half() {
    let google = Google::start();
    let provider = github_provider(&google);
    let on_github = |run: Run| {
        run.variable("GITHUB_ACTIONS", "true")
            .set("log_format", "plain")
    };
    let run = on_github(push(&google).set("workload_identity_provider", &provider));
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input is missing
      `oidc_token`: `workload_identity_provider` is only half of a sign-in: GitHub gives this job no OIDC token (GCR_PUSH_OIDC_TOKEN)

    hint: add `permissions: id-token: write` and `contents: read` to the job or the workflow, because permissions that are not listed there are removed; pull requests from forks get no OIDC token
    ");
    let run = push(&google)
        .set("workload_identity_provider", &provider)
        .variable("GITLAB_CI", "true")
        .set("log_format", "plain");
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input is missing
      `oidc_token`: `workload_identity_provider` is only half of a sign-in: set this to the CI's OIDC token, as text or as the path of a file (GCR_PUSH_OIDC_TOKEN)

    hint: add to the job: `id_tokens: {GCR_PUSH_OIDC_TOKEN: {aud: https://gitlab.com}}`, with an audience that the provider allows
    ");
    let run = push(&google).set("service_account", ACCOUNT);
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input is missing
      `workload_identity_provider`: `service_account` is only half of a sign-in: set this to the provider that accepts the CI's OIDC token, `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER` (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = push(&google).set("oidc_token", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln");
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input is missing
      `workload_identity_provider`: `oidc_token` is only half of a sign-in: set this to the provider that accepts the CI's OIDC token, `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER` (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
    assert!(google.standin.requests().is_empty());
}

#[test]
fn two_credentials_at_once_are_refused() {
    let google = Google::start();
    let provider = github_provider(&google);
    let run = push(&google)
        .set("credentials_json", &google.key)
        .set("access_token", "ya29.x")
        .set("workload_identity_provider", provider);
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: two inputs cannot be used
      `access_token`: `credentials_json` is set too: keep one (GCR_PUSH_ACCESS_TOKEN)
      `workload_identity_provider`: `credentials_json` is set too: keep one (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn malformed_provider_error_says_what_is_wrong() {
    let google = Google::start();
    let with = |provider: &str| {
        let run = push(&google).set("workload_identity_provider", provider);
        error_text(&google, in_github_job(&google, run, "acme/shop"), 2)
    };
    let pool = "locations/global/workloadIdentityPools/ci";
    insta::assert_snapshot!(with(&format!("projects/acme/{pool}/providers/github")), @"
    error: an input cannot be used
      `workload_identity_provider`: it contains the project's id, `acme`, but Google requires its number: `gcloud projects describe acme --format='value(projectNumber)'` prints it (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(with(&format!("projects/{NUMBER}/{pool}")), @"
    error: an input cannot be used
      `workload_identity_provider`: it names a pool without a provider: `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`; `gcloud iam workload-identity-pools providers list --workload-identity-pool=ci --location=global --project=123456789012` lists the providers (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
    insta::assert_snapshot!(with("github"), @"
    error: an input cannot be used
      `workload_identity_provider`: `github` is not the name of a provider: `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER` (GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = push(&google)
        .set(
            "workload_identity_provider",
            format!("projects/{NUMBER}/{pool}/providers/github"),
        )
        .set("service_account", "ci");
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(error_text(&google, run, 2), @"
    error: an input cannot be used
      `service_account`: `ci` is not the address of a service account, `NAME@PROJECT.iam.gserviceaccount.com` (GCR_PUSH_SERVICE_ACCOUNT)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn missing_provider_error_shows_how_to_list_them() {
    let google = Google::start();
    let provider = github_provider(&google).replace("/github", "/gitlab");
    let run = push(&google).set("workload_identity_provider", provider);
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(error_text(&google, run, 3), @r#"
    error: could not sign in to `gcr.io`
      caused by: could not exchange the OIDC token for an access token
      caused by: POST https://sts.googleapis.com/v1/token: 400 invalid_target
      caused by: The target service indicated by the "audience" parameters is invalid. This might either be because the pool or provider is disabled or deleted or because it doesn't exist.

    hint: the provider does not exist, or it is disabled; `workload_identity_provider` is `projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`, with the project's number, not its ID; check that it exists with `gcloud iam workload-identity-pools providers describe gitlab --workload-identity-pool=ci --location=global --project=123456789012 --format='value(state)'`
    hint: if you just created the provider, wait five minutes
    "#);
}

#[test]
fn condition_refusal_shows_the_claims_of_the_token() {
    let google = Google::start();
    let provider = github_provider(&google);
    let run = push(&google).set("workload_identity_provider", provider);
    let run = in_github_job(&google, run, "acme/other");
    insta::assert_snapshot!(error_text(&google, run, 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not exchange the OIDC token for an access token
      caused by: POST https://sts.googleapis.com/v1/token: 400 unauthorized_client
      caused by: The given credential is rejected by the attribute condition.

    hint: the provider's condition refuses this token: its subject is `repo:acme/other:ref:refs/heads/main`, its repository `acme/other`; see the condition with `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci --location=global --project=123456789012 --format='value(attributeCondition)'`
    hint: a condition on `assertion.sub` fails if the repository was created or renamed after GitHub changed that claim: compare `assertion.repository_id` instead
    ");
}

#[test]
fn token_of_another_audience_or_issuer_is_reported() {
    let google = Google::start();
    let provider = github_provider(&google);
    let github = "https://token.actions.githubusercontent.com";
    let mut token_claims = claims("acme/shop");
    token_claims["aud"] = "https://github.com/acme".into();
    for issuer in [github, "https://gitlab.com"] {
        let run = push(&google)
            .set("workload_identity_provider", &provider)
            .set(
                "oidc_token",
                google.standin.oidc_token(issuer, &token_claims),
            );
        let message = error_text(&google, run, 3);
        if issuer == github {
            insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: could not exchange the OIDC token for an access token
              caused by: POST https://sts.googleapis.com/v1/token: 400 invalid_grant
              caused by: The audience in ID Token [https://github.com/acme] does not match the expected audience.

            hint: the token is for `https://github.com/acme`: request it for `https://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github` in the CI, or allow it in the provider with `gcloud iam workload-identity-pools providers update-oidc github --workload-identity-pool=ci --location=global --project=123456789012 --allowed-audiences=https://github.com/acme`; this list replaces the list that `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci --location=global --project=123456789012 --format='value(oidc.allowedAudiences)'` prints
            ");
        } else {
            insta::assert_snapshot!(message, @"
            error: could not sign in to `gcr.io`
              caused by: could not exchange the OIDC token for an access token
              caused by: POST https://sts.googleapis.com/v1/token: 400 invalid_grant
              caused by: The issuer in ID Token https://gitlab.com does not match the expected ones: https://token.actions.githubusercontent.com

            hint: the token's issuer is `https://gitlab.com`, but the provider accepts another: see which with `gcloud iam workload-identity-pools providers describe github --workload-identity-pool=ci --location=global --project=123456789012 --format='value(oidc.issuerUri)'`
            ");
        }
    }
}

#[test]
fn forbidden_impersonation_is_reported_with_its_binding() {
    let google = Google::start();
    let provider = github_provider(&google);
    let keyless = || {
        let run = push(&google)
            .set("workload_identity_provider", &provider)
            .set("service_account", ACCOUNT);
        in_github_job(&google, run, "acme/shop")
    };
    insta::assert_snapshot!(error_text(&google, keyless(), 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not impersonate `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ci@acme.iam.gserviceaccount.com:generateAccessToken: 403 PERMISSION_DENIED
      caused by: Permission 'iam.serviceAccounts.getAccessToken' denied on resource 'projects/acme/serviceAccounts/ci@acme.iam.gserviceaccount.com' (or it may not exist).

    hint: allow it to impersonate the account: `gcloud iam service-accounts add-iam-policy-binding ci@acme.iam.gserviceaccount.com --role=roles/iam.workloadIdentityUser --member=principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/attribute.repository/acme/shop --condition=None`, which works only if the provider maps `attribute.repository`: `gcloud iam workload-identity-pools providers list --workload-identity-pool=ci --location=global --project=123456789012 --format='value(name,attributeMapping)'` shows the mapping; it takes effect within minutes
    hint: check that the account exists: `gcloud iam service-accounts describe ci@acme.iam.gserviceaccount.com`; or remove `service_account` and grant the roles to the identity itself
    ");
    may_impersonate(&google);
    google.standin.change_project("acme", |project| {
        project.services.remove("iamcredentials.googleapis.com");
    });
    insta::assert_snapshot!(error_text(&google, keyless(), 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not impersonate `ci@acme.iam.gserviceaccount.com`
      caused by: POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ci@acme.iam.gserviceaccount.com:generateAccessToken: 403 PERMISSION_DENIED
      caused by: IAM Service Account Credentials API has not been used in project 123456789012 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/iamcredentials.googleapis.com/overview?project=123456789012 then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.

    hint: enable the API: `gcloud services enable iamcredentials.googleapis.com --project=123456789012`; if you just enabled it, wait a few minutes
    ");
    assert!(!has_image(&google));
}

#[test]
fn identity_without_role_is_reported_with_its_binding() {
    let google = Google::start();
    let provider = github_provider(&google);
    let run = push(&google).set("workload_identity_provider", provider);
    let run = in_github_job(&google, run, "acme/shop");
    let message = error_text(&google, run, 3);
    let member = format!("--member={}", repository_set("acme/shop"));
    assert!(message.contains(&member), "{message}");
    insta::assert_snapshot!(message, @r#"
    error: could not push to `gcr.io/acme/app:1`
      caused by: GET https://gcr.io/v2/acme/app/manifests/1: 403 DENIED
      caused by: Permission "artifactregistry.repositories.downloadArtifacts" denied on resource "projects/acme/locations/us/repositories/gcr.io" (or it may not exist)

    hint: grant the role: `gcloud artifacts repositories add-iam-policy-binding gcr.io --location=us --project=acme --member=principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/attribute.repository/acme/shop --role=roles/artifactregistry.writer`, which works only if the provider maps `attribute.repository`: `gcloud iam workload-identity-pools providers list --workload-identity-pool=ci --location=global --project=123456789012 --format='value(name,attributeMapping)'` shows the mapping
    hint: if the repository `gcr.io` does not exist in `us`, create it: `gcloud artifacts repositories create gcr.io --repository-format=docker --location=us --project=acme`
    "#);
}

#[test]
fn job_without_oidc_permission_is_reported() {
    let google = Google::start();
    let provider = github_provider(&google);
    let run = push(&google).set("workload_identity_provider", provider);
    let run = in_github_job(&google, run, "acme/shop")
        .variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "no-token-of-this-job");
    insta::assert_snapshot!(error_text(&google, run, 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an OIDC token
      caused by: GET https://pipelines.actions.githubusercontent.com/abc/00000000/_apis/distributedtask/idtoken: 401 Unauthorized
      caused by: The job is not known, or has ended.

    hint: on GitHub, the job needs `permissions: id-token: write`, and the URL works only while the job runs
    ");
}

#[test]
fn revoked_login_is_reported() {
    let google = Google::start();
    let login = google.standin.user_login("ada@example.com");
    google.standin.disable_account("ada@example.com");
    let run = push(&google).set("credentials_json", login.to_string());
    insta::assert_snapshot!(error_text(&google, run, 3), @"
    error: could not sign in to `gcr.io`
      caused by: could not get an access token for the logged-in user
      caused by: POST https://oauth2.googleapis.com/token: 400 invalid_grant
      caused by: Token has been expired or revoked.

    hint: log in again: `gcloud auth application-default login`; in a pipeline, use a service account, because a user's login can expire at any time
    ");
}

#[test]
fn google_server_error_is_not_blamed_on_the_user() {
    let google = Google::start();
    let fault = Fault::always(RequestKind::Sts, FaultAction::status(503));
    google.standin.fault(fault);
    let run = push(&google).set("workload_identity_provider", github_provider(&google));
    let run = in_github_job(&google, run, "acme/shop");
    insta::assert_snapshot!(error_text(&google, run, 4), @"
    error: could not sign in to `gcr.io`
      caused by: could not exchange the OIDC token for an access token
      caused by: POST https://sts.googleapis.com/v1/token: 503 UNAVAILABLE
      caused by: The service is currently unavailable.

    hint: Google has a temporary problem; try again in a few minutes
    ");
}
