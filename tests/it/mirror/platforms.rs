//! Which children of an index are copied, and what a dry run says about it.

use standin::{RequestKind, Standin};

use super::one_image::index;
use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{self, LayerCompression, TestImage, classic_archive};

fn source_of(layout: &Layout, root: &Value) -> (Standin, String) {
    let source = Standin::start();
    seed(&source, PLAIN, "app", layout, root, "1");
    let name = format!("{}/app:1", source.plain_address());
    (source, name)
}

#[test]
fn attestations_are_stripped_and_the_rest_is_unchanged() {
    let (layout, root) = index();
    let (_source, name) = source_of(&layout, &root);
    let destination = DockerRegistry::start();
    let to = format!("{}/app:1", destination.address());
    let outcome = mirror(&name, &to).set("attestations", "strip").succeeds();
    let smaller = tagged(destination.address(), "app", "1").unwrap();
    let smaller: Value = serde_json::from_slice(&smaller).unwrap();
    let whole: Value = serde_json::from_slice(layout.get(&root)).unwrap();
    let kept = &whole["manifests"].as_array().unwrap()[..2];
    assert_eq!(smaller["manifests"].as_array().unwrap(), kept);
    assert_eq!(smaller["annotations"], whole["annotations"]);
    let note = format!("note: the index {} became ", images::digest(&root));
    assert!(outcome.stdout.contains(&note), "{}", outcome.stdout);
    // The manifest in the nested index is copied, and the attestation is not.
    let manifest = |descriptor: &Value| {
        let digest = images::digest(descriptor).to_string();
        tagged(destination.address(), "app", &digest)
    };
    assert_eq!(manifest(&kept[1]).unwrap(), layout.get(&kept[1]));
    assert_eq!(manifest(&whole["manifests"][2]), None);
}

#[test]
fn one_platform_is_a_manifest_unless_attestation_is_kept() {
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 1), LayerCompression::Gzip);
    let attestation = layout.attestation(&amd64);
    let root = layout.index(&[amd64.clone(), attestation]);
    let (_source, name) = source_of(&layout, &root);
    let destination = DockerRegistry::start();
    let push = |tag: &str, settings: &[(&str, &str)]| {
        let to = format!("{}/app:{tag}", destination.address());
        let run = settings
            .iter()
            .fold(mirror(&name, &to), |run, (name, value)| {
                run.set(name, value)
            });
        run.succeeds();
        tagged(destination.address(), "app", tag).unwrap()
    };
    let plain = layout.get(&amd64);
    assert_eq!(push("stripped", &[("attestations", "strip")]), plain);
    assert_eq!(push("one", &[("platforms", "linux/amd64")]), plain);
    let both = [("platforms", "linux/amd64"), ("attestations", "keep")];
    assert_eq!(push("kept", &both), layout.get(&root));
    assert_eq!(push("whole", &[]), layout.get(&root));
}

#[test]
fn plain_image_of_another_platform_is_refused() {
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::on("amd64", "app", 1), LayerCompression::Gzip);
    let (_source, name) = source_of(&layout, &root);
    let destination = DockerRegistry::start();
    let to = format!("{}/app:1", destination.address());
    let outcome = mirror(&name, &to)
        .set("platforms", "linux/arm64")
        .fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the image does not exist for linux/arm64, only for linux/amd64

    hint: set `platforms` to platforms that exist; if an archive names platforms that it does not contain, save it on the machine that built them
    ");
    let archive = classic_archive(&[(&TestImage::on("amd64", "app", 1), &["app:1"])]);
    Run::new()
        .file("image.tar", archive)
        .set("image", "image.tar")
        .set("tags", &to)
        .set("platforms", "linux/arm64")
        .fails_with(2);
    assert!(destination.is_untouched());
    mirror(&name, &to)
        .set("platforms", "linux/arm64, linux/amd64")
        .succeeds();
}

#[test]
fn dry_run_shows_what_would_be_done() {
    let (layout, root) = index();
    let (source, name) = source_of(&layout, &root);
    let destination = Standin::start();
    let address = destination.plain_address();
    let first = format!("{address}/app:1");
    mirror(&name, &first).succeeds();
    destination.clear_requests();
    source.clear_requests();
    let tags = format!("{first}\n{address}/app:2\n{address}/copy:1\n127.0.0.1:9/app:1");
    let outcome = mirror(&name, &tags)
        .set("best_effort", "127.0.0.1:9")
        .set("retry_timeout", "0s")
        .set("dry_run", "true")
        .set("report_file", "report.json")
        .succeeds();
    let stdout = outcome
        .stdout
        .replace(images::digest(&root).as_str(), "[DIGEST]");
    let stdout = outcome.scrub(&stdout);
    insta::assert_snapshot!(stdout, @"
    dry run: nothing was sent, mounted or tagged
    IMAGE                 TAGS                   DIGEST                                                                   TO SEND  TO MOUNT  EXISTING
    127.0.0.1:[PORT]/app   1 (exists),2 (to set)  [DIGEST]  0 B      0 B       1.3 KiB
    127.0.0.1:[PORT]/copy  1 (to set)             [DIGEST]  0 B      1.3 KiB   0 B
    127.0.0.1:[PORT]/app       1                      missed                                                                   -        -         -
    missed: 127.0.0.1:[PORT]/app: could not connect to `127.0.0.1:[PORT]`: GET https://127.0.0.1:[PORT]/v2/: Connection refused (os error 111)
    ");
    let kinds: std::collections::BTreeSet<_> =
        destination.requests().iter().map(|r| r.kind).collect();
    let reading = [
        RequestKind::Ping,
        RequestKind::BlobHead,
        RequestKind::ManifestHead,
        RequestKind::ManifestGet,
        RequestKind::TagsList,
    ];
    assert!(kinds.iter().all(|kind| reading.contains(kind)), "{kinds:?}");
    assert_eq!(bytes_sent(&source), 0);
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["dry_run"], true);
    assert_eq!(
        report["destinations"][1]["mounted_bytes"],
        blob_bytes(&layout)
    );
}

#[test]
fn dry_run_of_an_archive_shows_its_digest() {
    let destination = Standin::start();
    let archive = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    let run = || {
        Run::new()
            .file("image.tar", &archive)
            .set("image", "image.tar")
            .set("registry", destination.plain_address())
            .set("digest_file", "digest")
    };
    let dry_run = run().set("dry_run", "true").succeeds();
    assert!(
        destination
            .requests()
            .iter()
            .all(|r| ["GET", "HEAD"].contains(&r.method.as_str()))
    );
    assert_eq!(dry_run.read("digest"), run().succeeds().read("digest"));
}

#[test]
fn docker_archive_is_not_searched_for_referrers() {
    let outcome = Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
        )
        .set("image", "docker-archive:image.tar")
        .set("tags", "127.0.0.1:9/app:1")
        .set("referrers", "true")
        .set("attestations", "both")
        .fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: two inputs cannot be used
      `attestations`: it is `both`, expected `keep` or `strip` (GCR_PUSH_ATTESTATIONS)
      `referrers`: Docker does not save what refers to an image: set `image` to `docker://NAME`, `oci:DIR` or `oci-archive:FILE` (GCR_PUSH_REFERRERS)

    hint: `gcr-push push --help` describes every variable
    ");
}
