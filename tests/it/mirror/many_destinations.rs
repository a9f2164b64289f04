//! One source, several destinations: one read for all of them.

use standin::{Behaviour, Fault, FaultAction, Mount, RequestKind, Standin};

use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{self, LayerCompression, TarFile, TestImage};

/// An image with an incompressible layer of this many MiB, and two small ones.
pub(super) fn large(mebibytes: usize) -> (Layout, Value) {
    let mut state = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let bytes: Vec<u8> = noise.take(mebibytes * 1024 * 1024 / 8).flatten().collect();
    let mut test_image = TestImage::new("app", 2);
    test_image
        .layers
        .push(TarFile::new().file("noise", &bytes).finish());
    let mut layout = Layout::default();
    let test_image = TestImage::of("amd64", test_image.layers);
    let root = layout.image(&test_image, LayerCompression::Tar);
    (layout, root)
}

/// A stand-in that holds an image as `app:1`.
pub(super) fn source_of(layout: &Layout, root: &Value) -> (Standin, String) {
    let source = Standin::start();
    seed(&source, PLAIN, "app", layout, root, "1");
    let name = format!("{}/app:1", source.plain_address());
    (source, name)
}

/// The line of the report for a destination.
fn line<'a>(stdout: &'a str, name: &str) -> &'a str {
    let line = stdout
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no line for {name} in\n{stdout}"))
}

pub(super) fn json(outcome: &crate::support::run::Outcome) -> Value {
    serde_json::from_str(&outcome.read("report.json")).unwrap()
}

#[test]
fn three_destinations_cost_one_read_of_the_source() {
    let (layout, root) = large(6);
    let (source, name) = source_of(&layout, &root);
    let (one, two, three) = (
        DockerRegistry::start(),
        DockerRegistry::start(),
        Standin::start(),
    );
    let destinations = [
        one.address().to_owned(),
        two.address().to_owned(),
        three.plain_address(),
    ];
    let tags = destinations
        .clone()
        .map(|destination| format!("{destination}/team/app:1"))
        .join("\n");
    let outcome = mirror(&name, &tags)
        .set("report_file", "report.json")
        .succeeds();
    for (number, destination) in destinations.iter().enumerate() {
        assert_holds(destination, "team/app", &layout);
        assert_eq!(
            tagged(destination, "team/app", "1").unwrap(),
            layout.get(&root)
        );
        line(&outcome.stdout, &format!("{destination}/team/app"));
        let destination = &json(&outcome)["destinations"][number];
        assert_eq!(destination["sent_bytes"], blob_bytes(&layout));
        assert_eq!(destination["reread_blobs"], 0);
    }
    assert_eq!(bytes_sent(&source), blob_bytes(&layout));
    assert_eq!(of_kind(&source.requests(), RequestKind::BlobGet).len(), 4);
}

#[test]
fn unchanged_mirror_sends_no_blob_request() {
    let (layout, root) = large(1);
    let (source, name) = source_of(&layout, &root);
    let destinations = [Standin::start(), Standin::start()];
    let tags = destinations
        .each_ref()
        .map(|destination| format!("{}/app:1", destination.plain_address()))
        .join("\n");
    mirror(&name, &tags).succeeds();
    source.clear_requests();
    destinations.iter().for_each(Standin::clear_requests);
    mirror(&name, &tags).set("verify", "off").succeeds();
    assert_eq!(bytes_sent(&source), 0);
    for destination in &destinations {
        let kinds: Vec<_> = destination
            .requests()
            .iter()
            .map(|request| request.kind)
            .collect();
        assert_eq!(kinds, [RequestKind::Ping, RequestKind::ManifestHead]);
    }
}

#[test]
fn failing_destination_does_not_stop_the_others() {
    let (layout, root) = large(6);
    let (source, name) = source_of(&layout, &root);
    let (alive, dying) = (DockerRegistry::start(), Standin::start());
    let cut = FaultAction::CutRequestAt(1024 * 1024);
    dying.fault(Fault::always(RequestKind::UploadPut, cut));
    let tags = [dying.plain_address(), alive.address().to_owned()];
    let tags = tags
        .map(|destination| format!("{destination}/app:1"))
        .join("\n");
    let outcome = mirror(&name, &tags)
        .set("report_file", "report.json")
        .fails_with(4);
    assert_holds(alive.address(), "app", &layout);
    assert!(tagged(alive.address(), "app", "1").is_some());
    assert!(dying.tags(PLAIN, "app").is_empty());
    let failed = line(&outcome.stdout, &format!("{}/app", dying.plain_address()));
    assert!(failed.contains("failed"), "{failed}");
    let report = json(&outcome);
    assert_eq!(report["missed"][0]["best_effort"], false);
    let why = report["missed"][0]["error"].as_str().unwrap();
    assert!(why.starts_with("could not push to "), "{why}");
    let _ = source;
}

