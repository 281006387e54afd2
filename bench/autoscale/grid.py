"""All the runs: every policy at every setting, day, start and cold start, on all cores.

A task is one stretch of a trace; it is made once, and all runs of it follow in the same process.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from batchfleet_operator.simulate import readers
from batchfleet_operator.simulate.catalogue import BY_NAME, Chosen, Setting
from batchfleet_operator.simulate.fleet import Make
from batchfleet_operator.simulate.policy import Bounds
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.run import Scenario, run

BOUNDS = Bounds(1, 40)
MEAN_RATE = 12.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some hours of a trace."""

    trace: str  # its name in the tables
    path: Path
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Task:
    """A stretch and what is run on it."""

    stretch: Stretch
    lengths: Path
    cold_starts: tuple[float, ...]
    policies: tuple[tuple[str, float], ...]  # name and setting


@dataclass(frozen=True, slots=True)
class Cell:
    """One run."""

    trace: str
    cold_start: float
    policy: str
    setting: float
    requests: int
    attained: int
    hours: float  # of the trace
    replica_hours: float
    actions: int
    reversals: int


def stretches(
    name: str, path: Path, day: int, starts: int, hours: float, seed: int
) -> list[Stretch]:
    """Random beginnings within one day; the day goes round."""
    rng = random.Random(f"{seed} {name} {day}")
    return [
        Stretch(
            name,
            path,
            Wanted(
                seed=seed + 100 * day + k,
                day=day,
                start=rng.random() * readers.DAY_SECONDS,
                mean_rate=MEAN_RATE,
                hours=hours,
            ),
        )
        for k in range(starts)
    ]


def work_off(tasks: Sequence[Task], jobs: int) -> list[Cell]:
    """All cells; tells on stderr how far it is."""
    cells: list[Cell] = []
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(_task, task) for task in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            cells += future.result()
            print(f"{done} of {len(tasks)} stretches", file=sys.stderr, flush=True)
    return cells


def _task(task: Task) -> list[Cell]:
    stretch = task.stretch
    trace = readers.read(stretch.path, stretch.wanted, readers.azure_lengths(task.lengths))
    cells = []
    for cold_start in task.cold_starts:
        scenario = Scenario(Make(cold_start_seconds=cold_start), seed=stretch.wanted.seed)
        for name, value in task.policies:
            policy = Chosen(BY_NAME[name], value).policy(Setting(trace, scenario, BOUNDS))
            outcome = run(trace, policy, scenario)
            cells.append(
                Cell(
                    stretch.trace,
                    cold_start,
                    name,
                    value,
                    outcome.requests,
                    outcome.attained,
                    trace.seconds / 3600,
                    outcome.replica_hours,
                    outcome.actions,
                    outcome.reversals,
                )
            )
    return cells


def settings(names: Iterable[str], few: bool) -> tuple[tuple[str, float], ...]:
    """Each policy with its sweep; ``few``: every other one."""
    return tuple(
        (name, value) for name in names for value in BY_NAME[name].sweep[:: 2 if few else 1]
    )
