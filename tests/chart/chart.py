"""The chart as users get it: rendered by the real helm, and read as strictly as it can be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from e2e.kind import binaries

Object = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "helm/batchfleet"
NAMESPACE = "batchfleet-system"
RELEASE = "fleet"
_TIMEOUT_SECONDS = 60

FULL: Object = {
    "replicas": 2,
    "image": {"repository": "example.com/operator", "tag": "dev"},
    "imagePullSecrets": [{"name": "registry"}],
    "serviceDefaults": {
        "podTemplate": {"spec": {"tolerations": [{"operator": "Exists"}]}},
        "imagePullSecrets": [{"name": "registry"}],
        "httpProxy": "http://proxy:3128",
        "httpsProxy": "http://proxy:3128",
        "noProxy": ".svc,10.0.0.0/8",
        "hfEndpoint": "https://hub.example.com",
    },
    "monitoring": {
        "labels": {"release": "prometheus"},
        "scrapeIntervalSeconds": 15,
        "prometheus": {
            "url": "https://prometheus.monitoring.svc:9090",
            "credentialsSecret": "prometheus",
            "seriesLabels": {"cluster": "one"},
            "allowQueries": True,
            "allowSources": True,
        },
        "podMonitor": {"enabled": True},
        "rules": {"enabled": True},
        "dashboards": {"enabled": True},
        "webhook": {"enabled": True},
    },
    "serviceAccount": {"annotations": {"note": "text"}},
    "extraEnv": [{"name": "PYTHONDEVMODE", "value": "1"}],
    "podAnnotations": {"note": "text"},
    "podLabels": {"team": "ml"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "system-cluster-critical",
}
"""Values that switch on all that can be."""

NAMESPACED: Object = {"watch": {"namespaces": ["team-a", "team-b"]}}


class ValuesError(Exception):
    """helm refused the values; the message is what the user sees."""


class _StrictLoader(yaml.CSafeLoader):
    """A loader that does not let a key hide an earlier one of the same name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"repeated: {repeated}")
        return super().construct_mapping(node, deep)


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> str:
    """Run helm with `values` over the chart's own; its output. Raises ValuesError."""
    done = subprocess.run(
        [str(word) for word in (_program(), *arguments, "--values", "-")],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise ValuesError(done.stderr)
    return done.stdout


def load(text: str) -> list[Object]:
    """The objects of a YAML stream."""
    return [item for item in yaml.load_all(text, _StrictLoader) if item is not None]


def render(values: Mapping[str, Any] | None = None) -> list[Object]:
    """The objects that an installation with `values` consists of. Raises ValuesError."""
    return load(_render(json.dumps(values or {})))


def one(objects: Sequence[Object], kind: str, name: str | None = None) -> Object:
    """The only object of a kind, or the only one of that kind and name."""
    (found,) = (
        of_kind(objects, kind)
        if name is None
        else [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    )
    return found


def of_kind(objects: Sequence[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def nested(path: str, value: Any) -> dict[str, Any]:
    """`nested("a.b", 1)` is `{"a": {"b": 1}}`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """`parts` laid over one another, as helm does with several files of values."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            below = result.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


@cache
def _render(values: str) -> str:
    # A helm that was compiled by hand takes the cluster for one of a long gone version.
    return helm(
        *("template", RELEASE, FOLDER, "--namespace", NAMESPACE, "--kube-version", "1.34.0"),
        values=json.loads(values),
    )


@cache
def _program() -> Path:
    return binaries.path("helm")
