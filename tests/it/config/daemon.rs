//! Tests of the engine's address for `docker-daemon:REF`.

use super::variables::*;
use gcr_push::image::location::{DaemonImage, EngineAddress, ImageOrigin, ImageSource};

fn engine(run: &Variables) -> EngineAddress {
    match run.request().image {
        ImageOrigin::Local(ImageSource::DockerDaemon(DaemonImage { engine, reference })) => {
            assert_eq!(reference, "team/app:1");
            engine
        }
        other => panic!("no image of an engine: {other:?}"),
    }
}

fn push() -> Variables {
    Variables::push().with("GCR_PUSH_IMAGE", "docker-daemon:team/app:1")
}

#[test]
fn engine_is_found_where_docker_looks() {
    let socket = |path: &str| EngineAddress::Socket(path.into());
    assert_eq!(engine(&push()), socket("/var/run/docker.sock"));
    let run = push().with("DOCKER_HOST", "unix:///run/user/1000/docker.sock");
    assert_eq!(engine(&run), socket("/run/user/1000/docker.sock"));
    let run = push().with("DOCKER_HOST", "tcp://docker:2375");
    assert_eq!(engine(&run), EngineAddress::Tcp("docker".to_owned(), 2375));
    // The runner mounts the socket under its path on the host.
    let run = Variables::action().with("INPUT_IMAGE", "docker-daemon:team/app:1");
    assert_eq!(engine(&run), socket("/var/run/docker.sock"));
}

#[test]
fn tls_is_for_tcp_only() {
    let run = push().with("DOCKER_TLS_VERIFY", "1");
    assert!(matches!(engine(&run), EngineAddress::Socket(_)));
    let run = run.with("DOCKER_HOST", "tcp://docker:2376");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `DOCKER_TLS_VERIFY`: a Docker engine that requires TLS is not supported

    hint: save the image with the Docker client, `docker save --output image.tar NAME`, and use `docker-archive:image.tar`
    ");
}

#[test]
fn engine_over_ssh_is_refused() {
    let run = push().with("DOCKER_HOST", "ssh://me@host");
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `DOCKER_HOST`: a Docker engine is not supported over `ssh://`, only over `unix:///PATH` or `tcp://HOST:PORT`

    hint: save the image with the Docker client, `docker save --output image.tar NAME`, and use `docker-archive:image.tar`
    ");
}

#[test]
fn engine_settings_do_not_matter_to_other_sources() {
    let run = Variables::push().with("DOCKER_HOST", "ssh://me@host");
    assert!(run.result().is_ok());
}
