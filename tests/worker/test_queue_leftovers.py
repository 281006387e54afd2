"""What came and went leaves nothing behind in the waiting line: neither memory nor work."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from batchfleet_worker.fairness import Accounts
from batchfleet_worker.queue import Line


@dataclass(eq=False)
class Waiting:
    priority: int
    tenant: str
    enqueued_at: float
    weight: int = 1


def empties_again_and_again(line: Line[Waiting], at: float) -> None:
    one = Waiting(0, "a", at)
    line.push(one, at)
    line.take(line.head(), at)


def below_one_who_stays(line: Line[Waiting], at: float) -> None:
    if not line:
        line.push(Waiting(1000, "first", 0.0), 0.0)
    low = Waiting(-5, "b", at)
    line.push(low, at)
    line.head()
    line.remove(low)


def beside_a_tenant_who_is_served_less(line: Line[Waiting], at: float) -> None:
    if not line:
        line.push(Waiting(0, "poor", 0.0), 0.0)
    rich = Waiting(0, "rich", at)
    line.push(rich, at)
    line.head()
    line.remove(rich)


@pytest.mark.parametrize(
    "come_and_go",
    [empties_again_and_again, below_one_who_stays, beside_a_tenant_who_is_served_less],
)
def test_nothing_is_kept_of_what_left(come_and_go: Callable[[Line[Waiting], float], None]) -> None:
    line: Line[Waiting] = Line(Accounts())
    for turn in range(500):
        come_and_go(line, float(turn))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(500, 5500):
            come_and_go(line, float(turn))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 64 * 1024
