"""Stops calls to an engine that fails all of them, and tries again by itself.  Pure.

    closed ──FAILURES in a row, of several requests──► open ──time over──► trying: one call
       ▲                                                ▲                     │      │
       └──────────────── it is answered ────────────────┼─────────────────────┘      │
                                                        └────── it fails ────────────┘
                                                             (twice the time)

What counts as a failure: no connection, a broken one, 503 while the engine has little to do.  An
answer of any other status is a sign of life and begins the count anew; so is the end of a long one.
A full engine (429, or 503 with calls under way) is busy, not ill: cutting the limit is for that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

FAILURES = 8
"""Calls in a row.  Fewer, and a handful of unlucky clients would close the door for all."""

DIFFERENT = 3
"""Among these, so many different requests at least: one prompt that kills, sent again and again by
its client, must not take the engine from everybody else."""

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0

JITTER = 0.2  # of the time, so that pods in front of one dependency do not all try at once


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Breaker:
    """``random`` gives numbers in [0, 1).  ``until``: when an open one lets one call through."""

    __slots__ = ("_failed", "_random", "_row", "_seconds", "opened", "state", "until")

    def __init__(self, random: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self.until = 0.0
        self.opened = 0  # times
        self._random = random
        self._row = 0
        self._failed: set[int] = set()  # hashes of the requests in the row
        self._seconds = SHORTEST_SECONDS

    @property
    def counting(self) -> bool:
        """Whether the last call failed."""
        return self._row > 0

    def answered(self) -> bool:
        """The engine lives.  Whether that closed the circuit."""
        if self._row:
            self._row = 0
            self._failed.clear()
        if self.state is State.CLOSED:
            return False
        self.state = State.CLOSED
        self._seconds = SHORTEST_SECONDS
        return True

    def failed(self, request: int, now: float) -> bool:
        """``request`` tells different ones apart.  Whether that opened the circuit."""
        if self.state is State.OPEN:  # a call from before
            return False
        if self.state is State.TRYING:
            self._seconds = min(LONGEST_SECONDS, 2 * self._seconds)
            self._open(now)
            return True
        self._row += 1
        if len(self._failed) < DIFFERENT:
            self._failed.add(request)
        if self._row < FAILURES or len(self._failed) < DIFFERENT:
            return False
        self._open(now)
        return True

    def came_back(self) -> None:
        """The engine was seen to have started: nothing is held against the new one."""
        self.answered()

    def gave_up(self, now: float) -> None:
        """The one call that was let through ended without a verdict (its client left)."""
        if self.state is State.TRYING:
            self.state = State.OPEN
            self.until = now

    def may_try(self, now: float) -> bool:
        """Whether an open circuit lets one call through now; then that one is it."""
        if self.state is State.OPEN and now >= self.until:
            self.state = State.TRYING
            return True
        return False

    def _open(self, now: float) -> None:
        self.state = State.OPEN
        self.opened += 1
        self.until = now + self._seconds * (1 + JITTER * (2 * self._random() - 1))
