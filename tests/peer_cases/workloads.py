"""What a cluster runs, mirrored. No kubelet runs, so a Pod's status is written here."""

import json
import re
import shlex

from .checks import check, expect, expect_same, has_passed
from .images import Layout, Picture
from .programs import ROOT, new_folder
from .pushing import gcr_push
from .registry import start_distribution_3


# Each with the namespace of what runs it, and the kinds whose template names it.
TEMPLATES = [
    ("apps/v1", "Deployment", "front", "web"),
    ("apps/v1", "StatefulSet", "front", "store"),
    ("apps/v1", "DaemonSet", "blog", "agent"),
    ("v1", "ReplicationController", "blog", "old"),
    ("batch/v1", "Job", "blog", "migrate"),
    ("batch/v1", "CronJob", "blog", "backup"),
]
# What the page about failover has a node look for.
TO = "{host}/{path}"


def workloads(cluster, peer):
    with check(peer, "it takes every kind of object that names images"):
        running = Running(cluster)
    if not has_passed():
        return
    for what, holds in [
        ("the nightly check fails before the mirror, and passes after it", check_before_and_after),
        ("what two namespaces run is mirrored, and nothing else", two_namespaces_are_mirrored),
        ("a second run asks once for each digest that runs", second_run_only_asks),
        ("a tag that moved keeps the digest that runs", tag_that_moved),
        ("every digest of a tag that runs is mirrored", two_digests_of_one_tag),
        ("an image that only a node has is a line of its own", image_of_a_node),
        ("a list of several pages", list_of_several_pages),
        ("the ClusterRole of deploy/kubernetes-nightly-check.yaml is enough", nightly_role),
        ("a kubeconfig that may list nothing", nothing_may_be_listed),
        ("a Role in one namespace is enough for that one", role_of_one_namespace),
        ("the files of deploy/ are taken by the server", files_are_taken),
    ]:
        with check(peer, what):
            holds(running)
    for resource in nightly_resources():
        what = f"without `list` on {resource} the rest is mirrored, and the hint mends it"
        with check(peer, what):
            one_list_less(running, resource)


