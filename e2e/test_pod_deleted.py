"""A pod is deleted while clients talk to it: nobody's answer is lost or cut."""

from __future__ import annotations

from typing import Any

from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet, Pod
from e2e.support.kube import Kube
from e2e.support.load import Load, running
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until


def test_under_streaming_load(serve: Serve, clients: Kube) -> None:
    fleet = serve(replicas=2)
    streams = Load(fleet.url, MODEL, 8, requests=0, stream="always", unique=True, max_tokens=60)

    with running(clients, streams) as load:
        busy = until("a pod with work", fleet.at_work, within_seconds=90)
        fleet.kube.delete("pod", busy.name)
        last = see_it_off(fleet, busy)
        fleet.wait_ready(2)
        account = load.stop()

    assert account.failures == []
    assert last["drain"]["aborted"] == 0
    assert last["drain"]["handedBack"] == 0


def test_an_idle_pod_under_keep_alive_load(serve: Serve, clients: Kube) -> None:
    fleet = serve(replicas=2)
    # Short answers with pauses: most of the time a connection is open and nothing is under way.
    sparse = Load(fleet.url, MODEL, 8, requests=0, unique=True, max_tokens=1, pause_seconds=0.4)

    with running(clients, sparse) as load:
        idle = until("a pod without work", lambda: resting(fleet), within_seconds=90)
        fleet.kube.delete("pod", idle.name)
        last = see_it_off(fleet, idle)
        fleet.wait_ready(2)
        account = load.stop()

    assert account.failures == []
    assert last["drain"]["aborted"] == 0


def resting(fleet: Fleet) -> Pod:
    for pod in fleet.pods():
        asked = fleet.metric(pod, "batchfleet_requests_offered_total")
        if asked > 0 and fleet.state(pod)["inFlight"] == 0:
            return pod
    raise NotYetError("every pod is at work, or was never asked")


def see_it_off(fleet: Fleet, pod: Pod) -> dict[str, Any]:
    """Wait until the pod is gone; the last state that its sidecar told while it drained."""
    told: list[dict[str, Any]] = []

    def look() -> dict[str, Any]:
        if pod.uid not in {each.uid for each in fleet.pods(leaving=True)}:
            assert told, f"{pod.name} went without draining"
            return told[-1]
        try:
            state = fleet.state(pod)
        except NotYetError:
            pass  # between the sidecar's end and the pod's
        else:
            if state["draining"]:
                told.append(state)
        raise NotYetError(f"{pod.name} is still there, and said {told[-1:]}")

    return until(f"{pod.name} gone", look, within_seconds=150, every_seconds=0.3)
