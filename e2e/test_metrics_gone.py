"""Metrics are gone, old or nonsense: the fleet stays as it is, and all goes on when they are back.

Every service here would shrink to one pod, and act on its slow tokens, if nothing known were taken
for nothing wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from e2e.support import program, prometheus, unsteady
from e2e.support.automation import Automation, quick
from e2e.support.cluster import Cluster
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import Load, running
from e2e.support.services import MODEL, fault, heal
from e2e.support.wait import NotYetError, holds, until

BATCH = 4


def watched() -> dict[str, Any]:
    """Fields of a spec that asks for two pods under six streams; for one without, once it may."""
    slow_tokens = quick(
        "slow-tokens",
        preset="InterTokenLatency",
        above="0.2",
        action={"type": "ScaleBatchSize", "minBatchSize": 2, "maxBatchSize": BATCH},
    )
    return {
        "replicas": 2,
        "batching": {"maxBatchSize": BATCH},
        # At most two: a machine that is slow for a moment is no reason to grow meanwhile.
        "autoscaling": {"minReplicas": 2, "maxReplicas": 2, "scaleDownWindowSeconds": 10},
        "alertActions": [slow_tokens],
    }


def let_shrink(fleet: Fleet) -> None:
    fleet.patch_spec(autoscaling={"minReplicas": 1})


def test_prometheus_is_gone(serve: Serve, clients: Kube, metrics: Kube) -> None:
    fleet = serve(**watched())
    before = fleet.pods()
    streams = Load(fleet.url, MODEL, 6, requests=0, stream="always", unique=True)

    with running(clients, streams) as load:
        fleet.wait_for("MetricsAvailable", within_seconds=120)
        let_shrink(fleet)
        with prometheus.gone(metrics):
            told = fleet.wait_for("MetricsAvailable", "False", within_seconds=120)
            print(f"{told['reason']}: {told['message']}")
            for pod in before:
                fault(fleet.kube, pod.name, slowFactor=10)
            holds("nothing is done", lambda: as_it_was(fleet), for_seconds=7)
            for pod in before:
                heal(fleet.kube, pod.name)
            account = load.stop()
            # Longer than the window.
            holds("nothing is done", lambda: as_it_was(fleet), for_seconds=13)

    fleet.wait_for("MetricsAvailable", within_seconds=120)
    assert account.failures == []
    fleet.wait_ready(1, within_seconds=120)  # nobody asks, which is known now
    Automation(fleet).untouched()


@pytest.fixture
def answer(kube: Kube, cluster: Cluster, metrics: Kube) -> Callable[[str], None]:
    """Sets how the Prometheus of the test's own services answers; see ``unsteady``."""
    source = Path(unsteady.__file__)
    run = ["python3", f"/program/{source.name}", prometheus.URL]
    kube.apply(
        *program.objects(unsteady.NAME, source, cluster.images.worker, run),
        program.service(unsteady.NAME, unsteady.PORT),
    )
    program.wait_running(kube, unsteady.NAME)

    def set_mode(mode: str) -> None:
        kube.run("exec", unsteady.NAME, "--", "sh", "-c", f"echo {mode} > {unsteady.MODE}")

    return set_mode


# How each lie looks to the operator: a reason of the condition MetricsAvailable.
LIES = {
    "nan": {"Missing", "NotScraped"},
    "empty": {"Missing", "NotScraped"},
    "broken": {"PrometheusError"},
    "old": {"PrometheusError"},
}


def test_answers_that_say_nothing(serve: Serve, kube: Kube, answer: Callable[[str], None]) -> None:
    address = f"http://{unsteady.NAME}.{kube.namespace}.svc:{unsteady.PORT}"
    fleet = serve(monitoring={"prometheus": {"url": address}}, **watched())
    fleet.wait_for("MetricsAvailable", within_seconds=120)

    for lie, reasons in LIES.items():
        answer(lie)
        until(f"{lie} is told", partial(lost, fleet, reasons), within_seconds=120)
        let_shrink(fleet)
        holds("nothing is done", lambda: as_it_was(fleet), for_seconds=4)

    answer("honest")
    fleet.wait_for("MetricsAvailable", within_seconds=120)
    fleet.wait_ready(1, within_seconds=120)
    Automation(fleet).untouched()


def lost(fleet: Fleet, reasons: set[str]) -> None:
    told = {one["type"]: one for one in fleet.object()["status"]["conditions"]}
    seen = told.get("MetricsAvailable")
    if seen is None or seen["status"] == "True" or seen["reason"] not in reasons:
        raise NotYetError(f"{seen}")


def as_it_was(fleet: Fleet) -> None:
    """Both pods are there, as many are wanted, and nothing was done."""
    automation = Automation(fleet)
    automation.untouched()
    wanted = automation.status()["scaling"]["desiredReplicas"]
    if wanted != 2 or len(fleet.pods()) != 2:
        raise NotYetError(f"{wanted} are wanted, and there are {fleet.pods()}")
