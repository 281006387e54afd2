"""All who wait, and which of them may take the slots that are free.

``Admission`` keeps one; it holds a line for interactive and one for batch traffic, and those whose
model is at its own ceiling.  It knows nothing of time-outs, sending or the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from batchfleet_worker.exchange import Request
from batchfleet_worker.fairness import Accounts
from batchfleet_worker.flight import Flight
from batchfleet_worker.limit import Slots
from batchfleet_worker.live import ModelLimit
from batchfleet_worker.models import Models
from batchfleet_worker.queue import Line

BATCH_EVERY_SECONDS = 10.0
"""While interactive traffic leaves no slot, one batch call goes in so many seconds, if it is small:
nobody starves, and it costs interactive traffic a slot now and then."""

SMALL_SHARE = 1 / 8  # of the limit: a batch call up to which that is done


class Order:
    """``slots`` may change at any time."""

    __slots__ = ("_accounts", "_batch", "_batch_sent_at", "_interactive", "models", "slots")

    def __init__(self) -> None:
        self.slots = Slots()
        self._accounts = Accounts()
        self._interactive: Line[Flight] = Line(self._accounts)
        self._batch: Line[Flight] = Line(self._accounts)
        self._batch_sent_at = -math.inf
        self.models = Models((), self._accounts)

    @property
    def weight(self) -> int:
        """Slots that those in line would take."""
        return self._interactive.weight + self._batch.weight

    @property
    def batch(self) -> int:
        return len(self._batch)

    def push(self, flight: Flight, now: float) -> None:
        """``enqueued_at`` may be past: one that comes back keeps its place."""
        (self._interactive if flight.priority >= 0 else self._batch).push(flight, now)

    def remove(self, flight: Flight) -> None:
        self._line_of(flight).remove(flight)

    def limit_models(self, limits: Iterable[ModelLimit], now: float) -> None:
        parked = list(self.models.parked())
        self.models = self.models.changed(limits, self._accounts)
        for flight in parked:
            self.push(flight, now)

    def take(self, now: float, in_flight: int) -> Flight | None:
        """The next to go, taken out; None: nobody, or the next does not fit."""
        while (flight := self._next(now, in_flight)) is not None:
            line = self._line_of(flight)
            if not self.models.fits(flight.request.model, flight.weight):
                line.remove(flight)
                self.models.park(flight, now)
                continue
            line.take(flight, now)
            if line is self._batch:
                self._batch_sent_at = now
            self.models.sent(flight)
            return flight
        return None

    def over(self, flight: Flight, now: float) -> None:
        """A call ended while others wait."""
        for freed in self.models.over(flight):
            self.push(freed, now)
        prompt_tokens, completion_tokens = flight.tokens
        if prompt_tokens or completion_tokens:
            weight = flight.weight
            self._accounts.served(flight.tenant, weight, prompt_tokens, completion_tokens)

    def oldest_at(self) -> float:
        """When the longest waiting came; ValueError when nobody is in line."""
        return min(line.oldest_at() for line in (self._interactive, self._batch) if line)

    def last_batch(self) -> Flight | None:
        """The batch call that came last."""
        return self._batch.newest() if self._batch else None

    def would_wait(self, request: Request, in_flight: int) -> bool:
        if not self.models.fits(request.model, request.weight):
            return True
        if self._interactive or (request.priority < 0 and self._batch):
            return True
        return not fits(in_flight, request.weight, self.slots.up_to(request.priority))

    def ahead(self, request: Request) -> int:
        """Slots that are taken before this request's, its own included, as far as can be told."""
        priority, tenant = request.priority, request.head.caller.tenant
        if priority >= 0:
            return self._interactive.ahead(priority, tenant, request.weight)
        return self._interactive.weight + self._batch.ahead(priority, tenant, request.weight)

    # --- inside ----------------------------------------------------------------------------

    def _line_of(self, flight: Flight) -> Line[Flight]:
        """Where it waits, whatever its priority is by now."""
        for line in (self._interactive, self._batch):
            if flight in line:
                return line
        return self.models.line_of(flight)

    def _next(self, now: float, in_flight: int) -> Flight | None:
        """Whose turn it is, if it fits.  One that does not keeps the slots that fall free for
        itself: else the light ones behind it would take each as it comes."""
        slots, interactive = self.slots, self._interactive
        room = slots.batch
        flight = None
        if self._batch:
            flight = self._batch.head()
            if interactive:
                since = max(self._batch_sent_at, flight.enqueued_at)
                small = flight.weight <= max(1, slots.limit * SMALL_SHARE)
                room = slots.ordinary
                if not small or now - since < BATCH_EVERY_SECONDS:
                    flight = None
        if flight is None and interactive:
            flight = interactive.head()
            # One that waited past a higher priority takes a slot from that one, reserved or not.
            room = slots.up_to(interactive.top())
        if flight is None or not fits(in_flight, flight.weight, room):
            return None
        return flight


def fits(in_flight: int, weight: int, room: float) -> bool:
    """One that is heavier than all the slots goes when it is alone."""
    return in_flight + weight <= room or not in_flight
