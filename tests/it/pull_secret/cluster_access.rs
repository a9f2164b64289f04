//! Access to a cluster: tokens, plugins, proxies, and a pod's own service account.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standin::{Fault, FaultAction, RequestKind, Rule};

use super::{applied, pull_secret_command, push, reader};
use crate::support::cluster::{administrator, with};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;

const GCR_IO: &str = "gcr.io/acme/app:1";

fn apply(google: &Google) -> Run {
    pull_secret_command(google, GCR_IO)
        .set("pull_secret_credentials_json", reader(google))
        .set("pull_secret_apply", "true")
}

fn start() -> Google {
    let google = Google::start();
    google.standin.cluster().create_namespace("shop");
    push(&google, GCR_IO).succeeds();
    google
}

fn is_applied(google: &Google) -> bool {
    applied(&google.standin, "shop", "gcr-pull")["auths"]["gcr.io"].is_object()
}

#[test]
fn kubeconfig_files_are_merged() {
    let google = start();
    let config = administrator(&google);
    let (context, rest) = config.split_once("clusters:").unwrap();
    apply(&google)
        .file("kube/a", context)
        .file("kube/b", format!("clusters:{rest}"))
        .variable("KUBECONFIG", "kube/missing:kube/a:kube/b")
        .succeeds();
    assert!(is_applied(&google));
}

#[test]
fn plugin_signs_in_without_standard_input() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    google.standin.cluster().allow("robot", Rule::everything());
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: IfAvailable}}";
    let answer = format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"{token}"}}}}"#
    );
    let run = apply(&google)
        .file("kube/config", with(&google.standin, &server, exec))
        .set("kubeconfig", "kube/config");
    let script = format!("cat >/dev/null\necho '{answer}'");
    let outcome = program(run, "kube/plugin", &script).succeeds();
    assert!(is_applied(&google));
    assert!(!outcome.stderr.contains(&token));
}

/// Creates an executable `name` in the run's folder.
fn program(run: Run, name: &str, script: &str) -> Run {
    use std::os::unix::fs::PermissionsExt as _;
    let run = run.file(name, format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(
        run.path().join(name),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    run
}

#[test]
fn plugin_is_run_again_after_expiry_and_may_print_yaml() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    google.standin.cluster().allow("robot", Rule::everything());
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, provideClusterInfo: true, env: [{name: OWN, value: x}]}}";
    let run = apply(&google)
        .file("kube/config", with(&google.standin, &server, exec))
        .set("kubeconfig", "kube/config");
    let exec_info = run.path().join("exec_info").display().to_string();
    let script = format!(
        "echo \"$OWN $KUBERNETES_EXEC_INFO\" >>'{exec_info}'\n\
         printf 'kind: ExecCredential\\nstatus:\\n  token: {token}\\n  \
         expirationTimestamp: \"2020-01-01T00:00:00Z\"\\n'"
    );
    let run = program(run, "kube/plugin", &script);
    let outcome = run.succeeds();
    assert!(is_applied(&google));
    let exec_infos = outcome.read("exec_info");
    assert!(exec_infos.lines().count() > 2, "{exec_infos}");
    for line in exec_infos.lines() {
        let info = line.strip_prefix("x ").unwrap();
        let info: serde_json::Value = serde_json::from_str(info).unwrap();
        assert_eq!(info["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(info["kind"], "ExecCredential");
        assert_eq!(info["spec"]["interactive"], false);
        assert_eq!(info["spec"]["cluster"]["server"], server);
    }
}

#[test]
fn failure_of_a_plugin_with_an_expired_token_is_reported() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin}}";
    let run = apply(&google)
        .file("kube/config", with(&google.standin, &server, exec))
        .set("kubeconfig", "kube/config");
    let ran = run.path().join("ran").display().to_string();
    let script = format!(
        "if [ -e '{ran}' ]; then echo please log in >&2; exit 7; fi\n>'{ran}'\n\
         printf 'status: {{token: TOKEN, expirationTimestamp: \"2020-01-01T00:00:00Z\"}}\\n'"
    );
    let outcome = program(run, "kube/plugin", &script).fails_with(3);
    let told = "/plugin` failed: exit status: 7: please log in";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
}

