"""Without the operator: the sidecar in a Deployment one already has, observing, then merging."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from e2e.support.cluster import Cluster
from e2e.support.fleet import ADMIN_PORT, samples
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.services import ARGUMENTS, MODEL
from e2e.support.wait import NotYetError, until

EXAMPLE = Path(__file__).parents[1] / "examples" / "existing-deployment.yaml"
CLIENTS = 8


def test_the_example_observes_and_then_merges(kube: Kube, clients: Kube, cluster: Cluster) -> None:
    kube.apply(*with_simulator(EXAMPLE.read_text(), cluster.images.worker))
    kube.run("rollout", "status", "deployment/vllm", "--timeout=180s", timeout_seconds=190)
    (pod,) = kube.list("pods", "app=vllm")
    name = pod["metadata"]["name"]
    # Three seconds: all have come before the first is answered.
    crowd = Load(f"http://vllm.{kube.namespace}.svc", MODEL, CLIENTS, max_tokens=60)

    observed = ask(clients, crowd)

    assert observed.failures == []
    assert observed.joined == 0
    page = kube.pod_http(name, ADMIN_PORT, "/metrics")
    assert samples(page, "batchfleet_requests_would_merge_total") == [CLIENTS - 1]
    assert samples(page, "batchfleet_requests_merged_total") == [0]

    before = state(kube, name)["settings"]["hash"]
    settings = json.dumps({"merging": {"mode": "Enforce"}})
    kube.patch("configmap", "vllm-live", {"data": {"settings.json": settings}})
    # The kubelet looks once a minute, and at once when its pod changes.
    kube.run("annotate", "pod", name, "looked-at=now")

    def applied() -> None:
        now = state(kube, name)["settings"]
        if now["hash"] == before:
            raise NotYetError(f"{now}")

    until("new live settings", applied, within_seconds=90)
    merged = ask(clients, crowd)

    assert merged.failures == []
    assert merged.joined == CLIENTS - 1


def with_simulator(manifest: str, worker_image: str) -> list[dict[str, Any]]:
    """The example with the simulator in vLLM's place; all else is as a user would apply it."""
    objects = list(yaml.safe_load_all(manifest))
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,), (engine,) = pod["initContainers"], pod["containers"]
    sidecar["image"] = engine["image"] = worker_image
    engine["command"] = ["batchfleet-worker", "simulate"]
    engine["args"] = list(ARGUMENTS)
    del engine["resources"]["limits"]["nvidia.com/gpu"]
    return objects


def state(kube: Kube, pod: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(kube.pod_http(pod, ADMIN_PORT, "/state"))
    return document