class Running:
    """What the cluster runs, where its images are, and where they go."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.source = start_distribution_3()
        self.home = start_distribution_3()
        self.images = {}
        for namespace in ("front", "blog", "other"):
            cluster.namespace(namespace)
        self.in_templates()
        self.in_a_pod()
        # Named only by what has ended, or by a namespace that nobody asks for.
        for namespace, name in [("blog", "done"), ("other", "app")]:
            self.pod(namespace, name, self.put(f"{namespace}/{name}", "1"))
        self.patch("blog", "done", {"phase": "Succeeded"})
        self.pod("blog", "system", self.put("system/agent", "1"))

    def put(self, repository, tag, content=None):
        """Puts an image, and returns its name. The digest is in `images`."""
        layout = Layout()
        root = layout.image(Picture(content or repository))
        self.source.put(repository, tag, layout, root)
        name = f"{self.source.address}/{repository}:{tag}"
        self.images[name] = (layout, root["digest"])
        return name

    def digest(self, name):
        return self.images[name][1]

    def in_templates(self):
        objects = []
        for version, kind, namespace, name in TEMPLATES:
            image, labels = f"{namespace}/{name}", {"app": name}
            spec = {
                "initContainers": [{"name": "i", "image": self.put(f"{image}-init", "1")}],
                "containers": [{"name": "c", "image": self.put(image, "1")}],
            }
            made = {"template": {"metadata": {"labels": labels}, "spec": spec}}
            if kind in ("Job", "CronJob"):
                spec["restartPolicy"] = "Never"
                if kind == "CronJob":
                    made = {"schedule": "0 0 * * *", "jobTemplate": {"spec": made}}
            elif kind == "ReplicationController":
                made["selector"] = labels
            else:
                made["selector"] = {"matchLabels": labels}
            if kind == "StatefulSet":
                made["serviceName"] = name
            metadata = {"name": name, "namespace": namespace}
            about = {"apiVersion": version, "kind": kind, "metadata": metadata}
            objects.append({**about, "spec": made})
        self.cluster.apply(*objects)

    def in_a_pod(self):
        """A Pod with every field that names an image. It runs, by its status."""
        moved = self.put("front/api", "1", "what runs")
        self.moved = self.digest(moved)
        self.runs = self.images[moved]
        spec = {
            "initContainers": [{"name": "i", "image": self.put("front/api-init", "1")}],
            "volumes": [{"name": "v", "image": {"reference": self.put("front/model", "1")}}],
        }
        self.pod("front", "api", moved, **spec)
        self.started("front", "api", self.digest(moved))
        self.put("front/api", "1", "what was pushed since")
        ephemeral = (f"--image={self.put('front/debug', '1')}", "--container=d", "--attach=false")
        self.cluster.kubectl("debug", "api", "--namespace=front", *ephemeral, "--profile=general")

    def pod(self, namespace, name, image, **more):
        spec = {"containers": [{"name": "c", "image": image}], **more}
        metadata = {"name": name, "namespace": namespace}
        self.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def started(self, namespace, name, digest, image_id=None):
        """Writes what a kubelet writes when the containers run."""
        pod = self.cluster.get("pod", namespace, name)
        statuses = {}
        for containers, key in [
            ("initContainers", "initContainerStatuses"),
            ("containers", "containerStatuses"),
        ]:
            for container in pod["spec"].get(containers, []):
                repository = container["image"].rpartition(":")[0]
                own = digest if containers == "containers" else self.digest(container["image"])
                status = {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": image_id or f"{repository}@{own}",
                    "ready": True,
                    "restartCount": 0,
                }
                statuses.setdefault(key, []).append(status)
        self.patch(namespace, name, {"phase": "Running", **statuses})

    def patch(self, namespace, name, status):
        patch = f"--patch={json.dumps({'status': status})}"
        words = (f"--namespace={namespace}", "--subresource=status", "--type=merge", patch)
        self.cluster.kubectl("patch", "pod", name, *words)

    def mirror(self, code=0, kubeconfig=None, home=None, entry=None, **settings):
        """Runs `mirror` with one entry `from: kubernetes`."""
        asked = {"from": "kubernetes", "to": TO, **(entry or {})}
        file = {"destinations": [f"{(home or self.home).address}/second"], "images": [asked]}
        config = new_folder("workloads") / "gcr-push.yaml"
        config.write_text(json.dumps(file))
        kubeconfig = kubeconfig or self.cluster.administrator
        return gcr_push("mirror", code=code, config=config, kubeconfig=kubeconfig, **settings)

    def repository(self, name):
        """Where an image is at home."""
        host, _, path = name.rpartition(":")[0].partition("/")
        return f"second/{host.replace(':', '-')}/{path}"

    def expect_there(self, name, home=None):
        layout, digest = self.runs if name.endswith("/front/api:1") else self.images[name]
        tag = name.rpartition(":")[2]
        (home or self.home).expect_image(self.repository(name), tag, layout, digest)


NIGHTLY_CHECK = ROOT / "deploy" / "kubernetes-nightly-check.yaml"
NIGHTLY = {"dry_run": "true", "require_complete": "true"}
ASKED = {"namespaces": ["front", "blog"], "exclude": ["*/system/*"]}
LEFT_OUT = ("blog/done", "other/app", "system/agent")


def asked_images(running):
    return [
        name
        for name in running.images
        if name.partition("/")[2].rpartition(":")[0] not in LEFT_OUT
        and name.split("/")[1] in ("front", "blog")
    ]


def states(outcome):
    return {row["image"]: row["state"] for row in outcome.report["images"]}


def check_before_and_after(running):
    before = running.mirror(code=1, entry=ASKED, **NIGHTLY)
    wanted = dict.fromkeys(asked_images(running), "missing")
    expect_same(states(before), wanted, "the states before")
    expect_same(len(wanted), 16, "the number of images")
    for name in wanted:
        line = rf"(?m)^{re.escape(name)} +\S+/{re.escape(running.repository(name))}:1 +missing$"
        expect(re.search(line, before.stdout), f"{name} has no line of its own: {before.stdout}")
        expect(not running.home.has(running.repository(name), "1"), f"{name} is there")
    running.mirror(entry=ASKED)
    after = running.mirror(entry=ASKED, **NIGHTLY)
    expect_same(states(after), dict.fromkeys(wanted, "up to date"), "the states after")


def two_namespaces_are_mirrored(running):
    for name in asked_images(running):
        running.expect_there(name)
    for repository in LEFT_OUT:
        name = f"{running.source.address}/{repository}:1"
        expect(not running.home.has(running.repository(name), "1"), f"{name} is mirrored too")


def second_run_only_asks(running):
    marks = [len(registry.requests()) for registry in (running.source, running.home)]
    again = running.mirror(entry=ASKED)
    told = {(image["result"], image["sent_bytes"]) for image in again.report["images"]}
    expect_same(told, {("unchanged", 0)}, "what became of the images")
    asked = [
        registry.requests()[mark:]
        for registry, mark in zip((running.source, running.home), marks, strict=True)
    ]
    for requests in asked:
        methods = {method for method, _ in requests}
        expect(methods <= {"GET", "HEAD"}, f"more than questions were sent: {methods}")
    about = [[path for _, path in requests if "/manifests/" in path] for requests in asked]
    # Each costs a question at home. What runs by its digest costs none at its source.
    expect_same(len(about[1]), len(again.report["images"]), f"the questions at home: {about[1]}")
    ran = ("front/api", "front/api-init")
    by_tag = [path for path in about[0] if path.split("/manifests/")[0].removeprefix("/v2/") in ran]
    expect_same(by_tag, [], "the questions at the source for what runs")
    expect_same(len(about[0]), len(about[1]) - len(ran), "the questions at the source")


def tag_that_moved(running):
    name = f"{running.source.address}/front/api:1"
    expect(running.digest(name) != running.moved, "the tag has not moved")
    running.expect_there(name)
    # A tag of a template is what it is now.
    web = f"{running.source.address}/front/web:1"
    running.put("front/web", "1", "web of today")
    after = running.mirror(code=1, entry=ASKED, **NIGHTLY)
    changed = {image: state for image, state in states(after).items() if state != "up to date"}
    expect_same(changed, {web: "outdated"}, "what is not up to date")
    running.mirror(entry=ASKED)
    running.expect_there(web)


def two_digests_of_one_tag(running):
    running.cluster.namespace("digests")
    digests = {}
    for content in ("of one node", "of two nodes"):
        name = running.put("digests/app", "1", content)
        digests[content] = running.images[name]
    for pod, content in [("a", "of one node"), ("b", "of two nodes"), ("c", "of two nodes")]:
        running.pod("digests", pod, name)
        running.started("digests", pod, digests[content][1])
    running.mirror(entry={"namespaces": ["digests"]})
    repository = running.repository(name)
    running.home.expect_image(repository, "1", *digests["of two nodes"])
    layout, digest = digests["of one node"]
    running.home.expect_image(repository, digest, layout, digest)


def image_of_a_node(running):
    running.cluster.namespace("node")
    name = f"{running.source.address}/node/built-here:1"
    running.pod("node", "built", name)
    running.started("node", "built", None, image_id="sha256:" + "0" * 64)
    other = running.put("node/app", "1")
    running.pod("node", "app", other)
    done = running.mirror(code=1, entry={"namespaces": ["node"]})
    running.expect_there(other)
    results = {image["image"]: image["result"] for image in done.report["images"]}
    expect_same(results, {other: "copied", name: "failed"}, "what became of the images")
    for told in ("built-here:1", "Pod node/built", "only a node has it", "`exclude`"):
        expect(told in done.stderr, f"`{told}` is not told: {done.stderr}")


def list_of_several_pages(running):
    running.cluster.namespace("many")
    first, last = (running.put(f"many/{name}", "1") for name in ("first", "last"))
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number:04}", "namespace": "many"},
            "spec": {"containers": [{"name": "c", "image": last if number == 519 else first}]},
        }
        for number in range(520)
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": pods}
    running.cluster.kubectl("create", "--filename=-", text_input=json.dumps(listed))
    done = running.mirror(entry={"namespaces": ["many"]})
    expect("read 520 Pod" in done.stderr, f"it says: {done.stderr}")
    for name in (first, last):
        running.expect_there(name)
    running.cluster.kubectl("delete", "namespace", "many", "--wait=false")
    running.cluster.kubectl("delete", "pods", "--all", "--namespace=many", "--force")


def nightly_role(running):
    cluster = running.cluster
    cluster.namespace("gcr-push")
    cluster.kubectl("apply", f"--filename={NIGHTLY_CHECK}")
    file = cluster.get("configmap", "gcr-push", "gcr-push-check")["data"]["gcr-push.yaml"]
    # Its own Job would be among what runs, with an image that is not to be had here.
    cluster.kubectl("delete", "cronjob", "gcr-push-check", "--namespace=gcr-push")
    expect("eu.gcr.io/acme-prod" in file, f"the file names another destination: {file}")
    # The images of these namespaces are not to be had.
    file = file.replace("*.gcr.io/gke-release/*", "*/node/built-here*")
    file = file.replace("eu.gcr.io/acme-prod", f"{running.home.address}/second")
    config = new_folder("nightly") / "gcr-push.yaml"
    config.write_text(file)
    user = {"token": cluster.token("gcr-push", "gcr-push-check")}
    kubeconfig = cluster.kubeconfig("gcr-push", user)
    nightly = {"config": config, "kubeconfig": kubeconfig, **NIGHTLY}
    gcr_push("mirror", code=1, **nightly)
    gcr_push("mirror", config=config, kubeconfig=kubeconfig)
    gcr_push("mirror", **nightly)


def nightly_resources():
    """`pods`, `deployments.apps` and so on: what the ClusterRole lets a login list."""
    text = NIGHTLY_CHECK.read_text()
    rules = re.findall(r'- apiGroups: \["?(\w*)"?\]\n +resources: \[([\w, ]+)\]', text)
    return [
        f"{resource}.{group}".rstrip(".")
        for group, resources in rules
        for resource in resources.split(", ")
    ]


def account_that_lists(running, name, resources):
    """A service account that may list these in every namespace, and its kubeconfig."""
    cluster = running.cluster
    cluster.kubectl("create", "serviceaccount", name, "--namespace=default")
    if resources:
        role = ("--verb=list", f"--resource={','.join(resources)}")
        cluster.kubectl("create", "clusterrole", name, *role)
        subject = f"--serviceaccount=default:{name}"
        cluster.kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", subject)
    return cluster.kubeconfig("default", {"token": cluster.token("default", name)})


def follow_hints(running, refused, count):
    """Does what the hints say, as it stands there."""
    for kind in ("clusterrolebinding", "clusterrole"):
        running.cluster.kubectl("delete", kind, "gcr-push-images", "--ignore-not-found")
    commands = re.findall(r"`kubectl ([^`]+)`", refused)
    expect_same(len(commands), count, f"the number of commands given as a hint in {refused}")
    for command in commands:
        running.cluster.kubectl(*shlex.split(command))


def nothing_may_be_listed(running):
    user = running.cluster.certificate("deployer")
    kubeconfig = running.cluster.kubeconfig("default", user)
    for entry in ({}, {"namespaces": ["front", "blog"]}):
        refused = running.mirror(code=3, kubeconfig=kubeconfig, entry=entry).stderr
        for told in ("`deployer`", "`list`", *(f"`{one}`" for one in nightly_resources())):
            expect(told in refused, f"`{told}` is not told: {refused}")
    follow_hints(running, refused, 3)
    running.mirror(kubeconfig=kubeconfig, entry=ASKED)


def one_list_less(running, resource):
    resources = [one for one in nightly_resources() if one != resource]
    name = "without-" + resource.replace(".", "-")
    kubeconfig = account_that_lists(running, name, resources)
    home = start_distribution_3()
    entry = {"exclude": ["*/node/built-here*"]}
    refused = running.mirror(code=3, kubeconfig=kubeconfig, home=home, entry=entry)
    told = f"does not allow `system:serviceaccount:default:{name}` to `list` `{resource}` in all"
    expect(told in refused.stderr, f"`{told}` is not told: {refused.stderr}")
    kinds = {"pods": "Pod", **{f"{kind.lower()}s": kind for _, kind, _, _ in TEMPLATES}}
    for _, kind, namespace, image in TEMPLATES:
        name = f"{running.source.address}/{namespace}/{image}:1"
        is_left_out = kind == kinds[resource.partition(".")[0]]
        if not is_left_out:
            running.expect_there(name, home)
        else:
            expect(not home.has(running.repository(name), "1"), f"{name} is there")
    follow_hints(running, refused.stderr, 2)
    running.mirror(kubeconfig=kubeconfig, home=home, entry=entry)
    for _, _, namespace, image in TEMPLATES:
        running.expect_there(f"{running.source.address}/{namespace}/{image}:1", home)


def role_of_one_namespace(running):
    """As the comment in deploy/kubernetes-nightly-check.yaml says."""
    cluster = running.cluster
    cluster.kubectl("create", "serviceaccount", "lister", "--namespace=front")
    role = ("--verb=list", f"--resource={','.join(nightly_resources())}")
    cluster.kubectl("create", "clusterrole", "lister", *role)
    subject = ("--clusterrole=lister", "--serviceaccount=front:lister", "--namespace=front")
    cluster.kubectl("create", "rolebinding", "lister", *subject)
    kubeconfig = cluster.kubeconfig("front", {"token": cluster.token("front", "lister")})
    running.mirror(kubeconfig=kubeconfig, entry={"namespaces": ["front"]})
    refused = running.mirror(code=3, kubeconfig=kubeconfig, entry={"namespaces": ["blog", "front"]})
    expect("in `blog`" in refused.stderr, f"where is not told: {refused.stderr}")
    expect("in `front`" not in refused.stderr, f"more than is refused is told: {refused.stderr}")
    running.mirror(code=3, kubeconfig=kubeconfig)


def files_are_taken(running):
    for name in ("job", "cronjob", "mirror", "nightly-check"):
        path = ROOT / "deploy" / f"kubernetes-{name}.yaml"
        running.cluster.kubectl("apply", "--dry-run=server", f"--filename={path}")
