"""One pod's engine with the queue in front of it: a continuous batch, exact between events.

SageServe's table for llama2-70b on four H100: a step of all running sequences takes
28.8 + 0.336 × batch milliseconds, a prefill 4.3 + 0.113 × prompt tokens milliseconds.  Prefills
come one after the other and go first, as in vLLM without chunks: while one runs, nobody gets a
token.
All running sequences advance together, so one clock that counts steps is enough: a sequence ends
when the clock has moved by its tokens.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

from batchfleet_operator.simulate.trace import Trace

EPSILON = 1e-6  # steps: rounding of the clock


@dataclass(frozen=True, slots=True)
class Physics:
    """What an engine is like.  The defaults are facts' table; KV: 4 × 80 GB × 0.9 less the weights,
    at 320 KiB a token."""

    batch: int = 64
    queue: int = 1000  # per pod; what comes then is refused
    step_milliseconds: float = 28.8
    step_milliseconds_per_sequence: float = 0.336
    prefill_milliseconds: float = 4.3
    prefill_milliseconds_per_token: float = 0.113
    kv_tokens: int = 400_000

    def step_seconds(self, sequences: float) -> float:
        return (self.step_milliseconds + self.step_milliseconds_per_sequence * sequences) / 1000

    def prefill_seconds(self, prompt: float) -> float:
        return (self.prefill_milliseconds + self.prefill_milliseconds_per_token * prompt) / 1000

    def work_seconds(self, prompt: float, output: float) -> float:
        """Of a pod at full batch, for one such request."""
        return self.prefill_seconds(prompt) + output * self.step_seconds(self.batch) / self.batch


@dataclass(frozen=True, slots=True)
class Objectives:
    """When a request was served well."""

    first_token_seconds: float = 2.0
    inter_token_seconds: float = 0.075  # mean over the request


@dataclass(frozen=True, slots=True)
class Told:
    """One answered request, for alert rules; all in seconds."""

    end: float
    waited: float  # for the first token
    between: float  # tokens, on average
    whole: float


class Ledger:
    """What became of each request of a trace."""

    def __init__(self, trace: Trace, objectives: Objectives, telling: bool = False) -> None:
        self.trace = trace
        self.prompts = trace.prompts
        self.outputs = trace.outputs
        self._arrivals = trace.arrivals
        self._first_token_seconds = objectives.first_token_seconds
        self._inter_token_seconds = objectives.inter_token_seconds
        self.first = [0.0] * len(trace)  # seconds; 0: no token yet
        self.good = bytearray(len(trace))
        self.offered = 0
        self.refused = 0
        self.completed = 0
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.told: deque[Told] | None = deque() if telling else None

    def finish(self, i: int, now: float) -> None:
        first = self.first[i]
        waited, steps = first - self._arrivals[i], self.outputs[i] - 1
        self.completed += 1
        self.prompt_tokens += self.prompts[i]
        self.output_tokens += steps + 1
        if (
            waited <= self._first_token_seconds
            and now - first <= self._inter_token_seconds * steps + EPSILON
        ):
            self.good[i] = 1
        if self.told is not None:
            between = (now - first) / steps if steps else 0.0
            self.told.append(Told(now, waited, between, waited + now - first))


class Engine:
    """``offer`` a request, ``settle`` at ``wake``: the time at which something ends."""

    __slots__ = (
        "_begun",
        "_busy_until",
        "_clock",
        "_ledger",
        "_now",
        "_physics",
        "_reserved",
        "_running",
        "_step",
        "limit",
        "queue",
        "slowdown",
    )

    def __init__(self, physics: Physics, ledger: Ledger, now: float) -> None:
        self._physics = physics
        self._ledger = ledger
        self._now = now
        self._clock = 0.0  # steps since the start
        self._step = physics.step_seconds(0)
        self._busy_until = now  # with prefills
        self._running: list[tuple[float, int]] = []  # (clock at its end, request), a heap
        self._begun = 0.0  # sum over running of prompt tokens less the clock at its first token
        self._reserved = 0  # KV tokens that running sequences will hold at their ends
        self.queue: deque[int] = deque()
        self.limit = physics.batch
        self.slowdown = 1.0  # of steps and prefills alike; a fault

    @property
    def running(self) -> int:
        return len(self._running)

    def kv_usage(self, now: float) -> float:
        """Used share of the KV cache."""
        self._advance(now)
        return (self._begun + len(self._running) * self._clock) / self._physics.kv_tokens

    def slow(self, factor: float, now: float) -> None:
        self._advance(now)
        self.slowdown = factor
        self._step = factor * self._physics.step_seconds(len(self._running))

    def offer(self, i: int, now: float) -> bool:
        """Take the request in or refuse it."""
        if len(self._running) < self.limit and not self.queue and self._fits(i):
            self._advance(now)
            self._admit(i, now)
        elif len(self.queue) < self._physics.queue:
            self.queue.append(i)
        else:
            return False
        return True

    def settle(self, now: float) -> int:
        """End what ends now, let in who waits; returns how many ended."""
        self._advance(now)
        running, ended = self._running, 0
        if now >= self._busy_until - EPSILON:
            ledger = self._ledger
            while running and running[0][0] <= self._clock + EPSILON:
                end, i = heapq.heappop(running)
                prompt, output = ledger.prompts[i], ledger.outputs[i]
                self._begun -= prompt - (end - output + 1)
                self._reserved -= prompt + output
                ledger.finish(i, now)
                ended += 1
        queue = self.queue
        while queue and len(running) < self.limit and self._fits(queue[0]):
            self._admit(queue.popleft(), now)
        if ended:
            self._step = self.slowdown * self._physics.step_seconds(len(running))
        return ended

    def wake(self) -> float:
        """When the next sequence ends, if nothing else comes; infinite: none runs."""
        if not self._running:
            return math.inf
        left = self._running[0][0] - self._clock
        return max(self._now, self._busy_until) + max(left, 0.0) * self._step

    def _fits(self, i: int) -> bool:
        """Whether its KV cache has room, at its end, too: nothing is ever preempted."""
        ledger = self._ledger
        need = self._reserved + ledger.prompts[i] + ledger.outputs[i]
        return need <= self._physics.kv_tokens or not self._running

    def _advance(self, now: float) -> None:
        begin = self._busy_until if self._busy_until > self._now else self._now
        if now > begin:
            self._clock += (now - begin) / self._step
        if now > self._now:
            self._now = now

    def _admit(self, i: int, now: float) -> None:
        ledger, physics = self._ledger, self._physics
        prompt, output = ledger.prompts[i], ledger.outputs[i]
        begin = self._busy_until if self._busy_until > now else now
        self._busy_until = begin + self.slowdown * physics.prefill_seconds(prompt)
        ledger.first[i] = self._busy_until
        heapq.heappush(self._running, (self._clock + output - 1, i))
        self._begun += prompt - self._clock
        self._reserved += prompt + output
        self._step = self.slowdown * physics.step_seconds(len(self._running))
