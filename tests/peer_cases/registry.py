"""Registries that run, and a client for them that has nothing of gcr-push."""

import base64
import gzip
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from .checks import check, expect, expect_same
from .images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, as_json, digest_of
from .programs import (
    debian_program,
    free_port,
    go_program,
    new_folder,
    run,
    start,
    wait_until,
)


class Registry:
    """A registry that runs, and a client for it that has nothing of gcr-push."""

    def __init__(
        self,
        name,
        address,
        takes_docker=True,
        has_referrers=False,
        has_catalog=True,
        login=None,
        log=None,
        process=None,
    ):
        self.name = name
        self.address = address
        self.takes_docker = takes_docker
        self.has_referrers = has_referrers
        self.has_catalog = has_catalog
        self.login = login
        self.log = log
        self.process = process

    def ask(self, method, path, data=None, headers=None):
        """Status, headers and body of one request, whatever the status."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", data, headers or {}, method=method
        )
        if self.login:
            encoded = base64.b64encode(":".join(self.login).encode()).decode()
            request.add_header("Authorization", f"Basic {encoded}")
        try:
            with DIRECT.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()

    def requests(self):
        """Method and path of every request so far, by the log of distribution."""
        log = self.log.read_text(errors="replace")
        return re.findall(r'(?m)^\S+ - .*"([A-Z]+) (\S+) HTTP/1\.1"', log)

    def answers(self):
        try:
            return self.ask("GET", "/v2/")[0] in (200, 401)
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path, accept="*/*"):
        status, headers, data = self.ask("GET", path, headers={"Accept": accept})
        expect_same(status, 200, f"the status of {path} at {self.name}")
        return headers, data

    def manifest(self, repository, reference):
        """A manifest's media type and bytes."""
        accept = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
        headers, data = self.get(f"/v2/{repository}/manifests/{reference}", accept)
        return headers["Content-Type"], data

    def has(self, repository, reference):
        accept = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST}"
        path = f"/v2/{repository}/manifests/{reference}"
        return self.ask("GET", path, headers={"Accept": accept})[0] == 200

    def blob(self, repository, digest):
        return self.get(f"/v2/{repository}/blobs/{digest}")[1]

    def put_blob(self, repository, data):
        status, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/", b"")
        expect_same(status, 202, "the status of a new upload")
        place = urllib.parse.urlsplit(
            urllib.parse.urljoin(f"http://{self.address}", headers["Location"])
        )
        query = "&".join(filter(None, [place.query, "digest=" + digest_of(data)]))
        kind = {"Content-Type": "application/octet-stream"}
        status, _, said = self.ask("PUT", f"{place.path}?{query}", data, kind)
        expect(status == 201, f"{self.name} refuses a blob of ours: {status} {said!r}")

    def put_manifest(self, repository, reference, media_type, data):
        path = f"/v2/{repository}/manifests/{reference}"
        status, _, said = self.ask("PUT", path, data, {"Content-Type": media_type})
        expect(status == 201, f"{self.name} refuses a manifest of ours: {status} {said!r}")

    def put(self, repository, tag, layout, root):
        """Puts an image and all below it, without gcr-push."""
        document = json.loads(layout.blobs[root["digest"]])
        for below in document.get("manifests", []):
            self.put(repository, below["digest"], layout, below)
        for blob in [document["config"], *document["layers"]] if "layers" in document else []:
            self.put_blob(repository, layout.blobs[blob["digest"]])
        self.put_manifest(repository, tag, root["mediaType"], layout.blobs[root["digest"]])

    def put_referrer(self, repository, layout, referrer):
        """Puts what refers to a manifest, and lists it where the registry does not."""
        self.put(repository, referrer["digest"], layout, referrer)
        subject = json.loads(layout.blobs[referrer["digest"]])["subject"]["digest"]
        if not self.has_referrers:
            index = as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [referrer]})
            self.put_manifest(repository, subject.replace(":", "-"), OCI_INDEX, index)

    def referrers(self, repository, subject):
        """What refers to a manifest, by the API or else by the tag in place of it."""
        if self.has_referrers:
            _, data = self.get(f"/v2/{repository}/referrers/{subject}")
        else:
            _, data = self.manifest(repository, subject.replace(":", "-"))
        return [one["digest"] for one in json.loads(data)["manifests"]]

    def expect_image(self, repository, reference, layout, digest):
        """Reads all of an image and compares it with the bytes that it was made of."""
        _, data = self.manifest(repository, reference)
        expect_same(
            digest_of(data), digest, f"the digest of {repository}:{reference} at {self.name}"
        )
        self.expect_below(repository, layout, data)

    def expect_below(self, repository, layout, manifest):
        document = json.loads(manifest)
        for below in document.get("manifests", []):
            _, data = self.manifest(repository, below["digest"])
            expect(data == layout.blobs[below["digest"]], f"{below['digest']} has other bytes")
            self.expect_below(repository, layout, data)
        for blob in [document["config"], *document["layers"]] if "layers" in document else []:
            data = self.blob(repository, blob["digest"])
            expect(data == layout.blobs[blob["digest"]], f"{blob['digest']} has other bytes")

    def expect_referrer(self, repository, sample):
        """That what refers to the image is there, and is found by it."""
        listed = self.referrers(repository, sample.digest)
        expect_same(listed, [sample.sbom["digest"]], "what refers to the image")
        self.expect_image(repository, sample.sbom["digest"], sample.layout, sample.sbom["digest"])

    def expect_picture(self, repository, reference, picture, manifest_type):
        """Reads a plain image, unpacks its layers, and compares with what it was made of."""
        media_type, data = self.manifest(repository, reference)
        expect_same(media_type, manifest_type, "the media type of the manifest")
        document = json.loads(data)
        config = self.blob(repository, document["config"]["digest"])
        expect(config == picture.config, "the config has other bytes")
        layers = []
        for layer in document["layers"]:
            packed = self.blob(repository, layer["digest"])
            expect_same(digest_of(packed), layer["digest"], "the digest of a layer")
            expect_same(len(packed), layer["size"], "the size of a layer")
            is_packed = layer["mediaType"].endswith("gzip")
            layers.append(gzip.decompress(packed) if is_packed else packed)
        expect(layers == picture.layers, "the layers have other bytes")
        return digest_of(data)


