"""What exact merging saves on real vLLM, against the same vLLM alone, over the same requests.

Trials in front of one pod first, then over four pods behind a balancer of connections.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import uvloop

from bench import cache
from bench.gain import tables, trials, vllm, workload
from bench.gain.fleet import Arm, Cores, Fleet, StartError, start
from bench.gain.trials import SEED, Measured, Trial
from bench.gain.workload import SCENARIOS, Scenario
from bench.processes import Processes, free_port
from bench.report import CANNOT_RUN, Report, arguments, at_least_one, finish
from e2e.kind import steps

SEQUENCES = 32
"""That an engine computes at once."""
PODS = 4
ROUNDS = 3


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    clients: int
    shorter: float  # the lists, than the scenarios say
    scenarios: tuple[str, ...] = tuple(scenario.name for scenario in SCENARIOS)
    arms: tuple[Arm, ...] = tuple(Arm)
    rounds: int = ROUNDS
    pods: int = PODS

    @property
    def fewest(self) -> int:
        """Requests in a list: one of fewer is all beginning and end."""
        return 2 * self.clients


# So many clients that the engine is full even where most wait for one and the same answer.
FULL = Size(clients=6 * SEQUENCES, shorter=1.0)
QUICK = Size(
    clients=3 * SEQUENCES,
    shorter=0.5,
    scenarios=("translation", "unique"),
    arms=(Arm.DIRECT, Arm.CACHED),
    rounds=1,
    pods=1,
)
_WARM = Scenario("warm-up", 0.0, 0.0, 0.0, SCENARIOS[-1].prompt)


def main() -> int:
    parser = arguments("gain", __doc__)
    parser.add_argument(
        "--scenario",
        action="append",
        choices=[scenario.name for scenario in SCENARIOS],
        help="only this one; may be given several times",
    )
    parser.add_argument(
        "--rounds", type=at_least_one, help=f"in front of one pod (default {ROUNDS})"
    )
    parser.add_argument(
        "--pods", type=at_least_one, help=f"of the second part; 1: leave it out ({PODS})"
    )
    parser.add_argument("--plain", action="store_true", help="the sidecar's source, not compiled")
    options = parser.parse_args()
    report = Report("gain", options.quick)
    try:
        installed = vllm.install()
        sidecar = cache.worker(plain=options.plain)
        uvloop.run(_run(options, installed, sidecar, report))
    except (cache.MissingError, steps.SetupError, StartError) as missing:
        print(missing, file=sys.stderr)
        return CANNOT_RUN
    return finish(report, options)


async def _run(
    options: argparse.Namespace, installed: Path, sidecar: dict[str, str], report: Report
) -> None:
    began = time.monotonic()
    size = QUICK if options.quick else FULL
    size = replace(
        size,
        scenarios=tuple(options.scenario or size.scenarios),
        rounds=options.rounds or size.rounds,
        pods=options.pods or size.pods,
    )
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in size.scenarios]
    async with _pods(installed, sidecar, size.pods) as pods:
        one_pod = replace(pods, pods=pods.pods[:1])
        bench = _Bench(one_pod, size, await _warm_up(one_pod, size))
        one = await bench.measure("one pod", trials.plan(scenarios, size.rounds, size.arms))
        doubled = None
        if not options.quick:
            last = Trial(scenarios[-1], size.rounds, Arm.DIRECT)
            steps.say(f"direct with twice the clients, {last.scenario.name}")
            doubled = await bench.one(last, 2 * size.clients)
        many: list[Measured] = []
        if size.pods > 1:
            await _warm_up(pods, size)
            bench = replace(bench, fleet=pods)
            planned = trials.plan(scenarios, 1, size.arms, SEED + 1)
            many = await bench.measure(f"{size.pods} pods", planned)
    tables.fill(report, one, many, size.pods, doubled)
    report.notes.append(f"Took {time.monotonic() - began:.0f} s with {size.clients} clients.")


@asynccontextmanager
async def _pods(installed: Path, sidecar: dict[str, str], pods: int) -> AsyncIterator[Fleet]:
    """Pods that are gone when the block ends; this process keeps to the cores of the others."""
    cores = Cores.of_this_process()
    ports = [free_port() for _ in range(pods)]
    engines = {port: vllm.command(installed, port, SEQUENCES) for port in ports}
    with tempfile.TemporaryDirectory(prefix="bench-gain-") as name:
        folder = Path(name)
        environment = vllm.environment(installed, folder)
        with Processes(folder / "logs") as running:
            async with aiohttp.ClientSession() as session:
                with steps.step(f"{pods} × vLLM and a sidecar start"):
                    fleet = await start(
                        running,
                        folder,
                        session,
                        engines=engines,
                        environment=environment,
                        sidecar=sidecar,
                        cores=cores,
                    )
                os.sched_setaffinity(0, cores.others)
                try:
                    yield fleet
                finally:
                    os.sched_setaffinity(0, {*cores.engines, *cores.others})


async def _warm_up(fleet: Fleet, size: Size) -> float:
    """Requests per second of the engines alone, so full of work as in the trials."""
    asked = workload.order(0.0, size.fewest, SEED)
    first = await trials.measure(fleet, Trial(_WARM, 0, Arm.DIRECT), asked, size.clients)
    rate = first.outcome.per_second
    steps.say(f"direct, warming up: {rate:.0f} requests/s")
    return rate


@dataclass(frozen=True)
class _Bench:
    """``per_second``: what one engine answers alone; it makes the lists as long as they should
    take, and they stay the same over four pods."""

    fleet: Fleet
    size: Size
    per_second: float

    async def measure(self, where: str, planned: Sequence[Trial]) -> list[Measured]:
        done = []
        for number, trial in enumerate(planned, 1):
            measured = await self.one(trial, self.size.clients)
            steps.say(
                f"[{where} {number}/{len(planned)}] {trial.scenario.name}, {trial.arm}: "
                f"{measured.outcome.requests} requests, {measured.outcome.seconds:.1f} s, "
                f"{measured.outcome.per_second:.0f}/s"
            )
            done.append(measured)
        return done

    async def one(self, trial: Trial, clients: int) -> Measured:
        """The list depends on the round alone: all arms of a round work off the same one."""
        scenario = trial.scenario
        seconds = scenario.direct_seconds * self.size.shorter
        length = max(self.size.fewest, round(self.per_second * seconds))
        asked = workload.order(scenario.share, length, SEED + trial.round)
        return await trials.measure(self.fleet, trial, asked, clients)


if __name__ == "__main__":
    sys.exit(main())
