"""The operator sizes the fleet from the work that is offered, before anybody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.support import program, turns
from e2e.support.automation import Automation
from e2e.support.cluster import Cluster
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet, Pod
from e2e.support.kube import Kube
from e2e.support.load import Load, Ramp, running
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, holds, until

# A request takes 16 tokens of 100 ms: a pod with 16 at once answers ten of them a second.
SLOWLY = ("--step-ms=100",)
BATCH = 16
CROWD = 40  # clients: three pods full
WORK_MILLISECONDS = 100
# One that finds a free place waits for the iteration that is under way; one that does not, for
# the end of another request: 1.6 s.
PROMPT_SECONDS = 1.0


def sized(most: int, **more: Any) -> dict[str, Any]:
    """Fields of a spec whose size the operator chooses; ``more`` of autoscaling's."""
    return {
        "batching": {"maxBatchSize": BATCH},
        "autoscaling": {
            "minReplicas": 1,
            "maxReplicas": most,
            **more,
        },
    }


def test_a_rising_load_meets_pods_that_are_ready(serve: Serve, clients: Kube) -> None:
    fleet = serve(args=SLOWLY, **sized(2, workMillisecondsPerRequest=WORK_MILLISECONDS))
    # From what one pod does well to more than it can; in between is time for another to start.
    ramp = Ramp(6, 12, over_seconds=40)
    rising = Load(fleet.url, MODEL, 1, stream="always", unique=True, ramp=ramp)

    with running(clients, rising) as load:
        began = time.monotonic()
        fleet.wait_ready(2, within_seconds=90)
        left = ramp.over_seconds - (time.monotonic() - began)
        holds("both are kept", lambda: kept(fleet, 2), for_seconds=max(left, 5))
        account = load.stop()

    scaling = Automation(fleet).status()["scaling"]
    waits = sorted(one.first_byte_seconds for one in account.answers)
    late = waits[int(0.95 * len(waits))]
    recent = [one for one in account.answers if one.at_seconds > account.answers[-1].at_seconds - 5]
    print(f"{len(recent) / 5:g} requests/s; first token within {late:.2f} s for 95 %")
    print(f"{scaling['reason']}: {scaling['message']}")
    assert account.failures == []
    assert len(recent) / 5 > 9.5  # about all that one pod can do
    assert late < PROMPT_SECONDS
    assert scaling["desiredReplicas"] == 2


def test_a_quota_stops_the_growth_and_nothing_else(serve: Serve, clients: Kube) -> None:
    fleet = serve(args=SLOWLY, **sized(3))
    (first,) = fleet.pods()
    fleet.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "two-pods"},
            "spec": {"hard": {"pods": "2"}},
        }
    )
    crowd = Load(fleet.url, MODEL, CROWD, requests=0, unique=True)

    with running(clients, crowd) as load:
        fleet.wait_for("Ready", "False", within_seconds=90, saying=["two-pods"])
        until("two pods serve", lambda: serving(fleet, 2), within_seconds=90)
        holds("what serves is kept", lambda: kept(fleet, 2), for_seconds=5)
        assert Automation(fleet).status()["scaling"]["desiredReplicas"] <= 3

        fleet.kube.delete("resourcequota", "two-pods")
        # Kubernetes tries again by itself, ever more seldom: up to 1,000 s later.  Any change of
        # the ReplicaSet has it try at once.
        fleet.kube.run("annotate", "replicasets", "-l", fleet.selector, "e2e.batchfleet.io/try=now")
        grown = fleet.wait_ready(3, within_seconds=180)
        account = load.stop()

    assert first.uid in {pod.uid for pod in grown}
    assert account.failures == []


@pytest.fixture
def mercy(kube: Kube, cluster: Cluster) -> Callable[[], None]:
    """Every second pod that starts dies of it, until this is called."""
    source = Path(turns.__file__)
    run = ["python3", f"/program/{source.name}"]
    kube.apply(
        *program.objects(turns.NAME, source, cluster.images.worker, run),
        program.service(turns.NAME, turns.PORT),
    )
    program.wait_running(kube, turns.NAME)

    def let_live() -> None:
        kube.run("exec", turns.NAME, "--", "touch", str(turns.MERCY))

    return let_live


def test_half_of_the_new_pods_crash(serve: Serve, clients: Kube, mercy: Callable[[], None]) -> None:
    fleet = serve(args=SLOWLY, engine={"command": ["python3", "-c", turns.WRAPPER]}, **sized(3))
    (first,) = fleet.pods()
    crowd = Load(fleet.url, MODEL, CROWD, requests=0, unique=True)

    with running(clients, crowd) as load:
        dying = until("one of three dies", lambda: crashing(fleet), within_seconds=90)
        until("the others serve", lambda: serving(fleet, 2), within_seconds=90)
        holds("they are kept, and no more are asked for", lambda: kept(fleet, 3), for_seconds=5)
        mercy()
        grown = fleet.wait_ready(3, within_seconds=180)  # the kubelet waits before it tries again
        account = load.stop()

    assert {first.uid, dying.uid} < {pod.uid for pod in grown}
    assert account.failures == []
    Automation(fleet).untouched()


def serving(fleet: Fleet, pods: int) -> None:
    ready = [pod.name for pod in fleet.pods() if pod.ready]
    if len(ready) < pods:
        raise NotYetError(f"ready: {ready}")


def crashing(fleet: Fleet) -> Pod:
    for pod in fleet.pods():
        if pod.restarts.get("engine"):
            return pod
    raise NotYetError(f"{fleet.pods()}")


def kept(fleet: Fleet, pods: int) -> None:
    """So many, and no other: that they serve is seen by the clients."""
    if len(fleet.pods()) != pods:
        raise NotYetError(f"{fleet.pods()}")
