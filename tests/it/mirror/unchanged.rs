//! The requests that an unchanged image costs with `referrers`, and that a change is noticed all
//! the same.

use std::collections::BTreeMap;

use standin::{Behaviour, Fault, FaultAction, Referrers, RequestKind, Standin};

use super::many_images::{mirror_file, put};
use super::referrers::{SignedImage, referrer, standin, tag_of};
use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{self, LayerCompression, OCI_MANIFEST, TestImage};

/// A mirror file for whole repositories with their referrers.
fn with_referrers(from: &str, destination: &str) -> Run {
    mirror_file(&format!(
        "destinations: [{destination}]\ndefaults: {{ referrers: true }}\nimages:\n  - from: {from}\n"
    ))
}

/// The number of requests of each kind since the last call.
fn counted(standin: &Standin) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in standin.requests() {
        *counts.entry(format!("{:?}", request.kind)).or_default() += 1;
    }
    standin.clear_requests();
    counts
}

/// Runs until everything is copied, and once more. Returns the requests of the last run at either
/// side.
fn unchanged(run: impl Fn() -> Run, sides: [&Standin; 2]) -> [BTreeMap<String, usize>; 2] {
    run().succeeds();
    sides.into_iter().for_each(Standin::clear_requests);
    let outcome = run().succeeds();
    let summary = outcome.stdout.lines().last().unwrap_or_default().to_owned();
    assert!(
        summary.ends_with("unchanged, 0 B sent"),
        "{}",
        outcome.stdout
    );
    sides.map(counted)
}

