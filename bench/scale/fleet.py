"""A thousand services on a control plane whose nodes are simulated, and what has come of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.kube import Kube, Object
from tests.support.services import service

HOME = "default"
PEOPLE = 4
"""Who apply at once."""

WORKERS = "app.kubernetes.io/name=batchfleet-worker"

RULES: Sequence[Object] = (
    {"name": "slow-first-token", "preset": "TimeToFirstToken"},
    {"name": "errors", "preset": "ErrorRate"},
    {"name": "stalled", "preset": "EngineStalled"},
)


def wanted(number: int, pods: int) -> Object:
    """Sized by the operator, with two or three rules; nothing in its metrics asks for a change."""
    return service(
        HOME,
        name(number),
        replicas=pods,
        autoscaling={"minReplicas": pods, "maxReplicas": 2 * pods},
        alertActions=list(RULES[: 2 + number % 2]),
        rollout={"maxSurge": 1},
        # Bound as they are made: a scheduler's speed is not what is measured.
        podTemplate={"spec": {"nodeName": "simulated"}},
    )


def name(number: int) -> str:
    return f"s-{number}"


def apply(kube: Kube, numbers: Iterable[int], pods: int) -> None:
    with ThreadPoolExecutor(PEOPLE) as people:
        list(people.map(kube.apply, (wanted(number, pods) for number in numbers)))


def condition_true(kube: Kube, type_: str) -> int:
    """How many services have the condition."""
    return sum(
        condition["type"] == type_ and condition["status"] == "True"
        for found in kube.list("BatchInferenceService", HOME)
        for condition in found.get("status", {}).get("conditions", ())
    )


def write_targets(kube: Kube, port: int, file: Path) -> int:
    """Prometheus' list of the pods, with the labels that a PodMonitor gives; how many there are."""
    pods = kube.list("Pod", HOME, WORKERS)
    listed = [_target(pod, port) for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(listed))
    fresh.replace(file)
    return len(listed)


def _target(pod: Object, port: int) -> dict[str, Any]:
    metadata = pod["metadata"]
    labels = metadata["labels"]
    return {
        "targets": [f"127.0.0.1:{port}"],
        "labels": {
            "__metrics_path__": f"/metrics/{metadata['name']}",
            "instance": f"{pod['status'].get('podIP')}:9090",
            "namespace": metadata["namespace"],
            "pod": metadata["name"],
            "service": labels["batchfleet.io/service"],
            "revision": labels["batchfleet.io/revision"],
        },
    }
