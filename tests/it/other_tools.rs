//! Images as other tools write them: what Docker, skopeo and crane accept arrives byte for byte.

use std::os::unix::fs::symlink;
use std::path::Path;

use gcr_push::oci::digest::Digest;
use serde_json::{Value, json};
use standin::{Fault, FaultAction, RequestKind};

use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{
    LayerCompression, Layout, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, TarFile, TestImage,
    classic_archive, digest, gzip,
};
use crate::support::run::{Outcome, Run};

const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// A push of `image` to a registry other than Google's.
fn push(registry: &DockerRegistry, run: Run, image: &str) -> Run {
    run.set("image", image)
        .set("tags", format!("{}/acme/app:1", registry.address()))
        .set("digest_file", "digest")
}

fn run_with_layout(layout: &Layout) -> Run {
    let run = Run::new();
    layout.write(&run.path().join("layout"));
    run
}

/// A Docker archive of one image with this entry in `manifest.json`.
fn docker_archive(test_image: &TestImage, config: &str, entry: &Value) -> Vec<u8> {
    TarFile::new()
        .file(config, &test_image.config)
        .file("0.tar", &test_image.layers[0])
        .file("manifest.json", json!([entry]).to_string().as_bytes())
        .finish()
}

fn notes(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stdout.lines();
    let notes = lines.filter_map(|line| line.strip_prefix("note: "));
    notes.map(|note| outcome.scrub(note)).collect()
}

#[test]
fn docker_archive_with_odd_keys_and_nulls_arrives() {
    let registry = DockerRegistry::start();
    let test_image = TestImage::new("app", 1);
    for entry in [
        json!({"config": "c.json", "repoTags": ["app:1"], "layers": ["0.tar"]}),
        json!({"CONFIG": "c.json", "RepoTags": null, "Layers": ["0.tar"], "LayerSources": null, "Parent": null}),
    ] {
        let archive = docker_archive(&test_image, "c.json", &entry);
        let run = Run::new().file("image.tar", archive);
        push(&registry, run, "image.tar").succeeds();
    }
}

#[test]
fn layout_with_nulls_arrives_byte_for_byte() {
    let mut layout = Layout::default();
    let test_image = TestImage::new("app", 1);
    let config = layout.blob(OCI_CONFIG, test_image.config.clone());
    let mut layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(&test_image.layers[0]));
    layer["urls"] = Value::Null;
    layer["annotations"] = Value::Null;
    let mut manifest = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
        "annotations": null, "subject": null, "artifactType": null,
    }));
    manifest["annotations"] = Value::Null;
    manifest["platform"] = json!({"architecture": "amd64", "os": "linux", "variant": null,
        "os.version": null, "os.features": null, "features": null});
    let index = layout.index(&[manifest]);
    let mut listed = index.clone();
    listed["platform"] = json!({"architecture": null, "os": null, "variant": null});
    layout.list(&listed, Some("1"));
    let registry = DockerRegistry::start();
    let pushed = push(&registry, run_with_layout(&layout), "oci:layout").succeeds();
    assert_eq!(pushed.read("digest"), digest(&index).to_string());
}

#[test]
fn config_unlike_its_file_name_arrives_with_a_note() {
    let test_image = TestImage::new("app", 1);
    let name = format!("{}.json", "0".repeat(64));
    let entry = json!({"Config": name, "RepoTags": ["app:1"], "Layers": ["0.tar"]});
    let archive = docker_archive(&test_image, &name, &entry);
    let registry = DockerRegistry::start();
    let run = Run::new().file("image.tar", archive);
    let pushed = push(&registry, run, "image.tar").succeeds();
    let [note] = notes(&pushed).try_into().unwrap();
    assert!(
        note.contains(&format!(
            "than its name; pushing the image {}",
            test_image.id()
        )),
        "{note}"
    );
    let run = Run::new().file("image.tar", classic_archive(&[(&test_image, &["app:1"])]));
    let same = push(&registry, run, "image.tar").succeeds();
    assert_eq!(same.read("digest"), pushed.read("digest"));
}

#[test]
fn empty_index_is_warned_of() {
    let mut layout = Layout::default();
    let empty = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null});
    let index = layout.blob(OCI_INDEX, empty.to_string().into_bytes());
    layout.list(&index, None);
    let registry = DockerRegistry::start();
    let pushed = push(&registry, run_with_layout(&layout), "oci:layout").run();
    let message = format!("{}{}", pushed.stdout, pushed.stderr);
    assert!(message.contains("contains no image"), "{message}");
}

