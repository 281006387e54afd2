"""The limit that finds itself, against simulated engines: near the best fixed cap, never outside
its bounds, and still where nothing is known."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.adaptive import NOTHING, SLACK, AdaptiveLimit, Cause, Signals

WINDOW_SECONDS = 0.5


@dataclass(frozen=True)
class Shape:
    """An engine: one iteration takes ``lone + slope x calls`` seconds and gives each call a token;
    reading a prompt takes ``prompt`` seconds of the iteration that begins it."""

    name: str
    lone: float
    slope: float
    prompt: float = 0.0
    most: int | None = None  # max_num_seqs
    target: float = 0.05


SMALL_GPU = Shape("small GPU", lone=0.018, slope=0.0012, prompt=0.002)
LARGE_GPU = Shape("large GPU", lone=0.009, slope=0.00011, prompt=0.0005)
LARGE_CAPPED = replace(LARGE_GPU, name="large GPU, max_num_seqs 128", most=128)
CPU = Shape("CPU", lone=0.02, slope=0.0045, prompt=0.004)
SLOW_CPU = Shape("CPU that never reaches the target", lone=0.08, slope=0.006, prompt=0.004)
FLAT = Shape("70B on one GPU, memory-bound", lone=0.061, slope=0.00005, most=64)
NARROW = Shape("lone gap at 0.64 of the target", lone=0.032, slope=0.0003, prompt=0.0005)
SHAPES = [SMALL_GPU, LARGE_GPU, LARGE_CAPPED, CPU, SLOW_CPU, FLAT, NARROW]


@dataclass
class Call:
    left: int
    tokens: int
    begun: float


@dataclass
class Engine:
    """Runs ``shape`` under an endless queue; ``limit`` is asked before every iteration."""

    shape: Shape
    seed: int = 1
    now: float = 0.0
    running: list[Call] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)  # inside the engine, past max_num_seqs
    served: list[tuple[float, float, int]] = field(default_factory=list)  # end, mean gap, tokens
    gap_sum: float = 0.0
    gap_count: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def iterate(self, limit: int) -> None:
        while len(self.running) + len(self.waiting) < limit:
            tokens = self.random.randint(40, 160)
            self.waiting.append(Call(tokens, tokens, self.now))
        new = 0
        while self.waiting and (self.shape.most is None or len(self.running) < self.shape.most):
            call = self.waiting.pop(0)
            call.begun = self.now
            self.running.append(call)
            new += 1
        calls = len(self.running)
        took = (self.shape.lone + self.shape.slope * calls) * self.random.uniform(0.95, 1.05)
        took += self.shape.prompt * new
        self.now += took
        self.gap_sum += took * (calls - new)
        self.gap_count += calls - new
        for call in self.running:
            call.left -= 1
            if not call.left:
                gap = (self.now - call.begun) / call.tokens
                self.served.append((self.now, gap, call.tokens))
        self.running = [call for call in self.running if call.left]

    def signals(self) -> Signals:
        gap = self.gap_sum / self.gap_count if self.gap_count else None
        self.gap_sum, self.gap_count = 0.0, 0
        return Signals(gap, len(self.running), len(self.waiting))

    def goodput(self, bound: float) -> float:
        """Tokens per second of the calls whose mean gap was within ``bound``."""
        return sum(tokens for _, gap, tokens in self.served if gap <= bound) / self.now


def bound_of(shape: Shape) -> float:
    """What counts as good: the target with room for jitter, or twice the lone gap beyond it."""
    target = shape.target if shape.lone < shape.target else 2 * shape.lone
    return 1.05 * target


def run_fixed(shape: Shape, limit: int, seconds: float = 60) -> float:
    engine = Engine(shape)
    while engine.now < seconds:
        engine.iterate(limit)
    return engine.goodput(bound_of(shape))


def run_adaptive(
    shape: Shape, seconds: float = 60, most: int | None = None
) -> tuple[float, list[int]]:
    engine = Engine(shape)
    limit = AdaptiveLimit(shape.target, most)
    look, limits = WINDOW_SECONDS, []
    while engine.now < seconds:
        engine.iterate(limit.limit)
        if engine.now >= look:
            look += WINDOW_SECONDS
            in_flight = len(engine.running) + len(engine.waiting)
            limit.step(engine.signals(), in_flight)
            limits.append(limit.limit)
    return engine.goodput(bound_of(shape)), limits


def best_fixed(shape: Shape) -> tuple[float, int]:
    caps = sorted({math.ceil(1.12**power) for power in range(60)})
    return max((run_fixed(shape, cap, 30), cap) for cap in caps if cap <= 600)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_nine_tenths_of_the_best_fixed_cap_without_being_told_it(shape: Shape) -> None:
    best, cap = best_fixed(shape)
    found, limits = run_adaptive(shape)
    assert found >= 0.9 * best, (found, best, cap, limits)


def test_the_climb_is_quick_where_the_lone_gap_is_near_the_target() -> None:
    _, limits = run_adaptive(NARROW, seconds=6)
    assert limits[-1] >= 45, limits  # of 60


def test_one_slow_window_is_not_believed() -> None:
    limit = AdaptiveLimit(0.05, most=64)
    limit.limit = 40
    for gap in (0.049, 0.056, 0.049, 0.061, 0.049):
        assert limit.step(Signals(gap, running=40), 40) is None
    assert limit.limit >= 40
    limit.step(Signals(0.056), limit.limit)
    assert limit.step(Signals(0.056), limit.limit) is Cause.GAP


def test_a_cut_is_not_judged_while_traffic_below_the_limit_has_still_to_fall() -> None:
    limit = AdaptiveLimit(0.05, most=640)
    limit.limit = 512
    limit.step(Signals(0.056), 390)
    assert limit.step(Signals(0.056), 390) is Cause.GAP
    for in_flight in (390, 385, 380, 370):
        limit.step(Signals(0.056), in_flight)
    assert (limit.limit, limit.floor) == (409, 1)


def test_the_limit_is_still_where_nothing_is_known() -> None:
    limit = AdaptiveLimit(0.05, None)
    for _ in range(100):
        assert limit.step(NOTHING, in_flight=8) is None
    assert limit.limit == 8


def test_the_limit_is_still_while_there_is_little_to_do() -> None:
    limit = AdaptiveLimit(0.05, None)
    for gap in (0.001, 0.2) * 50:
        limit.step(Signals(gap, running=3), in_flight=3)
    assert limit.limit == 8


def test_a_cut_that_does_nothing_for_the_gap_is_undone_and_not_tried_again() -> None:
    limit = AdaptiveLimit(0.05, most=64)
    limit.limit = 40
    causes = [limit.step(Signals(0.061, running=limit.limit), limit.limit) for _ in range(40)]
    assert causes.count(Cause.GAP) == 1
    assert (limit.limit, limit.floor) == (64, 40), (
        "nor is it held down for a gap that is not its own"
    )


def test_a_cut_is_judged_only_when_calls_have_ended() -> None:
    limit = AdaptiveLimit(0.05, most=64)
    limit.limit = 40
    limit.step(Signals(0.061), 40)
    assert limit.step(Signals(0.061), 40) is Cause.GAP
    for in_flight in (40, 39, 37, 35, 33):
        assert limit.step(Signals(0.061), in_flight) is None
    assert limit.limit == 32
    limit.step(Signals(0.05), 32)
    limit.step(Signals(0.049), 32)
    assert (limit.limit, limit.floor) == (32, 1)


def test_what_was_learnt_is_tried_again_after_two_minutes_and_forgotten_with_the_engine() -> None:
    limit = AdaptiveLimit(0.05, most=64)
    limit.limit = limit.floor = 40
    limit._floor_windows = 240
    causes = [limit.step(Signals(0.061, running=40), 40) for _ in range(241)]
    assert causes.count(Cause.GAP) == 1
    limit.forget()
    assert (limit.limit, limit.floor) == (8, 1)


@pytest.mark.parametrize(
    ("signals", "refused", "cause"),
    [
        (Signals(0.02), 1, Cause.REFUSED),
        (Signals(0.02, preempted=3), 0, Cause.PREEMPTION),
        (Signals(0.02, waiting=1, kv_usage=0.96), 0, Cause.CACHE),
        (Signals(None, preempted=1), 0, Cause.PREEMPTION),
    ],
)
def test_what_cuts_without_a_gap(signals: Signals, refused: int, cause: Cause) -> None:
    limit = AdaptiveLimit(0.05, None)
    limit.limit = 100
    assert limit.step(signals, 100, refused) is cause
    assert limit.limit == 80


def test_a_full_cache_without_waiters_and_a_short_queue_in_the_engine_are_no_trouble() -> None:
    limit = AdaptiveLimit(0.05, None)
    limit.limit = 100
    assert limit.step(Signals(0.049, running=100, waiting=0, kv_usage=0.99), 100) is None
    assert limit.step(Signals(0.049, running=80, waiting=20), 100) is None
    assert limit.limit == 100


def test_the_engines_own_limit_is_found_where_it_is_not_told_and_kept_where_it_is() -> None:
    limit = AdaptiveLimit(0.05, None)
    limit.limit = 200
    causes = []
    for _ in range(40):
        waiting = max(0, limit.limit - 128)
        causes.append(limit.step(Signals(0.049, running=128, waiting=waiting), limit.limit))
    assert causes.count(Cause.QUEUE) == 1
    assert limit.limit == 128 + SLACK
    told = AdaptiveLimit(0.05, None)
    for _ in range(60):
        told.step(Signals(0.01, running=told.limit, most_running=16), told.limit)
    assert told.limit == 16 + SLACK


def test_the_services_own_ceiling_holds_also_when_it_is_lowered() -> None:
    limit = AdaptiveLimit(0.05, 20)
    for _ in range(60):
        limit.step(Signals(0.01, running=limit.limit, most_running=256), limit.limit)
    assert limit.limit == 20
    limit.change(0.05, 5)
    assert limit.limit == 5


_GAPS = st.none() | st.floats(1e-4, 10)
_COUNTS = st.none() | st.integers(0, 500)
_SIGNALS = st.builds(
    Signals,
    gap_seconds=_GAPS,
    running=_COUNTS,
    waiting=_COUNTS,
    kv_usage=st.none() | st.floats(0, 1),
    preempted=st.sampled_from([0, 0, 0, 5]),
    most_running=st.none() | st.integers(1, 300),
)


@given(
    st.none() | st.integers(1, 300),
    st.lists(st.tuples(_SIGNALS, st.integers(0, 400), st.sampled_from([0, 0, 0, 2])), max_size=60),
)
def test_whatever_the_engine_says_the_limit_stays_in_its_bounds(
    most: int | None, windows: list[tuple[Signals, int, int]]
) -> None:
    limit = AdaptiveLimit(0.05, most)
    for signals, in_flight, refused in windows:
        before = limit.limit
        cause = limit.step(signals, in_flight, refused)
        assert 1 <= limit.floor <= limit.limit <= limit.ceiling
        if most is not None:
            assert limit.limit <= most
        assert limit.limit <= max(8, 2 * before)
        if cause is not None:
            assert limit.limit < before or before > limit.ceiling


if __name__ == "__main__":
    for each in SHAPES:
        best, cap = best_fixed(each)
        found, limits = run_adaptive(each)
        ratio = round(found / best, 3)
        print(each.name, round(best), cap, round(found), ratio, limits[:24], limits[-20:])
