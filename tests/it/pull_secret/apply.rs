//! Applying the Secret to a cluster: by server-side apply, with service accounts, and without a
//! write if it is up to date.

use serde_json::{Value, json};
use standin::{Request, RequestKind, Rule};

use super::{applied, pull_secret_command, push, reader};
use crate::support::cluster::{DEPLOYER, administrator, kubeconfig};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;

const GCR_IO: &str = "gcr.io/acme/app:1";

/// Google with an image, and a cluster with the namespace `shop`.
fn start() -> Google {
    let google = Google::start();
    google.standin.cluster().create_namespace("shop");
    push(&google, GCR_IO).succeeds();
    google.standin.clear_requests();
    google
}

/// `pull-secret` with the reader's key, applied to the current namespace `shop`.
fn apply(google: &Google) -> Run {
    pull_secret_command(google, GCR_IO)
        .set("pull_secret_credentials_json", reader(google))
        .set("pull_secret_apply", "true")
        .set("kubeconfig", administrator(google))
}

/// The writes to the cluster: every request that changes something and is no dry run.
fn writes(google: &Google) -> Vec<String> {
    let writes = |request: &Request| {
        request.kind == RequestKind::Kubernetes
            && request.method != "GET"
            && !request.query.contains("dryRun")
            && !request.path.contains("accessreviews")
    };
    let requests = google.standin.requests();
    let requests = requests.iter().filter(|request| writes(request));
    requests
        .map(|request| format!("{} {}?{}", request.method, request.path, request.query))
        .collect()
}

fn names(account: &Value) -> Vec<&str> {
    let list = account["imagePullSecrets"].as_array().into_iter().flatten();
    list.map(|entry| entry["name"].as_str().unwrap()).collect()
}

fn foreign_object(r#type: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "gcr-pull" },
        "type": r#type,
        "data": { key: "e30=" },
    })
}

#[test]
fn push_writes_the_secret_to_every_namespace() {
    let google = Google::start();
    for namespace in ["staging", "production"] {
        google.standin.cluster().create_namespace(namespace);
    }
    let outcome = push(&google, GCR_IO)
        .set("pull_secret_namespaces", "staging, production")
        .set("pull_secret_apply", "true")
        .set("pull_secret_service_accounts", "default")
        .set("kubeconfig", administrator(&google))
        .succeeds();
    for namespace in ["staging", "production"] {
        let file = applied(&google.standin, namespace, "gcr-pull");
        assert_eq!(file["auths"]["gcr.io"]["username"], "_json_key");
        let account = google
            .standin
            .cluster()
            .get("serviceaccounts", namespace, "default");
        assert_eq!(names(&account.unwrap()), ["gcr-pull"]);
        let message = format!("created the Secret `gcr-pull` in `{namespace}`");
        assert!(outcome.stderr.contains(&message), "{}", outcome.stderr);
    }
    let secret = google
        .standin
        .cluster()
        .get("secrets", "staging", "gcr-pull")
        .unwrap();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    let managed = &secret["metadata"]["managedFields"][0];
    assert_eq!(
        (&managed["manager"], &managed["operation"]),
        (&json!("gcr-push"), &json!("Apply"))
    );
}

#[test]
fn second_run_changes_nothing_silently() {
    let google = start();
    let key = reader(&google);
    let run = || {
        apply(&google)
            .set("pull_secret_credentials_json", &key)
            .set("pull_secret_service_accounts", "default")
    };
    run().succeeds();
    let before = google.standin.cluster().get("secrets", "shop", "gcr-pull");
    google.standin.clear_requests();
    let outcome = run().succeeds();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert_eq!(writes(&google), Vec::<String>::new());
    let all = google.standin.requests();
    assert!(
        all.iter()
            .all(|request| request.method == "GET" || request.method == "CONNECT")
    );
    assert_eq!(
        google.standin.cluster().get("secrets", "shop", "gcr-pull"),
        before
    );
}

