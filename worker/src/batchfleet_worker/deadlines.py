"""One timer for everybody's deadline.

All requests have the same time, so the order of arrival is the order of deadlines, and only the
oldest needs a timer: one per request would cost more than the rest of the pipeline.  This is also
the pipeline's list of all clients that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from batchfleet_worker.exchange import Clock, Timer

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Calls ``expire(item)`` once for an item that is still here ``seconds`` after it started."""

    __slots__ = ("_clock", "_expire", "_seconds", "_started", "_timer")

    def __init__(self, clock: Clock, seconds: float, expire: Callable[[T], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expire = expire
        self._started: OrderedDict[T, float] = OrderedDict()
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._started)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._started))

    def add(self, item: T, now: float) -> None:
        self._started[item] = now
        if self._timer is None:
            self._timer = self._clock.call_at(now + self._seconds, self._ring)

    def discard(self, item: T) -> None:
        """The timer stays: it finds the next oldest when it rings."""
        self._started.pop(item, None)

    def change(self, seconds: float) -> None:
        """The new time holds for those who already wait, too."""
        self._seconds = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wind()

    def _wind(self) -> None:
        for started in self._started.values():
            self._timer = self._clock.call_at(started + self._seconds, self._ring)
            return

    def _ring(self) -> None:
        self._timer = None
        now = self._clock.time()
        while self._started:
            item, started = next(iter(self._started.items()))
            if started + self._seconds > now:
                break
            del self._started[item]
            self._expire(item)
        # An expired client may have offered its next request, which wound the timer.
        if self._timer is None:
            self._wind()
