"""The monitoring stack that users have: it scrapes, it loads the rules, and an alert fires."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from e2e.support import stack
from e2e.support.cluster import Cluster
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.release import CHART, Release
from e2e.support.services import MODEL, fault
from e2e.support.stack import Stack
from e2e.support.wait import NotYetError, until

# Reloading its configuration takes Prometheus' reloader a while; the alert lasts 30 s.
SEEN_WITHIN_SECONDS = 150
FIRES_WITHIN_SECONDS = 120
MONITORED: dict[str, Any] = {
    "labels": stack.LABELS,
    "podMonitor": {"enabled": True, "interval": stack.EVERY},
    "rules": {"enabled": True},
    "dashboards": {"enabled": True},
}


@pytest.fixture
def fleet(serve: Serve) -> Fleet:
    """A service that starts while all else does."""
    return serve(wait=False)


@pytest.fixture
def monitored(kube: Kube, cluster: Cluster, release: Release, fleet: Fleet) -> Iterator[Stack]:
    """prometheus-operator in the test's namespace, and a release whose values suit it."""
    if not cluster.images.prometheus_operator or kube.find("crd", stack.CRD):
        pytest.skip("this cluster has no image of prometheus-operator, or has one of its own")
    try:
        with stack.installed(kube, cluster.images) as installed:
            before = release.values.get("monitoring", {})
            with release.changed(monitoring={**before, **MONITORED}):
                yield installed
    finally:
        release.restart_operator()  # it would look for PodMonitors for two minutes more


@pytest.mark.stack
def test_prometheus_operator_takes_up_what_we_give_it(
    monitored: Stack, fleet: Fleet, clients: Kube, release: Release
) -> None:
    (pod,) = fleet.wait_ready(1)
    fault(fleet.kube, pod.name, breakAfterTokens=1)
    ask(clients, Load(fleet.url, MODEL, 4, requests=4, unique=True))

    def broken() -> None:
        if fleet.metric(pod, "batchfleet_circuit_open") != 1:
            raise NotYetError("the circuit is closed")

    until("the circuit is open", broken, within_seconds=30)
    stack.wait_ready(monitored.kube)

    def scraped() -> dict[str, str]:
        found = monitored.series(f'batchfleet_ready{{service="{fleet.name}"}}')
        if len(found) != 1:
            raise NotYetError(f"{found}")
        return found[0]

    labels = until("the pod is scraped", scraped, within_seconds=SEEN_WITHIN_SECONDS)
    assert (labels["namespace"], labels["pod"]) == (fleet.kube.namespace, pod.name)
    assert labels["revision"] == "1"
    assert monitored.series(f'vllm:num_requests_running{{pod="{pod.name}",service="chat"}}')

    def operator_scraped() -> list[dict[str, str]]:
        found = monitored.series("batchfleet_operator_leading == 1")
        if not found:
            raise NotYetError("no operator that leads")
        return found

    leading = until("the operator is scraped", operator_scraped, within_seconds=60)
    assert {each["namespace"] for each in leading} == {release.kube.namespace}

    said = f'batchfleet_operator_condition{{namespace="{fleet.kube.namespace}",type="Available"}}'

    def told() -> None:
        if [each["service"] for each in monitored.series(f"{said} == 1")] != [fleet.name]:
            raise NotYetError("nothing of the service")

    until("what the operator says keeps the service's namespace", told, within_seconds=60)

    def loaded() -> None:
        ours = [rule for rule in monitored.rules() if rule["group"].startswith("batchfleet.")]
        ill = [
            f"{rule['name']}: {rule.get('lastError')}" for rule in ours if rule["health"] != "ok"
        ]
        if ill or {rule["name"] for rule in ours} != written():
            raise NotYetError(f"{len(ours)} rules, of which ill: {ill}")

    until("all rules are loaded and evaluated", loaded, within_seconds=90)

    def fires() -> None:
        for rule in monitored.rules():
            if rule["name"] == "BatchfleetCircuitOpen" and rule["state"] == "firing":
                assert [one["labels"]["service"] for one in rule["alerts"]] == [fleet.name]
                return
        raise NotYetError("BatchfleetCircuitOpen does not fire")

    until("an alert fires", fires, within_seconds=FIRES_WITHIN_SECONDS)
    dashboards = release.kube.list("configmaps", "grafana_dashboard=1")
    assert len(dashboards) == len(list(CHART.glob("files/dashboards/*.json")))


def written() -> set[str]:
    """The names of all rules in the chart."""
    return {
        rule.get("alert") or rule["record"]
        for file in CHART.glob("files/rules/*.yaml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    }
