"""Asks the engine how it is, warms it up, and tells the rest what became of it.

engine /health, /metrics ─► Sample ─► Engine ─► pipeline (no re-sends to a fresh engine; signals
       /v1/models ──────────────────────────►   for the limit; the names of models), drain
                                                (over, when it is back), readiness
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from batchfleet_worker.adaptive import Signals
from batchfleet_worker.engine import Change, Engine, Health, Sample
from batchfleet_worker.inquiry import Inquirer, InquiryError, RefusedError
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.vitals import read_vitals
from batchfleet_worker.warmup import Outcome, warm_up

POLL_SECONDS = 1.0
WATCH_SECONDS = 0.5  # while a limit is found by what the engine says: its window
AT_LEAST_SECONDS = 0.1  # between two looks, however many connections are refused
MODELS_SECONDS = 30.0  # adapters come and go while the engine runs
MOST_MODELS = 200  # whose names are taken: they become values of a metric's label
ANSWER_SECONDS = 5.0  # vLLM's /health can take seconds when it is busy

log = logging.getLogger(__name__)


class Listener(Protocol):
    """What is told of the engine: the pipeline."""

    @property
    def watched(self) -> bool:
        """Whether ``tick`` is wanted more often."""

    def engine_restarted(self) -> None:
        """What was sent before must not be sent again."""

    def engine_back(self) -> None:
        """It answers; nothing is held against it."""

    def engine_changed(self, models: Sequence[str]) -> None:
        """It serves other models than before."""

    def tick(self, now: float, signals: Signals) -> None: ...


class Prober:
    """``warm`` and ``reason`` for readiness; ``metrics_text`` is the engine's last page."""

    def __init__(
        self,
        inquirer: Inquirer,
        engine: Engine,
        listener: Listener,
        on_back: Callable[[], None],
        metrics: Metrics,
        now: Callable[[], float],
        needs_warmup: bool,
        prompts: Sequence[str] = (),
    ) -> None:
        """``on_back``: another engine listens; ``now`` is monotonic seconds; ``prompts``: asked of
        each new engine before it is ready."""
        self.warm = False
        self.reason = "the engine has not been asked yet"
        self.metrics_text = ""
        self._inquirer = inquirer
        self._engine = engine
        self._listener = listener
        self._on_back = on_back
        self._metrics = metrics
        self._now = now
        self._needs_warmup = needs_warmup
        self._prompts = prompts
        self._served: tuple[tuple[str, str], ...] | None = None  # (name, root) of each model
        self._models_due = float("-inf")
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
            pause_seconds = WATCH_SECONDS if self._listener.watched else POLL_SECONDS
            try:
                async with asyncio.timeout(pause_seconds - AT_LEAST_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        sample = await self._sample()
        now = self._now()
        change = self._engine.observe(sample, now)
        if change is not Change.NONE:
            self._cool_down()
            self._listener.engine_restarted()
        if change is Change.WENT:
            log.warning("the engine does not accept connections any more")
        elif change is Change.CAME_BACK:
            log.warning("the engine was restarted")
            self._metrics.engine_restarts_total += 1
            self._listener.engine_back()
            self._on_back()
        self._listener.tick(now, self._engine.signals)
        if self.warm and sample.health is not Health.REFUSED and now >= self._models_due:
            self._models_due = now + MODELS_SECONDS
            await self._look_at_models()
        ill = self._engine.ill(self._now())
        if ill or self.warm:
            return
        if not self._needs_warmup:
            self._warmed(Outcome(True, "the engine is healthy"))
        elif self.warming is None or self.warming.done():
            self.warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        outcome = await warm_up(self._inquirer, self._prompts)
        self._learn(outcome.models)
        self._warmed(outcome)

    def _warmed(self, outcome: Outcome) -> None:
        if outcome.warm or outcome.reason != self.reason:
            log.info("%s: %s", "warm" if outcome.warm else "not warm yet", outcome.reason)
        self.warm, self.reason = outcome.warm, outcome.reason
        if outcome.warm:
            self._listener.engine_back()

    def _cool_down(self) -> None:
        self.warm = False
        self.reason = "the engine was restarted and has not been warmed yet"
        self._models_due = float("-inf")
        if self.warming is not None:
            self.warming.cancel()
            self.warming = None

    async def _look_at_models(self) -> None:
        try:
            reply = await self._inquirer.get("/v1/models", ANSWER_SECONDS)
            if reply.status == 200:
                self._learn(reply.json())
        except (InquiryError, TimeoutError, ValueError):
            return

    def _learn(self, listing: Any) -> None:
        """From an answer of /v1/models; None: there was none."""
        served = _served(listing)
        if served is not None and served != self._served:
            self._served = served
            self._models_due = self._now() + MODELS_SECONDS
            self._listener.engine_changed([name for name, _ in served])

    async def _sample(self) -> Sample:
        health = await self._health()
        if health is Health.REFUSED:
            self.metrics_text = ""
            return Sample(health)
        try:
            reply = await self._inquirer.get("/metrics", ANSWER_SECONDS)
            text = reply.body.decode() if reply.status == 200 else ""
        except (InquiryError, TimeoutError, ValueError):
            self.metrics_text = ""
            return Sample(health)
        self.metrics_text = text
        return Sample(health, read_vitals(text))

    async def _health(self) -> Health:
        try:
            reply = await self._inquirer.get("/health", ANSWER_SECONDS)
        except RefusedError:
            return Health.REFUSED
        except (InquiryError, TimeoutError):
            return Health.SLOW
        # An engine without this path answers 404: it is up, which is all there is to know.
        return Health.FAILING if reply.status >= 500 else Health.OK


def _served(listing: Any) -> tuple[tuple[str, str], ...] | None:
    """Without the time of creation, which vLLM makes anew for every answer."""
    match listing:
        case {"data": [*models]}:
            return tuple(
                (model["id"], str(model.get("root")))
                for model in models[:MOST_MODELS]
                if isinstance(model, dict) and isinstance(model.get("id"), str)
            )
    return None
