"""Continuous batching in virtual time: what an engine's scheduler does, without a clock or I/O.

This is the simulator's model of time.  :mod:`.engine` begins a :class:`Step`, waits as
long as it says, and finishes it; tests and benchmarks do the same without waiting.  Every
iteration gives each decoding sequence one token and spends what is left of the token budget on
prompts (chunked prefill), so it grows with the batch.

    waiting ──(slot, blocks, budget)──► prefill, in chunks ──► decode ──► finished
       ▲                                                         │
       └───────────────── preempted: no block left ──────────────┘
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an iteration takes.

    The defaults are SageServe's table for llama2-70b on four H100: tokens follow each other at
    28.8 + 0.336 x batch ms, a prompt takes 4.3 + 0.113 x tokens ms.
    """

    step_seconds: float = 0.0288
    step_seconds_per_sequence: float = 0.000336
    prefill_seconds: float = 0.0043
    prefill_seconds_per_token: float = 0.000113

    def of(self, decoding: int, prefill_tokens: int) -> float:
        """Seconds of an iteration with so many decoding sequences and prompt tokens."""
        seconds = 0.0
        if decoding:
            seconds += self.step_seconds + self.step_seconds_per_sequence * decoding
        if prefill_tokens:
            seconds += self.prefill_seconds + self.prefill_seconds_per_token * prefill_tokens
        return seconds


@dataclass(frozen=True, slots=True)
class Capacity:
    """What an engine can hold; the names are those of vLLM's flags."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    num_gpu_blocks: int = 4096
    block_size: int = 16

    def __post_init__(self) -> None:
        if min(self.max_num_seqs, self.num_gpu_blocks, self.block_size) < 1:
            raise ValueError("an engine holds at least one sequence and one block of one token")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError("max_num_batched_tokens must not be below max_num_seqs")

    def blocks(self, tokens: int) -> int:
        """KV cache blocks that so many tokens take."""
        return math.ceil(tokens / self.block_size)


@dataclass(slots=True, eq=False)
class Sequence:
    """One prompt and the tokens it will get; the batch alone changes the fields below the line."""

    prompt_tokens: int
    output_tokens: int  # how many will be generated, at least 1
    # --
    computed: int = field(default=0, init=False)  # tokens in the KV cache
    generated: int = field(default=0, init=False)

    @property
    def to_compute(self) -> int:
        """Tokens still to be prefilled: the prompt, after a preemption the generated ones too."""
        return max(0, self.prompt_tokens + self.generated - self.computed)

    @property
    def decoding(self) -> bool:
        """Whether the next iteration computes just its last token."""
        return self.generated > 0 and self.to_compute == 1

    @property
    def finished(self) -> bool:
        return self.generated >= self.output_tokens


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: it takes ``seconds``, then each of ``producing`` has one token more."""

    seconds: float
    producing: tuple[Sequence, ...]
    decoding: int  # how many of them decode; the others have just been prefilled
    prefill_tokens: int
    started: tuple[Sequence, ...]  # left the queue for this iteration
    preempted: tuple[Sequence, ...]  # went back to the queue before it

    @property
    def tokens(self) -> int:
        """What the iteration computes: prompt tokens, and one for each decoding sequence."""
        return self.prefill_tokens + self.decoding


class Batch:
    """The sequences that run and wait in one engine."""

    def __init__(self, capacity: Capacity, timing: Timing) -> None:
        self.capacity = capacity
        self.timing = timing
        self.running: list[Sequence] = []  # in the order in which they started
        self.waiting: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self.running) + len(self.waiting)

    def check(self, sequence: Sequence) -> None:
        """Raise ValueError for a sequence that could never run, not even alone."""
        if sequence.output_tokens < 1 or sequence.prompt_tokens < 1:
            raise ValueError("a sequence has at least one prompt token and one token to generate")
        needed = self.capacity.blocks(sequence.prompt_tokens + sequence.output_tokens)
        if needed > self.capacity.num_gpu_blocks:
            raise ValueError("the sequence is larger than the KV cache")

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence.  Raises ValueError for one that could never run."""
        self.check(sequence)
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> None:
        """Forget a sequence, wherever it stands; idempotent."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    @property
    def kv_cache_usage(self) -> float:
        """Share of the KV cache's blocks in use, 0 to 1."""
        return sum(map(self._blocks, self.running)) / self.capacity.num_gpu_blocks

    def begin(self) -> Step | None:
        """Begin the next iteration, or None when there is nothing to do.

        Decoding comes first; when it needs a block that is not there, the youngest sequence goes
        back to the head of the queue and loses what was computed.
        """
        used, preempted = self._make_room()
        producing: list[Sequence] = []
        prefilling: list[Sequence] = []
        for sequence in self.running:
            (producing if sequence.decoding else prefilling).append(sequence)
        decoding = len(producing)
        budget = self.capacity.max_num_batched_tokens - decoding
        unspent = budget - sum(s.to_compute for s in prefilling)
        started = [] if preempted else self._start(used, unspent)
        prefill_tokens = 0
        for sequence in (*prefilling, *started):
            chunk = min(sequence.to_compute, budget - prefill_tokens)
            prefill_tokens += chunk
            sequence.computed += chunk
            if not sequence.to_compute:
                producing.append(sequence)
        if not producing and not prefill_tokens:
            return None
        return Step(
            seconds=self.timing.of(decoding, prefill_tokens),
            producing=tuple(producing),
            decoding=decoding,
            prefill_tokens=prefill_tokens,
            started=tuple(started),
            preempted=tuple(preempted),
        )

    def finish(self, step: Step) -> tuple[Sequence, ...]:
        """Give out the tokens of a step that is over; returns who got one.

        Sequences aborted meanwhile get none; those that are finished have left the batch.
        """
        present = set(map(id, self.running))
        got = tuple(s for s in step.producing if id(s) in present)
        for sequence in got:
            sequence.computed = sequence.prompt_tokens + sequence.generated
            sequence.generated += 1
        self.running = [s for s in self.running if not s.finished]
        return got

    def _make_room(self) -> tuple[int, list[Sequence]]:
        """Preempt until every running sequence can store its next token: (blocks, preempted)."""
        used = sum(map(self._blocks, self.running))
        preempted: list[Sequence] = []
        while used > self.capacity.num_gpu_blocks:
            victim = self.running.pop()
            used -= self._blocks(victim)
            victim.computed = 0
            self.waiting.appendleft(victim)
            preempted.append(victim)
        return used, preempted

    def _start(self, used: int, budget: int) -> list[Sequence]:
        """Move waiting sequences, first come first served, while slots, blocks and budget last."""
        started: list[Sequence] = []
        while self.waiting and budget > 0 and len(self.running) < self.capacity.max_num_seqs:
            used += self._blocks(self.waiting[0])
            if used > self.capacity.num_gpu_blocks:
                break
            sequence = self.waiting.popleft()
            budget -= sequence.to_compute
            self.running.append(sequence)
            started.append(sequence)
        return started

    def _blocks(self, sequence: Sequence) -> int:
        """Blocks of a sequence, once the tokens of its next iteration are stored."""
        return self.capacity.blocks(sequence.prompt_tokens + sequence.generated)
