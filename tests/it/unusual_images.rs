//! Unusual images: valid ones arrive, invalid ones are refused. Each is pushed to a real registry
//! and to the stand-in.

use serde_json::{Value, json};

use gcr_push::oci::digest::Digest;

use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{
    LayerCompression, Layout, OCI_INDEX, OCI_LAYER, TarFile, TestImage, classic_archive,
    docker25_archive, gzip,
};
use crate::support::run::{Outcome, Run};

/// Pushes an archive to both; to the real registry twice, so that it is also read as an earlier
/// image.
fn push(image: &[u8]) -> [Outcome; 2] {
    let google = Google::start();
    let at_google = google
        .run()
        .file("image.tar", image)
        .set("image", "image.tar")
        .set("tags", "gcr.io/acme/app:1")
        .run();
    let registry = DockerRegistry::start();
    let push = |tag: &str| {
        Run::new()
            .file("image.tar", image)
            .set("image", "image.tar")
            .set("tags", format!("{}/app:{tag}", registry.address()))
            .set("digest_file", "digest")
            .run()
    };
    let outcome = push("1");
    assert_eq!(
        outcome.code, at_google.code,
        "{}\n{}",
        outcome.stderr, at_google.stderr
    );
    if outcome.code == 0 {
        let digest = outcome.read("digest");
        let (_, manifest) = google.standin.manifest("gcr.io", "acme/app", "1").unwrap();
        assert_eq!(Digest::of(&manifest).to_string(), digest);
        let again = push("2");
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert_eq!(again.read("digest"), digest);
    } else {
        assert!(registry.is_untouched());
        assert!(google.is_untouched());
    }
    [outcome, at_google]
}

fn assert_arrives(image: &[u8]) {
    for outcome in push(image) {
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    }
}

fn error_of(image: &[u8]) -> String {
    let [outcome, other] = push(image);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let text = outcome.error();
    assert_eq!(text, other.error());
    text
}

/// An archive of a layout with this manifest.
fn layout(manifest: impl FnOnce(&mut Layout) -> Value) -> Vec<u8> {
    let mut layout = Layout::default();
    let manifest = manifest(&mut layout);
    let manifest = layout.manifest(manifest);
    layout.list(&manifest, Some("app:1"));
    layout.archive()
}

#[test]
fn empty_layer_arrives() {
    let test_image = TestImage::of("amd64", vec![Vec::new(), TarFile::new().finish()]);
    assert_arrives(&classic_archive(&[(&test_image, &["app:1"])]));
    assert_arrives(&docker25_archive(&[(&test_image, &["app:1"])]));
    let mut plain = Layout::default();
    let manifest = plain.image(&test_image, LayerCompression::Tar);
    plain.list(&manifest, None);
    assert_arrives(&plain.archive());
}

#[test]
fn image_without_layers_arrives() {
    let test_image = TestImage::of("amd64", Vec::new());
    assert_arrives(&classic_archive(&[(&test_image, &["app:1"])]));
    let mut empty = Layout::default();
    let manifest = empty.image(&test_image, LayerCompression::Gzip);
    empty.list(&manifest, None);
    assert_arrives(&empty.archive());
}

#[test]
fn image_with_two_hundred_layers_arrives() {
    let layer = |n: u32| TarFile::new().file("n", n.to_string().as_bytes()).finish();
    let test_image = TestImage::of("amd64", (0..200).map(layer).collect());
    assert_arrives(&classic_archive(&[(&test_image, &["app:1"])]));
    let mut many = Layout::default();
    let manifest = many.image(&test_image, LayerCompression::Gzip);
    many.list(&manifest, None);
    assert_arrives(&many.archive());
}

