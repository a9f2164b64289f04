//! `gcr-push push`: images from every kind of archive arrive byte for byte on Google's registries
//! and on plain ones, and skopeo pulls them back.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};
use standin::RequestKind;

use gcr_push::oci::digest::Digest;

use crate::support::docker_registry::{DockerRegistry, PASSWORD, USER};
use crate::support::google::{ACCOUNT, Google};
use crate::support::images::{
    self, LayerCompression, Layout, TestImage, classic_archive, docker25_archive,
};
use crate::support::run::Run;
use crate::support::skopeo::{SkopeoPull, pull, pull_plain};

/// Checks that every file that a manifest names is there, and every blob is the layout's.
fn assert_same(pulled: &SkopeoPull, layout: &Layout, root: &Value) {
    assert_eq!(pulled.manifest, layout.get(root));
    for (hex, bytes) in &pulled.files {
        let digest = Digest::of(bytes);
        assert_eq!(digest.hex(), hex);
        assert_eq!(layout.blobs.get(&digest), Some(bytes));
    }
}

/// Checks that the pulled layers unpack to those of the test image.
fn assert_unpacks_to(pulled: &SkopeoPull, test_image: &TestImage) {
    let manifest: Value = serde_json::from_slice(&pulled.manifest).unwrap();
    let hex = |descriptor: &Value| images::digest(descriptor).hex().to_owned();
    assert_eq!(pulled.files[&hex(&manifest["config"])], test_image.config);
    let layers = manifest["layers"].as_array().unwrap();
    let unpacked: Vec<_> = layers
        .iter()
        .map(|layer| {
            assert!(accepts(&["gzip", "--test"], &pulled.files[&hex(layer)]));
            let mut bytes = Vec::new();
            flate2::read::MultiGzDecoder::new(pulled.files[&hex(layer)].as_slice())
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        })
        .collect();
    assert_eq!(unpacked, test_image.layers);
}

#[test]
fn oci_layout_arrives_on_plain_registry_byte_for_byte() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 3), LayerCompression::Gzip);
    layout.list(&manifest, Some("1.2"));
    let name = format!("{}/team/app", registry.address());
    let run = Run::new();
    layout.write(&run.path().join("layout"));
    let outcome = run
        .set("image", "oci:layout")
        .set("tags", format!("{name}:1.2\n{name}:latest"))
        .succeeds();
    for tag in ["1.2", "latest"] {
        assert_same(&pull_plain(&format!("{name}:{tag}")), &layout, &manifest);
        let line = format!("{name}  {tag}");
        let listed = outcome.stdout.lines().any(|l| l.starts_with(&line));
        assert!(listed, "{}", outcome.stdout);
    }
    let digest = images::digest(&manifest).to_string();
    assert!(outcome.stdout.contains(&digest), "{}", outcome.stdout);
}

#[test]
fn oci_archive_arrives_on_gcr_io_and_is_listed() {
    let google = Google::start();
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 2), LayerCompression::Gzip);
    layout.list(&manifest, None);
    let outcome = google
        .run()
        .file("image.tar", layout.archive())
        .set("image", "oci-archive:image.tar")
        .set("name", "api")
        .set("tags", "1.2, latest")
        .succeeds();
    let folder = tempfile::tempdir().unwrap();
    let login = format!("oauth2accesstoken:{}", google.standin.access_token(ACCOUNT));
    let pulled = pull(
        "gcr.io/acme/api:1.2",
        &google.environment(folder.path()),
        &["--src-creds", &login],
    );
    assert_same(&pulled, &layout, &manifest);
    let digest = images::digest(&manifest).to_string();
    insta::assert_snapshot!(outcome.stdout.replace(&digest, "[DIGEST]"), @"
    IMAGE            TAGS        DIGEST                                                                   SENT   EXISTING
    gcr.io/acme/api  1.2,latest  [DIGEST]  455 B  0 B

    NAME
    gcr.io/acme/api

    LISTED IMAGE     TAG     DIGEST
    gcr.io/acme/api  1.2     [DIGEST]
    gcr.io/acme/api  latest  [DIGEST]
    ");
}