#[test]
fn killed_registry_does_not_stop_the_others() {
    let (layout, root) = large(6);
    let (source, name) = source_of(&layout, &root);
    let (alive, killed) = (DockerRegistry::start(), DockerRegistry::start());
    // The second blob waits until the registry is down.
    let held = FaultAction::Delay(std::time::Duration::from_secs(5));
    source.fault(Fault::always(RequestKind::BlobGet, held).after(1));
    let tags =
        [killed.address(), alive.address()].map(|destination| format!("{destination}/app:1"));
    let running = mirror(&name, &tags.join("\n"))
        .set("concurrency", "1")
        .set("retry_timeout", "3s")
        .start();
    while of_kind(&source.requests(), RequestKind::BlobGet).len() < 2 {
        std::thread::yield_now();
    }
    drop(killed);
    source.clear_faults();
    let outcome = running.wait();
    assert_eq!(outcome.code, 4, "{}", outcome.stderr);
    assert_holds(alive.address(), "app", &layout);
    assert!(tagged(alive.address(), "app", "1").is_some());
}

#[test]
fn second_repository_mounts_blobs_of_the_first() {
    let (layout, root) = large(2);
    let (source, name) = source_of(&layout, &root);
    let destination = Standin::start();
    let address = destination.plain_address();
    let tags = format!("{address}/first:1\n{address}/second:1\n{address}/second:2");
    let outcome = mirror(&name, &tags)
        .set("report_file", "report.json")
        .succeeds();
    for repository in ["first", "second"] {
        assert_holds(&address, repository, &layout);
    }
    assert_eq!(bytes_sent(&source), blob_bytes(&layout));
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::Mount).len(),
        4
    );
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::UploadPut).len(),
        4
    );
    // One PUT for each tag.
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::ManifestPut).len(),
        3
    );
    let report = json(&outcome);
    assert_eq!(
        report["destinations"][1]["mounted_bytes"],
        blob_bytes(&layout)
    );
    assert_eq!(report["destinations"][1]["sent_bytes"], 0);
    assert!(outcome.stdout.contains("MOUNTED"), "{}", outcome.stdout);
}

#[test]
fn refused_mount_falls_back_to_one_shared_read() {
    let (layout, root) = large(2);
    let (source, name) = source_of(&layout, &root);
    let destination = Standin::builder()
        .behaviour(Behaviour {
            mount: Mount::Never,
            ..Behaviour::default()
        })
        .start();
    let address = destination.plain_address();
    let tags = format!("{address}/first:1\n{address}/second:1");
    mirror(&name, &tags).succeeds();
    for repository in ["first", "second"] {
        assert_holds(&address, repository, &layout);
    }
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::Mount).len(),
        1
    );
    let manifest: Value = serde_json::from_slice(layout.get(&root)).unwrap();
    let config = manifest["config"]["size"].as_u64().unwrap();
    assert_eq!(bytes_sent(&source), blob_bytes(&layout) + config);
}

#[test]
fn registry_that_takes_one_upload_at_a_time_gets_both() {
    // More than the connections hold on their way.
    let (layout, root) = large(24);
    let (source, name) = source_of(&layout, &root);
    let destination = Standin::builder()
        .behaviour(Behaviour {
            mount: Mount::Never,
            one_upload_at_a_time: true,
            ..Behaviour::default()
        })
        .start();
    let address = destination.plain_address();
    let tags = format!("{address}/first:1\n{address}/second:1");
    let outcome = mirror(&name, &tags)
        .set("report_file", "report.json")
        .succeeds();
    // Neither waits until it is given up.
    let stderr = &outcome.stderr;
    assert!(!stderr.contains("no data was transferred"), "{stderr}");
    for repository in ["first", "second"] {
        assert_holds(&address, repository, &layout);
    }
    let rereads = |number: usize| json(&outcome)["destinations"][number]["reread_bytes"].as_u64();
    let reread = rereads(0).unwrap() + rereads(1).unwrap();
    assert!(reread > 24 * 1024 * 1024, "{reread}");
    let _ = source;
}

