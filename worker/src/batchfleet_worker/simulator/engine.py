"""The engine's loop: the model of time run against a clock, and the books it keeps.

A request's sequences come in by :meth:`Engine.submit`; with every iteration that made progress
the request is told to look at them.  The batch, the metrics and the faults are other modules'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from .batch import Batch, Sequence, Step
from .faults import Switchboard
from .metrics import Metrics, Served


@dataclass(slots=True, eq=False)
class Generation:
    """One request in the engine: its sequences, and when things happened (loop's seconds)."""

    prompt: str
    sequences: tuple[Sequence, ...]
    finish_reasons: tuple[str, ...]  # of each sequence, once it is finished
    max_tokens: int
    progressed: Callable[[], None]
    arrived: float
    clocks: dict[Sequence, Clock] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return all(sequence.finished for sequence in self.sequences)


@dataclass(slots=True)
class Clock:
    """When a sequence started, and had its first and its latest token; 0 while it has not."""

    started: float = 0.0
    first: float = 0.0
    latest: float = 0.0
    preemptions: int = 0


class Engine:
    """One simulated engine on the running event loop."""

    def __init__(
        self, batch: Batch, metrics: Metrics, switchboard: Switchboard, speed: float
    ) -> None:
        self.batch = batch
        self.metrics = metrics
        self._switchboard = switchboard
        self._speed = speed
        self._generations: dict[Sequence, Generation] = {}
        self._work = asyncio.Event()
        self._time = asyncio.get_running_loop().time

    def submit(
        self,
        prompt: str,
        sequences: tuple[Sequence, ...],
        finish_reasons: tuple[str, ...],
        max_tokens: int,
        progressed: Callable[[], None],
    ) -> Generation:
        """Queue a request's sequences.  Raises ValueError when one can never fit."""
        generation = Generation(
            prompt, sequences, finish_reasons, max_tokens, progressed, self._time()
        )
        for sequence in sequences:  # all or none
            self.batch.check(sequence)
        for sequence in sequences:
            self.batch.add(sequence)
            self._generations[sequence] = generation
            generation.clocks[sequence] = Clock()
        self._work.set()
        return generation

    def abort(self, generation: Generation) -> None:
        """Drop what is left of a request whose client went away; nothing if it is finished."""
        left = [s for s in generation.sequences if s in self._generations]
        for sequence in left:
            self.batch.abort(sequence)
            del self._generations[sequence]
            self.metrics.finished["abort"] += 1

    async def run(self) -> None:
        """Iterate for as long as there is something to do, then wait; ends by cancellation."""
        while True:
            faults = self._switchboard.now
            if faults.stall and self._hit():
                await self._switchboard.change()
                continue
            step = self.batch.begin()
            if step is None:
                self._work.clear()
                await self._work.wait()
                continue
            self._begun(step)
            slow = faults.slow_factor if faults.slow_factor != 1 and self._hit() else 1.0
            await asyncio.sleep(step.seconds * slow / self._speed)
            self._done(step)

    def _hit(self) -> bool:
        """Whether the faults mean a request that is in the engine now."""
        prompts = (generation.prompt for generation in self._generations.values())
        return self._switchboard.now.hits(prompts)

    def _begun(self, step: Step) -> None:
        now = self._time()
        for sequence in step.started:
            clock = self._generations[sequence].clocks[sequence]
            clock.started = clock.started or now  # after a preemption it starts once more
        for sequence in step.preempted:
            self._generations[sequence].clocks[sequence].preemptions += 1
        self.metrics.preemptions += len(step.preempted)

    def _done(self, step: Step) -> None:
        now = self._time()
        metrics = self.metrics
        told: dict[int, Generation] = {}
        got = self.batch.finish(step)
        metrics.iteration(step.tokens, len(got))
        for sequence in got:
            generation = self._generations[sequence]
            clock = generation.clocks[sequence]
            if sequence.generated == 1:
                clock.first = now
                metrics.first_token(now - generation.arrived, sequence.prompt_tokens)
            else:
                metrics.inter_token_latency.observe(now - clock.latest)
            clock.latest = now
            told[id(generation)] = generation
            if sequence.finished:
                del self._generations[sequence]
                self._finished(generation, sequence)
        for generation in told.values():
            generation.progressed()

    def _finished(self, generation: Generation, sequence: Sequence) -> None:
        clock = generation.clocks[sequence]
        self.metrics.finish(
            generation.finish_reasons[generation.sequences.index(sequence)],
            Served(
                prompt_tokens=sequence.prompt_tokens,
                output_tokens=sequence.generated,
                max_tokens=generation.max_tokens,
                choices=len(generation.sequences),
                preemptions=clock.preemptions,
                queue_seconds=clock.started - generation.arrived,
                prefill_seconds=clock.first - clock.started,
                decode_seconds=clock.latest - clock.first,
            ),
        )
