"""The numbers of ready-made rules, asked of a real Prometheus."""

from __future__ import annotations

import math
from contextlib import closing
from datetime import UTC, datetime

import pytest

from batchfleet_operator.metering import answers, promql
from batchfleet_operator.metering.credentials import Credentials
from batchfleet_operator.metering.prometheus import Server
from batchfleet_operator.metering.signals import Reading
from tests.contract.operator.measured import About, number, reading, signals
from tests.support.prometheus import RealPrometheus


def test_latencies_are_exact_at_a_buckets_edge(watched: About) -> None:
    """1 request of 100 takes over 1 s; of first tokens 10 of 24 take 1.8 s."""
    chat = watched("chat")
    latency, first = reading(chat, "requestlatency"), reading(chat, "timetofirsttoken")
    assert 0.5 < number(latency.value) <= 1.0
    assert latency.queue_share == pytest.approx((0.02 + 0.1) / 0.605, rel=0.1)
    assert 1.5 < number(first.value) <= 2.0
    assert 0 < number(first.queue_share) < 1
    between = reading(chat, "intertokenlatency")
    assert number(between.value) <= 0.03
    assert between.queue_share == 0


def test_errors_leave_out_what_is_only_busy(watched: About) -> None:
    errors = reading(watched("chat"), "errorrate")
    assert errors.value == pytest.approx(2 / 26, rel=0.1)
    assert errors.by_pod == {
        "chat-0": 0,
        "chat-1": 0,
        "chat-2": pytest.approx(0.2, rel=0.1),
    }
    assert errors.samples_by_pod["chat-2"] == pytest.approx(600, rel=0.1)


def test_a_stream_that_breaks_is_an_error(watched: About) -> None:
    assert reading(watched("broken"), "errorrate").value == pytest.approx(0.1, rel=0.1)


def test_throughput_and_what_is_usual(watched: About) -> None:
    usual = reading(watched("chat"), "throughput")
    assert usual.value == pytest.approx(24, rel=0.05)
    assert usual.baseline == pytest.approx(24, rel=0.1)


def test_load_counts_those_who_wait(watched: About) -> None:
    assert reading(watched("chat"), "load").value == pytest.approx(27 / 64, rel=0.01)


def test_the_pod_that_stands_still_is_named(watched: About) -> None:
    stalled = reading(watched("stalled"), "enginestalled")
    assert stalled.value == 1
    assert stalled.by_pod == {"stalled-0": 1, "stalled-1": 0, "stalled-2": 0}
    assert reading(watched("chat"), "enginestalled").value == 0


def test_pods_that_take_no_requests(watched: About) -> None:
    assert reading(watched("down"), "servicedown").value == 0
    assert reading(watched("chat"), "servicedown").value == 1


def test_no_requests_are_no_number(watched: About) -> None:
    idle = watched("idle")
    assert reading(idle, "errorrate").value is None
    assert reading(idle, "timetofirsttoken").value is None
    assert reading(idle, "errorrate").samples == 0
    assert signals(idle).offered_per_second == 0
    assert signals(idle).joined_share is None


SUMMED = [name for name, each in promql.ALL_NUMBERS.items() if each.summed is not None]


@pytest.mark.parametrize("name", SUMMED)
def test_what_pods_add_up_to_is_what_rules_and_pictures_say(
    name: str, prometheus: RealPrometheus
) -> None:
    """A number that is asked as sums is another text for the same number."""
    with closing(
        Server(prometheus.url, Credentials(), timeout_seconds=5, max_age_seconds=60)
    ) as server:
        at = server.query("vector(1)").at
        definition = promql.ALL_NUMBERS[name].value
        added = [server.query(each, at) for each in promql.readings({name: True}, 60)]
        told = [server.query(each, at) for each in promql.readings({name: False}, 60)]
        of_pods = server.query(definition.query(by=promql.POD, window="60s"), at).samples
    now = datetime.now(UTC)
    by_service, theirs = answers.by_service(added), answers.by_service(told)
    ours = {key: answers.readings(each, now)[name] for key, each in by_service.items()}
    assert any(each.value for each in ours.values())
    for key, each in ours.items():
        wanted = answers.readings(theirs.get(key, ()), now).get(name, Reading(now))
        assert each.value == pytest.approx(wanted.value)
        assert each.samples == pytest.approx(wanted.samples)
    pods = {(*key, pod): value for key, each in ours.items() for pod, value in each.by_pod.items()}
    assert pods == {
        tuple(each.labels[label] for label in ("namespace", "service", "pod")): pytest.approx(
            each.value
        )
        for each in of_pods
        if math.isfinite(each.value)
    }
