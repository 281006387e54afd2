"""What every policy gets to see and has to answer: ``run`` calls ``look`` in its rhythm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter


@dataclass(frozen=True, slots=True)
class Bounds:
    """The same for every policy."""

    low: int = 1
    high: int = 40

    def clamp(self, replicas: int) -> int:
        return min(max(replicas, self.low), self.high)


class Policy(Protocol):
    """A size from what is known now; it may remember what it likes.

    A policy reads ``meter`` for what Prometheus says.  Of ``fleet`` it may read what Kubernetes'
    API tells (asked, ready, starting), never the ledger.
    """

    @property
    def tick_seconds(self) -> float: ...

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int: ...
