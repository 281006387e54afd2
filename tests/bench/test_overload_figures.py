"""The figures of bench.overload, on requests made up by hand."""

from __future__ import annotations

import math
from collections import Counter

from bench.overload.figures import (
    Kind,
    Sample,
    Target,
    first_token_quantile,
    goodput,
    recovery,
)
from bench.overload.load import Phase, arrivals

TARGETS = {Kind.INTERACTIVE: Target(1, 0.05), Kind.BATCH: Target(10, 0.05)}


def sample(arrived: float, first: float | None = 0.5, gap: float = 0.04) -> Sample:
    if first is None:
        return Sample(Kind.INTERACTIVE, arrived, arrived, 503)
    return Sample(Kind.INTERACTIVE, arrived, arrived + 1, 200, first, gap)


def test_goodput_counts_only_what_met_both_targets() -> None:
    samples = [sample(0), sample(0, first=1.5), sample(0, gap=0.06), sample(0, first=None)]
    assert goodput(samples, TARGETS, 0, 2) == 0.5


def test_who_was_refused_waited_for_ever() -> None:
    samples = [sample(0, first=0.1) for _ in range(98)] + [sample(0, first=None)] * 2
    assert first_token_quantile(samples, 0.5) == 0.1
    assert first_token_quantile(samples, 0.99) == math.inf


def test_recovery_is_when_the_last_bad_window_ends() -> None:
    steady = [sample(at / 10) for at in range(100)]
    assert recovery(steady, TARGETS, 5, 10) == 0
    assert recovery([*steady, sample(6.2, first=None)], TARGETS, 5, 10) == 1.5
    assert recovery([*steady, sample(9.9, first=None)], TARGETS, 5, 10) == math.inf


def test_every_arm_meets_the_same_arrivals() -> None:
    phases = (Phase(10, {Kind.INTERACTIVE: 50, Kind.BATCH: 100}), Phase(10, {Kind.BATCH: 10}))
    coming = list(arrivals(phases, seed=1))
    assert coming == list(arrivals(phases, seed=1)) == sorted(coming)
    first = Counter(kind for at, kind in coming if at < 10)
    assert 400 < first[Kind.INTERACTIVE] < 600
    assert 850 < first[Kind.BATCH] < 1150
    assert 50 < sum(at >= 10 for at, _ in coming) < 150
