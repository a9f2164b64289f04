"""The peers: how each is got, run, started and stopped, and that nothing of them is left."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import typing

from .checks import Absent, Failure


ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "target" / "peers"

class Program(typing.NamedTuple):
    """A program that Go builds: its module at a version, and the package of the program in it."""

    module: str
    version: str
    package: str
    # Where its git repository is, if Go's proxy does not have the module.
    repository: str = ""
    # A file of these checks that is the package, if the module is a library.
    main: str = ""
    tags: str = ""
    environment: dict = {}


KUBERNETES = ("k8s.io/kubernetes", "v1.37.2")
CONTAINERD = ("github.com/containerd/containerd/v2", "v2.4.2")
GO_PROGRAMS = {
    "crane": Program("github.com/google/go-containerregistry", "v0.22.1", "./cmd/crane"),
    "distribution": Program("github.com/distribution/distribution/v3", "v3.1.2", "./cmd/registry"),
    "regctl": Program("github.com/regclient/regclient", "v0.11.7", "./cmd/regctl"),
    "oras": Program("oras.land/oras", "v1.3.6", "./cmd/oras"),
    "cosign": Program("github.com/sigstore/cosign/v3", "v3.1.3", "./cmd/cosign"),
    "etcd": Program("go.etcd.io/etcd/server/v3", "v3.6.16", "."),
    "kube-apiserver": Program(*KUBERNETES, "./cmd/kube-apiserver"),
    "kubectl": Program(*KUBERNETES, "./cmd/kubectl"),
    "containerd": Program(*CONTAINERD, "./cmd/containerd"),
    "ctr": Program(*CONTAINERD, "./cmd/ctr"),
    "crictl": Program("sigs.k8s.io/cri-tools", "v1.37.0", "./cmd/crictl"),
    # What k3s and RKE2 read their registries.yaml with.
    "wharfie": Program(
        "github.com/rancher/wharfie", "v0.7.1", "./k3s_endpoints", main="k3s_endpoints.go"
    ),
    "zot": Program(
        "zotregistry.dev/zot/v2",
        "v2.1.20",
        "./cmd/zot",
        repository="https://github.com/project-zot/zot",
        environment={"GOEXPERIMENT": "jsonv2"},
    ),
    "olareg": Program(
        "github.com/olareg/olareg",
        "v0.2.2",
        "./cmd/olareg",
        repository="https://github.com/olareg/olareg",
    ),
    "skopeo": Program(
        "github.com/containers/skopeo",
        "v1.22.2",
        "./cmd/skopeo",
        repository="https://github.com/containers/skopeo",
        # Without the C libraries that it links otherwise.
        tags="containers_image_openpgp,exclude_graphdriver_btrfs",
    ),
}

# Everything that a run makes: gone when it ends, however it ends.
WORK = pathlib.Path(tempfile.mkdtemp(prefix="gcr-push-peers-"))
STARTED = []


def clean_up():
    # The last that was started goes first: a kube-apiserver before its etcd.
    for process in reversed(STARTED):
        stop(process)
    shutil.rmtree(WORK, ignore_errors=True)


def stop(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(*command, log, environment=None):
    """Starts a peer that runs until the end, its output in the file `log`."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=WORK,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    STARTED.append(process)
    return process


