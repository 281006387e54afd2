"""GPUs are an extended resource: asked for by number, and missed by name when none is free."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.support.fixtures import Serve
from e2e.support.fleet import KIND
from e2e.support.kube import Kube

RESOURCE = "e2e.batchfleet.io/gpu"  # not nvidia.com/gpu: a cluster of one's own may have real ones


@pytest.fixture
def one_gpu(kube: Kube) -> Iterator[None]:
    """A node of the cluster says that it has one GPU."""
    node = kube.list("nodes")[0]["metadata"]["name"]
    pointer = RESOURCE.replace("/", "~1")
    paths = [f"/status/capacity/{pointer}", f"/status/allocatable/{pointer}"]
    add = [{"op": "add", "path": path, "value": "1"} for path in paths]
    kube.patch("node", node, add, subresource="status")
    yield
    remove = [{"op": "remove", "path": path} for path in paths]
    kube.patch("node", node, remove, subresource="status")


@pytest.mark.usefixtures("one_gpu")
def test_gpus_are_requested_and_missed_by_name(serve: Serve) -> None:
    fleet = serve(gpu={"count": 1, "resourceName": RESOURCE})
    (pod,) = fleet.kube.list("pods", fleet.selector)
    assert pod["spec"]["containers"][0]["resources"]["limits"][RESOURCE] == "1"

    fleet.kube.run("scale", KIND, fleet.name, "--replicas=2")

    told = fleet.wait_for("Ready", "False", within_seconds=60, saying=[RESOURCE])
    print(f"{told['reason']}: {told['message']}")
    fleet.wait_for("Available", within_seconds=10)  # the first pod still serves

    fleet.kube.run("scale", KIND, fleet.name, "--replicas=1")
    fleet.wait_ready(1)