#[test]
fn dry_run_checks_everything_and_writes_nothing() {
    let google = start();
    let outcome = apply(&google)
        .set("pull_secret_service_accounts", "default")
        .set("pull_secret_file", "secret.yaml")
        .set("dry_run", "true")
        .succeeds();
    assert_eq!(writes(&google), Vec::<String>::new());
    assert!(!outcome.directory.path().join("secret.yaml").exists());
    for message in [
        "would have created the Secret `gcr-pull` in `shop`",
        "would have added the Secret `gcr-pull` to the service account `default` in `shop`",
    ] {
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
}

#[test]
fn changed_key_is_updated_in_place() {
    let google = start();
    apply(&google).succeeds();
    let cluster = google.standin.cluster();
    let uid = cluster.get("secrets", "shop", "gcr-pull").unwrap()["metadata"]["uid"].clone();
    let old = applied(&google.standin, "shop", "gcr-pull");
    let outcome = apply(&google)
        .set("pull_secret_labels", "team=shop")
        .succeeds();
    assert!(
        outcome
            .stderr
            .contains("updated the Secret `gcr-pull` in `shop`")
    );
    assert_ne!(applied(&google.standin, "shop", "gcr-pull"), old);
    let secret = cluster.get("secrets", "shop", "gcr-pull").unwrap();
    assert_eq!(secret["metadata"]["uid"], uid);
    assert_eq!(secret["metadata"]["labels"]["team"], "shop");
    // Our own fields are removed when they are no longer wanted; those of others stay.
    let merge = json!({ "metadata": { "labels": { "owner": "them" } } });
    patch_as_other_manager(&google, "secrets/gcr-pull", &merge);
    apply(&google).succeeds();
    let labels = cluster.get("secrets", "shop", "gcr-pull").unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({ "owner": "them" }));
}

/// A change by another field manager.
fn patch_as_other_manager(google: &Google, path: &str, patch: &Value) {
    google.standin.cluster().allow("them", Rule::everything());
    let token = google.standin.cluster().user("them");
    let url = format!(
        "http://{}/api/v1/namespaces/shop/{path}?fieldManager=them",
        google.standin.plain_address()
    );
    let status = std::process::Command::new("curl")
        .args(["--silent", "--fail", "--request", "PATCH", &url])
        .args(["--header", "Content-Type: application/merge-patch+json"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--data", &patch.to_string(), "--output", "/dev/null"])
        .status()
        .expect("`curl` is needed: tests/run installs it");
    assert!(status.success());
}

#[test]
fn service_account_keeps_its_other_secrets() {
    let google = start();
    let others = json!({ "imagePullSecrets": [{ "name": "first" }, { "name": "second" }] });
    patch_as_other_manager(&google, "serviceaccounts/default", &others);
    apply(&google)
        .set("pull_secret_service_accounts", "default")
        .succeeds();
    let account = google
        .standin
        .cluster()
        .get("serviceaccounts", "shop", "default");
    assert_eq!(names(&account.unwrap()), ["first", "second", "gcr-pull"]);
}

#[test]
fn concurrent_service_account_changes_are_kept() {
    let google = start();
    google.standin.cluster().interfere(6);
    apply(&google)
        .set("pull_secret_service_accounts", "default")
        .succeeds();
    let account = google
        .standin
        .cluster()
        .get("serviceaccounts", "shop", "default")
        .unwrap();
    let names = names(&account);
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "gcr-pull").count(), 1);
}

#[test]
fn concurrent_runs_add_the_secret_once() {
    let google = start();
    let runs = [(); 3].map(|()| {
        apply(&google)
            .set("pull_secret_service_accounts", "default")
            .start()
    });
    for run in runs {
        let outcome = run.wait();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    }
    let account = google
        .standin
        .cluster()
        .get("serviceaccounts", "shop", "default")
        .unwrap();
    assert_eq!(names(&account), ["gcr-pull"]);
}

