"""A Python program of ours in a pod of its own: the worker image has Python and aiohttp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from e2e.support.kube import Kube, Object
from e2e.support.wait import NotYetError, until


def objects(name: str, source: Path, image: str, command: Sequence[str]) -> tuple[Object, Object]:
    """A pod that runs ``command``, and the ConfigMap with its program: ``/program/<file name>``."""
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {source.name: source.read_text()},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "command": list(command),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "program", "mountPath": "/program"}],
                }
            ],
            "volumes": [{"name": "program", "configMap": {"name": name}}],
        },
    }
    return program, pod


def service(name: str, port: int) -> Object:
    """The address of the pod of this name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


def wait_running(kube: Kube, name: str) -> None:
    def look() -> None:
        phase = kube.get("pod", name)["status"].get("phase")
        if phase != "Running":
            raise NotYetError(f"it is {phase}")

    until(f"pod {name} running", look, within_seconds=120)