#[test]
fn docker_archive_layers_unpack_to_the_same_bytes() {
    let registry = DockerRegistry::start();
    let test_image = TestImage::new("app", 3);
    for (number, archive) in [classic_archive, docker25_archive].iter().enumerate() {
        let outcome = Run::new()
            .file("image.tar", archive(&[(&test_image, &["app:1.2"])]))
            .set("image", "docker-archive:image.tar")
            .set("registry", registry.address())
            .set("name", format!("app-{number}"))
            .set("digest_file", "digest")
            .succeeds();
        let pulled = pull_plain(&format!("{}/app-{number}:1.2", registry.address()));
        assert_unpacks_to(&pulled, &test_image);
        let digest = Digest::of(&pulled.manifest).to_string();
        assert_eq!(outcome.read("digest"), digest);
        assert!(outcome.stdout.contains(&digest));
    }
}

#[test]
fn docker_29_archive_keeps_its_index_or_only_platform() {
    let registry = DockerRegistry::start();
    let (layout, _, _) = images::docker29_layout(&TestImage::new("app", 2), "app", "1");
    let outcome = Run::new()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .set("registry", registry.address())
        .succeeds();
    // One platform and its attestation remain of three children.
    assert!(
        outcome.stdout.contains("note: the index "),
        "{}",
        outcome.stdout
    );
    let pulled = pull_plain(&format!("{}/app:1", registry.address()));
    let index: Value = serde_json::from_slice(&pulled.manifest).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    for (hex, bytes) in &pulled.files {
        assert_eq!(layout.blobs.get(&Digest::of(bytes)), Some(bytes), "{hex}");
    }
}

#[test]
fn index_arrives_byte_for_byte() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let children = [
        layout.image(&TestImage::on("amd64", "app", 2), LayerCompression::Gzip),
        layout.image(&TestImage::on("arm64", "app", 2), LayerCompression::Gzip),
    ];
    let inner = layout.index(&children[..1]);
    let index = layout.index(&[inner, children[1].clone()]);
    layout.list(&index, Some("all"));
    Run::new()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .set("tags", format!("{}/app:all", registry.address()))
        .succeeds();
    // skopeo does not follow nested indexes, so the registry is asked directly.
    let get = |digest: &Digest| {
        let url = format!("http://{}/v2/app/manifests/{digest}", registry.address());
        ureq_get(&url, images_accept())
    };
    for (digest, bytes) in &layout.blobs {
        if serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.get("schemaVersion").is_some()) {
            assert_eq!(get(digest), *bytes, "{digest}");
        }
    }
}

/// Every manifest type in these tests.
fn images_accept() -> &'static str {
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
}

fn ureq_get(url: &str, accept: &str) -> Vec<u8> {
    let output = std::process::Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--header",
            &format!("Accept: {accept}"),
            url,
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "GET {url}");
    output.stdout
}

#[test]
fn second_push_sends_no_blob_and_moves_no_tag() {
    let google = Google::start();
    let mut layout = Layout::default();
    let manifest = layout.image(&TestImage::new("app", 3), LayerCompression::Gzip);
    layout.list(&manifest, Some("app:1"));
    let push = |tag: &str| {
        google.standin.clear_requests();
        google
            .run()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("tags", tag)
            .set("verify", "off")
            .succeeds();
        google.standin.requests()
    };
    let count = |requests: &[standin::Request], kinds: &[RequestKind]| {
        requests.iter().filter(|r| kinds.contains(&r.kind)).count()
    };
    let blobs = [
        RequestKind::BlobHead,
        RequestKind::UploadStart,
        RequestKind::UploadPut,
    ];
    assert_eq!(count(&push("1"), &blobs), 4 * 2, "a POST and a PUT each");
    let again = push("1");
    assert_eq!(count(&again, &blobs), 0);
    assert_eq!(count(&again, &[RequestKind::ManifestPut]), 0);
    let other_tag = push("2");
    assert_eq!(count(&other_tag, &blobs), 0);
    assert_eq!(count(&other_tag, &[RequestKind::ManifestPut]), 1);
}

