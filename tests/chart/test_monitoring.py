"""Rules and dashboards reach the cluster as they were generated, where they are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.chart import chart

_LABELS = {"release": "prometheus"}


def _monitored(**more: Any) -> chart.Object:
    return {"monitoring": {"labels": _LABELS, **{k: {"enabled": v} for k, v in more.items()}}}


def _rules(objects: list[chart.Object]) -> dict[str, chart.Object]:
    """By name, without the release's."""
    found = chart.of_kind(objects, "PrometheusRule")
    return {each["metadata"]["name"].removeprefix("fleet-batchfleet-"): each for each in found}


def _dashboards(objects: list[chart.Object]) -> list[chart.Object]:
    return [
        each
        for each in chart.of_kind(objects, "ConfigMap")
        if each["metadata"]["name"].startswith("fleet-batchfleet-dashboard-")
    ]


def test_nothing_is_there_unless_it_is_asked_for() -> None:
    assert _rules(chart.render()) == {}
    assert _dashboards(chart.render()) == []


def test_the_rules_are_the_generated_ones_and_carry_the_labels_that_prometheus_selects() -> None:
    rules = _rules(chart.render(_monitored(rules=True, podMonitor=True)))
    assert set(rules) == {"fleet", "operator"}
    for name, rule in rules.items():
        text = (chart.FOLDER / f"files/rules/{name}.yaml").read_text()
        assert rule["spec"] == yaml.safe_load(text)  # {{ $labels }} of Prometheus included
        assert rule["metadata"]["labels"].items() >= _LABELS.items()


def test_an_operator_that_is_not_scraped_is_not_said_to_be_gone() -> None:
    assert set(_rules(chart.render(_monitored(rules=True)))) == {"fleet"}


def test_the_dashboards_are_the_generated_ones_and_grafana_finds_them() -> None:
    found = _dashboards(chart.render(_monitored(dashboards=True)))
    files = sorted((chart.FOLDER / "files/dashboards").glob("*.json"))
    assert len(found) == len(files) == 4
    told: dict[str, str] = {}
    for each in found:
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        told |= each["data"]
    for file in files:
        assert json.loads(told[f"batchfleet-{file.name}"]) == json.loads(file.read_text())


@pytest.mark.parametrize("labels", [{"grafana_dashboard": None, "grafana": "mine"}])
def test_another_grafana_has_other_labels(labels: dict[str, str | None]) -> None:
    values = {"monitoring": {"dashboards": {"enabled": True, "labels": labels}}}
    for each in _dashboards(chart.render(values)):
        assert each["metadata"]["labels"]["grafana"] == "mine"
        assert "grafana_dashboard" not in each["metadata"]["labels"]


def test_what_the_operator_says_of_a_service_keeps_that_services_namespace() -> None:
    monitor = chart.one(chart.render(_monitored(podMonitor=True)), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
