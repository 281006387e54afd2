"""The monitoring stack that users have: prometheus-operator, and a Prometheus of its making.

CRDs and manifests are prometheus-operator's own, out of its Go module.  The Prometheus selects by
the label ``release``, as kube-prometheus-stack's does, in all namespaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from e2e.kind import binaries
from e2e.support.cluster import Images
from e2e.support.kube import Kube, KubeError, Object
from e2e.support.wait import NotYetError

LABELS = {"release": "e2e"}
EVERY = "2s"  # scrapes and evaluations: the test has no minutes
CRD = "prometheuses.monitoring.coreos.com"
_NAME = "fleet"
_READY_SECONDS = 180
_TIMEOUT = f"--timeout={_READY_SECONDS}s"


@dataclass(frozen=True)
class Stack:
    """Prometheus, in the namespace of ``kube``."""

    kube: Kube

    def rules(self) -> list[Object]:
        """All rules that it has loaded, with their health and what they fire."""
        groups = self._ask("rules")["groups"]
        return [rule | {"group": group["name"]} for group in groups for rule in group["rules"]]

    def series(self, query: str) -> list[dict[str, str]]:
        """The labels of what an instant query gives."""
        return [each["metric"] for each in self._ask(f"query?query={quote(query)}")["result"]]

    def _ask(self, path: str) -> Any:
        service = f"/api/v1/namespaces/{self.kube.namespace}/services/prometheus-operated:9090"
        try:
            return json.loads(self.kube.run("get", "--raw", f"{service}/proxy/api/v1/{path}"))[
                "data"
            ]
        except KubeError as fault:
            raise NotYetError(str(fault)) from fault


@contextmanager
def installed(kube: Kube, images: Images) -> Iterator[Stack]:
    """The stack in this namespace; at the end its kinds are gone from the cluster again."""
    module = binaries.module_folder(binaries.PROMETHEUS_OPERATOR, "prometheus-operator")
    crds = str(module / "example" / "prometheus-operator-crd")
    try:
        kube.run("apply", "--server-side", "-f", crds, timeout_seconds=120)
        kube.apply(*_operator(module, kube.namespace, images), *_prometheus(kube, images))
        _rolled_out(kube, "deployment/prometheus-operator")
        yield Stack(kube)
    finally:
        kube.run("delete", "--ignore-not-found", "-f", crds, timeout_seconds=120)
        for kind in ("clusterrole", "clusterrolebinding"):
            for name in ("prometheus-operator", "prometheus"):
                kube.delete(kind, f"{kube.namespace}-{name}")


def wait_ready(kube: Kube) -> None:
    """Prometheus runs; a StatefulSet of prometheus-operator's making."""
    name = f"statefulset/prometheus-{_NAME}"
    kube.run("wait", name, "--for=create", _TIMEOUT, timeout_seconds=_READY_SECONDS + 10)
    _rolled_out(kube, name)


def _rolled_out(kube: Kube, name: str) -> None:
    kube.run("rollout", "status", name, _TIMEOUT, timeout_seconds=_READY_SECONDS + 10)


def _operator(module: Path, namespace: str, images: Images) -> list[Object]:
    """prometheus-operator's example, moved to a namespace, with images that the node has."""
    folder = module / "example" / "rbac" / "prometheus-operator"
    found = {
        part: yaml.safe_load((folder / f"prometheus-operator-{part}.yaml").read_text())
        for part in ("service-account", "cluster-role", "cluster-role-binding", "deployment")
    }
    role, binding = found["cluster-role"], found["cluster-role-binding"]
    for each in (role, binding):
        each["metadata"]["name"] = f"{namespace}-prometheus-operator"
    binding["roleRef"]["name"] = role["metadata"]["name"]
    binding["subjects"][0]["namespace"] = namespace
    for part in ("service-account", "deployment"):
        found[part]["metadata"]["namespace"] = namespace
    (container,) = found["deployment"]["spec"]["template"]["spec"]["containers"]
    container["image"] = images.prometheus_operator
    container["args"] = [f"--prometheus-config-reloader={images.prometheus_config_reloader}"]
    del container["resources"]["limits"]  # a fifth of a core is little for a start
    return list(found.values())


def _prometheus(kube: Kube, images: Images) -> list[Object]:
    name = f"{kube.namespace}-prometheus"
    account = {"kind": "ServiceAccount", "name": "prometheus", "namespace": kube.namespace}
    selected = {"matchLabels": LABELS}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "view",
            },
            "subjects": [account],
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": _NAME},
            "spec": {
                "image": images.prometheus,
                "version": binaries.prometheus_version(),
                "serviceAccountName": "prometheus",
                "scrapeInterval": EVERY,
                "evaluationInterval": EVERY,
                "podMonitorSelector": selected,
                "podMonitorNamespaceSelector": {},
                "ruleSelector": selected,
                "ruleNamespaceSelector": {},
                "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65534,
                    "fsGroup": 65534,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            },
        },
    ]