/// A layout of one image with an ordinary layer and a foreign one, and the digest of the latter.
fn foreign(urls: Option<&str>) -> (Layout, Digest) {
    let mut layout = Layout::default();
    let test_image = TestImage::new("app", 2);
    let config = layout.blob(OCI_CONFIG, test_image.config.clone());
    let layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(&test_image.layers[0]));
    let mut foreign = layout.blob(FOREIGN, gzip(&test_image.layers[1]));
    if let Some(url) = urls {
        foreign["urls"] = json!([url]);
    }
    let manifest = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [foreign, layer],
    }));
    layout.list(&manifest, None);
    (layout, digest(&foreign))
}

#[test]
fn foreign_layer_without_url_is_uploaded() {
    let google = Google::start();
    let (layout, layer) = foreign(None);
    let run = google.run().file("image.tar", layout.archive());
    let pushed = run.set("image", "image.tar").set("name", "app").succeeds();
    assert!(notes(&pushed).is_empty(), "{}", pushed.stdout);
    assert!(
        google
            .standin
            .blob("gcr.io", "acme/app", layer.as_str())
            .is_some()
    );
}

#[test]
fn foreign_layer_with_url_is_skipped_and_noted() {
    let google = Google::start();
    let (layout, _) = foreign(Some("https://mcr.example/blob"));
    let run = google.run().file("image.tar", layout.archive());
    let run = run.set("image", "image.tar").set("name", "app");
    let pushed = run.set("report_file", "report.json").succeeds();
    insta::assert_snapshot!(notes(&pushed).join("\n"), @"1 layer is not pushed, because of a type \
        that does not allow redistribution: clients pull it from `mcr.example`");
    assert!(
        pushed
            .read("report.json")
            .contains("does not allow redistribution")
    );
    assert!(
        pushed.stderr.contains("does not allow redistribution"),
        "{}",
        pushed.stderr
    );
}

#[test]
fn manifest_refused_for_foreign_layer_is_explained() {
    let google = Google::start();
    let (layout, layer) = foreign(Some("https://mcr.example/blob"));
    for (message, tries) in [
        (format!("unknown blob {layer}"), 1),
        ("unknown blob".to_owned(), 3),
    ] {
        google.standin.clear_faults();
        google.standin.clear_requests();
        let body = json!({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": message}]});
        let action = FaultAction::Status {
            code: 404,
            retry_after: None,
            body: Some(body.to_string()),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::always(RequestKind::ManifestPut, action));
        let run = google.run().file("image.tar", layout.archive());
        let refused = run
            .set("image", "image.tar")
            .set("name", "app")
            .fails_with(1);
        let message = refused.error();
        let sentence = "requires the layer sha256:";
        assert!(
            message.contains(sentence) && message.contains("`https://mcr.example/blob`"),
            "{message}"
        );
        let requests = google.standin.requests();
        let puts = requests
            .iter()
            .filter(|it| it.kind == RequestKind::ManifestPut);
        assert_eq!(puts.count(), tries, "{message}");
    }
}

#[test]
fn refusal_for_a_foreign_layer_shows_layer_and_url() {
    let google = Google::start();
    let (layout, layer) = foreign(Some("https://mcr.example/blob"));
    let refusal = |message: &str| {
        google.standin.clear_faults();
        let body = json!({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": message}]});
        let refusal = FaultAction::Status {
            code: 404,
            retry_after: None,
            body: Some(body.to_string()),
            headers: Vec::new(),
        };
        google
            .standin
            .fault(Fault::always(RequestKind::ManifestPut, refusal));
        let outcome = google
            .run()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("name", "app")
            .fails_with(1);
        outcome.error().replace(&layer.to_string(), "[LAYER]")
    };
    insta::assert_snapshot!(refusal(&format!("unknown blob {layer}")), @"
    error: `gcr.io/acme/app` requires the layer [LAYER], which is not pushed because it is available from `https://mcr.example/blob`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/latest: 404 MANIFEST_BLOB_UNKNOWN
      caused by: unknown blob [LAYER]

    hint: this registry accepts only images with all their layers: push it to another registry, or use a base image whose layers can be redistributed
    ");
    insta::assert_snapshot!(refusal("unknown blob"), @"
    error: `gcr.io/acme/app` requires the layer [LAYER], which is not pushed because it is available from `https://mcr.example/blob`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/latest: 404 MANIFEST_BLOB_UNKNOWN
      caused by: unknown blob

    hint: this registry accepts only images with all their layers: push it to another registry, or use a base image whose layers can be redistributed
    ");
}

#[test]
fn encrypted_layer_is_read_back_as_intact() {
    let mut layout = Layout::default();
    let test_image = TestImage::new("app", 2);
    let config = layout.blob(OCI_CONFIG, test_image.config.clone());
    let kind = format!("{OCI_LAYER}+gzip+encrypted");
    let secret = layout.blob(
        &kind,
        gzip(&test_image.layers[0])
            .iter()
            .map(|b| b ^ 0x5a)
            .collect(),
    );
    let plain = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(&test_image.layers[1]));
    let manifest = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [secret, plain],
    }));
    layout.list(&manifest, None);
    let registry = DockerRegistry::start();
    let run = push(&registry, run_with_layout(&layout), "oci:layout").set("verify", "blobs");
    let pushed = run.succeeds();
    assert!(
        pushed.stderr.contains("1 encrypted layer of"),
        "{}",
        pushed.stderr
    );
}

/// Refuses the next manifests as a registry without support for Docker's type does.
fn refuse_manifests(google: &Google, code: u16, times: usize) {
    let body = json!({"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid"}]});
    let action = FaultAction::Status {
        code,
        retry_after: None,
        body: Some(body.to_string()),
        headers: Vec::new(),
    };
    let fault = Fault::once(RequestKind::ManifestPut, action)
        .times(times as _)
        .at("gcr.io");
    google.standin.fault(fault);
}

