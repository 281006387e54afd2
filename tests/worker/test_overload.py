"""Three times what the engine can do: interactive requests go on as if nothing were, batch waits.

The admission with its adaptive limit in front of a simulated engine (``test_adaptive``), whose
iteration takes longer with every call in it; all in virtual time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from batchfleet_worker.adaptive import Signals
from batchfleet_worker.exchange import Refusal
from batchfleet_worker.flight import Flight
from batchfleet_worker.live import BatchingSettings, Mode, RequestsSettings
from tests.worker.hall import Hall, request

LONE_SECONDS, SLOPE_SECONDS = 0.018, 0.0012  # a small GPU: 26 calls at 50 ms
TOKENS = (40, 160)
CAPACITY = 5.2  # calls in a second at 26 calls of 100 tokens and 50 ms each


@dataclass
class Day:
    """Arrivals, the engine's iterations, and the prober's half seconds, one after the other."""

    hall: Hall
    seed: int = 3
    left: dict[Flight, int] = field(default_factory=dict)
    waits: dict[int, list[float]] = field(default_factory=lambda: {0: [], -1: []})
    refused: dict[int, int] = field(default_factory=lambda: {0: 0, -1: 0})
    tokens: int = 0
    gap_sum: float = 0.0
    gap_count: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.hall.on_send = self.begin
        self.looked_at = self.hall.now()

    def begin(self, flight: Flight) -> None:
        self.left[flight] = self.random.randint(*TOKENS)
        offered = flight.enqueued_at or self.hall.now()
        self.waits[flight.priority].append(self.hall.now() - offered)

    def run(self, seconds: float, rates: dict[int, float]) -> None:
        end = self.hall.now() + seconds
        due = {each: self.hall.now() + self.random.expovariate(rates[each]) for each in rates}
        while self.hall.now() < end:
            for priority in due:
                while due[priority] <= self.hall.now():
                    due[priority] += self.random.expovariate(rates[priority])
                    if isinstance(self.hall.offer(request(priority)), Refusal):
                        self.refused[priority] += 1
            self.iterate()

    def iterate(self) -> None:
        took = LONE_SECONDS + SLOPE_SECONDS * len(self.left)
        self.hall.clock.advance(took)
        self.gap_sum += took * len(self.left)
        self.gap_count += len(self.left)
        self.tokens += len(self.left)
        for flight in list(self.left):
            self.left[flight] -= 1
            if not self.left[flight]:
                del self.left[flight]
                self.hall.end(flight, tokens=(20, 100))
        if self.hall.now() >= self.looked_at + 0.5:
            self.looked_at = self.hall.now()
            gap = self.gap_sum / self.gap_count if self.gap_count else None
            self.gap_sum, self.gap_count = 0.0, 0
            running = len(self.left)
            self.hall.admission.tick(self.looked_at, Signals(gap, running=running, waiting=0))


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def day(queue_timeout: int = 60, **batching: object) -> Day:
    hall = Hall()
    hall.admission.apply(
        BatchingSettings.model_validate(batching),
        RequestsSettings(queue_timeout_seconds=queue_timeout),
    )
    return Day(hall)


@pytest.mark.parametrize("interactive", [0.2, 0.4, 0.5])
def test_at_three_times_capacity_interactive_traffic_keeps_its_two_seconds(
    interactive: float,
) -> None:
    now = day(mode=Mode.ADAPTIVE)
    now.run(20, {0: interactive * CAPACITY})
    now.waits[0].clear()
    now.run(120, {0: interactive * CAPACITY, -1: (3 - interactive) * CAPACITY})
    assert percentile(now.waits[0], 0.99) < 2.0
    assert now.refused[0] == 0
    assert len(now.waits[-1]) > 0, "batch fills what is left"
    assert now.refused[-1] > 0, "and is told when that is not enough"


def test_the_engine_is_kept_as_busy_as_under_the_best_fixed_limit() -> None:
    def goodput(now: Day) -> float:
        now.run(20, {0: 3 * CAPACITY})
        now.tokens = 0
        now.run(60, {0: 3 * CAPACITY})
        return now.tokens / 60

    best = goodput(day(max_batch_size=26))
    assert goodput(day(mode=Mode.ADAPTIVE)) >= 0.9 * best


def test_when_the_load_falls_the_waits_are_over_when_the_queue_timeout_is() -> None:
    """What waits by then is still answered: the queue timeout is how long a recovery may take."""
    now = day(queue_timeout=5, mode=Mode.ADAPTIVE)
    now.run(60, {0: 3 * CAPACITY})
    assert percentile(now.waits[0], 0.99) > 3
    now.run(10, {0: 0.3 * CAPACITY})
    now.waits[0].clear()
    now.run(30, {0: 0.3 * CAPACITY})
    assert percentile(now.waits[0], 0.99) < 0.5
