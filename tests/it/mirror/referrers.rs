//! Signatures, SBOMs and attestations are copied and still verify at the destination.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use standin::{Behaviour, Fault, FaultAction, Referrers, RequestKind, Standin};

use gcr_push::oci::digest::Digest;

use super::many_images::mirror_file;
use super::*;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images::{self, LayerCompression, OCI_INDEX, OCI_MANIFEST, TestImage};

/// Puts a manifest with a subject and one blob.
pub(super) fn referrer(layout: &mut Layout, about: &Value, kind: &str, bytes: &[u8]) -> Value {
    let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}".to_vec());
    let blob = layout.blob("application/octet-stream", bytes.to_vec());
    let subject = json!({
        "mediaType": about["mediaType"], "digest": about["digest"], "size": about["size"],
    });
    layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "config": empty,
        "layers": [blob], "subject": subject, "annotations": {"kind": kind},
    }))
}

pub(super) fn tag_of(descriptor: &Value, end: &str) -> String {
    format!("sha256-{}{end}", images::digest(descriptor).hex())
}

/// Lists referrers under the fallback tag.
fn fall_back(standin: &Standin, repository: &str, about: &Value, referrers: &[&Value]) -> Vec<u8> {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": referrers});
    let bytes = index.to_string().into_bytes();
    standin.put_manifest(PLAIN, repository, &tag_of(about, ""), OCI_INDEX, &bytes);
    bytes
}

pub(super) fn standin(referrers: Referrers) -> Standin {
    let behaviour = Behaviour {
        referrers,
        ..Behaviour::default()
    };
    Standin::builder().behaviour(behaviour).start()
}

/// An index of two platforms; an SBOM of it, a signature of the SBOM, a signature of one platform.
pub(super) struct SignedImage {
    pub(super) layout: Layout,
    pub(super) root: Value,
    pub(super) arm64: Value,
    pub(super) sbom: Value,
    pub(super) of_sbom: Value,
    pub(super) of_arm64: Value,
}

impl SignedImage {
    pub(super) fn new() -> Self {
        let mut layout = Layout::default();
        let amd64 = layout.image(&TestImage::on("amd64", "app", 1), LayerCompression::Gzip);
        let arm64 = layout.image(&TestImage::on("arm64", "app", 1), LayerCompression::Gzip);
        let root = layout.index(&[amd64, arm64.clone()]);
        let sbom = referrer(&mut layout, &root, "application/spdx+json", b"sbom");
        let of_sbom = referrer(
            &mut layout,
            &sbom,
            "application/x-signature",
            b"of the sbom",
        );
        let of_arm64 = referrer(&mut layout, &arm64, "application/x-signature", b"of arm64");
        Self {
            layout,
            root,
            arm64,
            sbom,
            of_sbom,
            of_arm64,
        }
    }

    pub(super) fn at(&self, source: &Standin) -> String {
        seed(source, PLAIN, "app", &self.layout, &self.root, "1");
        format!("{}/app:1", source.plain_address())
    }

    pub(super) fn fall_back(&self, source: &Standin) -> Vec<u8> {
        fall_back(source, "app", &self.sbom, &[&self.of_sbom]);
        fall_back(source, "app", &self.arm64, &[&self.of_arm64]);
        fall_back(source, "app", &self.root, &[&self.sbom])
    }
}

#[test]
fn referrers_of_index_and_platforms_are_copied() {
    let signed = SignedImage::new();
    for kept in [
        Referrers::Supported,
        Referrers::Missing,
        Referrers::LoginPage,
    ] {
        let source = standin(kept);
        let name = signed.at(&source);
        let original = (kept != Referrers::Supported).then(|| signed.fall_back(&source));
        let (api, plain) = (standin(Referrers::Supported), DockerRegistry::start());
        let destinations = [api.plain_address(), plain.address().to_owned()];
        let tags = destinations
            .clone()
            .map(|destination| format!("{destination}/app:1"))
            .join("\n");
        let dry_run = mirror(&name, &tags)
            .set("referrers", "true")
            .set("dry_run", "true")
            .succeeds();
        let line = format!(
            "3 manifests that refer to the image would be at `{}/app` too",
            destinations[0]
        );
        assert!(dry_run.stdout.contains(&line), "{}", dry_run.stdout);
        let outcome = mirror(&name, &tags).set("referrers", "true").succeeds();
        for destination in &destinations {
            assert_holds(destination, "app", &signed.layout);
        }
        let line = format!(
            "3 manifests that refer to the image are at `{}/app` too",
            destinations[0]
        );
        assert!(outcome.stdout.contains(&line), "{}", outcome.stdout);
        // A registry with the referrers API gets no fallback tag, one without gets each.
        assert_eq!(api.tags(PLAIN, "app").len(), 1);
        for (about, referrers) in [
            (&signed.root, &signed.sbom),
            (&signed.sbom, &signed.of_sbom),
            (&signed.arm64, &signed.of_arm64),
        ] {
            let index = tagged(plain.address(), "app", &tag_of(about, "")).unwrap();
            let index: Value = serde_json::from_slice(&index).unwrap();
            let listed = index["manifests"].as_array().unwrap();
            assert_eq!(listed.len(), 1);
            assert_eq!(listed[0]["digest"], referrers["digest"]);
        }
        if let Some(original) = original {
            let copy = tagged(plain.address(), "app", &tag_of(&signed.root, "")).unwrap();
            assert_eq!(
                copy, original,
                "what the source lists it by is kept byte for byte"
            );
        }
    }
}