#[test]
fn quoted_token_of_a_plugin_is_not_shown() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    let server = format!("https://{}", google.standin.tls_address());
    let answer = format!(r#"{{"status": {{"token": "{token}"}}}}"#);
    let exec = format!("{{exec: {{command: echo, args: ['{answer}']}}}}");
    google.standin.fault(Fault::always(
        RequestKind::Kubernetes,
        FaultAction::Quote(403),
    ));
    let outcome = apply(&google)
        .set("kubeconfig", with(&google.standin, &server, &exec))
        .variable("RUST_LOG", "trace")
        .fails_with(3);
    assert!(outcome.stderr.contains("***"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains(&token), "{}", outcome.stderr);
}

#[test]
fn token_file_may_end_with_a_line_break() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    google.standin.cluster().allow("robot", Rule::everything());
    let server = format!("https://{}", google.standin.tls_address());
    let config = with(&google.standin, &server, "{tokenFile: token}");
    for end in ["", "\n"] {
        apply(&google)
            .file("kube/token", format!("{token}{end}"))
            .file("kube/config", &config)
            .set("kubeconfig", "kube/config")
            .succeeds();
    }
    assert!(is_applied(&google));
}

#[test]
fn token_that_no_header_can_hold_is_reported() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let config = with(&google.standin, &server, r#"{token: "TOK\nEN"}"#);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(2);
    let told = "the login of its user has characters that an HTTP header cannot contain";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOK"), "{}", outcome.stderr);
    let exec = r#"{exec: {command: echo, args: ['{"status": {"token": "TOK\nEN"}}']}}"#;
    let config = with(&google.standin, &server, exec);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(3);
    let told = "the kubeconfig's login program `echo` failed: it printed an unusable token";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOK"), "{}", outcome.stderr);
}

#[test]
fn plugin_environment_has_none_of_our_secrets() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    google.standin.cluster().allow("robot", Rule::everything());
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin}}";
    let script =
        format!("env >environment\nprintf 'kind: ExecCredential\nstatus: {{token: {token}}}\n'");
    let run = apply(&google)
        .file("kube/config", with(&google.standin, &server, exec))
        .set("kubeconfig", "kube/config")
        .set("credentials_json", &google.key)
        .variable("GCR_KEY", &google.key)
        .variable("GCR_KEY_BASE64", STANDARD.encode(&google.key))
        .variable("INPUT_TOKEN", "of another action")
        .variable("GITHUB_TOKEN", "ghs_hunter2hunter2")
        .set("github_token", "ghs_hunter2hunter2")
        .variable("CLOUDSDK_CONFIG", "/nowhere")
        .variable("KEPT", "for the plugin");
    let outcome = program(run, "kube/plugin", &script).succeeds();
    let environment = outcome.read("environment");
    let names: Vec<_> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    for kept in ["PATH", "KEPT", "CLOUDSDK_CONFIG", "KUBERNETES_EXEC_INFO"] {
        assert!(names.contains(&kept), "{kept}: {environment}");
    }
    let is_ours = |name: &&str| {
        name.starts_with("GCR_") || name.starts_with("INPUT_") || *name == "GITHUB_TOKEN"
    };
    assert!(!names.iter().any(is_ours), "{environment}");
    assert!(!environment.contains("PRIVATE KEY"), "{environment}");
}

#[test]
fn invalid_plugin_output_is_reported() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    for (prints, message) in [
        ("", "it did not print an ExecCredential"),
        ("TOKEN", "it did not print an ExecCredential"),
        (
            r#"{"status": {}}"#,
            "it printed an ExecCredential without a token or a certificate",
        ),
        (
            r#"{"status": {"token": "TOKEN", "expirationTimestamp": "soon"}}"#,
            "its `expirationTimestamp` is not an RFC 3339 time",
        ),
    ] {
        let exec = format!("{{exec: {{command: echo, args: ['{prints}']}}}}");
        let config = with(&google.standin, &server, &exec);
        let outcome = apply(&google).set("kubeconfig", config).fails_with(3);
        let expected = format!("the kubeconfig's login program `echo` failed: {message}");
        assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
    }
}

