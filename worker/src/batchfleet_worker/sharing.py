"""Which requests share an engine call, and how each gets its own answer out of it.

Between the pipeline, which asks here about every request that may be merged, and the parts that
know: ``key`` (what is equal), ``crossover`` (stream and whole), ``recall`` (what was answered
before).  All of it is an extra: a fault in here costs no answer, the request goes on alone, and is
counted.

Under one key there are at most two flights: one whose answer comes whole, and one that streams.  An
arrival joins its like.  One who wants the whole answer may also take it from a stream where
``crossover`` knows that both say the same; never the other way round, because tokens that nobody
sent cannot be streamed.  So a mixed burst makes at most two calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from batchfleet_worker.crossover import ask_usage, may_cross, wants_usage
from batchfleet_worker.exchange import Request, Result
from batchfleet_worker.flight import Flight
from batchfleet_worker.fold import Fold
from batchfleet_worker.key import NotMerged
from batchfleet_worker.live import Merging, MergingSettings
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.recall import Recall
from batchfleet_worker.subscriber import Subscriber

_JOINED: Final = Result.JOINED

Keys = Callable[[Request], bytes | NotMerged]


class Sharing:
    """``alone``: gives a client, whose stream could not be folded, an engine call of its own."""

    __slots__ = (
        "_alone",
        "_budget",
        "_keys",
        "_metrics",
        "_streams",
        "_whole",
        "enforced",
        "off",
        "recall",
    )

    def __init__(
        self, keys: Keys, metrics: Metrics, budget: Budget, alone: Callable[[Subscriber], None]
    ) -> None:
        self._keys = keys
        self._metrics = metrics
        self._budget = budget
        self._alone = alone
        self._whole: dict[bytes, Flight] = {}
        self._streams: dict[bytes, Flight] = {}
        # Its cache is first to be asked for memory, before the replay logs.
        self.recall = Recall(budget, metrics)
        budget.on_pressure.append(self._forget)
        self.off = True
        self.enforced = False

    def __iter__(self) -> Iterator[Flight]:
        """The flights that may be joined: a snapshot."""
        return iter((*self._whole.values(), *self._streams.values()))

    def apply(self, merging: MergingSettings) -> None:
        off, enforced = merging.mode is Merging.DISABLED, merging.mode is Merging.ENFORCE
        if (off, enforced) != (self.off, self.enforced):
            self.off, self.enforced = off, enforced
            # What Observe only counted has no log to replay; a change of mode starts afresh.
            for flight in self:
                flight.close()
        self.recall.apply(merging)

    def start_afresh(self, now: float) -> None:
        """The engine, or what it serves, is another: what is under way is of before."""
        for flight in self:
            flight.close()
        self.recall.flush(now)

    def match(self, request: Request) -> tuple[bytes | None, Flight | None]:
        """The request's key, None where it stays alone (why is counted), and the flight that it may
        join, or might have joined (mode Observe)."""
        try:
            key = self._keys(request)
            if isinstance(key, NotMerged):
                self._metrics.requests_not_merged_total[key] += 1
                return None, None
            if not request.stream:
                flight = self._whole.get(key)
                if flight is not None or not self._streams:
                    return key, flight
            flight = self._streams.get(key)
            if flight is None or self._may_join(flight, request):
                return key, flight
        except Exception:  # noqa: BLE001 - see above
            self._metrics.fallthrough_total += 1
            return None, None
        return key, None

    def recalled(self, key: bytes, request: Request, subscriber: Subscriber, now: float) -> bool:
        """Whether an earlier answer was given."""
        try:
            subscriber.over = self.recall.answer(key, request, subscriber.sink, now)
            return subscriber.over
        except Exception:  # noqa: BLE001 - see above
            self._metrics.fallthrough_total += 1
            return False

    def open(self, key: bytes, flight: Flight, subscriber: Subscriber) -> None:
        """A new flight, with its first client, that others may join."""
        request = flight.request
        if self.enforced and request.stream and request.fields is not None:
            fields = request.fields
            try:
                body, added = ask_usage(fields, request.body)
                flight.carries_usage = added or wants_usage(fields)
            except Exception:  # noqa: BLE001 - see above
                self._metrics.fallthrough_total += 1
            else:
                # Not kept beside the old one: with many calls under way that would be megabytes.
                request.body = body
                subscriber.hides_usage = added
        table = self._streams if request.stream else self._whole
        if key in table:
            table[key].close()  # which this request could not join
        table[key] = flight

    def adapt(self, subscriber: Subscriber, request: Request, flight: Flight) -> None:
        """Makes a client ready to join a flight that is not quite what it asked for."""
        subscriber.result = _JOINED
        token = request.request_id.encode()
        if flight.request.stream and not request.stream:
            subscriber.request = request
            subscriber.fold = Fold(
                subscriber.sink, self._budget, token, lambda why: self._alone(subscriber)
            )
            subscriber.sink = subscriber.fold
            self._metrics.requests_crossed_total += 1
            request.fields = None
            return
        subscriber.token = token
        if flight.carries_usage:
            subscriber.hides_usage = not wants_usage(request.fields or {})

    def closed(self, flight: Flight) -> None:
        if flight.key is not None:
            del (self._streams if flight.request.stream else self._whole)[flight.key]

    def complete(self, flight: Flight, key: bytes, log: list[bytes], now: float) -> None:
        """The whole answer of a flight that could be joined to its end."""
        try:
            self.recall.keep(flight, key, log, now)
        except Exception:  # noqa: BLE001 - see above
            self._metrics.fallthrough_total += 1

    def _may_join(self, stream: Flight, request: Request) -> bool:
        fields = request.fields or {}
        if request.stream:
            return stream.carries_usage or not wants_usage(fields)
        return stream.carries_usage and may_cross(fields)

    def _forget(self, n_bytes: int) -> None:
        """Asked by the budget: those who come late can have a call of their own."""
        held = sorted(self, key=lambda flight: flight.log_bytes, reverse=True)
        for flight in held:
            if n_bytes <= 0 or not flight.log_bytes:
                return
            n_bytes -= flight.log_bytes
            self._metrics.replays_closed_total["memory"] += 1
            flight.close()
