//! The progress of a push: bars on a terminal, a line now and then elsewhere.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use standin::{Fault, FaultAction, RequestKind};

use crate::support::google::Google;
use crate::support::images::{Picture, classic_archive};
use crate::support::run::Run;

fn push(google: &Google) -> Run {
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&Picture::new("app", 2), &["app:1"])]),
        )
        .set("image", "image.tar")
}

#[test]
fn a_push_that_takes_long_tells_how_far_it_is() {
    let google = Google::start();
    let stalls = Fault::always(RequestKind::UploadPut, FaultAction::Stall);
    google.standin.fault(stalls);
    let mut running = push(&google).start();
    let lines = BufReader::new(running.take_stderr()).lines();
    let told = lines
        .map(Result::unwrap)
        .find(|line| line.contains("sent 0 of "));
    running.kill();
    let told = told.unwrap();
    assert!(
        told.starts_with(" INFO compressed 2 of 2 blobs, "),
        "{told}"
    );
}

#[test]
fn a_terminal_shows_bars_and_whole_lines() {
    let google = Google::start();
    let outcome = push(&google)
        .variable("TERM", "xterm")
        .under(&[
            "sh",
            "-c",
            "exec script --quiet --return --command \"$0\" /dev/null",
        ])
        .run_with(Stdio::piped(), Stdio::piped());
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    // The terminal is what both streams lead to.
    let screen = outcome.stdout.replace('\r', "");
    for whole in [
        "signing in to gcr.io as `ci@acme",
        "LISTED IMAGE",
        "gcr.io/acme/app",
    ] {
        assert!(screen.contains(whole), "{screen}");
    }
}
