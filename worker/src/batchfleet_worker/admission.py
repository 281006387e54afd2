"""Who goes to the engine, and when: queue, limit and, where asked for, the filling of batches.

``Pipeline`` pushes every new flight here and says when one is over; ``send`` is called for those
whose turn it is, which is at once where a slot is free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from batchfleet_worker.exchange import Clock, Timer
from batchfleet_worker.flight import Flight
from batchfleet_worker.limit import FixedLimit
from batchfleet_worker.live import BatchingSettings
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.queue import Queue


class Admission:
    """Keeps the metrics of queue and limit current.  Iterating gives the flights that wait."""

    __slots__ = ("_clock", "_hold", "_limit", "_max_wait_seconds", "_metrics", "_queue", "_send")

    def __init__(self, clock: Clock, metrics: Metrics, send: Callable[[Flight], None]) -> None:
        self._clock = clock
        self._metrics = metrics
        self._send = send
        self._limit = FixedLimit(None)
        self._queue: Queue[Flight] = Queue(0)
        self._max_wait_seconds = 0.0
        self._hold: Timer | None = None

    @property
    def in_flight(self) -> int:
        return self._limit.in_flight

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def ceiling(self) -> int | None:
        return self._limit.ceiling

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._queue)

    def apply(self, batching: BatchingSettings) -> None:
        """A raised limit sends at once; lowered ones refuse nobody who is already in."""
        ceiling = batching.max_batch_size
        self._limit.ceiling = ceiling
        self._metrics.in_flight_limit = math.inf if ceiling is None else ceiling
        self._queue.bound = batching.max_queue_length
        self._max_wait_seconds = batching.max_wait_milliseconds / 1000
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        self._release()

    def full(self) -> bool:
        """Whether a new flight would have to wait and there is no place to wait in."""
        waits = not self._limit.room() or self._max_wait_seconds > 0
        return waits and self._queue.full()

    def push(self, flight: Flight) -> None:
        """Without a look at ``full``: whoever was admitted once is not refused later."""
        self._queue.push(flight, self._clock.time())
        self._release()

    def over(self, flight: Flight) -> None:
        """A flight's slot, or its place in the queue, is free."""
        if flight.sent_at is None:
            self._queue.remove(flight)
        else:
            self._limit.in_flight -= 1
        self._release()

    def _release(self) -> None:
        """Sends what may go now, or winds the timer for when it may."""
        queue, limit = self._queue, self._limit
        ready = min(len(queue), limit.room())
        if ready and not self._held(ready):
            now = self._clock.time()
            for _ in range(ready):
                flight = queue.pop()
                limit.in_flight += 1
                flight.sent_at = now
                self._send(flight)
        self._metrics.queued = len(queue)
        self._metrics.in_flight = limit.in_flight

    def _held(self, ready: int) -> bool:
        """Whether the batch is still filling: not full, and its oldest has not waited enough."""
        if not self._max_wait_seconds or ready >= min(self._limit.room(), self._queue.bound):
            return False
        due = self._queue.oldest_at() + self._max_wait_seconds
        if self._clock.time() >= due:
            return False
        if self._hold is None:
            self._hold = self._clock.call_at(due, self._depart)
        return True

    def _depart(self) -> None:
        self._hold = None
        self._release()
