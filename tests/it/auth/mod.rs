//! Signing in: every credential, every refusal, and tokens that expire during a run.

mod credential_files;
mod damaged_keys;
mod hints;
mod no_credential;
mod refusals;
mod registry_logins;
mod sign_in;
mod token_refresh;

use standin::RequestKind;

use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{LayerCompression, Layout, TestImage};
use crate::support::run::{Outcome, Run};

/// The project number of `acme`.
const NUMBER: &str = "123456789012";

/// A small OCI archive of `app:1`.
fn image() -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

/// A push to `gcr.io/acme/app:1` with no credential yet.
fn push(google: &Google) -> Run {
    google
        .with_environment(Run::new())
        .file("image.tar", image())
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/app:1")
}

/// Sets up the project for federation, and returns the provider for GitHub's tokens.
fn github_provider(google: &Google) -> String {
    google.describe_project(NUMBER);
    google.standin.provider(
        "acme",
        "ci/github",
        "https://token.actions.githubusercontent.com",
        None,
        "assertion.repository == 'acme/shop'",
    )
}

/// The claims of GitHub's token for a job of this repository.
fn claims(repository: &str) -> serde_json::Value {
    serde_json::json!({
        "sub": format!("repo:{repository}:ref:refs/heads/main"),
        "repository": repository,
    })
}

/// The principal set of this repository in the pool.
fn repository_set(repository: &str) -> String {
    format!(
        "principalSet://iam.googleapis.com/projects/{NUMBER}/locations/global/\
         workloadIdentityPools/ci/attribute.repository/{repository}"
    )
}

/// Lets a job of `acme/shop` impersonate [`ACCOUNT`].
fn may_impersonate(google: &Google) {
    google.standin.grant(
        &repository_set("acme/shop"),
        "roles/iam.workloadIdentityUser",
        &format!("projects/acme/serviceAccounts/{ACCOUNT}"),
    );
}

/// Lets a job of this repository push.
fn may_push(google: &Google, repository: &str) {
    google.standin.grant(
        &repository_set(repository),
        "roles/artifactregistry.createOnPushWriter",
        "projects/acme",
    );
}

/// A run in a GitHub job that may request OIDC tokens.
fn in_github_job(google: &Google, run: Run, repository: &str) -> Run {
    let (url, opens) = google.standin.github_job(claims(repository));
    run.variable("GITHUB_ACTIONS", "true")
        .variable("ACTIONS_ID_TOKEN_REQUEST_URL", url)
        .variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", opens)
        .set("log_format", "plain")
}

/// The log line about signing in to `gcr.io`.
fn sign_in_line(outcome: &Outcome) -> String {
    let text = &outcome.stderr;
    let mut lines = text.lines().filter(|line| line.contains("signing in to"));
    let line = lines.next().unwrap_or_else(|| panic!("{text}"));
    assert_eq!(lines.next(), None, "one way alone is chosen");
    outcome.scrub(line.trim())
}

/// True if the image is in the registry.
fn has_image(google: &Google) -> bool {
    google.standin.tags("gcr.io", "acme/app").contains_key("1")
}

fn count(google: &Google, kind: RequestKind) -> usize {
    let requests = google.standin.requests();
    requests.iter().filter(|one| one.kind == kind).count()
}
