"""Whether a series of samples stays flat once a process has warmed up."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, linear_regression

Sample = tuple[float, float]
"""Seconds since the start, and the value."""


def thirds(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample], list[Sample]]:
    """By time, not by count."""
    if not samples:
        return [], [], []
    end = samples[-1][0]
    first = [sample for sample in samples if sample[0] < end / 3]
    last = [sample for sample in samples if sample[0] >= 2 * end / 3]
    middle = samples[len(first) : len(samples) - len(last)]
    return first, list(middle), last


def growth(samples: Sequence[Sample]) -> float | None:
    """Mean of the last third over the mean of the middle one; None: too few samples."""
    _, middle, last = thirds(samples)
    if not middle or not last:
        return None
    return fmean(value for _, value in last) / fmean(value for _, value in middle)


def slope_per_hour(samples: Sequence[Sample]) -> float | None:
    """The straight line through the last two thirds; None: too few samples."""
    _, middle, last = thirds(samples)
    rest = middle + last
    if len(rest) < 2:
        return None
    line = linear_regression([when for when, _ in rest], [value for _, value in rest])
    return 3600 * line.slope
