"""``python -m bench.soak``: half an hour of mixed traffic with faults, and memory stays flat.

The traffic is that of ``bench.correctness``, judged in the same way.  Memory and open files of the
sidecar are sampled; its start, while buffers and caches fill, is the first third and not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.processes import Processes
from bench.report import Bar, Report
from bench.soak.flat import Sample, growth, slope_per_hour, thirds
from bench.traffic import program
from bench.traffic.account import Account
from bench.traffic.clients import Crowd
from bench.traffic.fleet import Fleet, open_files, resident_bytes
from bench.traffic.ledger import Ledger
from bench.traffic.question import Questions
from bench.traffic.setup import ENGINE_FLAGS, live
from bench.traffic.verdict import Outcome
from bench.traffic.weather import storm

SECONDS, QUICK_SECONDS = 1800.0, 35.0
SESSIONS = 64
SETTINGS_EVERY_SECONDS = 20.0
CALM_SECONDS = 15.0

GROWTH = 1.10
"""Last third over middle third: a leak that matters in a day shows within these minutes, and noise
of the allocator stays below."""
SLOPE_MIB_PER_HOUR = 8.0
"""Half of this over the run is what one more arena of the allocator is worth.  Only held in the
long run: a line through half a minute says nothing about an hour."""

TURNS = (live(cache=True), live(), live(mode="Adaptive", cache=True), live(merging="Observe"))


@dataclass
class Samples:
    memory: list[Sample] = field(default_factory=list)  # MiB
    files: list[Sample] = field(default_factory=list)


def main() -> int:
    parser = program.parser("soak", __doc__, seed=2, sessions=SESSIONS)
    parser.add_argument("--seconds", type=float, help=f"how long (default: {SECONDS:g})")
    return program.run("soak", parser.parse_args(), measure)


async def measure(
    options: argparse.Namespace, processes: Processes, folder: Path, sidecar: dict[str, str]
) -> Report:
    seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    ledger, samples = Ledger(), Samples()
    async with aiohttp.ClientSession() as session:
        fleet = Fleet(processes, folder, session, engine_flags=ENGINE_FLAGS, environment=sidecar)
        await fleet.start(TURNS[0])
        before = await fleet.metrics()
        end = time.monotonic() + seconds
        crowd = Crowd(
            fleet.ports.data,
            Questions(options.seed),
            ledger,
            random.Random(options.seed),
            lambda: time.monotonic() < end,
        )
        every = seconds / 4 if options.quick else 45.0
        over = asyncio.Event()
        weather = asyncio.create_task(storm(fleet, random.Random(options.seed + 1), every, over))
        beside = [
            asyncio.create_task(_watch(fleet, samples, seconds / 400)),
            asyncio.create_task(_turn(fleet, min(SETTINGS_EVERY_SECONDS, seconds / 5))),
        ]
        try:
            await crowd.run(options.sessions)
        finally:
            over.set()
            await weather
            for task in beside:
                task.cancel()
            ended = await asyncio.gather(*beside, return_exceptions=True)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault
        if words := fleet.last_words():
            raise SystemExit(f"{ledger.outcomes}\n{words}")
        state = await fleet.calm(CALM_SECONDS)
        account = Account(before, await fleet.metrics())
        files_after = open_files(fleet.sidecar.pid)
    return _report(options, fleet, ledger, samples, account, state["inFlight"], files_after)


async def _watch(fleet: Fleet, samples: Samples, every_seconds: float) -> None:
    begun = time.monotonic()
    pid = fleet.sidecar.pid
    while True:
        now = time.monotonic() - begun
        samples.memory.append((now, resident_bytes(pid) / 2**20))
        samples.files.append((now, open_files(pid)))
        await asyncio.sleep(every_seconds)


async def _turn(fleet: Fleet, every_seconds: float) -> None:
    """The live settings in turns."""
    at = 0
    while True:
        await asyncio.sleep(every_seconds)
        at += 1
        fleet.settle(TURNS[at % len(TURNS)])


def _report(
    options: argparse.Namespace,
    fleet: Fleet,
    ledger: Ledger,
    samples: Samples,
    account: Account,
    in_flight: int,
    files_after: int,
) -> Report:
    report = Report("soak", options.quick)
    for outcome in Outcome:
        report.add("Requests by outcome", outcome=outcome.value, requests=ledger.outcomes[outcome])
    parts = zip(
        ("first", "middle", "last"), thirds(samples.memory), thirds(samples.files), strict=True
    )
    for name, memory, files in parts:
        if memory and files:
            report.add(
                "The sidecar's process, by thirds of the run",
                third=name,
                rss_mean_mib=sum(value for _, value in memory) / len(memory),
                rss_max_mib=max(value for _, value in memory),
                files_mean=sum(value for _, value in files) / len(files),
                files_max=int(max(value for _, value in files)),
            )
    for sample, value in account.rows():
        report.add("The sidecar's own account", metric=sample, value=value)
    differences = account.differences(ledger)
    told = ledger.outcomes
    report.bars += [
        Bar("memory, last third over middle third", growth(samples.memory), at_most=GROWTH),
        Bar("open files, last third over middle third", growth(samples.files), at_most=GROWTH),
        Bar("mixed-up answers", told[Outcome.MIXED_UP], at_most=0),
        Bar("lost answers", told[Outcome.LOST], at_most=0),
        Bar("sidecar still the same process", int(fleet.sidecar.alive()), at_least=1),
        Bar("differences of the sidecar's account", len(differences), at_most=0),
        Bar("in flight at the end", in_flight, at_most=0),
    ]
    if not options.quick:
        slope = slope_per_hour(samples.memory)
        report.bars.insert(
            1, Bar("memory's slope, MiB per hour", slope, at_most=SLOPE_MIB_PER_HOUR)
        )
    report.notes += [
        f"{ledger.finished:,} requests in {samples.memory[-1][0]:.0f} s from {options.sessions} "
        f"clients, seed {options.seed}; the engine was killed {fleet.engine_restarts} times; "
        f"{files_after} files open at the end.",
        *differences,
        *ledger.findings,
    ]
    return report


if __name__ == "__main__":
    sys.exit(main())
