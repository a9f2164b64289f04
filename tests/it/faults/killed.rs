//! A run that is killed at any moment leaves no tag on a broken image and no spool file, and the
//! next run succeeds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standin::Standin;

use super::complete_digest;
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive, gzip};
use crate::support::run::{Run, Running};

const KILLS: usize = 200;

/// The most requests of a push, connections included.
const REQUESTS: usize = 26;

/// A pseudorandom number that is the same in every run of the tests.
fn random(seed: usize) -> usize {
    let mut number = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^= number >> 32;
    number = number.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (number >> 33) as usize
}

/// Waits until the run has made some number of requests, or has ended.
fn wait_for_moment(standin: &Standin, running: &mut Running, seed: usize) {
    let requests = random(seed) % REQUESTS;
    while standin.requests().len() < requests && !running.has_ended() {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(Duration::from_micros((random(seed + KILLS) % 4000) as u64));
}

fn kill_one(google: &Google, archive: &[u8], number: usize) {
    let name = format!("app-{number}");
    let run = || -> Run {
        google
            .run()
            .file("image.tar", archive)
            .file("spool/.keep", "")
            .set("image", "image.tar")
            .set("name", &name)
            .set("tags", "1, 2")
            .variable("TMPDIR", "spool")
    };
    google.standin.clear_requests();
    let mut running = run().start();
    wait_for_moment(&google.standin, &mut running, number);
    let directory = if number.is_multiple_of(2) {
        running.kill()
    } else {
        running.signal("TERM");
        running.wait().directory
    };
    let left = std::fs::read_dir(directory.path().join("spool")).unwrap();
    assert_eq!(left.count(), 1, "a spool is left");
    let repository = format!("acme/{name}");
    for tag in ["1", "2"] {
        complete_digest(&google.standin, "gcr.io", &repository, tag);
    }
    run().succeeds();
    for tag in ["1", "2"] {
        let tagged = complete_digest(&google.standin, "gcr.io", &repository, tag);
        assert!(tagged.is_some(), "{tag}");
    }
}

#[test]
fn killed_run_leaves_nothing_broken_or_behind() {
    let archive = classic_archive(&[(&TestImage::new("app", 3), &["app:1"])]);
    // One is spooled layer by layer; the other is spooled as a whole as well.
    let archives = [archive.clone(), gzip(&archive)];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let google = Google::start();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= KILLS {
                        break;
                    }
                    kill_one(&google, &archives[number / 2 % 2], number);
                }
            });
        }
    });
}
