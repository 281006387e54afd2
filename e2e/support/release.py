"""The operator as it is installed: one helm release for all tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.support import prometheus
from e2e.support.cluster import Images
from e2e.support.kube import Kube, KubeError
from e2e.support.wait import NotYetError, until

CHART = Path(__file__).parents[2] / "helm" / "batchfleet"
NAME = "batchfleet"
NAMESPACE = "batchfleet-system"
OPERATOR = "app.kubernetes.io/name=batchfleet-operator"


# What is scraped each second is looked at each second: the tests have no minutes.
_PROMETHEUS = {
    "url": prometheus.URL,
    "tickSeconds": prometheus.SCRAPE_SECONDS,
    "timeoutSeconds": 3,
    "maxAgeSeconds": 5,
    "allowQueries": True,
    "allowSources": True,
}


def image_values(image: str) -> dict[str, str]:
    """A chart's image block for ``repository:tag``."""
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}


def values(images: Images) -> dict[str, Any]:
    """The chart's values for a cluster that has these images."""
    told = {
        "image": image_values(images.operator),
        "workerImage": image_values(images.worker),
        # Where policies are enforced, the tests read the admin port through the API server.
        "networkPolicy": {
            "adminFrom": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]
        },
    }
    if images.vllm:
        told["vllmImage"] = image_values(images.vllm)
    if images.prometheus:
        told["monitoring"] = {"prometheus": _PROMETHEUS}
    return told


@dataclass(frozen=True)
class Release:
    """The chart, installed with these values."""

    kube: Kube  # at the release's namespace
    helm: Path
    values: Mapping[str, Any]

    def install(self) -> None:
        """Install or upgrade, and wait until the operator is ready."""
        self._helm(
            "upgrade",
            "--install",
            NAME,
            str(CHART),
            "--create-namespace",
            "--values=-",
            "--wait",
            "--timeout=180s",
            stdin=json.dumps(self.values),
        )

    def uninstall(self) -> None:
        self._helm("uninstall", NAME, "--wait", "--timeout=60s", "--ignore-not-found")

    @contextmanager
    def upgraded(self, operator_image: str, service_defaults: Mapping[str, Any]) -> Iterator[None]:
        """Within the block another operator runs, with other defaults for new revisions."""
        with self.changed(image=image_values(operator_image), serviceDefaults=service_defaults):
            yield

    @contextmanager
    def changed(self, **values: Any) -> Iterator[None]:
        """Within the block an operator runs with these values; they must make it start anew."""
        old = self.operator_uids()
        try:
            Release(self.kube, self.helm, {**self.values, **values}).install()
            self._wait_gone(old)
            yield
        finally:
            new = self.operator_uids()
            self._helm("rollback", NAME, "--wait", "--timeout=180s")
            self._wait_gone(new)

    def restart_operator(self) -> None:
        """In good order: the old one gives the lease back."""
        old = self.operator_uids()
        self.kube.run("rollout", "restart", "deployment", f"--selector={OPERATOR}")
        self._wait_gone(old)

    def operator_uids(self) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.kube.list("pods", OPERATOR)}

    def kill_operator(self) -> None:
        """SIGKILL, with no chance to tidy up; its Deployment starts another."""
        for pod in self.kube.list("pods", OPERATOR):
            self.kube.delete("pod", pod["metadata"]["name"], "--grace-period=0", "--force")

    def _wait_gone(self, uids: set[str]) -> None:
        def look() -> None:
            if left := uids & self.operator_uids():
                raise NotYetError(f"{len(left)} still there")

        until("old operator pods gone", look, within_seconds=120)

    def _helm(self, *args: str, stdin: str = "") -> None:
        command = [
            str(self.helm),
            *args,
            f"--kubeconfig={self.kube.kubeconfig}",
            f"--namespace={self.kube.namespace}",
        ]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=240, check=False
        )
        if done.returncode != 0:
            raise KubeError(f"helm {' '.join(args)}: {done.stderr.strip()}")
