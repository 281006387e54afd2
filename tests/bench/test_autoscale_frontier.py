"""The comparison at equal attainment: fair to a baseline whose targets were badly chosen."""

from __future__ import annotations

import pytest

from bench.autoscale.frontier import Pooled, cheapest, cost, pool
from bench.autoscale.grid import Cell


def point(setting: float, attainment: float, hours: float) -> Pooled:
    return Pooled("hpa", setting, attainment, hours, 0, 0)


POINTS = [point(30, 0.95, 100), point(20, 0.99, 140), point(10, 0.98, 300)]


def test_between_two_settings_it_is_interpolated() -> None:
    assert cost(POINTS, 0.97) == pytest.approx(120)


def test_a_setting_that_needs_more_for_less_does_not_count() -> None:
    assert cost(POINTS, 0.975) == pytest.approx(125)


def test_what_no_setting_reaches_has_no_cost_and_what_all_reach_costs_the_least() -> None:
    assert cost(POINTS, 0.999) is None
    assert cost(POINTS, 0.9) == 100


def test_a_baseline_is_tuned_to_the_cheapest_setting_that_reaches_the_mark() -> None:
    assert cheapest(POINTS, 0.97) == POINTS[1]
    assert cheapest(POINTS, 0.999) == POINTS[1], "where none does, to the nearest"


def test_starts_are_pooled_by_requests_and_hours() -> None:
    cells = [
        Cell("day 0", 60, "hpa", 20, 100, 90, 6, 30, 4, 0),
        Cell("day 0", 60, "hpa", 20, 300, 300, 6, 50, 0, 0),
    ]
    (pooled,) = pool(cells)
    assert pooled.attainment == pytest.approx(390 / 400)
    assert pooled.replica_hours == pytest.approx(80 * 24 / 12)
    assert pooled.actions == pytest.approx(8)
