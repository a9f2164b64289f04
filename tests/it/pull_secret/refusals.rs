//! Refusals by a cluster: one sentence each, with the fix; nothing is applied in part.

use standin::{Fault, FaultAction, RequestKind, Rule};

use super::{pull_secret_command, push, reader};
use crate::support::cluster::{administrator, kubeconfig, with};
use crate::support::google::Google;
use crate::support::run::{Outcome, Run};
use crate::support::secret_leaks::Secrets;

const GCR_IO: &str = "gcr.io/acme/app:1";

fn start() -> Google {
    let google = Google::start();
    for namespace in ["shop", "staging"] {
        google.standin.cluster().create_namespace(namespace);
    }
    push(&google, GCR_IO).succeeds();
    google
}

fn apply(google: &Google, kubeconfig: &str) -> Run {
    pull_secret_command(google, GCR_IO)
        .set("pull_secret_credentials_json", reader(google))
        .set("pull_secret_apply", "true")
        .set("pull_secret_namespaces", "shop, staging")
        .set("pull_secret_service_accounts", "default")
        .set("kubeconfig", kubeconfig)
}

/// The error; the cluster is unchanged.
fn refused(google: &Google, outcome: &Outcome) -> String {
    for namespace in ["shop", "staging"] {
        let cluster = google.standin.cluster();
        assert_eq!(cluster.get("secrets", namespace, "gcr-pull"), None);
        let account = cluster
            .get("serviceaccounts", namespace, "default")
            .unwrap();
        assert_eq!(account["imagePullSecrets"], serde_json::Value::Null);
    }
    outcome.error()
}

