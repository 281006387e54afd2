"""kubectl, typed: how the e2e tests and the demo talk to a cluster.

Everything goes through the binary that a user has, so what a test does can be typed by hand,
and a failure shows the very words a user would see.  Standard library only: the demo runs it
before there is a virtual environment.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

Object = dict[str, Any]
"""A Kubernetes object as JSON."""

_SHOWN_BYTES = 2000  # of a command's error output in an exception


class KubeError(Exception):
    """kubectl ended with an error: the command and its own words."""


@dataclass(frozen=True)
class Kube:
    """One cluster, seen from one namespace."""

    kubectl: Path
    kubeconfig: Path
    namespace: str = "default"

    def at(self, namespace: str) -> Kube:
        return replace(self, namespace=namespace)

    def command(self, *args: str) -> list[str]:
        """The whole command line: also for programs that keep it running."""
        cache = self.kubeconfig.with_name("kubectl-cache")  # not in the user's ~/.kube
        return [
            str(self.kubectl),
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={cache}",
            f"--namespace={self.namespace}",
            *args,
        ]

    def run(self, *args: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Standard output of one kubectl command.

        Raises KubeError, also when the command takes longer than allowed.
        """
        try:
            done = subprocess.run(
                self.command(*args),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            message = f"kubectl {shlex.join(args)}: no end within {timeout_seconds:g} s"
            raise KubeError(message) from late
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip()[-_SHOWN_BYTES:]
        raise KubeError(f"kubectl {shlex.join(args)}: exit {done.returncode}: {said}")

    def start(self, *args: str) -> subprocess.Popen[str]:
        """A kubectl command that goes on running; the caller ends it by closing its stdin."""
        return subprocess.Popen(
            self.command(*args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def get(self, kind: str, name: str) -> Object:
        return cast("Object", json.loads(self.run("get", kind, name, "-o", "json")))

    def find(self, kind: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return cast("Object", json.loads(text)) if text.strip() else None

    def list(self, kinds: str, selector: str = "") -> list[Object]:
        """All objects of comma-separated kinds in the namespace that carry the labels."""
        text = self.run("get", kinds, "-o", "json", f"--selector={selector}")
        return cast("list[Object]", json.loads(text)["items"])

    def apply(self, *objects: Object) -> None:
        self._send(("apply", "-f", "-"), objects)

    def create(self, *objects: Object) -> None:
        self._send(("create", "-f", "-"), objects)

    def patch(
        self,
        kind: str,
        name: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        subresource: str = "",
    ) -> None:
        """A merge patch for a mapping, a JSON patch for a list of operations."""
        how = "merge" if isinstance(patch, Mapping) else "json"
        extra = [f"--subresource={subresource}"] if subresource else []
        self.run("patch", kind, name, f"--type={how}", f"--patch={json.dumps(patch)}", *extra)

    def delete(self, kind: str, name: str, *extra: str, wait: bool = False) -> None:
        """Ask for the deletion of an object; with ``wait``, see it gone (at most 120 s)."""
        flags = (f"--wait={str(wait).lower()}", "--timeout=120s", "--ignore-not-found")
        self.run("delete", kind, name, *flags, *extra, timeout_seconds=150)

    def pod_http(self, pod: str, port: int, path: str) -> str:
        """GET from a pod's port, through the API server: also where no route leads to pods."""
        return self.run(
            "get",
            "--raw",
            f"/api/v1/namespaces/{self.namespace}/pods/{pod}:{port}/proxy{path}",
            "--request-timeout=10s",
        )

    def _send(self, verb: Sequence[str], objects: Sequence[Object]) -> None:
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.run(*verb, stdin=json.dumps(document))


def default_kubeconfig() -> Path:
    """Where kubectl itself would look: the first file of $KUBECONFIG, else ~/.kube/config."""
    listed = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(listed) if listed else Path.home() / ".kube" / "config"
