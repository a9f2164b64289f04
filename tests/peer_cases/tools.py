"""What was pushed is read back by other tools, and what they write is pushed."""

import io
import json
import tarfile
import time
from functools import partial

from .checks import Failure, check, expect, expect_same
from .images import DOCKER_MANIFEST, OCI_MANIFEST, SBOM, Layout, Picture, Sample, as_json, digest_of
from .programs import GO_PROGRAMS, attempt, debian_program, go_program, new_folder, run
from .pushing import gcr_push
from .registry import started

SKOPEOS = {
    "skopeo on PATH": lambda: debian_program("skopeo"),
    f"skopeo {GO_PROGRAMS['skopeo'].version}": lambda: go_program("skopeo"),
}


def tools():
    sample = Sample()
    running = started(["docker-registry 2.8", "distribution 3", "zot", "olareg"])
    homes = [running[name] for name in ("distribution 3", "zot", "olareg") if name in running]
    for home in homes:
        for tags, image in [("acme/app:1", sample.oci), ("acme/docker:1", sample.docker_archive)]:
            gcr_push(
                image=image,
                tags=f"{home.address}/{tags}",
                referrers=str(image == sample.oci).lower(),
            )
        for tool, reads in [
            ("crane", crane_reads),
            ("regctl", regctl_reads),
            ("oras", oras_reads),
            *((peer, partial(skopeo_reads, program)) for peer, program in SKOPEOS.items()),
        ]:
            with check(tool, f"reads from {home.name}"):
                reads(home, sample)
        for tool, writes in [
            ("crane", crane_writes),
            ("regctl", regctl_writes),
            ("oras", oras_writes),
            *((peer, partial(skopeo_writes, program)) for peer, program in SKOPEOS.items()),
        ]:
            with check(tool, f"what it writes from {home.name} is pushed"):
                writes(home, sample)
        with check("regctl", f"a base that changed at {home.name} is noticed"):
            base_is_checked(home)
    signatures(running, sample)


def crane_reads(home, sample):
    crane = go_program("crane")
    image = f"{home.address}/acme/app"
    run(crane, "validate", f"--remote={image}:1")
    run(crane, "validate", f"--remote={home.address}/acme/docker:1")
    expect_same(run(crane, "digest", f"{image}:1").strip(), sample.digest, "crane's digest")
    manifest = run(crane, "manifest", f"{image}:1").encode()
    expect(manifest == sample.layout.blobs[sample.digest], "crane reads another manifest")
    # The files of all layers together, as a container would have them.
    for place, picture in [
        ("acme/app:1", sample.pictures[1]),
        ("acme/docker:1", sample.docker_picture),
    ]:
        exported = new_folder("crane") / "exported.tar"
        platform = f"--platform=linux/{picture.architecture}"
        run(crane, "export", platform, f"{home.address}/{place}", exported)
        expect_same(
            files_of(exported.read_bytes()),
            files_of(*picture.layers),
            "the files that crane exports",
        )


def files_of(*archives):
    """Name and digest of every file in tar files that lie above each other."""
    found = {}
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            for member in tar:
                if member.isfile():
                    found[member.name] = digest_of(tar.extractfile(member).read())
    return found


def regctl(home, *words):
    """Runs regctl with a configuration of its own."""
    environment = {"REGCTL_CONFIG": str(new_folder("regctl") / "config.json")}
    command = (go_program("regctl"), f"--host=reg={home.address},tls=disabled", *words)
    return run(*command, environment=environment)


def regctl_reads(home, sample):
    image = f"{home.address}/acme/app:1"
    expect_same(regctl(home, "image", "digest", image).strip(), sample.digest, "regctl's digest")
    manifest = regctl(home, "manifest", "get", "--format=raw-body", image).encode()
    expect(manifest == sample.layout.blobs[sample.digest], "regctl reads another manifest")
    for place, picture in [
        (image, sample.pictures[1]),
        (f"{home.address}/acme/docker:1", sample.docker_picture),
    ]:
        platform = f"--platform=linux/{picture.architecture}"
        config = json.loads(regctl(home, "image", "inspect", platform, place))
        expect_same(
            config["rootfs"], json.loads(picture.config)["rootfs"], "the diff IDs that regctl tells"
        )
    listed = regctl(
        home, "artifact", "list", "--format={{range .Descriptors}}{{.Digest}}{{end}}", image
    )
    expect_same(listed.strip(), sample.sbom["digest"], "what refers to the image, by regctl")
    got = regctl(home, "artifact", "get", f"--subject={image}", f"--filter-artifact-type={SBOM}")
    expect_same(got.strip(), "sbom of app", "the SBOM that regctl gets")


