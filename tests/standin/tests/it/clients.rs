//! Clients that we did not write: skopeo, curl and Google's own gcloud.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use standin::{Behaviour, BlobDownload, Fault, FaultAction, RequestKind, Standin, UploadLocation};
use tempfile::TempDir;

use crate::images::{Image, OCI_INDEX, PUSHER, descriptor, prepare, ready, sha256};

/// A command with the proxy and the CA, and nothing of the machine's environment.
pub(crate) fn command(standin: &Standin, home: &TempDir, program: &str) -> Option<Command> {
    let path = format!("/usr/bin/{program}");
    if !Path::new(&path).exists() {
        eprintln!("skipped: no {path}");
        return None;
    }
    let ca = home.path().join("ca.pem");
    std::fs::write(&ca, standin.ca_pem()).unwrap();
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("TZ", "UTC")
        .env("HTTPS_PROXY", standin.proxy_url())
        .env("SSL_CERT_FILE", &ca)
        .env("CLOUDSDK_CONFIG", home.path().join("gcloud"))
        .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", &ca)
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env("CLOUDSDK_AUTH_ACCESS_TOKEN", standin.access_token(PUSHER));
    Some(command)
}

pub(crate) fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Writes an image as an OCI layout directory.
fn write_layout(image: &Image, directory: &Path) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    for bytes in [&image.config, &image.layer, &image.manifest] {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
    }
    let mut manifest = descriptor(crate::images::OCI_MANIFEST, &image.manifest);
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [manifest]});
    std::fs::write(directory.join("index.json"), index.to_string()).unwrap();
    std::fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

/// Copies an image in and out with skopeo and compares every byte.
fn skopeo_round_trip(standin: &Standin, credential: &str, name: &str) {
    let home = tempfile::tempdir().unwrap();
    let image = Image::new("skopeo");
    let (from, to) = (home.path().join("in"), home.path().join("out"));
    write_layout(&image, &from);
    let copy = |credential: [&str; 2], source: &str, target: &str| {
        let mut command = command(standin, &home, "skopeo")?;
        let policy = "--insecure-policy";
        command.args([policy, "copy", credential[0], credential[1], source, target]);
        Some(succeeded(&command.output().unwrap()))
    };
    let (from, to) = (
        format!("oci:{}:v1", from.display()),
        format!("oci:{}:v1", to.display()),
    );
    let remote = format!("docker://{name}:v1");
    if copy(["--dest-creds", credential], &from, &remote).is_none() {
        return;
    }
    copy(["--src-creds", credential], &remote, &to);
    let (host, repository) = name.split_once('/').unwrap();
    let (_, stored) = standin.manifest(host, repository, "v1").unwrap();
    assert_eq!(stored, image.manifest);
    for bytes in [&image.config, &image.layer, &image.manifest] {
        let digest = sha256(bytes);
        let file = home.path().join("out/blobs").join(digest.replace(':', "/"));
        assert_eq!(&std::fs::read(file).unwrap(), bytes);
    }
    for request in standin.requests() {
        let bad = request.status >= 400 && !matches!(request.status, 401 | 404);
        assert!(!bad, "{request:?}");
    }
}

#[test]
fn skopeo_copies_through_gcr_io_with_an_access_token() {
    let standin = ready();
    let credential = format!("oauth2accesstoken:{}", standin.access_token(PUSHER));
    skopeo_round_trip(&standin, &credential, "gcr.io/proj/app");
    let kinds: Vec<_> = standin
        .requests()
        .iter()
        .map(|request| request.kind)
        .collect();
    for kind in [
        RequestKind::Connect,
        RequestKind::Ping,
        RequestKind::Token,
        RequestKind::BlobHead,
        RequestKind::UploadStart,
        RequestKind::UploadPatch,
        RequestKind::UploadPut,
        RequestKind::ManifestPut,
        RequestKind::ManifestGet,
        RequestKind::BlobGet,
        RequestKind::BlobDownload,
    ] {
        assert!(kinds.contains(&kind) || kinds.is_empty(), "{kind:?}");
    }
}

#[test]
fn skopeo_copies_through_pkg_dev_with_a_key_file() {
    let standin = ready();
    let key = standin.service_account(PUSHER, "proj");
    let credential = format!("_json_key:{key}");
    skopeo_round_trip(&standin, &credential, "us-docker.pkg.dev/proj/gcr.io/app");
}

