"""What a status says is what a scrape sees, and nothing outlives what it is about."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchfleet_operator.metrics import Metrics
from batchfleet_operator.rollouts.leaving import Departure
from batchfleet_operator.servicemetrics import DEFINITIONS, DRAINED, PREFIX
from batchfleet_operator.store import Key

CHAT = Key("team", "chat")
DRAINS = DRAINED.name.removeprefix(f"{PREFIX}_")
AT = "2026-11-22T06:00:00Z"


def _scrape(metrics: Metrics) -> dict[tuple[str, frozenset[str]], float]:
    """What comes of the status, by name and the labels' values."""
    return {labels: value for labels, value in _all(metrics).items() if labels[0] != DRAINS}


def _all(metrics: Metrics) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name.removeprefix(f"{PREFIX}_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.as_text().decode())
        for sample in family.samples
        if sample.labels.get("service")
    }


def _of(*labels: str) -> frozenset[str]:
    return frozenset({*CHAT, *labels})


def _condition(type_: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": "said",
        "observedGeneration": 1,
        "lastTransitionTime": AT,
    }


def _past(outcome: str, time: str = AT) -> dict[str, Any]:
    return {"time": time, "rule": "slow", "action": "ScaleBatchSize", "outcome": outcome}


def test_a_status_becomes_series() -> None:
    metrics = Metrics("1")
    metrics.of_services.show(
        CHAT,
        {
            "replicas": 3,
            "readyReplicas": 2,
            "effective": {"maxBatchSize": 48, "source": "AlertAction", "since": AT},
            "scaling": {
                "desiredReplicas": 5,
                "reason": "Rate",
                "message": "said",
                "since": AT,
                "leadSeconds": 180,
            },
            "rules": [
                {
                    "name": "slow",
                    "state": "Broken",
                    "reason": "Observe",
                    "message": "said",
                    "mode": "Observe",
                    "since": AT,
                }
            ],
            "rollout": {
                "revision": "chat-2",
                "replaces": "chat-1",
                "step": "OnePod",
                "since": AT,
                "began": AT,
                "state": "Judging",
                "message": "said",
            },
            "conditions": [
                _condition("Ready", "False", "RollingOut"),
                _condition("Available", "True", "Serving"),
                _condition("MetricsAvailable", "Unknown", "Starting"),
            ],
        },
        demand={"Rate": 5.0, "KV": 2.0},
    )
    assert _scrape(metrics) == {
        ("replicas", _of()): 3,
        ("ready_replicas", _of()): 2,
        ("desired_replicas", _of()): 5,
        ("scaling_lead_seconds", _of()): 180,
        ("scaling_demand_replicas", _of("Rate")): 5,
        ("scaling_demand_replicas", _of("KV")): 2,
        ("effective_batch_size", _of("AlertAction")): 48,
        ("rule_state", _of("slow", "Broken", "Observe")): 1,
        ("rollout", _of("chat-2", "OnePod", "Judging")): 1,
        ("condition", _of("Ready", "RollingOut")): 0,
        ("condition", _of("Available", "Serving")): 1,
    }


def test_a_reason_that_no_longer_holds_is_gone_and_so_is_a_service() -> None:
    metrics = Metrics("1")
    for reason in ("RollingOut", "Unschedulable"):
        status = {"conditions": [_condition("Ready", "False", reason)]}
        metrics.of_services.show(CHAT, status)
    assert _scrape(metrics) == {("condition", _of("Ready", "Unschedulable")): 0}
    metrics.of_services.forget(CHAT)
    assert _scrape(metrics) == {}


def test_an_action_is_counted_once_however_often_it_is_shown() -> None:
    metrics = Metrics("1")
    helped = ("actions_total", _of("slow", "ScaleBatchSize", "Helped"))
    intent = {
        "id": "a",
        "rule": "slow",
        "action": "ScaleBatchSize",
        "phase": "Verifying",
        "began": AT,
    }
    metrics.of_services.show(CHAT, {"intents": [intent]})
    assert _scrape(metrics)[helped] == 0  # a rate needs a beginning
    for _ in range(3):
        metrics.of_services.show(CHAT, {"history": [_past("Helped")]})
    assert _scrape(metrics)[helped] == 1
    later = _past("Helped", "2026-11-22T07:00:00Z")
    metrics.of_services.show(CHAT, {"history": [later]})  # the older one fell off the end
    assert _scrape(metrics)[helped] == 2


def test_what_another_process_did_is_not_counted_again() -> None:
    metrics = Metrics("1")
    metrics.of_services.show(CHAT, {"history": [_past("Restored")]})
    assert _scrape(metrics)["actions_total", _of("slow", "ScaleBatchSize", "Restored")] == 0


def test_the_first_that_a_rule_would_have_done_is_seen_by_a_rate() -> None:
    """It goes into the history at once, with no intent before it."""
    metrics = Metrics("1")
    rules = [{"name": "slow", "preset": "RequestLatency"}, {"name": "full", "preset": "Load"}]
    observed = {
        ("actions_total", _of(rule, action, "Observed"))
        for rule, actions in (
            ("slow", ("ScaleBatchSize", "ScaleOut", "Shed")),
            ("full", ("ScaleOut", "Shed")),
        )
        for action in actions
    }
    metrics.of_services.show(CHAT, {}, rules=rules)
    assert _scrape(metrics) == dict.fromkeys(observed, 0)
    metrics.of_services.show(CHAT, {"history": [_past("Observed")]}, rules=rules)
    assert _scrape(metrics)["actions_total", _of("slow", "ScaleBatchSize", "Observed")] == 1


def test_requests_of_pods_that_left_are_counted_by_service_from_0_on() -> None:
    metrics = Metrics("1")
    metrics.of_services.show(CHAT, {})
    met = {outcome: (DRAINS, _of(outcome)) for outcome in ("drained", "handed_back", "aborted")}
    assert _all(metrics) == dict.fromkeys(met.values(), 0)
    metrics.count_departure(CHAT, Departure("p", drained=5, handed_back=2, aborted=1))
    metrics.count_departure(CHAT, Departure("q", drained=1, handed_back=0, aborted=0))
    found = _all(metrics)
    assert [found[each] for each in met.values()] == [6, 2, 1]
    metrics.of_services.forget(CHAT)
    assert _all(metrics) == {}


def test_every_name_is_there_before_any_service_is() -> None:
    text = Metrics("1").as_text().decode()
    for definition in (*DEFINITIONS, DRAINED):
        assert f"# TYPE {definition.name} {definition.kind}" in text


@pytest.fixture
def threads_take_turns_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("threads_take_turns_often")
def test_a_scrape_while_services_come_and_go() -> None:
    metrics = Metrics("1")
    with ThreadPoolExecutor(1) as scraper:
        for number in range(40):
            page = scraper.submit(metrics.as_text)
            for each in range(10):
                metrics.of_services.show(Key("team", f"chat-{number}-{each}"), {"replicas": 1})
            metrics.of_services.forget(Key("team", f"chat-{number}-0"))
            assert page.result()


def test_a_status_cannot_break_the_page() -> None:
    metrics = Metrics("1")
    reason = 'a"b\\c\nd'
    metrics.of_services.show(CHAT, {"conditions": [_condition("Ready", "True", reason)]})
    assert _scrape(metrics)["condition", _of("Ready", reason)] == 1
