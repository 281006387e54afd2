"""Real vLLM behind examples/quickstart.yaml: answers are merged, and Prometheus agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.demo.measure import ask_crowd
from e2e.support import prometheus
from e2e.support.cluster import Cluster
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.yaml"
MODEL = "tiny"


@pytest.mark.vllm
@pytest.mark.usefixtures("release")
def test_the_quickstart_merges_on_real_vllm(kube: Kube, clients: Kube, cluster: Cluster) -> None:
    if not cluster.images.vllm:
        pytest.skip("this cluster has no image of vLLM for the CPU")
    kube.run("apply", "-f", str(QUICKSTART))
    fleet = Fleet(kube, "quickstart")
    fleet.wait_ready(1, within_seconds=480)
    merged, reached = "batchfleet_requests_merged_total", "vllm:request_success_total"
    before = {name: fleet.settled(name) for name in (merged, reached)}

    crowd = ask_crowd(clients, fleet, MODEL)

    assert crowd.failures == []
    assert all(one.text for one in crowd.answers)
    assert crowd.merged > 0
    assert fleet.settled(merged) - before[merged] == crowd.merged
    assert fleet.settled(reached) - before[reached] == len(crowd.answers) - crowd.merged
    for name in (merged, reached):
        prometheus.agrees(kube, prometheus.of(fleet, name), fleet.total(name))
