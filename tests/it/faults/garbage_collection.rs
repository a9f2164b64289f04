//! Garbage collection at the registry: blobs vanish between the check and the manifest.

use serde_json::Value;
use standin::{Fault, FaultAction, RequestKind};

use super::{archive, complete_digest, push};
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};
use crate::support::run::{Outcome, Run};

/// The bytes of blobs that a registry received.
fn bytes_received(google: &Google) -> u64 {
    let requests = google.standin.requests();
    let puts = requests
        .iter()
        .filter(|r| r.kind == RequestKind::UploadPut && r.status == 201);
    puts.map(|request| request.received_bytes).sum()
}

/// The only destination of a report.
fn destination_report(outcome: &Outcome) -> Value {
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    report["destinations"][0].clone()
}

fn forget_blobs_of_next_manifests(google: &Google, times: u32) {
    let action = FaultAction::ForgetBlobs;
    google
        .standin
        .fault(Fault::once(RequestKind::ManifestPut, action).times(times));
}

#[test]
fn collected_blob_is_sent_again() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    forget_blobs_of_next_manifests(&google, 2);
    let outcome = push(&google, &test_image, "1")
        .set("report_file", "report.json")
        .succeeds();
    // The layers and the config, three times: what was sent again was also read again.
    let destination_report = destination_report(&outcome);
    assert_eq!(destination_report["sent_bytes"], bytes_received(&google));
    assert_eq!(destination_report["reread_blobs"], 8);
    assert_eq!(
        destination_report["reread_bytes"],
        bytes_received(&google) / 3 * 2
    );
    let (_, digest) = archive(&test_image);
    assert_eq!(
        complete_digest(&google.standin, "gcr.io", "acme/app", "1"),
        Some(digest)
    );
}

#[test]
fn ever_vanishing_blobs_fail_and_set_no_tag() {
    let google = Google::start();
    forget_blobs_of_next_manifests(&google, 100);
    let outcome = push(&google, &TestImage::new("app", 1), "1").fails_with(4);
    let destination_report = outcome.error();
    assert!(
        destination_report.contains("BLOB_UNKNOWN"),
        "{destination_report}"
    );
    assert!(google.standin.tags("gcr.io", "acme/app").is_empty());
}

/// A push of a `docker save` archive, which reuses layers of earlier images.
fn push_docker(google: &Google, test_image: &TestImage, tag: &str) -> Run {
    google
        .run()
        .file("image.tar", classic_archive(&[(test_image, &["app:0"])]))
        .set("image", "image.tar")
        .set("tags", tag)
        .set("report_file", "report.json")
}

#[test]
fn collected_reused_layer_is_recompressed() {
    let test_image = TestImage::new("app", 3);
    let mut changed = test_image.layers.clone();
    changed.push(TestImage::new("other", 1).layers[0].clone());
    let changed = TestImage::of("amd64", changed);
    // The same image under a new tag, and one that shares its layers.
    for next in [&test_image, &changed] {
        let google = Google::start();
        push_docker(&google, &test_image, "1").succeeds();
        forget_blobs_of_next_manifests(&google, 1);
        google.standin.clear_requests();
        let outcome = push_docker(&google, next, "2").succeeds();
        // The first attempt's upload counts as sent, although the second attempt finds it there.
        assert_eq!(
            destination_report(&outcome)["sent_bytes"],
            bytes_received(&google)
        );
        assert_eq!(destination_report(&outcome)["tags"][0]["moved"], true);
        assert!(
            outcome.stderr.contains("compressing every layer again"),
            "{}",
            outcome.stderr
        );
        assert!(complete_digest(&google.standin, "gcr.io", "acme/app", "2").is_some());
    }
}