# What a registry that asks for a login is told to take.
LOGIN = ("puller", "a password of these checks")

# A proxy that the environment names is none for what runs here.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def htpasswd(folder, user, password):
    """A password file for a registry, as `htpasswd -B` makes it."""
    hashed = run(
        "perl", "-e", "print crypt($ARGV[0], '$2y$05$' . 'gcrpushpeersgcrpushpee')", password
    )
    expect(hashed.startswith("$2y$"), "perl's crypt knows no bcrypt here")
    path = folder / "htpasswd"
    path.write_text(f"{user}:{hashed}\n")
    return path


def start_distribution(program, name, has_referrers=False, login=None, read_only=False):
    """Starts distribution, of version 2 or 3."""
    folder, port = new_folder(name), free_port()
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}}
    if read_only:
        storage["maintenance"] = {"readonly": {"enabled": True}}
    config = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": storage,
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        path = str(htpasswd(folder, *login))
        config["auth"] = {"htpasswd": {"realm": "peers", "path": path}}
    # JSON is YAML too.
    (folder / "config.yml").write_text(json.dumps(config))
    log = folder / "log"
    # Version 3 sends traces to a collector unless told not to.
    quiet = {"OTEL_TRACES_EXPORTER": "none"}
    process = start(program, "serve", folder / "config.yml", log=log, environment=quiet)
    address = f"127.0.0.1:{port}"
    registry = Registry(
        name, address, has_referrers=has_referrers, login=login, log=log, process=process
    )
    wait_until(registry.answers, process, log)
    return registry


def start_zot(name="zot", docker=False, access_control=None):
    program = go_program("zot")
    folder, port = new_folder(name), free_port()
    served = {"address": "127.0.0.1", "port": str(port)}
    if docker:
        served["compat"] = ["docker2s2"]
    if access_control:
        served["accessControl"] = {"repositories": access_control}
    config = {
        "distSpecVersion": "1.1.1",
        "storage": {"rootDirectory": str(folder / "data"), "gc": False},
        "http": served,
        "log": {"level": "info"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    log = folder / "log"
    process = start(program, "serve", folder / "config.json", log=log)
    registry = Registry(name, f"127.0.0.1:{port}", takes_docker=docker, has_referrers=True)
    wait_until(registry.answers, process, log)
    return registry


def start_ggcr():
    program = go_program("crane")
    folder, port = new_folder("ggcr"), free_port()
    log = folder / "log"
    process = start(program, "registry", "serve", f"--address=127.0.0.1:{port}", log=log)
    registry = Registry("ggcr", f"127.0.0.1:{port}")
    wait_until(registry.answers, process, log)
    return registry


def start_olareg(read_only=False):
    program = go_program("olareg")
    folder, port = new_folder("olareg"), free_port()
    log = folder / "log"
    options = ("--addr=127.0.0.1", f"--port={port}", f"--dir={folder}", f"--store-ro={read_only}")
    process = start(program, "serve", *options, log=log)
    address = f"127.0.0.1:{port}"
    registry = Registry("olareg", address, has_referrers=True, has_catalog=False)
    wait_until(registry.answers, process, log)
    return registry


def start_docker_registry():
    program = debian_program("docker-registry")
    return start_distribution(program, "docker-registry 2.8")


def start_distribution_3(**options):
    return start_distribution(go_program("distribution"), "distribution 3", **options)


REGISTRIES = {
    "docker-registry 2.8": start_docker_registry,
    "distribution 3": start_distribution_3,
    "ggcr": start_ggcr,
    "olareg": start_olareg,
    "zot": start_zot,
    "zot for Docker": lambda: start_zot("zot for Docker", docker=True),
}


def started(names):
    """Starts registries, and says which cannot be."""
    running = {}
    for name in names:
        with check(name, "it runs"):
            running[name] = REGISTRIES[name]()
    return running