#[test]
fn copy_within_a_registry_reads_no_blob() {
    let (layout, root) = large(2);
    let (registry, name) = source_of(&layout, &root);
    let address = registry.plain_address();
    mirror(&name, &format!("{address}/promoted/app:1")).succeeds();
    assert_eq!(bytes_sent(&registry), 0);
    assert_holds(&address, "promoted/app", &layout);
    assert_eq!(
        of_kind(&registry.requests(), RequestKind::UploadStart).len(),
        0
    );
    // The source itself gains nothing.
    registry.clear_requests();
    mirror(&name, &name).set("verify", "off").succeeds();
    let kinds: std::collections::BTreeSet<_> = registry
        .requests()
        .iter()
        .map(|request| request.kind)
        .collect();
    let expected = [
        RequestKind::Ping,
        RequestKind::ManifestHead,
        RequestKind::ManifestGet,
    ];
    assert_eq!(kinds, expected.into());
}

#[test]
fn dead_best_effort_destination_is_reported_only() {
    let (layout, root) = large(1);
    let (source, name) = source_of(&layout, &root);
    let destination = DockerRegistry::start();
    let dead = DockerRegistry::start();
    let address = dead.address().to_owned();
    drop(dead);
    let tags = format!("{address}/app:1\n{}/app:1", destination.address());
    let outcome = mirror(&name, &tags)
        .set("best_effort", &address)
        .set("retry_timeout", "2s")
        .set("report_file", "report.json")
        .set("digest_file", "digest")
        .succeeds();
    assert_holds(destination.address(), "app", &layout);
    let missed = line(&outcome.stdout, &format!("{address}/app"));
    assert!(missed.contains("missed"), "{missed}");
    assert_eq!(json(&outcome)["missed"][0]["best_effort"], true);
    assert_eq!(outcome.read("digest"), images::digest(&root).to_string());
    // It is the same if all of them are best effort.
    let alone = mirror(&name, &format!("{address}/app:1")).set("best_effort", &address);
    alone.set("retry_timeout", "2s").succeeds();
    drop(source);
}

#[test]
fn best_effort_destination_reads_from_a_required_one() {
    let (layout, root) = large(6);
    let (source, name) = source_of(&layout, &root);
    let (destination, extra) = (Standin::start(), Standin::start());
    let addresses = [&extra, &destination].map(Standin::plain_address);
    let tags = addresses
        .each_ref()
        .map(|address| format!("{address}/app:1"));
    let push = |repository: &str| {
        let tags = tags.join("\n").replace("/app:", &format!("/{repository}:"));
        mirror(&name, &tags)
            .set("best_effort", &addresses[0])
            .set("report_file", "report.json")
            .succeeds()
    };
    let outcome = push("app");
    assert_eq!(bytes_sent(&source), blob_bytes(&layout));
    assert_eq!(bytes_sent(&destination), blob_bytes(&layout));
    for (number, address) in addresses.iter().enumerate() {
        assert_holds(address, "app", &layout);
        assert!(tagged(address, "app", "1").is_some());
        assert_eq!(json(&outcome)["destinations"][number]["reread_blobs"], 0);
    }

    // One that hands out nothing is no obstacle: the source is read again.
    source.clear_requests();
    let refused = Fault::always(RequestKind::BlobGet, FaultAction::status(403));
    destination.fault(refused);
    let outcome = push("other");
    assert_eq!(bytes_sent(&source), 2 * blob_bytes(&layout));
    assert_eq!(json(&outcome)["destinations"][0]["reread_blobs"], 4);
    destination.clear_faults();
    assert_holds(&addresses[0], "other", &layout);
}

