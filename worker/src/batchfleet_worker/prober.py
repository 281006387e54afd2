"""Asks the engine every second how it is, warms it up, and tells the rest what became of it.

engine /health, /metrics ──► Sample ──► Engine ──► pipeline (no re-sends to a fresh engine),
                                                   drain (over, when it is back), readiness
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import aiohttp

from batchfleet_worker.engine import Change, Engine, Health, Sample, read_vitals
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.warmup import Outcome, warm_up

POLL_SECONDS = 1.0
AT_LEAST_SECONDS = 0.1  # between two looks, however many connections are refused
TIMEOUT = aiohttp.ClientTimeout(total=5)  # vLLM's /health can take seconds when it is busy

log = logging.getLogger(__name__)


class Prober:
    """``warm`` and ``reason`` for readiness; ``metrics_text`` is the engine's last page."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstream: str,
        engine: Engine,
        on_restart: Callable[[], None],
        on_back: Callable[[], None],
        metrics: Metrics,
        now: Callable[[], float],
        needs_warmup: bool,
    ) -> None:
        """``on_restart``: what was sent before must not be sent again; ``on_back``: after that,
        when the engine listens again; ``now`` is monotonic seconds."""
        self.warm = False
        self.reason = "the engine has not been asked yet"
        self.metrics_text = ""
        self._session = session
        self._upstream = upstream
        self._engine = engine
        self._on_restart = on_restart
        self._on_back = on_back
        self._metrics = metrics
        self._now = now
        self._needs_warmup = needs_warmup
        self.warming: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look soon: somebody met a refused connection."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            self._wake.clear()
            await self.look()
            await asyncio.sleep(AT_LEAST_SECONDS)
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        change = self._engine.observe(await self._sample(), self._now())
        if change is not Change.NONE:
            self._cool_down()
            self._on_restart()
        if change is Change.WENT:
            log.warning("the engine does not accept connections any more")
        elif change is Change.CAME_BACK:
            log.warning("the engine was restarted")
            self._metrics.engine_restarts_total += 1
            self._on_back()
        ill = self._engine.ill(self._now())
        if ill or self.warm:
            return
        if not self._needs_warmup:
            self._warmed(Outcome(True, "the engine is healthy"))
        elif self.warming is None or self.warming.done():
            self.warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        self._warmed(await warm_up(self._session, self._upstream))

    def _warmed(self, outcome: Outcome) -> None:
        if outcome.warm or outcome.reason != self.reason:
            log.info("%s: %s", "warm" if outcome.warm else "not warm yet", outcome.reason)
        self.warm, self.reason = outcome.warm, outcome.reason

    def _cool_down(self) -> None:
        self.warm = False
        self.reason = "the engine was restarted and has not been warmed yet"
        if self.warming is not None:
            self.warming.cancel()
            self.warming = None

    async def _sample(self) -> Sample:
        health = await self._health()
        if health is Health.REFUSED:
            self.metrics_text = ""
            return Sample(health)
        try:
            async with self._session.get(f"{self._upstream}/metrics", timeout=TIMEOUT) as response:
                text = await response.text()
                if response.status != 200:
                    text = ""
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.metrics_text = ""
            return Sample(health)
        self.metrics_text = text
        return Sample(health, read_vitals(text))

    async def _health(self) -> Health:
        try:
            async with self._session.get(f"{self._upstream}/health", timeout=TIMEOUT) as response:
                # An engine without this path answers 404: it is up, which is all there is to know.
                return Health.FAILING if response.status >= 500 else Health.OK
        except aiohttp.ClientConnectorError:
            return Health.REFUSED
        except (aiohttp.ClientError, TimeoutError):
            return Health.SLOW
