"""Each kind of source to each registry, and from each to each."""

import gzip
import json

from .checks import Absent, check, expect, expect_same
from .images import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Layout,
    Picture,
    Sample,
)
from .programs import new_folder
from .pushing import gcr_push
from .registry import LOGIN, REGISTRIES, start_distribution_3, start_olareg, start_zot, started


def registries():
    sample = Sample()
    running = started(REGISTRIES)
    names = list(running)
    for number, (name, registry) in enumerate(running.items()):
        # What another registry holds is a source as well.
        source = running[names[number - 1]]
        with check(name, "docker-archive"):
            tags = f"{registry.address}/acme/docker:1"
            pushed = gcr_push(image=sample.docker_archive, tags=tags, verify="blobs")
            expect_docker_picture(registry, "acme/docker", pushed, sample)
        with check(name, "a compressed archive on standard input"):
            archive = gzip.compress((sample.folder / "docker.tar").read_bytes(), 1)
            tags = f"{registry.address}/acme/stdin:1"
            pushed = gcr_push(image="-", tags=tags, verify="blobs", stdin=archive)
            expect_docker_picture(registry, "acme/stdin", pushed, sample)
        for kind, image in [("oci-archive", sample.oci_archive), ("oci", sample.oci)]:
            with check(name, kind):
                tag = f"{registry.address}/acme/{kind}:1"
                pushed = gcr_push(image=image, tags=tag, verify="blobs")
                expect_same(pushed.digest, sample.digest, "digest_file")
                registry.expect_image(f"acme/{kind}", "1", sample.layout, sample.digest)
        with check(name, f"docker:// from {source.name}"):
            source.put("source/app", "1", sample.layout, sample.index)
            image = f"docker://{source.address}/source/app:1"
            pushed = gcr_push(image=image, tags=f"{registry.address}/acme/remote:1")
            expect_same(pushed.digest, sample.digest, "digest_file")
            registry.expect_image("acme/remote", "1", sample.layout, sample.digest)
        with check(name, "a second push is unchanged"):
            pushed = gcr_push(image=sample.oci, tags=f"{registry.address}/acme/oci:1")
            expect_same(pushed.report["status"], "unchanged", "the report's status")
            expect_same(pushed.sent, 0, "the bytes sent")
            pushed = gcr_push(image=sample.docker_archive, tags=f"{registry.address}/acme/docker:1")
            expect_same(pushed.report["status"], "unchanged", "the status of the Docker archive")
            expect_same(pushed.sent, 0, "the bytes sent of the Docker archive")
        with check(name, "a second repository takes its blobs from the first"):
            second_repository_mounts(registry, sample)
        with check(name, "referrers go along"):
            address = f"{registry.address}/acme/referred:1"
            gcr_push(image=sample.oci, tags=address, referrers="true")
            registry.expect_referrer("acme/referred", sample)
        with check(name, "list"):
            list_tells_what_is_there(registry, sample)
        with check(name, "a tag that moved, one that is kept, and one that may not move"):
            existing_tags(registry, sample)
    for name, source in running.items():
        for other, home in running.items():
            if source is not home:
                with check(other, f"mirror from {name}"):
                    mirror(source, home, sample)
    mirror_of_every_tag(running, sample)
    refusals(sample)


def expect_docker_picture(registry, repository, pushed, sample):
    # zot stores OCI alone, unless told otherwise: the image is pushed in that form then.
    wanted = DOCKER_MANIFEST if registry.takes_docker else OCI_MANIFEST
    digest = registry.expect_picture(repository, "1", sample.docker_picture, wanted)
    expect_same(pushed.digest, digest, "digest_file")


