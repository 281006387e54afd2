"""Requests with their arrival times: what a run replays.  Readers of files and makers of synthetic
ones produce it; ``fleet`` consumes it."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class TraceError(Exception):
    """A trace that cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Trace:
    """``arrivals`` in seconds from the start, ascending; token counts of the same requests."""

    name: str
    seconds: float
    arrivals: list[float]
    prompts: list[int]
    outputs: list[int]

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def mean_rate(self) -> float:
        """Requests per second."""
        return len(self) / self.seconds

    def between(self, begin: float, end: float) -> range:
        """Indices of the requests that arrive in [begin, end)."""
        return range(bisect_left(self.arrivals, begin), bisect_left(self.arrivals, end))

    def cut(self, seconds: float) -> Trace:
        """Its beginning."""
        if seconds >= self.seconds:
            return self
        n = len(self.between(0, seconds))
        return Trace(self.name, seconds, self.arrivals[:n], self.prompts[:n], self.outputs[:n])


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long requests are: pairs of prompt and output tokens, drawn together."""

    pairs: Sequence[tuple[int, int]]

    def draw(self, rng: random.Random) -> tuple[int, int]:
        return self.pairs[int(rng.random() * len(self.pairs))]


def log_normal(
    rng: random.Random,
    prompt_median: float = 1000,
    prompt_sigma: float = 0.8,
    output_median: float = 130,
    output_sigma: float = 1.0,
    most: int = 16_000,
    count: int = 5000,
) -> Lengths:
    """Lengths for a trace that has none: the defaults are near Azure's conversations of 2023
    (median 1,020 and 129 tokens; means 1,155 and 211)."""

    def one(median: float, sigma: float) -> int:
        return min(max(round(rng.lognormvariate(math.log(median), sigma)), 1), most)

    return Lengths(
        [(one(prompt_median, prompt_sigma), one(output_median, output_sigma)) for _ in range(count)]
    )


def of_requests(
    name: str, seconds: float, rows: Iterable[tuple[float, int, int]], start: float = 0.0
) -> Trace:
    """Rows of (arrival, prompt, output), in any order; ``start``: the moment that becomes 0, what
    comes before it follows at the end, as if the trace went round."""
    ordered = sorted(((at - start) % seconds, prompt, output) for at, prompt, output in rows)
    return Trace(
        name,
        seconds,
        [row[0] for row in ordered],
        [max(row[1], 1) for row in ordered],
        [max(row[2], 1) for row in ordered],
    )


def with_lengths(
    name: str, seconds: float, arrivals: Iterable[float], lengths: Lengths, rng: random.Random
) -> Trace:
    """Arrivals of a trace that has no lengths."""
    ordered = sorted(arrivals)
    pairs = [lengths.draw(rng) for _ in ordered]
    return Trace(
        name,
        seconds,
        ordered,
        [pair[0] for pair in pairs],
        [pair[1] for pair in pairs],
    )