#[test]
fn google_registry_sees_the_token_and_never_the_key() {
    let google = Google::start();
    google
        .run()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
        )
        .set("image", "image.tar")
        .set(
            "registry",
            "gcr.io, us-docker.pkg.dev, europe-docker.pkg.dev",
        )
        .set("repository", "containers")
        .succeeds();
    let requests = google.standin.requests();
    let schemes: std::collections::BTreeSet<_> = requests
        .iter()
        .filter(|request| request.host.ends_with("gcr.io") || request.host.ends_with("pkg.dev"))
        .filter_map(|request| request.authorization.clone())
        .collect();
    let schemes: Vec<_> = schemes.iter().map(String::as_str).collect();
    assert_eq!(schemes, ["Basic oauth2accesstoken", "Bearer"]);
    for (host, repository) in [
        ("gcr.io", "acme/app"),
        ("us-docker.pkg.dev", "acme/containers/app"),
        ("europe-docker.pkg.dev", "acme/containers/app"),
    ] {
        assert!(
            google.standin.tags(host, repository).contains_key("1"),
            "{host}"
        );
    }
    let tokens = requests
        .iter()
        .filter(|r| r.kind == RequestKind::OAuthToken);
    assert_eq!(tokens.count(), 1, "one token serves every host");
}

#[test]
fn key_may_be_json_base64_or_a_path() {
    use base64::Engine as _;
    let google = Google::start();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&google.key);
    let lines: Vec<_> = base64.as_bytes().chunks(76).collect();
    let wrapped = lines.join(&b'\n');
    for (number, key) in [
        google.key.clone(),
        base64.clone(),
        String::from_utf8(wrapped).unwrap(),
        "key.json".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        google
            .with_environment(Run::new())
            .file("key.json", &google.key)
            .file(
                "image.tar",
                classic_archive(&[(&TestImage::new("app", 1), &[])]),
            )
            .set("credentials_json", key)
            .set("image", "image.tar")
            .set("tags", format!("gcr.io/acme/app:{number}"))
            .succeeds();
    }
    assert_eq!(google.standin.tags("gcr.io", "acme/app").len(), 4);
}

#[test]
fn access_token_replaces_a_key() {
    let google = Google::start();
    google
        .with_environment(Run::new())
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
        )
        .set("access_token", google.standin.access_token(ACCOUNT))
        .set("project_id", "acme")
        .set("image", "image.tar")
        .succeeds();
    let requests = google.standin.requests();
    assert!(!requests.iter().any(|r| r.kind == RequestKind::OAuthToken));
}

