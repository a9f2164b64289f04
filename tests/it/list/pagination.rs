//! Long listings are complete, and need no more memory than the list itself.

use std::collections::BTreeSet;
use std::io::Read as _;

use serde_json::{Value, json};
use standin::{RequestKind, Standin};

use super::{HOST, containers, list, rows, without_api};
use crate::mirror::PLAIN;
use crate::support::google::Google;
use crate::support::images::OCI_MANIFEST;
use crate::support::run::Run;

const MANY: usize = 12_000;

/// Puts a number of artifacts into a repository, each under a tag of its own.
fn put(standin: &Standin, host: &str, repository: &str, count: usize) {
    let config = standin.put_blob(host, repository, b"{}");
    for number in 0..count {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.example", "digest": config, "size": 2},
            "layers": [],
            "annotations": {"number": number.to_string()},
        });
        let tag = format!("v{number}");
        standin.put_manifest(
            host,
            repository,
            &tag,
            OCI_MANIFEST,
            manifest.to_string().as_bytes(),
        );
    }
}

fn tags(images: &[Value]) -> BTreeSet<&str> {
    let tags = images
        .iter()
        .flat_map(|image| image["tags"].as_array().unwrap());
    tags.map(|tag| tag.as_str().unwrap()).collect()
}

/// Runs it. Returns its standard output and its peak memory in KiB up to the first output. It
/// prints when everything is known, and more than a pipe holds.
fn peak(run: Run) -> (String, u64) {
    let mut running = run.start();
    let mut stdout = running.take_stdout();
    let mut printed = vec![0];
    stdout.read_exact(&mut printed).unwrap();
    let peak = running.peak_memory().unwrap();
    stdout.read_to_end(&mut printed).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    (String::from_utf8(printed).unwrap(), peak)
}

#[test]
fn thousands_of_tags_are_listed_over_api_pages() {
    let google = Google::start();
    put(&google.standin, HOST, "acme/containers/app", MANY);
    put(&google.standin, HOST, "acme/containers/few", 1_500);
    let run = |name: &str| {
        containers(&google)
            .set("name", name)
            .set("list_format", "json")
    };
    let (_, few) = peak(run("few"));
    google.standin.clear_requests();
    let (printed, many) = peak(run("app"));
    let images: Vec<Value> = serde_json::from_str(&printed).unwrap();
    assert_eq!(images.len(), MANY);
    assert_eq!(tags(&images).len(), MANY);
    let requests = google.standin.requests();
    let pages = requests.iter().filter(|r| r.path.ends_with("/versions"));
    assert_eq!(pages.count(), MANY.div_ceil(1000));
    // An entry takes a few hundred bytes.
    assert!(
        many < few + 16 * 1024,
        "{few} KiB for 1500, {many} KiB for {MANY}"
    );
}

#[test]
fn thousands_of_manifests_are_listed_over_api_pages() {
    let google = Google::start();
    put(&google.standin, HOST, "acme/containers/app", MANY);
    put(&google.standin, HOST, "acme/containers/team/few", 1_500);
    let run = containers(&google)
        .set("list_recursive", "true")
        .set("list_platforms", "true")
        .set("list_format", "json");
    let outcome = run.succeeds();
    let images: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(images.len(), MANY + 1_500);
    let names: BTreeSet<_> = images
        .iter()
        .map(|image| image["image"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    let uploaded: Vec<_> = images
        .iter()
        .map(|image| image["uploaded"].as_str().unwrap())
        .collect();
    assert!(uploaded.is_sorted_by(|a, b| a >= b));
    // Of so many images not all platforms are read, with a note.
    assert!(
        outcome
            .stderr
            .contains("platforms of 12500 older manifests"),
        "{}",
        outcome.stderr
    );
    let requests = google.standin.requests();
    let read = requests
        .iter()
        .filter(|r| r.kind == RequestKind::ManifestGet);
    assert_eq!(read.count(), 1_000);
}

#[test]
fn thousands_of_images_are_listed() {
    let google = Google::start();
    let standin = &google.standin;
    for number in 0..2_345 {
        put(standin, "gcr.io", &format!("acme/app{number:04}"), 1);
    }
    let outcome = list(&google).succeeds();
    assert_eq!(rows(&outcome).len(), 2_345);
    without_api(&google);
    let outcome = list(&google).succeeds();
    assert_eq!(rows(&outcome).len(), 2_345);
    // What Google truncates silently is pointed out.
    standin.change(|behaviour| behaviour.listing_cap = Some(1_000));
    let outcome = list(&google).succeeds();
    assert_eq!(rows(&outcome).len(), 1_000);
    assert!(
        outcome.stderr.contains("there may be more"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn thousands_of_tags_are_listed_over_link_headers() {
    let standin = Standin::start();
    let address = standin.plain_address();
    put(&standin, PLAIN, "app", 3);
    let manifests: Vec<_> = (0..3)
        .map(|number| {
            standin
                .manifest(PLAIN, "app", &format!("v{number}"))
                .unwrap()
        })
        .collect();
    for number in 3..MANY {
        let (kind, bytes) = &manifests[number % 3];
        standin.put_manifest(PLAIN, "app", &format!("v{number}"), kind, bytes);
    }
    standin.change(|behaviour| behaviour.page_limit = Some(1_000));
    let outcome = Run::command("list")
        .set("tags", format!("{address}/app"))
        .set("list_format", "json")
        .succeeds();
    let images: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(images.len(), 3);
    assert_eq!(tags(&images).len(), MANY);
    let requests = standin.requests();
    let pages = requests.iter().filter(|r| r.kind == RequestKind::TagsList);
    assert_eq!(pages.count(), MANY / 1_000);
    // Each manifest is read once, whatever the number of its tags.
    let read = requests
        .iter()
        .filter(|r| r.kind == RequestKind::ManifestGet);
    assert_eq!(read.count(), 3);
}
