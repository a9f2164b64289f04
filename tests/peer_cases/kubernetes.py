"""The pull secret in a real cluster, and the images that it runs."""

import base64
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time

from .checks import Absent, check, expect, expect_same, has_passed
from .cluster import ISSUER, Cluster
from .images import Sample, as_json
from .programs import GO_PROGRAMS, ROOT, attempt, new_folder
from .pushing import gcr_push
from .registry import LOGIN, Registry, start_distribution_3
from .workloads import workloads


def kubernetes():
    sample = Sample()
    peer = "kube-apiserver " + GO_PROGRAMS["kube-apiserver"].version
    with check(peer, "it runs"):
        cluster = Cluster()
    # Everything else needs it; why it does not run is told above.
    if not has_passed():
        return
    registry = start_distribution_3(login=LOGIN)
    user, password = LOGIN
    tags = f"{registry.address}/acme/app:1"
    gcr_push(image=sample.oci, tags=tags, username=user, password=password)
    secret = PullSecret(cluster, registry)
    for what, holds in [
        ("applied to two namespaces, and kubectl reads it back", applied_to_two_namespaces),
        ("a second run writes nothing", second_run_writes_nothing),
        ("service accounts keep what they have", accounts_keep_what_they_have),
        ("a Secret made by kubectl is taken over when asked", taken_over_from_kubectl),
        ("a Secret of another type is made anew when asked", another_type_is_made_anew),
        ("an immutable Secret is made anew when asked", immutable_is_made_anew),
        ("a dry run writes nothing", dry_run_writes_nothing),
        ("what admission refuses in one namespace is written in none", admission_refuses),
        ("a namespace that is being deleted", namespace_is_going),
        ("three runs at once add it once", three_runs_at_once),
        ("a namespace is created when asked", namespace_is_created),
        ("the file is what this kubectl prints", file_is_kubectls),
        ("the file is applied by kubectl", file_is_applied_by_kubectl),
        ("the Role of docs/pull-secret.md is enough", documented_role),
        ("the Role of deploy/pull-secret-refresher.yaml is enough", role_of_the_refresher),
        ("a client certificate", client_certificate),
        ("an exec plugin with a token, and with a certificate", exec_plugins),
        ("a token that has expired", expired_token),
        ("a Pod's own service account", account_of_a_pod),
    ]:
        with check(peer, what):
            holds(secret)
    for resource, verb in [(kind, verb) for kind, verbs in documented_rules() for verb in verbs]:
        with check(
            peer, f"without `{verb}` on {resource} nothing is written, and the hint mends it"
        ):
            one_verb_less(secret, resource, verb)
    workloads(cluster, peer)


# In a Pod, there is none.
NO_KUBECONFIG = object()


class PullSecret:
    """The command `pull-secret` for one cluster, and what it should write there."""

    def __init__(self, cluster, registry):
        self.cluster = cluster
        self.registry = registry
        encoded = base64.b64encode(":".join(LOGIN).encode()).decode()
        self.docker_config = json.dumps({"auths": {registry.address: {"auth": encoded}}})

    def run(self, namespace=None, kubeconfig=None, code=0, apply=True, **settings):
        if namespace:
            settings["pull_secret_namespaces"] = namespace
        if apply:
            settings["pull_secret_apply"] = "true"
        if apply and kubeconfig is not NO_KUBECONFIG:
            settings["kubeconfig"] = kubeconfig or self.cluster.administrator
        return gcr_push(
            "pull-secret",
            code=code,
            tags=f"{self.registry.address}/acme/app:1",
            docker_config=self.docker_config,
            pull_secret="gcr-pull",
            pull_secret_allow_push_key="true",
            **settings,
        )

    def get(self, namespace):
        return self.cluster.get("secret", namespace, "gcr-pull")

    def expect_in(self, namespace):
        """That the Secret in a namespace is of the right type, and that its login pulls."""
        secret = self.get(namespace)
        expect(secret is not None, f"there is no Secret in {namespace}")
        expect_same(secret["type"], "kubernetes.io/dockerconfigjson", "the Secret's type")
        file = base64.b64decode(secret["data"][".dockerconfigjson"])
        entry = json.loads(file)["auths"][self.registry.address]
        login = (entry["username"], entry["password"])
        expect_same(login, LOGIN, "the login in the Secret")
        expect_same(base64.b64decode(entry["auth"]).decode(), ":".join(LOGIN), "its `auth`")
        puller = Registry("as the Secret says", self.registry.address, login=login)
        expect(puller.has("acme/app", "1"), "the login in the Secret does not pull")
        return secret, file


