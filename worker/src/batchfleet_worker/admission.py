"""Who goes to the engine, and when: rates, order, slots and, if asked for, the filling of batches.

``Pipeline`` asks ``refusal`` of every request, ``shed`` of one that nobody answers yet, pushes its
flight here and says when that is over; ``send`` is called for those whose turn it is.  Where a slot
is free and nobody waits that is at once, and nothing but a few numbers is touched.

    refusal ── shed ── push ──slot free, nobody waits───────────► send
                        └──► interactive line ──┐                  ▲
                        └──► batch line ────────┴─ slot falls free ┘
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from batchfleet_worker.adaptive import NOTHING, AdaptiveLimit, Signals
from batchfleet_worker.deadlines import Deadlines
from batchfleet_worker.errors import (
    CIRCUIT_OPEN,
    DEADLINE_UNREACHABLE,
    QUEUE_FULL,
    QUEUE_TIMEOUT,
    RATE_LIMITED,
    later,
)
from batchfleet_worker.exchange import Clock, Lost, Refusal, Request, Timer
from batchfleet_worker.flight import Flight
from batchfleet_worker.limit import Slots
from batchfleet_worker.live import BatchingSettings, Mode, RequestsSettings
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.order import Order
from batchfleet_worker.rates import Rates
from batchfleet_worker.shed import ServiceTime, retry_after
from batchfleet_worker.verdicts import Verdicts
from batchfleet_worker.vitals import StreamGaps

_SHUT: Final = -1.0  # nothing fits: everybody takes the long way


class Admission:
    """Keeps the metrics of queue and limit current.  Iterating gives the flights that wait, in
    order of arrival."""

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        send: Callable[[Flight], None],
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """``random``: in [0, 1), for the times after which a failing engine is tried again."""
        self._clock = clock
        self._metrics = metrics
        self._send = send
        self.in_flight = 0  # slots in use
        self._limit: int | None = None
        self._reserved_percent = 0
        self._open = self._open_batch = math.inf  # up to where a call is sent without a look
        self._order = Order()
        self._waits: Deadlines[Flight] = Deadlines(clock, math.inf, _wait_over)
        self._bound = 0
        self._max_wait_seconds = 0.0
        self._timer: Timer | None = None  # for a batch that fills, or a circuit that is open
        self._timer_due = math.inf
        self._deadline_seconds = self._timeout_seconds = math.inf
        self._service = ServiceTime()
        self._rates = Rates()
        self._adaptive: AdaptiveLimit | None = None
        self._gaps = StreamGaps(metrics.inter_token_seconds)
        self._verdicts = Verdicts(metrics, random)

    @property
    def queued(self) -> int:
        return len(self._waits)

    @property
    def ceiling(self) -> int | None:
        """The limit that holds now."""
        return self._limit

    @property
    def watched(self) -> bool:
        """Whether signals of the engine are wanted more often than for its life."""
        return self._adaptive is not None and self.in_flight > 0

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._waits)

    def apply(self, batching: BatchingSettings, requests: RequestsSettings | None = None) -> None:
        """A raised limit sends at once; lowered ones refuse nobody who is already in."""
        requests = requests or RequestsSettings()
        most = batching.max_batch_size
        target_seconds = batching.target_inter_token_milliseconds / 1000
        if batching.mode is Mode.FIXED:
            self._adaptive = None
        elif self._adaptive is None:
            self._adaptive = AdaptiveLimit(target_seconds, most)
        else:
            self._adaptive.change(target_seconds, most)
        self._reserved_percent = requests.reserved_slots_percent
        self._bound = batching.max_queue_length
        queue_timeout = requests.queue_timeout_seconds or math.inf
        self._deadline_seconds = min(queue_timeout, requests.timeout_seconds)
        self._timeout_seconds = float(requests.timeout_seconds)
        self._verdicts.timeout_seconds = self._timeout_seconds
        self._waits.change(queue_timeout)
        self._rates.apply(requests.rate_limits)
        self._order.limit_models(batching.model_limits, self._clock.time())
        self._max_wait_seconds = batching.max_wait_milliseconds / 1000
        self._depart_at(math.inf)
        self._set_limit(most if self._adaptive is None else self._adaptive.limit)

    # --- before a request is let in ----------------------------------------------------------

    def refusal(self, request: Request, now: float) -> Refusal | None:
        """Whether its caller's rate allows one more; asked of every request, joiners included."""
        if not self._rates.limited:
            return None
        seconds = self._rates.ask(request.head.caller.tenant, now)
        return later(RATE_LIMITED, seconds) if seconds else None

    def shed(self, request: Request, now: float) -> Refusal | None:
        """Whether a new flight would have to wait, and for that there is no place or no time."""
        priority = request.priority
        room = self._open if priority >= 0 else self._open_batch
        if self.in_flight + request.weight <= room:
            return None
        shut_seconds = self._verdicts.shut_seconds(now)
        if shut_seconds is not None:
            return later(CIRCUIT_OPEN, max(1, math.ceil(shut_seconds)))
        if not self._max_wait_seconds and not self._order.would_wait(request, self.in_flight):
            return None
        wait_seconds = self._wait_seconds(request)
        if len(self._waits) >= self._bound:
            full = later(QUEUE_FULL, retry_after(wait_seconds))
            displaced = None if priority < 0 else self._order.last_batch()
            if displaced is None:
                return full
            displaced.refuse_all(full)  # batch traffic gives way
        own_seconds = request.head.timeout_seconds or math.inf
        deadline_seconds = min(self._deadline_seconds, own_seconds)
        if wait_seconds is None or wait_seconds <= deadline_seconds:
            return None
        return later(DEADLINE_UNREACHABLE, retry_after(wait_seconds, deadline_seconds))

    # --- flights -----------------------------------------------------------------------------

    def push(self, flight: Flight, now: float | None = None) -> None:
        """Without a look at ``shed``: whoever was admitted once is not refused later."""
        if now is None:
            now = self._clock.time()
        in_flight = self.in_flight + flight.weight
        if in_flight <= (self._open if flight.priority >= 0 else self._open_batch):
            self.in_flight = self._metrics.in_flight = in_flight
            flight.sent_at = now
            self._send(flight)
            return
        flight.enqueued_at = now
        self._order.push(flight, now)
        self._waits.add(flight, now)
        self._release()

    def over(self, flight: Flight) -> None:
        """A flight's slots, or its place in the queue, are free."""
        if flight.sent_at is None:
            self._order.remove(flight)
            self._waits.discard(flight)
            self._release()
            return
        self.in_flight = self._metrics.in_flight = self.in_flight - flight.weight
        seconds = flight.service_seconds
        if seconds <= self._timeout_seconds:  # a tunnel may be open for days
            service = self._service
            service.answers += 1
            service.seconds += seconds
        head = flight.head_received
        turned = False
        if head is None or head.status >= 429 or self._verdicts.alert:
            turned = self._verdicts.over(flight, self._clock.time())
        if self._open < 0:
            self._order.over(flight, self._clock.time())
            self._release()
        elif turned:
            self._release()

    def raised(self, flight: Flight) -> None:
        """Its priority rose while it waited: it keeps its time of arrival."""
        if flight.sent_at is None:
            self._order.remove(flight)
            self._order.push(flight, self._clock.time())
            self._release()

    def failed(self, flight: Flight, why: Lost) -> None:
        """Its engine call was lost: the flight is over next, or sent again."""
        self._verdicts.lost(flight, why)

    def served(self, tenant: str, prompt_tokens: int, completion_tokens: int) -> None:
        """What an answer cost, as the engine counts it: paid for by who asked."""
        if self._rates.limited:
            self._rates.pay(tenant, prompt_tokens + completion_tokens, self._clock.time())

    # --- the engine, as the prober sees it -----------------------------------------------------

    def tick(self, now: float, signals: Signals = NOTHING) -> None:
        """Every half second while ``watched``, else when there is news."""
        turned_away = self._verdicts.tick(now, signals)
        adaptive = self._adaptive
        if adaptive is None:
            return
        cause = adaptive.step(self._gaps.fill(signals), self.in_flight, turned_away)
        if cause is not None:
            self._metrics.limit_cuts_total[cause] += 1
        if adaptive.limit != self._limit:
            self._set_limit(adaptive.limit)

    def engine_back(self) -> None:
        """Another engine process answers: nothing learnt of the last one holds."""
        self._verdicts.engine_back()
        if self._adaptive is not None:
            self._adaptive.forget()
            self._limit = self._adaptive.limit
        self._set_limit(self._limit)

    # --- inside ----------------------------------------------------------------------------

    def _set_limit(self, limit: int | None) -> None:
        self._limit = limit
        slots = self._order.slots = Slots.of(limit, self._reserved_percent)
        self._metrics.in_flight_limit = slots.limit
        self._metrics.reserved_slots = 0 if limit is None else limit - int(slots.ordinary)
        self._release()

    def _wait_seconds(self, request: Request) -> float | None:
        """By Little's law; None: nothing is known yet, or a limit that is still climbing."""
        if self._limit is None or (self._adaptive is not None and self._adaptive.climbing):
            return None
        slots = self._order.slots.up_to(request.priority)
        return self._service.wait_seconds(self._order.ahead(request), slots)

    def _release(self) -> None:
        """Sends what may go now, or winds the timer for when it may."""
        order, verdicts = self._order, self._verdicts
        most = order.slots.limit
        if self._waits and self.in_flight < most and not self._held(now := self._clock.time()):
            while self.in_flight < most:
                flight = order.take(now, self.in_flight)
                if flight is None:
                    break
                self._waits.discard(flight)
                verdicts.sent(flight, now)
                self.in_flight += flight.weight
                flight.sent_at = now
                self._send(flight)
                if not verdicts.closed:
                    break  # one call tries the engine
        metrics = self._metrics
        metrics.in_flight = self.in_flight
        metrics.queued = len(self._waits)
        metrics.queued_batch = order.batch
        looked_at = self._waits or self._max_wait_seconds or order.models or not verdicts.closed
        self._open = _SHUT if looked_at else order.slots.ordinary
        self._open_batch = _SHUT if looked_at else order.slots.batch

    def _held(self, now: float) -> bool:
        """Whether nobody may go yet: the engine is left alone, or a batch still fills."""
        due = self._verdicts.held_until(now)
        fills = self._max_wait_seconds > 0 and len(self._waits) < self._bound
        if due is None and fills:
            order = self._order
            if 0 < order.weight < order.slots.limit - self.in_flight:
                due = order.oldest_at() + self._max_wait_seconds
        if due is None or due <= now:
            return False
        if due < self._timer_due:
            self._depart_at(due)
        return True

    def _depart_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = None if due == math.inf else self._clock.call_at(due, self._depart)

    def _depart(self) -> None:
        self._timer, self._timer_due = None, math.inf
        self._release()


def _wait_over(flight: Flight) -> None:
    flight.refuse_all(QUEUE_TIMEOUT)
