//! The buckets of Container Registry.

use standin::{Fault, FaultAction, RequestKind};

use super::*;

const BUCKET: &str = "artifacts.acme.appspot.com";

fn with_legacy_bucket(redirection: Option<&str>) -> Cloud {
    let cloud = Cloud::new();
    let mut project = Project::new("42")
        .service("iam")
        .service("artifactregistry")
        .service("storage");
    project.redirection = redirection.map(|state| format!("REDIRECTION_FROM_GCR_IO_{state}"));
    cloud.standin.project("acme", project);
    cloud
}

fn on_bucket() -> String {
    format!("projects/acme/buckets/{BUCKET}")
}

#[test]
fn legacy_bucket_is_restricted_and_server_reported() {
    let cloud = with_legacy_bucket(Some("FINALIZED"));
    cloud.standin.create_bucket(BUCKET, "acme");
    let outcome = cloud.apply().set("setup_backend", "storage").succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                                                 WHY
    present    API storage.googleapis.com                                           the buckets
    present    API iam.googleapis.com                                               accounts and their keys
    present    API cloudresourcemanager.googleapis.com                              the project's policy
    to create  account gcr-pusher@acme.iam.gserviceaccount.com                      it pushes
    to create  account gcr-puller@acme.iam.gserviceaccount.com                      it pulls
    present    redirection of gcr.io names: FINALIZED                               Artifact Registry serves them: roles on buckets have no effect
    present    bucket artifacts.acme.appspot.com                                    of `gcr.io`
    to create  roles/storage.legacyBucketWriter on gs://artifacts.acme.appspot.com  for gcr-pusher@acme.iam.gserviceaccount.com
    to create  roles/storage.objectViewer on gs://artifacts.acme.appspot.com        for gcr-puller@acme.iam.gserviceaccount.com

    Policies, with their changes:

      gs://artifacts.acme.appspot.com
        + roles/storage.legacyBucketWriter serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        + roles/storage.objectViewer serviceAccount:gcr-puller@acme.iam.gserviceaccount.com

    note: Artifact Registry serves the project's `gcr.io` names, so roles on buckets have no effect on them: remove `setup_backend` to set up the roles that have. For left-over buckets, setup only narrows the roles

    All changes are done.
    ");
    assert_eq!(
        cloud.granted(&on_bucket()),
        [
            "roles/storage.legacyBucketOwner projectEditor:acme".to_owned(),
            "roles/storage.legacyBucketOwner projectOwner:acme".to_owned(),
            format!("roles/storage.legacyBucketWriter serviceAccount:{PUSHER}"),
            format!("roles/storage.objectViewer serviceAccount:{PULLER}"),
        ]
    );
    let again = cloud.apply().set("setup_backend", "storage").succeeds();
    assert!(
        again.stdout.contains("There was nothing to do."),
        "{}",
        again.stdout
    );
    // This holds for any backend.
    cloud.remove().succeeds();
    assert_eq!(cloud.granted(&on_bucket()).len(), 2);
}

/// A project whose `gcr.io` names still lead to buckets, without any bucket yet.
fn unmigrated_project() -> Cloud {
    with_legacy_bucket(None)
}

fn apply(cloud: &Cloud) -> Run {
    cloud.apply().set("setup_backend", "storage")
}

fn broad_role_binding() -> String {
    format!("roles/storage.admin serviceAccount:{PUSHER}")
}

/// True if the bucket has the narrow roles and nobody has the broad one.
fn is_restricted(cloud: &Cloud) -> bool {
    cloud.standin.has_bucket(BUCKET)
        && !cloud
            .granted("projects/acme")
            .contains(&broad_role_binding())
        && cloud.granted(&on_bucket()).len() == 4
}

fn pushed(cloud: &Cloud) -> bool {
    let found = cloud
        .standin
        .manifest("gcr.io", "acme/gcr-push-setup", "first-push");
    found.is_some()
}

