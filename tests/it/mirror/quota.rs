//! Limits on requests a minute and on concurrent blobs.

use std::time::Duration;

use standin::{Behaviour, Fault, FaultAction, Quota, Request, RequestKind, Standin};

use super::many_images::{mirror_file, put};
use super::*;

const TAGS: usize = 30;

/// A registry with this quota, and two requests a tag.
fn planned(quota: Quota, settle: impl Fn(Run) -> Run) -> [Vec<Request>; 2] {
    let sides = [(), ()].map(|()| {
        let standin = Standin::start();
        for tag in 0..TAGS {
            put(&standin, PLAIN, "acme/api", &tag.to_string(), "the same");
        }
        standin.change(|behaviour: &mut Behaviour| behaviour.quota = Some(quota));
        standin
    });
    let [source, destination] = &sides;
    let tags: Vec<_> = (0..TAGS).map(|tag| tag.to_string()).collect();
    let run = mirror_file(&format!(
        "destinations: [{}/acme]\nimages:\n  - from: {}/acme/api\n    tags: [{}]\n",
        destination.plain_address(),
        source.plain_address(),
        tags.join(", ")
    ));
    let outcome = settle(run.set("dry_run", "true")).succeeds();
    let expected = format!("{TAGS} images: 0 missing, 0 outdated, {TAGS} up to date");
    assert!(outcome.stdout.contains(&expected), "{}", outcome.stdout);
    sides.map(|standin| standin.requests())
}

fn refused(requests: &[Request]) -> usize {
    let refused = requests.iter().filter(|request| request.status == 429);
    refused.count()
}

#[test]
fn stated_quota_is_never_exceeded() {
    let quota = Quota {
        requests: 24,
        window: Duration::from_secs(2),
    };
    // Five concurrent and five a second.
    let sides = planned(quota, |run| run.set("requests_per_minute", "300"));
    for requests in sides {
        assert!(requests.len() > TAGS);
        assert_eq!(refused(&requests), 0);
    }
}

#[test]
fn exceeded_quota_costs_only_time() {
    let quota = Quota {
        requests: 12,
        window: Duration::from_secs(1),
    };
    let sides = planned(quota, |run| run);
    assert!(sides.iter().any(|requests| refused(requests) > 0));
}

#[test]
fn concurrent_blobs_are_limited_across_all_images() {
    let (source, destination) = (Standin::start(), Standin::start());
    for number in 0..12 {
        put(
            &source,
            PLAIN,
            &format!("acme/app{number}"),
            "1",
            &format!("app{number}"),
        );
    }
    let slow = FaultAction::Delay(Duration::from_millis(30));
    destination.fault(Fault::always(RequestKind::UploadPut, slow));
    let run = mirror_file(&format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/**\n",
        destination.plain_address(),
        source.plain_address()
    ));
    let mut running = run.set("concurrency", "2").start();
    let mut most = 0;
    while !running.has_ended() {
        let requests = destination.requests();
        let puts = of_kind(&requests, RequestKind::UploadPut);
        let unanswered = puts.iter().filter(|put| put.status == 0);
        most = most.max(unanswered.count());
    }
    assert_eq!(running.wait().code, 0);
    assert!((1..=2).contains(&most), "{most}");
}
