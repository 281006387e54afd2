"""What is made of the times and counts that were measured.  Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Outcome:
    """One list of requests, sent to its end by a fixed number of clients."""

    seconds: float  # from the first request to the end of the last answer
    ttft_seconds: tuple[float, ...]  # from the request to the first byte of the answer's body
    results: dict[str, int]  # by x-batchfleet-result; "" where there is none
    failures: int  # answers that were no 200 or not whole

    @property
    def requests(self) -> int:
        return len(self.ttft_seconds) + self.failures

    @property
    def per_second(self) -> float:
        return len(self.ttft_seconds) / self.seconds

    @property
    def merged_share(self) -> float:
        merged = self.results.get("joined", 0) + self.results.get("cached", 0)
        return merged / self.requests if self.requests else 0.0


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest-rank percentile: a value that was measured.  None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ratio(direct: Sequence[Outcome], ours: Sequence[Outcome]) -> float | None:
    """How many times as fast the same list was done: the median over the rounds.

    Times of one round are compared with each other only.  None where a request failed: a list that
    was not answered whole was not done faster.
    """
    if not direct or len(direct) != len(ours):
        return None
    if any(outcome.failures for outcome in (*direct, *ours)):
        return None
    return median(slow.seconds / fast.seconds for slow, fast in zip(direct, ours, strict=True))


def merged_at_most(asked: Sequence[int], pods: int) -> float:
    """The share that could merge, each request going to one of ``pods`` at random.

    A prompt asked m times reaches n(1 - (1 - 1/n)^m) pods on average, and each computes it once.
    """
    computed = sum(pods * (1 - (1 - 1 / pods) ** times) for times in Counter(asked).values())
    return 1 - computed / len(asked)
