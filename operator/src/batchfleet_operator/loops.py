"""One supervised task per service: wait for a reason to look, look, and come back in time.

Handlers wake; ``reconcile`` looks.  What stands here is only *when*:

* a wake while the service is being looked at is not lost: it is looked at once more;
* wakes close together (a rollout tells of every pod) are one;
* a failure is tried again after 1 s, 2 s, … 60 s, each spread so that a thousand services that
  failed together do not come back together; other services do not notice.  A wake does not
  shorten that: what fails is the API server, not the service;
* at most so many look at once; a service that is gone has no task.

Time is the event loop's, so that tests run it virtually.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable

from batchfleet_operator.errors import ClusterError
from batchfleet_operator.store import Key

logger = logging.getLogger(__name__)

LOOKS_AT_ONCE = 16
"""Most of a look is waiting for the API server; more would only queue up there."""

QUIET_SECONDS = 0.5  # at least, between the end of a look and the next one
BACKOFF_SECONDS = 1.0
BACKOFF_MOST_SECONDS = 60.0

WHEN_WOKEN = math.inf

Look = Callable[[Key], Awaitable[float | None]]
"""Look at a service and act.  Returns the seconds until the next look without being woken
(``WHEN_WOKEN``: none), or None: there is no such service any more."""


class Loops:
    """All loops of this process; :meth:`run` is their life.

    ``spread`` returns numbers in [0, 1), as ``random.random`` does.
    """

    def __init__(self, look: Look, spread: Callable[[], float]) -> None:
        self._look = look
        self._spread = spread
        self._woken: dict[Key, asyncio.Event] = {}
        self._looking_since: dict[Key, float] = {}
        self._room = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._turn = asyncio.Lock()
        """One look begins, and then everybody else has a go."""
        self._tasks: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        return len(self._woken)

    def wake(self, key: Key) -> None:
        """Have a service looked at soon; one that is not known yet gets its loop."""
        if key not in self._woken:
            self._woken[key] = asyncio.Event()
            self._start(key)
        self._woken[key].set()

    async def run(self) -> None:
        """Serve what has been woken and what will be, until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for key in self._woken:
                self._start(key)
            await asyncio.Event().wait()

    def longest_look_seconds(self) -> float:
        """For how long the oldest look that has not ended has been going on; 0.0: none is."""
        now = asyncio.get_running_loop().time()
        return now - min(self._looking_since.values(), default=now)

    def _start(self, key: Key) -> None:
        if self._tasks is not None:  # else ``run`` does
            self._tasks.create_task(self._serve(key), name=f"loop for {key}")

    async def _serve(self, key: Key) -> None:
        woken = self._woken[key]
        failures = 0
        while True:
            async with self._room:
                # A look that finds nothing to do waits for nothing: a thousand of them in a row
                # would keep lease and health waiting, and so do as many as may look at once.
                async with self._turn:
                    await asyncio.sleep(0)
                woken.clear()  # before looking: a wake from now on is another look
                try:
                    pause = await self._once(key)
                    failures = 0
                except ClusterError as error:
                    logger.warning("%s: %s; will try again", key, error)
                    failures += 1
                except Exception:  # the outermost loop: a fault of one service stays with it
                    logger.exception("%s: fault in the operator; will try again", key)
                    failures += 1
            if failures:
                backoff = min(BACKOFF_SECONDS * 2 ** (failures - 1), BACKOFF_MOST_SECONDS)
                await asyncio.sleep(backoff * (0.5 + self._spread()))
                continue
            if pause is None and not woken.is_set():
                break
            await asyncio.sleep(QUIET_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await woken.wait()
        del self._woken[key]

    async def _once(self, key: Key) -> float | None:
        self._looking_since[key] = asyncio.get_running_loop().time()
        try:
            return await self._look(key)
        finally:
            del self._looking_since[key]
