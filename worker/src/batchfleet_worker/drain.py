"""Going away without losing a request: settle, refuse, wait.

Settling, everything is still accepted, but every answer ends its connection, so that clients come
back through a Service that no longer names this pod.  Then new requests are refused, idle
connections are closed, and what is under way is waited for.  A drain that was called because a
probe kills the engine ends when the engine is back; the process's own end cannot be undone.

    SERVING ──begin──► SETTLING ──► WAITING ──idle, or deadline──► DRAINED
       ▲────────────────────engine_back─────────────────────────────┘
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from batchfleet_worker.exchange import Clock, Timer

log = logging.getLogger(__name__)


class Work(Protocol):
    """What a drain needs of the pipeline."""

    @property
    def clients(self) -> int:
        """Requests not finished yet."""

    def begin_drain(self) -> None: ...

    def stop_accepting(self) -> None: ...

    def abort_all(self) -> None: ...

    def end_drain(self) -> None: ...


class Door(Protocol):
    """What a drain needs of the data port."""

    draining: bool

    def close_idle(self) -> None: ...


class Phase(Enum):
    SERVING = auto()
    SETTLING = auto()
    WAITING = auto()
    DRAINED = auto()


class Drain:
    """The drain of one sidecar; ``idle`` is to be called whenever the last request has finished."""

    def __init__(
        self, clock: Clock, work: Work, door: Door, settle_seconds: float, timeout_seconds: float
    ) -> None:
        self.phase = Phase.SERVING
        self.over = asyncio.Event()  # drained, or ended because the engine is back
        self._clock = clock
        self._work = work
        self._door = door
        self._settle_seconds = settle_seconds
        self._timeout_seconds = timeout_seconds
        self._timer: Timer | None = None
        self._final = False

    def begin(self, final: bool = False) -> None:
        """Start, or join a drain under way.  ``final``: the process is to end after it."""
        self._final = self._final or final
        if self.phase is not Phase.SERVING:
            return
        log.info("draining: accepting for %g s more", self._settle_seconds)
        self.phase = Phase.SETTLING
        self.over.clear()
        self._door.draining = True
        self._work.begin_drain()
        self._at(self._settle_seconds, self._stop_accepting)

    def engine_back(self) -> None:
        """The engine was restarted: serve again, unless the process is ending."""
        if self.phase is Phase.SERVING or self._final:
            return
        log.info("the engine is back: the drain ends")
        self._cancel_timer()
        self.phase = Phase.SERVING
        self._door.draining = False
        self._work.end_drain()
        self.over.set()

    def idle(self) -> None:
        if self.phase is Phase.WAITING:
            self._finish()

    def _stop_accepting(self) -> None:
        self.phase = Phase.WAITING
        self._work.stop_accepting()
        self._door.close_idle()
        if self._work.clients:
            log.info("draining: waiting for %d requests", self._work.clients)
            self._at(self._timeout_seconds, self._deadline)
        else:
            self._finish()

    def _deadline(self) -> None:
        log.warning("draining: %d requests are cut off", self._work.clients)
        self._work.abort_all()
        self.idle()

    def _finish(self) -> None:
        self._cancel_timer()
        self.phase = Phase.DRAINED
        self.over.set()
        log.info("drained")

    def _at(self, seconds: float, step: Callable[[], None]) -> None:
        self._timer = self._clock.call_at(self._clock.time() + seconds, step)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