def base_is_checked(home):
    """`regctl image check-base` finds what an image was built on by annotations of its manifest."""
    base, changed = (Picture(name) for name in ("base", "changed"))
    app = Picture("on-base")
    app.layers = [*base.layers, *app.layers]
    config = json.loads(app.config)
    config["rootfs"]["diff_ids"] = [digest_of(layer) for layer in app.layers]
    app.config = as_json(config)
    place = f"{home.address}/acme/base:1"

    def push(picture, tag, annotations=None):
        layout = Layout()
        root = layout.image(picture, annotations=annotations)
        layout.listed = [root]
        folder = new_folder("base")
        layout.write(folder)
        gcr_push(image=f"oci:{folder}", tags=tag)
        return root["digest"]

    about = "org.opencontainers.image.base"
    annotations = {f"{about}.name": place, f"{about}.digest": push(base, place)}
    push(app, f"{home.address}/acme/on-base:1", annotations)
    check_base = ("image", "check-base", f"{home.address}/acme/on-base:1")
    regctl(home, *check_base)
    push(changed, place)
    try:
        regctl(home, *check_base)
    except Failure as failure:
        expect("base image has changed" in str(failure), f"regctl says: {failure}")
    else:
        raise Failure("regctl sees no change in the base")


def oras_reads(home, sample):
    oras = go_program("oras")
    image = f"{home.address}/acme/app:1"
    manifest = run(oras, "manifest", "fetch", "--plain-http", image).encode()
    expect(manifest == sample.layout.blobs[sample.digest], "oras reads another manifest")
    found = json.loads(run(oras, "discover", "--plain-http", "--format=json", image))
    listed = [(one["digest"], one["artifactType"]) for one in found["referrers"]]
    expect_same(listed, [(sample.sbom["digest"], SBOM)], "what oras discovers")
    for blob in json.loads(sample.layout.blobs[sample.platforms[0]["digest"]])["layers"]:
        path = new_folder("oras") / "blob"
        place = f"{home.address}/acme/app@{blob['digest']}"
        run(oras, "blob", "fetch", "--plain-http", f"--output={path}", place)
        expect(
            path.read_bytes() == sample.layout.blobs[blob["digest"]], "oras fetches another blob"
        )


def skopeo_reads(program, home, sample):
    skopeo = program()
    image = f"docker://{home.address}/acme/app:1"
    raw = run(skopeo, "inspect", "--raw", "--tls-verify=false", image).encode()
    expect(raw == sample.layout.blobs[sample.digest], "skopeo reads another manifest")
    # skopeo checks every digest that it copies.
    folder = new_folder("skopeo")
    run(skopeo, "copy", "--all", "--src-tls-verify=false", image, f"oci:{folder}:1")
    expect_layout_holds(folder, sample)
    archive = new_folder("skopeo") / "docker.tar"
    docker = f"docker://{home.address}/acme/docker:1"
    run(skopeo, "copy", "--src-tls-verify=false", docker, f"docker-archive:{archive}:app:1")
    with tarfile.open(archive) as tar:
        entry = json.load(tar.extractfile("manifest.json"))[0]
        layers = [tar.extractfile(name).read() for name in entry["Layers"]]
    expect(layers == sample.docker_picture.layers, "skopeo saves other layers")


def expect_layout_holds(folder, sample, referrer=False):
    """Compares the blobs of a layout on disk with those of the image, and of what refers to it."""
    wanted = dict(sample.layout.blobs)
    if not referrer:
        sbom = json.loads(wanted.pop(sample.sbom["digest"]))
        for blob in (sbom["config"], *sbom["layers"]):
            wanted.pop(blob["digest"])
    for digest, data in wanted.items():
        path = folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        expect(
            path.exists() and path.read_bytes() == data, f"{digest} is not in the layout as it was"
        )


def written_is_pushed(home, image, sample, referrers=False):
    """Pushes what a tool wrote, and wants the same digest as before."""
    repository = "again/" + image.partition(":")[0] + f"-{time.monotonic_ns()}"
    tags = f"{home.address}/{repository}:1"
    pushed = gcr_push(image=image, tags=tags, referrers=str(referrers).lower())
    expect_same(pushed.digest, sample.digest, "the digest of what was written")
    home.expect_image(repository, "1", sample.layout, sample.digest)
    if referrers:
        home.expect_referrer(repository, sample)