def version_of(object):
    """Another one whenever anything is written, even with the same content."""
    return object["metadata"]["uid"], object["metadata"]["resourceVersion"]


def pull_secrets_of(account):
    return [one["name"] for one in account.get("imagePullSecrets", [])]


def applied_to_two_namespaces(secret):
    for namespace in ("staging", "production"):
        secret.cluster.namespace(namespace)
    done = secret.run(
        "staging, production",
        pull_secret_service_accounts="default",
        pull_secret_labels="team=shop",
    )
    emitted = secret.run(
        apply=False, pull_secret_file="auth.json", pull_secret_format="dockerconfigjson"
    )
    login_file = (emitted.folder / "auth.json").read_bytes()
    for namespace in ("staging", "production"):
        written, file = secret.expect_in(namespace)
        expect_same(file, login_file, "the login file in the Secret")
        expect_same(written["metadata"]["labels"], {"team": "shop"}, "the Secret's labels")
        managers = [
            (one["manager"], one["operation"]) for one in written["metadata"]["managedFields"]
        ]
        expect_same(managers, [("gcr-push", "Apply")], "who owns the Secret's fields")
        account = secret.cluster.get("serviceaccount", namespace, "default")
        expect_same(pull_secrets_of(account), ["gcr-pull"], "the pull secrets of `default`")
        told = f"created the Secret `gcr-pull` in `{namespace}`"
        expect(told in done.stderr, f"the log does not say that it {told}: {done.stderr}")


def second_run_writes_nothing(secret):
    secret.cluster.namespace("again")

    def versions():
        account = secret.cluster.get("serviceaccount", "again", "default")
        return version_of(secret.get("again")), version_of(account)

    secret.run("again", pull_secret_service_accounts="default")
    before = versions()
    done = secret.run("again", pull_secret_service_accounts="default")
    expect_same(versions(), before, "the versions of what was written")
    expect_same((done.stdout, done.stderr), ("", ""), "what the second run says")
    # What is compared is seen to change when something is written.
    secret.run("again", pull_secret_service_accounts="default", pull_secret_labels="team=shop")
    expect(versions() != before, "a label was written under the same version")


def accounts_keep_what_they_have(secret):
    secret.cluster.namespace("keep")
    others = {"imagePullSecrets": [{"name": "first"}, {"name": "second"}]}
    secret.cluster.kubectl(
        "patch", "serviceaccount", "default", "--namespace=keep", f"--patch={json.dumps(others)}"
    )
    secret.cluster.kubectl("create", "serviceaccount", "builder", "--namespace=keep")
    secret.run("keep", pull_secret_service_accounts="default, builder")
    for name, wanted in [("default", ["first", "second", "gcr-pull"]), ("builder", ["gcr-pull"])]:
        account = secret.cluster.get("serviceaccount", "keep", name)
        expect_same(pull_secrets_of(account), wanted, f"the pull secrets of `{name}`")
    missing = secret.run("keep", pull_secret_service_accounts="absent", code=2)
    expect(
        "absent" in missing.stderr, f"the account that is missing is not named: {missing.stderr}"
    )


