//! Removing exactly what setup created.

use serde_json::json;

use super::*;

#[test]
fn removal_deletes_keys_first_and_only_its_own() {
    let cloud = Cloud::new();
    let apply = cloud
        .apply()
        .set("setup_github", "acme/api")
        .set("setup_key", "puller.json");
    apply.succeeds();
    cloud.standin.clear_requests();
    let outcome = cloud.remove().succeeds();
    let masked = without_day(&without_ids(&outcome.stdout));
    insta::assert_snapshot!(masked, @"
    STATE      WHAT                                                                                     WHY
    to remove  key [KEY] of gcr-puller@acme.iam.gserviceaccount.com  created on [DAY]
    to remove  roles/artifactregistry.reader on gcr.io                                                  of gcr-puller@acme.iam.gserviceaccount.com
    to remove  roles/artifactregistry.writer on gcr.io                                                  of gcr-pusher@acme.iam.gserviceaccount.com
    to remove  roles/iam.workloadIdentityUser on gcr-pusher@acme.iam.gserviceaccount.com                of principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gcr-push-github/attribute.repository_id/456
    to remove  provider gcr-push-github/github-456                                                      created by setup
    to remove  workload identity pool gcr-push-github                                                   created by setup
    to remove  account gcr-puller@acme.iam.gserviceaccount.com                                          created by setup
    to remove  account gcr-pusher@acme.iam.gserviceaccount.com                                          created by setup
    to remove  repository projects/acme/locations/us/repositories/gcr.io                                it is empty

    Policies, with their changes:

      projects/acme/locations/us/repositories/gcr.io
        - roles/artifactregistry.reader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com
        - roles/artifactregistry.writer serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
      gcr-pusher@acme.iam.gserviceaccount.com
        - roles/iam.workloadIdentityUser principalSet://iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/gcr-push-github/attribute.repository_id/456

    note: the APIs stay enabled, because other things in the project may need them; buckets are never deleted

    Everything is removed.
    ");
    insta::assert_snapshot!(without_ids(&cloud.changes().join("\n")), @"
    DELETE iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-puller@acme.iam.gserviceaccount.com/keys/[KEY]
    POST artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io:setIamPolicy
    POST artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io:setIamPolicy
    POST iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-pusher@acme.iam.gserviceaccount.com:setIamPolicy
    DELETE iam.googleapis.com/v1/projects/42/locations/global/workloadIdentityPools/gcr-push-github/providers/github-456
    DELETE iam.googleapis.com/v1/projects/42/locations/global/workloadIdentityPools/gcr-push-github
    DELETE iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-puller@acme.iam.gserviceaccount.com
    DELETE iam.googleapis.com/v1/projects/acme/serviceAccounts/gcr-pusher@acme.iam.gserviceaccount.com
    DELETE artifactregistry.googleapis.com/v1/projects/acme/locations/us/repositories/gcr.io
    ");
    let test_image = cloud.standin.snapshot();
    assert_eq!(test_image["projects"]["acme"]["accounts"], json!({}));
    assert_eq!(test_image["repositories"], json!([]));
    assert_eq!(
        test_image["policies"].as_object().unwrap().len(),
        1,
        "{test_image:#}"
    );
    let again = cloud.remove().succeeds();
    assert!(
        again.stdout.contains("There was nothing to remove"),
        "{}",
        again.stdout
    );
}

#[test]
fn dry_run_changes_nothing_with_any_option() {
    let cloud = Cloud::new();
    cloud.apply().set("dry_run", "true").succeeds();
    assert_eq!(cloud.changes(), Vec::<String>::new());
    cloud.apply().succeeds();
    cloud.standin.clear_requests();
    let outcome = cloud.remove().set("dry_run", "true").succeeds();
    assert!(outcome.stdout.contains("to remove"), "{}", outcome.stdout);
    assert_eq!(cloud.changes(), Vec::<String>::new());
}

#[test]
fn repository_with_images_is_kept() {
    let cloud = Cloud::new();
    cloud.apply().succeeds();
    cloud.standin.put_manifest(
        "gcr.io",
        "acme/app",
        "1",
        "application/vnd.oci.image.manifest.v1+json",
        b"{}",
    );
    let outcome = cloud.remove().succeeds();
    assert!(
        outcome.stdout.contains("it contains images"),
        "{}",
        outcome.stdout
    );
    assert!(cloud.standin.has_repository(GCR));
    assert_eq!(cloud.granted(GCR), Vec::<String>::new());
}

#[test]
fn resources_older_than_setup_are_kept() {
    let cloud = Cloud::new();
    let project = Project::new("42")
        .service("iam")
        .service("artifactregistry");
    cloud.standin.project("acme", project);
    cloud
        .standin
        .create_repository(GCR, standin::RepositoryOptions::default());
    cloud.account("ci-push");
    let with = |run: Run| {
        run.set("setup_pusher", "ci-push")
            .set("setup_github", "acme/api")
    };
    with(cloud.apply()).succeeds();
    let outcome = with(cloud.remove()).succeeds();
    let states = states(&outcome);
    assert_eq!(states[&format!("repository {GCR}")], "kept");
    assert_eq!(states["roles/artifactregistry.writer on gcr.io"], "kept");
    let test_image = cloud.standin.snapshot();
    let accounts = test_image["projects"]["acme"]["accounts"]
        .as_object()
        .unwrap();
    assert_eq!(
        accounts.keys().collect::<Vec<_>>(),
        ["ci-push@acme.iam.gserviceaccount.com"]
    );
    // Setup's own pool bound it.
    assert_eq!(
        cloud.granted("projects/acme/serviceAccounts/ci-push@acme.iam.gserviceaccount.com"),
        Vec::<String>::new()
    );
}

#[test]
fn pool_with_a_foreign_provider_is_kept() {
    let cloud = Cloud::new();
    cloud.apply().set("setup_github", "acme/api").succeeds();
    let pool = "iam.googleapis.com/v1/projects/acme/locations/global/workloadIdentityPools/gcr-push-github";
    cloud.request(
        "POST",
        &format!("{pool}/providers?workloadIdentityPoolProviderId=others"),
        &json!({
            "attributeMapping": {"google.subject": "assertion.sub"},
            "oidc": {"issuerUri": "https://ci.example.com"},
        }),
    );
    let outcome = cloud.remove().succeeds();
    assert_eq!(
        states(&outcome)["workload identity pool gcr-push-github"],
        "kept"
    );
    let test_image = cloud.standin.snapshot();
    assert_eq!(
        test_image["projects"]["acme"]["pools"]["gcr-push-github"]["state"],
        "ACTIVE"
    );
}

/// The text without ids of keys, which differ between runs.
fn without_ids(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let parts = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let parts = parts.map(|part| match part.char_indices().nth(40) {
        Some((at, _)) if part[..at].chars().all(is_hex) => format!("[KEY]{}", &part[at..]),
        None if part.len() == 40 && part.chars().all(is_hex) => "[KEY]".to_owned(),
        _ => part.to_owned(),
    });
    parts.collect()
}

/// The text without the creation day of a key, which is today.
fn without_day(text: &str) -> String {
    const CREATED_ON: &str = "created on ";
    let Some((before, after)) = text.split_once(CREATED_ON) else {
        return text.to_owned();
    };
    let (day, rest) = after.split_at("2026-11-24".len());
    let is_day = day.chars().all(|c| c.is_ascii_digit() || c == '-');
    assert!(is_day, "no day: {day}");
    format!("{before}{CREATED_ON}[DAY]{rest}")
}
