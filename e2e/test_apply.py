"""kubectl apply → a fleet that answers."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.services import MODEL


def test_one_service_becomes_a_fleet_that_answers(serve: Serve, clients: Kube) -> None:
    fleet = serve(replicas=2)

    account = ask(clients, Load(fleet.url, MODEL, clients=4, stream="mixed", unique=True))

    assert account.failures == []
    assert len({one.headers["x-request-id"] for one in account.answers}) == 4

    service = fleet.object()
    status = service["status"]
    assert status["observedGeneration"] == service["metadata"]["generation"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert set(conditions) == {"Ready", "Available", "Progressing", "ModelReady", "SettingsApplied"}
    assert {name for name, told in conditions.items() if told != "True"} <= {"Progressing"}
    kinds = {child["kind"] for child in fleet.children()}
    assert kinds >= {
        "ControllerRevision",
        "Deployment",
        "ConfigMap",
        "Service",
        "PodDisruptionBudget",
        "NetworkPolicy",
    }


def test_kubectl_get_shows_it_in_one_line(serve: Serve) -> None:
    fleet = serve()

    header, line = fleet.kube.run("get", "bis", fleet.name).splitlines()

    shown = dict(zip(header.split(), line.split(), strict=False))
    assert shown["NAME"] == fleet.name
    assert shown["READY"] == "True"
    assert shown["REPLICAS"] == "1"
