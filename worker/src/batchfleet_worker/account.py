"""What became of the requests that met a drain: one line of the books for each."""

from __future__ import annotations

from dataclasses import dataclass

from batchfleet_worker.errors import DRAINING
from batchfleet_worker.exchange import Refusal
from batchfleet_worker.flight import Flight
from batchfleet_worker.metrics import Metrics


@dataclass(frozen=True, slots=True)
class DrainAccount:
    """Since the start of the process."""

    drained: int  # answered to the end
    handed_back: int  # refused before any work was done: another replica can take them
    aborted: int  # got an error instead of the rest of their answer


def book(metrics: Metrics, flight: Flight, refusal: Refusal | None) -> None:
    """A client is done with its flight: ``refusal`` None: it has its whole answer."""
    if not flight.takes_slot:
        return
    if refusal is None:
        outcome = "drained"
    elif refusal is DRAINING and flight.sent_at is None:
        outcome = "handed_back"
    else:
        outcome = "aborted"
    metrics.drain_requests_total[outcome] += 1