#[test]
fn docker_config_login_opens_the_registry() {
    use base64::Engine as _;
    let registry = DockerRegistry::with_login();
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#,
        registry.address()
    );
    let push = || {
        Run::new()
            .file(
                "image.tar",
                classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
            )
            .file("docker/config.json", &config)
            .set("image", "image.tar")
            .set("registry", registry.address())
    };
    push().set("docker_config", &config).succeeds();
    push().set("docker_config", "docker").succeeds();
    push().variable("DOCKER_CONFIG", "docker").succeeds();
    let outcome = push().fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not push to `127.0.0.1:[PORT]/app:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/app/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `127.0.0.1:[PORT]` in `username` and `password`, or in `docker_config`
    ");
}

#[test]
fn loopback_is_never_proxied() {
    let registry = DockerRegistry::start();
    Run::new()
        .file(
            "image.tar",
            classic_archive(&[(&TestImage::new("app", 1), &["app:1"])]),
        )
        .variable("HTTPS_PROXY", "http://127.0.0.1:9")
        .variable("HTTP_PROXY", "http://127.0.0.1:9")
        .set("image", "image.tar")
        .set("registry", registry.address())
        .succeeds();
}

/// True if a tool that we did not write reads these bytes to the end.
fn accepts(tool: &[&str], bytes: &[u8]) -> bool {
    let mut child = std::process::Command::new(tool[0])
        .args(&tool[1..])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("gzip and zstd are needed: tests/run installs them");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn zstd_image_is_oci_and_readable_by_zstd() {
    let registry = DockerRegistry::start();
    let test_image = TestImage::new("app", 2);
    Run::new()
        .file("image.tar", classic_archive(&[(&test_image, &["app:1"])]))
        .set("image", "image.tar")
        .set("registry", registry.address())
        .set("compression", "zstd")
        .succeeds();
    let pulled = pull_plain(&format!("{}/app:1", registry.address()));
    let manifest: Value = serde_json::from_slice(&pulled.manifest).unwrap();
    for (layer, unpacked) in manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&test_image.layers)
    {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+zstd"
        );
        let bytes = &pulled.files[images::digest(layer).hex()];
        assert!(accepts(&["zstd", "--test", "--quiet"], bytes));
        assert_eq!(&zstd::decode_all(bytes.as_slice()).unwrap(), unpacked);
    }
}

#[test]
fn platforms_filter_an_index_and_one_is_a_manifest() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let children: Vec<_> = ["amd64", "arm64", "s390x"]
        .iter()
        .map(|architecture| {
            layout.image(
                &TestImage::on(architecture, "app", 1),
                LayerCompression::Gzip,
            )
        })
        .collect();
    let index = layout.index(&children);
    layout.list(&index, None);
    let push = |platforms: &str, tag: &str| {
        Run::new()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("tags", format!("{}/app:{tag}", registry.address()))
            .set("platforms", platforms)
    };
    push("linux/arm64/v8", "one").succeeds();
    let pulled = pull_plain(&format!("{}/app:one", registry.address()));
    assert_eq!(pulled.manifest, layout.get(&children[1]));

    push("linux/amd64, linux/s390x", "two").succeeds();
    let pulled = pull_plain(&format!("{}/app:two", registry.address()));
    let smaller: Value = serde_json::from_slice(&pulled.manifest).unwrap();
    assert_eq!(
        smaller["manifests"],
        Value::from(vec![children[0].clone(), children[2].clone()])
    );

    push("all", "all").succeeds();
    let pulled = pull_plain(&format!("{}/app:all", registry.address()));
    assert_eq!(pulled.manifest, layout.get(&index));

    let outcome = push("linux/amd64, linux/riscv64", "none").fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the image does not exist for linux/riscv64, only for linux/amd64, linux/arm64, linux/s390x

    hint: set `platforms` to platforms that exist; if an archive names platforms that it does not contain, save it on the machine that built them
    ");
}

#[test]
fn one_platform_with_variants_is_one_plain_image() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let mut image = |name: &str, platform: Value| {
        let mut image = layout.image(&TestImage::new(name, 1), LayerCompression::Gzip);
        image["platform"] = platform;
        image
    };
    let children = [
        image(
            "v3",
            json!({"os": "linux", "architecture": "amd64", "variant": "v3"}),
        ),
        image("plain", json!({"os": "linux", "architecture": "amd64"})),
        image(
            "2019",
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.6054"}),
        ),
        image(
            "2022",
            json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.2582"}),
        ),
    ];
    let index = layout.index(&children);
    layout.list(&index, None);
    let push = |platforms: &str| {
        Run::new()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("tags", format!("{}/app:1", registry.address()))
            .set("platforms", platforms)
    };
    for (platforms, child) in [
        ("linux/amd64", 1),
        ("linux/x86_64/v3", 0),
        ("windows/amd64:10.0.17763.6054", 2),
        ("windows/amd64:10.0.20348", 3),
    ] {
        push(platforms).succeeds();
        let pulled = pull_plain(&format!("{}/app:1", registry.address()));
        assert_eq!(pulled.manifest, layout.get(&children[child]), "{platforms}");
    }
    let outcome = push("windows/amd64").fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: `windows/amd64` matches several images here: windows/amd64:10.0.17763.6054, windows/amd64:10.0.20348.2582

    hint: set `platforms` to one of them, such as `windows/amd64:10.0.17763.6054`; several make a smaller index
    ");
    push("linux/amd64, windows/amd64").succeeds();
    let pulled = pull_plain(&format!("{}/app:1", registry.address()));
    let smaller: Value = serde_json::from_slice(&pulled.manifest).unwrap();
    assert_eq!(smaller["manifests"], Value::from(children[1..].to_vec()));
}

#[test]
fn push_by_digest_sets_no_tag() {
    let registry = DockerRegistry::start();
    let mut layout = Layout::default();
    let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
    layout.list(&root, Some("app:1"));
    let address = registry.address();
    let digest = images::digest(&root);
    let push = |archive: Vec<u8>, dry_run: &str| {
        Run::new()
            .file("image.tar", archive)
            .set("image", "image.tar")
            .set("tags", format!("{address}/acme/app@"))
            .set("dotenv_file", "push.env")
            .set("report_file", "report.json")
            .set("verify", "blobs")
            .set("dry_run", dry_run)
    };
    push(layout.archive(), "true").succeeds();
    assert!(registry.is_untouched());
    let outcome = push(layout.archive(), "false").succeeds();
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["destinations"][0]["tags"], json!([]));
    assert_eq!(report["destinations"][0]["digest"], digest.as_str());
    let reference = format!("{address}/acme/app@{digest}");
    assert!(
        outcome
            .read("push.env")
            .contains(&format!("PUSHED_REFERENCES={reference}\n"))
    );
    assert_eq!(pull_plain(&reference).manifest, layout.get(&root));
    let listed = Run::command("list").set("image", format!("{address}/acme/app"));
    let message = listed.fails_with(1).error();
    assert!(message.contains("there is nothing at"), "{message}");
    // Once more, and an image whose layers have to be compressed.
    push(layout.archive(), "false").succeeds();
    let made = classic_archive(&[(&TestImage::new("app", 2), &["app:1"])]);
    push(made, "false").succeeds();
}

#[test]
fn layout_ref_name_is_a_tag_unless_a_full_name() {
    let registry = DockerRegistry::start();
    let run = |ref_name: &str| {
        let mut layout = Layout::default();
        let root = layout.image(&TestImage::new("app", 1), LayerCompression::Gzip);
        layout.list(&root, Some(ref_name));
        Run::new()
            .file("image.tar", layout.archive())
            .set("image", "image.tar")
            .set("registry", registry.address())
    };
    let message = run("1.2").set("tags", "v9").fails_with(2).error();
    insta::assert_snapshot!(message, @"
    error: could not determine where to push the image
      caused by: the image has no name: set `name`, or give a full reference in `tags`

    hint: an image that is saved or requested by its ID has no name, and an OCI layout often has only a tag
    ");
    let outcome = run("1.2").set("name", "api").succeeds();
    assert!(outcome.stdout.contains("/api  1.2 "), "{}", outcome.stdout);
    let outcome = run("app:1.2").succeeds();
    assert!(outcome.stdout.contains("/app  1.2 "), "{}", outcome.stdout);
    let message = run("web:feature/login").fails_with(2).error();
    assert!(
        message.contains("image name `web:feature/login` is not valid"),
        "{message}"
    );
}

#[test]
fn archive_has_one_digest_on_any_number_of_cores() {
    let registry = DockerRegistry::start();
    // Larger than several blocks, so that blocks could get out of order.
    let content: Vec<u8> = (0..5_000_000_u32)
        .map(|i| (i.wrapping_mul(i) % 251) as u8)
        .collect();
    let layer = images::TarFile::new().file("data", &content).finish();
    let archive = classic_archive(&[(&TestImage::of("amd64", vec![layer]), &["app:1"])]);
    let digest = |tag: &str, command: &[&str]| {
        Run::new()
            .under(command)
            .file("image.tar", &archive)
            .set("image", "image.tar")
            .set("tags", format!("{}/{tag}:1", registry.address()))
            .set("digest_file", "digest")
            .succeeds()
            .read("digest")
    };
    assert_eq!(
        digest("one", &["taskset", "--cpu-list", "0"]),
        digest("all", &[])
    );
}