#[test]
fn secret_made_by_kubectl_is_adopted_only_on_request() {
    let google = start();
    let foreign_secret = foreign_object("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
    google
        .standin
        .cluster()
        .put("secrets", "shop", foreign_secret, "kubectl-create");
    let outcome = apply(&google).fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the Secret `gcr-pull` in `shop` was written by `kubectl-create` (`.data..dockerconfigjson`); gcr-push does not take over its fields unless you allow it

    hint: set `pull_secret_replace: true` to take over its fields; after that, they belong to gcr-push
    hint: or delete it first: `kubectl delete secret gcr-pull --namespace=shop`
    ");
    assert_eq!(writes(&google), Vec::<String>::new());
    apply(&google).set("pull_secret_replace", "true").succeeds();
    let file = applied(&google.standin, "shop", "gcr-pull");
    assert_eq!(file["auths"]["gcr.io"]["username"], "_json_key");
    // From then on it is managed by us.
    apply(&google).set("pull_secret_labels", "a=b").succeeds();
}

#[test]
fn secret_of_another_type_is_replaced_only_on_request() {
    let google = start();
    let foreign_secret = foreign_object("Opaque", "something");
    google
        .standin
        .cluster()
        .put("secrets", "shop", foreign_secret, "kubectl-create");
    let outcome = apply(&google).fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the Secret `gcr-pull` in `shop` is of the type `Opaque`, which cannot be changed

    hint: set `pull_secret_replace: true` to delete it and create it again
    hint: or look at it first: `kubectl get secret gcr-pull --namespace=shop`
    ");
    let outcome = apply(&google).set("pull_secret_replace", "true").succeeds();
    assert!(
        outcome
            .stderr
            .contains("deleted the Secret `gcr-pull` in `shop`")
    );
    assert!(
        outcome
            .stderr
            .contains("created the Secret `gcr-pull` in `shop`")
    );
    let secret = google
        .standin
        .cluster()
        .get("secrets", "shop", "gcr-pull")
        .unwrap();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(secret["data"].as_object().unwrap().len(), 1);
}

#[test]
fn immutable_secret_is_replaced_only_on_request() {
    let google = start();
    let mut foreign_secret = foreign_object("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
    foreign_secret["immutable"] = json!(true);
    google
        .standin
        .cluster()
        .put("secrets", "shop", foreign_secret, "kubectl-create");
    let outcome = apply(&google).fails_with(2);
    assert!(
        outcome
            .error()
            .contains("is immutable, which cannot be changed")
    );
    apply(&google).set("pull_secret_replace", "true").succeeds();
    let secret = google
        .standin
        .cluster()
        .get("secrets", "shop", "gcr-pull")
        .unwrap();
    assert_eq!(secret["immutable"], Value::Null);
}

#[test]
fn nothing_is_deleted_unless_it_can_be_recreated() {
    let google = start();
    let foreign_secret = foreign_object("Opaque", "something");
    google
        .standin
        .cluster()
        .put("secrets", "shop", foreign_secret, "kubectl-create");
    let before = google.standin.cluster().get("secrets", "shop", "gcr-pull");
    let user = "careful";
    let verbs = &["get", "patch", "delete"];
    google
        .standin
        .cluster()
        .allow(user, Rule::of("shop", "secrets", verbs));
    let outcome = apply(&google)
        .set("kubeconfig", kubeconfig(&google, user))
        .set("pull_secret_replace", "true")
        .fails_with(3);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not create the Secret `gcr-pull` in `shop`
      caused by: POST https://127.0.0.1:[PORT]/apis/authorization.k8s.io/v1/selfsubjectaccessreviews: 403 Forbidden
      caused by: `create` of `secrets` is not allowed

    hint: it is not allowed to `create` `secrets`: create a Role that allows `get,create,patch`: `kubectl create role gcr-push-secrets --verb=get,create,patch --resource=secrets --namespace=shop`
    hint: and bind it: `kubectl create rolebinding gcr-push-secrets --role=gcr-push-secrets --user=USER --namespace=shop`
    ");
    let after = google.standin.cluster().get("secrets", "shop", "gcr-pull");
    assert_eq!(after, before);
}

#[test]
fn missing_namespace_is_created_with_its_content() {
    let google = start();
    google.standin.cluster().delay_service_accounts(3);
    let run = || {
        apply(&google)
            .set("pull_secret_namespaces", "new")
            .set("pull_secret_service_accounts", "default")
    };
    let outcome = run().fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: there is no namespace `new` in the cluster

    hint: create it with `kubectl create namespace new`, or set `pull_secret_create_namespace: true`
    ");
    let outcome = run().set("pull_secret_create_namespace", "true").succeeds();
    assert!(
        outcome.stderr.contains("created the namespace `new`"),
        "{}",
        outcome.stderr
    );
    let account = google
        .standin
        .cluster()
        .get("serviceaccounts", "new", "default")
        .unwrap();
    assert_eq!(names(&account), ["gcr-pull"]);
}

#[test]
fn token_is_renewed_well_before_expiry() {
    const EXPIRY: &str = "gcr-push.github.io/expires-at";
    let google = start();
    let run = || {
        pull_secret_command(&google, GCR_IO)
            .set("access_token", google.standin.access_token(ACCOUNT))
            .set("pull_secret_apply", "true")
            .set("kubeconfig", administrator(&google))
    };
    let outcome = run().succeeds();
    assert!(
        outcome.stderr.contains("is valid until"),
        "{}",
        outcome.stderr
    );
    let first = applied(&google.standin, "shop", "gcr-pull");
    let outcome = run().succeeds();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert_eq!(applied(&google.standin, "shop", "gcr-pull"), first);
    // An expiry in half an hour, an unreadable one, and none.
    for end in [json!("2020-01-01T00:00:00Z"), json!("soon"), Value::Null] {
        let before = applied(&google.standin, "shop", "gcr-pull");
        let older = json!({ "metadata": { "annotations": { EXPIRY: end } } });
        patch_as_other_manager(&google, "secrets/gcr-pull", &older);
        run().set("pull_secret_replace", "true").succeeds();
        assert_ne!(
            applied(&google.standin, "shop", "gcr-pull"),
            before,
            "{end}"
        );
    }
    // A key replaces it, and the annotation is removed.
    apply(&google).succeeds();
    let secret = google
        .standin
        .cluster()
        .get("secrets", "shop", "gcr-pull")
        .unwrap();
    assert_eq!(secret["metadata"]["annotations"], Value::Null);
    google.standin.cluster().forbid(DEPLOYER);
}