def taken_over_from_kubectl(secret):
    secret.cluster.namespace("kubectl")
    create = ("create", "secret", "docker-registry", "gcr-pull", "--namespace=kubectl")
    old = ("--docker-server=old.example.com", "--docker-username=old", "--docker-password=old")
    secret.cluster.kubectl(*create, *old)
    before = version_of(secret.get("kubectl"))
    refused = secret.run("kubectl", code=2)
    expect(
        "kubectl-create" in refused.stderr, f"whose fields they are is not told: {refused.stderr}"
    )
    expect_same(version_of(secret.get("kubectl")), before, "the Secret's version after a refusal")
    secret.run("kubectl", pull_secret_replace="true")
    written, _ = secret.expect_in("kubectl")
    expect_same(written["metadata"]["uid"], before[0], "the Secret's uid")
    secret.run("kubectl")
    expect_same(
        version_of(secret.get("kubectl")), version_of(written), "its version after another run"
    )


def another_type_is_made_anew(secret):
    secret.cluster.namespace("opaque")
    create = ("create", "secret", "generic", "gcr-pull", "--namespace=opaque", "--from-literal=a=b")
    secret.cluster.kubectl(*create)
    before = version_of(secret.get("opaque"))
    secret.run("opaque", code=2)
    expect_same(version_of(secret.get("opaque")), before, "the Secret's version after a refusal")
    secret.run("opaque", pull_secret_replace="true")
    written, _ = secret.expect_in("opaque")
    expect(written["metadata"]["uid"] != before[0], "the Secret is the old one")


def immutable_is_made_anew(secret):
    secret.cluster.namespace("immutable")
    secret.run("immutable")
    patch = ("patch", "secret", "gcr-pull", "--namespace=immutable", '--patch={"immutable": true}')
    secret.cluster.kubectl(*patch)
    before = version_of(secret.get("immutable"))
    # As it is, it is as it should be.
    secret.run("immutable")
    secret.run("immutable", pull_secret_labels="team=shop", code=2)
    expect_same(version_of(secret.get("immutable")), before, "the Secret's version after a refusal")
    secret.run("immutable", pull_secret_labels="team=shop", pull_secret_replace="true")
    written, _ = secret.expect_in("immutable")
    expect(written["metadata"]["uid"] != before[0], "the Secret is the old one")
    expect_same(written["metadata"]["labels"], {"team": "shop"}, "the Secret's labels")


def admission_refuses(secret):
    for namespace in ("willing", "refusing"):
        secret.cluster.namespace(namespace)
    metadata = {"name": "no-secrets"}
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}
    ]
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "refusing"}}
    version = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": "no Secrets, says the policy"}],
        },
    }
    binding = {
        "apiVersion": version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": {
            "policyName": "no-secrets",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    secret.cluster.apply(policy, binding)
    # A policy holds some moments after it was made.
    tried = ("create", "secret", "generic", "tried", "--namespace=refusing", "--dry-run=server")
    end = time.monotonic() + 30
    while secret.cluster.try_kubectl(*tried).returncode == 0:
        expect(time.monotonic() < end, "the policy never holds")
        time.sleep(0.2)
    refused = secret.run("willing, refusing", code=1)
    expect("says the policy" in refused.stderr, f"why is not told: {refused.stderr}")
    for namespace in ("willing", "refusing"):
        expect_same(secret.get(namespace), None, f"the Secret in {namespace}")


def namespace_is_going(secret):
    # No controller is there to empty it, so it stays as it is.
    secret.cluster.namespace("going")
    secret.cluster.kubectl("delete", "namespace", "going", "--wait=false")
    refused = secret.run("going", code=3)
    expect("terminated" in refused.stderr, f"why is not told: {refused.stderr}")
    expect_same(secret.get("going"), None, "the Secret")


def three_runs_at_once(secret):
    secret.cluster.namespace("at-once")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(secret.run, "at-once", pull_secret_service_accounts="default")
            for _ in range(3)
        ]
        for one in runs:
            one.result()
    secret.expect_in("at-once")
    account = secret.cluster.get("serviceaccount", "at-once", "default")
    expect_same(pull_secrets_of(account), ["gcr-pull"], "the pull secrets of `default`")


