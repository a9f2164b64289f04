//! The run after one that was killed at any request.

use standin::{Fault, FaultAction, RequestKind};

use super::*;

/// The options of these tests: one of each kind, without keys.
fn with_all_options(run: Run) -> Run {
    run.set("registry", "us-docker.pkg.dev")
        .set("repository", "containers")
        .set("setup_github", "acme/api")
}

/// Kills a run when its nth changing request has been carried out and before it is answered.
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

/// The number of changing requests of a whole run, and the state after it.
fn uninterrupted_run(prepare: impl Fn(&Cloud), run: impl Fn(&Cloud) -> Run) -> (usize, Value) {
    let cloud = Cloud::new();
    prepare(&cloud);
    cloud.standin.clear_requests();
    run(&cloud).succeeds();
    (cloud.changes().len(), cloud.standin.snapshot())
}

#[test]
fn apply_killed_after_any_request_is_completed() {
    let run = |cloud: &Cloud| with_all_options(cloud.apply());
    let (count, expected) = uninterrupted_run(|_| {}, run);
    assert!(count > 7, "{count}");
    for number in 0..count {
        let cloud = Cloud::new();
        kill_after(&cloud, run(&cloud), number);
        run(&cloud).succeeds();
        assert_eq!(cloud.standin.snapshot(), expected, "after request {number}");
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
    let run = |cloud: &Cloud| with_all_options(cloud.remove());
    let prepare = |cloud: &Cloud| drop(with_all_options(cloud.apply()).succeeds());
    let (count, expected) = uninterrupted_run(prepare, run);
    assert!(count > 6, "{count}");
    for number in 0..count {
        let cloud = Cloud::new();
        prepare(&cloud);
        cloud.standin.clear_requests();
        kill_after(&cloud, run(&cloud), number);
        run(&cloud).succeeds();
        assert_eq!(cloud.standin.snapshot(), expected, "after request {number}");
    }
}