def crane_writes(home, sample):
    crane = go_program("crane")
    folder = new_folder("crane")
    run(crane, "pull", "--format=oci", f"{home.address}/acme/app:1", folder / "layout")
    written_is_pushed(home, f"oci:{folder}/layout", sample)
    # Its archive holds the layers compressed; they arrive as they are.
    picture = sample.docker_picture
    run(crane, "pull", "--format=tarball", f"{home.address}/acme/docker:1", folder / "docker.tar")
    tags = f"{home.address}/again/tarball:1"
    gcr_push(image=f"docker-archive:{folder}/docker.tar", tags=tags, verify="blobs")
    wanted = DOCKER_MANIFEST if home.takes_docker else OCI_MANIFEST
    home.expect_picture("again/tarball", "1", picture, wanted)


def regctl_writes(home, sample):
    folder = new_folder("regctl")
    image = f"{home.address}/acme/app:1"
    regctl(home, "image", "copy", "--referrers", image, f"ocidir://{folder}/layout:1")
    expect_layout_holds(folder / "layout", sample, referrer=True)
    written_is_pushed(home, f"oci:{folder}/layout:1", sample, referrers=True)
    regctl(home, "image", "export", image, folder / "export.tar")
    written_is_pushed(home, f"oci-archive:{folder}/export.tar", sample)


def oras_writes(home, sample):
    oras = go_program("oras")
    folder = new_folder("oras")
    copy = ("copy", "--recursive", "--from-plain-http", "--to-oci-layout")
    run(oras, *copy, f"{home.address}/acme/app:1", f"{folder}/layout:1")
    expect_layout_holds(folder / "layout", sample, referrer=True)
    written_is_pushed(home, f"oci:{folder}/layout:1", sample, referrers=True)


def skopeo_writes(program, home, sample):
    skopeo = program()
    folder = new_folder("skopeo")
    copy = ("copy", "--all", "--src-tls-verify=false", f"docker://{home.address}/acme/app:1")
    run(skopeo, *copy, f"oci-archive:{folder}/oci.tar:1")
    written_is_pushed(home, f"oci-archive:{folder}/oci.tar:1", sample)


# How cosign keeps a signature: under a tag, or as a referrer of OCI 1.1.
COSIGN_SCHEMES = {
    "by tag": ["--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false"],
    "by OCI 1.1": ["--new-bundle-format=true", "--use-signing-config=false", "--tlog-upload=false"],
}


def signatures(running, sample):
    sources = [running[name] for name in ("docker-registry 2.8", "zot") if name in running]
    for source in sources:
        for home in running.values():
            if home is source:
                continue
            for scheme in COSIGN_SCHEMES:
                with check(
                    "cosign",
                    f"signature and attestation {scheme} at {source.name} hold at {home.name}",
                ):
                    signature_holds(source, home, scheme, sample)


def signature_holds(source, home, scheme, sample):
    cosign = go_program("cosign")
    folder = new_folder("cosign")
    environment = {"COSIGN_PASSWORD": "", "HOME": str(folder), "DOCKER_CONFIG": str(folder)}
    run(cosign, "generate-key-pair", folder=folder, environment=environment)
    repository = "signed/" + scheme.replace(" ", "-").replace(".", "-").lower()
    source.put(repository, "1", sample.layout, sample.index)
    signed = f"{source.address}/{repository}@{sample.digest}"
    own_key = ("--yes", "--key=cosign.key", "--allow-http-registry", *COSIGN_SCHEMES[scheme])
    run(cosign, "sign", *own_key, signed, folder=folder, environment=environment)
    (folder / "predicate.json").write_text('{"tested": "by these checks"}')
    attest = ("attest", "--type=custom", "--predicate=predicate.json", *own_key)
    run(cosign, *attest, signed, folder=folder, environment=environment)

    def verified(at, *words):
        known_key = ("--key=cosign.pub", "--insecure-ignore-tlog=true", "--allow-http-registry")
        command = (cosign, *words, *known_key, COSIGN_SCHEMES[scheme][0], f"{at}@{sample.digest}")
        return attempt(*command, folder=folder, environment=environment)

    image, place = f"docker://{source.address}/{repository}:1", f"{home.address}/{repository}"
    gcr_push(image=image, tags=f"{place}-bare:1")
    gcr_push(image=image, tags=f"{place}:1", referrers="true")
    for words in [("verify",), ("verify-attestation", "--type=custom")]:
        expect(
            verified(f"{place}-bare", *words).returncode != 0,
            f"cosign {words[0]} needs nothing there",
        )
        done = verified(place, *words)
        expect(done.returncode == 0, f"cosign {words[0]} fails: {done.stderr}")
        expect(done.stdout.strip(), f"cosign {words[0]} prints nothing of what it verified")
    # The scheme is the one that was asked for.
    for end in (".sig", ".att"):
        by_tag = home.has(repository, sample.digest.replace(":", "-") + end)
        expect_same(by_tag, scheme == "by tag", f"that there is a tag with {end}")
