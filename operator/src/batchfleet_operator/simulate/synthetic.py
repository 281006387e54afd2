"""Traces for those who have none: shapes of load that every autoscaler should be shown."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

from batchfleet_operator.complaint import meant
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.trace import Lengths, Trace, TraceError, log_normal, with_lengths

PREFIX = "synthetic:"
MEAN_RATE = 8.0
HOURS = 3
SECONDS = HOURS * 3600.0


def _flat(_: float) -> float:
    return 1.0


def _burst(at: float) -> float:
    """Three times as much for ten minutes, from one second to the next, and again."""
    return 3.0 if 3600 <= at < 4200 or 7800 <= at < 8400 else 1.0


def _ramp(at: float) -> float:
    """Slowly up to four times as much, and slowly down."""
    return 1.0 + 3.0 * max(0.0, 1 - abs(at - SECONDS / 2) / (SECONDS / 3))


def _day(at: float) -> float:
    """A day in three hours."""
    return 1.0 - 0.8 * math.cos(2 * math.pi * at / SECONDS)


def _steps(at: float) -> float:
    """A new level every half hour."""
    return (1.0, 2.0, 1.0, 3.0, 0.5, 1.5)[int(at // 1800) % 6]


SHAPES: dict[str, Callable[[float], float]] = {
    "burst": _burst,
    "day": _day,
    "flat": _flat,
    "ramp": _ramp,
    "steps": _steps,
}


def make(spec: str, wanted: Wanted, lengths: Lengths | None = None) -> Trace:
    """``synthetic:NAME``: three hours of Poisson arrivals of that shape; raises TraceError."""
    name = spec.removeprefix(PREFIX)
    if name not in SHAPES:
        near = meant(name, sorted(SHAPES)) or "."
        raise TraceError(f"{spec}: not known{near} Synthetic traces: {', '.join(sorted(SHAPES))}.")
    shape = SHAPES[name]
    rng = random.Random(wanted.seed)  # noqa: S311
    mean = sum(shape(at + 0.5) for at in range(int(SECONDS))) / SECONDS
    scale = (wanted.mean_rate or MEAN_RATE) / mean
    arrivals = _thinned(lambda at: scale * shape((at + wanted.start) % SECONDS), 4 * scale, rng)
    trace = with_lengths(spec, SECONDS, arrivals, lengths or log_normal(rng), rng)
    return trace if wanted.hours is None else trace.cut(3600 * wanted.hours)


def _thinned(rate: Callable[[float], float], most: float, rng: random.Random) -> Iterator[float]:
    at = 0.0
    while True:
        at += rng.expovariate(most)
        if at >= SECONDS:
            return
        if rng.random() * most < rate(at):
            yield at