#[test]
fn tag_moves_only_after_the_referrers_arrive() {
    let signed = SignedImage::new();
    let (source, destination) = (Standin::start(), Standin::start());
    let name = signed.at(&source);
    let to = format!("{}/app:1", destination.plain_address());
    mirror(&name, &to)
        .set("referrers", "true")
        .set("verify", "off")
        .succeeds();
    let requests = destination.requests();
    let puts = of_kind(&requests, RequestKind::ManifestPut);
    let last = puts.last().unwrap();
    assert!(last.path.ends_with("/manifests/1"), "{}", last.path);
    assert_eq!(puts.iter().filter(|put| put.path == last.path).count(), 1);
    // Two platforms, the index by its digest, three referrers, and the tag.
    assert_eq!(puts.len(), 7);
}

#[test]
fn later_signature_is_copied_to_a_present_image() {
    let signed = SignedImage::new();
    let (source, destination) = (Standin::start(), DockerRegistry::start());
    let name = signed.at(&source);
    let to = format!("{}/app:1", destination.address());
    for digest in [&signed.sbom, &signed.of_sbom, &signed.of_arm64] {
        source.forget_manifest(PLAIN, "app", images::digest(digest).as_str());
    }
    mirror(&name, &to).set("referrers", "true").succeeds();
    assert_eq!(
        tagged(destination.address(), "app", &tag_of(&signed.root, "")),
        None
    );
    signed.at(&source);
    mirror(&name, &to).set("referrers", "true").succeeds();
    assert_holds(destination.address(), "app", &signed.layout);

    // Referrers that somebody else attached at the destination stay listed.
    let mut later = signed.layout.clone();
    let another = referrer(
        &mut later,
        &signed.root,
        "application/x-another",
        b"another",
    );
    for bytes in later.blobs.values().filter(|bytes| is_manifest(bytes)) {
        source.put_manifest(PLAIN, "app", ":", OCI_MANIFEST, bytes);
    }
    source.put_blob(PLAIN, "app", b"another");
    mirror(&name, &to).set("referrers", "true").succeeds();
    let index = tagged(destination.address(), "app", &tag_of(&signed.root, "")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let listed: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["digest"], another["digest"]);
    assert_eq!(listed[1]["artifactType"], "application/x-another");
}

#[test]
fn mirror_of_all_tags_keeps_the_destinations_referrers() {
    let signed = SignedImage::new();
    let (source, destination) = (standin(Referrers::Missing), standin(Referrers::Missing));
    signed.at(&source);
    signed.fall_back(&source);
    // The fallback tag and cosign's lead to no image.
    let sig = tag_of(&signed.root, ".sig");
    let bytes = signed.layout.get(&signed.of_arm64);
    source.put_manifest(PLAIN, "app", &sig, OCI_MANIFEST, bytes);
    let mut own = signed.layout.clone();
    let another = referrer(&mut own, &signed.root, "application/x-another", b"another");
    seed(&destination, PLAIN, "m/app", &own, &signed.root, "1");
    fall_back(&destination, "m/app", &signed.root, &[&another]);

    let address = destination.plain_address();
    let file = |tags: &str| {
        format!(
            "destinations: [{address}/m]\ndefaults: {{ referrers: true }}\nimages:\n  \
             - from: {}/app\n{tags}",
            source.plain_address()
        )
    };
    let outcome = mirror_file(&file("")).succeeds();
    let stdout = &outcome.stdout;
    assert!(stdout.contains("1 image: "), "{stdout}");
    let index = tagged(&address, "m/app", &tag_of(&signed.root, "")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let listed: Vec<_> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["digest"], another["digest"]);
    assert_eq!(listed[1]["digest"], signed.sbom["digest"]);
    assert!(tagged(&address, "m/app", &sig).is_some());

    // One that is named is an image like any other.
    let named = format!("    tags: ['1', '{sig}', '*']\n");
    let outcome = mirror_file(&file(&named)).set("dry_run", "true").succeeds();
    let stdout = &outcome.stdout;
    let is_planned = |tag: &str| stdout.contains(&format!("/app:{tag} "));
    assert!(is_planned("1") && is_planned(&sig), "{stdout}");
    assert!(!is_planned(&tag_of(&signed.root, "")), "{stdout}");
}