#[test]
fn without_referrers_api_each_repository_is_listed_once() {
    let (source, destination) = (standin(Referrers::Missing), standin(Referrers::Missing));
    for repository in ["acme/api", "acme/web", "acme/team/worker"] {
        for tag in ["1", "2", "3"] {
            let content = format!("{repository}{tag}");
            put(&source, PLAIN, repository, tag, &content);
        }
    }
    let from = format!("{}/acme/**", source.plain_address());
    let to = format!("{}/mirror", destination.plain_address());
    let [source, destination] = unchanged(|| with_referrers(&from, &to), [&source, &destination]);
    let count = |kind: &str| source.get(kind).copied().unwrap_or_default();
    assert_eq!(
        count("ManifestHead") + count("ManifestGet"),
        9,
        "{source:?}"
    );
    // The lack of the API is detected once.
    let others = ["Ping", "Catalog", "TagsList", "Referrers"].map(count);
    assert_eq!(others, [1, 1, 3, 1], "{source:?}");
    assert_eq!(source.values().sum::<usize>(), 9 + 6);
    insta::assert_debug_snapshot!(destination, @r#"
    {
        "ManifestHead": 9,
        "Ping": 1,
    }
    "#);
}

#[test]
fn referrers_api_is_asked_once_for_each_source_manifest() {
    let (source, destination) = (standin(Referrers::Supported), standin(Referrers::Supported));
    let mut layout = Layout::default();
    let children = ["amd64", "arm64"].map(|architecture| {
        layout.image(
            &TestImage::on(architecture, "api", 1),
            LayerCompression::Gzip,
        )
    });
    let root = layout.index(&children);
    for tag in ["1", "latest"] {
        seed(&source, PLAIN, "acme/api", &layout, &root, tag);
    }
    let from = format!("{}/acme/api", source.plain_address());
    let to = format!("{}/mirror", destination.plain_address());
    let [source, destination] = unchanged(|| with_referrers(&from, &to), [&source, &destination]);
    insta::assert_debug_snapshot!([source, destination], @r#"
    [
        {
            "ManifestGet": 2,
            "Ping": 1,
            "Referrers": 3,
            "TagsList": 1,
        },
        {
            "ManifestHead": 2,
            "Ping": 1,
        },
    ]
    "#);
}

#[test]
fn google_listings_spare_all_but_referrers_requests() {
    for (referrers, expected) in [
        (Referrers::Missing, 1),
        (Referrers::LoginPage, 1),
        (Referrers::Supported, 12),
    ] {
        let google = Google::with(Behaviour {
            referrers,
            ..Behaviour::default()
        });
        let (from, to) = ("us-docker.pkg.dev", "europe-docker.pkg.dev");
        for name in ["api", "web", "worker", "base"] {
            for tag in ["1", "2", "3"] {
                let repository = format!("acme/containers/{name}");
                put(
                    &google.standin,
                    from,
                    &repository,
                    tag,
                    &format!("{name}{tag}"),
                );
            }
        }
        let from = format!("{from}/acme/containers/**");
        let to = format!("{to}/acme/containers");
        let run = || {
            let run = google.with_environment(with_referrers(&from, &to));
            run.set("credentials_json", &google.key)
        };
        let [counts, _] = unchanged(run, [&google.standin; 2]);
        assert_eq!(counts["Referrers"], expected, "{counts:?}");
        // The prefix, and each repository at either side.
        assert_eq!(counts["TagsList"], 1 + 4 + 4, "{counts:?}");
        let others = [
            "Connect",
            "OAuthToken",
            "Ping",
            "Referrers",
            "TagsList",
            "Token",
        ];
        let other = counts.keys().find(|kind| !others.contains(&kind.as_str()));
        assert_eq!(other, None, "{counts:?}");
    }
}

#[test]
fn filtered_image_costs_one_request_a_side() {
    let (source, destination) = (standin(Referrers::Missing), standin(Referrers::Missing));
    let mut layout = Layout::default();
    let children = ["amd64", "arm64", "riscv64"].map(|architecture| {
        let mut child = layout.image(
            &TestImage::on(architecture, "api", 1),
            LayerCompression::Gzip,
        );
        child["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
        child
    });
    let root = layout.index(&children);
    seed(&source, PLAIN, "acme/api", &layout, &root, "1");
    put(&source, PLAIN, "acme/api", "2", "one platform");
    let file = format!(
        "destinations: [{}/mirror]\ndefaults: {{ referrers: true, platforms: [linux/amd64, \
         linux/arm64] }}\nimages:\n  - from: {}/acme/api\n",
        destination.plain_address(),
        source.plain_address()
    );
    let [source, destination] = unchanged(|| mirror_file(&file), [&source, &destination]);
    insta::assert_debug_snapshot!([source, destination], @r#"
    [
        {
            "ManifestGet": 2,
            "Ping": 1,
            "Referrers": 1,
            "TagsList": 1,
        },
        {
            "ManifestHead": 2,
            "Ping": 1,
        },
    ]
    "#);
}

#[test]
fn later_signature_is_copied_to_an_unchanged_image() {
    for kept in [Referrers::Supported, Referrers::Missing] {
        let mut signed = SignedImage::new();
        let source = standin(kept);
        signed.at(&source);
        if kept == Referrers::Missing {
            signed.fall_back(&source);
        }
        let (plain, api) = (DockerRegistry::start(), Standin::start());
        let file = format!(
            "destinations: [{}/mirror, {}/mirror]\ndefaults: {{ referrers: true }}\nimages:\n  - from: \
             {}/app:1\n",
            plain.address(),
            api.plain_address(),
            source.plain_address()
        );
        let run = || mirror_file(&file);
        run().succeeds();
        let same = "1 image: 1 unchanged, 0 B sent";
        assert!(run().succeeds().stdout.contains(same));

        // A signature of one platform by cosign's tag, and a second one of the SBOM by its subject.
        let cosign = signed
            .layout
            .image(&TestImage::new("signature", 1), LayerCompression::Gzip);
        let tag = tag_of(&signed.arm64, ".sig");
        let again = referrer(
            &mut signed.layout,
            &signed.sbom,
            "application/x-again",
            b"again",
        );
        for copied in [&cosign, &again] {
            signed.at(&source);
            if images::digest(copied) == images::digest(&cosign) {
                let bytes = signed.layout.get(&cosign);
                source.put_manifest(PLAIN, "app", &tag, OCI_MANIFEST, bytes);
            } else if kept == Referrers::Missing {
                let both = serde_json::json!({
                    "schemaVersion": 2, "mediaType": images::OCI_INDEX,
                    "manifests": [signed.of_sbom, again],
                });
                let bytes = both.to_string().into_bytes();
                let tag = tag_of(&signed.sbom, "");
                source.put_manifest(PLAIN, "app", &tag, images::OCI_INDEX, &bytes);
            }
            let planned = run().set("dry_run", "true").succeeds();
            if kept == Referrers::Missing {
                let message = "0 up to date, 1 lacking referrers";
                assert!(planned.stdout.contains(message), "{}", planned.stdout);
            }
            run().succeeds();
            let outcome = run().succeeds();
            assert!(outcome.stdout.contains(same), "{}", outcome.stdout);
        }
        for destination in [plain.address(), &api.plain_address()] {
            assert_holds(destination, "mirror/app", &signed.layout);
            let found = tagged(destination, "mirror/app", &tag).unwrap();
            assert_eq!(found, signed.layout.get(&cosign));
        }
        let list = tagged(plain.address(), "mirror/app", &tag_of(&signed.sbom, ""));
        let list: Value = serde_json::from_slice(&list.unwrap()).unwrap();
        assert_eq!(list["manifests"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn destination_without_referrers_does_not_stop_the_others() {
    let signed = SignedImage::new();
    let (source, destinations) = (Standin::start(), [Standin::start(), Standin::start()]);
    seed(&source, PLAIN, "app", &signed.layout, &signed.root, "1");
    source.forget_manifest(PLAIN, "app", images::digest(&signed.of_sbom).as_str());
    let file = format!(
        "destinations: [{}/mirror, {}/mirror]\ndefaults: {{ referrers: true }}\nimages:\n  - from: {}/app:1\n",
        destinations[0].plain_address(),
        destinations[1].plain_address(),
        source.plain_address()
    );
    let run = || mirror_file(&file).set("retry_timeout", "0s");
    run().succeeds();
    signed.at(&source);
    let unavailable = FaultAction::status(503);
    destinations[0].fault(Fault::always(RequestKind::Referrers, unavailable));
    run().fails_with(4);
    assert_holds(
        &destinations[1].plain_address(),
        "mirror/app",
        &signed.layout,
    );
    destinations[0].clear_faults();
    run().succeeds();
    assert_holds(
        &destinations[0].plain_address(),
        "mirror/app",
        &signed.layout,
    );
}

#[test]
fn truncated_list_is_not_trusted() {
    let google = Google::with(Behaviour {
        referrers: Referrers::Missing,
        listing_cap: Some(1000),
        ..Behaviour::default()
    });
    let (from, to) = ("us-docker.pkg.dev", "europe-docker.pkg.dev");
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    let signature = layout.image(&TestImage::new("signature", 1), LayerCompression::Gzip);
    let repository = "acme/containers/app";
    for number in 0..1000 {
        let tag = format!("a{number:04}");
        seed(&google.standin, from, repository, &layout, &root, &tag);
    }
    let file = format!(
        "destinations: [{to}/acme/containers]\ndefaults: {{ referrers: true }}\nimages:\n  - from: \
         {from}/{repository}:a0000\n"
    );
    let run = || {
        let run = google.with_environment(mirror_file(&file));
        run.set("credentials_json", &google.key)
    };
    run().succeeds();
    let tag = tag_of(&root, ".sig");
    let bytes = layout.get(&signature);
    google
        .standin
        .put_manifest(from, repository, &tag, OCI_MANIFEST, bytes);
    run().succeeds();
    let found = google.standin.manifest(to, repository, &tag);
    assert_eq!(found.unwrap().1, bytes);
}
