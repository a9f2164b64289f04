"""A Kubernetes that runs, as far as its API goes."""

import base64
import json

from .checks import expect
from .programs import (
    attempt,
    debian_program,
    free_port,
    go_program,
    new_folder,
    run,
    start,
    wait_until,
)
from .registry import DIRECT


ISSUER = "https://peers.invalid"


class Cluster:
    """A kube-apiserver with an etcd, and kubectl as its administrator."""

    def __init__(self):
        self.kubectl_program = go_program("kubectl")
        etcd, apiserver = go_program("etcd"), go_program("kube-apiserver")
        self.folder = new_folder("cluster")
        self.make_certificates()
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        process = start(
            etcd,
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            log=self.folder / "etcd.log",
        )
        wait_until(lambda: is_healthy(f"{client}/health"), process, self.folder / "etcd.log")
        self.server = f"https://127.0.0.1:{free_port()}"
        log = self.folder / "apiserver.log"
        process = start(
            apiserver,
            f"--etcd-servers={client}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.server.rpartition(':')[2]}",
            f"--cert-dir={self.folder}/unused",
            f"--tls-cert-file={self.folder}/server.crt",
            f"--tls-private-key-file={self.folder}/server.key",
            f"--client-ca-file={self.folder}/ca.crt",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={self.folder}/accounts.pub",
            f"--service-account-signing-key-file={self.folder}/accounts.key",
            "--service-cluster-ip-range=10.0.0.0/24",
            # No Pod will look for it.
            "--endpoint-reconciler-type=none",
            log=log,
        )
        self.administrator = self.kubeconfig("default", self.certificate("administrator"))
        wait_until(
            lambda: self.try_kubectl("get", "--raw=/readyz").stdout == "ok",
            process,
            log,
            seconds=180,
        )

    def make_certificates(self):
        """An authority, what it signs, and the key that signs the tokens of service accounts."""
        openssl = debian_program("openssl")
        curve = (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        )

        def make(name, subject, *more):
            files = (f"-keyout={name}.key", f"-out={name}.crt")
            words = [word for file in files for word in file.split("=")]
            run(
                openssl, "req", "-x509", *curve, *words, "-subj", subject, *more, folder=self.folder
            )

        make("ca", "/CN=peers")
        by_ca = ("-CA", "ca.crt", "-CAkey", "ca.key")
        address = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        # Without this, openssl makes an authority of it, which not every client takes for a server.
        by_ca += ("-addext", "basicConstraints=critical,CA:FALSE")
        make("server", "/CN=localhost", *by_ca, *address)
        client = ("-addext", "extendedKeyUsage=clientAuth")
        make("administrator", "/O=system:masters/CN=administrator", *by_ca, *client)
        make("deployer", "/CN=deployer", *by_ca, *client)
        run(openssl, "genrsa", "-out", "accounts.key", "2048", folder=self.folder)
        public = ("-pubout", "-out", "accounts.pub")
        run(openssl, "rsa", "-in", "accounts.key", *public, folder=self.folder)

    def data_of(self, name):
        return base64.b64encode((self.folder / name).read_bytes()).decode()

    def certificate(self, name):
        """What a kubeconfig says of a user with this certificate."""
        return {
            "client-certificate-data": self.data_of(f"{name}.crt"),
            "client-key-data": self.data_of(f"{name}.key"),
        }

    def kubeconfig(self, namespace, user):
        """A kubeconfig of this cluster for one who signs in so."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "peers",
            "contexts": [
                {
                    "name": "peers",
                    "context": {"cluster": "peers", "user": "peers", "namespace": namespace},
                }
            ],
            "clusters": [
                {
                    "name": "peers",
                    "cluster": {
                        "server": self.server,
                        "certificate-authority-data": self.data_of("ca.crt"),
                    },
                }
            ],
            "users": [{"name": "peers", "user": user}],
        }
        path = new_folder("kube") / "config"
        path.write_text(json.dumps(config))
        return path

    def try_kubectl(self, *words, kubeconfig=None, text_input=None):
        # Without a home, kubectl keeps no cache outside of what is deleted in the end.
        environment = {"HOME": str(self.folder)}
        command = (self.kubectl_program, f"--kubeconfig={kubeconfig or self.administrator}", *words)
        return attempt(*command, environment=environment, text_input=text_input)

    def kubectl(self, *words, text_input=None):
        done = self.try_kubectl(*words, text_input=text_input)
        expect(done.returncode == 0, f"kubectl {' '.join(words)} failed: {done.stderr}")
        return done.stdout

    def apply(self, *objects):
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--filename=-", text_input=json.dumps(listed))

    def get(self, kind, namespace, name):
        """What kubectl reads, or None where it is not there."""
        words = (
            "get",
            kind,
            name,
            f"--namespace={namespace}",
            "--output=json",
            "--show-managed-fields",
        )
        done = self.try_kubectl(*words)
        if done.returncode != 0:
            expect("(NotFound)" in done.stderr, f"kubectl get failed: {done.stderr}")
            return None
        return json.loads(done.stdout)

    def namespace(self, name):
        """Makes a namespace with the service account that a whole cluster would put there."""
        self.kubectl("create", "namespace", name)
        self.kubectl("create", "serviceaccount", "default", f"--namespace={name}")

    def token(self, namespace, account):
        return self.kubectl("create", "token", account, f"--namespace={namespace}").strip()


def is_healthy(url):
    try:
        with DIRECT.open(url, timeout=5) as answer:
            return json.load(answer)["health"] == "true"
    except OSError:
        return False
