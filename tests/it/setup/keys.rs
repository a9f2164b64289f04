//! Keys, which are created on request only.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use standin::{Fault, FaultAction, RequestKind};

use super::*;
use crate::support::secret_leaks::Secrets;

#[test]
fn key_file_is_private_and_shown_nowhere() {
    let cloud = Cloud::new();
    let outcome = cloud
        .apply()
        .set("setup_key", "puller.json")
        .variable("RUST_LOG", "trace")
        .succeeds();
    let file = outcome.directory.path().join("puller.json");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let key: Value = serde_json::from_str(&outcome.read("puller.json")).unwrap();
    assert_eq!(key["client_email"], PULLER);
    let mut secrets = Secrets::default();
    secrets.add_key(&outcome.read("puller.json"));
    secrets.add(&cloud.token);
    secrets.assert_no_leak(&outcome, &["puller.json"]);
    assert!(
        outcome.stdout.contains("with its key"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn live_key_is_kept_and_dead_key_is_replaced() {
    let cloud = Cloud::new();
    let first = cloud
        .apply()
        .set("setup_key", "puller.json")
        .succeeds()
        .read("puller.json");
    let again = cloud
        .apply()
        .set("setup_key", "puller.json")
        .file("puller.json", &first)
        .succeeds();
    assert_eq!(again.read("puller.json"), first);
    assert!(
        again.stdout.contains("There was nothing to do."),
        "{}",
        again.stdout
    );
    let id = serde_json::from_str::<Value>(&first).unwrap()["private_key_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let name = format!("projects/acme/serviceAccounts/{PULLER}/keys/{id}");
    cloud.delete(&format!("iam.googleapis.com/v1/{name}"));
    let replaced = cloud
        .apply()
        .set("setup_key", "puller.json")
        .file("puller.json", &first)
        .succeeds();
    assert_ne!(replaced.read("puller.json"), first);
}

#[test]
fn file_that_is_not_that_key_is_not_overwritten() {
    let cloud = Cloud::new();
    let outcome = cloud
        .apply()
        .set("setup_key", "notes.txt")
        .file("notes.txt", "mine")
        .fails_with(2);
    assert_eq!(outcome.read("notes.txt"), "mine");
    insta::assert_snapshot!(outcome.error(), @"
    error: `notes.txt` exists, but is not a key of `gcr-puller@acme.iam.gserviceaccount.com`: it is not changed

    hint: set another file in `setup_key`
    ");
    assert_eq!(cloud.changes(), Vec::<String>::new());
}

#[test]
fn forbidden_keys_are_reported_and_leave_no_file() {
    let cloud = Cloud::new();
    cloud.standin.change_project("acme", |project| {
        project
            .constraints
            .insert("iam.disableServiceAccountKeyCreation".to_owned());
    });
    let outcome = cloud.apply().set("setup_key", "puller.json").fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not create a key for `gcr-puller@acme.iam.gserviceaccount.com`
      caused by: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-puller@acme.iam.gserviceaccount.com/keys: 400 FAILED_PRECONDITION
      caused by: Key creation is not allowed on this service account.

    hint: the organisation's policy `constraints/iam.disableServiceAccountKeyCreation` forbids it: ask the administrator of the policies to exempt the project
    ");
    assert!(!outcome.directory.path().join("puller.json").exists());
}

#[test]
fn managed_key_policy_is_not_mistaken_for_key_limit() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    for number in 0..10 {
        cloud
            .standin
            .add_old_key(PULLER, &format!("{number:040}"), "2026-11-01T00:00:00Z");
    }
    cloud.standin.change_project("acme", |project| {
        project
            .constraints
            .insert("iam.managed.disableServiceAccountKeyCreation".to_owned());
    });
    let outcome = cloud.apply().set("setup_key", "puller.json").fails_with(1);
    insta::assert_snapshot!(outcome.error(), @r#"
    error: could not create a key for `gcr-puller@acme.iam.gserviceaccount.com`
      caused by: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-puller@acme.iam.gserviceaccount.com/keys: 400 FAILED_PRECONDITION
      caused by: Operation denied by org policy: ["constraints/iam.managed.disableServiceAccountKeyCreation": "This constraint, when enforced, blocks service account key creation."].

    hint: the organisation's policy `constraints/iam.managed.disableServiceAccountKeyCreation` forbids it: ask the administrator of the policies to exempt the project
    "#);
}

#[test]
fn limit_of_ten_keys_is_reported() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    for number in 0..10 {
        cloud
            .standin
            .add_old_key(PULLER, &format!("{number:040}"), "2026-11-01T00:00:00Z");
    }
    let outcome = cloud.apply().set("setup_key", "puller.json").fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not create a key for `gcr-puller@acme.iam.gserviceaccount.com`: it already has 10 keys, the maximum
      caused by: POST https://iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-puller@acme.iam.gserviceaccount.com/keys: 400 FAILED_PRECONDITION
      caused by: Precondition check failed.

    hint: delete an unused key: `gcloud iam service-accounts keys list --iam-account=gcr-puller@acme.iam.gserviceaccount.com --managed-by=user` lists them, and `gcloud iam service-accounts keys delete ID --iam-account=gcr-puller@acme.iam.gserviceaccount.com --quiet` deletes one
    ");
    assert!(!outcome.directory.path().join("puller.json").exists());
}

#[test]
fn unwritable_key_is_not_created() {
    let cloud = Cloud::new();
    let outcome = cloud
        .apply()
        .set("setup_key", "nowhere/puller.json")
        .fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not write the key to `nowhere/puller.json`, so no key was created
      caused by: entity not found

    hint: set a file in an existing folder
    ");
    let made = cloud.changes();
    assert!(
        !made.iter().any(|change| change.ends_with("/keys")),
        "{made:?}"
    );
}

#[test]
fn key_with_lost_answer_is_not_requested_twice() {
    let cloud = Cloud::new();
    let answer_lost = Fault::once(RequestKind::Api, FaultAction::ResetAfterWork);
    cloud.standin.fault(answer_lost.path("/keys").changing());
    let outcome = cloud.apply().set("setup_key", "puller.json").fails_with(4);
    assert!(!outcome.directory.path().join("puller.json").exists());
    let keys = |cloud: &Cloud| {
        cloud.standin.snapshot()["projects"]["acme"]["accounts"][PULLER]["keys"].clone()
    };
    assert_eq!(keys(&cloud), json!(1));
    cloud.apply().set("setup_key", "puller.json").succeeds();
    assert_eq!(keys(&cloud), json!(2));
}
