"""What runs containers pulls what was pushed, with the login file of the pull secret."""

import json
import os
import shutil
import subprocess
import textwrap

from .checks import Absent, check, expect, expect_same, has_passed
from .images import Sample, digest_of
from .programs import (
    GO_PROGRAMS,
    attempt,
    debian_program,
    go_program,
    new_folder,
    run,
    start,
    stop,
    wait_until,
)
from .pushing import gcr_push
from .registry import LOGIN, start_distribution_3


def engines():
    sample = Sample()
    with check("distribution 3", "it runs, and asks for a login"):
        registry = start_distribution_3(login=LOGIN)
    if not has_passed():
        return
    user, password = LOGIN
    login = {"username": user, "password": password}
    gcr_push(image=sample.oci, tags=f"{registry.address}/acme/app:1", **login)
    gcr_push(image=sample.docker_archive, tags=f"{registry.address}/acme/docker:1", **login)
    emitted = gcr_push(
        "pull-secret",
        tags=f"{registry.address}/acme/app:1",
        pull_secret="gcr-pull",
        pull_secret_allow_push_key="true",
        pull_secret_file="auth.json",
        pull_secret_format="dockerconfigjson",
        **login,
    )
    login_file = emitted.folder / "auth.json"
    podman_pulls(registry, sample, login_file)
    version = GO_PROGRAMS["containerd"].version.removeprefix("v")
    for peer, programs in [
        (
            "containerd on PATH",
            lambda: (debian_program("containerd"), debian_program("ctr", "containerd")),
        ),
        (f"containerd {version}", lambda: (go_program("containerd"), go_program("ctr"))),
    ]:
        containerd_pulls(registry, sample, login_file, peer, programs)
    docker_pulls(registry, sample, login_file)


def expect_refused(done, engine):
    """That an engine without a login gets nothing, and for that reason."""
    expect(done.returncode != 0, f"{engine} pulls without a login")
    expect("auth" in done.stderr.lower(), f"{engine} fails for another reason: {done.stderr}")


def saved_is_pushed(registry, image, repository, picture, variables=None):
    """Pushes what an engine gives out, and wants the layers and the config that it pulled."""
    user, password = LOGIN
    tags = f"{registry.address}/{repository}:1"
    gcr_push(image=image, tags=tags, username=user, password=password, variables=variables)
    media_type, _ = registry.manifest(repository, "1")
    registry.expect_picture(repository, "1", picture, media_type)


def podman_pulls(registry, sample, login_file):
    app, docker = f"{registry.address}/acme/app:1", f"{registry.address}/acme/docker:1"
    folder = new_folder("podman")
    policy = folder / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    # Its images and its state are its own, and it asks nothing of the system's containers.
    places = (f"--root={folder}/storage", f"--runroot={folder}/run", f"--tmpdir={folder}/tmp")
    # `vfs` needs no overlay file system, and so no kernel that allows one here.
    options = (
        *places,
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--events-backend=file",
    )
    no_login = folder / "none.json"
    no_login.write_text("{}")
    environment = {"HOME": str(folder), "REGISTRY_AUTH_FILE": str(no_login)}

    def podman(*words, runs=run):
        return runs(debian_program("podman"), *options, *words, environment=environment)

    pull = ("pull", "--tls-verify=false", f"--signature-policy={policy}")
    with check("podman", "it pulls with the login file, and not without"):
        refused = podman(*pull, app, runs=attempt)
        expect_refused(refused, "podman")
        for image, picture in [(app, sample.pictures[0]), (docker, sample.docker_picture)]:
            podman(*pull, f"--authfile={login_file}", "--platform=linux/amd64", image)
            inspected = json.loads(podman("image", "inspect", image))[0]
            diff_ids = [digest_of(layer) for layer in picture.layers]
            expect_same(inspected["RootFS"]["Layers"], diff_ids, "the layers that podman has")
        digests = json.loads(podman("image", "inspect", app))[0]["RepoDigests"]
        wanted = f"{registry.address}/acme/app@{sample.digest}"
        expect(wanted in digests, f"podman knows the image as {digests}")
    with check("podman", "what it saves is pushed"):
        # Each in the form that the image has there: another would have its config written anew.
        for kind, image, picture in [
            ("docker-archive", docker, sample.docker_picture),
            ("oci-archive", app, sample.pictures[0]),
        ]:
            archive = folder / f"{kind}.tar"
            podman("save", f"--format={kind}", f"--output={archive}", image)
            saved_is_pushed(registry, f"{kind}:{archive}", f"podman/{kind}", picture)
    with check("podman", "`docker-daemon:` reads from its service"):
        socket_path = folder / "podman.sock"
        log = folder / "service.log"
        service = ("system", "service", "--time=0", f"unix://{socket_path}")
        process = start(
            debian_program("podman"), *options, *service, log=log, environment=environment
        )
        wait_until(socket_path.exists, process, log)
        host = {"DOCKER_HOST": f"unix://{socket_path}"}
        saved_is_pushed(
            registry, f"docker-daemon:{docker}", "podman/service", sample.docker_picture, host
        )
        stop(process)