/// A kubeconfig with `insecure-skip-tls-verify` in place of its CA.
fn unchecked(config: &str) -> String {
    let lines = config.lines().map(|line| {
        line.split_once("certificate-authority-data")
            .map_or(line.to_owned(), |(indent, _)| {
                format!("{indent}insecure-skip-tls-verify: true")
            })
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn insecure_skip_tls_verify_is_obeyed() {
    let google = start();
    // Its CA is unknown here.
    let other = standin::Standin::start();
    other.cluster().create_namespace("shop");
    other.cluster().allow("robot", Rule::everything());
    let user = format!("{{token: {}}}", other.cluster().user("robot"));
    let config = with(
        &google.standin,
        &format!("https://{}", other.tls_address()),
        &user,
    );
    apply(&google)
        .set("kubeconfig", unchecked(&config))
        .succeeds();
    assert!(applied(&other, "shop", "gcr-pull")["auths"]["gcr.io"].is_object());
}

/// openssl as a server that requires a client certificate of its own CA.
#[test]
fn client_certificate_is_presented_on_request() {
    let google = start();
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&folder)
            .output()
            .expect("`openssl` is needed: tests/run installs it");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {error}");
    };
    for name in ["server", "client"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
             -keyout {name}.key -out {name}.crt"
        ));
    }
    let mut server = Command::new("openssl")
        .args(
            "s_server -accept 127.0.0.1:0 -cert server.crt -key server.key -CAfile client.crt"
                .split(' '),
        )
        .args("-Verify 1 -verify_return_error -www".split(' '))
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = lines
        .map(|line| line.unwrap())
        .find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()))
        .unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let server_url = format!("https://{address}");
    let config = |user: &str| unchecked(&with(&google.standin, &server_url, user));
    let certificate = folder.path().join("client.crt");
    let key = STANDARD.encode(read("client.key"));
    let user = format!(
        "{{client-certificate: {}, client-key-data: {key}}}",
        certificate.display()
    );
    let outcome = apply(&google)
        .set("kubeconfig", config(&user))
        .fails_with(1);
    // The handshake succeeds, and the server is no Kubernetes.
    assert!(
        outcome
            .stderr
            .contains("the response is not from Kubernetes"),
        "{}",
        outcome.stderr
    );
    let outcome = apply(&google).set("kubeconfig", config("{}")).run();
    assert!(
        outcome.stderr.contains("in the user of the kubeconfig"),
        "{}",
        outcome.stderr
    );
    let half = format!("{{client-key-data: {key}}}");
    let outcome = apply(&google)
        .set("kubeconfig", config(&half))
        .fails_with(2);
    assert!(
        outcome
            .stderr
            .contains("its user has a client key, but no certificate"),
        "{}",
        outcome.stderr
    );
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn removed_auth_provider_is_reported() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let user = "{auth-provider: {name: gcp, config: {cmd-path: gcloud}}}";
    let config = with(&google.standin, &server, user);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the kubeconfig uses the auth provider `gcp`, which Kubernetes no longer supports

    hint: use a kubeconfig that needs no program, with the token of a service account: `kubectl create token NAME --namespace=NAMESPACE` creates one
    ");
}

#[test]
fn cluster_is_reached_through_the_proxy_with_given_ca() {
    let standin = standin::Standin::builder().name("k8s.acme.example").start();
    standin.grant(
        ACCOUNT,
        "roles/artifactregistry.createOnPushWriter",
        "projects/acme",
    );
    let key = standin.service_account(ACCOUNT, "acme");
    let google = Google { standin, key };
    google.standin.cluster().create_namespace("shop");
    push(&google, GCR_IO).succeeds();
    let config = administrator(&google);
    let lines = config
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"));
    let config: Vec<_> = lines.collect();
    let config = config
        .join("\n")
        .replace(&google.standin.tls_address(), "k8s.acme.example");
    apply(&google).set("kubeconfig", config).succeeds();
    assert!(is_applied(&google));
    let requests = google.standin.requests();
    let mut of_cluster = requests
        .iter()
        .filter(|r| r.kind == RequestKind::Kubernetes);
    assert!(of_cluster.all(|request| request.via_proxy && request.host == "k8s.acme.example"));
}

