"""kubectl scale on the service: up and down, and nobody's request is cut."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.fleet import KIND, Fleet
from e2e.support.kube import Kube
from e2e.support.load import Load, running, steady
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until


def test_one_to_three_to_one_under_load(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    (first,) = fleet.pods()
    crowd = Load(fleet.url, MODEL, 8, requests=0, stream="mixed", unique=True)

    with running(clients, crowd) as early:
        fleet.kube.run("scale", KIND, fleet.name, "--replicas=3")
        grown = fleet.wait_ready(3)
        # Connections stay where they are: it takes new ones to reach the new pods.
        with running(clients, steady(fleet.url, MODEL, 10, stream="mixed")) as late:
            until("three pods at work", lambda: all_asked(fleet), within_seconds=60)
            fleet.kube.run("scale", KIND, fleet.name, "--replicas=1")
            (left,) = fleet.wait_ready(1)
            fleet.wait_gone({pod.uid for pod in grown} - {left.uid})
            accounts = early.stop(), late.stop()

    assert [account.failures for account in accounts] == [[], []]
    assert {first.uid, left.uid} <= {pod.uid for pod in grown}
    assert {pod.revision for pod in grown} == {1}

    def told() -> None:
        if (replicas := fleet.object()["status"]["replicas"]) != 1:
            raise NotYetError(f"{replicas}")

    until("status.replicas is 1", told, within_seconds=60)


def all_asked(fleet: Fleet) -> None:
    idle = [
        pod.name
        for pod in fleet.pods()
        if fleet.metric(pod, "batchfleet_requests_offered_total") == 0
    ]
    if idle:
        raise NotYetError(f"nobody asked {', '.join(idle)}")
