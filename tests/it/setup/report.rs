//! The `report_file` of a run of setup, and of one that is interrupted.

use standin::{Fault, FaultAction, RequestKind};

use super::*;

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.read("report.json")).unwrap()
}

/// The number of steps with this result.
fn count(report: &Value, result: &str) -> usize {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["result"] == result).count()
}

#[test]
fn report_holds_the_plan_and_the_changes() {
    let cloud = Cloud::new();
    let outcome = cloud.setup().set("report_file", "report.json").succeeds();
    let plan = report(&outcome);
    assert_eq!(plan["action"], "plan");
    assert_eq!(plan["project"], "acme");
    assert!(
        count(&plan, "not_done") > 5 && count(&plan, "done") == 0,
        "{plan:#}"
    );
    let outcome = cloud.apply().set("report_file", "report.json").succeeds();
    let done = report(&outcome);
    assert_eq!(done["finished"], true);
    assert_eq!(count(&done, "done"), count(&plan, "not_done"), "{done:#}");
    assert!(done["checks"].as_array().unwrap().len() == 2, "{done:#}");
    let text = done.to_string();
    assert!(
        text.contains(&format!(
            "+ roles/artifactregistry.writer serviceAccount:{PUSHER}"
        )),
        "{text}"
    );
    let outcome = cloud.remove().set("report_file", "report.json").succeeds();
    let removed = report(&outcome);
    assert_eq!(removed["action"], "remove");
    assert_eq!(count(&removed, "not_done"), 0, "{removed:#}");
}

#[test]
fn failed_run_writes_its_report() {
    let cloud = Cloud::new();
    cloud.standin.change_project("acme", |project| {
        project
            .constraints
            .insert("iam.disableServiceAccountCreation".to_owned());
    });
    let outcome = cloud
        .apply()
        .set("report_file", "report.json")
        .fails_with(1);
    let report = report(&outcome);
    assert_eq!(report["finished"], false);
    assert_eq!(count(&report, "failed"), 1, "{report:#}");
    assert_eq!(
        report["error"]["message"],
        "could not create the account `gcr-pusher`"
    );
}

#[test]
fn interrupted_run_reports_its_progress() {
    let cloud = Cloud::new();
    let stall = Fault::once(RequestKind::Api, FaultAction::StallResponseAt(0));
    cloud
        .standin
        .fault(stall.changing().path("/serviceAccounts"));
    let running = cloud.apply().set("report_file", "report.json").start();
    cloud.standin.wait_for(|requests| {
        let mut requests = requests.iter();
        requests
            .any(|one| one.changes() && one.path.ends_with("/serviceAccounts") && one.status != 0)
    });
    running.signal("TERM");
    let outcome = running.wait();
    insta::assert_snapshot!(outcome.error(), @"
    error: stopped by SIGTERM after 3 of 7 steps were done, which stay done
      perhaps done, because no response arrived: account gcr-pusher@acme.iam.gserviceaccount.com

    hint: run this again
    ");
    let report = report(&outcome);
    assert_eq!(report["finished"], false);
    assert_eq!(count(&report, "unknown"), 1, "{report:#}");
    assert!(count(&report, "done") > 1, "{report:#}");
}

#[test]
fn plan_warns_of_a_broad_role_of_the_puller() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    let plan = cloud.setup().succeeds();
    assert!(!plan.stdout.contains("warning:"), "{}", plan.stdout);
    cloud.standin.grant(PULLER, "roles/editor", "projects/acme");
    cloud
        .standin
        .grant(PULLER, "roles/artifactregistry.writer", GCR);
    let plan = cloud.setup().succeeds();
    let (_, warnings) = plan.stdout.split_once("warning: ").unwrap();
    let (warnings, _) = warnings.split_once("\n\nThere is").unwrap();
    insta::assert_snapshot!(warnings, @"
    gcr-puller@acme.iam.gserviceaccount.com has `roles/artifactregistry.writer` on `projects/acme/locations/us/repositories/gcr.io`: everyone who reads a cluster's pull secret could replace images

    warning: serviceAccount:gcr-puller@acme.iam.gserviceaccount.com has `roles/editor` on the whole project, which gives access to nearly everything in it: if it only pushes or pulls, `gcloud projects remove-iam-policy-binding acme --member=serviceAccount:gcr-puller@acme.iam.gserviceaccount.com --role=roles/editor --condition=None` removes the role
    ");
}

#[test]
fn disabled_api_is_not_reported_as_missing_permission() {
    let cloud = Cloud::new();
    let outcome = cloud.apply().succeeds();
    assert!(
        outcome
            .stdout
            .contains("iamcredentials.googleapis.com, which issues tokens for it, is not enabled"),
        "{}",
        outcome.stdout
    );
}
