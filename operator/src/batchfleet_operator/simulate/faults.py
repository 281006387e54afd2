"""What goes wrong in a run, and when.  Read by ``fleet`` (pods) and ``meter`` (metrics)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from batchfleet_operator.simulate.trace import TraceError

Kind = Literal[
    "metrics-gone",  # the series are no longer there
    "metrics-stale",  # nothing is scraped any more; the last samples get old
    "metrics-nan",  # every number is NaN
    "prometheus-down",  # no answer
    "pods-crash",  # every start fails with probability 0.5, and is tried again with back-off
    "quota",  # no more than `amount` pods are let in (default: as many as there are)
    "slow-engine",  # every step and prefill takes `amount` times as long (default: 2)
]
METRICS: frozenset[Kind] = frozenset(
    ("metrics-gone", "metrics-stale", "metrics-nan", "prometheus-down")
)
CRASH_SHARE = 0.5
SLOWDOWN = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Of ``kind`` in [begin, end), seconds of the run."""

    kind: Kind
    begin: float
    end: float
    amount: float | None = None

    def holds(self, now: float) -> bool:
        return self.begin <= now < self.end


def at(faults: Sequence[Fault], now: float, *kinds: Kind) -> Fault | None:
    """The first of these kinds that holds now."""
    return next((each for each in faults if each.kind in kinds and each.holds(now)), None)


def parse(text: str) -> Fault:
    """``KIND:BEGIN:SECONDS[:AMOUNT]``, as given on the command line; raises TraceError."""
    parts = text.split(":")
    kinds = get_args(Kind)
    try:
        if parts[0] not in kinds or not 3 <= len(parts) <= 4:
            raise ValueError
        if not all(math.isfinite(float(part)) for part in parts[1:]):
            raise ValueError
        begin, seconds = float(parts[1]), float(parts[2])
        amount = float(parts[3]) if len(parts) == 4 else None
    except ValueError:
        raise TraceError(
            f"--fault {text}: give KIND:BEGIN:SECONDS or KIND:BEGIN:SECONDS:AMOUNT, for example "
            f"metrics-gone:3600:300. Kinds: {', '.join(kinds)}."
        ) from None
    return Fault(parts[0], begin, begin + seconds, amount)  # type: ignore[arg-type]