#[test]
fn referrer_collected_before_listing_is_put_again() {
    let signed = SignedImage::new();
    let (source, destination) = (Standin::start(), standin(Referrers::Missing));
    let name = signed.at(&source);
    let list = format!("/manifests/{}", tag_of(&signed.root, ""));
    let collect = Fault::once(RequestKind::ManifestPut, FaultAction::ForgetBlobs);
    destination.fault(collect.path(&list));
    mirror(&name, &format!("{}/app:1", destination.plain_address()))
        .set("referrers", "true")
        .succeeds();
    assert_holds(&destination.plain_address(), "app", &signed.layout);
    let index = tagged(
        &destination.plain_address(),
        "app",
        &tag_of(&signed.root, ""),
    )
    .unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"][0]["digest"], signed.sbom["digest"]);
}

#[test]
fn referrers_are_not_copied_by_default() {
    let signed = SignedImage::new();
    let (source, destination) = (Standin::start(), Standin::start());
    let name = signed.at(&source);
    mirror(&name, &format!("{}/app:1", destination.plain_address())).succeeds();
    let sbom = images::digest(&signed.sbom);
    assert_eq!(destination.manifest(PLAIN, "app", sbom.as_str()), None);
    assert_eq!(of_kind(&source.requests(), RequestKind::Referrers).len(), 0);
}

/// Runs openssl in a folder.
fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("`openssl` is needed: tests/run installs it");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {error}");
}

#[test]
fn real_signature_verifies_at_the_destination() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let key = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ];
    openssl(folder, &[&key[..], &["key.pem"]].concat());
    openssl(
        folder,
        &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"],
    );

    // As `cosign sign` does: a statement about the digest, with its signature in an annotation,
    // under a tag that is named after the digest.
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    let statement = json!({
        "critical": {
            "identity": {"docker-reference": "source/app"},
            "image": {"docker-manifest-digest": root["digest"]},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    std::fs::write(folder.join("statement"), statement.to_string()).unwrap();
    openssl(
        folder,
        &[
            "dgst",
            "-sha256",
            "-sign",
            "key.pem",
            "-out",
            "signature",
            "statement",
        ],
    );
    let signature = STANDARD.encode(std::fs::read(folder.join("signature")).unwrap());
    let config = layout.blob(
        images::OCI_CONFIG,
        b"{\"architecture\":\"\",\"os\":\"\"}".to_vec(),
    );
    let simple = "application/vnd.dev.cosign.simplesigning.v1+json";
    let mut layer = layout.blob(simple, statement.to_string().into_bytes());
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let signed = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
    }));
    let source = standin(Referrers::Missing);
    seed(&source, PLAIN, "app", &layout, &root, "1");
    let tag = tag_of(&root, ".sig");
    source.put_manifest(PLAIN, "app", &tag, OCI_MANIFEST, layout.get(&signed));

    let destination = DockerRegistry::start();
    let name = format!("{}/app:1", source.plain_address());
    mirror(&name, &format!("{}/team/app:1", destination.address()))
        .set("referrers", "true")
        .succeeds();

    // A verifier starts from the tag and asks the destination only.
    let image = tagged(destination.address(), "team/app", "1").unwrap();
    let digest = Digest::of(&image);
    let found = tagged(
        destination.address(),
        "team/app",
        &format!("sha256-{}.sig", digest.hex()),
    );
    let found: Value = serde_json::from_slice(&found.unwrap()).unwrap();
    let layer = &found["layers"][0];
    let url = format!(
        "http://{}/v2/team/app/blobs/{}",
        destination.address(),
        layer["digest"].as_str().unwrap()
    );
    let payload = curl::get(&url).unwrap();
    std::fs::write(folder.join("arrived"), &payload).unwrap();
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
        .as_str()
        .unwrap();
    std::fs::write(
        folder.join("arrived.sig"),
        STANDARD.decode(signature).unwrap(),
    )
    .unwrap();
    let verify = [
        "dgst",
        "-sha256",
        "-verify",
        "public.pem",
        "-signature",
        "arrived.sig",
    ];
    openssl(folder, &[&verify[..], &["arrived"]].concat());
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        statement["critical"]["image"]["docker-manifest-digest"],
        digest.as_str()
    );
}
