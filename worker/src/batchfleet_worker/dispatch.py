"""Between flights and the engine: what is sent, when once more, when never again.

A flight's call goes out through here when ``admission`` says that it is its turn.  What one engine
process has answered with an error, or died over, is never handed to the next: a prompt that kills
engines must not travel.
"""

from __future__ import annotations

from batchfleet_worker import meaning
from batchfleet_worker.admission import Admission
from batchfleet_worker.errors import ENGINE_BROKEN
from batchfleet_worker.exchange import Request, Send
from batchfleet_worker.flight import Flight
from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.salt import Salts
from batchfleet_worker.subscriber import Keeper, Subscriber
from batchfleet_worker.tally import Tally

RESEND_WITHIN_SECONDS = 1.0
"""A kept-alive connection that the engine closed at the same instant shows at once.  One that
closes unanswered later had an engine die over the request, which is then not sent again."""


class Dispatch:
    """``admission`` is set by the pipeline: each needs the other."""

    __slots__ = (
        "_engine_priority",
        "_epoch",
        "_keeper",
        "_metrics",
        "_rewrites",
        "_salts",
        "_send",
        "_tally",
        "admission",
    )

    admission: Admission

    def __init__(
        self,
        keeper: Keeper,
        send: Send,
        metrics: Metrics,
        tally: Tally,
        engine_priority: EnginePriority,
        salts: Salts | None = None,
    ) -> None:
        self._keeper = keeper
        self._send = send
        self._metrics = metrics
        self._tally = tally
        self._engine_priority = engine_priority
        self._salts = salts
        self._rewrites = salts is not None or engine_priority is EnginePriority.NEGATE
        self._epoch = 0

    def send(self, flight: Flight) -> None:
        metrics = self._metrics
        if flight.takes_slot:
            metrics.engine_calls_total += 1
            if not flight.enqueued_at:
                self._tally.straight += flight.epoch is None
            elif flight.epoch is None:
                sent_at = flight.sent_at or flight.enqueued_at
                for subscriber in flight.subscribers():
                    metrics.queue_wait_seconds.observe(sent_at - subscriber.offered_at)
        flight.epoch = self._epoch
        request = flight.request
        if request.names_priority or self._rewrites:
            request = self._as_engine_sees_it(flight)
        flight.call = self._send(request, flight)

    def may_resend(self, flight: Flight) -> bool:
        return (
            flight.epoch == self._epoch
            and flight.request.rest is None
            and flight.sent_at is not None
            and self._keeper.now() - flight.sent_at <= RESEND_WITHIN_SECONDS
        )

    def ask_again(self, flight: Flight, clients: list[Subscriber]) -> None:
        if flight.epoch != self._epoch or flight.request.rest is not None:
            for client in clients:
                client.refuse(ENGINE_BROKEN)
            return
        again = Flight(self._keeper, flight.request, epoch=flight.epoch)
        again.carries_usage = flight.carries_usage
        again.priority = flight.priority
        for client in clients:
            again.join(client)
        self.admission.push(again)

    def ask_alone(self, subscriber: Subscriber) -> None:
        """What a client joined turned out not to be its answer: it asks for itself, once."""
        request, fold, flight = subscriber.request, subscriber.fold, subscriber.flight
        if request is None or fold is None or flight is None:
            return  # only a fold that is still joined to a flight asks for this
        flight.remove(subscriber)
        subscriber.sink, subscriber.fold, subscriber.request = fold.sink, None, None
        subscriber.over, subscriber.flight = False, None
        self._metrics.fallthrough_total += 1
        if flight.epoch != self._epoch:
            subscriber.refuse(ENGINE_BROKEN)
            return
        again = Flight(self._keeper, request, epoch=flight.epoch)
        again.join(subscriber)
        self.admission.push(again)

    def engine_restarted(self) -> None:
        self._epoch += 1
        for flight in self.admission:
            if flight.second:
                flight.refuse_all(ENGINE_BROKEN)

    def _as_engine_sees_it(self, flight: Flight) -> Request:
        """Without a priority above its own, and with its tenant's salt."""
        request = flight.request
        if request.rest is not None:
            return request  # a tunnel, or a body of which only the beginning is here
        body = meaning.for_engine(request, self._engine_priority, flight.priority)
        if self._salts is not None:
            body = self._salts.into(request, body)
        if body is request.body:
            return request
        return Request(request.head, body, request.request_id, own=request.own)
