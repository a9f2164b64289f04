//! One image to one destination.

use standin::{Behaviour, Fault, FaultAction, PlainAuth, RequestKind, Standin};

use super::*;
use crate::support::docker_registry::{DockerRegistry, PASSWORD, USER};
use crate::support::google::Google;
use crate::support::images::{self, LayerCompression, TestImage};

/// An index of two platforms, one of them behind another index, with an attestation.
pub(super) fn index() -> (Layout, Value) {
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 3), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 2), LayerCompression::Gzip);
    let attestation = layout.attestation(&amd64);
    let inner = layout.index(&[arm64]);
    let root = layout.index(&[amd64, inner, attestation]);
    (layout, root)
}

#[test]
fn index_is_copied_byte_for_byte() {
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    let (layout, root) = index();
    let mut listed = layout.clone();
    listed.list(&root, None);
    let name = format!("{}/team/app:1.2", source.address());
    Run::new()
        .file("image.tar", listed.archive())
        .set("image", "image.tar")
        .set("tags", &name)
        .succeeds();
    let outcome = mirror(&name, &format!("{}/mirror/app:1.2", destination.address())).succeeds();
    assert_holds(destination.address(), "mirror/app", &layout);
    assert_eq!(
        tagged(destination.address(), "mirror/app", "1.2").unwrap(),
        layout.get(&root)
    );
    assert!(outcome.stdout.contains(images::digest(&root).as_str()));
}

#[test]
fn image_keeps_name_and_tag_without_tags() {
    let source = Standin::start();
    let destination = DockerRegistry::start();
    let (layout, root) = index();
    seed(&source, PLAIN, "team/app", &layout, &root, "1.2");
    let address = source.plain_address();
    for image in [
        format!("docker://{address}/team/app:1.2"),
        // A host with a port needs no transport prefix.
        format!("{address}/team/app:1.2"),
        format!("{address}/team/app:1.2@{}", images::digest(&root)),
    ] {
        Run::new()
            .set("image", image)
            .set("registry", destination.address())
            .succeeds();
        assert_eq!(
            tagged(destination.address(), "team/app", "1.2").unwrap(),
            layout.get(&root)
        );
    }
}

#[test]
fn google_registry_is_read_with_redirects_and_tokens() {
    let google = Google::start();
    let destination = DockerRegistry::start();
    let (layout, root) = index();
    seed(&google.standin, "gcr.io", "acme/app", &layout, &root, "1.2");
    google
        .run()
        .set("image", "gcr.io/acme/app:1.2")
        .set("tags", format!("{}/app:1.2", destination.address()))
        .succeeds();
    assert_holds(destination.address(), "app", &layout);
}

#[test]
fn interrupted_download_is_resumed() {
    let source = Standin::start();
    let destination = DockerRegistry::start();
    let (layout, root) = index();
    seed(&source, PLAIN, "app", &layout, &root, "1");
    let name = format!("{}/app:1", source.plain_address());
    let (ahead, again) = (
        ["bytes=100-", "bytes=200-", "bytes=300-"],
        ["bytes=100-"; 3],
    );
    for (tag, ranges, asked) in [("ranges", true, ahead), ("whole", false, again)] {
        source.change(|behaviour| behaviour.ranges = ranges);
        source.clear_requests();
        source.fault(Fault::once(RequestKind::BlobGet, FaultAction::CutResponseAt(100)).times(3));
        let to = format!("{}/{tag}:1", destination.address());
        mirror(&name, &to).set("concurrency", "1").succeeds();
        assert_holds(destination.address(), tag, &layout);
        let requests = source.requests();
        let resumed = requests.iter().filter_map(|r| r.headers.get("range"));
        assert_eq!(resumed.collect::<Vec<_>>(), asked);
    }
    assert!(bytes_sent(&source) > blob_bytes(&layout));
}

#[test]
fn mirror_writes_nothing_to_disk() {
    let source = Standin::start();
    let destination = DockerRegistry::start();
    let (layout, root) = index();
    seed(&source, PLAIN, "app", &layout, &root, "1");
    let name = format!("{}/app:1", source.plain_address());
    mirror(&name, &format!("{}/app:1", destination.address()))
        .variable("TMPDIR", "/nonexistent")
        .with_file_size_limit(0)
        .succeeds();
    assert_holds(destination.address(), "app", &layout);
}