def second_repository_mounts(registry, sample):
    layout = Layout()
    # No other check has these blobs, so that nothing is there but by this one.
    root = layout.image(Picture("mounted"))
    layout.listed = [{**root, "annotations": {"org.opencontainers.image.ref.name": "1"}}]
    folder = new_folder("mounted")
    layout.write(folder)
    tags = f"{registry.address}/mount/first:1, {registry.address}/mount/second:1"
    pushed = gcr_push(image=f"oci:{folder}:1", tags=tags, verify="blobs")
    first, second = pushed.report["destinations"]
    size = sum(len(data) for digest, data in layout.blobs.items() if digest != root["digest"])
    expect_same(first["sent_bytes"], size, "the bytes sent to the first repository")
    if registry.name == "ggcr":
        # It mounts nothing, and so gets all of it twice; and it reads one upload at a time, which
        # must not keep an upload waiting for another until `stall_timeout` is over.
        expect_same(second["sent_bytes"], size, "the bytes sent to the second repository")
    else:
        expect_same(second["mounted_bytes"], size, "the bytes mounted into the second repository")
        expect_same(second["sent_bytes"], 0, "the bytes sent to the second repository")
    for repository in ("mount/first", "mount/second"):
        registry.expect_image(repository, "1", layout, root["digest"])
    took = pushed.report["seconds"]
    expect(took < 30, f"1.5 MB took {took:.0f} s; {pushed.report['notes']}")


def list_tells_what_is_there(registry, sample):
    repository = "listed/app"
    registry.put(repository, "1.0", sample.layout, sample.index)
    registry.put(repository, "latest", sample.layout, sample.platforms[0])
    image = f"{registry.address}/{repository}"
    listed = json.loads(gcr_push("list", image=image, list_format="json").stdout)
    found = {one["digest"]: one["tags"] for one in listed}
    wanted = {sample.digest: ["1.0"], sample.platforms[0]["digest"]: ["latest"]}
    expect_same(found, wanted, "what is listed")
    platforms = {one["digest"]: one["platforms"] for one in listed}[sample.digest]
    expect_same(sorted(platforms), ["linux/amd64", "linux/arm64"], "the platforms listed")
    catalog = {"registry": registry.address, "project_id": "listed"}
    if registry.has_catalog:
        names = gcr_push("list", **catalog).stdout.split()
        expect_same(names, ["NAME", image], "the catalog below a path")
    else:
        refused = gcr_push("list", code=1, **catalog).stderr
        expect("does not list its images" in refused, f"it says: {refused}")


def existing_tags(registry, sample):
    layout = Layout()
    other = layout.image(Picture("other"))
    registry.put("acme/moved", "1", layout, other)
    tag = f"{registry.address}/acme/moved:1"
    kept = gcr_push(image=sample.oci, tags=tag, existing_tag="keep")
    expect_same(kept.report["status"], "kept", "the report's status")
    gcr_push(image=sample.oci, tags=tag, existing_tag="fail", code=1)
    registry.expect_image("acme/moved", "1", layout, other["digest"])
    gcr_push(image=sample.oci, tags=tag)
    registry.expect_image("acme/moved", "1", sample.layout, sample.digest)


def mirror(source, home, sample):
    repository = "mirror/app"
    if not source.has(repository, "1"):
        source.put(repository, "1", sample.layout, sample.index)
        source.put_referrer(repository, sample.layout, sample.sbom)
    path = "from/" + source.name.replace(" ", "-").replace(".", "-").lower()
    config = new_folder("mirror") / "gcr-push.yaml"
    config.write_text(
        json.dumps(
            {
                "destinations": [f"{home.address}/{path}"],
                "defaults": {"referrers": True},
                "images": [{"from": f"{source.address}/{repository}", "tags": ["1"]}],
            }
        )
    )
    brought = gcr_push("mirror", config=config).report["images"]
    expect_same([image["result"] for image in brought], ["copied"], "what became of the images")
    home.expect_image(f"{path}/app", "1", sample.layout, sample.digest)
    home.expect_referrer(f"{path}/app", sample)
    again = gcr_push("mirror", config=config).report["images"]
    told = [(image["result"], image["sent_bytes"]) for image in again]
    expect_same(told, [("unchanged", 0)], "what became of them the second time")
    if source.takes_docker:
        docker_manifest_is_mirrored(source, home, path)


