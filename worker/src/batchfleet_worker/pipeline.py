"""The sidecar's brain: meaning → key → cache → flight → admission → send.

    offer ──► an earlier answer, an equal flight, or a new one ──► queue ──slot free──► send
                        ▲                                                                │
    sinks ◄─────────────┴─────────────── head/data/end/lost ◄────────── engine ◄─────────┘

Synchronous and without I/O: clock and ``send`` are arguments, everything is a callback on one event
loop, and nothing here makes a task, a future or a timer per request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from batchfleet_worker import account, meaning
from batchfleet_worker.account import DrainAccount
from batchfleet_worker.adaptive import Signals
from batchfleet_worker.admission import Admission
from batchfleet_worker.deadlines import Deadlines
from batchfleet_worker.dispatch import Dispatch
from batchfleet_worker.errors import DRAINING, TIMEOUT
from batchfleet_worker.exchange import Clock, Lost, Refusal, Request, Route, Send, Sink, Ticket
from batchfleet_worker.flight import Flight
from batchfleet_worker.key import NotMerged
from batchfleet_worker.live import LiveSettings
from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.salt import Salts
from batchfleet_worker.sharing import Sharing
from batchfleet_worker.subscriber import Subscriber
from batchfleet_worker.tally import Tally

# An enum's members are looked up slowly; these are on everybody's way.
_MERGE: Final = Route.MERGE
_PASS: Final = Route.PASS
_TUNNEL: Final = Route.TUNNEL


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one flight may hold in memory."""

    replay_bytes: int = 256 * 1024  # of an answer, for late joiners
    lag_bytes: int = 1024 * 1024  # undelivered to one client, while others go on