#[test]
fn unselected_platforms_are_not_requested() {
    let source = Standin::start();
    let destination = DockerRegistry::start();
    let (layout, root) = index();
    seed(&source, PLAIN, "app", &layout, &root, "1");
    let name = format!("{}/app:1", source.plain_address());
    let to = format!("{}/app:1", destination.address());
    mirror(&name, &to)
        .set("platforms", "linux/arm64")
        .succeeds();
    // The index, the nested one, and their children.
    assert_eq!(
        of_kind(&source.requests(), RequestKind::ManifestGet).len(),
        3
    );
    let outcome = mirror(&name, &to)
        .set("platforms", "linux/s390x, linux/arm64")
        .fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the image does not exist for linux/s390x, only for linux/amd64, linux/arm64

    hint: set `platforms` to platforms that exist; if an archive names platforms that it does not contain, save it on the machine that built them
    ");
}

#[test]
fn missing_or_forbidden_source_is_reported() {
    let source = Standin::start();
    let to = "127.0.0.1:9/app:1";
    let name = format!("{}/team/app:1", source.plain_address());
    insta::assert_snapshot!(mirror(&name, to).fails_with(2).error(), @"
    error: there is no image `127.0.0.1:[PORT]/team/app:1`

    hint: check the name and the tag or digest in `image`, and check that the step that pushes it ran before
    ");
    let login = DockerRegistry::with_login();
    let name = format!("{}/team/app:1", login.address());
    insta::assert_snapshot!(mirror(&name, to).fails_with(3).error(), @"
    error: could not read `127.0.0.1:[PORT]/team/app:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/team/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `127.0.0.1:[PORT]` in `docker_config`
    ");
    let behaviour = Behaviour {
        plain_auth: PlainAuth::Bearer,
        plain_anonymous_pull: false,
        ..Behaviour::default()
    };
    let private = Standin::builder().behaviour(behaviour).start();
    let name = format!("{}/team/app:1", private.plain_address());
    insta::assert_snapshot!(mirror(&name, to).fails_with(3).error(), @"
    error: could not read `127.0.0.1:[PORT]/team/app:1`
      caused by: GET http://127.0.0.1:[PORT]/token?service=127.0.0.1:[PORT]&scope=repository:team/app:pull: 401 UNAUTHORIZED
      caused by: authentication failed

    hint: put a login for `127.0.0.1:[PORT]` in `docker_config`
    ");
}

#[test]
fn docker_config_login_is_used_for_the_source_only() {
    use base64::Engine as _;

    let (source, destination) = (DockerRegistry::with_login(), Standin::start());
    let (layout, root) = index();
    let mut listed = layout.clone();
    listed.list(&root, None);
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#,
        source.address()
    );
    let name = format!("{}/app:1", source.address());
    Run::new()
        .file("image.tar", listed.archive())
        .set("image", "image.tar")
        .set("tags", &name)
        .set("docker_config", &config)
        .succeeds();
    let to = format!("{}/app:1", destination.plain_address());
    mirror(&name, &to).set("docker_config", &config).succeeds();
    assert_holds(&destination.plain_address(), "app", &layout);
    assert!(
        destination
            .requests()
            .iter()
            .all(|request| request.authorization.is_none())
    );
}

#[test]
fn oci_only_registry_is_named_when_it_refuses_dockers_manifest() {
    const DOCKER: &str = "application/vnd.docker";
    let mut layout = Layout::default();
    let config = layout.blob(&format!("{DOCKER}.container.image.v1+json"), b"{}".to_vec());
    let manifest = layout.manifest(serde_json::json!({
        "schemaVersion": 2, "mediaType": format!("{DOCKER}.distribution.manifest.v2+json"),
        "config": config, "layers": [],
    }));
    let (source, destination) = (Standin::start(), Standin::start());
    seed(&source, PLAIN, "app", &layout, &manifest, "1");
    let body = r#"{"errors": [{"code": "MANIFEST_INVALID", "message": "manifest invalid"}]}"#;
    let refused = FaultAction::Status {
        code: 415,
        retry_after: None,
        body: Some(body.to_owned()),
        headers: Vec::new(),
    };
    destination.fault(Fault::always(RequestKind::ManifestPut, refused));
    let name = format!("{}/app:1", source.plain_address());
    let outcome = mirror(&name, &format!("{}/app:1", destination.plain_address())).fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `127.0.0.1:[PORT]/app:1`
      caused by: PUT http://127.0.0.1:[PORT]/v2/app/manifests/1: 415 MANIFEST_INVALID
      caused by: manifest invalid

    hint: `127.0.0.1:[PORT]` accepts only OCI manifests; this image has a Docker manifest, and a copy keeps its bytes: convert it first, or allow Docker manifests there (zot: `http.compat: [docker2s2]`)
    ");
}
