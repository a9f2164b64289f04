//! `docker-daemon:REF`: images of a Docker engine from export to registry, and every failure of an
//! engine.

use std::path::Path;
use std::process::Command;

use insta::assert_snapshot;

use gcr_push::oci::digest::Digest;

use crate::support::docker_registry::DockerRegistry;
use crate::support::fake_engine::{EngineFault, FakeEngine, Store};
use crate::support::images::{TarFile, TestImage};
use crate::support::run::{Outcome, Run};
use crate::support::skopeo::{SkopeoPull, pull_plain};

/// A run that uses this engine, with the folder `spool` as its temporary directory.
fn run(host: &str) -> Run {
    let run = Run::new();
    let spool = run.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    run.variable("DOCKER_HOST", host)
        .variable("TMPDIR", spool.display().to_string())
}

/// A push of `app:1` that fails and leaves nothing behind.
fn failed(run: Run, code: i32) -> Outcome {
    let outcome = run
        .set("image", "docker-daemon:app:1")
        .set("tags", "127.0.0.1:1/app:1")
        .fails_with(code);
    assert_is_empty(&outcome.directory.path().join("spool"));
    outcome
}

/// The error of such a push.
fn error_of(engine: &FakeEngine, code: i32) -> String {
    let outcome = failed(run(&engine.host()).set("stall_timeout", "1s"), code);
    engine.scrub(&outcome.error())
}

