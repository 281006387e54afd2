"""Why a service has no metrics, as its condition says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.metering import presence
from batchfleet_operator.metering.answers import Found
from batchfleet_operator.metering.presence import Surroundings
from batchfleet_operator.metering.signals import MetricsState, Signals, Watched

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AROUND = Surroundings(pods=2, has_pod_monitors=True, labels={}, max_age_seconds=60)


@pytest.mark.parametrize(
    ("numbers", "around", "state", "says"),
    [
        ({}, replace(AROUND, pods=0), "Missing", "no pod to measure"),
        ({}, AROUND, "NotScraped", "the label release"),
        ({}, replace(AROUND, labels={"release": "kps"}), "NotScraped", "release=kps"),
        ({}, replace(AROUND, has_pod_monitors=False), "NotScraped", "no PodMonitors"),
        ({"targets": 2, "targets_up": 0}, AROUND, "NotScraped", "adminFrom"),
        ({"targets": 2, "targets_up": 2}, AROUND, "Missing", "port named admin"),
        ({"targets": 2, "targets_up": 2, "known_pods": 2}, AROUND, "Stale", "older than 60 s"),
        ({"known_pods": 2}, AROUND, "Stale", "older than 60 s"),
    ],
)
def test_a_service_without_samples_says_why(
    numbers: dict[str, float], around: Surroundings, state: MetricsState, says: str
) -> None:
    signals = presence.absent(Found(numbers), around, NOW)
    assert signals.state == state
    assert says in signals.message
    assert signals.fresh_pods is None


def said(
    states: Sequence[MetricsState], *, own: bool = False, late: float = 0
) -> tuple[str, str, str]:
    """Status, reason and message after ticks with these states."""
    monitoring = {"prometheus": {"url": "http://prometheus"}} if own else {}
    service = BatchInferenceService.of(
        {
            "metadata": {"name": "chat"},
            "spec": {"engine": {"type": "vLLM", "model": "m"}, "monitoring": monitoring},
        }
    )
    ticks = [Signals(NOW, state, f"about {state}") for state in states]
    now = NOW + timedelta(seconds=late)
    found = presence.metrics_available(service, Watched(NOW, ticks) if states else None, now)
    return found.status, found.reason, found.message


def test_metrics_are_available_until_three_looks_have_failed() -> None:
    assert said(["Found"])[:2] == ("True", "Found")
    assert said(["Found", "PrometheusError", "Stale"])[:2] == ("True", "Found")
    lost = said(["Found", "PrometheusError", "PrometheusError", "PrometheusError"])
    assert lost == ("False", "PrometheusError", "about PrometheusError")
    assert said(["PrometheusError", "PrometheusError", "PrometheusError", "Found"])[0] == "True"


def test_a_young_fleet_is_not_called_broken() -> None:
    assert said(["NotScraped"])[:2] == ("Unknown", "Missing")
    assert said(["NotScraped"] * 3)[:2] == ("False", "NotScraped")
    assert said(["Missing"] * 3)[:2] == ("Unknown", "Missing")


def test_without_a_prometheus_it_says_so() -> None:
    assert said([])[:2] == ("False", "NoPrometheus")
    assert said([], own=True)[:2] == ("Unknown", "Missing")


def test_what_was_seen_long_ago_is_no_news() -> None:
    assert said(["Found"] * 3, late=301)[:2] == ("Unknown", "Stale")
