//! What passes is tried again, for as long as is allowed; what does not is told at once.

use std::time::{Duration, Instant};

use standin::{Fault, FaultAction, RequestKind};

use super::{archive, push, whole};
use crate::support::google::Google;
use crate::support::images::Picture;

/// How often a kind of request was made.
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
fn more_refusals_for_now_than_other_tools_bear_stop_no_push() {
    let google = Google::start();
    let picture = Picture::new("app", 3);
    // crane gives up after three 429 and loses a layer to a 401; skopeo dies of an expired token
    // and of a manifest's 500.
    for (kind, act, times) in [
        (RequestKind::ManifestHead, busy(None), 4),
        (RequestKind::UploadStart, busy(None), 4),
        (RequestKind::UploadPut, busy(None), 4),
        (RequestKind::UploadPut, FaultAction::ExpireTokens, 2),
        (RequestKind::ManifestPut, FaultAction::ExpireTokens, 2),
        (RequestKind::ManifestPut, FaultAction::status(500), 4),
    ] {
        google.standin.fault(Fault::once(kind, act).times(times));
    }
    push(&google, &picture, "1")
        .set("retry_timeout", "30s")
        .succeeds();
    let (_, digest) = archive(&picture);
    assert_eq!(
        whole(&google.standin, "gcr.io", "acme/app", "1"),
        Some(digest)
    );
}

#[test]
fn a_429_holds_back_everything_for_as_long_as_it_asks() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::once(RequestKind::ManifestHead, busy(Some(1))).times(2));
    let outcome = push(&google, &Picture::new("app", 2), "1")
        .set("retry_timeout", "20s")
        .succeeds();
    let said = "the registry asks for fewer requests: nothing is sent for 1.0 s";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

#[test]
fn retry_after_of_a_token_endpoint_is_obeyed() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::once(RequestKind::OAuthToken, busy(Some(3))).times(2));
    let start = Instant::now();
    push(&google, &Picture::new("app", 1), "1")
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
    push(&google, &Picture::new("app", 1), "1")
        .set("credentials_json", &google.key)
        .set("retry_timeout", "20s")
        .fails_with(4);
    assert!(start.elapsed() < Duration::from_secs(15));
    // One for the check before the image is read, and one for the push.
    assert_eq!(count(&google, RequestKind::OAuthToken), 2);
}

#[test]
fn a_wait_that_is_longer_than_what_is_allowed_is_not_begun() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, busy(Some(3600))));
    let outcome = push(&google, &Picture::new("app", 1), "1")
        .set("retry_timeout", "20s")
        .fails_with(4);
    assert_eq!(count(&google, RequestKind::ManifestPut), 1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1: 429 TOOMANYREQUESTS
      caused by: Quota exceeded for quota metric 'Requests per project per region' and limit 'Requests per project per region per minute per region' of service 'artifactregistry.googleapis.com' for consumer 'project_number:123456789012'.

    hint: the registry asks to be left alone for 3600 s; `retry_timeout` says how long is waited
    hint: too much was asked for in too short a time: run this again in a few minutes, with a lower `concurrency`, or with `requests_per_minute`
    ");
}

#[test]
fn what_fails_for_ever_is_told_with_how_often_it_was_tried() {
    let google = Google::start();
    google.standin.fault(Fault::always(
        RequestKind::ManifestPut,
        FaultAction::status(503),
    ));
    let outcome = push(&google, &Picture::new("app", 1), "1")
        .set("retry_timeout", "1s")
        .fails_with(4);
    let tries = count(&google, RequestKind::ManifestPut);
    assert!(tries >= 3, "{tries}");
    let told = outcome.error();
    assert!(
        told.contains(&format!("503 UNAVAILABLE ({tries} tries in ")),
        "{told}"
    );
    assert!(google.standin.tags("gcr.io", "acme/app").is_empty());
}

#[test]
fn what_no_wait_mends_is_asked_once() {
    for (code, exit) in [(400, 1), (403, 3), (412, 1), (413, 1)] {
        let google = Google::start();
        let refusal = r#"{"errors":[{"code":"UNKNOWN","message":"no"}]}"#;
        let act = FaultAction::Status {
            code,
            retry_after: None,
            body: Some(refusal.to_owned()),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::always(RequestKind::ManifestPut, act));
        push(&google, &Picture::new("app", 1), "1")
            .set("retry_timeout", "20s")
            .fails_with(exit);
        assert_eq!(count(&google, RequestKind::ManifestPut), 1, "{code}");
    }
}

#[test]
fn a_blob_whose_answer_was_lost_is_not_sent_twice() {
    let google = Google::start();
    google.standin.fault(Fault::once(
        RequestKind::UploadPut,
        FaultAction::ResetAfterWork,
    ));
    let picture = Picture::new("app", 1);
    push(&google, &picture, "1").succeeds();
    // The layer and the config, once each.
    assert_eq!(count(&google, RequestKind::UploadPut), 2);
    assert!(whole(&google.standin, "gcr.io", "acme/app", "1").is_some());
}

#[test]
fn a_registry_that_takes_long_to_finish_a_blob_gets_it_once() {
    let google = Google::start();
    let slow = FaultAction::Delay(Duration::from_secs(3));
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, slow));
    let outcome = push(&google, &Picture::new("app", 1), "1")
        .set("stall_timeout", "1s")
        .succeeds();
    assert_eq!(count(&google, RequestKind::UploadPut), 2);
    let told = "gcr.io is finishing the blob";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("trying again"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_upload_that_the_registry_forgot_is_begun_again() {
    for code in ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"] {
        let google = Google::start();
        let lost = FaultAction::Status {
            code: 404,
            retry_after: None,
            body: Some(format!(
                r#"{{"errors":[{{"code":"{code}","message":"gone"}}]}}"#
            )),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::once(RequestKind::UploadPut, lost).times(2));
        push(&google, &Picture::new("app", 1), "1").succeeds();
        assert_eq!(count(&google, RequestKind::UploadStart), 4);
        assert!(whole(&google.standin, "gcr.io", "acme/app", "1").is_some());
    }
}
