//! Tests of the options of the pull secret.

use super::variables::*;

use gcr_push::commands::pull_secret::request::{PullCredential, PullSecretForm, PullSecretOutput};

fn asked() -> Variables {
    bare().with("GCR_PUSH_PULL_SECRET_FILE", "pull-secret.yaml")
}

/// A run without an output for the Secret.
fn bare() -> Variables {
    Variables::push().with("GCR_PUSH_PULL_SECRET", "gcr-pull")
}

/// The account of the key in the Secret, and whether it pushes. `None` for a token.
fn key(run: &Variables) -> Option<(String, bool)> {
    match run.request().pull_secret.unwrap().credential.unwrap() {
        PullCredential::Key { key, pushes } => Some((key.client_email, pushes)),
        PullCredential::Token => None,
    }
}

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: a
clusters: [{name: c, cluster: {server: 'https://k8s.example'}}]
users: [{name: u, user: {token: SECRET-TOKEN}}]
contexts: [{name: a, context: {cluster: c, user: u}}, {name: b, context: {cluster: c, user: u}}]
";

#[test]
fn reader_key_is_held_for_every_google_host() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "staging, production")
        .with("GCR_PUSH_REGISTRY", "us.gcr.io,registry.example.com,gcr.io");
    let secret = run.request().pull_secret.unwrap();
    assert_eq!(secret.name, "gcr-pull");
    assert_eq!(secret.namespaces, ["staging", "production"]);
    assert_eq!(secret.form, PullSecretForm::Yaml);
    let file = PullSecretOutput::File("pull-secret.yaml".into());
    assert_eq!(secret.output, Some(file));
    let reader = "reader@acme.iam.gserviceaccount.com".to_owned();
    assert_eq!(key(&run), Some((reader, false)));
}

