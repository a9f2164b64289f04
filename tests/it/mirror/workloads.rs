//! What a cluster runs, and what manifests name.

use serde_json::{Value, json};
use standin::{Request, RequestKind, Rule};

use super::many_images::{mirror_file, put};
use super::*;
use crate::support::cluster::{administrator, kubeconfig};
use crate::support::docker_registry::DockerRegistry;
use crate::support::google::Google;
use crate::support::images::{self, LayerCompression, TestImage};

/// A cluster, and a registry with images at the plain address of the same stand-in.
fn start() -> Google {
    let google = Google::start();
    google.standin.cluster().create_namespace("shop");
    google
}

fn digest_of(standin: &Standin, repository: &str, tag: &str) -> String {
    let (_, bytes) = standin.manifest(PLAIN, repository, tag).unwrap();
    gcr_push::oci::digest::Digest::of(&bytes).to_string()
}

/// A Pod with one container; `image_id` is empty if no node has started it.
fn pod(name: &str, image: &str, image_id: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": image}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "imageID": image_id}]},
    })
}

fn put_pod(google: &Google, name: &str, image: &str, image_id: &str) {
    let cluster = google.standin.cluster();
    cluster.put("pods", "shop", pod(name, image, image_id), "kubectl");
}

fn put_workload(google: &Google, resource: &'static str, image: &str) {
    let object = json!({
        "metadata": {"name": "api"},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
    });
    google
        .standin
        .cluster()
        .put(resource, "shop", object, "kubectl");
}

fn of_cluster(google: &Google, destination: &str, more: &str) -> Run {
    let file = format!(
        "destinations: [{destination}/second]\nimages:\n  - {{ from: kubernetes{more} }}\n"
    );
    mirror_file(&file).set("kubeconfig", administrator(google))
}

fn of_manifests(destination: &str, paths: &str) -> Run {
    mirror_file(&format!(
        "destinations: [{destination}/second]\nimages:\n  - {{ from: manifests, paths: [{paths}] \
         }}\n"
    ))
}

fn manifest_requests(standin: &Standin) -> Vec<String> {
    let is_manifest = |request: &Request| {
        matches!(
            request.kind,
            RequestKind::ManifestGet | RequestKind::ManifestHead
        )
    };
    let requests = standin.requests();
    let requests = requests.iter().filter(|request| is_manifest(request));
    requests
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

#[test]
fn moved_tag_is_taken_by_the_digest_that_runs() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "team/api", "1", "what runs");
    let running = digest_of(&google.standin, "team/api", "1");
    put(
        &google.standin,
        PLAIN,
        "team/api",
        "1",
        "what was pushed since",
    );
    put(&google.standin, PLAIN, "team/job", "2", "job");
    let image = format!("{host}/team/api:1");
    let id = format!("docker-pullable://{host}/team/api@{running}");
    put_pod(&google, "api-1", &image, &id);
    put_workload(&google, "deployments", &image);
    put_workload(&google, "jobs", &format!("{host}/team/job:2"));
    let outcome = of_cluster(&google, destination.address(), "").succeeds();
    assert!(
        outcome.stdout.contains("2 images: 2 copied"),
        "{}",
        outcome.stdout
    );
    let there = tagged(destination.address(), "second/team/api", "1").unwrap();
    assert_eq!(
        there,
        google
            .standin
            .manifest(PLAIN, "team/api", &running)
            .unwrap()
            .1
    );
    assert!(tagged(destination.address(), "second/team/job", "2").is_some());

    let check = of_cluster(&google, destination.address(), "")
        .set("dry_run", "true")
        .set("require_complete", "true");
    check.succeeds();
}