#[test]
fn untrusted_cluster_certificate_is_refused() {
    let google = start();
    let config = administrator(&google);
    let lines = config
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"));
    let config: Vec<_> = lines.collect();
    // `ca_certificates` holds for the cluster too, which makes it trusted.
    apply(&google)
        .set("kubeconfig", config.join("\n"))
        .succeeds();
    // The cluster's own CA is not used for other hosts.
    let other = standin::Standin::start();
    let server = format!("https://{}", other.tls_address());
    let config = with(&google.standin, &server, "{}");
    let outcome = apply(&google).set("kubeconfig", config).fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not read the Secret `gcr-pull` in `shop`
      caused by: GET https://127.0.0.1:[PORT]/api/v1/namespaces/shop/secrets/gcr-pull
      caused by: invalid peer certificate: BadSignature

    hint: put the cluster's certificate authority in the kubeconfig (`certificate-authority-data`), or in `ca_certificates`
    ");
}

/// Runs a program with its service account's files where a pod has them. `None` if no file system
/// can be mounted for it alone.
fn in_a_pod(run: Run, token: &str, ca: &str) -> Option<Run> {
    let can = Command::new("unshare").args(["--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root can give a program mounts of its own");
        return None;
    }
    let files = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "mkdir -p /var/run/secrets && mount -t tmpfs none /var/run/secrets && \
         mkdir -p {files} && cp token ca.crt namespace {files}/ && exec \"$0\" \"$@\""
    );
    Some(
        run.file("token", token)
            .file("ca.crt", ca)
            .file("namespace", "shop")
            .under(&["unshare", "--mount", "sh", "-c", &script]),
    )
}

#[test]
fn pod_applies_as_its_service_account() {
    let google = start();
    let user = "system:serviceaccount:shop:pull-secret";
    let token = google.standin.cluster().user(user);
    google.standin.cluster().allow(
        user,
        Rule::of("shop", "secrets", &["get", "patch", "create"]),
    );
    let address = google.standin.tls_address();
    let (host, port) = address.split_once(':').unwrap();
    let run = apply(&google)
        .variable("KUBERNETES_SERVICE_HOST", host)
        .variable("KUBERNETES_SERVICE_PORT", port);
    let Some(run) = in_a_pod(run, &token, google.standin.ca_pem()) else {
        return;
    };
    run.succeeds();
    assert!(is_applied(&google));
}

#[test]
fn kubectl_reads_the_applied_secret() {
    if Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        eprintln!("skipped: there is no kubectl on this machine");
        return;
    }
    let google = start();
    let config = administrator(&google);
    let outcome = apply(&google).set("kubeconfig", &config).succeeds();
    let file = outcome.directory.path().join("config");
    std::fs::write(&file, config).unwrap();
    let kubectl = |arguments: &[&str]| {
        let output = Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &file)
            .env("HOME", outcome.directory.path())
            .env_remove("HTTPS_PROXY")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let read = kubectl(&["get", "secret", "gcr-pull", "--output=jsonpath={.type}"]);
    assert_eq!(read, "kubernetes.io/dockerconfigjson");
    // kubectl's server-side apply conflicts with our fields as ours does with others'.
    let manifest = kubectl(&[
        "create",
        "secret",
        "docker-registry",
        "gcr-pull",
        "--docker-server=gcr.io",
        "--docker-username=u",
        "--docker-password=p",
        "--dry-run=client",
        "--output=yaml",
    ]);
    let path = outcome.directory.path().join("theirs.yaml");
    std::fs::write(&path, manifest).unwrap();
    let apply = Command::new("kubectl")
        .args(["apply", "--server-side", "--validate=false", "--filename"])
        .arg(&path)
        .env("KUBECONFIG", &file)
        .env("HOME", outcome.directory.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&apply.stderr);
    assert!(message.contains("conflict with \"gcr-push\""), "{message}");
}
