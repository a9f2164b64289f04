//! Transient failures are retried for as long as is allowed; permanent ones are reported at once.

use std::time::{Duration, Instant};

use standin::{Fault, FaultAction, RequestKind};

use super::{archive, complete_digest, push};
use crate::support::google::Google;
use crate::support::images::TestImage;

/// The number of requests of a kind.
fn count(google: &Google, kind: RequestKind) -> usize {
    let requests = google.standin.requests();
    requests.iter().filter(|r| r.kind == kind).count()
}

fn busy(retry_after: Option<u64>) -> FaultAction {
    FaultAction::Status {
        code: 429,
        retry_after,
        body: None,
        headers: Vec::new(),
    }
}

#[test]
fn many_transient_refusals_stop_no_push() {
    let google = Google::start();
    let test_image = TestImage::new("app", 3);
    // crane gives up after three 429 and loses a layer to a 401; skopeo fails at an expired token
    // and at a manifest's 500.
    for (kind, action, times) in [
        (RequestKind::ManifestHead, busy(None), 4),
        (RequestKind::UploadStart, busy(None), 4),
        (RequestKind::UploadPut, busy(None), 4),
        (RequestKind::UploadPut, FaultAction::ExpireTokens, 2),
        (RequestKind::ManifestPut, FaultAction::ExpireTokens, 2),
        (RequestKind::ManifestPut, FaultAction::status(500), 4),
    ] {
        google.standin.fault(Fault::once(kind, action).times(times));
    }
    push(&google, &test_image, "1")
        .set("retry_timeout", "30s")
        .succeeds();
    let (_, digest) = archive(&test_image);
    assert_eq!(
        complete_digest(&google.standin, "gcr.io", "acme/app", "1"),
        Some(digest)
    );
}

#[test]
fn too_many_requests_pauses_all_requests() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::once(RequestKind::ManifestHead, busy(Some(1))).times(2));
    let outcome = push(&google, &TestImage::new("app", 2), "1")
        .set("retry_timeout", "20s")
        .succeeds();
    let message = "the registry limits the rate of requests; waiting 1.0 s";
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
}

#[test]
fn retry_after_of_a_token_endpoint_is_obeyed() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::once(RequestKind::OAuthToken, busy(Some(3))).times(2));
    let start = Instant::now();
    push(&google, &TestImage::new("app", 1), "1")
        .set("credentials_json", &google.key)
        .set("retry_timeout", "20s")
        .succeeds();
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[test]
fn retry_after_of_a_token_endpoint_beyond_retry_timeout_ends_the_run() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::OAuthToken, busy(Some(3600))));
    let start = Instant::now();
    push(&google, &TestImage::new("app", 1), "1")
        .set("credentials_json", &google.key)
        .set("retry_timeout", "20s")
        .fails_with(4);
    assert!(start.elapsed() < Duration::from_secs(15));
    // One for the check before the image is read, and one for the push.
    assert_eq!(count(&google, RequestKind::OAuthToken), 2);
}

#[test]
fn retry_after_beyond_the_timeout_is_not_awaited() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, busy(Some(3600))));
    let outcome = push(&google, &TestImage::new("app", 1), "1")
        .set("retry_timeout", "20s")
        .fails_with(4);
    assert_eq!(count(&google, RequestKind::ManifestPut), 1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1: 429 TOOMANYREQUESTS
      caused by: Quota exceeded for quota metric 'Requests per project per region' and limit 'Requests per project per region per minute per region' of service 'artifactregistry.googleapis.com' for consumer 'project_number:123456789012'.

    hint: the registry asks to wait 3600 s; if you want to wait that long, raise `retry_timeout`
    hint: there were too many requests in a short time: try again in a few minutes, with a lower `concurrency`, or set `requests_per_minute`
    ");
}

#[test]
fn lasting_failure_reports_its_attempts() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::ManifestPut,
        FaultAction::status(503),
    ));
    let outcome = push(&google, &TestImage::new("app", 1), "1")
        .set("retry_timeout", "1s")
        .fails_with(4);
    let tries = count(&google, RequestKind::ManifestPut);
    assert!(tries >= 3, "{tries}");
    let message = outcome.error();
    assert!(
        message.contains(&format!("503 UNAVAILABLE ({tries} tries in ")),
        "{message}"
    );
    assert!(google.standin.tags("gcr.io", "acme/app").is_empty());
}

#[test]
fn permanent_failure_is_not_retried() {
    for (code, exit) in [(400, 1), (403, 3), (412, 1), (413, 1)] {
        let google = Google::start();
        let refusal = r#"{"errors":[{"code":"UNKNOWN","message":"no"}]}"#;
        let action = FaultAction::Status {
            code,
            retry_after: None,
            body: Some(refusal.to_owned()),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::always(RequestKind::ManifestPut, action));
        push(&google, &TestImage::new("app", 1), "1")
            .set("retry_timeout", "20s")
            .fails_with(exit);
        assert_eq!(count(&google, RequestKind::ManifestPut), 1, "{code}");
    }
}

#[test]
fn blob_with_lost_answer_is_not_sent_twice() {
    let google = Google::start();
    google.standin.fault(Fault::once(
        RequestKind::UploadPut,
        FaultAction::ResetAfterWork,
    ));
    let test_image = TestImage::new("app", 1);
    push(&google, &test_image, "1").succeeds();
    // The layer and the config, once each.
    assert_eq!(count(&google, RequestKind::UploadPut), 2);
    assert!(complete_digest(&google.standin, "gcr.io", "acme/app", "1").is_some());
}

#[test]
fn slowly_committed_blob_is_sent_once() {
    let google = Google::start();
    let slow = FaultAction::Delay(Duration::from_secs(3));
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, slow));
    let outcome = push(&google, &TestImage::new("app", 1), "1")
        .set("stall_timeout", "1s")
        .succeeds();
    assert_eq!(count(&google, RequestKind::UploadPut), 2);
    let message = "gcr.io is finishing the blob";
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("trying again"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn forgotten_upload_is_restarted() {
    for code in ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"] {
        let google = Google::start();
        let session_lost = FaultAction::Status {
            code: 404,
            retry_after: None,
            body: Some(format!(
                r#"{{"errors":[{{"code":"{code}","message":"gone"}}]}}"#
            )),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::once(RequestKind::UploadPut, session_lost).times(2));
        push(&google, &TestImage::new("app", 1), "1").succeeds();
        assert_eq!(count(&google, RequestKind::UploadStart), 4);
        assert!(complete_digest(&google.standin, "gcr.io", "acme/app", "1").is_some());
    }
}