#[test]
fn running_image_that_is_there_costs_one_question() {
    let (google, second) = (start(), Standin::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    let running = digest_of(&google.standin, "api", "1");
    put_pod(
        &google,
        "a",
        &format!("{host}/api:1"),
        &format!("x@{running}"),
    );
    of_cluster(&google, &second.plain_address(), "").succeeds();
    google.standin.clear_requests();
    second.clear_requests();
    let outcome = of_cluster(&google, &second.plain_address(), "").succeeds();
    assert!(outcome.stdout.contains("1 unchanged"), "{}", outcome.stdout);
    assert_eq!(manifest_requests(&google.standin), Vec::<String>::new());
    assert_eq!(
        manifest_requests(&second),
        ["HEAD /v2/second/api/manifests/1"]
    );
}

#[test]
fn platform_digest_stands_for_its_index() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    let mut layout = Layout::default();
    let amd64 = layout.image(&TestImage::on("amd64", "app", 2), LayerCompression::Gzip);
    let arm64 = layout.image(&TestImage::on("arm64", "app", 2), LayerCompression::Gzip);
    let root = layout.index(&[amd64.clone(), arm64]);
    seed(&google.standin, PLAIN, "app", &layout, &root, "1");
    let id = format!("{host}/app@{}", images::digest(&amd64));
    put_pod(&google, "a", &format!("{host}/app:1"), &id);
    for result in ["1 copied", "1 unchanged"] {
        let outcome = of_cluster(&google, destination.address(), "").succeeds();
        assert!(outcome.stdout.contains(result), "{}", outcome.stdout);
    }
    let there = tagged(destination.address(), "second/app", "1").unwrap();
    assert_eq!(there, layout.get(&root));
}

#[test]
fn every_digest_of_a_tag_survives() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    let mut digests = Vec::new();
    for content in ["one", "two", "three"] {
        put(&google.standin, PLAIN, "api", "1", content);
        digests.push(digest_of(&google.standin, "api", "1"));
    }
    let image = format!("{host}/api:1");
    for (name, digest) in [("a", 0), ("b", 1), ("c", 1)] {
        put_pod(
            &google,
            name,
            &image,
            &format!("{host}/api@{}", digests[digest]),
        );
    }
    put_pod(&google, "d", &format!("{host}/api@{}", digests[2]), "");
    let outcome = of_cluster(&google, destination.address(), "")
        .set("report_file", "report.json")
        .succeeds();
    for digest in &digests {
        assert!(tagged(destination.address(), "second/api", digest).is_some());
    }
    let tag = tagged(destination.address(), "second/api", "1");
    assert_eq!(
        tag,
        tagged(destination.address(), "second/api", &digests[1])
    );
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    let names = report["images"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|one| one["destinations"][0]["image"].as_str().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.ends_with(&format!("/second/api@{}", digests[2]))),
        "{names:?}"
    );
    let again = of_cluster(&google, destination.address(), "").succeeds();
    assert!(
        again.stdout.contains("3 images: 3 unchanged"),
        "{}",
        again.stdout
    );
}

