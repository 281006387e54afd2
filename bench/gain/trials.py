"""The order of the trials, and one trial: a list through one arm, and what the engines say then."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import fmean

from bench.gain import client, workload
from bench.gain.figures import Outcome
from bench.gain.fleet import Arm, Fleet, Load
from bench.gain.vllm import MODEL
from bench.gain.workload import Scenario

SEED = 20261122
_SAMPLE_SECONDS = 1.0
_WITHIN_SECONDS = 180  # for one list; what is not answered then has failed


@dataclass(frozen=True)
class Trial:
    scenario: Scenario
    round: int
    arm: Arm


@dataclass(frozen=True)
class Measured:
    """``running`` and ``waiting``: means over the trial, of all engines together."""

    trial: Trial
    asked: Sequence[int]
    outcome: Outcome
    running: float
    waiting: float
    engine_calls: int
    engine_cpu_seconds: float
    sidecar_cpu_seconds: float


def plan(
    scenarios: Sequence[Scenario], rounds: int, arms: Sequence[Arm] = tuple(Arm), seed: int = SEED
) -> list[Trial]:
    """Every scenario and arm once a round; the arms of a scenario right behind each other, so
    that they meet the same machine, and in an order drawn anew each time."""
    rng = random.Random(seed)
    trials = []
    for number in range(rounds):
        for scenario in scenarios:
            trials += [Trial(scenario, number, arm) for arm in rng.sample(arms, len(arms))]
    return trials


def nonce(trial: Trial, pods: int) -> str:
    """Eight digits that no other trial on these engines has."""
    name = f"{pods} {trial.scenario.name} {trial.round} {trial.arm}"
    return hashlib.sha256(name.encode()).hexdigest()[:8]


async def measure(fleet: Fleet, trial: Trial, asked: Sequence[int], clients: int) -> Measured:
    ports = await fleet.ports(trial.arm)
    bodies = workload.bodies(trial.scenario, asked, MODEL, nonce(trial, len(ports)))
    before, cpu_before = await fleet.load(), fleet.cpu_seconds()
    async with _sampling(fleet) as samples:
        outcome = await client.run(
            bodies, ports, clients, seed=SEED + trial.round, within_seconds=_WITHIN_SECONDS
        )
    after, cpu_after = await fleet.load(), fleet.cpu_seconds()
    return Measured(
        trial=trial,
        asked=asked,
        outcome=outcome,
        running=fmean(sample.running for sample in samples) if samples else 0.0,
        waiting=fmean(sample.waiting for sample in samples) if samples else 0.0,
        engine_calls=round(after.answered - before.answered),
        engine_cpu_seconds=cpu_after.engines - cpu_before.engines,
        sidecar_cpu_seconds=cpu_after.sidecars - cpu_before.sidecars,
    )


@asynccontextmanager
async def _sampling(fleet: Fleet) -> AsyncIterator[list[Load]]:
    """What the engines say every second, until the block ends."""
    samples: list[Load] = []

    async def sample() -> None:
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            samples.append(await fleet.load())

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
