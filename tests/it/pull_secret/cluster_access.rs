//! The ways to a cluster: a token, a plugin, a proxy, a pod's own service account.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standin::{Fault, FaultAction, RequestKind, Rule};

use super::{alone, applied, push, reader};
use crate::support::cluster::{administrator, with};
use crate::support::google::{ACCOUNT, Google};
use crate::support::run::Run;

const GCR_IO: &str = "gcr.io/acme/app:1";

fn apply(google: &Google) -> Run {
    alone(google, GCR_IO)
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
fn the_files_of_kubeconfig_are_merged() {
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
fn a_plugin_may_sign_in_and_reads_no_standard_input() {
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

/// Makes `name` in the run's folder a program.
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
fn a_plugin_whose_token_ends_is_run_again_and_may_print_yaml() {
    let google = start();
    let token = google.standin.cluster().user("robot");
    google.standin.cluster().allow("robot", Rule::everything());
    let server = format!("https://{}", google.standin.tls_address());
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, provideClusterInfo: true, env: [{name: OWN, value: x}]}}";
    let run = apply(&google)
        .file("kube/config", with(&google.standin, &server, exec))
        .set("kubeconfig", "kube/config");
    let told = run.path().join("told").display().to_string();
    let script = format!(
        "echo \"$OWN $KUBERNETES_EXEC_INFO\" >>'{told}'\n\
         printf 'kind: ExecCredential\\nstatus:\\n  token: {token}\\n  \
         expirationTimestamp: \"2020-01-01T00:00:00Z\"\\n'"
    );
    let run = program(run, "kube/plugin", &script);
    let outcome = run.succeeds();
    assert!(is_applied(&google));
    let told = outcome.read("told");
    assert!(told.lines().count() > 2, "{told}");
    for line in told.lines() {
        let info = line.strip_prefix("x ").unwrap();
        let info: serde_json::Value = serde_json::from_str(info).unwrap();
        assert_eq!(info["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(info["kind"], "ExecCredential");
        assert_eq!(info["spec"]["interactive"], false);
        assert_eq!(info["spec"]["cluster"]["server"], server);
    }
}

#[test]
fn a_plugin_that_fails_when_its_token_has_ended_is_told() {
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
    let told =
        "/plugin`, with which the kubeconfig signs in, failed: exit status: 7: please log in";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
}

#[test]
fn a_token_of_a_plugin_that_is_quoted_is_not_shown() {
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
fn a_token_in_a_file_may_end_with_a_line_break() {
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
fn a_token_that_no_header_can_hold_is_told() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let config = with(&google.standin, &server, r#"{token: "TOK\nEN"}"#);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(2);
    let told = "its user's login has characters that no HTTP header may have";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOK"), "{}", outcome.stderr);
    let exec = r#"{exec: {command: echo, args: ['{"status": {"token": "TOK\nEN"}}']}}"#;
    let config = with(&google.standin, &server, exec);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(3);
    let told = "`echo`, with which the kubeconfig signs in, failed: an unusable token";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("TOK"), "{}", outcome.stderr);
}

#[test]
fn a_plugin_gets_the_environment_without_our_secrets() {
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
    let ours = |name: &&str| {
        name.starts_with("GCR_") || name.starts_with("INPUT_") || *name == "GITHUB_TOKEN"
    };
    assert!(!names.iter().any(ours), "{environment}");
    assert!(!environment.contains("PRIVATE KEY"), "{environment}");
}

#[test]
fn what_a_plugin_prints_that_is_no_login_is_told() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    for (prints, told) in [
        ("", "an answer that is no ExecCredential"),
        ("TOKEN", "an answer that is no ExecCredential"),
        (
            r#"{"status": {}}"#,
            "an ExecCredential with no token and no certificate",
        ),
        (
            r#"{"status": {"token": "TOKEN", "expirationTimestamp": "soon"}}"#,
            "an `expirationTimestamp` that is no time of RFC 3339",
        ),
    ] {
        let exec = format!("{{exec: {{command: echo, args: ['{prints}']}}}}");
        let config = with(&google.standin, &server, &exec);
        let outcome = apply(&google).set("kubeconfig", config).fails_with(3);
        let expected = format!("`echo`, with which the kubeconfig signs in, failed: {told}");
        assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("TOKEN"), "{}", outcome.stderr);
    }
}

/// A kubeconfig that says `insecure-skip-tls-verify` in place of its CA.
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
fn a_cluster_whose_certificate_is_not_to_be_checked_is_not() {
    let google = start();
    // Signed by an authority of its own, which nobody here knows.
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

/// openssl, which asks every client for a certificate that its own authority signed.
#[test]
fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
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
    // It is let in, and then is no Kubernetes.
    assert!(
        outcome
            .stderr
            .contains("the answer is not one of Kubernetes"),
        "{}",
        outcome.stderr
    );
    let outcome = apply(&google).set("kubeconfig", config("{}")).run();
    assert!(
        outcome.stderr.contains("there is no answer"),
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
            .contains("its user has a client key and no certificate"),
        "{}",
        outcome.stderr
    );
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_provider_that_kubernetes_gave_up_is_told() {
    let google = start();
    let server = format!("https://{}", google.standin.tls_address());
    let user = "{auth-provider: {name: gcp, config: {cmd-path: gcloud}}}";
    let config = with(&google.standin, &server, user);
    let outcome = apply(&google).set("kubeconfig", config).fails_with(2);
    insta::assert_snapshot!(outcome.error(), @"
    error: the kubeconfig signs in with the auth provider `gcp`, which Kubernetes has given up

    hint: give a kubeconfig that needs no program, with the token of a service account: `kubectl create token NAME --namespace=NAMESPACE` makes one
    ");
}

#[test]
fn a_cluster_behind_the_proxy_is_met_through_it_with_the_ca_of_the_run() {
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
fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let google = start();
    let config = administrator(&google);
    let lines = config
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"));
    let config: Vec<_> = lines.collect();
    // The CA of the run holds for the cluster too, and then it is trusted.
    apply(&google)
        .set("kubeconfig", config.join("\n"))
        .succeeds();
    // The other way round, its own CA alone is no reason to trust another.
    let other = standin::Standin::start();
    let server = format!("https://{}", other.tls_address());
    let config = with(&google.standin, &server, "{}");
    let outcome = apply(&google).set("kubeconfig", config).fails_with(1);
    insta::assert_snapshot!(outcome.error(), @"
    error: could not read the Secret `gcr-pull` in `shop` at https://127.0.0.1:[PORT]
      caused by: there is no answer
      caused by: invalid peer certificate: BadSignature

    hint: give the cluster's own certificate authority in the kubeconfig (`certificate-authority-data`), or in `ca_certificates`
    ");
}

/// Runs a program with its service account's files where a pod has them; none where no file system
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
fn a_pod_applies_to_its_own_cluster_as_its_service_account() {
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
fn kubectl_reads_what_was_applied() {
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
    // kubectl's own server-side apply meets our fields as we meet others'.
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
    let told = String::from_utf8_lossy(&apply.stderr);
    assert!(told.contains("conflict with \"gcr-push\""), "{told}");
}
