//! Concurrent pushes to one repository: all succeed, and every tag is right.

use super::{archive, complete_digest, push};
use crate::support::google::Google;
use crate::support::images::{TestImage, classic_archive};

#[test]
fn ten_concurrent_pushes_all_succeed() {
    let google = Google::start();
    let same = TestImage::new("same", 3);
    let others: Vec<_> = (0..5)
        .map(|n| TestImage::new(&format!("app-{n}"), 2))
        .collect();
    std::thread::scope(|scope| {
        for number in 0..5 {
            // All five move the common tag and their own.
            let tags = format!("common, same-{number}");
            let run = push(&google, &same, &tags);
            scope.spawn(|| run.succeeds());
        }
        for (number, other) in others.iter().enumerate() {
            let run = push(&google, other, &format!("other-{number}"));
            scope.spawn(|| run.succeeds());
        }
    });
    let tagged = |tag: &str| complete_digest(&google.standin, "gcr.io", "acme/app", tag);
    let (_, digest) = archive(&same);
    assert_eq!(tagged("common"), Some(digest.clone()));
    for (number, other) in others.iter().enumerate() {
        assert_eq!(tagged(&format!("same-{number}")), Some(digest.clone()));
        assert_eq!(tagged(&format!("other-{number}")), Some(archive(other).1));
    }
}

#[test]
fn ten_pushes_of_one_docker_archive_make_one_image() {
    let google = Google::start();
    let archive = classic_archive(&[(&TestImage::new("app", 3), &["app:1"])]);
    std::thread::scope(|scope| {
        for number in 0..10 {
            let run = google
                .run()
                .file("image.tar", &archive)
                .set("image", "image.tar")
                .set("tags", format!("1, build-{number}"));
            scope.spawn(|| run.succeeds());
        }
    });
    let tags = google.standin.tags("gcr.io", "acme/app");
    assert_eq!(tags.len(), 11);
    let first = complete_digest(&google.standin, "gcr.io", "acme/app", "1").unwrap();
    assert!(tags.values().all(|digest| *digest == first), "{tags:?}");
}