#[test]
fn skopeo_handles_long_locations_and_a_blob_host() {
    let behaviour = Behaviour {
        upload_location: UploadLocation::Absolute,
        upload_token_length: 21_000,
        upload_location_has_query: true,
        blob_download: BlobDownload::CrossHostRedirect("storage.googleapis.com".to_owned()),
        ..Behaviour::default()
    };
    let standin = Standin::builder().behaviour(behaviour).start();
    prepare(&standin);
    let credential = format!("oauth2accesstoken:{}", standin.access_token(PUSHER));
    skopeo_round_trip(&standin, &credential, "gcr.io/proj/app");
    let mut log = standin.requests().into_iter();
    let leaked = log
        .any(|request| request.host == "storage.googleapis.com" && request.authorization.is_some());
    assert!(!leaked);
}

#[test]
fn curl_uses_http2_where_offered_and_reset_ends_one_stream() {
    let behaviour = Behaviour {
        http2: true,
        ..Behaviour::default()
    };
    let standin = Standin::builder().behaviour(behaviour).start();
    standin.put_blob("plain", "a", &vec![9; 2_000_000]);
    let path = format!("/v2/a/blobs/{}", sha256(&vec![9; 2_000_000]));
    let url = format!("https://{}{path}", standin.tls_address());
    let missing = format!("https://{}/v2/a/manifests/t", standin.tls_address());
    let reset = FaultAction::ResetBeforeAnswer;
    standin.fault(Fault::once(RequestKind::ManifestGet, reset));
    let home = tempfile::tempdir().unwrap();
    let Some(mut command) = command(&standin, &home, "curl") else {
        return;
    };
    let ca = home.path().join("ca.pem");
    let format = "%{http_version} %{http_code} %{size_download}\\n";
    command.args([
        "--silent",
        "--http2",
        "--noproxy",
        "*",
        "--write-out",
        format,
    ]);
    command.arg("--cacert").arg(ca);
    for url in [&url, &missing, &url] {
        command.args(["--output", "/dev/null", url]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!((lines[0], lines[2]), ("2 200 2000000", "2 200 2000000"));
    assert!(standin.requests().iter().all(|request| request.http2));
}

#[test]
fn gcloud_lists_images_and_tags() {
    let standin = ready();
    let client = crate::images::pusher(&standin);
    let image = Image::new("one");
    image.push(&client, "proj/app", "v1");
    image.push(&client, "proj/app", "latest");
    Image::new("two").push(&client, "proj/tools/x", "v1");
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let mut command = command(&standin, &home, "gcloud")?;
        command.args(arguments.split(' '));
        Some(command.output().unwrap())
    };
    let Some(listed) = run("container images list --repository=gcr.io/proj") else {
        return;
    };
    assert_eq!(
        succeeded(&listed),
        "NAME\ngcr.io/proj/app\ngcr.io/proj/tools\n"
    );
    let tags = run("container images list-tags gcr.io/proj/app").unwrap();
    let short = &image.digest()[7..19];
    let table =
        format!("DIGEST        TAGS       TIMESTAMP\n{short}  latest,v1  2024-03-09T16:00:00\n");
    assert_eq!(succeeded(&tags), table);
    let tags = run("container images list-tags gcr.io/proj/app --format=json").unwrap();
    let tags: Value = serde_json::from_str(&succeeded(&tags)).unwrap();
    assert_eq!(tags[0]["digest"], image.digest());
    assert_eq!(tags[0]["tags"], json!(["latest", "v1"]));
    let missing = run("container images list --repository=gcr.io/other").unwrap();
    let errors = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(errors.contains("Access denied: gcr.io/other"), "{errors}");
    let requests = standin.requests();
    let token = requests
        .iter()
        .find(|request| request.kind == RequestKind::Token);
    assert_eq!(
        token.unwrap().authorization.as_deref(),
        Some("Basic _token")
    );
}

#[test]
fn gcloud_tags_and_deletes() {
    let standin = ready();
    let image = Image::new("one");
    image.push(&crate::images::pusher(&standin), "proj/app", "one");
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let mut command = command(&standin, &home, "gcloud")?;
        command.args(arguments.split(' '));
        Some(succeeded(&command.output().unwrap()))
    };
    let add = "container images add-tag gcr.io/proj/app:one gcr.io/proj/app:two --quiet";
    if run(add).is_none() {
        return;
    }
    let tags = standin.tags("gcr.io", "proj/app");
    assert_eq!(tags["two"], image.digest());
    run("container images untag gcr.io/proj/app:two --quiet");
    assert!(!standin.tags("gcr.io", "proj/app").contains_key("two"));
    run("container images delete gcr.io/proj/app:one --quiet --force-delete-tags");
    assert_eq!(
        standin.manifest("gcr.io", "proj/app", &image.digest()),
        None
    );
}