def wait_until(ready, process, log, seconds=60):
    """Waits until `ready()` is true; a peer that ended, or never is ready, is a failure."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            name = pathlib.Path(process.args[0]).name
            told = pathlib.Path(log).read_text(errors="replace").strip()[-1500:]
            raise Failure(f"{name} did not start: {told}")
        time.sleep(0.1)


def new_folder(name):
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=WORK))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def go_program(name):
    """Builds a program, unless it is there in this version, and returns its path."""
    program = GO_PROGRAMS[name]
    version = program.version
    built = PEERS / "bin" / f"{name}-{version}"
    if built.exists():
        return built
    if not shutil.which("go"):
        raise Absent(f"{name} is built by Go, which is not installed")
    print(f"building {name} {version}", file=sys.stderr, flush=True)
    started = time.monotonic()
    environment = {
        **os.environ,
        # Everything that Go keeps stays below `target/peers`, and can be deleted.
        "GOPATH": str(PEERS / "go"),
        "GOMODCACHE": str(PEERS / "go" / "pkg" / "mod"),
        "GOCACHE": str(PEERS / "go" / "cache"),
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
        **program.environment,
    }

    def build_step(*command, folder):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()
            told = [line for line in lines if not line.startswith("go: downloading ")]
            raise Absent(f"{name} {version} cannot be built: {' '.join(told[-3:])[-400:]}")
        return done.stdout

    PEERS.joinpath("bin").mkdir(parents=True, exist_ok=True)
    # Built as its own main module, a program gets the versions that its go.mod and go.sum have.
    with tempfile.TemporaryDirectory(dir=PEERS, prefix="source-") as source:
        if program.repository:
            clone = ("git", "clone", "--quiet", "--depth=1", f"--branch={version}")
            build_step(*clone, program.repository, source, folder=PEERS)
        else:
            module = f"{program.module}@{version}"
            told = build_step("go", "mod", "download", "-json", module, folder=PEERS)
            shutil.copytree(json.loads(told)["Dir"], source, dirs_exist_ok=True)
        if program.main:
            folder = pathlib.Path(source) / program.package
            folder.mkdir()
            shutil.copy(ROOT / "tests" / "peer_cases" / program.main, folder)
        if program.module == KUBERNETES[0]:
            # A vendor folder of which the module has nothing but a note about its owners.
            shutil.rmtree(pathlib.Path(source) / "vendor", ignore_errors=True)
        # What the Go at hand can build is not to wait for another one.
        edits = ["-toolchain=none"]
        described = json.loads(build_step("go", "mod", "edit", "-json", folder=source))
        for replaced in described.get("Replace") or []:
            # Modules that lie beside this one in its repository, and are modules of their own here.
            if replaced["New"].get("Version") is None:
                edits.append(f"-dropreplace={replaced['Old']['Path']}")
                if program.module == KUBERNETES[0]:
                    # Kubernetes 1.37.2 is released together with v0.37.2 of its parts.
                    edits.append(
                        f"-require={replaced['Old']['Path']}@v0{version.removeprefix('v1')}"
                    )
        build_step("go", "mod", "edit", *edits, folder=source)
        new = pathlib.Path(source) / "built-program"
        is_vendored = (pathlib.Path(source) / "vendor" / "modules.txt").exists()
        mode = "-mod=vendor" if is_vendored else "-mod=mod"
        flags = [mode, f"-tags={program.tags}", "-trimpath", "-ldflags=-s -w", f"-o={new}"]
        build_step("go", "build", *flags, program.package, folder=source)
        # Moved when it is whole, so that a build that was stopped leaves no half.
        new.rename(built)
    print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return built


def debian_program(name, package=None):
    """A program that Debian has, where it is installed."""
    found = shutil.which(name)
    if not found:
        raise Absent(f"{name} is not on PATH: Debian's package {package or name} has it")
    return pathlib.Path(found)


def run(*command, folder=None, environment=None, text_input=None):
    """Runs a peer to its end and returns what it printed; that it fails is a failure."""
    done = attempt(*command, folder=folder, environment=environment, text_input=text_input)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Failure(f"{shown(command)} failed ({done.returncode}): {said[-1500:]}")
    return done.stdout


def attempt(*command, folder=None, environment=None, text_input=None):
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder or WORK,
        env={**os.environ, **(environment or {})},
        input=text_input if text_input is not None else "",
        capture_output=True,
        text=True,
        timeout=180,
    )


def shown(command):
    return " ".join([pathlib.Path(str(command[0])).name, *map(str, command[1:])])