#[test]
fn unreadable_images_are_rows_of_their_own() {
    let (google, destination) = (start(), DockerRegistry::start());
    let private = DockerRegistry::with_login();
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put_pod(&google, "a", &format!("{host}/api:1"), "");
    put_pod(&google, "b", &format!("{host}/local:1"), "sha256:0123");
    put_pod(&google, "c", &format!("{}/secret:1", private.address()), "");
    put_pod(&google, "d", "bad\u{1b}[2J\nimage", "");
    put_pod(&google, "e", &"x".repeat(100_000), "");
    let outcome = of_cluster(&google, destination.address(), "")
        .set("report_file", "report.json")
        .fails_with(3);
    assert!(tagged(destination.address(), "second/api", "1").is_some());
    assert!(
        outcome.stdout.contains("5 images: 1 copied, 4 failed"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains('\u{1b}') && outcome.stdout.len() < 8000);
    // They are in the order of the registries, whose ports differ.
    let error = outcome.error();
    let mut errors: Vec<_> = error.split("error: ").map(str::trim_end).collect();
    errors.sort_unstable();
    insta::assert_snapshot!(errors.join("\n\n"), @r"


    `bad\u{1b}[2J\nimage`, which Pod shop/d names, is not an image
      caused by: image name `library/bad\u{1b}[2J\nimage` is not valid: registries accept only lower case

    hint: exclude it with `exclude`, or set an image in the object

    `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`, which Pod shop/e names, is not an image
      caused by: image name `library/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is not valid: with its host it is longer than 255 characters

    hint: exclude it with `exclude`, or set an image in the object

    could not check `127.0.0.1:[PORT]/local:1`, which Pod shop/b (only a node has it) names
      caused by: `127.0.0.1:[PORT]/local:1` does not exist

    hint: use `exclude` for an image that only a node has, or whose registry refuses access

    could not check `127.0.0.1:[PORT]/secret:1`, which Pod shop/c names
      caused by: could not list `127.0.0.1:[PORT]/secret:1`
      caused by: GET http://127.0.0.1:[PORT]/v2/secret/manifests/1: 401 UNAUTHORIZED
      caused by: authentication required

    hint: put a login for `127.0.0.1:[PORT]` in `docker_config`
    hint: use `exclude` for an image that only a node has, or whose registry refuses access
    ");
}

#[test]
fn missing_verbs_are_named_and_the_rest_is_mirrored() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put_workload(&google, "deployments", &format!("{host}/api:1"));
    let cluster = google.standin.cluster();
    cluster.allow("reader", Rule::of("shop", "deployments", &["list"]));
    let run = |more: &str| {
        of_cluster(&google, destination.address(), more)
            .set("kubeconfig", kubeconfig(&google, "reader"))
            .fails_with(3)
    };
    let outcome = run(", namespaces: [shop]");
    assert!(
        outcome.stdout.contains("1 image: 1 copied"),
        "{}",
        outcome.stdout
    );
    insta::assert_snapshot!(outcome.error(), @"
    error: the cluster at https://127.0.0.1:[PORT] does not allow `reader` to `list` `pods`, `replicationcontrollers`, `statefulsets.apps`, `daemonsets.apps`, `jobs.batch`, `cronjobs.batch` in `shop`

    hint: allow it to `list` them, and nothing else: `kubectl create clusterrole gcr-push-images --verb=list --resource=pods,replicationcontrollers,deployments.apps,statefulsets.apps,daemonsets.apps,jobs.batch,cronjobs.batch`
    hint: and bind the role: `kubectl create rolebinding gcr-push-images --clusterrole=gcr-push-images --user='reader' --namespace=shop`
    ");
    insta::assert_snapshot!(run("").error(), @"
    error: the cluster at https://127.0.0.1:[PORT] does not allow `reader` to `list` `pods`, `replicationcontrollers`, `deployments.apps`, `statefulsets.apps`, `daemonsets.apps`, `jobs.batch`, `cronjobs.batch` in all namespaces

    hint: allow it to `list` them, and nothing else: `kubectl create clusterrole gcr-push-images --verb=list --resource=pods,replicationcontrollers,deployments.apps,statefulsets.apps,daemonsets.apps,jobs.batch,cronjobs.batch`
    hint: and bind the role: `kubectl create clusterrolebinding gcr-push-images --clusterrole=gcr-push-images --user='reader'`
    ");
}

#[test]
fn long_lists_are_read_in_pages() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put(&google.standin, PLAIN, "last", "1", "last");
    for number in 0..5000 {
        let name = if number == 4999 { "last" } else { "api" };
        put_pod(
            &google,
            &format!("p{number:04}"),
            &format!("{host}/{name}:1"),
            "",
        );
    }
    google.standin.cluster().expire_lists(1);
    let outcome = of_cluster(&google, destination.address(), "").succeeds();
    assert!(
        outcome.stderr.contains("read 5000 Pod"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stdout.contains("2 images: 2 copied"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn empty_or_unreachable_cluster_is_no_success() {
    let (google, destination) = (start(), DockerRegistry::start());
    let outcome = of_cluster(&google, destination.address(), "").fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: no workload in the cluster names an image: nothing was found

    hint: check the namespaces, the cluster or the files; for a chart, use the output of `helm template`, and for an overlay, the output of `kustomize build`
    ");
    let access =
        crate::support::cluster::with(&google.standin, "https://127.0.0.1:1", "{token: t}");
    let outcome = of_cluster(&google, destination.address(), "")
        .set("kubeconfig", access)
        .fails_with(4);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not list the `pods`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/pods
      caused by: Connection refused (os error 111)

    hint: check that this machine can reach `127.0.0.1:[PORT]`: an API server is often open only to its own network
    ");
}

#[test]
fn nightly_check_fails_where_something_lacks() {
    let (google, second) = (start(), Standin::start());
    let host = google.standin.plain_address();
    for (name, content) in [("api", "1"), ("web", "2"), ("gone", "3")] {
        put(&google.standin, PLAIN, name, "1", content);
        put_pod(&google, name, &format!("{host}/{name}:1"), "");
    }
    put(&second, PLAIN, "second/web", "1", "another");
    put(&second, PLAIN, "second/api", "1", "1");
    let check = || {
        of_cluster(&google, &second.plain_address(), "")
            .set("dry_run", "true")
            .set("require_complete", "true")
    };
    let outcome = check().set("report_file", "report.json").fails_with(1);
    let report: Value = serde_json::from_str(&outcome.read("report.json")).unwrap();
    assert_eq!(report["status"], "failed");
    let states = report["images"].as_array().unwrap().iter();
    let states: Vec<_> = states.map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["missing", "outdated", "up to date"]);
    insta::assert_snapshot!(outcome.scrub(&outcome.stdout), @"
    IMAGE                   DESTINATION                    STATE
    127.0.0.1:[PORT]/gone:1  127.0.0.1:[PORT]/second/gone:1  missing
    127.0.0.1:[PORT]/web:1   127.0.0.1:[PORT]/second/web:1   outdated
    127.0.0.1:[PORT]/api:1   127.0.0.1:[PORT]/second/api:1   up to date
    3 images: 1 missing, 1 outdated, 1 up to date
    ");
    insta::assert_snapshot!(outcome.error(), @"
    error: the required destinations lack images: 1 missing, 1 outdated

    hint: run it without `dry_run` to copy what is missing
    ");
    of_cluster(&google, &second.plain_address(), "").succeeds();
    check().succeeds();
    let outcome = check().set("dry_run", "false").fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: an input cannot be used
      `require_complete`: it has no effect without `dry_run: true` (GCR_PUSH_REQUIRE_COMPLETE)

    hint: `gcr-push mirror --help` describes every variable
    ");
}

#[test]
fn manifests_are_read_by_pattern() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put(&google.standin, PLAIN, "web", "1", "web");
    let deployment = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\nspec: {{template: \
             {{spec: {{containers: [{{name: c, image: '{host}/{image}'}}]}}}}}}\n---\napiVersion: \
             v1\nkind: Service\n"
        )
    };
    let outcome = of_manifests(destination.address(), "'out/**/*.yaml', more.yml")
        .file("out/a/b/api.yaml", deployment("api:1"))
        .file("out/values.yaml", "image: {repository: app}\n")
        .file("more.yml", deployment("web:1"))
        .succeeds();
    assert!(
        outcome.stdout.contains("2 images: 2 copied"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains("skipping `out/values.yaml`"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn manifests_without_an_image_are_reported() {
    let destination = DockerRegistry::start();
    let run = |name: &str, text: &str, paths: &str| {
        let run = of_manifests(destination.address(), paths).file(name, text);
        run.run()
    };
    let errors = [
        run("values.yaml", "image: {repository: app}\n", "values.yaml"),
        run(
            "crd.yaml",
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n",
            "'*.yaml'",
        ),
        run("t.yaml", "image: {{ .Values.image }}: x\n", "t.yaml"),
        run("t.yaml", "", "'missing/*.yaml', 'gone.yaml'"),
        run("folder/t.yaml", "", "folder"),
        of_manifests(destination.address(), "utf-16.yaml")
            .file("utf-16.yaml", b"\xff\xfea\0")
            .run(),
    ];
    let errors = errors.map(|outcome| outcome.error());
    insta::assert_snapshot!(errors.join("\n"), @"
    error: no workload in `values.yaml` names an image: found only 1 document without `apiVersion` and `kind`

    hint: check the namespaces, the cluster or the files; for a chart, use the output of `helm template`, and for an overlay, the output of `kustomize build`

    error: no workload in `*.yaml` names an image: found only 1 document without `apiVersion` and `kind`, 1 CustomResourceDefinition

    hint: check the namespaces, the cluster or the files; for a chart, use the output of `helm template`, and for an overlay, the output of `kustomize build`

    error: `t.yaml` is not YAML: mapping values are not allowed in this context at line 1 column 27

    hint: for a chart, use the output of `helm template`, not its templates

    error: `missing/*.yaml` in `paths` matches no file

    hint: a path is relative to the directory where gcr-push runs, and matches files, not a directory; `*` matches a part of a name, `**` any directories

    error: `gone.yaml` in `paths` matches no file

    hint: a path is relative to the directory where gcr-push runs, and matches files, not a directory; `*` matches a part of a name, `**` any directories

    error: `folder` in `paths` matches no file

    hint: a path is relative to the directory where gcr-push runs, and matches files, not a directory; `*` matches a part of a name, `**` any directories

    error: could not read `utf-16.yaml`
      caused by: stream did not contain valid UTF-8

    hint: save it as UTF-8: `>` of Windows PowerShell writes UTF-16
    ");
}

#[test]
fn two_images_with_one_name_are_both_told() {
    let (google, destination) = (start(), DockerRegistry::start());
    let other = Standin::start();
    put(&google.standin, PLAIN, "api", "1", "api");
    put(&other, PLAIN, "api", "1", "other");
    for (name, host) in [
        ("a", google.standin.plain_address()),
        ("b", other.plain_address()),
    ] {
        put_pod(&google, name, &format!("{host}/api:1"), "");
    }
    let outcome = of_cluster(&google, destination.address(), "").fails_with(2);
    insta::assert_snapshot!(outcome.error(), @r#"
    error: both `127.0.0.1:[PORT]/api:1` and `127.0.0.1:[PORT]/api:1` would become `127.0.0.1:[PORT]/second/api:1`

    hint: separate them with `to: "{path}"`, which is the whole path of the source, with `to: "{host}/{path}"`, or with `tags`
    "#);
    let apart = of_cluster(&google, destination.address(), ", to: '{host}/{path}'").succeeds();
    assert!(apart.stdout.contains("2 copied"), "{}", apart.stdout);
}

#[test]
fn docker_hub_is_told_and_exclude_leaves_out() {
    let (google, destination) = (start(), DockerRegistry::start());
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put_pod(&google, "a", &format!("{host}/api:1"), "");
    put_pod(&google, "b", "gke.gcr.io/agent:1", "");
    // What runs from the destination already is not copied below itself.
    let there = format!("{}/second/x:1", destination.address());
    put_pod(&google, "c", &there, "");
    let outcome = of_cluster(
        &google,
        destination.address(),
        ", exclude: ['gke.gcr.io/*']",
    );
    let outcome = outcome.succeeds();
    assert!(
        outcome.stdout.contains("1 image: 1 copied"),
        "{}",
        outcome.stdout
    );
    put_pod(&google, "d", "busybox", "");
    let outcome = of_cluster(
        &google,
        destination.address(),
        ", exclude: ['gke.gcr.io/*']",
    )
    .variable("HTTPS_PROXY", "http://127.0.0.1:1")
    .set("retry_timeout", "0s")
    .fails_with(4);
    let note = "an image without a registry in its name is from Docker Hub: `busybox`";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("docker.io/library/busybox:latest"),
        "{}",
        outcome.stderr
    );
}

/// The rules of `deploy/kubernetes-nightly-check.yaml`, and its mirror file.
fn nightly_check() -> (Vec<Rule>, String) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/kubernetes-nightly-check.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let (mut rules, mut file) = (Vec::new(), None);
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = <Value as serde::Deserialize>::deserialize(document).unwrap();
        let words =
            |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        match object["kind"].as_str().unwrap() {
            "ClusterRole" => {
                rules.extend(object["rules"].as_array().unwrap().iter().map(|rule| Rule {
                    verbs: words(&rule["verbs"]),
                    resources: words(&rule["resources"]),
                    ..Rule::default()
                }))
            }
            "ConfigMap" => file = object["data"]["gcr-push.yaml"].as_str().map(str::to_owned),
            _ => {}
        }
    }
    (rules, file.unwrap())
}

#[test]
fn role_of_the_nightly_check_is_enough() {
    let (google, second) = (start(), Standin::start());
    let (rules, file) = nightly_check();
    let host = google.standin.plain_address();
    put(&google.standin, PLAIN, "api", "1", "api");
    put_pod(&google, "a", &format!("{host}/api:1"), "");
    for rule in rules {
        google.standin.cluster().allow("check", rule);
    }
    let file = file.replace("eu.gcr.io", &second.plain_address());
    let run = || mirror_file(&file).set("kubeconfig", kubeconfig(&google, "check"));
    run().succeeds();
    let check = run().set("dry_run", "true").set("require_complete", "true");
    let outcome = check.succeeds();
    assert!(
        outcome.stdout.contains("1 up to date"),
        "{}",
        outcome.stdout
    );
}
