//! A run that dies at any point, and the next one.

use standin::{Fault, FaultAction, RequestKind};

use super::*;

/// What is set up in these tests: one of each kind, but keys.
fn all(run: Run) -> Run {
    run.set("registry", "us-docker.pkg.dev")
        .set("repository", "containers")
        .set("setup_github", "acme/api")
}

/// Kills a run when the request of this number among those that change something was carried out,
/// and its answer is kept back: it can neither end nor go on.
fn kill_after(cloud: &Cloud, run: Run, number: usize) {
    let stall = Fault::once(RequestKind::Api, FaultAction::StallResponseAt(0));
    let skip = u32::try_from(number).unwrap();
    cloud.standin.fault(stall.changing().after(skip));
    let running = run.start();
    cloud.standin.wait_for(|requests| {
        let made = requests
            .iter()
            .filter(|request| request.changes() && request.status != 0);
        made.count() > number
    });
    running.kill();
    cloud.standin.clear_faults();
}

/// How many requests of a whole run change something, and what they leave.
fn whole(prepare: impl Fn(&Cloud), run: impl Fn(&Cloud) -> Run) -> (usize, Value) {
    let cloud = Cloud::new();
    prepare(&cloud);
    cloud.standin.clear_requests();
    run(&cloud).succeeds();
    (cloud.changes().len(), cloud.standin.picture())
}

#[test]
fn apply_killed_after_any_request_is_completed() {
    let run = |cloud: &Cloud| all(cloud.apply());
    let (count, expected) = whole(|_| {}, run);
    assert!(count > 7, "{count}");
    for number in 0..count {
        let cloud = Cloud::new();
        kill_after(&cloud, run(&cloud), number);
        run(&cloud).succeeds();
        assert_eq!(cloud.standin.picture(), expected, "after request {number}");
        cloud.standin.clear_requests();
        run(&cloud).succeeds();
        assert_eq!(
            cloud.changes(),
            Vec::<String>::new(),
            "after request {number}"
        );
    }
}

#[test]
fn removal_killed_after_any_request_is_completed() {
    let run = |cloud: &Cloud| all(cloud.remove());
    let prepare = |cloud: &Cloud| drop(all(cloud.apply()).succeeds());
    let (count, expected) = whole(prepare, run);
    assert!(count > 6, "{count}");
    for number in 0..count {
        let cloud = Cloud::new();
        prepare(&cloud);
        cloud.standin.clear_requests();
        kill_after(&cloud, run(&cloud), number);
        run(&cloud).succeeds();
        assert_eq!(cloud.standin.picture(), expected, "after request {number}");
    }
}
