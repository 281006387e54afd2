"""What bench.soak calls flat."""

from __future__ import annotations

import pytest

from bench.soak.flat import growth, slope_per_hour


def test_a_warm_up_is_no_leak() -> None:
    samples = [(float(at), min(50.0, 20.0 + at)) for at in range(90)]
    assert growth(samples) == 1
    assert slope_per_hour(samples) == 0


def test_a_leak_is_seen() -> None:
    samples = [(float(at), 50.0 + at) for at in range(90)]
    grown = growth(samples)
    assert grown is not None
    assert grown > 1.2
    assert slope_per_hour(samples) == pytest.approx(3600)


def test_too_few_samples_are_no_figure() -> None:
    assert growth([(0.0, 1.0)]) is None
    assert slope_per_hour([]) is None
