"""gcr-push itself, as it is run here."""

import json
import os
import pathlib
import subprocess

from .checks import Failure
from .programs import ROOT, new_folder


PROGRAM = pathlib.Path(os.environ.get("GCR_PUSH", ROOT / "target" / "debug" / "gcr-push")).resolve()


class Outcome:
    """What a run of gcr-push left."""

    def __init__(self, done, folder):
        self.code = done.returncode
        self.stdout = done.stdout.decode()
        self.stderr = done.stderr.decode()
        self.folder = folder
        report = folder / "report.json"
        self.report = json.loads(report.read_text()) if report.exists() else None

    @property
    def digest(self):
        return (self.folder / "digest").read_text()

    @property
    def sent(self):
        return sum(arrived["sent_bytes"] for arrived in self.report["destinations"])


def gcr_push(*words, variables=None, code=0, under=(), stdin=b"", **settings):
    """Runs the program in an environment of nothing but the settings, and wants this exit code.

    `under` is a program that runs it, with its first arguments. `stdin` is what it can read there.
    """
    folder = new_folder("run")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        # A machine in a cloud has an account of its own, which is no part of this.
        "GCE_METADATA_HOST": "127.0.0.1:9",
        "GCR_PUSH_RETRY_TIMEOUT": "15s",
        **(variables or {}),
    }
    command = words[0] if words else "push"
    if command in ("push", "mirror", "pull-secret"):
        settings.setdefault("report_file", folder / "report.json")
    if command == "push":
        settings.setdefault("digest_file", folder / "digest")
    for name, value in settings.items():
        environment[f"GCR_PUSH_{name.upper()}"] = str(value)
    done = subprocess.run(
        [*under, PROGRAM, *words],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=300,
    )
    outcome = Outcome(done, folder)
    if outcome.code != code:
        raise Failure(
            f"gcr-push ended with {outcome.code}, not {code}:\n{outcome.stdout}{outcome.stderr}"
        )
    return outcome
