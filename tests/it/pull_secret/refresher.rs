//! `deploy/pull-secret-refresher.yaml`: valid by Kubernetes' types, with exactly the permissions
//! that it needs.

use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use standin::Rule;

use super::{READS, applied, push};
use crate::support::cluster::kubeconfig;
use crate::support::google::Google;
use crate::support::run::{Outcome, Run};

const NAMESPACE: &str = "shop";
const USER: &str = "system:serviceaccount:shop:pull-secret-refresher";

/// The four objects.
struct Refresher {
    account: ServiceAccount,
    role: Role,
    binding: RoleBinding,
    job: CronJob,
}

fn refresher() -> Refresher {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/pull-secret-refresher.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut documents = serde_yaml::Deserializer::from_str(&text);
    let mut next = || Value::deserialize(documents.next().unwrap()).unwrap();
    Refresher {
        account: typed(next()),
        role: typed(next()),
        binding: typed(next()),
        job: typed(next()),
    }
}

/// An object of Kubernetes; a field that its type does not know is lost and noticed.
fn typed<T: DeserializeOwned + Serialize>(document: Value) -> T {
    let object: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), document);
    object
}

/// The issuer of the cluster's own tokens.
const ISSUER: &str = "https://k8s.acme.example";

/// A run with the environment of the CronJob's container and the token that the cluster would
/// mount. The project is the test's.
fn run(google: &Google, kubeconfig: &str) -> Outcome {
    let job = refresher().job.spec.unwrap().job_template.spec.unwrap();
    let pod = job.template.spec.unwrap();
    let container = &pod.containers[0];
    let command = container.command.as_ref().unwrap();
    assert_eq!(command[0], "gcr-push");
    let sources = pod.volumes.as_ref().unwrap()[0]
        .projected
        .clone()
        .unwrap()
        .sources
        .unwrap();
    let projected = sources[0].service_account_token.clone().unwrap();
    let claims = json!({ "sub": USER, "aud": projected.audience.unwrap() });
    let token = google.standin.oidc_token(ISSUER, &claims);
    let mount = &container.volume_mounts.as_ref().unwrap()[0].mount_path;
    let mut run = google
        .with_environment(Run::command(&command[1]))
        .file(&projected.path, token)
        .set("kubeconfig", kubeconfig);
    for variable in container.env.as_ref().unwrap() {
        let value = variable.value.as_deref().unwrap();
        let value = value
            .replace("acme-prod", "acme")
            .replace("latest", "1")
            .replace(&format!("{mount}/"), "");
        run = run.variable(&variable.name, value);
    }
    run.run()
}

/// Google with the image and a provider for the cluster's tokens, and a cluster that grants the
/// refresher these rules.
fn start(rules: &[PolicyRule]) -> (Google, String) {
    const PULLER: &str = "gcr-puller@acme.iam.gserviceaccount.com";
    let google = Google::start();
    let standin = &google.standin;
    google.describe_project("123456789012");
    let condition = format!("assertion.sub == '{USER}'");
    let provider = standin.provider("acme", "clusters/shop", ISSUER, None, &condition);
    let (pool, _) = provider.split_once("/providers/").unwrap();
    let member = format!("principal://iam.googleapis.com/{pool}/subject/{USER}");
    standin.access_token(PULLER);
    let account = format!("projects/acme/serviceAccounts/{PULLER}");
    standin.grant(&member, "roles/iam.workloadIdentityUser", &account);
    standin.grant(PULLER, READS, "projects/acme");
    standin.cluster().create_namespace(NAMESPACE);
    push(&google, "gcr.io/acme/api:1").succeeds();
    for rule in rules {
        let rule = Rule {
            namespace: Some(NAMESPACE.to_owned()),
            verbs: rule.verbs.clone(),
            resources: rule.resources.clone().unwrap(),
            names: rule.resource_names.clone().unwrap(),
        };
        standin.cluster().allow(USER, rule);
    }
    let config = kubeconfig(&google, USER);
    (google, config)
}

#[test]
fn refresher_permissions_suffice_and_rerun_is_quiet() {
    let (google, config) = start(&refresher().role.rules.unwrap());
    let outcome = run(&google, &config);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let first = applied(&google.standin, NAMESPACE, "gcr-pull");
    assert_eq!(first["auths"]["gcr.io"]["username"], "oauth2accesstoken");
    let account = google
        .standin
        .cluster()
        .get("serviceaccounts", NAMESPACE, "default")
        .unwrap();
    assert_eq!(account["imagePullSecrets"][0]["name"], "gcr-pull");
    let outcome = run(&google, &config);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    assert_eq!(applied(&google.standin, NAMESPACE, "gcr-pull"), first);
}

#[test]
fn every_refresher_permission_is_needed() {
    let rules = refresher().role.rules.unwrap();
    let mut spared = 0;
    for (number, rule) in rules.iter().enumerate() {
        for verb in &rule.verbs {
            let mut fewer = rules.clone();
            fewer[number].verbs.retain(|other| other != verb);
            let (google, config) = start(&fewer);
            let outcome = run(&google, &config);
            assert_eq!(outcome.code, 3, "without {verb}: {}", outcome.stderr);
            spared += 1;
        }
    }
    assert_eq!(spared, 5);
}

#[test]
fn refresher_manifests_fit_together() {
    let Refresher {
        account,
        role,
        binding,
        job,
    } = refresher();
    let name = account.metadata.name.as_deref();
    let namespaces = [
        &account.metadata.namespace,
        &role.metadata.namespace,
        &binding.metadata.namespace,
        &job.metadata.namespace,
    ];
    assert!(
        namespaces
            .iter()
            .all(|namespace| namespace.as_deref() == Some(NAMESPACE))
    );
    assert_eq!(
        Some(binding.role_ref.name.as_str()),
        role.metadata.name.as_deref()
    );
    let subject = &binding.subjects.unwrap()[0];
    assert_eq!(Some(subject.name.as_str()), name);
    let job = job.spec.unwrap().job_template.spec.unwrap();
    let pod = job.template.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), name);
    // The audience of the cluster's token is the provider.
    let variables = pod.containers[0].env.clone().unwrap();
    let value = |name: &str| {
        let mut variables = variables.iter();
        let found = variables.find(|variable| variable.name == name).unwrap();
        found.value.clone().unwrap()
    };
    let sources = pod.volumes.unwrap()[0]
        .projected
        .clone()
        .unwrap()
        .sources
        .unwrap();
    let token = sources[0].service_account_token.clone().unwrap();
    let provider = value("GCR_PUSH_WORKLOAD_IDENTITY_PROVIDER");
    assert_eq!(
        token.audience.unwrap(),
        format!("https://iam.googleapis.com/{provider}")
    );
    let mount = &pod.containers[0].volume_mounts.as_ref().unwrap()[0].mount_path;
    assert_eq!(
        value("GCR_PUSH_OIDC_TOKEN"),
        format!("{mount}/{}", token.path)
    );
}
