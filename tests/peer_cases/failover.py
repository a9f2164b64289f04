"""With the files of `failover_dir`, clients find the image when the first registry is gone."""

import json
from functools import partial

from .checks import check, expect, expect_same
from .engines import start_containerd
from .images import Sample, digest_of
from .programs import GO_PROGRAMS, attempt, debian_program, go_program, new_folder, run, stop
from .pushing import gcr_push
from .registry import start_distribution_3


def failover():
    sample = Sample()
    with check("distribution 3", "two of them run"):
        first, second = start_distribution_3(), start_distribution_3()
    first.put("team/app", "1", sample.layout, sample.index)
    folder = new_folder("failover")
    config = folder / "gcr-push.yaml"
    entry = {"from": f"{first.address}/team/app:1", "to": "{host}/{path}"}
    config.write_text(json.dumps({"destinations": [f"{second.address}/x"], "images": [entry]}))
    gcr_push("mirror", config=config, failover_dir=folder)
    image = f"{first.address}/team/app"
    clients = [
        ("skopeo on PATH", partial(by_skopeo, lambda: debian_program("skopeo"))),
        (
            f"skopeo {GO_PROGRAMS['skopeo'].version}",
            partial(by_skopeo, lambda: go_program("skopeo")),
        ),
        ("podman", by_podman),
        (f"containerd {GO_PROGRAMS['containerd'].version}", by_containerd),
    ]
    for client, finds in clients:
        with check(client, "it finds the image at the first registry"):
            expect_same(finds(folder, f"{image}:1", sample), sample.digest, "the digest")
    with check(f"wharfie {GO_PROGRAMS['wharfie'].version}", "it reads the endpoints as k3s does"):
        # Only read: wharfie itself asks each endpoint for `/v2/` first, which has no path there.
        file = folder / "k3s" / "registries.yaml"
        name = first.address.replace(":", "-")
        wanted = [f"http://{first.address}", f"http://{second.address}/v2/x/{name}"]
        found = run(go_program("wharfie"), file, first.address).split()
        expect_same(found, wanted, "the endpoints")
    stop(first.process)
    empty = new_folder("empty")
    for client, finds in clients:
        with check(client, "it finds the image at the second when the first is gone"):
            for name in (f"{image}:1", f"{image}@{sample.digest}"):
                expect_same(finds(folder, name, sample), sample.digest, f"the digest of {name}")
            found = finds(empty, f"{image}:1", sample)
            expect(found is None, f"it finds {found} without these files")


def by_skopeo(program, folder, image, sample):
    conf = folder / "containers" / "registries.conf"
    if not conf.exists():
        conf.parent.mkdir(exist_ok=True)
        conf.write_text("")
    inspect = ("inspect", "--raw", "--tls-verify=false", f"docker://{image}")
    done = attempt(program(), f"--registries-conf={conf}", *inspect)
    return digest_of(done.stdout.encode()) if done.returncode == 0 else None


def by_podman(folder, image, sample):
    conf = folder / "containers" / "registries.conf"
    own = new_folder("podman")
    policy = own / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    options = (
        f"--root={own}/storage",
        f"--runroot={own}/run",
        f"--tmpdir={own}/tmp",
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--events-backend=file",
    )
    environment = {"HOME": str(own), "CONTAINERS_REGISTRIES_CONF": str(conf)}
    podman = partial(attempt, debian_program("podman"), *options, environment=environment)
    pull = ("pull", "--tls-verify=false", f"--signature-policy={policy}", "--platform=linux/amd64")
    if podman(*pull, image).returncode != 0:
        return None
    digests = json.loads(podman("image", "inspect", image).stdout)[0]["RepoDigests"]
    ends = [digest.partition("@")[2] for digest in digests]
    return sample.digest if sample.digest in ends else str(digests)


def by_containerd(folder, image, sample):
    # Nothing of an earlier pull is left in a store of its own.
    own = new_folder("containerd")
    address = start_containerd(go_program("containerd"), go_program("ctr"), own)
    ctr = partial(attempt, go_program("ctr"), f"--address={address}", "--namespace=peers")
    hosts = folder / "containerd" / "certs.d"
    pull = ("images", "pull", "--local", f"--hosts-dir={hosts}", "--snapshotter=native")
    if ctr(*pull, "--all-platforms", image).returncode != 0:
        return None
    listed = ctr("images", "list", f"name=={image}").stdout.split()
    return sample.digest if sample.digest in listed else str(listed)
