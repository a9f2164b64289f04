//! Tokens that expire during a run.

use std::time::Duration;

use serde_json::json;
use standin::{Behaviour, Fault, FaultAction, RequestKind};

use super::{
    claims, count, github_provider, has_image, in_github_job, may_impersonate, may_push, push,
};
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::Run;

/// Google with tokens that live five seconds, and slow answers, so that a push of [`many_layers`],
/// one after the other, takes longer than three lifetimes.
fn short_lived_tokens() -> Google {
    Google::with(Behaviour {
        oauth_lifetime: Duration::from_secs(5),
        registry_token_outlives_oauth: false,
        latency: Duration::from_millis(600),
        ..Behaviour::default()
    })
}

fn many_layers() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 14), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

fn long_push(google: &Google) -> Run {
    push(google)
        .file("image.tar", many_layers())
        .set("concurrency", "1")
}

#[test]
fn push_outlasts_three_lifetimes_of_a_token() {
    let google = short_lived_tokens();
    long_push(&google)
        .set("credentials_json", &google.key)
        .succeeds();
    assert!(has_image(&google));
    assert!(count(&google, RequestKind::OAuthToken) > 3);
}

#[test]
fn github_is_asked_for_a_new_oidc_token_each_time() {
    let google = short_lived_tokens();
    let provider = github_provider(&google);
    may_push(&google, "acme/shop");
    let run = long_push(&google).set("workload_identity_provider", provider);
    in_github_job(&google, run, "acme/shop").succeeds();
    assert!(has_image(&google));
    assert!(count(&google, RequestKind::Oidc) > 3);
    assert_eq!(
        count(&google, RequestKind::Oidc),
        count(&google, RequestKind::Sts)
    );
}

#[test]
fn token_given_as_text_is_used_until_it_expires() {
    let google = short_lived_tokens();
    google
        .standin
        .change(|it| it.oidc_lifetime = Duration::from_secs(8));
    let provider = github_provider(&google);
    may_push(&google, "acme/shop");
    let mut token_claims = claims("acme/shop");
    token_claims["aud"] = format!("https://iam.googleapis.com/{provider}").into();
    let issuer = "https://token.actions.githubusercontent.com";
    // Issued last, because its lifetime starts now.
    let run = long_push(&google).set("workload_identity_provider", provider);
    let token = google.standin.oidc_token(issuer, &token_claims);
    let outcome = run.set("oidc_token", token).fails_with(3);
    let error = outcome.error();
    assert!(
        error.contains("the OIDC token in `oidc_token` expired at 20"),
        "{error}"
    );
    assert!(
        error.contains("hint: set `service_account`: the access token is then valid for an hour")
    );
    assert!(!has_image(&google));
}

#[test]
fn expired_tokens_are_reported_without_any_request() {
    let google = Google::start();
    let provider = github_provider(&google);
    let old = json!({"sub": "x", "aud": "x", "exp": 1_700_000_000});
    let token = google.standin.oidc_token("https://gitlab.com", &old);
    let outcome = push(&google)
        .set("workload_identity_provider", provider)
        .set("oidc_token", &token)
        .fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not sign in to `gcr.io`
      caused by: the OIDC token in `oidc_token` expired at 2023-11-14 22:13:20 UTC

    hint: set `service_account`: the access token is then valid for an hour, even if the OIDC token expires; on GitLab the OIDC token is valid as long as the job's `timeout`
    hint: on GitHub, remove `oidc_token` and give the job `permissions: id-token: write`: gcr-push then requests a new token each time
    ");
    let outcome = push(&google).set("access_token", &token).fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not sign in to `gcr.io`
      caused by: `access_token` expired at 2023-11-14 22:13:20 UTC

    hint: use `credentials_json` (a service-account key) or `workload_identity_provider`, which gcr-push renews
    ");
    assert_eq!(count(&google, RequestKind::Sts), 0);
    assert_eq!(count(&google, RequestKind::Token), 0);
}

#[test]
fn rejected_token_is_refreshed_and_request_repeated() {
    for kind in [
        RequestKind::Token,
        RequestKind::ManifestHead,
        RequestKind::BlobHead,
        RequestKind::UploadStart,
        RequestKind::UploadPut,
        RequestKind::ManifestPut,
        RequestKind::TagsList,
    ] {
        let google = Google::start();
        let provider = github_provider(&google);
        may_impersonate(&google);
        google
            .standin
            .fault(Fault::once(kind, FaultAction::ExpireTokens));
        let run = push(&google)
            .set("workload_identity_provider", provider)
            .set("service_account", ACCOUNT);
        in_github_job(&google, run, "acme/shop").succeeds();
        assert!(has_image(&google), "{kind:?}");
    }
}

#[test]
fn concurrent_requests_share_one_token() {
    let google = Google::start();
    push(&google)
        .file("image.tar", many_layers())
        .set("credentials_json", &google.key)
        .set("tags", "1")
        .set("registry", "gcr.io, us.gcr.io, eu.gcr.io, asia.gcr.io")
        .set("project_id", "acme")
        .set("name", "app")
        .succeeds();
    assert_eq!(count(&google, RequestKind::OAuthToken), 1);
    let requests = google.standin.requests();
    for host in ["gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"] {
        let tokens: Vec<&String> = requests
            .iter()
            .filter(|one| one.kind == RequestKind::Token && one.host == host)
            .map(|one| &one.query)
            .collect();
        let different: std::collections::BTreeSet<_> = tokens.iter().collect();
        assert_eq!(tokens.len(), different.len(), "{host}");
    }
}