fn push_docker_archive(google: &Google, test_image: &TestImage, tags: &str) -> Run {
    let archive = classic_archive(&[(test_image, &["app:1"])]);
    let run = google.run().file("image.tar", archive);
    run.set("image", "image.tar")
        .set("tags", tags)
        .set("digest_file", "digest")
}

#[test]
fn archive_is_pushed_as_oci_where_docker_is_refused() {
    let test_image = TestImage::new("app", 2);
    for code in [400, 415] {
        let google = Google::start();
        refuse_manifests(&google, code, 1);
        let pushed = push_docker_archive(&google, &test_image, "gcr.io/acme/app:1").succeeds();
        insta::allow_duplicates! {
            insta::assert_snapshot!(notes(&pushed).join("\n"), @"`gcr.io/acme/app` accepts only OCI \
                manifests: the image is pushed with an OCI manifest and the same layers");
        }
        let (kind, manifest) = google.standin.manifest("gcr.io", "acme/app", "1").unwrap();
        assert_eq!(kind, OCI_MANIFEST);
        assert_eq!(pushed.read("digest"), Digest::of(&manifest).to_string());
        let requests = google.standin.requests();
        let count = |kind| requests.iter().filter(|it| it.kind == kind).count();
        assert_eq!(count(RequestKind::ManifestPut), 2);
        assert_eq!(count(RequestKind::UploadPut), 3);
    }
}

#[test]
fn one_oci_destination_makes_all_get_the_oci_digest() {
    let test_image = TestImage::new("app", 2);
    let google = Google::start();
    refuse_manifests(&google, 415, 1);
    let tags = "gcr.io/acme/app:1\neu.gcr.io/acme/app:1";
    let run = push_docker_archive(&google, &test_image, tags).set("existing_tag", "fail");
    let pushed = run.succeeds();
    for host in ["gcr.io", "eu.gcr.io"] {
        let (kind, manifest) = google.standin.manifest(host, "acme/app", "1").unwrap();
        assert_eq!(kind, OCI_MANIFEST, "{host}");
        assert_eq!(pushed.read("digest"), Digest::of(&manifest).to_string());
    }
}

#[test]
fn archive_refused_in_both_forms_shows_first_refusal() {
    let test_image = TestImage::new("app", 1);
    let google = Google::start();
    refuse_manifests(&google, 400, 9);
    let refused = push_docker_archive(&google, &test_image, "gcr.io/acme/app:1").fails_with(1);
    insta::assert_snapshot!(refused.error(), @"
    error: could not push to `gcr.io/acme/app:1`
      caused by: PUT https://gcr.io/v2/acme/app/manifests/1: 400 MANIFEST_INVALID
      caused by: manifest invalid
    ");
    let requests = google.standin.requests();
    let puts = requests
        .iter()
        .filter(|it| it.kind == RequestKind::ManifestPut);
    assert_eq!(puts.count(), 2);
}

/// A layout of an image on a base image without the layer of the base, and both layers.
fn layout_without_base(annotations: Value) -> (Layout, Vec<u8>) {
    let mut layout = Layout::default();
    let test_image = TestImage::new("app", 2);
    let base = gzip(&test_image.layers[0]);
    let config = layout.blob(OCI_CONFIG, test_image.config.clone());
    let absent = layout.blob(&format!("{OCI_LAYER}+gzip"), base.clone());
    let top_layer = layout.blob(&format!("{OCI_LAYER}+gzip"), gzip(&test_image.layers[1]));
    layout.remove_blob(&absent);
    let manifest = layout.manifest(json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [absent, top_layer],
        "annotations": annotations,
    }));
    layout.list(&manifest, None);
    (layout, base)
}

fn push_without_base(google: &Google, layout: &Layout) -> Run {
    let run = google.run().file("image.tar", layout.archive());
    run.set("image", "oci-archive:image.tar").set("name", "app")
}

