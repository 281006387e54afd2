"""What all readers of one data port share: the rules, the known heads, the byte budget."""

from __future__ import annotations

from collections.abc import Callable

from batchfleet_worker.heads import Heads
from batchfleet_worker.memory import Budget
from batchfleet_worker.openai import Routes
from batchfleet_worker.opening import Access, Everybody, Opener
from batchfleet_worker.plain import PlainRequests

HELD_BODY_BYTES = 256 * 1024
"""A longer body is not held whole: its request goes to the engine while it still arrives."""


class RequestIds:
    """Unique across pods, and cheap: the process's own random part, and a counter."""

    __slots__ = ("_count", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix + "-"
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return self._prefix + str(self._count)


class Intake:
    """``access`` tells callers apart; without it all are the same."""

    def __init__(
        self,
        routes: Routes,
        request_ids: Callable[[], str],
        max_body_bytes: int,
        max_header_bytes: int,
        budget: Budget,
        access: Access | None = None,
        held_body_bytes: int = HELD_BODY_BYTES,
    ) -> None:
        """``request_ids`` makes one for a request that brings none."""
        self.request_ids = request_ids
        self.max_body_bytes = max_body_bytes
        self.max_header_bytes = max_header_bytes
        self.held_body_bytes = held_body_bytes
        self.budget = budget
        self.access = access = access or Everybody()
        self.opener = Opener(routes, access)
        # llhttp counts a header a little longer than it may be written: half is the safe side.
        self.heads = Heads(PlainRequests(self.opener), max_header_bytes // 2, own=self.opener.own)
        self.generation = access.generation

    def callers_changed(self, generation: int) -> None:
        """Each reader says so when it notices; heads are forgotten once."""
        if generation != self.generation:
            self.generation = generation
            self.heads.forget()