def start_containerd(program, ctr, folder):
    """Starts containerd, whose files are all in `folder`, and returns its socket's path."""
    if os.geteuid() != 0:
        raise Absent("containerd takes root, and this is none")
    address = folder / "containerd.sock"
    config = folder / "config.toml"
    # A later one reads version 2 as well. `native` copies where `overlayfs` mounts.
    config.write_text(
        textwrap.dedent(
            f"""\
        version = 2
        root = "{folder}/root"
        state = "{folder}/state"
        [grpc]
          address = "{address}"
        [plugins."io.containerd.grpc.v1.cri"]
          stream_server_address = "127.0.0.1"
        [plugins."io.containerd.grpc.v1.cri".cni]
          conf_dir = "{folder}/cni"
        [plugins."io.containerd.grpc.v1.cri".containerd]
          snapshotter = "native"
        [plugins."io.containerd.internal.v1.opt"]
          path = "{folder}/opt"
    """
        )
    )
    log = folder / "log"
    process = start(program, f"--config={config}", log=log)
    asked = (ctr, f"--address={address}", "version")
    wait_until(lambda: attempt(*asked).returncode == 0, process, log)
    return address


def containerd_pulls(registry, sample, login_file, peer, programs):
    app = f"{registry.address}/acme/app:1"
    folder = new_folder("containerd")
    address = folder / "containerd.sock"

    def ctr(*words, runs=run):
        return runs(programs()[1], f"--address={address}", "--namespace=peers", *words)

    def by_itself(command):
        """A later ctr leaves the work to a service, which knows no `--plain-http`, and whose export
        was once seen to be cut off, on a busy machine."""
        return ("--local",) if "--local" in ctr("images", command, "--help") else ()

    with check(peer, "it runs"):
        program, ctr_program = programs()
        start_containerd(program, ctr_program, folder)
    if not has_passed():
        return
    entry = json.loads(login_file.read_text())["auths"][registry.address]
    with check(peer, "it pulls with the login of the file, and not without"):
        pull = ("images", "pull", "--plain-http", "--snapshotter=native", "--all-platforms")
        pull += by_itself("pull")
        refused = ctr(*pull, app, runs=attempt)
        expect_refused(refused, "containerd")
        # ctr knows no login files: it gets what stands in ours.
        ctr(*pull, f"--user={entry['username']}:{entry['password']}", app)
        listed = ctr("images", "list", f"name=={app}").split()
        expect(sample.digest in listed, f"containerd lists {listed}")
        for digest in below(sample.layout, sample.digest):
            held = folder / "blob"
            with open(held, "wb") as output:
                command = [programs()[1], f"--address={address}", "--namespace=peers"]
                subprocess.run([*command, "content", "get", digest], stdout=output, check=True)
            expect(held.read_bytes() == sample.layout.blobs[digest], f"{digest} has other bytes")
    with check(peer, "it pulls as a kubelet has it pull, by its CRI"):
        image = f"{registry.address}/acme/docker:1"
        config = folder / "crictl.yaml"
        config.write_text("{}")
        endpoints = (f"--runtime-endpoint=unix://{address}", f"--image-endpoint=unix://{address}")
        crictl = (go_program("crictl"), f"--config={config}", *endpoints)
        refused = attempt(*crictl, "pull", image)
        expect_refused(refused, "containerd")
        # A kubelet hands over the entry of the Secret, and so its `auth`.
        run(*crictl, "pull", f"--auth={entry['auth']}", image)
        status = json.loads(run(*crictl, "inspecti", "--output=json", image))["status"]
        wanted = digest_of(sample.docker_picture.config)
        expect_same(status["id"], wanted, "the image's id, by its config")
        expect_same(status["repoTags"], [image], "the image's names")
    with check(peer, "what it exports is pushed, with the same digest"):
        archive = folder / "exported.tar"
        ctr("images", "export", "--all-platforms", *by_itself("export"), archive, app)
        user, password = LOGIN
        repository = "exported/" + peer.replace(" ", "-").replace(".", "-").lower()
        tags = f"{registry.address}/{repository}:1"
        pushed = gcr_push(
            image=f"oci-archive:{archive}", tags=tags, username=user, password=password
        )
        expect_same(pushed.digest, sample.digest, "digest_file")
        registry.expect_image(repository, "1", sample.layout, sample.digest)


