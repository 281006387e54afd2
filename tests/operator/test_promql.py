"""Queries as text; what they give is told by tests/contract/operator/test_prometheus.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.metering import promql
from batchfleet_operator.remediation.presets import PRESETS


def test_every_preset_has_a_number() -> None:
    assert set(promql.NUMBERS) == set(PRESETS)


def test_a_preset_without_requests_behind_it_asks_for_none() -> None:
    for name, preset in PRESETS.items():
        assert (promql.NUMBERS[name].samples is None) == (preset.min_samples == 0)
        assert (promql.NUMBERS[name].queue_share is not None) == preset.latency
        assert (promql.NUMBERS[name].baseline is not None) == preset.of_baseline


def test_the_variables_of_a_services_query_are_filled_in() -> None:
    values = {"namespace": "team", "service": "chat", "window": "120s"}
    query = 'sum(rate(x{namespace="$namespace",service="$service"}[$window])) + $services'
    assert promql.filled(query, values) == (
        'sum(rate(x{namespace="team",service="chat"}[120s])) + $services'
    )


@given(value=st.text())
def test_a_value_cannot_leave_its_quotes(value: str) -> None:
    filled = promql.filled('x{service="$service"}', {"service": value})
    inside = filled.removeprefix('x{service="').removesuffix('"}')
    assert inside.replace("\\\\", "").replace('\\"', "").count('"') == 0
    assert "\n" not in inside


def test_few_services_are_named_and_many_are_not() -> None:
    assert promql.pods_of([("a", "x")], {}) == 'namespace="a",service="x",revision!=""'
    assert promql.pods_of([("a", "x"), ("b", "x.y")], {}) == (
        'namespace=~"a|b",service=~"x|x\\\\.y",revision!=""'
    )
    many = [("a", f"s{i}") for i in range(1000)]
    assert promql.pods_of(many, {"cluster": "one"}) == f'{promql.EVERY},cluster="one"'


@pytest.mark.parametrize("name", promql.ALL_NUMBERS)
def test_a_number_is_asked_of_single_pods_only_where_somebody_wants_it(name: str) -> None:
    (plain,) = promql.readings({name: False}, 60)
    assert "namespace, service, pod)" not in plain.replace("max by (namespace, service, pod)", "")
    of_pods = promql.readings({name: True}, 60)
    if promql.ALL_NUMBERS[name].by_pod:
        assert sum(query.count("by (namespace, service, pod") for query in of_pods) > (
            plain.count("by (namespace, service, pod")
        )
    else:
        assert of_pods == [plain]


def test_every_signal_is_asked_for_once() -> None:
    asked = re.findall(r'"signal", "(\w+)"', " ".join(promql.snapshot()))
    told = {each.name for each in (*promql.SIGNALS, *promql.PRESENCE)}
    assert sorted(asked) == sorted({*told, promql.FRESH_PODS, promql.KV_BLOCKS})
