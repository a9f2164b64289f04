"""Images made on the spot, byte for byte the same each time."""

import gzip
import hashlib
import io
import json
import random
import tarfile

from .programs import new_folder


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SBOM = "application/spdx+json"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def tar_of(members):
    """A tar file of names and their bytes, the same each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class Picture:
    """What an image is made of: layers as tar files, and a config that names them."""

    def __init__(self, name, architecture="amd64"):
        # One layer that does not compress and one that does; its own content, the same each time.
        noise = random.Random(f"{name} {architecture}").randbytes(1_500_000)
        lines = f"{name} on {architecture}\n".encode() * 20_000
        self.layers = [tar_of([(f"{name}-noise", noise)]), tar_of([(f"{name}-lines", lines)])]
        self.architecture = architecture
        self.config = as_json(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2026-01-02T03:04:05Z",
                "config": {"Cmd": ["/bin/true"]},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [digest_of(layer) for layer in self.layers],
                },
            }
        )


def docker_archive(picture, tag):
    """What `docker save` wrote before Docker 25."""
    config = hashlib.sha256(picture.config).hexdigest() + ".json"
    layers = [(f"{number}/layer.tar", layer) for number, layer in enumerate(picture.layers)]
    manifest = [{"Config": config, "RepoTags": [tag], "Layers": [name for name, _ in layers]}]
    return tar_of([*layers, (config, picture.config), ("manifest.json", as_json(manifest))])


class Layout:
    """An OCI layout as it grows: blobs by their digest, and what its index lists."""

    def __init__(self):
        self.blobs = {}
        self.listed = []

    def add(self, media_type, data):
        digest = digest_of(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(self, picture, types=(OCI_MANIFEST, OCI_CONFIG, OCI_LAYER), annotations=None):
        manifest_type, config_type, layer_type = types
        layers = [
            self.add(layer_type, gzip.compress(layer, 6, mtime=0)) for layer in picture.layers
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": self.add(config_type, picture.config),
            "layers": layers,
            **({"annotations": annotations} if annotations else {}),
        }
        platform = {"architecture": picture.architecture, "os": "linux"}
        return {**self.add(manifest_type, as_json(manifest)), "platform": platform}

    def index(self, manifests):
        return self.add(
            OCI_INDEX, as_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
        )

    def referrer(self, subject, data):
        """An SBOM of another manifest, as OCI 1.1 attaches it."""
        about = {key: subject[key] for key in ("mediaType", "digest", "size")}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SBOM,
            "config": self.add("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.add(SBOM, data)],
            "subject": about,
        }
        return {**self.add(OCI_MANIFEST, as_json(manifest)), "artifactType": SBOM}

    def members(self):
        yield "oci-layout", as_json({"imageLayoutVersion": "1.0.0"})
        yield "index.json", as_json({"schemaVersion": 2, "manifests": self.listed})
        for digest, data in self.blobs.items():
            yield "blobs/sha256/" + digest.removeprefix("sha256:"), data

    def write(self, folder):
        for name, data in self.members():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class Sample:
    """An image of two platforms, an SBOM of it, and an archive as Docker saves one."""

    def __init__(self, name="app"):
        self.layout = Layout()
        self.pictures = [Picture(name, "amd64"), Picture(name, "arm64")]
        self.platforms = [self.layout.image(picture) for picture in self.pictures]
        self.index = self.layout.index(self.platforms)
        self.sbom = self.layout.referrer(self.index, f"sbom of {name}".encode())
        reference = {"annotations": {"org.opencontainers.image.ref.name": "1"}}
        self.layout.listed = [{**self.index, **reference}, self.sbom]
        self.digest = self.index["digest"]
        self.folder = new_folder("sample")
        self.layout.write(self.folder / "layout")
        (self.folder / "oci.tar").write_bytes(tar_of(self.layout.members()))
        self.docker_picture = Picture(f"{name}-docker")
        (self.folder / "docker.tar").write_bytes(docker_archive(self.docker_picture, f"{name}:1"))

    @property
    def oci(self):
        return f"oci:{self.folder}/layout:1"

    @property
    def oci_archive(self):
        return f"oci-archive:{self.folder}/oci.tar:1"

    @property
    def docker_archive(self):
        return f"docker-archive:{self.folder}/docker.tar"