#[test]
fn repeated_layer_arrives() {
    let layer = TarFile::new().file("a", b"again").finish();
    let other = TarFile::new().file("b", b"once").finish();
    let test_image = TestImage::of("amd64", vec![layer.clone(), other, layer]);
    assert_arrives(&classic_archive(&[(&test_image, &["app:1"])]));
    assert_arrives(&docker25_archive(&[(&test_image, &["app:1"])]));
    let mut twice = Layout::default();
    let manifest = twice.image(&test_image, LayerCompression::Gzip);
    twice.list(&manifest, None);
    assert_arrives(&twice.archive());
}

#[test]
fn empty_config_is_left_to_the_registry() {
    let image = layout(|layout| {
        let config = layout.blob("application/vnd.example", Vec::new());
        let layer = layout.blob(OCI_LAYER, TarFile::new().finish());
        json!({"schemaVersion": 2, "config": config, "layers": [layer]})
    });
    let run = |run: Run| run.file("image.tar", &image).set("image", "image.tar");
    let registry = DockerRegistry::start();
    run(Run::new())
        .set("tags", format!("{}/app:1", registry.address()))
        .succeeds();
    let google = Google::start();
    let outcome = run(google.run()).set("name", "app").fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1: 400 MANIFEST_INVALID
      caused by: manifest config is empty
    ");
}

#[test]
fn artifact_with_config_equal_to_layer_arrives() {
    // OCI image spec, "Guidance for an Empty Descriptor".
    assert_arrives(&layout(|layout| {
        let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.example", "config": empty, "layers": [empty]})
    }));
}

#[test]
fn docker_archive_without_image_config_is_refused() {
    for config in [
        &b""[..],
        b"{}",
        b"null",
        b"[]",
        br#"{"rootfs":{"diff_ids":["x"]}}"#,
    ] {
        let entries = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": []}]);
        let tar = TarFile::new()
            .file("c.json", config)
            .file("manifest.json", entries.to_string().as_bytes())
            .finish();
        let message = error_of(&tar);
        assert!(message.contains("`c.json` of `image.tar`"), "{message}");
    }
}

#[test]
fn manifest_near_the_size_limit_arrives() {
    let limit = 4 * 1024 * 1024;
    let of = |padding: usize| {
        layout(|layout| {
            let config = layout.blob("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
            json!({"schemaVersion": 2, "config": config, "layers": [],
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "annotations": {"padding": "x".repeat(padding)}})
        })
    };
    assert_arrives(&of(limit - 1000));
    insta::assert_snapshot!(error_of(&of(limit)), @"error: \
        `blobs/sha256/efecafeea7725e72be7e6ad80634175fa59470ff4c221685bc92aed5a914a0d2` of \
        `image.tar` has 4194579 bytes, more than the limit of 4194304");
}

#[test]
fn too_many_layers_for_a_manifest_are_refused() {
    // Small in the archive, because one file serves all of them.
    let count = 40_000;
    let layer = TarFile::new().file("a", b"again").finish();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers",
        "diff_ids": vec![Digest::of(&layer); count]}});
    let entries = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": vec!["l"; count]}]);
    let tar = TarFile::new()
        .file("c.json", config.to_string().as_bytes())
        .file("l", &layer)
        .file("manifest.json", entries.to_string().as_bytes())
        .finish();
    insta::assert_snapshot!(error_of(&tar), @"
    error: could not write a manifest for the image
      caused by: it has 6360267 bytes, more than the 4194304 that registries accept
    ");
}

