//! Taking over: the files of `failover_dir`, with real clients. The first registry is stopped, and the
//! same digest comes from the second.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::many_images::mirror_file;
use super::one_image::index;
use super::*;
use crate::support::containerd::Containerd;
use crate::support::docker_registry::DockerRegistry;
use crate::support::images;
use crate::support::run::Outcome;

const FOLDER: &str = "failover";

/// Pushes an index to `team/app:1` of a registry.
fn first(registry: &DockerRegistry) -> String {
    let (mut layout, root) = index();
    layout.list(&root, None);
    Run::new()
        .file("image.tar", layout.archive())
        .set("image", "image.tar")
        .set("tags", format!("{}/team/app:1", registry.address()))
        .succeeds();
    images::digest(&root).to_string()
}

/// Mirrors `team/app:1` to another registry, with the files of `failover_dir`.
fn mirrored(first: &DockerRegistry, second: &DockerRegistry, to: &str) -> Outcome {
    mirror_file(&format!(
        "destinations: [{}/second]\nimages:\n  - from: {}/team/app:1\n    to: '{to}'\n",
        second.address(),
        first.address(),
    ))
    .set("failover_dir", FOLDER)
    .succeeds()
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The digest that skopeo finds with a `registries.conf`. `None` if it finds none.
fn by_skopeo(configuration: &Path, image: &str) -> Option<String> {
    let output = Command::new("skopeo")
        .arg(format!("--registries-conf={}", configuration.display()))
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{image}"))
        .output()
        .expect("`skopeo` is needed: tests/run installs it");
    let digest = gcr_push::oci::digest::Digest::of(&output.stdout);
    output.status.success().then(|| digest.to_string())
}

#[test]
fn podman_and_crio_pull_from_the_second() {
    for to in ["{path}", "other/{name}"] {
        let (gone, second) = (DockerRegistry::start(), DockerRegistry::start());
        let digest = first(&gone);
        let image = format!("{}/team/app", gone.address());
        let outcome = mirrored(&gone, &second, to);
        let file = outcome
            .directory
            .path()
            .join(FOLDER)
            .join("containers/registries.conf");
        assert_eq!(
            by_skopeo(&file, &format!("{image}:1")).as_ref(),
            Some(&digest)
        );
        drop(gone);
        let empty = outcome.directory.path().join("empty.conf");
        fs::write(&empty, "").unwrap();
        assert_eq!(by_skopeo(&empty, &format!("{image}:1")), None);
        for name in [format!("{image}:1"), format!("{image}@{digest}")] {
            assert_eq!(by_skopeo(&file, &name).as_ref(), Some(&digest), "{name}");
        }
    }
}

#[test]
fn containerd_pulls_from_the_second() {
    if !Containerd::can_start() {
        eprintln!("SKIPPED, containerd needs root");
        return;
    }
    let (gone, second) = (DockerRegistry::start(), DockerRegistry::start());
    let digest = first(&gone);
    let image = format!("{}/team/app:1", gone.address());
    let outcome = mirrored(&gone, &second, "{path}");
    let hosts = outcome
        .directory
        .path()
        .join(FOLDER)
        .join("containerd/certs.d");
    let containerd = Containerd::start();
    assert!(containerd.fetch(&image, &hosts).is_some());
    drop(gone);
    // Nothing of the first pull is left in a store of its own.
    let containerd = Containerd::start();
    assert_eq!(containerd.fetch(&image, outcome.directory.path()), None);
    assert_eq!(containerd.fetch(&image, &hosts), Some(digest));
}

#[test]
fn kustomize_names_the_second() {
    let (from, second) = (DockerRegistry::start(), DockerRegistry::start());
    first(&from);
    let outcome = mirrored(&from, &second, "other/{name}:v{tag}");
    let folder = outcome.directory.path();
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\nspec: {{template: {{spec: \
         {{containers: [{{name: c, image: '{}/team/app:1'}}]}}}}}}\n",
        from.address()
    );
    fs::write(folder.join("deployment.yaml"), deployment).unwrap();
    let overlay = "resources: [deployment.yaml]\ncomponents: [failover/kustomize]\n";
    fs::write(folder.join("kustomization.yaml"), overlay).unwrap();
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(folder)
        .output();
    let printed = text(&output.expect("`kubectl` is needed: tests/run installs it"));
    let image = format!("image: {}/second/other/app:v1\n", second.address());
    assert!(printed.contains(&image), "{printed}");
}

#[test]
fn k3s_gets_the_same_endpoints_as_containerd() {
    let (from, second) = (DockerRegistry::start(), DockerRegistry::start());
    first(&from);
    let outcome = mirrored(&from, &second, "x/{path}");
    let file: Value = serde_yaml::from_str(&outcome.read("failover/k3s/registries.yaml")).unwrap();
    let endpoints = &file["mirrors"][from.address()]["endpoint"];
    let (own, second) = (from.address(), second.address());
    let wanted = [
        format!("http://{own}"),
        format!("http://{second}/v2/second/x"),
    ];
    assert_eq!(*endpoints, serde_json::json!(wanted));
    let folder = own.replace(':', "_");
    let hosts = outcome.read(&format!("failover/containerd/certs.d/{folder}_/hosts.toml"));
    insta::assert_snapshot!(outcome.scrub(&hosts), @r#"
    # Written by `gcr-push mirror`. See docs/failover.md.
    server = "http://127.0.0.1:[PORT]"

    [host."http://127.0.0.1:[PORT]"]
      capabilities = ["pull", "resolve"]

    [host."http://127.0.0.1:[PORT]/v2/second/x"]
      capabilities = ["pull", "resolve"]
      override_path = true
    "#);
}

#[test]
fn what_cannot_be_expressed_is_told() {
    let (from, second) = (DockerRegistry::start(), DockerRegistry::start());
    first(&from);
    let outcome = mirrored(&from, &second, "other/{name}:v{tag}");
    insta::assert_snapshot!(outcome.scrub(&outcome.read("failover/NOTES.md")), @r#"
    What these files cannot say:

    - CRI-O and Podman: `127.0.0.1:[PORT]/team/app` has other tags there, but they do not change the tag
    - containerd and k3s: `127.0.0.1:[PORT]/team/app` is `127.0.0.1:[PORT]/second/other/app` there, but they do not change path and tag: with `to: "{path}"`, they find it
    "#);
    assert!(
        !outcome
            .directory
            .path()
            .join("failover/containerd")
            .exists()
    );
    assert!(
        !outcome
            .directory
            .path()
            .join("failover/containers")
            .exists()
    );
    assert!(
        outcome.stderr.contains("`failover_dir`: "),
        "{}",
        outcome.stderr
    );
}