def dry_run_writes_nothing(secret):
    secret.cluster.namespace("dry")
    before = version_of(secret.cluster.get("serviceaccount", "dry", "default"))
    done = secret.run("dry", pull_secret_service_accounts="default", dry_run="true")
    expect(
        "would have created the Secret `gcr-pull` in `dry`" in done.stderr,
        f"it says: {done.stderr}",
    )
    expect_same(secret.get("dry"), None, "the Secret")
    account = secret.cluster.get("serviceaccount", "dry", "default")
    expect_same(version_of(account), before, "the service account's version")
    secret.run("not-there", dry_run="true", pull_secret_create_namespace="true")
    expect_same(secret.cluster.get("namespace", "default", "not-there"), None, "the namespace")
    secret.run("not-there", dry_run="true", code=2)


def namespace_is_created(secret):
    def as_a_controller_would():
        """Puts the account `default` into the namespace, a moment after it was made."""
        wanted = "--output=jsonpath={.metadata.name}"
        while secret.cluster.try_kubectl("get", "namespace", "created", wanted).returncode != 0:
            time.sleep(0.2)
        time.sleep(1)
        secret.cluster.kubectl("create", "serviceaccount", "default", "--namespace=created")

    secret.run("created", code=2)
    controller = threading.Thread(target=as_a_controller_would, daemon=True)
    controller.start()
    secret.run(
        "created", pull_secret_create_namespace="true", pull_secret_service_accounts="default"
    )
    secret.expect_in("created")
    account = secret.cluster.get("serviceaccount", "created", "default")
    expect_same(pull_secrets_of(account), ["gcr-pull"], "the pull secrets of `default`")


def file_is_kubectls(secret):
    user, password = LOGIN
    for format in ("yaml", "json"):
        done = secret.run(apply=False, pull_secret_file="secret", pull_secret_format=format)
        printed = secret.cluster.kubectl(
            "create",
            "secret",
            "docker-registry",
            "gcr-pull",
            "--dry-run=client",
            f"--output={format}",
            f"--docker-server={secret.registry.address}",
            f"--docker-username={user}",
            f"--docker-password={password}",
        )
        found = (done.folder / "secret").read_text()
        if format == "json":
            found, printed = json.loads(found), json.loads(printed)
        expect_same(found, printed, f"the file as {format}")


def file_is_applied_by_kubectl(secret):
    for format in ("yaml", "json"):
        namespace = f"file-{format}"
        secret.cluster.namespace(namespace)
        done = secret.run(apply=False, pull_secret_file="secret", pull_secret_format=format)
        secret.cluster.kubectl(
            "apply", f"--filename={done.folder}/secret", f"--namespace={namespace}"
        )
        secret.expect_in(namespace)


def documented_rules():
    """Resources and verbs of the Role in the page of the pull secret."""
    text = (ROOT / "docs" / "pull-secret.md").read_text()
    rules = re.search(r"```yaml\nrules:\n(.*?)```", text, re.DOTALL)[1]
    found = re.findall(r"resources: \[(\w+)\]\n +verbs: \[([a-z, ]+)\]", rules)
    return [(resource, verbs.split(", ")) for resource, verbs in found]


def allow(cluster, namespace, rules, subject):
    """Lets a subject do in a namespace what the rules say."""
    metadata = {"name": "gcr-push", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": [kind], "verbs": verbs} for kind, verbs in rules]
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "gcr-push"},
        "subjects": [subject],
    }
    cluster.apply(role, binding)


def deployer_in(cluster, namespace, rules):
    """A namespace, a service account that may do there what the rules say, and its kubeconfig."""
    cluster.namespace(namespace)
    cluster.kubectl("create", "serviceaccount", "deployer", f"--namespace={namespace}")
    allow(
        cluster,
        namespace,
        rules,
        {"kind": "ServiceAccount", "name": "deployer", "namespace": namespace},
    )
    return cluster.kubeconfig(namespace, {"token": cluster.token(namespace, "deployer")})


