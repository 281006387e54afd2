"""GPUs are an extended resource: asked for by number, and missed by name when none is free."""

from __future__ import annotations

import pytest

from e2e.support.fixtures import Serve
from e2e.support.fleet import KIND
from e2e.support.gpus import RESOURCE


@pytest.mark.usefixtures("one_gpu")
def test_gpus_are_requested_and_missed_by_name(serve: Serve) -> None:
    fleet = serve(gpu={"count": 1, "resourceName": RESOURCE})
    (pod,) = fleet.kube.list("pods", fleet.selector)
    assert pod["spec"]["containers"][0]["resources"]["limits"][RESOURCE] == "1"

    fleet.kube.run("scale", KIND, fleet.name, "--replicas=2")

    told = fleet.wait_for("Ready", "False", within_seconds=90, saying=[RESOURCE])
    print(f"{told['reason']}: {told['message']}")
    fleet.wait_for("Available", within_seconds=30)  # the first pod still serves

    fleet.kube.run("scale", KIND, fleet.name, "--replicas=1")
    fleet.wait_ready(1)
