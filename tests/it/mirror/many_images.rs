//! `gcr-push mirror`: many images from a file.

use std::collections::BTreeSet;

use gcr_push::oci::digest::Digest;
use serde_json::Value;
use standin::{Behaviour, Fault, FaultAction, Referrers, RequestKind, Standin};

use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{LayerCompression, TestImage};

/// Puts a small image into a repository, with another content for each name.
pub(super) fn put(standin: &Standin, host: &str, repository: &str, tag: &str, content: &str) {
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::on("amd64", content, 2), LayerCompression::Gzip);
    seed(standin, host, repository, &layout, &root, tag);
}

pub(super) fn mirror_file(file: &str) -> Run {
    Run::command("mirror").file("gcr-push.yaml", file)
}

fn manifest(registry: &DockerRegistry, repository: &str, tag: &str) -> Option<Vec<u8>> {
    tagged(registry.address(), repository, tag)
}

#[test]
fn only_missing_and_outdated_images_are_copied() {
    let (source, destination) = (Standin::start(), Standin::start());
    for (repository, tag) in [
        ("acme/api", "1.0"),
        ("acme/api", "1.1"),
        ("acme/web", "latest"),
    ] {
        put(
            &source,
            PLAIN,
            repository,
            tag,
            &format!("{repository}{tag}"),
        );
    }
    put(&destination, PLAIN, "mirror/web", "latest", "an older one");
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {source}/acme/api\n    tags: ['1.*']\n  \
         - from: {source}/acme/web:latest\n",
        destination.plain_address(),
        source = source.plain_address(),
    );
    let outcome = mirror_file(&file)
        .set("report_file", "report.json")
        .set("dotenv_file", "mirror.env")
        .set("digest_file", "digest.txt")
        .succeeds();
    // Many images have totals and no single digest.
    let dotenv = outcome.read("mirror.env");
    let names: Vec<_> = dotenv
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["PUSHED_BYTES", "SKIPPED_BYTES"]);
    let message = "`digest_file` is not written: several images have no single digest";
    assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("3 images: 2 missing, 1 outdated, 0 up to date")
    );
    assert!(
        outcome.stdout.contains("3 images: 3 copied, "),
        "{}",
        outcome.stdout
    );
    for (from, to, tag) in [
        ("acme/api", "mirror/api", "1.0"),
        ("acme/api", "mirror/api", "1.1"),
        ("acme/web", "mirror/web", "latest"),
    ] {
        assert_eq!(
            source.manifest(PLAIN, from, tag).unwrap(),
            destination.manifest(PLAIN, to, tag).unwrap()
        );
    }
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["images"][0]["result"], "copied");

    for standin in [&source, &destination] {
        standin.clear_requests();
    }
    let outcome = mirror_file(&file).succeeds();
    assert!(
        outcome.stdout.contains("3 images: 3 unchanged, 0 B sent"),
        "{}",
        outcome.stdout
    );
    for (standin, kinds) in [
        (
            &source,
            vec![
                RequestKind::Ping,
                RequestKind::TagsList,
                RequestKind::ManifestHead,
            ],
        ),
        (
            &destination,
            vec![RequestKind::Ping, RequestKind::ManifestHead],
        ),
    ] {
        let requests = standin.requests();
        let other = requests
            .iter()
            .find(|request| !kinds.contains(&request.kind));
        assert!(other.is_none(), "{other:?}");
        assert_eq!(of_kind(&requests, RequestKind::ManifestHead).len(), 3);
    }
}