def mirror_of_every_tag(running, sample):
    """Registries without the referrers API list what refers to an image under a tag of its own."""
    with check(
        "docker-registry 2.8", "what refers to an image at home outlives a mirror of every tag"
    ):
        for name in ("docker-registry 2.8", "ggcr"):
            if name not in running:
                raise Absent(f"{name} does not run")
        source, home = running["docker-registry 2.8"], running["ggcr"]
        source.put("every/app", "1", sample.layout, sample.index)
        source.put_referrer("every/app", sample.layout, sample.sbom)
        layout = Layout()
        layout.blobs.update(sample.layout.blobs)
        own = layout.referrer(sample.index, b"what home says of it")
        home.put("home/app", "1", layout, sample.index)
        home.put_referrer("home/app", layout, own)
        config = new_folder("every") / "gcr-push.yaml"
        config.write_text(
            json.dumps(
                {
                    "destinations": [f"{home.address}/home"],
                    "defaults": {"referrers": True},
                    "images": [{"from": f"{source.address}/every/app"}],
                }
            )
        )
        gcr_push("mirror", config=config)
        wanted = sorted([own["digest"], sample.sbom["digest"]])
        found = sorted(home.referrers("home/app", sample.digest))
        expect_same(found, wanted, "what refers to the image")


def docker_manifest_is_mirrored(source, home, path):
    """From a registry, a Docker manifest is brought as it is, or not at all."""
    layout = Layout()
    root = layout.image(Picture("docker"), (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER))
    source.put("mirror/docker", "1", layout, root)
    image, tag = f"docker://{source.address}/mirror/docker:1", f"{home.address}/{path}/docker:1"
    if home.takes_docker:
        gcr_push(image=image, tags=tag)
        home.expect_image(f"{path}/docker", "1", layout, root["digest"])
        return
    refused = gcr_push(image=image, tags=tag, code=1)
    expect(not home.has(f"{path}/docker", "1"), "there is a tag for what was refused")
    expect("415 MANIFEST_INVALID" in refused.stderr, f"why is not told: {refused.stderr}")


def refusals(sample):
    with check("distribution 3", "a login is asked for"):
        registry = start_distribution_3(login=LOGIN)
        tag = f"{registry.address}/acme/app:1"
        gcr_push(image=sample.oci, tags=tag, code=3)
        gcr_push(image=sample.oci, tags=tag, username=LOGIN[0], password="another", code=3)
        expect(not registry.has("acme/app", "1"), "there is a tag without a login")
        user, password = LOGIN
        gcr_push(image=sample.oci, tags=tag, username=user, password=password)
        registry.expect_image("acme/app", "1", sample.layout, sample.digest)
    with check("distribution 3", "it is read-only"):
        registry = start_distribution_3(read_only=True)
        refused = gcr_push(image=sample.oci, tags=f"{registry.address}/acme/app:1", code=1)
        expect("405" in refused.stderr, f"the refusal is not told: {refused.stderr}")
    with check("olareg", "it is read-only"):
        registry = start_olareg(read_only=True)
        refused = gcr_push(image=sample.oci, tags=f"{registry.address}/acme/app:1", code=3)
        expect("403" in refused.stderr, f"the refusal is not told: {refused.stderr}")
    with check("zot", "a repository that may only be read"):
        registry = start_zot(access_control={"**": {"anonymousPolicy": ["read"]}})
        gcr_push(image=sample.oci, tags=f"{registry.address}/acme/app:1", code=3)
        expect(not registry.has("acme/app", "1"), "there is a tag where nothing may be written")
    with check("zot", "tags that may be made and not moved"):
        policy = {"**": {"anonymousPolicy": ["read", "create"]}}
        registry = start_zot(access_control=policy)
        tag = f"{registry.address}/acme/app:1"
        gcr_push(image=sample.oci, tags=tag)
        same = gcr_push(image=sample.oci, tags=tag)
        expect_same(same.report["status"], "unchanged", "the status of the same digest")
        gcr_push(image=sample.docker_archive, tags=tag, code=3)
        kept = gcr_push(image=sample.docker_archive, tags=tag, existing_tag="keep")
        expect_same(kept.report["status"], "kept", "the status with `existing_tag: keep`")
        registry.expect_image("acme/app", "1", sample.layout, sample.digest)
