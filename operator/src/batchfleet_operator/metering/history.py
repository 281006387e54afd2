"""What was seen of one service lately: windows of signals and readings, as long as they are needed.

Pure; filled by ``sampler``, read as :class:`Watched`.  A tick without an answer is remembered too:
consumers must see that there was a gap, and that it was looked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from statistics import fmean

from batchfleet_operator.metering.signals import Reading, Signals, Watched

SLOPE_SECONDS = 300.0
SLOPE_LEAST_SECONDS = 240.0
"""A trend over less is mostly noise: at 12 requests/s, 0.003 requests/s² of it."""
SLOPE_LEAST_POINTS = 4
LEAST_TICKS = 3
"""Are kept in any case: of one that failed nobody makes much."""


class History:
    """One service since ``since``."""

    def __init__(self, since: datetime) -> None:
        self.since = since
        self._signals: deque[Signals] = deque()
        self._readings: dict[str, deque[Reading]] = {}

    def see(self, signals: Signals, keep_seconds: float) -> None:
        """Take up one tick's signals; the slope of the offered rate is added here."""
        recent = [
            ((each.at - signals.at).total_seconds(), each.offered_per_second)
            for each in (*self._signals, signals)
            if (signals.at - each.at).total_seconds() <= SLOPE_SECONDS
        ]
        rise = None if signals.offered_per_second is None else slope(recent)
        self._signals.append(replace(signals, offered_slope=rise))
        _drop(self._signals, signals.at, keep_seconds)

    def read(self, readings: Mapping[str, Reading], keep_seconds: Mapping[str, float]) -> None:
        """Take up one tick's readings by rule; rules that are not among them are forgotten."""
        for gone in self._readings.keys() - readings.keys():
            del self._readings[gone]
        for name, reading in readings.items():
            kept = self._readings.setdefault(name, deque())
            kept.append(_shared(reading, kept[-1]) if kept else reading)
            _drop(kept, reading.at, keep_seconds[name])

    def forget(self, rules: Sequence[str]) -> None:
        """These rules are others than before under the same names."""
        for name in rules:
            self._readings.pop(name, None)

    @property
    def watched(self) -> Watched:
        return Watched(
            self.since,
            tuple(self._signals),
            {name: tuple(readings) for name, readings in self._readings.items()},
        )


def slope(points: Sequence[tuple[float, float | None]]) -> float | None:
    """Least-squares slope of (seconds, number), unknown numbers left out; ``None``: too few, or
    over too short a time."""
    known = [(x, y) for x, y in points if y is not None]
    if len(known) < SLOPE_LEAST_POINTS or known[-1][0] - known[0][0] < SLOPE_LEAST_SECONDS:
        return None
    mean_x, mean_y = fmean(x for x, _ in known), fmean(y for _, y in known)
    square = sum((x - mean_x) ** 2 for x, _ in known)
    return sum((x - mean_x) * (y - mean_y) for x, y in known) / square


def _shared(reading: Reading, before: Reading) -> Reading:
    """The same; what single pods say is kept once for as long as they say the same.

    Of a healthy fleet that is most of what is remembered: no errors and no stall, pod by pod.
    """
    by_pod, samples = reading.by_pod, reading.samples_by_pod
    same = by_pod == before.by_pod, samples == before.samples_by_pod
    if not any(same):
        return reading
    return replace(
        reading,
        by_pod=before.by_pod if same[0] else by_pod,
        samples_by_pod=before.samples_by_pod if same[1] else samples,
    )


def _drop(kept: deque[Signals] | deque[Reading], now: datetime, seconds: float) -> None:
    oldest = now - timedelta(seconds=seconds)
    while len(kept) > LEAST_TICKS and kept[0].at < oldest:
        kept.popleft()
