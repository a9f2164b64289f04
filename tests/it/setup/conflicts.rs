//! Concurrent changes of the same policies.

use serde_json::json;
use standin::{Fault, FaultAction, Project, RepositoryOptions, RequestKind};

use super::*;

/// The project with a repository that others use too, one of them under a condition.
fn shared() -> Cloud {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry");
    cloud.standin.project("acme", project);
    cloud
        .standin
        .create_repository(GCR, RepositoryOptions::default());
    cloud.standin.set_bindings(
        GCR,
        json!([
            {
                "role": "roles/artifactregistry.writer",
                "members": ["user:night@example.com"],
                "condition": {"title": "nights", "expression": "request.time.getHours() < 6"},
            },
            {"role": "roles/artifactregistry.writer", "members": ["user:day@example.com"]},
            {"role": "roles/artifactregistry.repoAdmin", "members": ["group:ops@example.com"]},
        ]),
    );
    cloud
}

#[test]
fn concurrent_bindings_are_kept() {
    let cloud = shared();
    cloud.standin.interfere(3);
    let outcome = cloud.apply().succeeds();
    assert!(
        outcome.stderr.contains("changed in the meantime"),
        "{}",
        outcome.stderr
    );
    insta::assert_snapshot!(cloud.granted(GCR).join("\n"), @r#"
    roles/artifactregistry.reader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com
    roles/artifactregistry.repoAdmin group:ops@example.com
    roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
    roles/artifactregistry.writer user:day@example.com
    roles/artifactregistry.writer user:night@example.com if "nights"
    roles/browser user:somebody-0@example.com
    roles/browser user:somebody-1@example.com
    roles/browser user:somebody-2@example.com
    "#);
}

#[test]
fn foreign_conditions_survive_removal() {
    let cloud = shared();
    let before = cloud.standin.bindings(GCR);
    cloud.apply().succeeds();
    cloud.remove().succeeds();
    assert_eq!(cloud.standin.bindings(GCR), before);
}

#[test]
fn write_with_lost_answer_is_checked_before_repeating() {
    let cloud = shared();
    let answer_lost = Fault::once(RequestKind::Api, FaultAction::ResetAfterWork);
    cloud.standin.fault(answer_lost.path("gcr.io:setIamPolicy"));
    cloud.apply().succeeds();
    let requests = cloud.standin.requests();
    let writes = requests
        .iter()
        .filter(|request| request.path.ends_with("gcr.io:setIamPolicy"));
    // One for each account: the first was carried out although its answer was lost.
    assert_eq!(writes.count(), 2);
}

/// Google's refusal for a name that already exists.
fn exists() -> FaultAction {
    let body = json!({"error": {"code": 409, "message": "It exists.", "status": "ALREADY_EXISTS"}});
    FaultAction::Status {
        code: 409,
        retry_after: None,
        body: Some(body.to_string()),
        headers: Vec::new(),
    }
}

#[test]
fn already_existing_resource_is_inspected() {
    for (path, message) in [
        (
            "POST /v1/projects/acme/locations/us/repositories",
            "could not create the repository `projects/acme/locations/us/repositories/gcr.io`",
        ),
        (
            "POST /v1/projects/acme/locations/global/workloadIdentityPools",
            "could not create the workload identity pool `gcr-push-github`",
        ),
    ] {
        let cloud = Cloud::new();
        let fault = Fault::once(RequestKind::Api, exists());
        cloud.standin.fault(fault.path(path));
        let outcome = cloud.apply().set("setup_github", "acme/api").fails_with(1);
        assert!(outcome.error().contains(message), "{}", outcome.stderr);
        // It had not been created.
        cloud.apply().set("setup_github", "acme/api").succeeds();
    }
}

#[test]
fn concurrent_repository_of_another_kind_is_reported() {
    let cloud = Cloud::new();
    let found = json!({"name": GCR, "format": "NPM", "mode": "STANDARD_REPOSITORY"});
    let other = FaultAction::Status {
        code: 200,
        retry_after: None,
        body: Some(found.to_string()),
        headers: Vec::new(),
    };
    let path = "POST /v1/projects/acme/locations/us/repositories";
    let exists = Fault::once(RequestKind::Api, exists());
    cloud.standin.fault(exists.path(path));
    let path = "GET /v1/projects/acme/locations/us/repositories/gcr.io";
    // Before that it does not exist.
    cloud
        .standin
        .fault(Fault::always(RequestKind::Api, other).path(path).after(1));
    let outcome = cloud.apply().fails_with(2);
    assert!(
        outcome
            .error()
            .contains("does not accept pushed images: it is NPM"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn transient_refusals_are_retried() {
    let cloud = shared();
    for (status, path) in [
        (503, "POST /v1/projects/acme/serviceAccounts"),
        (429, "gcr.io:getIamPolicy"),
        (500, "GET /v1/projects/acme"),
    ] {
        let body =
            json!({"error": {"code": status, "message": "Try again.", "status": "UNAVAILABLE"}});
        let refused = FaultAction::Status {
            code: status,
            retry_after: None,
            body: Some(body.to_string()),
            headers: Vec::new(),
        };
        cloud
            .standin
            .fault(Fault::once(RequestKind::Api, refused).path(path));
    }
    cloud.apply().succeeds();
    assert_eq!(cloud.granted(GCR).len(), 5);
}