def below(layout, digest):
    """The digests of all manifests and blobs of an image."""
    yield digest
    document = json.loads(layout.blobs[digest])
    for manifest in document.get("manifests", []):
        yield from below(layout, manifest["digest"])
    if "layers" in document:
        yield from (blob["digest"] for blob in (document["config"], *document["layers"]))


def docker_pulls(registry, sample, login_file):
    app, docker = f"{registry.address}/acme/app:1", f"{registry.address}/acme/docker:1"
    # The login file is what Docker's client keeps its logins in.
    with_login, without = new_folder("docker"), new_folder("docker")
    shutil.copy(login_file, with_login / "config.json")

    def client(*words, config=with_login, runs=run):
        return runs("docker", f"--config={config}", *words)

    with check("Docker", "an engine answers"):
        if not shutil.which("docker"):
            raise Absent("docker is not on PATH")
        answer = client("info", runs=attempt)
        if answer.returncode != 0:
            raise Absent(f"no Docker engine answers: {answer.stderr.strip().splitlines()[-1]}")
    if not has_passed():
        return
    try:
        with check("Docker", "it pulls with the login file, and not without"):
            refused = client("pull", app, config=without, runs=attempt)
            expect_refused(refused, "Docker")
            for image, picture in [(app, sample.pictures[0]), (docker, sample.docker_picture)]:
                client("pull", "--platform=linux/amd64", image)
                inspected = json.loads(client("image", "inspect", image))[0]
                diff_ids = [digest_of(layer) for layer in picture.layers]
                expect_same(inspected["RootFS"]["Layers"], diff_ids, "the layers that Docker has")
            digests = json.loads(client("image", "inspect", app))[0]["RepoDigests"]
            wanted = f"{registry.address}/acme/app@{sample.digest}"
            expect(wanted in digests, f"Docker knows the image as {digests}")
        with check("Docker", "what it saves is pushed"):
            archive = new_folder("docker") / "saved.tar"
            client("save", f"--output={archive}", docker)
            saved_is_pushed(
                registry, f"docker-archive:{archive}", "docker/saved", sample.docker_picture
            )
        with check("Docker", "`docker-daemon:` reads from the engine"):
            saved_is_pushed(
                registry, f"docker-daemon:{docker}", "docker/engine", sample.docker_picture
            )
    finally:
        client("rmi", app, docker, runs=attempt)
