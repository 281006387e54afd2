"""What is remembered of a service, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.metering.history import History, slope
from batchfleet_operator.metering.signals import Reading, Signals

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@given(rise=st.floats(-1, 1), level=st.floats(0, 1000), gap=st.integers(1, 60))
def test_a_steady_rise_is_its_slope(rise: float, level: float, gap: int) -> None:
    points = [(float(x), level + rise * x) for x in range(-300, 1, gap)]
    assert slope(points) == pytest.approx(rise, abs=1e-6)


def test_too_little_is_no_trend() -> None:
    assert slope([(-300, 1.0), (-150, 2.0), (0, 3.0)]) is None
    assert slope([(float(-x), 1.0) for x in range(100)][::-1]) is None
    assert slope([(-300, None), (-200, 1.0), (-100, None), (0, 3.0)]) is None


def test_the_trend_of_the_offered_rate_comes_with_the_signals() -> None:
    history = History(START)
    for seconds in range(0, 601, 15):
        history.see(Signals(after(seconds), offered_per_second=0.1 * seconds), 660)
    latest = history.watched.latest
    assert latest is not None
    assert latest.offered_slope == pytest.approx(0.1)
    history.see(Signals(after(615), "PrometheusError"), 660)
    lost = history.watched.latest
    assert lost is not None
    assert lost.offered_slope is None


def test_it_remembers_for_as_long_as_somebody_asks() -> None:
    history = History(START)
    for seconds in range(0, 1000, 15):
        history.see(Signals(after(seconds)), 600)
        readings = {"slow": Reading(after(seconds)), "errors": Reading(after(seconds))}
        history.read(readings, {"slow": 60, "errors": 300})
    watched = history.watched
    assert watched.since == START
    assert watched.signals[0].at >= after(990 - 600)
    assert len(watched.signals) == 41
    assert (len(watched.readings["slow"]), len(watched.readings["errors"])) == (5, 21)


def test_three_ticks_are_kept_however_rare_they_are() -> None:
    history = History(START)
    for seconds in range(0, 3000, 300):
        history.see(Signals(after(seconds)), 0)
    assert [each.at for each in history.watched.signals] == [after(s) for s in (2100, 2400, 2700)]


def test_a_rule_that_is_another_one_begins_anew() -> None:
    history = History(START)
    history.read({"slow": Reading(START, 1.0), "errors": Reading(START)}, {"slow": 9, "errors": 9})
    history.forget(["slow"])
    history.read({"slow": Reading(after(1), 2.0)}, {"slow": 9})
    readings = history.watched.readings
    assert [each.value for each in readings["slow"]] == [2.0]
    assert "errors" not in readings