#[test]
fn first_push_creates_bucket_and_broad_role_is_removed() {
    let cloud = unmigrated_project();
    // Lets the operator impersonate the pusher, so that the pusher makes the first push.
    cloud.standin.grant(
        ADMIN,
        "roles/iam.serviceAccountTokenCreator",
        "projects/acme",
    );
    let outcome = apply(&cloud).succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                                                 WHY
    to create  API containerregistry.googleapis.com                                 the old registry
    present    API storage.googleapis.com                                           its buckets
    to create  API iamcredentials.googleapis.com                                    a token of the pusher for its first push
    present    API iam.googleapis.com                                               accounts and their keys
    present    API cloudresourcemanager.googleapis.com                              the project's policy
    to create  account gcr-pusher@acme.iam.gserviceaccount.com                      it pushes
    to create  account gcr-puller@acme.iam.gserviceaccount.com                      it pulls
    to create  roles/storage.admin on projects/acme                                 for the pusher, until its first push has created the bucket
    to create  bucket artifacts.acme.appspot.com                                    a first push to `gcr.io` creates it
    to remove  roles/storage.admin on projects/acme                                 the narrow roles replace it
    to create  roles/storage.legacyBucketWriter on gs://artifacts.acme.appspot.com  for gcr-pusher@acme.iam.gserviceaccount.com
    to create  roles/storage.objectViewer on gs://artifacts.acme.appspot.com        for gcr-puller@acme.iam.gserviceaccount.com

    Policies, with their changes:

      projects/acme
        + roles/storage.admin serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        - roles/storage.admin serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
      gs://artifacts.acme.appspot.com
        + roles/storage.legacyBucketWriter serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        + roles/storage.objectViewer serviceAccount:gcr-puller@acme.iam.gserviceaccount.com

    note: the old registry creates its bucket at the first push: setup pushes a tiny image, `acme/gcr-push-setup:first-push`, which stays

    All changes are done.
    ACCOUNT                                  REGISTRY  CHECKED  HOW
    gcr-pusher@acme.iam.gserviceaccount.com  gcr.io    pushes   with an impersonated token
    gcr-puller@acme.iam.gserviceaccount.com  gcr.io    pulls    with an impersonated token
    ");
    assert!(is_restricted(&cloud));
    assert!(pushed(&cloud));
    let again = apply(&cloud).succeeds();
    assert!(
        again.stdout.contains("There was nothing to do."),
        "{}",
        again.stdout
    );
    cloud.remove().succeeds();
    assert_eq!(cloud.granted(&on_bucket()).len(), 2);
}

#[test]
fn first_push_uses_the_pusher_key_or_the_operator() {
    for key in [true, false] {
        let cloud = unmigrated_project();
        let run = if key {
            apply(&cloud).set("setup_key", "pusher:key.json")
        } else {
            apply(&cloud)
        };
        let outcome = run.succeeds();
        assert!(is_restricted(&cloud) && pushed(&cloud));
        let pushed_by_operator = outcome
            .stderr
            .contains("pushing as the user who runs setup");
        assert_eq!(pushed_by_operator, !key, "{}", outcome.stderr);
    }
}

#[test]
fn each_host_gets_its_bucket_with_one_temporary_grant() {
    let cloud = unmigrated_project();
    apply(&cloud)
        .set("registry", "gcr.io, eu.gcr.io")
        .succeeds();
    assert!(is_restricted(&cloud));
    assert!(cloud.standin.has_bucket("eu.artifacts.acme.appspot.com"));
    assert_eq!(
        cloud
            .granted("projects/acme/buckets/eu.artifacts.acme.appspot.com")
            .len(),
        4
    );
}

