"""What the ends of engine calls say about the engine: may calls be sent, did it turn some away?

``Admission`` tells of the ends that were not plain successes (of all, while ``alert``), asks
whether anything may be sent, and hands the number of calls turned away to the adaptive limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from batchfleet_worker.adaptive import Signals
from batchfleet_worker.breaker import Breaker, State
from batchfleet_worker.exchange import Lost
from batchfleet_worker.flight import Flight
from batchfleet_worker.metrics import Metrics

BUSY_SECONDS = 5.0
"""For how long the engine's word that it works on something is believed."""

_TRY_SECONDS = 1.0  # Retry-After while one call is under way to try the engine


class Verdicts:
    """``alert``: tell of every flight's end, something is amiss."""

    def __init__(self, metrics: Metrics, random: Callable[[], float]) -> None:
        self.alert = False
        self.timeout_seconds = math.inf
        self._metrics = metrics
        self._breaker = Breaker(random)
        self._lost: tuple[Flight, Lost] | None = None
        self._trial: Flight | None = None
        self._turned_away = 0
        self._busy_until = -math.inf

    @property
    def closed(self) -> bool:
        return self._breaker.state is State.CLOSED

    def shut_seconds(self, now: float) -> float | None:
        """How long nobody new is let in; None: come."""
        breaker = self._breaker
        if breaker.state is State.OPEN and now < breaker.until:
            return breaker.until - now
        return _TRY_SECONDS if breaker.state is State.TRYING else None

    def held_until(self, now: float) -> float | None:
        """Until when those who wait stay; inf: until the one call that was let through is over."""
        breaker = self._breaker
        if breaker.state is State.OPEN:
            return breaker.until
        return math.inf if breaker.state is State.TRYING else None

    def sent(self, flight: Flight, now: float) -> None:
        if self._breaker.may_try(now):
            self._trial = flight
            self._publish()

    def lost(self, flight: Flight, why: Lost) -> None:
        """Before it is over.  A pooled connection that closed unanswered says
        nothing: it is tried again, or its engine went, which the next call finds out."""
        if why is not Lost.UNANSWERED:
            self._lost = flight, why
            self.alert = True

    def over(self, flight: Flight, now: float) -> bool:
        """Whether the circuit opened or closed."""
        lost, self._lost = self._lost, None
        why = lost[1] if lost is not None and lost[0] is flight else None
        head = flight.head_received
        status = None if head is None else head.status
        was = self._breaker.state
        if why is Lost.REFUSED:
            self._breaker.failed(id(flight), now)  # nothing was sent: no request is to blame
        elif why is Lost.BROKEN or (status == 503 and now >= self._busy_until):
            request = flight.request
            self._breaker.failed(hash((request.head.target, request.body)), now)
        elif status is not None:
            self._breaker.answered()
        elif flight is self._trial:
            self._breaker.gave_up(now)
        if status in (429, 503) or (status is None and self._timed_out(flight)):
            self._turned_away += 1
        if flight is self._trial:
            self._trial = None
        self._publish()
        return self._breaker.state is not was

    def tick(self, now: float, signals: Signals) -> int:
        """How many calls the engine turned away since the last time."""
        if signals.running:
            self._busy_until = now + BUSY_SECONDS
        count, self._turned_away = self._turned_away, 0
        return count

    def engine_back(self) -> None:
        self._breaker.came_back()
        self._trial = None
        self._publish()

    def _timed_out(self, flight: Flight) -> bool:
        return flight.service_seconds >= 0.99 * self.timeout_seconds

    def _publish(self) -> None:
        breaker = self._breaker
        self.alert = breaker.state is not State.CLOSED or breaker.counting
        self._metrics.circuit_open = int(breaker.state is not State.CLOSED)
        self._metrics.circuit_opened_total = breaker.opened