#[test]
fn missing_reader_key_error_names_both_options() {
    insta::assert_snapshot!(asked().refused(), @r"
    error: an input is missing
      `pull_secret_credentials_json`: set it to the key of an account that can only read, or set `pull_secret_allow_push_key: true` to put the pushing key into the pull secret (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = asked().with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "True");
    let pusher = "pusher@acme.iam.gserviceaccount.com".to_owned();
    assert_eq!(key(&run), Some((pusher, true)));
}

#[test]
fn pushing_key_is_refused_as_reader_key() {
    let run = asked().with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", KEY);
    insta::assert_snapshot!(run.refused(), @r"
    error: an input cannot be used
      `pull_secret_credentials_json`: it is a key of the account that pushes, so everyone who reads the pull secret could push: use a key of an account that can only read, or set `pull_secret_allow_push_key: true` (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = run.with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true");
    assert!(key(&run).unwrap().1);
}

#[test]
fn sign_in_without_key_gives_a_token() {
    let run = asked()
        .without("GCR_PUSH_CREDENTIALS_JSON")
        .with("GCR_PUSH_ACCESS_TOKEN", "ya29.x")
        .with("GCR_PUSH_PROJECT_ID", "acme");
    assert_eq!(key(&run), None);
    let run = run.with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key());
    assert!(key(&run).is_some());
}

#[test]
fn secret_is_never_printed_under_a_ci() {
    let with_key = || bare().with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key());
    let printed = with_key().with("GCR_PUSH_PULL_SECRET_FILE", "-");
    let secret = printed.request().pull_secret.unwrap();
    assert_eq!(secret.output, Some(PullSecretOutput::Stdout));
    insta::assert_snapshot!(with_key().refused(), @"
    error: an input is missing
      `pull_secret_file`: set it to a file, such as `pull-secret.yaml`, or `-` for standard output, or set `pull_secret_apply: true` (GCR_PUSH_PULL_SECRET_FILE)

    hint: `gcr-push push --help` describes every variable
    ");
    for variable in ["GITHUB_ACTIONS", "GITLAB_CI", "CI"] {
        let run = with_key().with(variable, "true");
        let text = run.refused();
        assert!(
            text.contains("set it to a file") && !text.contains("`-`"),
            "{text}"
        );
        let text = run.with("GCR_PUSH_PULL_SECRET_FILE", "-").refused();
        assert!(text.contains("the log keeps it"), "{text}");
    }
}

#[test]
fn cluster_is_text_base64_path_or_environment() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(KUBECONFIG);
    let applied = || {
        bare()
            .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
            .with("GCR_PUSH_PULL_SECRET_APPLY", "true")
            .file("kube/config", KUBECONFIG)
            .file("kube/broken", "clusters: [")
    };
    for run in [
        applied().with("GCR_PUSH_KUBECONFIG", KUBECONFIG),
        applied().with("GCR_PUSH_KUBECONFIG", encoded),
        applied().with("GCR_PUSH_KUBECONFIG", "kube/config"),
        applied().with("KUBECONFIG", "kube/missing:kube/config"),
        applied()
            .with("KUBERNETES_SERVICE_HOST", "10.0.0.1")
            .with("KUBERNETES_SERVICE_PORT", "443")
            .file("/var/run/secrets/kubernetes.io/serviceaccount/token", "t"),
    ] {
        let secret = run.request().pull_secret.unwrap();
        assert!(secret.apply.is_some());
        assert_eq!(secret.output, None);
        assert!(!format!("{secret:?}").contains("SECRET-TOKEN"));
    }
    let rendered = [
        applied(),
        applied().with("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        applied().with("GCR_PUSH_KUBECONFIG", "kube/missing.yaml"),
        applied().with("GCR_PUSH_KUBECONFIG", "kube/broken"),
        applied().with("GCR_PUSH_KUBECONFIG", "clusters: [] # SECRET-TOKEN"),
        applied().with("KUBECONFIG", "kube/missing"),
        applied()
            .with("GCR_PUSH_KUBECONFIG", KUBECONFIG)
            .with("GCR_PUSH_KUBECONFIG_CONTEXT", "c"),
    ];
    let rendered: Vec<_> = rendered
        .iter()
        .map(|run| run.refused().lines().nth(1).unwrap().to_owned())
        .collect();
    insta::assert_snapshot!(rendered.join("\n"), @"
    `kubeconfig`: `pull_secret_apply` needs a cluster: set this to a kubeconfig, or set `KUBECONFIG`; in a Pod, its service account is used (GCR_PUSH_KUBECONFIG)
    `kubeconfig`: `pull_secret_apply` needs a cluster: set this to a kubeconfig, or set `KUBECONFIG`; in a Pod, its service account is used (GCR_PUSH_KUBECONFIG)
    `kubeconfig`: if it is meant as a path, the file does not exist; its value is not shown (GCR_PUSH_KUBECONFIG)
    `kubeconfig`: the file that it names cannot be used: it is not a kubeconfig: expected YAML with `clusters`, `users` and `contexts` (GCR_PUSH_KUBECONFIG)
    `kubeconfig`: if it is meant as a path, the file does not exist; its value is not shown (GCR_PUSH_KUBECONFIG)
    `KUBECONFIG`: none of its files exists
    `kubeconfig_context`: it has no context `c`: it has `a`, `b` (GCR_PUSH_KUBECONFIG_CONTEXT)
    ");
}

#[test]
fn cluster_variables_are_refused_without_apply() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_PULL_SECRET_SERVICE_ACCOUNTS", "default")
        .with("GCR_PUSH_PULL_SECRET_CREATE_NAMESPACE", "true")
        .with("GCR_PUSH_PULL_SECRET_REPLACE", "true");
    insta::assert_snapshot!(run.refused(), @"
    error: three inputs cannot be used
      `pull_secret_service_accounts`: it has no effect without `pull_secret_apply: true` (GCR_PUSH_PULL_SECRET_SERVICE_ACCOUNTS)
      `pull_secret_create_namespace`: it has no effect without `pull_secret_apply: true` (GCR_PUSH_PULL_SECRET_CREATE_NAMESPACE)
      `pull_secret_replace`: it has no effect without `pull_secret_apply: true` (GCR_PUSH_PULL_SECRET_REPLACE)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn names_are_checked_as_in_kubernetes() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET", "Gcr_Pull")
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "ok, a.b")
        .with(
            "GCR_PUSH_PULL_SECRET_LABELS",
            "team=shop, a b=c, team=x, nothing",
        )
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "yes");
    insta::assert_snapshot!(run.refused(), @"
    error: four inputs cannot be used
      `pull_secret`: `Gcr_Pull` is not a valid name of a Secret: use lower-case letters, digits, `-` and `.`, with a letter or digit at each end and beside each dot (GCR_PUSH_PULL_SECRET)
      `pull_secret_namespaces`: `a.b` is not a valid namespace: use lower-case letters, digits and `-`, with a letter or digit at each end (GCR_PUSH_PULL_SECRET_NAMESPACES)
      `pull_secret_labels`: `a b=c` is not a valid label: names and values have letters, digits, `-`, `_` and `.`, with a letter or digit at each end (GCR_PUSH_PULL_SECRET_LABELS)
      `pull_secret_labels`: `team` has two values (GCR_PUSH_PULL_SECRET_LABELS)
      `pull_secret_labels`: `nothing` is not a label: expected `KEY=VALUE` (GCR_PUSH_PULL_SECRET_LABELS)
      `pull_secret_allow_push_key`: it is `yes`, expected `true` or `false` (GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY)

    hint: `gcr-push push --help` describes every variable
    ");
}

#[test]
fn variables_are_refused_without_a_secret_name() {
    let run = Variables::push()
        .with("GCR_PUSH_PULL_SECRET_NAMESPACES", "a")
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true")
        .with("GCR_PUSH_PULL_SECRET_FILE", "x")
        .with("GCR_PUSH_PULL_SECRET_APPLY", "true");
    insta::assert_snapshot!(run.refused(), @"
    error: five inputs cannot be used
      `pull_secret_namespaces`: it has no effect without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_NAMESPACES)
      `pull_secret_credentials_json`: it has no effect without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON)
      `pull_secret_allow_push_key`: it has no effect without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY)
      `pull_secret_file`: it has no effect without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_FILE)
      `pull_secret_apply`: it has no effect without `pull_secret`, the name of the Secret (GCR_PUSH_PULL_SECRET_APPLY)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = Variables::push().with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "false");
    assert!(run.request().pull_secret.is_none());
}