def documented_role(secret):
    rules = documented_rules()
    expect_same(
        [kind for kind, _ in rules],
        ["secrets", "serviceaccounts"],
        "what the page's Role is about",
    )
    kubeconfig = deployer_in(secret.cluster, "role", rules)
    for labels in ("team=shop", "team=other", "team=other"):
        secret.run(
            kubeconfig=kubeconfig, pull_secret_service_accounts="default", pull_secret_labels=labels
        )
        written, _ = secret.expect_in("role")
        expect_same(written["metadata"]["labels"]["team"], labels.split("=")[1], "the label")
    # Another type takes `delete` as well, as its comment says.
    secret.cluster.kubectl("delete", "secret", "gcr-pull", "--namespace=role")
    create = ("create", "secret", "generic", "gcr-pull", "--namespace=role", "--from-literal=a=b")
    secret.cluster.kubectl(*create)
    before = version_of(secret.get("role"))
    refused = secret.run(kubeconfig=kubeconfig, pull_secret_replace="true", code=3)
    expect("delete" in refused.stderr, f"the verb that is missing is not told: {refused.stderr}")
    expect_same(version_of(secret.get("role")), before, "the Secret's version after a refusal")
    more = [(kind, [*verbs, "delete"] if kind == "secrets" else verbs) for kind, verbs in rules]
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": "role"}
    allow(secret.cluster, "role", more, subject)
    secret.run(kubeconfig=kubeconfig, pull_secret_replace="true")
    secret.expect_in("role")


def one_verb_less(secret, resource, verb):
    less = [
        (kind, [one for one in verbs if (kind, one) != (resource, verb)])
        for kind, verbs in documented_rules()
    ]
    cluster, namespace = secret.cluster, f"no-{verb}-{resource}"
    kubeconfig = deployer_in(cluster, namespace, less)
    before = version_of(cluster.get("serviceaccount", namespace, "default"))

    def apply(code):
        return secret.run(kubeconfig=kubeconfig, pull_secret_service_accounts="default", code=code)

    refused = apply(3).stderr
    for told in (f'cannot {verb} resource "{resource}"', f"it is not allowed to `{verb}` `{resource}`"):
        expect(told in refused, f"`{told}` is not told: {refused}")
    expect_same(secret.get(namespace), None, "the Secret")
    account = cluster.get("serviceaccount", namespace, "default")
    expect_same(version_of(account), before, "the service account's version")
    # What the hints say is done as it stands there.
    commands = re.findall(r"`kubectl ([^`]+)`", refused)
    expect_same(len(commands), 2, "how many commands are given as a hint")
    for command in commands:
        cluster.kubectl(*shlex.split(command))
    apply(0)
    secret.expect_in(namespace)


def role_of_the_refresher(secret):
    cluster = secret.cluster
    cluster.namespace("shop")
    cluster.kubectl("apply", f"--filename={ROOT}/deploy/pull-secret-refresher.yaml")
    user = {"token": cluster.token("shop", "pull-secret-refresher")}
    kubeconfig = cluster.kubeconfig("shop", user)
    secret.run(kubeconfig=kubeconfig, pull_secret_service_accounts="default")
    secret.expect_in("shop")
    account = cluster.get("serviceaccount", "shop", "default")
    expect_same(pull_secrets_of(account), ["gcr-pull"], "the pull secrets of `default`")
    # Its Job names an image that is not to be had here.
    cluster.kubectl("delete", "cronjobs", "--all", "--namespace=shop")


def client_certificate(secret):
    secret.cluster.namespace("certificate")
    kubeconfig = secret.cluster.kubeconfig("certificate", secret.cluster.certificate("deployer"))
    refused = secret.run(kubeconfig=kubeconfig, code=3)
    expect("deployer" in refused.stderr, f"who is refused is not told: {refused.stderr}")
    allow(secret.cluster, "certificate", documented_rules(), {"kind": "User", "name": "deployer"})
    secret.run(kubeconfig=kubeconfig, pull_secret_service_accounts="default")
    secret.expect_in("certificate")
    files = {
        "client-certificate": f"{secret.cluster.folder}/deployer.crt",
        "client-key": f"{secret.cluster.folder}/deployer.key",
    }
    kubeconfig = secret.cluster.kubeconfig("certificate", files)
    secret.cluster.kubectl("delete", "secret", "gcr-pull", "--namespace=certificate")
    secret.run(kubeconfig=kubeconfig)
    secret.expect_in("certificate")