class Pipeline:
    """``keys`` computes merge keys (``MergeKeys``); ``when_idle`` is called whenever the last
    client is done.  ``clients``: requests whose answer is not complete; 0: drained."""

    def __init__(
        self,
        send: Send,
        clock: Clock,
        metrics: Metrics,
        keys: Callable[[Request], bytes | NotMerged],
        settings: LiveSettings | None = None,
        bounds: Bounds | None = None,
        budget: Budget | None = None,
        engine_priority: EnginePriority = EnginePriority.STRIP,
        random: Callable[[], float] = lambda: 0.5,
        salts: Salts | None = None,
    ) -> None:
        bounds = bounds or Bounds()
        self.now = clock.time
        self.metrics = metrics
        self.budget = budget or Budget(256 * 1024 * 1024)
        self.lag_bytes = bounds.lag_bytes
        self.clients = 0
        self.when_idle: Callable[[], None] | None = None
        self._replay_bytes = bounds.replay_bytes
        self._models: frozenset[str] = frozenset()
        self._tally = Tally()
        self._dispatch = Dispatch(self, send, metrics, self._tally, engine_priority, salts)
        self._sharing = Sharing(keys, metrics, self.budget, self._dispatch.ask_alone)
        self._admission = Admission(clock, metrics, self._dispatch.send, random)
        self._dispatch.admission = self._admission
        # What flights ask of their keeper, without a step in between.
        self.closed = self._sharing.closed
        self.recall = self._sharing.recall
        self.recall.served = self._admission.served
        self.send = self._dispatch.send
        self.may_resend = self._dispatch.may_resend
        self.ask_again = self._dispatch.ask_again
        self._deadlines: Deadlines[Subscriber] = Deadlines(clock, math.inf, _time_out)
        self._tunnels: dict[Subscriber, None] = {}  # nothing but a drain ends them from here
        self._draining = False
        self._accepting = True
        self.apply(settings or LiveSettings())

    # --- what the relay asks and tells -------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Slots taken by engine calls under way."""
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
        return DrainAccount(**self.metrics.drain_requests_total)

    def offer(self, request: Request, sink: Sink) -> Ticket:
        """Answers a request, sooner or later; the sink may be called before this returns."""
        now = self.now()
        subscriber = Subscriber(self, sink, now)
        route = request.head.route
        if route is _PASS:
            return self._pass(subscriber, request)
        metrics = self.metrics
        metrics.requests_offered_total += 1
        if not self._accepting:
            metrics.drain_requests_total["handed_back"] += 1
            return self._turn_away(subscriber, DRAINING)
        meaning.read(request)
        model = request.model if request.model in self._models else "other"
        metrics.requests_by_model_total[model] += 1
        admission, sharing = self._admission, self._sharing
        refusal = admission.refusal(request, now)
        if refusal is not None:
            return self._turn_away(subscriber, refusal)
        key = None
        if route is not _MERGE:
            metrics.requests_not_merged_total["route"] += 1
        elif sharing.off:
            metrics.requests_not_merged_total["disabled"] += 1
        else:
            key, flight = sharing.match(request)
            if (
                key is not None
                and self.recall.on
                and sharing.recalled(key, request, subscriber, now)
            ):
                metrics.requests_admitted_total += 1
                return subscriber
            if flight is not None:
                if sharing.enforced:
                    return self._join(subscriber, request, flight)
                metrics.requests_would_merge_total += 1
                key = None
        refusal = admission.shed(request, now)
        if refusal is not None:
            return self._turn_away(subscriber, refusal)
        metrics.requests_admitted_total += 1
        self.clients += 1
        if route is _TUNNEL:
            self._tunnels[subscriber] = None
        else:
            self._deadlines.add(subscriber, now, request.head.timeout_seconds)
        keeps_log = key is not None and sharing.enforced
        flight = Flight(self, request, key, self._replay_bytes, keeps_log)
        if key is not None:
            sharing.open(key, flight, subscriber)
        request.fields = None  # larger than all else that is kept
        flight.join(subscriber)
        admission.push(flight, now)
        return subscriber

    def apply(self, settings: LiveSettings) -> None:
        """Takes effect at once: a raised limit releases queued calls, a new timeout holds for
        those who wait; a lowered limit or queue bound refuses nobody who is already in."""
        self._sharing.apply(settings.merging)
        self._deadlines.change(settings.requests.timeout_seconds)
        self._admission.apply(settings.batching, settings.requests)

    def engine_restarted(self) -> None:
        """What an earlier engine has seen is never sent to the next: it may have killed it."""
        self._sharing.start_afresh(self.now())
        self._dispatch.engine_restarted()

    def engine_changed(self, models: Iterable[str] | None = None) -> None:
        """What it serves is not what it was; ``models``: the names that it lists now."""
        self._sharing.start_afresh(self.now())
        if models is not None:
            self._models = frozenset(models)
            self.metrics.set_models(self._models)

    @property
    def watched(self) -> bool:
        """Whether ``tick`` is wanted every half second."""
        return self._admission.watched

    def tick(self, now: float, signals: Signals) -> None:
        """What the engine said of itself."""
        self._admission.tick(now, signals)

    def engine_back(self) -> None:
        """It answers, after a start: nothing that was learnt of the last one holds."""
        self._admission.engine_back()

    def count(self) -> None:
        """Brings those metrics up to date that are kept elsewhere; before they are read."""
        self.recall.count()
        self._tally.count(self.metrics)

    # --- drain -----------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Starts the account; goes on accepting while endpoints settle."""
        self._draining = True

    def stop_accepting(self) -> None:
        """From here on arrivals are handed back.  Tunnels, which have no end, are closed."""
        self._draining = True
        self._accepting = False
        for tunnel in tuple(self._tunnels):
            tunnel.refuse(DRAINING)

    def end_drain(self) -> None:
        """Back to normal: the engine came back instead of going away."""
        self._draining = False
        self._accepting = True

    def abort_all(self) -> None:
        """Refuses everybody who is left: the drain's time is over, or the engine is gone."""
        # The queue first, or the slots of cancelled calls would send it to the engine.
        for flight in self._admission:
            flight.refuse_all(DRAINING)
        for subscriber in (*self._deadlines, *self._tunnels):
            subscriber.refuse(DRAINING)

    # --- what flights ask and tell (subscriber.Keeper) ----------------------------------------

    def complete(self, flight: Flight, log: list[bytes]) -> None:
        if flight.key is not None:
            self._sharing.complete(flight, flight.key, log, self.now())

    def over(self, flight: Flight) -> None:
        if not flight.takes_slot:
            return
        admission = self._admission
        if flight.sent_at is not None:
            clients, (prompt, completion) = flight.clients, flight.tokens
            tally = self._tally
            if clients == 1:
                tally.lone += 1
            else:
                self.metrics.subscribers_per_flight.observe(clients)
            if prompt or completion:
                tally.prompt += prompt
                tally.completion += completion
                if clients > 1:
                    tally.prompt_shared += prompt * (clients - 1)
                    tally.completion_shared += completion * (clients - 1)
                admission.served(flight.tenant, clients * prompt, clients * completion)
        admission.over(flight)

    def failed(self, flight: Flight, why: Lost) -> None:
        self.metrics.engine_errors_total[why] += 1
        if flight.takes_slot:
            self._admission.failed(flight, why)

    def gone(self, subscriber: Subscriber, refusal: Refusal | None, left: bool) -> None:
        self.clients -= 1
        if self._tunnels and subscriber in self._tunnels:
            del self._tunnels[subscriber]
        else:
            self._deadlines.discard(subscriber)
            self._tally.ended(subscriber, refusal, left, self.now)
        if left:
            self.metrics.clients_left_total += 1
        elif refusal is not None:
            self.metrics.refuse(refusal.code)
        if self._draining and not left and subscriber.flight is not None:
            account.book(self.metrics, subscriber.flight, refusal)
        if not self.clients and self.when_idle is not None:
            self.when_idle()

    # --- inside ----------------------------------------------------------------------------

    def _pass(self, subscriber: Subscriber, request: Request) -> Ticket:
        """A cheap read: no slot, no queue, not counted as work."""
        if not self._accepting:
            subscriber.over = True
            self.metrics.refuse(DRAINING.code)
            subscriber.sink.refuse(DRAINING)
            return subscriber
        self.clients += 1
        self._deadlines.add(subscriber, subscriber.offered_at, request.head.timeout_seconds)
        flight = Flight(self, request)
        flight.join(subscriber)
        flight.sent_at = subscriber.offered_at
        self.send(flight)
        return subscriber

    def _join(self, subscriber: Subscriber, request: Request, flight: Flight) -> Ticket:
        metrics = self.metrics
        metrics.requests_admitted_total += 1
        metrics.requests_merged_total += 1
        self.clients += 1
        self._deadlines.add(subscriber, subscriber.offered_at, request.head.timeout_seconds)
        self._sharing.adapt(subscriber, request, flight)
        if flight.sent_at is not None:
            metrics.queue_wait_seconds.observe(0.0)
        flight.join(subscriber)
        if request.priority > flight.priority:
            flight.priority = request.priority
            if flight.sent_at is None:
                self._admission.raised(flight)
        return subscriber

    def _turn_away(self, subscriber: Subscriber, refusal: Refusal) -> Ticket:
        subscriber.over = True
        self.metrics.refuse(refusal.code)
        self.metrics.turn_away(refusal.code)
        subscriber.sink.refuse(refusal)
        return subscriber


def _time_out(subscriber: Subscriber) -> None:
    subscriber.refuse(TIMEOUT)