#[test]
fn stalled_best_effort_destination_holds_up_nothing() {
    let (layout, root) = large(6);
    let (_source, name) = source_of(&layout, &root);
    let (destination, stalled) = (Standin::start(), Standin::start());
    stalled.fault(Fault::always(RequestKind::UploadPut, FaultAction::Stall));
    let tags = [&stalled, &destination].map(|one| format!("{}/app:1", one.plain_address()));
    let running = mirror(&name, &tags.join("\n"))
        .set("best_effort", stalled.plain_address())
        .set("stall_timeout", "2s")
        .set("retry_timeout", "1s")
        .start();
    stalled.wait_for(|requests| {
        requests
            .iter()
            .any(|it| it.kind == RequestKind::UploadStart)
    });
    // The image was published and verified before.
    assert!(tagged(&destination.plain_address(), "app", "1").is_some());
    let kinds = destination
        .requests()
        .into_iter()
        .map(|request| request.kind);
    let after_tag = kinds.skip_while(|kind| *kind != RequestKind::ManifestPut);
    assert!(
        after_tag
            .collect::<Vec<_>>()
            .contains(&RequestKind::ManifestHead)
    );
    let outcome = running.wait();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let missed = line(&outcome.stdout, &format!("{}/app", stalled.plain_address()));
    assert!(missed.contains("missed"), "{missed}");
}

#[test]
fn immutable_tag_is_unchanged_if_same_else_explained() {
    let behaviour = Behaviour {
        immutable_tags: true,
        immutable_refuses_repeat: true,
        ..Behaviour::default()
    };
    let google = Google::with(behaviour);
    let (layout, root) = large(1);
    let (_source, name) = source_of(&layout, &root);
    let (other, other_root) = super::one_image::index();
    let (_other_source, other_name) = source_of(&other, &other_root);
    let push = |image: &str| {
        let run = google.run().set("image", format!("docker://{image}"));
        run.set("tags", "gcr.io/acme/app:1")
    };
    push(&name).succeeds();
    google.standin.clear_requests();
    push(&name).succeeds();
    assert_eq!(
        of_kind(&google.standin.requests(), RequestKind::ManifestPut).len(),
        0
    );
    let refused = push(&other_name).fails_with(1);
    insta::assert_snapshot!(refused.error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1: 400 MANIFEST_INVALID
      caused by: cannot update tag 1. The repository has enabled tag immutability

    hint: the repository does not allow tags to change: push a new tag, or keep this one with `existing_tag: keep`
    ");
    push(&other_name).set("existing_tag", "keep").succeeds();
}

#[test]
fn tag_of_another_digest_is_moved_kept_or_refused() {
    let (layout, root) = large(1);
    let (_source, name) = source_of(&layout, &root);
    let destination = Standin::start();
    let (other, other_root) = super::one_image::index();
    seed(&destination, PLAIN, "app", &other, &other_root, "1");
    let address = destination.plain_address();
    let push = |tags: &str, policy: &str| {
        let tags: Vec<_> = tags
            .split(' ')
            .map(|tag| format!("{address}/app:{tag}"))
            .collect();
        mirror(&name, &tags.join("\n"))
            .set("existing_tag", policy)
            .set("report_file", "report.json")
    };
    let refused = push("2 1", "fail").fails_with(1);
    let error = refused
        .error()
        .replace(images::digest(&root).as_str(), "[IMAGE]");
    let error = error.replace(images::digest(&other_root).as_str(), "[OTHER]");
    insta::assert_snapshot!(error, @"
    error: `127.0.0.1:[PORT]/app:1` already exists as [OTHER], not [IMAGE]

    hint: `existing_tag: fail` does not allow this: push a new tag, or use `overwrite` or `keep`
    ");
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::UploadStart).len(),
        0
    );

    let kept = push("1", "keep").succeeds();
    assert_eq!(
        tagged(&address, "app", "1").unwrap(),
        other.get(&other_root)
    );
    assert_eq!(
        of_kind(&destination.requests(), RequestKind::UploadStart).len(),
        0
    );
    assert!(
        kept.stdout
            .contains(&format!("note: the tag `{address}/app:1` stays at"))
    );
    let tag = &json(&kept)["destinations"][0]["tags"][0];
    assert_eq!(tag["kept"], images::digest(&other_root).as_str());

    push("1 2", "keep").succeeds();
    assert_eq!(
        tagged(&address, "app", "1").unwrap(),
        other.get(&other_root)
    );
    assert_eq!(tagged(&address, "app", "2").unwrap(), layout.get(&root));

    push("2", "fail").succeeds();
    push("1 2", "overwrite").succeeds();
    assert_eq!(tagged(&address, "app", "1").unwrap(), layout.get(&root));
}