#[test]
fn deeply_nested_json_is_refused() {
    let deep = |text: &str| format!("{}{text}{}", "[".repeat(100_000), "]".repeat(100_000));
    let manifest = TarFile::new().file("manifest.json", deep("").as_bytes());
    insta::assert_snapshot!(error_of(&manifest.finish()), @"
    error: could not parse `manifest.json` of `image.tar`
      caused by: recursion limit exceeded at line 1 column 128
    ");
    let tar = TarFile::new()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file(
            "index.json",
            format!(r#"{{"manifests":{}}}"#, deep("")).as_bytes(),
        );
    insta::assert_snapshot!(error_of(&tar.finish()), @"
    error: could not parse `index.json` of `image.tar`
      caused by: recursion limit exceeded at line 1 column 140
    ");
}

#[test]
fn deeply_nested_unknown_config_field_arrives() {
    let entries = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": []}]);
    let deep = format!("{}0{}", "[".repeat(100_000), "]".repeat(100_000));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"x":{deep}}}"#
    );
    let tar = TarFile::new()
        .file("c.json", config.as_bytes())
        .file("manifest.json", entries.to_string().as_bytes())
        .finish();
    let outcome = Run::new().file("image.tar", &tar).set("image", "image.tar");
    let registry = DockerRegistry::start();
    outcome
        .set("tags", format!("{}/app:1", registry.address()))
        .succeeds();
}

#[test]
fn nested_indexes_are_followed_to_a_limit() {
    let nested = |depth: usize| {
        let mut layout = Layout::default();
        let mut inner = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
        for _ in 0..depth {
            inner = layout.index(&[inner]);
        }
        layout.list(&inner, None);
        layout.archive()
    };
    let message = error_of(&nested(50));
    insta::assert_snapshot!(message, @"error: `image.tar` has indexes nested more than 8 deep");
}

#[test]
fn empty_index_has_one_outcome_everywhere() {
    let mut layout = Layout::default();
    let index = layout.blob(
        OCI_INDEX,
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_vec(),
    );
    layout.list(&index, None);
    push(&layout.archive());
}

#[test]
fn layer_with_wrong_size_is_refused() {
    let image = layout(|layout| {
        let config = layout.blob("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
        let mut layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(b"layer"));
        layer["size"] = 1_000_000_000_000_u64.into();
        json!({"schemaVersion": 2, "config": config, "layers": [layer]})
    });
    insta::assert_snapshot!(error_of(&image), @"
    error: `blobs/sha256/15a9f7ac8718f9fa1e41e13c8e1df669bca0dd831cf35e5767594dcd02e31fb3` of `image.tar` is damaged: it has 28 bytes and should have 1000000000000

    hint: create the archive again, or download it again: its bytes were changed
    ");
    let image = layout(|layout| {
        let config = layout.blob("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
        let mut layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(b"layer"));
        layer["size"] = (-1).into();
        json!({"schemaVersion": 2, "config": config, "layers": [layer]})
    });
    insta::assert_snapshot!(error_of(&image), @"
    error: cannot push the manifest sha256:2df668759cff002cfa5360d2aeb735257fb5ce8be647b914c15e4955db690532 of `image.tar`
      caused by: it is not a manifest
      caused by: invalid value: integer `-1`, expected u64
    ");
    let image = layout(|layout| {
        let config = layout.blob("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
        let mut layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(b"layer"));
        layer["size"] = (1_u64 << 63).into();
        json!({"schemaVersion": 2, "config": config, "layers": [layer, layer]})
    });
    insta::assert_snapshot!(error_of(&image), @"
    error: cannot push the manifest sha256:d7c519786d18fee741a07b8200b70220169b15279804f163f34673f0ae5f22d1 of `image.tar`
      caused by: it is not a manifest
      caused by: a blob of 9223372036854775808 bytes is larger than any registry accepts
    ");
}

#[test]
fn digest_other_than_sha256_is_refused() {
    let image = layout(|layout| {
        let mut config = layout.blob("application/vnd.oci.image.config.v1+json", b"{}".to_vec());
        config["digest"] = format!("sha512:{}", "0".repeat(128)).into();
        json!({"schemaVersion": 2, "config": config, "layers": []})
    });
    insta::assert_snapshot!(error_of(&image), @"
    error: cannot push the manifest sha256:ca98dbbae7e654eb64fde2d944aeb662219872080c5c6cf5a09a96f27ebb90f9 of `image.tar`
      caused by: it is not a manifest
      caused by: the digest algorithm `sha512` is not supported, only `sha256`
    ");
}
