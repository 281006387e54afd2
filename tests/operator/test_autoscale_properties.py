"""What holds of the autoscaler whatever it is told: any numbers, any gaps, any order."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.metering.signals import Signals
from tests.operator.autoscaled import BEGIN, Fleet, busy, policy, signal

number = st.floats(0, 1e6, allow_nan=False)
maybe = st.none() | number


@st.composite
def policies(draw: st.DrawFn) -> Autoscaling:
    low = draw(st.integers(1, 6))
    high = draw(st.integers(low, 40))
    fields: dict[str, Any] = {
        "minReplicas": low,
        "maxReplicas": high,
        "objective": draw(st.sampled_from(("Interactive", "Batch"))),
        "scaleDownWindowSeconds": draw(st.sampled_from((30, 300))),
    }
    if draw(st.booleans()):
        fields["fallbackReplicas"] = draw(st.integers(low, high))
    if draw(st.booleans()):
        fields["workMillisecondsPerRequest"] = draw(st.integers(1, 100_000))
    if draw(st.booleans()):
        fields["schedules"] = [
            {"days": ["Sun"], "fromHour": 6, "toHour": 7, "minReplicas": draw(st.integers(1, high))}
        ]
    return policy(**fields)


wild = st.builds(
    signal,
    at=st.just(BEGIN),
    state=st.sampled_from(("Found", "Missing", "Stale", "NotScraped", "PrometheusError")),
    fresh_pods=st.none() | st.integers(0, 50),
    offered_per_second=maybe,
    offered_slope=st.none() | st.floats(-1e3, 1e3, allow_nan=False),
    completed_per_second=maybe,
    joined_share=st.none() | st.floats(0, 1),
    in_flight=maybe,
    queued=maybe,
    queued_batch=maybe,
    kv_usage=st.none() | st.floats(0, 100),
    kv_tokens_per_pod=maybe,
    prompt_tokens=maybe,
)
idle = st.builds(busy, rate=st.floats(0, 2), pods=st.just(50))
missing = st.builds(
    signal,
    at=st.just(BEGIN),
    state=st.sampled_from(("Missing", "Stale", "NotScraped", "PrometheusError")),
) | st.just(signal(BEGIN))
steps = st.lists(
    st.tuples(st.sampled_from((0.0, 1.0, 15.0, 15.0, 15.0, 200.0)), wild | idle), max_size=15
)


def grown_by(size: int) -> int:
    return max(2 * size, size + 4)


@given(policies(), st.integers(0, 60), steps)
@settings(max_examples=30, deadline=None)
def test_the_size_is_in_bounds_grows_by_a_bound_and_shrinks_by_small_steps(
    wanted: Autoscaling, start: int, seen: list[tuple[float, Signals]]
) -> None:
    fleet = Fleet(wanted, start)
    floor = max([wanted.min_replicas, *(each.min_replicas for each in wanted.schedules or ())])
    size = fleet.look().replicas
    since = None
    for after, each in seen:
        new = fleet.look(each, after).replicas
        assert wanted.min_replicas <= new <= wanted.max_replicas
        assert new <= max(grown_by(size), floor, wanted.fallback_replicas or 0)
        if new < size:
            assert size - new <= max(1, size // 10)
            rest = min(60, wanted.scale_down_window_seconds or 60)
            assert since is None or fleet.now - since >= timedelta(seconds=rest)
        if new != size:
            since = fleet.now
        size = new


@given(
    policies(),
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 90), idle | missing), max_size=15),
)
@settings(max_examples=30, deadline=None)
def test_a_look_that_says_nothing_takes_no_pod_away(
    wanted: Autoscaling, start: int, seen: list[tuple[float, Signals]]
) -> None:
    fleet = Fleet(wanted, start)
    size = fleet.look().replicas
    for after, each in seen:
        new = fleet.look(each, after).replicas
        if each.state != "Found" or each.offered_per_second is None:
            assert new >= size
        size = new


@given(st.lists(st.booleans(), min_size=20, max_size=30), st.integers(2, 20))
@settings(max_examples=25, deadline=None)
def test_no_pattern_of_holes_longer_than_a_minute_lets_it_shrink(
    holes: list[bool], start: int
) -> None:
    """A window of five minutes with one hole of five looks, wherever it is."""
    fleet = Fleet(policy(scaleDownWindowSeconds=300), start)
    gone = signal(BEGIN, state="Missing")
    for k, hole in enumerate(holes):
        fleet.look(gone if hole or k % 20 < 5 else busy(rate=0.1, pods=50), after=15)
    assert fleet.last is not None
    assert fleet.last.replicas == start


@given(policies(), st.integers(0, 40), st.lists(wild, min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_looking_again_changes_nothing(
    wanted: Autoscaling, start: int, seen: list[Signals]
) -> None:
    fleet = Fleet(wanted, start)
    for each in seen:
        first = fleet.look(each, after=15)
        again = fleet.look_again()
        assert again.replicas == first.replicas
        assert again.scaling == first.scaling
        assert again.condition == first.condition
        assert again.events == []


@given(st.floats(0.5, 30), st.integers(0, 3), st.floats(0, 3))
@settings(max_examples=15, deadline=None)
def test_a_steady_load_has_one_size(rate: float, spare: int, wave: float) -> None:
    """Once it has settled, a load that moves by 3 % is no reason for anything."""
    wanted = policy(workMillisecondsPerRequest=1000, maxReplicas=60, scaleDownWindowSeconds=60)
    fleet = Fleet(wanted, start=math.ceil(rate / 0.7) + spare)
    loads = [rate * (1 + wave / 100 * (-1) ** k) for k in range(60)]
    sizes = fleet.run([busy(rate=each, pods=100) for each in loads])
    assert len(set(sizes[-10:])) == 1