def exec_plugins(secret):
    cluster = secret.cluster
    deployer_in(cluster, "plugin", documented_rules())
    cluster.namespace("certificate-plugin")
    allow(cluster, "certificate-plugin", documented_rules(), {"kind": "User", "name": "deployer"})
    certificate = {
        "clientCertificateData": (cluster.folder / "deployer.crt").read_text(),
        "clientKeyData": (cluster.folder / "deployer.key").read_text(),
    }
    for namespace, status in [
        ("plugin", {"token": cluster.token("plugin", "deployer")}),
        ("certificate-plugin", certificate),
    ]:
        version = "client.authentication.k8s.io/v1"
        credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        folder = new_folder("plugin")
        (folder / "credential.json").write_text(json.dumps(credential))
        plugin = folder / "plugin"
        plugin.write_text(f"#!/bin/sh\nexec cat {folder}/credential.json\n")
        plugin.chmod(0o700)
        user = {"exec": {"apiVersion": version, "command": str(plugin), "interactiveMode": "Never"}}
        kubeconfig = cluster.kubeconfig(namespace, user)
        secret.run(kubeconfig=kubeconfig, pull_secret_service_accounts="default")
        secret.expect_in(namespace)


def signed_token(cluster, namespace, account, lasts):
    """A service account's token, as the API server itself would sign it."""
    uid = cluster.get("serviceaccount", namespace, account)["metadata"]["uid"]
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": [ISSUER],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now + lasts,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
    }
    parts = [
        base64.urlsafe_b64encode(as_json(part)) for part in ({"alg": "RS256", "typ": "JWT"}, claims)
    ]
    signed = b".".join(part.rstrip(b"=") for part in parts)
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", cluster.folder / "accounts.key"],
        input=signed,
        capture_output=True,
        check=True,
    ).stdout
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def expired_token(secret):
    cluster = secret.cluster
    deployer_in(cluster, "expired", documented_rules())
    # The same token, but for its end, is taken.
    for lasts, code in [(-3600, 3), (3600, 0)]:
        kubeconfig = cluster.kubeconfig(
            "expired", {"token": signed_token(cluster, "expired", "deployer", lasts)}
        )
        done = secret.run(kubeconfig=kubeconfig, code=code)
        expect_same(secret.get("expired") is None, code != 0, "that there is no Secret")
        if code:
            expect("401" in done.stderr or "nauthorized" in done.stderr, f"it says: {done.stderr}")


def account_of_a_pod(secret):
    """A mount namespace stands in for the Pod: what is mounted there, nobody else sees."""
    if os.geteuid() != 0 or attempt("unshare", "--mount", "true").returncode != 0:
        raise Absent("a mount namespace takes root and util-linux's unshare")
    cluster = secret.cluster
    deployer_in(cluster, "pod", documented_rules())
    folder = new_folder("pod") / "secrets" / "kubernetes.io" / "serviceaccount"
    folder.mkdir(parents=True)
    (folder / "token").write_text(cluster.token("pod", "deployer"))
    (folder / "namespace").write_text("pod")
    shutil.copy(cluster.folder / "ca.crt", folder / "ca.crt")
    variables = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": cluster.server.rpartition(":")[2],
    }
    script = f'mount --bind "{folder.parents[2]}" /run && exec "$0" "$@"'
    secret.run(
        kubeconfig=NO_KUBECONFIG,
        variables=variables,
        under=("unshare", "--mount", "sh", "-c", script),
        pull_secret_service_accounts="default",
    )
    secret.expect_in("pod")
    account = cluster.get("serviceaccount", "pod", "default")
    expect_same(pull_secrets_of(account), ["gcr-pull"], "the pull secrets of `default`")
