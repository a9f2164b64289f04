//! Somebody else at the same policies at the same time.

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
fn nobody_else_s_binding_is_lost_when_somebody_is_faster() {
    let cloud = shared();
    cloud.standin.interfere(3);
    let outcome = cloud.apply().succeeds();
    assert!(
        outcome.stderr.contains("somebody else changed the policy"),
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
fn conditions_of_others_outlive_removal_too() {
    let cloud = shared();
    let before = cloud.standin.bindings(GCR);
    cloud.apply().succeeds();
    cloud.remove().succeeds();
    assert_eq!(cloud.standin.bindings(GCR), before);
}

#[test]
fn a_write_whose_answer_is_lost_is_looked_at_and_not_repeated_blindly() {
    let cloud = shared();
    let lost = Fault::once(RequestKind::Api, FaultAction::ResetAfterWork);
    cloud.standin.fault(lost.path("gcr.io:setIamPolicy"));
    cloud.apply().succeeds();
    let requests = cloud.standin.requests();
    let writes = requests
        .iter()
        .filter(|request| request.path.ends_with("gcr.io:setIamPolicy"));
    // One for each account: the first was done although nobody heard of it.
    assert_eq!(writes.count(), 2);
}

#[test]
fn refusals_for_now_are_tried_again() {
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