#[test]
fn unpropagated_role_is_waited_for() {
    let cloud = unmigrated_project();
    cloud.standin.grant(
        ADMIN,
        "roles/iam.serviceAccountTokenCreator",
        "projects/acme",
    );
    cloud
        .standin
        .change(|behaviour| behaviour.cloud.permission_delay = 3);
    let outcome = apply(&cloud).succeeds();
    assert!(is_restricted(&cloud));
    assert!(
        outcome
            .stderr
            .contains("is not allowed to push to `gcr.io` yet"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn failed_first_push_leaves_no_broad_role() {
    let cloud = unmigrated_project();
    let refused = FaultAction::status(400);
    cloud
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, refused));
    let outcome = apply(&cloud).fails_with(1);
    assert!(
        !cloud
            .granted("projects/acme")
            .contains(&broad_role_binding())
    );
    assert!(outcome.stderr.contains("revoked"), "{}", outcome.stderr);
    insta::assert_snapshot!(outcome.error(), @"
    error: the first push to `gcr.io`, which creates its bucket, failed
      caused by: could not push to `gcr.io/acme/gcr-push-setup:first-push`
      caused by: PUT https://gcr.io/v2/acme/gcr-push-setup/manifests/first-push: 400 UNKNOWN
      caused by: Internal error encountered.
    ");
    cloud.standin.clear_faults();
    apply(&cloud).succeeds();
    assert!(is_restricted(&cloud));
}

#[test]
fn shut_down_registry_is_reported_without_broad_role() {
    let cloud = unmigrated_project();
    cloud.standin.change(|behaviour| {
        behaviour.not_migrated = standin::NotMigrated::TokenAndManifests;
    });
    let outcome = apply(&cloud).fails_with(1);
    assert!(
        !cloud
            .granted("projects/acme")
            .contains(&broad_role_binding())
    );
    assert!(
        outcome.error().contains("first push to `gcr.io`"),
        "{}",
        outcome.error()
    );
}

#[test]
fn interrupted_run_warns_of_broad_role_and_next_removes_it() {
    let cloud = unmigrated_project();
    let stall = Fault::once(RequestKind::ManifestPut, FaultAction::StallAfterWork);
    cloud.standin.fault(stall);
    let running = apply(&cloud).start();
    cloud.standin.wait_for(|requests| {
        requests
            .iter()
            .any(|request| request.kind == RequestKind::ManifestPut)
    });
    running.signal("TERM");
    let outcome = running.wait();
    assert_ne!(outcome.code, 0);
    assert!(
        outcome.stderr.contains(
            "`roles/storage.admin` on `projects/acme`, which was for the first push, may still be granted to"
        ),
        "{}",
        outcome.stderr
    );
    assert!(
        cloud
            .granted("projects/acme")
            .contains(&broad_role_binding())
    );
    // A plan alone reports it too.
    let plan = cloud.setup().set("setup_backend", "storage").succeeds();
    assert_eq!(
        states(&plan)["roles/storage.admin on projects/acme"],
        "to remove"
    );
    apply(&cloud).succeeds();
    assert!(is_restricted(&cloud));
}

/// Kills a run when this request has been carried out and before it is answered, and completes it
/// by another run.
fn killed_and_completed(kind: RequestKind, number: usize) {
    let cloud = unmigrated_project();
    let of_kind = |request: &standin::Request| match kind {
        RequestKind::Api => request.changes(),
        kind => request.kind == kind,
    };
    let stall = Fault::once(kind, FaultAction::StallResponseAt(0));
    let skip = u32::try_from(number).unwrap();
    cloud.standin.fault(stall.changing().after(skip));
    let running = apply(&cloud).start();
    cloud.standin.wait_for(|requests| {
        let made = requests.iter().filter(|r| of_kind(r) && r.status != 0);
        made.count() > number
    });
    running.kill();
    cloud.standin.clear_faults();
    apply(&cloud).succeeds();
    // The bucket exists from the first upload on, whatever happened to the image.
    assert!(is_restricted(&cloud), "after {kind:?} {number}");
}

#[test]
fn run_killed_at_any_point_is_completed() {
    let whole = unmigrated_project();
    apply(&whole).succeeds();
    let count = whole.changes().len();
    assert!(count > 6, "{count}");
    for number in 0..count {
        killed_and_completed(RequestKind::Api, number);
    }
    for (kind, number) in [
        (RequestKind::UploadStart, 0),
        (RequestKind::UploadPut, 0),
        (RequestKind::UploadPut, 1),
        (RequestKind::ManifestPut, 0),
    ] {
        killed_and_completed(kind, number);
    }
}

#[test]
fn nothing_is_created_without_legacy_bucket() {
    let cloud = with_legacy_bucket(Some("ENABLED"));
    let outcome = cloud.apply().set("setup_backend", "storage").succeeds();
    assert_eq!(states(&outcome)[&format!("bucket {BUCKET}")], "kept");
    assert_eq!(cloud.granted("projects/acme").len(), 1);
}

#[test]
fn concurrent_bucket_changes_are_kept() {
    let cloud = with_legacy_bucket(Some("FINALIZED"));
    cloud.standin.create_bucket(BUCKET, "acme");
    cloud.standin.interfere(2);
    cloud.apply().set("setup_backend", "storage").succeeds();
    assert_eq!(cloud.granted(&on_bucket()).len(), 6);
}
