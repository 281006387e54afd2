"""The sidecar's brain: key → flight → admission → send.

    offer ──► join an equal flight, or a new one ──► queue ──slot free──► send ──► engine
                        ▲                                                   │
    sinks ◄─────────────┴────────── head/data/end/lost ◄────────────────────┘

Synchronous and without I/O: clock and ``send`` are arguments, everything is a callback on one event
loop, and nothing here makes a task, a future or a timer per request.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from batchfleet_worker.admission import Admission
from batchfleet_worker.deadlines import Deadlines
from batchfleet_worker.errors import DRAINING, ENGINE_BROKEN, QUEUE_FULL, TIMEOUT
from batchfleet_worker.exchange import (
    Clock,
    Lost,
    Refusal,
    Request,
    Result,
    Route,
    Send,
    Sink,
    Ticket,
)
from batchfleet_worker.flight import Flight
from batchfleet_worker.key import NotMerged
from batchfleet_worker.live import LiveSettings, Merging
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.subscriber import Subscriber

RESEND_WITHIN_SECONDS = 1.0
"""A kept-alive connection that the engine closed at the same instant shows at once.  One that
closes unanswered later had an engine die over the request, which is then not sent again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one flight may hold in memory."""

    replay_bytes: int = 256 * 1024  # of an answer, for late joiners
    lag_bytes: int = 1024 * 1024  # undelivered to one client, while others go on


@dataclass(frozen=True, slots=True)
class DrainAccount:
    """What became of the requests that met a drain, since the start of the process."""

    drained: int  # answered to the end
    handed_back: int  # refused before any work was done: another replica can take them
    aborted: int  # got an error instead of the rest of their answer


class Pipeline:
    """``keys`` computes merge keys (``MergeKeys``); ``when_idle`` is called whenever the last
    client is done."""

    def __init__(
        self,
        send: Send,
        clock: Clock,
        metrics: Metrics,
        keys: Callable[[Request], bytes | NotMerged],
        settings: LiveSettings | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        settings = settings or LiveSettings()
        bounds = bounds or Bounds()
        self._send_call = send
        self._clock = clock
        self._metrics = metrics
        self._keys = keys
        self._replay_bytes = bounds.replay_bytes
        self.lag_bytes = bounds.lag_bytes
        self.when_idle: Callable[[], None] | None = None
        self._flights: dict[bytes, Flight] = {}  # those that may be joined
        self._admission = Admission(clock, metrics, self.send)
        self._clients: Deadlines[Subscriber] = Deadlines(clock, math.inf, _time_out)
        self._mode = Merging.DISABLED
        self._epoch = 0
        self._draining = False
        self._accepting = True
        self.apply(settings)

    # --- what the relay asks and tells -------------------------------------------------------

    @property
    def clients(self) -> int:
        """Requests whose answer is not complete; 0: drained."""
        return len(self._clients)

    @property
    def in_flight(self) -> int:
        """Engine calls under way that count against the limit."""
        return self._admission.in_flight

    @property
    def queued(self) -> int:
        """Engine calls that wait for a slot."""
        return self._admission.queued

    @property
    def limit(self) -> int | None:
        return self._admission.ceiling

    @property
    def drain_account(self) -> DrainAccount:
        return DrainAccount(**self._metrics.drain_requests_total)

    def offer(self, request: Request, sink: Sink) -> Ticket:
        """Answers a request, sooner or later; the sink may be called before this returns."""
        now = self._clock.time()
        subscriber = Subscriber(self, sink, now)
        if request.route is Route.PASS:
            return self._pass(subscriber, request)
        metrics = self._metrics
        metrics.requests_offered_total += 1
        if not self._accepting:
            metrics.drain_requests_total["handed_back"] += 1
            return self._turn_away(subscriber, DRAINING)
        key = self._key(request)
        flight = self._flights.get(key) if key is not None else None
        if flight is not None:
            if self._mode is Merging.ENFORCE:
                return self._join(subscriber, flight)
            metrics.requests_would_merge_total += 1
            key = None
        if self._admission.full():
            return self._turn_away(subscriber, QUEUE_FULL)
        metrics.requests_admitted_total += 1
        self._clients.add(subscriber, now)
        flight = Flight(
            self,
            request,
            key,
            replay_bytes=self._replay_bytes,
            keep_log=key is not None and self._mode is Merging.ENFORCE,
        )
        flight.join(subscriber)
        if key is not None:
            self._flights[key] = flight
        self._admission.push(flight)
        return subscriber

    def apply(self, settings: LiveSettings) -> None:
        """Takes effect at once: a raised limit releases queued calls, a new timeout holds for
        those who wait; a lowered limit or queue bound refuses nobody who is already in."""
        if settings.merging.mode is not self._mode:
            self._mode = settings.merging.mode
            # What Observe only counted has no log to replay; a change of mode starts afresh.
            for flight in tuple(self._flights.values()):
                flight.close()
        self._clients.change(settings.requests.timeout_seconds)
        self._admission.apply(settings.batching)

    def engine_restarted(self) -> None:
        """What an earlier engine has seen is never sent to the next: it may have killed it."""
        self._epoch += 1
        for flight in self._admission:
            if flight.second:
                flight.refuse_all(ENGINE_BROKEN)

    # --- drain -----------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Starts the account; goes on accepting while endpoints settle."""
        self._draining = True

    def stop_accepting(self) -> None:
        """From here on arrivals are handed back."""
        self._draining = True
        self._accepting = False

    def end_drain(self) -> None:
        """Back to normal: the engine came back instead of going away."""
        self._draining = False
        self._accepting = True

    def abort_all(self) -> None:
        """Refuses everybody who is left: the drain's time is over, or the engine is gone."""
        # The queue first, or the slots of cancelled calls would send it to the engine.
        for flight in self._admission:
            flight.refuse_all(DRAINING)
        for subscriber in self._clients:
            subscriber.refuse(DRAINING)

    # --- what flights ask and tell (subscriber.Keeper) ----------------------------------------

    def now(self) -> float:
        return self._clock.time()

    def closed(self, flight: Flight) -> None:
        if flight.key is not None:
            del self._flights[flight.key]

    def over(self, flight: Flight) -> None:
        if flight.takes_slot:
            self._admission.over(flight)

    def failed(self, why: Lost) -> None:
        self._metrics.engine_errors_total[why] += 1

    def may_resend(self, flight: Flight) -> bool:
        return (
            flight.epoch == self._epoch
            and flight.sent_at is not None
            and self._clock.time() - flight.sent_at <= RESEND_WITHIN_SECONDS
        )

    def send(self, flight: Flight) -> None:
        if flight.epoch is None and flight.takes_slot:
            now = self._clock.time()
            for offered_at in flight.waits():
                self._metrics.queue_wait_seconds.observe(now - offered_at)
        flight.epoch = self._epoch
        if flight.takes_slot:
            self._metrics.engine_calls_total += 1
        flight.call = self._send_call(flight.request, flight)

    def ask_again(self, flight: Flight, clients: list[Subscriber]) -> None:
        if flight.epoch != self._epoch:
            for client in clients:
                client.refuse(ENGINE_BROKEN)
            return
        again = Flight(self, flight.request, epoch=flight.epoch)
        for client in clients:
            again.join(client)
        self._admission.push(again)

    def answered(self, subscriber: Subscriber, flight: Flight) -> None:
        if flight.takes_slot:
            waited = self._clock.time() - subscriber.offered_at
            self._metrics.time_to_first_byte_seconds.observe(waited)

    def gone(self, subscriber: Subscriber, refusal: Refusal | None, *, left: bool) -> None:
        self._clients.discard(subscriber)
        if left:
            self._metrics.clients_left_total += 1
        elif refusal is not None:
            self._metrics.refuse(refusal.code)
        if self._draining and not left:
            self._account(subscriber.flight, refusal)
        if self.when_idle is not None and not self._clients:
            self.when_idle()

    # --- inside ----------------------------------------------------------------------------

    def _key(self, request: Request) -> bytes | None:
        """None: this request stays alone, and why is counted."""
        if request.route is not Route.MERGE:
            key: bytes | NotMerged = NotMerged.ROUTE
        elif self._mode is Merging.DISABLED:
            key = NotMerged.DISABLED
        else:
            try:
                key = self._keys(request)
            except Exception:  # noqa: BLE001 - merging is an extra: its fault must not cost an answer
                self._metrics.fallthrough_total += 1
                return None
        if isinstance(key, NotMerged):
            self._metrics.requests_not_merged_total[key] += 1
            return None
        return key

    def _pass(self, subscriber: Subscriber, request: Request) -> Ticket:
        """A cheap read: no slot, no queue, not counted as work."""
        if not self._accepting:
            return self._turn_away(subscriber, DRAINING)
        self._clients.add(subscriber, subscriber.offered_at)
        flight = Flight(self, request)
        flight.join(subscriber)
        flight.sent_at = subscriber.offered_at
        self.send(flight)
        return subscriber

    def _join(self, subscriber: Subscriber, flight: Flight) -> Ticket:
        self._metrics.requests_admitted_total += 1
        self._metrics.requests_merged_total += 1
        self._clients.add(subscriber, subscriber.offered_at)
        subscriber.result = Result.JOINED
        if flight.sent_at is not None:
            self._metrics.queue_wait_seconds.observe(0.0)
        flight.join(subscriber)
        return subscriber

    def _turn_away(self, subscriber: Subscriber, refusal: Refusal) -> Ticket:
        subscriber.over = True
        self._metrics.refuse(refusal.code)
        subscriber.sink.refuse(refusal)
        return subscriber

    def _account(self, flight: Flight | None, refusal: Refusal | None) -> None:
        if flight is None or not flight.takes_slot:
            return
        if refusal is None:
            outcome = "drained"
        elif refusal is DRAINING and flight.sent_at is None:
            outcome = "handed_back"
        else:
            outcome = "aborted"
        self._metrics.drain_requests_total[outcome] += 1


def _time_out(subscriber: Subscriber) -> None:
    subscriber.refuse(TIMEOUT)
