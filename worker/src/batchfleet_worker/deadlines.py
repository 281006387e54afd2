"""One timer for everybody's deadline.

All requests have the same time, so the order of arrival is the order of deadlines, and only the
oldest needs a timer: one per request would cost more than the rest of the pipeline.  The few that
bring a shorter time of their own stand in a heap beside that.  This is also the pipeline's list of
all clients that wait, and the queue's of all flights that do.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

from batchfleet_worker.exchange import Clock, Timer

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls ``expire(item)`` once for an item that is still here ``seconds`` after it started, or
    its own seconds if those are fewer.  ``seconds`` inf: only the items' own count."""

    __slots__ = ("_clock", "_due", "_expire", "_numbers", "_own", "_seconds", "_started", "_timer")

    def __init__(self, clock: Clock, seconds: float, expire: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expire = expire
        self._started: dict[T, float] = {}
        self._own: list[tuple[float, int, T, float]] = []  # due, tie, item, started
        self._numbers = count()
        self._timer: Timer | None = None
        self._due = math.inf  # when the timer rings

    def __len__(self) -> int:
        return len(self._started)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._started))

    def add(self, item: T, now: float, own_seconds: float | None = None) -> None:
        """Items are added in the order of ``now``."""
        self._started[item] = now
        if own_seconds is not None:
            if len(self._own) > 2 * len(self._started) + 64:
                self._own = [entry for entry in self._own if self._is_here(entry)]
                heapq.heapify(self._own)
            heapq.heappush(self._own, (now + own_seconds, next(self._numbers), item, now))
            self._wind()
        elif self._timer is None:
            self._wind()

    def discard(self, item: T) -> None:
        """The timer stays: it finds the next when it rings."""
        if item in self._started:
            del self._started[item]

    def change(self, seconds: float) -> None:
        """The new time holds for those who already wait, too."""
        self._seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._due = math.inf
        self._wind()

    def _is_here(self, entry: tuple[float, int, T, float]) -> bool:
        return self._started.get(entry[2]) == entry[3]

    def _wind(self) -> None:
        """For the earliest deadline, unless the timer rings by then anyway."""
        due = self._own[0][0] if self._own else math.inf
        due = min(due, self._oldest() + self._seconds)
        if due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = due
            self._timer = self._clock.call_at(due, self._ring)

    def _oldest(self) -> float:
        """When the first of those who are here started; inf: nobody is here."""
        for started in self._started.values():
            return started
        return math.inf

    def _expire_old(self, now: float) -> None:
        """In one pass: a dict is slow to give its first item again and again while they go."""
        for item, started in list(self._started.items()):
            if started + self._seconds > now:
                break
            if self._started.get(item) == started:  # an expired one may have taken it away
                del self._started[item]
                self._expire(item)

    def _ring(self) -> None:
        self._timer = None
        self._due = math.inf
        now = self._clock.time()
        while self._own and (self._own[0][0] <= now or not self._is_here(self._own[0])):
            entry = heapq.heappop(self._own)
            if self._is_here(entry):
                del self._started[entry[2]]
                self._expire(entry[2])
        if self._oldest() + self._seconds <= now:
            self._expire_old(now)
        # An expired client may have offered its next request, which wound the timer.
        self._wind()
