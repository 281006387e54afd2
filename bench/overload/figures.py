"""From single requests to the figures of an arm: attainment, goodput, recovery.  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

WINDOW_SECONDS = 0.5
RECOVERED_SHARE = 0.95  # of a window's arrivals; a single slow one is no relapse


class Kind(StrEnum):
    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Target:
    """Seconds to the first token, and between tokens in the mean of one answer."""

    first_token_seconds: float
    inter_token_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; seconds on the run's clock.  No times of tokens: it was not answered."""

    kind: Kind
    arrived: float
    ended: float
    status: int  # 0: no answer by the end of the run
    first_token_seconds: float | None = None
    inter_token_seconds: float | None = None

    def met(self, targets: dict[Kind, Target]) -> bool:
        target = targets[self.kind]
        first, gap = self.first_token_seconds, self.inter_token_seconds
        if first is None or gap is None:
            return False
        return first <= target.first_token_seconds and gap <= target.inter_token_seconds


def within(samples: Iterable[Sample], begin: float, end: float) -> list[Sample]:
    """Those that arrived in that time."""
    return [sample for sample in samples if begin <= sample.arrived < end]


def goodput(
    samples: Iterable[Sample], targets: dict[Kind, Target], begin: float, end: float
) -> float:
    """Requests per second that were finished in that time and met their targets."""
    good = sum(1 for s in samples if begin <= s.ended < end and s.met(targets))
    return good / (end - begin)


def first_token_quantile(samples: Iterable[Sample], share: float) -> float:
    """Seconds; whoever got no token waited for ever."""
    waits = sorted(
        math.inf if s.first_token_seconds is None else s.first_token_seconds for s in samples
    )
    if not waits:
        return math.inf
    return waits[min(len(waits) - 1, math.ceil(share * len(waits)) - 1)]


def recovery(
    samples: Sequence[Sample], targets: dict[Kind, Target], fell: float, end: float
) -> float:
    """Seconds from the load's fall until arrivals meet their targets, and go on doing so.

    Looked at in windows of half a second; infinite when the last full one is still bad.
    """
    windows = int((end - fell) / WINDOW_SECONDS)
    recovered = 0.0
    for number in range(windows):
        begin = fell + number * WINDOW_SECONDS
        came = within(samples, begin, begin + WINDOW_SECONDS)
        if sum(sample.met(targets) for sample in came) < RECOVERED_SHARE * len(came):
            recovered = (number + 1) * WINDOW_SECONDS
    return recovered if recovered < windows * WINDOW_SECONDS else math.inf
