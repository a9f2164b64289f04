//! The buckets of the old registry.

use super::*;

const BUCKET: &str = "artifacts.acme.appspot.com";

fn old(redirection: Option<&str>) -> Cloud {
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
fn a_left_over_bucket_is_narrowed_and_what_serves_the_names_is_told() {
    let cloud = old(Some("FINALIZED"));
    cloud.standin.create_bucket(BUCKET, "acme");
    let outcome = cloud.apply().set("setup_backend", "storage").succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                                                 WHY
    present    API storage.googleapis.com                                           the buckets
    present    API iam.googleapis.com                                               accounts and their keys
    present    API cloudresourcemanager.googleapis.com                              the project's policy
    to create  account gcr-pusher@acme.iam.gserviceaccount.com                      it pushes, and may do nothing else
    to create  account gcr-puller@acme.iam.gserviceaccount.com                      it pulls, and may do nothing else
    present    redirection of gcr.io names: FINALIZED                               Artifact Registry serves them: roles on buckets open nothing there
    present    bucket artifacts.acme.appspot.com                                    of `gcr.io`
    to create  roles/storage.legacyBucketWriter on gs://artifacts.acme.appspot.com  for gcr-pusher@acme.iam.gserviceaccount.com
    to create  roles/storage.legacyBucketReader on gs://artifacts.acme.appspot.com  for gcr-puller@acme.iam.gserviceaccount.com

    Policies, by what would change in them:
      gs://artifacts.acme.appspot.com
        + roles/storage.legacyBucketWriter serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com
        + roles/storage.legacyBucketReader serviceAccount:gcr-puller@acme.iam.gserviceaccount.com

    note: the project's `gcr.io` names are served by Artifact Registry, so roles on buckets no longer open them: leave `setup_backend` out to set up what does. Left-over buckets are only narrowed

    All of it is done.
    ");
    assert_eq!(
        cloud.granted(&on_bucket()),
        [
            "roles/storage.legacyBucketOwner projectEditor:acme".to_owned(),
            "roles/storage.legacyBucketOwner projectOwner:acme".to_owned(),
            format!("roles/storage.legacyBucketReader serviceAccount:{PULLER}"),
            format!("roles/storage.legacyBucketWriter serviceAccount:{PUSHER}"),
        ]
    );
    let again = cloud.apply().set("setup_backend", "storage").succeeds();
    assert!(
        again.stdout.contains("There was nothing to do."),
        "{}",
        again.stdout
    );
    // Whatever is said of the backend then.
    cloud.remove().succeeds();
    assert_eq!(cloud.granted(&on_bucket()).len(), 2);
}

#[test]
fn the_broad_role_of_the_first_push_goes_when_the_bucket_is_there() {
    let cloud = old(None);
    let apply = || cloud.apply().set("setup_backend", "storage");
    let outcome = apply().succeeds();
    insta::assert_snapshot!(outcome.stdout, @"
    STATE      WHAT                                             WHY
    to create  API containerregistry.googleapis.com             the old registry
    present    API storage.googleapis.com                       its buckets
    present    API iam.googleapis.com                           accounts and their keys
    present    API cloudresourcemanager.googleapis.com          the project's policy
    to create  account gcr-pusher@acme.iam.gserviceaccount.com  it pushes, and may do nothing else
    to create  account gcr-puller@acme.iam.gserviceaccount.com  it pulls, and may do nothing else
    to create  roles/storage.admin on projects/acme             for the pusher, until its first push has made the bucket
    to create  bucket artifacts.acme.appspot.com                the first push to `gcr.io` makes it

    Policies, by what would change in them:
      projects/acme
        + roles/storage.admin serviceAccount:gcr-pusher@acme.iam.gserviceaccount.com

    note: the old registry makes its bucket at the first push, and takes `roles/storage.admin` for it: push an image as gcr-pusher@acme.iam.gserviceaccount.com now, and run setup again. It then gives the bucket's own narrow roles and takes this one away

    All that can be done now is done.
    ");
    let broad = format!("roles/storage.admin serviceAccount:{PUSHER}");
    assert!(cloud.granted("projects/acme").contains(&broad));
    cloud.remove().succeeds();
    assert!(!cloud.granted("projects/acme").contains(&broad));
    apply().succeeds();
    // The first push, which is the user's own.
    cloud.standin.create_bucket(BUCKET, "acme");
    apply().succeeds();
    assert!(!cloud.granted("projects/acme").contains(&broad));
    assert_eq!(cloud.granted(&on_bucket()).len(), 4);
}

#[test]
fn where_nothing_is_left_over_nothing_is_made() {
    let cloud = old(Some("ENABLED"));
    let outcome = cloud.apply().set("setup_backend", "storage").succeeds();
    assert_eq!(states(&outcome)[&format!("bucket {BUCKET}")], "kept");
    assert_eq!(cloud.granted("projects/acme").len(), 1);
}

#[test]
fn a_bucket_that_somebody_else_changes_meanwhile_loses_nothing() {
    let cloud = old(Some("FINALIZED"));
    cloud.standin.create_bucket(BUCKET, "acme");
    cloud.standin.interfere(2);
    cloud.apply().set("setup_backend", "storage").succeeds();
    assert_eq!(cloud.granted(&on_bucket()).len(), 6);
}