#[test]
fn google_key_is_for_google_registries_only() {
    let run = asked()
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_REGISTRY", "registry.example.com");
    insta::assert_snapshot!(run.refused(), @"
    error: an input cannot be used
      `pull_secret`: no destination is Google's; the logins of `docker_config` go into the pull secret only with `pull_secret_allow_push_key: true`, because they can push (GCR_PUSH_PULL_SECRET)

    hint: `gcr-push push --help` describes every variable
    ");
    let run = run.with("GCR_PUSH_PULL_SECRET_ALLOW_PUSH_KEY", "true");
    assert!(run.request().pull_secret.unwrap().credential.is_none());
}

#[test]
fn command_needs_neither_image_nor_project() {
    let run = Variables::bare()
        .argument(CommandName::PullSecret)
        .with("GCR_PUSH_PULL_SECRET", "gcr-pull")
        .with("GCR_PUSH_PULL_SECRET_FILE", "-")
        .with("GCR_PUSH_PULL_SECRET_CREDENTIALS_JSON", reader_key())
        .with("GCR_PUSH_REGISTRY", "us-docker.pkg.dev");
    let Command::PullSecret(request) = run.command() else {
        panic!("another command");
    };
    assert_eq!(request.destinations.hosts()[0].host(), "us-docker.pkg.dev");
    let run = run.without("GCR_PUSH_PULL_SECRET");
    insta::assert_snapshot!(run.refused(), @"
    error: an input is missing
      `pull_secret`: set it to the name of the Secret, such as `gcr-pull` (GCR_PUSH_PULL_SECRET)

    hint: `gcr-push pull-secret --help` describes every variable
    ");
}