#[test]
fn unchanged_filtered_image_costs_one_request() {
    let (source, destination) = (Standin::start(), Standin::start());
    let mut layout = Layout::default();
    let children: Vec<_> = ["amd64", "arm64", "riscv64"]
        .into_iter()
        .map(|architecture| {
            let test_image = TestImage::on(architecture, "api", 1);
            let mut child = layout.image(&test_image, LayerCompression::Gzip);
            child["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
            child
        })
        .collect();
    let root = layout.index(&children);
    seed(&source, PLAIN, "acme/api", &layout, &root, "1");
    for platforms in ["linux/amd64", "linux/amd64, linux/arm64"] {
        let run = || {
            mirror_file(&format!(
                "destinations: [{}/mirror]\ndefaults: {{ platforms: [{platforms}] }}\nimages:\n  \
                 - from: {}/acme/api:1\n",
                destination.plain_address(),
                source.plain_address()
            ))
        };
        let outcome = run().succeeds();
        assert!(
            outcome.stdout.contains("1 image: 1 copied"),
            "{}",
            outcome.stdout
        );
        destination.clear_requests();
        let outcome = run().succeeds();
        assert!(
            outcome.stdout.contains("1 image: 1 unchanged"),
            "{}",
            outcome.stdout
        );
        let kinds: Vec<_> = destination
            .requests()
            .iter()
            .map(|request| request.kind)
            .collect();
        assert_eq!(kinds, [RequestKind::Ping, RequestKind::ManifestHead]);
    }
}

#[test]
fn thousand_unchanged_repositories_cost_one_listing_each() {
    let google = Google::with(Behaviour {
        referrers: Referrers::Missing,
        ..Behaviour::default()
    });
    let (source, destination) = ("us-docker.pkg.dev", "europe-docker.pkg.dev");
    for tag in ["1", "2", "3"] {
        let mut layout = Layout::default();
        let root = layout.image(&TestImage::on("amd64", tag, 1), LayerCompression::Gzip);
        for number in 0..1000 {
            let repository = format!("acme/containers/app{number}");
            for host in [source, destination] {
                seed(&google.standin, host, &repository, &layout, &root, tag);
            }
        }
    }
    let file = format!(
        "destinations: [{destination}/acme/containers]\ndefaults: {{ referrers: true \
         }}\nimages:\n  - from: {source}/acme/containers/**\n"
    );
    let run = google.with_environment(mirror_file(&file));
    let (outcome, peak) = run
        .set("credentials_json", &google.key)
        .start()
        .wait_with_peak_memory();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let same = "3000 images: 3000 unchanged";
    assert!(outcome.stdout.contains(same), "{}", outcome.stderr);
    let requests = google.standin.requests();
    let request_count = requests.iter().filter(|r| r.kind != RequestKind::Connect);
    let request_count = request_count.count();
    println!("{request_count} requests, {peak} KiB at most");
    assert!(request_count <= 2200, "{request_count}");
    assert!(peak < 96 * 1024, "{peak} KiB");
}

#[test]
fn google_listing_gives_all_digests_of_a_repository() {
    let google = Google::start();
    let repository = "acme/containers";
    let source = "us-docker.pkg.dev";
    for name in ["api", "web"] {
        for tag in ["1", "2", "3"] {
            let repository = format!("{repository}/{name}");
            put(&google.standin, source, &repository, tag, tag);
        }
    }
    let file = format!(
        "destinations: [europe-docker.pkg.dev/{repository}]\nimages:\n  - from: \
         {source}/{repository}/**\n"
    );
    let run = || {
        google
            .with_environment(mirror_file(&file))
            .set("credentials_json", &google.key)
    };
    run().succeeds();
    google.standin.clear_requests();
    let outcome = run().succeeds();
    assert!(
        outcome.stdout.contains("6 images: 6 unchanged"),
        "{}",
        outcome.stdout
    );
    let requests = google.standin.requests();
    // The prefix, and each repository at either side; the account has one token for all of it.
    assert_eq!(of_kind(&requests, RequestKind::TagsList).len(), 1 + 2 + 2);
    assert_eq!(of_kind(&requests, RequestKind::OAuthToken).len(), 1);
    let other = requests.iter().find(|request| {
        !matches!(
            request.kind,
            RequestKind::TagsList
                | RequestKind::OAuthToken
                | RequestKind::Ping
                | RequestKind::Connect
        )
    });
    assert!(other.is_none(), "{other:?}");
}

#[test]
fn endless_listing_is_reported_and_bad_names_skipped() {
    let google = Google::start();
    let run = |listed: Value| {
        google.standin.clear_faults();
        let document = FaultAction::Status {
            code: 200,
            retry_after: None,
            body: Some(listed.to_string()),
            headers: Vec::new(),
        };
        let always = Fault::always(RequestKind::TagsList, document);
        google.standin.fault(always);
        let file = "destinations: [europe-docker.pkg.dev/acme/containers]\nimages:\n  - from: \
                    us-docker.pkg.dev/acme/containers/**\n";
        google
            .with_environment(mirror_file(file))
            .set("credentials_json", &google.key)
            .fails_with(1)
    };
    let endless = run(serde_json::json!({"child": ["a"], "manifest": {}, "tags": []}));
    let message = "the list below it has more than 32 levels";
    assert!(endless.error().contains(message), "{}", endless.stderr);
    let odd =
        run(serde_json::json!({"child": ["..", "/etc", "a/../b"], "manifest": {}, "tags": []}));
    let message = "lists 3 names below `acme/containers` that no registry allows";
    assert!(odd.stderr.contains(message), "{}", odd.stderr);
}

#[test]
fn catalog_gives_every_repository_below_a_path() {
    let source = Standin::start();
    for repository in ["acme/api", "acme/team/web", "acme-2/other"] {
        put(&source, PLAIN, repository, "1", repository);
    }
    let destination = DockerRegistry::start();
    mirror_file(&format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/**\n    to: '{{path}}'\n",
        destination.address(),
        source.plain_address()
    ))
    .succeeds();
    assert!(manifest(&destination, "mirror/acme/api", "1").is_some());
    assert!(manifest(&destination, "mirror/acme/team/web", "1").is_some());
    assert!(manifest(&destination, "mirror/acme-2/other", "1").is_none());
}

#[test]
fn failed_image_does_not_stop_the_others() {
    let source = Standin::start();
    put(&source, PLAIN, "acme/api", "1", "api");
    let destination = DockerRegistry::start();
    let file = |best_effort: bool| {
        format!(
            "destinations: [{}/mirror]\nimages:\n  - from: {source}/acme/none:1\n    best_effort: \
             {best_effort}\n  - from: {source}/acme/api:1\n",
            destination.address(),
            source = source.plain_address(),
        )
    };
    let outcome = mirror_file(&file(false)).fails_with(1);
    let lines = outcome.stdout.lines();
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let words: Vec<_> = words.collect();
    insta::assert_snapshot!(outcome.scrub(&words.join("\n")), @"
    IMAGE RESULT SENT
    127.0.0.1:[PORT]/acme/none:1 failed 0 B
    127.0.0.1:[PORT]/acme/api:1 copied 459 B
    failed: 127.0.0.1:[PORT]/mirror/none:1: `127.0.0.1:[PORT]/acme/none:1` does not exist
    2 images: 1 copied, 1 failed, 459 B sent
    ");
    insta::assert_snapshot!(outcome.error(), @r"
    error: `127.0.0.1:[PORT]/acme/none:1` does not exist

    hint: if it does exist, the login of its registry may not be allowed to see it; use another tag, or remove the entry
    ");
    assert!(manifest(&destination, "mirror/api", "1").is_some());
    let outcome = mirror_file(&file(true)).succeeds();
    let message = "2 images: 1 unchanged, 1 skipped, 0 B sent";
    assert!(outcome.stdout.contains(message), "{}", outcome.stdout);
    let outcome = mirror_file(&file(false))
        .set("dry_run", "true")
        .fails_with(1);
    let message = "2 images: 0 missing, 0 outdated, 1 up to date, 1 that cannot be read";
    assert!(outcome.stdout.contains(message), "{}", outcome.stdout);
}

#[test]
fn shards_are_disjoint_and_complete() {
    let source = Standin::start();
    let names: BTreeSet<_> = (0..12).map(|number| format!("app{number}")).collect();
    for name in &names {
        put(&source, PLAIN, &format!("acme/{name}"), "1", name);
    }
    let destination = Standin::start();
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/**\n",
        destination.plain_address(),
        source.plain_address()
    );
    let mut copied = 0;
    for run in [
        mirror_file(&file).set("shard", "1/3"),
        mirror_file(&file)
            .variable("CI_NODE_INDEX", "2")
            .variable("CI_NODE_TOTAL", "3"),
        mirror_file(&file)
            .variable("CIRCLE_NODE_INDEX", "2")
            .variable("CIRCLE_NODE_TOTAL", "3"),
    ] {
        let outcome = run.succeeds();
        assert!(!outcome.stdout.contains("unchanged"), "{}", outcome.stdout);
        copied += outcome
            .stdout
            .lines()
            .filter(|line| line.contains("  copied"))
            .count();
    }
    assert_eq!(copied, names.len());
    for name in &names {
        assert!(
            destination
                .manifest(PLAIN, &format!("mirror/{name}"), "1")
                .is_some()
        );
    }
}

#[test]
fn shared_blobs_are_read_once_and_sent_once() {
    let (source, destinations) = (Standin::start(), [Standin::start(), Standin::start()]);
    let base = TestImage::on("amd64", "base", 2);
    let mut shared = BTreeSet::new();
    for number in 0..200 {
        let top_image = TestImage::on("amd64", &format!("app{number}"), 1);
        let layers = [base.layers.clone(), top_image.layers].concat();
        let mut layout = Layout::default();
        let root = layout.image(&TestImage::of("amd64", layers), LayerCompression::Gzip);
        let repository = format!("acme/app{number}");
        seed(&source, PLAIN, &repository, &layout, &root, "1");
        let blobs: BTreeSet<_> = layout.blobs.keys().map(ToString::to_string).collect();
        shared = match number {
            0 => blobs,
            _ => shared.intersection(&blobs).cloned().collect(),
        };
    }
    assert_eq!(shared.len(), 2);
    mirror_file(&format!(
        "destinations: [{}/mirror, {}/mirror]\nimages:\n  - from: {}/acme/**\n",
        destinations[0].plain_address(),
        destinations[1].plain_address(),
        source.plain_address()
    ))
    .succeeds();
    for digest in &shared {
        let read = source.requests();
        let read = read.iter().filter(|request| {
            request.kind == RequestKind::BlobGet && request.path.ends_with(digest.as_str())
        });
        assert_eq!(read.count(), 1, "{digest}");
        for destination in &destinations {
            let sent = destination.requests();
            let sent = sent.iter().filter(|request| {
                request.kind == RequestKind::UploadPut && request.query.contains(&digest[7..])
            });
            assert_eq!(sent.count(), 1, "{digest}");
        }
    }
}

#[test]
fn dry_run_shows_plan_and_changes_nothing() {
    let source = Standin::start();
    put(&source, PLAIN, "acme/api", "1", "api");
    let destination = DockerRegistry::start();
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {}/acme/api\n",
        destination.address(),
        source.plain_address()
    );
    let outcome = mirror_file(&file).set("dry_run", "true").succeeds();
    let words = outcome
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    insta::assert_snapshot!(
        outcome.scrub(&words),
        @"IMAGE DESTINATION STATE 127.0.0.1:[PORT]/acme/api:1 127.0.0.1:[PORT]/mirror/api:1 \
          missing 1 image: 1 missing, 0 outdated, 0 up to date"
    );
    assert!(destination.is_untouched());
}

#[test]
fn conflicting_names_are_reported_first() {
    let source = Standin::start();
    for team in ["a", "b"] {
        put(&source, PLAIN, &format!("{team}/api"), "1", team);
    }
    let destination = DockerRegistry::start();
    let file = format!(
        "destinations: [{}/mirror]\nimages:\n  - from: {source}/a/**\n  - from: {source}/b/**\n",
        destination.address(),
        source = source.plain_address(),
    );
    let outcome = mirror_file(&file).fails_with(2);
    insta::assert_snapshot!(outcome.error(), @r#"
    error: both `127.0.0.1:[PORT]/a/api:1` and `127.0.0.1:[PORT]/b/api:1` would become `127.0.0.1:[PORT]/mirror/api:1`

    hint: separate them with `to: "{path}"`, which is the whole path of the source, with `to: "{host}/{path}"`, or with `tags`
    "#);
    assert!(destination.is_untouched());
}

#[test]
fn image_chosen_twice_is_copied_once_unless_forms_differ() {
    let (source, destination) = (Standin::start(), DockerRegistry::start());
    put(&source, PLAIN, "acme/api", "1", "api");
    let source = source.plain_address();
    let file = |second: &str| {
        mirror_file(&format!(
            "destinations: [{destination}/mirror, {destination}/mirror]\nimages:\n  - from: \
             {source}/acme/**\n  - {{ from: '{source}/acme/api:1', {second} }}\n",
            destination = destination.address(),
        ))
    };
    let digest = Digest::of(&tagged(&source, "acme/api", "1").unwrap());
    let message = [
        file("platforms: [linux/amd64]"),
        mirror_file(&format!(
            "destinations: [{}/mirror]\nimages:\n  - from: {source}/acme/**\n  - from: \
             {source}/acme/api:1@{digest}\n",
            destination.address()
        )),
    ]
    .map(|run| {
        run.fails_with(2)
            .error()
            .replace(digest.as_str(), "[DIGEST]")
    });
    insta::assert_snapshot!(message.join("\n"), @r#"
    error: two entries mirror `127.0.0.1:[PORT]/acme/api:1` to `127.0.0.1:[PORT]/mirror/api:1` with different platforms

    hint: set the same `platforms` for both, or set a different name for one of them with `to`

    error: both `127.0.0.1:[PORT]/acme/api:1` and `127.0.0.1:[PORT]/acme/api:1@[DIGEST]` would become `127.0.0.1:[PORT]/mirror/api:1`

    hint: separate them with `to: "{path}"`, which is the whole path of the source, with `to: "{host}/{path}"`, or with `tags`
    "#);
    assert!(destination.is_untouched());
    let outcome = file("best_effort: true").succeeds();
    let message = "1 image: 1 copied";
    assert!(outcome.stdout.contains(message), "{}", outcome.stdout);
}

#[test]
fn prefix_copies_matching_tags_of_each_repository() {
    let (source, destination) = (Standin::start(), DockerRegistry::start());
    put(&source, PLAIN, "acme/api", "latest", "api");
    put(&source, PLAIN, "acme/web", "1", "web");
    let file = |tags: &str, to: &str| {
        mirror_file(&format!(
            "destinations: [{}/mirror]\nimages:\n  - {{ from: '{}/acme/**', tags: {tags}, to: \
             '{to}' }}\n",
            destination.address(),
            source.plain_address()
        ))
    };
    // Both would have one name if both had the tag.
    let run = || file("[latest]", "all:{tag}").set("report_file", "report.json");
    assert!(run().succeeds().stdout.contains("1 image: 1 copied"));
    let report = run().succeeds().read("report.json");
    let report: Value = serde_json::from_str(&report).unwrap();
    let there = &report["images"][0]["destinations"][0];
    let name = format!("{}/mirror/all:latest", destination.address());
    assert_eq!(there["image"], name);
    let digest = Digest::of(&manifest(&destination, "mirror/all", "latest").unwrap());
    assert_eq!(there["digest"], digest.as_str());

    // The catalog still names a deleted repository; an unlistable one does not stop the others.
    put(&source, PLAIN, "acme/gone", "latest", "gone");
    put(&source, PLAIN, "acme/secret", "latest", "secret");
    for (repository, status) in [("acme/gone", 404), ("acme/secret", 403)] {
        let refuse = Fault::always(RequestKind::TagsList, FaultAction::status(status));
        source.fault(refuse.path(repository));
    }
    let outcome = file("[latest]", "{name}").fails_with(3);
    let message = "1 image: 1 copied";
    assert!(outcome.stdout.contains(message), "{}", outcome.stdout);
    let message = format!("could not list `{}/acme/secret`", source.plain_address());
    assert!(outcome.stderr.contains(&message), "{}", outcome.stderr);
}

#[test]
fn silent_destination_is_awaited_once_and_blocks_no_other() {
    let (source, destination) = (Standin::start(), DockerRegistry::start());
    for number in 0..12 {
        put(&source, PLAIN, "acme/api", &number.to_string(), "api");
    }
    let dead = DockerRegistry::start();
    let address = dead.address().to_owned();
    drop(dead);
    let run = |best_effort: bool| {
        let file = mirror_file(&format!(
            "destinations: [{address}/mirror, {}/mirror]\ndefaults: {{ best_effort: {best_effort} \
             }}\nimages:\n  - from: {}/acme/**\n",
            destination.address(),
            source.plain_address()
        ));
        file.set("retry_timeout", "1s")
    };
    let planned = run(false).set("dry_run", "true").fails_with(4);
    let message = "12 images: 12 missing, 0 outdated, 0 up to date";
    assert!(planned.stdout.contains(message), "{}", planned.stdout);
    let outcome = run(false).fails_with(4);
    for number in 0..12 {
        let name = number.to_string();
        assert!(
            manifest(&destination, "mirror/api", &name).is_some(),
            "{name}"
        );
    }
    let message = "12 images: 12 partial";
    assert!(outcome.stdout.contains(message), "{}", outcome.stdout);
    // A cause that all images share is reported once, and only readers and writers retry it.
    let errors = outcome.error().matches("error: ").count();
    assert_eq!(errors, 1, "{}", outcome.error());
    let tries = outcome.stderr.matches("is tried again").count();
    let of_one = planned.stderr.matches("is tried again").count();
    assert!(tries <= of_one + 1, "{}", outcome.stderr);
    run(true).succeeds();
}

#[test]
fn missing_or_wrong_file_is_reported() {
    let missing = Run::command("mirror").fails_with(2);
    let wrong = mirror_file("destinations: [gcr.io/acme]\nimage: []\n").fails_with(2);
    insta::assert_snapshot!([missing.error(), wrong.error()].join("\n"), @"
    error: an input is missing
      `config`: there is no `gcr-push.yaml` here: list in it which images to copy where, or set another file (GCR_PUSH_CONFIG)

    hint: `gcr-push mirror --help` describes every variable

    error: an input cannot be used
      `config`: `gcr-push.yaml`: unknown field `image`, expected one of `destinations`, `defaults`, `images` at line 2 column 1; did you mean `images`? (GCR_PUSH_CONFIG)

    hint: `gcr-push mirror --help` describes every variable
    ");
}