#[test]
fn missing_layer_is_needed_only_if_destination_lacks_it() {
    let google = Google::start();
    let (layout, base) = layout_without_base(json!({}));
    for dry_run in ["true", "false"] {
        let refused = push_without_base(&google, &layout)
            .set("dry_run", dry_run)
            .fails_with(1);
        insta::allow_duplicates! {
            let message = refused.error().replace(Digest::of(&base).hex(), "[BASE]");
            insta::assert_snapshot!(message, @"
            error: `image.tar` does not contain the layer sha256:[BASE], and `gcr.io/acme/app` does not have it

            hint: push it to a registry that has the base image, or write the image with all its layers
            ");
        }
    }
    google.standin.put_blob("gcr.io", "acme/app", &base);
    push_without_base(&google, &layout).succeeds();
    assert!(
        google
            .standin
            .manifest("gcr.io", "acme/app", "latest")
            .is_some()
    );
}

#[test]
fn missing_layer_is_mounted_from_the_named_base_image() {
    for annotations in [
        json!({"org.opencontainers.image.base.name": "gcr.io/acme/base:1"}),
        json!({"org.opencontainers.image.base.name": "gcr.io/acme/base"}),
    ] {
        let google = Google::start();
        let (layout, base) = layout_without_base(annotations);
        google.standin.put_blob("gcr.io", "acme/base", &base);
        push_without_base(&google, &layout).succeeds();
        let named = Digest::of(&base);
        assert!(
            google
                .standin
                .blob("gcr.io", "acme/app", named.as_str())
                .is_some()
        );
    }
}

/// A layout whose layers are links to `store`, as Bazel's rules write it.
fn link_blobs(folder: &Path, layout: &str, store: &str) {
    let mut image = Layout::default();
    let manifest = image.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    image.list(&manifest, None);
    image.write(&folder.join(layout));
    std::fs::create_dir_all(folder.join(store)).unwrap();
    let named: Value = serde_json::from_slice(image.get(&manifest)).unwrap();
    let layer = digest(&named["layers"][0]);
    let blob = folder.join(layout).join("blobs/sha256").join(layer.hex());
    let stored = folder.join(store).join("layer.tar.gz");
    std::fs::rename(&blob, &stored).unwrap();
    symlink(&stored, &blob).unwrap();
}

#[test]
fn layout_link_is_followed_in_workspace_and_bazel_output() {
    let registry = DockerRegistry::start();
    let run = Run::new();
    link_blobs(run.path(), "bin/image", "store");
    let refused = push(&registry, run, "oci:bin/image").fails_with(1);
    assert!(refused.error().contains("cp -RL"), "{}", refused.stderr);

    // In a workspace, in an execution root, and in an output base.
    for (marker, layout, store) in [
        (Some("MODULE.bazel"), "out/image", "store"),
        (None, "bazel-out/bin/image", "bazel-out/bin/layer"),
        (None, "execroot/_main/bazel-out/bin/image", "external/base"),
    ] {
        let elsewhere = tempfile::tempdir().unwrap();
        link_blobs(elsewhere.path(), layout, store);
        if let Some(marker) = marker {
            std::fs::write(elsewhere.path().join(marker), "").unwrap();
        }
        let image = format!("oci:{}", elsewhere.path().join(layout).display());
        push(&registry, Run::new(), &image).succeeds();
    }
}

#[test]
fn output_base_link_is_followed_to_its_workspace() {
    let [base, workspace] = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let layout = "execroot/_main/bazel-out/bin/image";
    let store = workspace.path().join("layers");
    link_blobs(base.path(), layout, store.to_str().unwrap());
    let registry = DockerRegistry::start();
    let image = format!("oci:{}", base.path().join(layout).display());
    let refused = push(&registry, Run::new(), &image).fails_with(1);
    assert!(refused.error().contains("cp -RL"), "{}", refused.stderr);
    let note = base.path().join("DO_NOT_BUILD_HERE");
    std::fs::write(note, workspace.path().to_str().unwrap()).unwrap();
    push(&registry, Run::new(), &image).succeeds();
}

#[test]
fn registry_artifact_that_is_no_image_is_reported() {
    let google = Google::start();
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    let document = json!({"mediaType": artifact, "artifactType": "application/x", "blobs": []});
    for (kind, document) in [
        (artifact, document),
        (OCI_MANIFEST, json!({"schemaVersion": 2, "layers": "none"})),
        (OCI_MANIFEST, json!({"hello": "world"})),
    ] {
        let bytes = document.to_string().into_bytes();
        google
            .standin
            .put_manifest("gcr.io", "acme/source", "1", kind, &bytes);
        let run = google.run().set("image", "docker://gcr.io/acme/source:1");
        let refused = run.set("tags", "gcr.io/acme/app:1").fails_with(1);
        let message = refused.error();
        assert!(!message.contains("may not be a registry"), "{message}");
        assert!(message.contains("\nhint: "), "{message}");
    }
}