#[test]
fn missing_verb_is_reported_with_its_role() {
    let google = start();
    let user = "system:serviceaccount:ci:deployer";
    let config = kubeconfig(&google, user);
    let cluster = google.standin.cluster();
    let outcome = apply(&google, &config)
        .set("pull_secret_namespaces", "shop")
        .fails_with(3);
    insta::assert_snapshot!(refused(&google, &outcome), @r#"
    error: could not read the Secret `gcr-pull` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull: 403 Forbidden
      caused by: secrets "gcr-pull" is forbidden: User "system:serviceaccount:ci:deployer" cannot get resource "secrets" in API group "" in the namespace "shop"

    hint: it is not allowed to `get` `secrets`: create a Role that allows `get,create,patch`: `kubectl create role gcr-push-secrets --verb=get,create,patch --resource=secrets --namespace=shop`
    hint: and bind it: `kubectl create rolebinding gcr-push-secrets --role=gcr-push-secrets --serviceaccount=ci:deployer --namespace=shop`

    error: could not read the service account `default` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/serviceaccounts/default: 403 Forbidden
      caused by: serviceaccounts "default" is forbidden: User "system:serviceaccount:ci:deployer" cannot get resource "serviceaccounts" in API group "" in the namespace "shop"

    hint: it is not allowed to `get` `serviceaccounts`: create a Role that allows `get,patch`: `kubectl create role gcr-push-serviceaccounts --verb=get,patch --resource=serviceaccounts --namespace=shop`
    hint: and bind it: `kubectl create rolebinding gcr-push-serviceaccounts --role=gcr-push-serviceaccounts --serviceaccount=ci:deployer --namespace=shop`
    "#);
    // Read permission in one namespace does not cover another.
    cluster.allow(
        user,
        Rule::of("shop", "secrets", &["get", "patch", "create"]),
    );
    cluster.allow(user, Rule::of("shop", "serviceaccounts", &["get", "patch"]));
    cluster.allow(
        user,
        Rule::of("staging", "secrets", &["get", "patch", "create"]),
    );
    cluster.allow(user, Rule::of("staging", "serviceaccounts", &["get"]));
    let outcome = apply(&google, &config).fails_with(3);
    insta::assert_snapshot!(refused(&google, &outcome), @r#"
    error: could not change the service account `default` in `staging`
      caused by: PATCH https://127.0.0.1:[PORT]/api/v1/namespaces/staging/serviceaccounts/default: 403 Forbidden
      caused by: serviceaccounts "default" is forbidden: User "system:serviceaccount:ci:deployer" cannot patch resource "serviceaccounts" in API group "" in the namespace "staging"

    hint: it is not allowed to `patch` `serviceaccounts`: create a Role that allows `get,patch`: `kubectl create role gcr-push-serviceaccounts --verb=get,patch --resource=serviceaccounts --namespace=staging`
    hint: and bind it: `kubectl create rolebinding gcr-push-serviceaccounts --role=gcr-push-serviceaccounts --serviceaccount=ci:deployer --namespace=staging`
    "#);
}

#[test]
fn hint_names_the_verb_that_the_cluster_refuses() {
    let google = start();
    let config = kubeconfig(&google, "jane");
    let cluster = google.standin.cluster();
    cluster.allow("jane", Rule::of("shop", "secrets", &["get", "patch"]));
    let outcome = apply(&google, &config)
        .set("pull_secret_namespaces", "shop")
        .set("pull_secret_service_accounts", "")
        .fails_with(3);
    // A new Secret is applied with a PATCH, for which the cluster wants `create` too.
    insta::assert_snapshot!(refused(&google, &outcome), @r#"
    error: could not apply the Secret `gcr-pull` in `shop`
      caused by: PATCH https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull: 403 Forbidden
      caused by: secrets "gcr-pull" is forbidden: User "jane" cannot create resource "secrets" in API group "" in the namespace "shop"

    hint: it is not allowed to `create` `secrets`: create a Role that allows `get,create,patch`: `kubectl create role gcr-push-secrets --verb=get,create,patch --resource=secrets --namespace=shop`
    hint: and bind it: `kubectl create rolebinding gcr-push-secrets --role=gcr-push-secrets --user='jane' --namespace=shop`
    "#);
}

#[test]
fn forbidden_namespace_is_reported_with_its_cluster_role() {
    let google = start();
    let config = kubeconfig(&google, "jane");
    let cluster = google.standin.cluster();
    cluster.allow(
        "jane",
        Rule::of("new", "secrets", &["get", "patch", "create"]),
    );
    let outcome = apply(&google, &config)
        .set("pull_secret_namespaces", "new")
        .set("pull_secret_service_accounts", "")
        .set("pull_secret_create_namespace", "true")
        .fails_with(3);
    insta::assert_snapshot!(refused(&google, &outcome), @r#"
    error: could not create the namespace `new`
      caused by: POST https://127.0.0.1:[PORT]/api/v1/namespaces: 403 Forbidden
      caused by: namespaces is forbidden: User "jane" cannot create resource "namespaces" in API group "" at the cluster scope

    hint: it is not allowed to `create` `namespaces`: create a ClusterRole that allows `create`: `kubectl create clusterrole gcr-push-namespaces --verb=create --resource=namespaces`
    hint: and bind it: `kubectl create clusterrolebinding gcr-push-namespaces --clusterrole=gcr-push-namespaces --user='jane'`
    "#);
}

#[test]
fn all_missing_permissions_are_reported_at_once() {
    let google = start();
    let config = administrator(&google);
    google.standin.cluster().terminate_namespace("staging");
    let outcome = apply(&google, &config)
        .set("pull_secret_namespaces", "shop, nowhere, staging")
        .set("pull_secret_service_accounts", "robot")
        .fails_with(2);
    insta::assert_snapshot!(refused(&google, &outcome), @r#"
    error: there is no service account `robot` in the namespace `shop`

    hint: create it with `kubectl create serviceaccount robot --namespace=shop`, or set another in `pull_secret_service_accounts`

    error: there is no namespace `nowhere` in the cluster

    hint: create it with `kubectl create namespace nowhere`, or set `pull_secret_create_namespace: true`

    error: could not apply the Secret `gcr-pull` in `staging`
      caused by: PATCH https://127.0.0.1:[PORT]/api/v1/namespaces/staging/secrets/gcr-pull: 403 Forbidden
      caused by: secrets "gcr-pull" is forbidden: unable to create new content in namespace staging because it is being terminated

    hint: wait until the namespace is deleted, and create it again

    error: there is no service account `robot` in the namespace `staging`

    hint: create it with `kubectl create serviceaccount robot --namespace=staging`, or set another in `pull_secret_service_accounts`
    "#);
}

#[test]
fn secrets_written_before_a_failure_are_listed() {
    let google = start();
    let config = administrator(&google);
    // Two namespaces are read and tried (twice four requests), then written.
    let broken = FaultAction::status(500);
    google
        .standin
        .fault(Fault::once(RequestKind::Kubernetes, broken).after(9));
    let outcome = apply(&google, &config).fails_with(4);
    insta::assert_snapshot!(outcome.error(), @"
    error: the pull secret is only partly applied
      caused by: could not read the service account `default` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/serviceaccounts/default: 500 UNKNOWN
      caused by: Internal error encountered.

    hint: changed before the failure: created the Secret `gcr-pull` in `shop`
    hint: the cluster has a temporary problem; try again in a few minutes
    ");
    // The next run completes it.
    let outcome = apply(&google, &config).succeeds();
    assert!(
        outcome.stderr.contains("in `staging`"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn unreachable_cluster_is_reported_by_address() {
    let google = start();
    let config = with(&google.standin, "https://127.0.0.1:1", "{}");
    let outcome = apply(&google, &config).fails_with(4);
    insta::assert_snapshot!(refused(&google, &outcome), @"
    error: could not read the Secret `gcr-pull` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull
      caused by: Connection refused (os error 111)

    hint: check that this machine can reach `127.0.0.1:[PORT]`: an API server is often open only to its own network
    ");
}

#[test]
fn rejected_cluster_login_is_reported_once() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let config = with(&google.standin, &server, "{token: wrong}");
    let outcome = apply(&google, &config).fails_with(3);
    let error = refused(&google, &outcome);
    insta::assert_snapshot!(error, @"
    error: could not read the Secret `gcr-pull` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull: 401 Unauthorized

    hint: the cluster does not accept the kubeconfig's login: its token or certificate may have expired
    ");
}

#[test]
fn answer_of_a_non_cluster_is_not_shown() {
    let google = start();
    let config = administrator(&google);
    apply(&google, &config).succeeds();
    // A byte in the middle of the Secret is changed, which makes it invalid JSON.
    let spoilt = FaultAction::CorruptByte(1);
    google
        .standin
        .fault(Fault::once(RequestKind::Kubernetes, spoilt));
    let outcome = apply(&google, &config)
        .variable("RUST_LOG", "trace")
        .fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not read the Secret `gcr-pull` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull
      caused by: the response is not from Kubernetes

    hint: check that `127.0.0.1:[PORT]` is a Kubernetes API server, and that no sign-in page answers instead
    ");
    assert!(
        !outcome.stderr.contains("dockerconfigjson\\\""),
        "{}",
        outcome.stderr
    );
    assert!(
        !outcome.stderr.contains("eyJhdXRocyI6"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn missing_plugin_is_reported_with_an_alternative() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: gke-gcloud-auth-plugin-nowhere, interactiveMode: IfAvailable}}";
    let config = with(&google.standin, &server, exec);
    let outcome = apply(&google, &config).fails_with(2);
    insta::assert_snapshot!(refused(&google, &outcome), @"
    error: the kubeconfig's login program `gke-gcloud-auth-plugin-nowhere` cannot run here
      caused by: No such file or directory (os error 2)

    hint: use a kubeconfig that needs no program, with the token of a service account: `kubectl create token NAME --namespace=NAMESPACE` creates one
    ");
}

#[test]
fn failed_plugin_is_quoted_by_stderr_only() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'echo TOKEN; echo please log in >&2; exit 7']}}";
    let config = with(&google.standin, &server, exec);
    let outcome = apply(&google, &config).fails_with(3);
    insta::assert_snapshot!(refused(&google, &outcome), @"
    error: the kubeconfig's login program `sh` failed: exit status: 7: please log in

    hint: use a kubeconfig that needs no program, with the token of a service account: `kubectl create token NAME --namespace=NAMESPACE` creates one
    ");
    assert!(!outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
}

#[test]
fn oversized_secret_is_reported_before_any_push() {
    let google = start();
    let key = reader(&google).replacen('{', &format!("{{\"note\":\"{}\",", "x".repeat(600_000)), 1);
    google.standin.clear_requests();
    let outcome = push(&google, "gcr.io/acme/app:1")
        .file("key.json", key)
        .set("pull_secret_credentials_json", "key.json")
        .fails_with(2);
    assert!(
        outcome
            .error()
            .contains("but Kubernetes accepts at most 1 MiB"),
        "{}",
        outcome.error()
    );
    assert_eq!(google.standin.requests().len(), 0);
}

#[test]
fn overloaded_cluster_is_asked_again() {
    let google = start();
    let config = administrator(&google);
    let overloaded = FaultAction::status(429);
    let fault = Fault::once(RequestKind::Kubernetes, overloaded).times(2);
    google.standin.fault(fault);
    let outcome = apply(&google, &config).succeeds();
    // The same trouble is logged once.
    assert_eq!(outcome.stderr.matches("trying again in").count(), 1);
}

#[test]
fn webhook_refusal_is_no_missing_role_and_hides_quotes() {
    let google = start();
    let config = administrator(&google);
    let quoting = Fault::always(RequestKind::Kubernetes, FaultAction::Quote(403));
    google
        .standin
        .fault(quoting.path("PATCH /api/v1/namespaces/shop/secrets"));
    let outcome = apply(&google, &config)
        .variable("RUST_LOG", "trace")
        .fails_with(3);
    Secrets::of(&google).assert_no_leak(&outcome, &[]);
    let message = refused(&google, &outcome);
    assert!(
        message
            .contains("403 Forbidden\n  caused by: admission webhook \"q\" denied the request: "),
        "{message}"
    );
    assert!(message.contains("***"), "{message}");
    let (_, hints) = message.split_once("\n\n").unwrap();
    insta::assert_snapshot!(hints, @"
    hint: the cluster's admission control `q` refuses it, and a role does not change this: do what its message requires, or ask the cluster's administrator to allow it
    ");
}