fn assert_is_empty(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The image that a push of an archive file yields; other tests check its content.
fn push_archive(registry: &DockerRegistry, archive: Vec<u8>) -> SkopeoPull {
    let name = format!("{}/from/file:1", registry.address());
    Run::new()
        .file("image.tar", archive)
        .set("image", "image.tar")
        .set("tags", &name)
        .succeeds();
    pull_plain(&name)
}

#[test]
fn image_of_every_store_arrives_under_its_name_and_tag() {
    for store in [Store::Classic, Store::Docker25, Store::Containerd] {
        let registry = DockerRegistry::start();
        let test_image = TestImage::new("app", 3);
        let other = TestImage::new("other", 1);
        let engine = FakeEngine::start(
            store,
            &[
                (&other, &["app:latest"]),
                (&test_image, &["team/app:1.2", "app:1"]),
            ],
        );
        let outcome = run(&engine.host())
            .set("image", "docker-daemon:team/app:1.2")
            .set("registry", registry.address())
            .succeeds();
        assert_is_empty(&outcome.directory.path().join("spool"));
        let pulled = pull_plain(&format!("{}/team/app:1.2", registry.address()));
        let expected = push_archive(&registry, engine.archive(1, &["team/app:1.2"]));
        assert_eq!(pulled.manifest, expected.manifest, "{store:?}");
        assert_eq!(pulled.files, expected.files, "{store:?}");
        assert_eq!(
            engine.requests(),
            ["GET /_ping", "GET /images/team/app:1.2/get"]
        );
    }
}

#[test]
fn name_without_tag_means_latest_only() {
    let registry = DockerRegistry::start();
    let (old, new) = (TestImage::new("old", 1), TestImage::new("new", 1));
    let images: [(&TestImage, &[&str]); 2] = [(&old, &["app:1"]), (&new, &["app:latest"])];
    let engine = FakeEngine::start(Store::Docker25, &images);
    run(&engine.host())
        .set("image", "docker-daemon:app")
        .set("registry", registry.address())
        .succeeds();
    let pulled = pull_plain(&format!("{}/app:latest", registry.address()));
    assert!(pulled.files.contains_key(new.id().hex()));
    assert!(
        engine
            .requests()
            .contains(&"GET /images/app:latest/get".to_owned())
    );
}

#[test]
fn image_is_found_by_id_short_id_and_digest() {
    let registry = DockerRegistry::start();
    let test_image = TestImage::new("app", 2);
    for store in [Store::Classic, Store::Docker25, Store::Containerd] {
        let engine = FakeEngine::start(store, &[(&test_image, &["app:1"])]);
        let expected = push_archive(&registry, engine.archive(0, &[]));
        let id = engine.id(0);
        let digest = format!("app@{}", Digest::of(b"app"));
        let short = id.short().to_owned();
        for reference in [
            id.to_string(),
            short.clone(),
            format!("sha256:{short}"),
            digest,
        ] {
            let name = format!("{}/by/id:1", registry.address());
            run(&engine.host())
                .set("image", format!("docker-daemon:{reference}"))
                .set("tags", &name)
                .succeeds();
            let pulled = pull_plain(&name);
            assert_eq!(pulled.manifest, expected.manifest, "{store:?} {reference}");
        }
    }
}

#[test]
fn image_id_gives_no_destination_name() {
    let engine = FakeEngine::faulty(EngineFault::None);
    let nameless = run(&engine.host())
        .set("image", format!("docker-daemon:{}", engine.id(0)))
        .set("registry", "127.0.0.1:1")
        .fails_with(2);
    assert_snapshot!(nameless.error(), @r"
    error: could not determine where to push the image
      caused by: the image has no name: set `name`, or give a full reference in `tags`

    hint: an image that is saved or requested by its ID has no name, and an OCI layout often has only a tag
    ");
}

#[test]
fn engine_over_tcp_bypasses_the_proxy() {
    let registry = DockerRegistry::start();
    let engine = FakeEngine::start(Store::Classic, &[(&TestImage::new("app", 1), &["app:1"])]);
    for host in [engine.tcp_host(), engine.host()] {
        run(&host)
            .variable("HTTP_PROXY", "http://127.0.0.1:1")
            .set("image", "docker-daemon:app:1")
            .set("registry", registry.address())
            .succeeds();
    }
}

#[test]
fn skopeo_reads_from_the_fake_engine() {
    let test_image = TestImage::new("app", 2);
    for store in [Store::Classic, Store::Docker25, Store::Containerd] {
        let engine = FakeEngine::start(store, &[(&test_image, &["app:1"])]);
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--quiet"])
            .args(["--src-daemon-host", &engine.host()])
            .arg("docker-daemon:app:1")
            .arg(format!("dir:{}", folder.path().display()))
            .output()
            .expect("`skopeo` is needed: tests/run installs it");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{store:?}: {error}");
        let config = folder.path().join(test_image.id().hex());
        assert_eq!(
            std::fs::read(config).unwrap(),
            test_image.config,
            "{store:?}"
        );
    }
}

#[test]
fn missing_engine_error_says_where_it_was_expected() {
    let outcome = failed(run("unix:///nowhere/docker.sock"), 2);
    assert_snapshot!(outcome.error(), @r"
    error: no Docker engine answers at `unix:///nowhere/docker.sock`
      caused by: No such file or directory (os error 2)

    hint: if it uses another address, set `DOCKER_HOST`: `docker context inspect` prints the address
    hint: you do not need an engine here: run `docker save --output image.tar NAME` where the image is, and use `docker-archive:image.tar`
    ");
    let outcome = failed(run("tcp://127.0.0.1:1"), 4);
    assert_snapshot!(outcome.error(), @r"
    error: no Docker engine answers at `tcp://127.0.0.1:[PORT]`
      caused by: Connection refused (os error 111)

    hint: if the engine is still starting, try again
    hint: if it uses another address, set `DOCKER_HOST`: `docker context inspect` prints the address
    ");
}

#[test]
fn path_that_is_no_socket_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let [of_file, of_folder] = ["/file", ""].map(|end| {
        let path = format!("{}{end}", folder.path().display());
        let error = failed(run(&format!("unix://{path}")), 2).error();
        error.replace(&path, "PATH")
    });
    assert_snapshot!(of_file, @"
    error: no Docker engine answers at `unix://PATH`
      caused by: it is not a socket

    hint: if it uses another address, set `DOCKER_HOST`: `docker context inspect` prints the address
    hint: you do not need an engine here: run `docker save --output image.tar NAME` where the image is, and use `docker-archive:image.tar`
    ");
    assert_eq!(of_folder, of_file);
}

#[test]
fn forbidden_socket_error_says_who_may_open_it() {
    use std::os::unix::fs::PermissionsExt as _;

    let engine = FakeEngine::faulty(EngineFault::None);
    let nobody = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(engine.socket(), nobody).unwrap();
    let Some(run) = run(&engine.host()).without_root() else {
        eprintln!("skipped: root opens every socket, and `setpriv` does not take that away here");
        return;
    };
    assert_snapshot!(engine.scrub(&failed(run, 3).error()), @r"
    error: no Docker engine answers at `unix://[ENGINE]/docker.sock`
      caused by: Permission denied (os error 13)

    hint: run as root, or as a member of the group that owns the socket
    hint: you do not need an engine here: run `docker save --output image.tar NAME` where the image is, and use `docker-archive:image.tar`
    ");
}

#[test]
fn what_is_no_usable_engine_is_reported() {
    let engine = FakeEngine::faulty(EngineFault::TellsNoVersion);
    assert_snapshot!(error_of(&engine, 2), @"
    error: no Docker engine answers at `unix://[ENGINE]/docker.sock`
      caused by: the response does not contain an API version

    hint: if it uses another address, set `DOCKER_HOST`: `docker context inspect` prints the address
    hint: you do not need an engine here: run `docker save --output image.tar NAME` where the image is, and use `docker-archive:image.tar`
    ");
    let engine = FakeEngine::faulty(EngineFault::Refuses(
        "/_ping",
        400,
        "Client sent an HTTP request to an HTTPS server.\n",
    ));
    assert_snapshot!(error_of(&engine, 2), @"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` refused `GET /_ping`: 400 Bad Request
      caused by: Client sent an HTTP request to an HTTPS server.

    hint: it requires TLS, which gcr-push does not use for engines
    hint: you do not need an engine here: run `docker save --output image.tar NAME` where the image is, and use `docker-archive:image.tar`
    ");
    let engine = FakeEngine::faulty(EngineFault::IsSilent);
    assert_snapshot!(error_of(&engine, 4), @"
    error: no Docker engine answers at `unix://[ENGINE]/docker.sock`
      caused by: no data arrived for 1 s

    hint: if the engine is still starting, try again
    hint: if it uses another address, set `DOCKER_HOST`: `docker context inspect` prints the address
    ");
}

#[test]
fn missing_image_error_lists_similar_images() {
    let test_image = TestImage::new("x", 1);
    let images: [(&TestImage, &[&str]); 2] = [
        (&test_image, &["app:2", "gcr.io/acme/app:1"]),
        (&test_image, &["web:1"]),
    ];
    let engine = FakeEngine::start(Store::Classic, &images);
    assert_snapshot!(error_of(&engine, 2), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` has no image `app:1`

    hint: it has `app:2`, `gcr.io/acme/app:1`
    ");
    let engine = FakeEngine::start(Store::Classic, &[(&test_image, &["apq:1", "web:1"])]);
    let error = error_of(&engine, 2);
    assert!(error.ends_with("hint: it has `apq:1`\n"), "{error}");
    let engine = FakeEngine::start(Store::Classic, &images[1..]);
    assert_snapshot!(error_of(&engine, 2), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` has no image `app:1`

    hint: build or pull it with this engine first; a builder of buildx loads the image into the engine only with `--load` (`load: true`)
    ");
}

#[test]
fn engine_messages_are_shown_and_sanitized() {
    let engine = FakeEngine::faulty(EngineFault::Refuses(
        "/get",
        500,
        r#"{"message":"write /var/lib/docker/tmp/docker-export-1/layer.tar: no space left on device"}"#,
    ));
    assert_snapshot!(error_of(&engine, 1), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` refused `GET /images/app:1/get`: 500 Internal Server Error
      caused by: write /var/lib/docker/tmp/docker-export-1/layer.tar: no space left on device
    ");
    // A proxy that guards the socket.
    let engine = FakeEngine::faulty(EngineFault::Refuses(
        "/get",
        403,
        "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n",
    ));
    assert_snapshot!(error_of(&engine, 3), @"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` refused `GET /images/app:1/get`: 403 Forbidden
      caused by: the response is a web page
    ");
    let engine = FakeEngine::faulty(EngineFault::Refuses(
        "/get",
        503,
        r#"{"message":"::add-mask::a\n::error::b ##[error]c"}"#,
    ));
    assert_snapshot!(error_of(&engine, 4), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` refused `GET /images/app:1/get`: 503 Service Unavailable
      caused by: :\:add-mask::a\n::error::b ##\[error]c
    ");
}

#[test]
fn broken_or_stalled_export_is_reported() {
    let engine = FakeEngine::faulty(EngineFault::Cuts(20_000));
    assert_snapshot!(error_of(&engine, 4), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` stopped the export of `app:1` after 20000 bytes
      caused by: unexpected EOF during chunk size line

    hint: check the engine's log: it may have been stopped, or its disk may be full
    ");
    let engine = FakeEngine::faulty(EngineFault::Stalls(20_000));
    assert_snapshot!(error_of(&engine, 4), @r"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` stopped the export of `app:1` after 20000 bytes
      caused by: no data arrived for 1 s

    hint: check the engine's log: it may have been stopped, or its disk may be full
    ");
}

#[test]
fn engine_error_after_half_an_export_is_reported() {
    const MESSAGE: &str = "open /var/lib/docker/x: input/output error";
    let [nothing, half] = [0, 20_000].map(|length| {
        let engine = FakeEngine::faulty(EngineFault::Stops(length, MESSAGE));
        error_of(&engine, 4)
    });
    assert_snapshot!(half, @"
    error: the Docker engine at `unix://[ENGINE]/docker.sock` stopped the export of `app:1` after 20127 bytes
      caused by: open /var/lib/docker/x: input/output error

    hint: check the engine's log: it may have been stopped, or its disk may be full
    ");
    let cause = format!("caused by: {MESSAGE}\n");
    assert!(nothing.contains(&cause), "{nothing}");
}

#[test]
fn full_disk_during_export_is_reported() {
    let engine = FakeEngine::faulty(EngineFault::None);
    let outcome = failed(run(&engine.host()).with_file_size_limit(16 * 1024), 1);
    assert_snapshot!(outcome.error(), @r"
    error: cannot copy `docker-daemon:app:1` to `[FOLDER]/spool`, after 8050 bytes
      caused by: File too large (os error 27)

    hint: set `TMPDIR` to a directory on a disk with more space; an uncompressed archive file needs no space
    ");
}

#[test]
fn killed_run_leaves_nothing_of_the_export() {
    // Larger than a socket buffer, so that most of it has been read when it stalls.
    let layer = TarFile::new().file("zeros", &vec![0; 4 << 20]).finish();
    let test_image = TestImage::of("amd64", vec![layer]);
    let engine = FakeEngine::with(
        Store::Docker25,
        &[(&test_image, &["app:1"])],
        EngineFault::Stalls(4 << 20),
    );
    let run = run(&engine.host());
    let spool = run.path().join("spool");
    let running = run
        .set("image", "docker-daemon:app:1")
        .set("tags", "127.0.0.1:1/app:1")
        .start();
    engine.wait_until_stalled();
    let directory = running.kill();
    assert!(spool.starts_with(directory.path()));
    assert_is_empty(&spool);
}
