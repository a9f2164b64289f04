//! Runs that a signal or a timeout stops: they end at once, list the tags that were set, and leave
//! nothing behind.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use standin::{Fault, FaultAction, RequestKind};

use super::push;
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive, gzip};
use crate::support::run::{Run, Running};

/// A push to three tags of which the second is never answered.
fn stalled_push(google: &Google) -> Run {
    google
        .standin
        .fault(Fault::always(RequestKind::ManifestPut, FaultAction::Stall).after(1));
    push(google, &TestImage::new("app", 1), "1, 2, 3")
}

/// Waits for this number of manifest uploads.
fn wait_for_puts(google: &Google, count: usize) {
    google.wait_for(RequestKind::ManifestPut, count);
}

#[test]
fn signal_stops_a_push_and_tags_are_reported() {
    for (signal, name) in [("TERM", "SIGTERM"), ("INT", "SIGINT"), ("HUP", "SIGHUP")] {
        let google = Google::start();
        let running = stalled_push(&google).start();
        wait_for_puts(&google, 2);
        running.signal(signal);
        let outcome = running.wait();
        assert_eq!(outcome.code, 4, "{}", outcome.stderr);
        let message = outcome.error().replace(name, "[SIGNAL]");
        insta::allow_duplicates!(insta::assert_snapshot!(message, @"
        error: stopped by [SIGNAL]
          tagged: `gcr.io/acme/app:1`
          perhaps tagged, because no response arrived: `gcr.io/acme/app:2`
          not tagged: `gcr.io/acme/app:3`

        hint: run this again: it does not send again what has arrived
        "));
        let tags: Vec<_> = google
            .standin
            .tags("gcr.io", "acme/app")
            .into_keys()
            .collect();
        assert_eq!(tags, ["1"]);
    }
}

/// Sends a signal to a run that waits for ever. Returns how long it took to end.
fn stop_and_measure(mut running: Running, at: &str) -> Duration {
    let since = Instant::now();
    running.signal("TERM");
    // Its standard input stays open until it has ended by itself.
    while !running.has_ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = since.elapsed();
    let outcome = running.wait();
    assert_eq!(outcome.code, 4, "{at}: {}", outcome.stderr);
    let message = "stopped by SIGTERM";
    assert!(outcome.stderr.contains(message), "{at}: {}", outcome.stderr);
    took
}

#[test]
fn signal_stops_a_run_in_any_wait() {
    let later = FaultAction::Status {
        code: 503,
        retry_after: Some(200),
        body: None,
        headers: Vec::new(),
    };
    let mut longest = Duration::ZERO;
    for (kind, action) in [
        (RequestKind::OAuthToken, FaultAction::Stall),
        (RequestKind::Ping, FaultAction::Stall),
        (RequestKind::Token, FaultAction::Stall),
        (RequestKind::ManifestHead, FaultAction::Stall),
        (RequestKind::UploadStart, FaultAction::Stall),
        (RequestKind::UploadPut, FaultAction::StallRequestAt(10)),
        (RequestKind::ManifestPut, FaultAction::Stall),
        // The registry asks it to retry later, and it waits.
        (RequestKind::UploadStart, later.clone()),
        (RequestKind::ManifestPut, later),
    ] {
        let google = Google::start();
        google.standin.fault(Fault::always(kind, action));
        let running = push(&google, &TestImage::new("app", 1), "1").start();
        google.wait_for(kind, 1);
        longest = longest.max(stop_and_measure(running, &format!("{kind:?}")));
    }
    // An archive that never ends.
    let google = Google::start();
    let run = google.run().set("image", "-").set("name", "app");
    let mut running = run.start();
    // More than a pipe holds, so that the program is reading when the write returns.
    let archive = classic_archive(&[(&TestImage::new("app", 40), &["app:1"])]);
    let half = &archive[..archive.len() / 2];
    assert!(half.len() > 256 * 1024);
    running.input.write_all(half).unwrap();
    longest = longest.max(stop_and_measure(running, "standard input"));
    println!("{} ms at most", longest.as_millis());
}

#[test]
fn signal_stops_pid_1_of_a_container() {
    let google = Google::start();
    let Some(run) = stalled_push(&google).under_pid_namespace() else {
        eprintln!("no process namespace can be made here: not tested");
        return;
    };
    let running = run.start();
    wait_for_puts(&google, 2);
    running.signal_child("TERM");
    let outcome = running.wait();
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("stopped by SIGTERM"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn timeout_stops_a_push_like_a_signal() {
    let google = Google::start();
    let outcome = stalled_push(&google).set("timeout", "8s").fails_with(4);
    insta::assert_snapshot!(outcome.error(), @"
    error: stopped after 8 s, the limit that `timeout` sets
      tagged: `gcr.io/acme/app:1`
      perhaps tagged, because no response arrived: `gcr.io/acme/app:2`
      not tagged: `gcr.io/acme/app:3`

    hint: run this again: it does not send again what has arrived
    hint: or raise `timeout`
    ");
}

#[test]
fn signal_leaves_no_spooled_file() {
    let google = Google::start();
    google
        .standin
        .fault(Fault::always(RequestKind::UploadPut, FaultAction::Stall));
    let archive = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    let run = google
        .run()
        .file("image.tar.gz", gzip(&archive))
        .file("spool/.keep", "")
        .set("image", "image.tar.gz")
        .variable("TMPDIR", "spool");
    let running = run.start();
    google.wait_for(RequestKind::UploadPut, 1);
    running.signal("TERM");
    let outcome = running.wait();
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    let left = std::fs::read_dir(outcome.directory.path().join("spool")).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
fn run_with_unread_result_pipe_can_be_stopped() {
    let google = Google::start();
    let run = push(&google, &TestImage::new("app", 1), "1").set("report_file", "pipe");
    let made = Command::new("mkfifo").arg(run.path().join("pipe")).status();
    assert!(made.unwrap().success());
    let mut running = run.start();
    let mut lines = BufReader::new(running.take_stdout()).lines();
    // The file is written after the table.
    assert!(lines.any(|line| line.unwrap().contains("gcr.io/acme/app")));
    stop_and_measure(running, "a pipe in the place of a file");
}

#[test]
fn run_with_unread_output_can_be_stopped() {
    const FULL: &str = "mkfifo full; exec 3<>full; \
                        dd if=/dev/zero of=full oflag=nonblock bs=4096 2>/dev/null; \
                        exec \"$0\" >&3";
    let google = Google::start();
    let run = push(&google, &TestImage::new("app", 1), "1").under(&["sh", "-c", FULL]);
    let running = run.start();
    // The listing is the last request before the table.
    google.wait_for(RequestKind::TagsList, 2);
    stop_and_measure(running, "standard output");
}

#[test]
fn run_under_nohup_survives_hangup() {
    let google = Google::start();
    let running = stalled_push(&google)
        .under(&["sh", "-c", "trap '' HUP; exec \"$0\""])
        .start();
    wait_for_puts(&google, 2);
    running.signal("HUP");
    running.signal("TERM");
    let outcome = running.wait();
    assert!(
        outcome.stderr.contains("stopped by SIGTERM"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn crash_leaves_no_core_dump() {
    let google = Google::start();
    let running = stalled_push(&google).start();
    wait_for_puts(&google, 2);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
    let mut lines = limits.lines();
    let core = lines.find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().skip(4).collect();
    assert_eq!(words, ["0", "0", "bytes"]);
    running.kill();
}
