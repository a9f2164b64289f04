//! Garbage collection at the registry: what was there a moment ago is gone when the manifest comes.

use serde_json::Value;
use standin::{Fault, FaultAction, RequestKind};

use super::{archive, push, whole};
use crate::support::google::Google;
use crate::support::images::{Picture, classic_archive};
use crate::support::run::{Outcome, Run};

/// The bytes of blobs that a registry took.
fn taken(google: &Google) -> u64 {
    let requests = google.standin.requests();
    let puts = requests
        .iter()
        .filter(|r| r.kind == RequestKind::UploadPut && r.status == 201);
    puts.map(|request| request.received_bytes).sum()
}

/// The only destination of a report.
fn told(outcome: &Outcome) -> Value {
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    report["destinations"][0].clone()
}

fn collect(google: &Google, times: u32) {
    let act = FaultAction::ForgetBlobs;
    google
        .standin
        .fault(Fault::once(RequestKind::ManifestPut, act).times(times));
}

#[test]
fn collected_blob_is_sent_again() {
    let google = Google::start();
    let picture = Picture::new("app", 3);
    collect(&google, 2);
    let outcome = push(&google, &picture, "1")
        .set("report_file", "report.json")
        .succeeds();
    // The layers and the config, three times: what was sent again was read again.
    let told = told(&outcome);
    assert_eq!(told["sent_bytes"], taken(&google));
    assert_eq!(told["reread_blobs"], 8);
    assert_eq!(told["reread_bytes"], taken(&google) / 3 * 2);
    let (_, digest) = archive(&picture);
    assert_eq!(
        whole(&google.standin, "gcr.io", "acme/app", "1"),
        Some(digest)
    );
}

#[test]
fn ever_vanishing_blobs_fail_and_set_no_tag() {
    let google = Google::start();
    collect(&google, 100);
    let outcome = push(&google, &Picture::new("app", 1), "1").fails_with(4);
    let told = outcome.error();
    assert!(told.contains("BLOB_UNKNOWN"), "{told}");
    assert!(google.standin.tags("gcr.io", "acme/app").is_empty());
}

/// A push of a `docker save` archive, whose layers are taken over from earlier images.
fn push_docker(google: &Google, picture: &Picture, tag: &str) -> Run {
    google
        .run()
        .file("image.tar", classic_archive(&[(picture, &["app:0"])]))
        .set("image", "image.tar")
        .set("tags", tag)
        .set("report_file", "report.json")
}

#[test]
fn collected_reused_layer_is_recompressed() {
    let picture = Picture::new("app", 3);
    let mut changed = picture.layers.clone();
    changed.push(Picture::new("other", 1).layers[0].clone());
    let changed = Picture::of("amd64", changed);
    // The same image under a new tag, and one that shares its layers.
    for next in [&picture, &changed] {
        let google = Google::start();
        push_docker(&google, &picture, "1").succeeds();
        collect(&google, 1);
        google.standin.clear_requests();
        let outcome = push_docker(&google, next, "2").succeeds();
        // What the first attempt sent is told as sent, although the second finds it there.
        assert_eq!(told(&outcome)["sent_bytes"], taken(&google));
        assert_eq!(told(&outcome)["tags"][0]["moved"], true);
        assert!(
            outcome.stderr.contains("every layer is made anew"),
            "{}",
            outcome.stderr
        );
        assert!(whole(&google.standin, "gcr.io", "acme/app", "2").is_some());
    }
}
