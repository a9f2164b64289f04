//! The run after one that was killed.

use std::collections::BTreeSet;

use gcr_push::oci::digest::Digest;
use standin::{Fault, FaultAction, Request, RequestKind, Standin};

use super::many_images::{mirror_file, put};
use super::*;
use crate::support::images::{LayerCompression, TestImage};

/// The digests of completed uploads.
fn stored(requests: &[Request]) -> BTreeSet<String> {
    let puts = of_kind(requests, RequestKind::UploadPut).into_iter();
    let good = puts.filter(|request| request.status == 201);
    let digests = good.map(|request| {
        let (_, digest) = request.query.split_once("digest=").unwrap();
        digest.replace("%3A", ":")
    });
    digests.collect()
}

#[test]
fn next_run_copies_only_what_is_missing() {
    let (source, destination) = (Standin::start(), Standin::start());
    let names: Vec<_> = (0..12).map(|number| format!("app{number}")).collect();
    for name in &names {
        put(&source, PLAIN, &format!("acme/{name}"), "1", name);
    }
    let mut layout = Layout::default();
    let layer = vec![7; 9 * 1024 * 1024];
    let big = layout.image(
        &TestImage::of("amd64", vec![layer.clone()]),
        LayerCompression::Tar,
    );
    seed(&source, PLAIN, "acme/a-large-one", &layout, &big, "1");
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/**\n",
        destination.plain_address(),
        source.plain_address()
    );
    // The large manifest is not answered, nor are the others from the sixth on: that is where the
    // run hangs.
    let stall = Fault::always(RequestKind::ManifestPut, FaultAction::Stall);
    destination.fault(stall.clone().path("/mirror/a-large-one/"));
    destination.fault(stall.after(5));
    let running = mirror_file(&file).start();
    destination.wait_for(|requests| {
        let puts = of_kind(requests, RequestKind::ManifestPut);
        let big = puts
            .iter()
            .any(|put| put.path.contains("/mirror/a-large-one/"));
        big && puts.len() > 6
    });
    running.kill();

    let has = |name: &String| {
        destination
            .manifest(PLAIN, &format!("mirror/{name}"), "1")
            .is_some()
    };
    let before: Vec<_> = names.iter().filter(|name| has(name)).cloned().collect();
    assert_eq!(before.len(), 5);
    let sent_before = stored(&destination.requests());
    destination.clear_faults();
    destination.clear_requests();
    source.clear_requests();

    let outcome = mirror_file(&file).succeeds();
    assert!(
        outcome.stdout.contains("13 images: 8 copied, 5 unchanged"),
        "{}",
        outcome.stdout
    );
    assert!(names.iter().all(has));
    let (read, written) = (source.requests(), destination.requests());
    for name in &before {
        let more_than_asked = |request: &&Request| {
            let asks_whether = [RequestKind::TagsList, RequestKind::ManifestHead];
            request.path.contains(&format!("/{name}/")) && !asks_whether.contains(&request.kind)
        };
        assert_eq!(read.iter().find(more_than_asked).map(|r| &r.path), None);
        assert_eq!(written.iter().find(more_than_asked).map(|r| &r.path), None);
    }
    // Small blobs are sent again without a check; large ones are neither sent nor read.
    let layer = Digest::of(&layer).to_string();
    assert!(sent_before.contains(&layer));
    assert!(!stored(&written).contains(&layer));
    assert!(!read.iter().any(|request| request.path.ends_with(&layer)));
}
