"""``python -m bench.correctness``: nobody gets another's answer, and none is lost.

Mixed traffic (``bench.traffic``) through a real sidecar process while the engine's faults change,
its process is killed and started again, and the live settings change under way.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import Processes
from bench.report import Bar, Report, at_least_one
from bench.traffic import program
from bench.traffic.account import Account
from bench.traffic.clients import Crowd, Tamper
from bench.traffic.fleet import Fleet
from bench.traffic.ledger import Ledger
from bench.traffic.question import Question, Questions
from bench.traffic.setup import ENGINE_FLAGS, live
from bench.traffic.verdict import Outcome
from bench.traffic.weather import storm
from bench.traffic.wire import Answer

REQUESTS, QUICK_REQUESTS = 100_000, 5_000
SESSIONS = 96
RESTART_EVERY_SECONDS, QUICK_RESTART_EVERY_SECONDS = 20.0, 5.0
CALM_SECONDS = 40.0  # longer than the request timeout of the run

STAGES: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.0, live()),
    (0.35, live(cache=True)),
    (0.60, live(merging="Observe")),
    (0.70, live(merging="Disabled")),
    (0.75, live(mode="Adaptive", cache=True)),
)
"""From which share of the requests on which live settings rule."""


def main() -> int:
    parser = program.parser("correctness", __doc__, seed=1, sessions=SESSIONS)
    parser.add_argument("--requests", type=at_least_one, help=f"how many (default: {REQUESTS:,})")
    parser.add_argument("--sabotage", action="store_true", help=argparse.SUPPRESS)
    return program.run("correctness", parser.parse_args(), measure)


async def measure(
    options: argparse.Namespace, processes: Processes, folder: Path, sidecar: dict[str, str]
) -> Report:
    requests = options.requests or (QUICK_REQUESTS if options.quick else REQUESTS)
    every = QUICK_RESTART_EVERY_SECONDS if options.quick else RESTART_EVERY_SECONDS
    ledger = Ledger()
    chance = random.Random(options.seed)
    begun = time.monotonic()
    async with aiohttp.ClientSession() as session:
        fleet = Fleet(
            processes,
            folder,
            session,
            engine_flags=ENGINE_FLAGS,
            environment=sidecar,
        )
        await fleet.start(STAGES[0][1])
        before = await fleet.metrics()
        crowd = Crowd(
            fleet.ports.data,
            Questions(options.seed),
            ledger,
            chance,
            _counted(requests, fleet),
            _sabotage(chance) if options.sabotage else _untouched,
        )
        over = asyncio.Event()
        weather = asyncio.create_task(storm(fleet, random.Random(options.seed + 1), every, over))
        try:
            await crowd.run(options.sessions)
        finally:
            over.set()
            await weather
        if words := fleet.last_words():
            raise SystemExit(f"{ledger.outcomes}\n{words}")
        took = time.monotonic() - begun
        state = await fleet.calm(CALM_SECONDS)
        account = Account(before, await fleet.metrics())
        engine_load = await fleet.engine_load()
    return _report(options, fleet, ledger, account, state, engine_load, took)


def _counted(requests: int, fleet: Fleet) -> Callable[[], bool]:
    """Counts the questions, and moves the live settings on at their marks."""
    asked = 0
    stages = list(STAGES[1:])

    def more() -> bool:
        nonlocal asked
        if asked >= requests:
            return False
        asked += 1
        if stages and asked >= stages[0][0] * requests:
            fleet.settle(stages.pop(0)[1])
        return True

    return more


def _untouched(question: Question, answer: Answer) -> None:
    pass


def _sabotage(chance: random.Random) -> Tamper:
    """One answer in 500 is swapped with an earlier one, one in 500 loses its end."""
    earlier: list[Answer] = []

    def tamper(question: Question, answer: Answer) -> None:
        draw = chance.random()
        if draw < 0.002 and earlier and answer.status == 200 and question.expected is not None:
            other = earlier.pop()
            answer.body[:], answer.headers = other.body, other.headers
        elif draw < 0.004:
            answer.whole = False
            del answer.body[-14:]
        elif draw < 0.05 and answer.whole and answer.status == 200:
            earlier[:] = [Answer(200, answer.headers, bytearray(answer.body), True)]

    return tamper


def _report(
    options: argparse.Namespace,
    fleet: Fleet,
    ledger: Ledger,
    account: Account,
    state: dict[str, Any],
    engine_load: int,
    took: float,
) -> Report:
    report = Report("correctness", options.quick)
    for outcome in Outcome:
        report.add("Requests by outcome", outcome=outcome.value, requests=ledger.outcomes[outcome])
    for (outcome, detail), number in sorted(ledger.details.items(), key=lambda item: -item[1]):
        if detail:
            report.add("Errors and leavings", outcome=outcome.value, detail=detail, requests=number)
    for result, number in ledger.results.most_common():
        report.add("Complete answers by x-batchfleet-result", result=result, requests=number)

    for sample, value in account.rows():
        report.add("The sidecar's own account", metric=sample, value=value)
    differences = account.differences(ledger)
    told = ledger.outcomes
    sums = ledger.sent - sum(told.values())
    report.bars += [
        Bar("mixed-up answers", told[Outcome.MIXED_UP], at_most=0),
        Bar("lost answers", told[Outcome.LOST], at_most=0),
        Bar("sent − answered − refused − left", sums, at_least=0, at_most=0),
        Bar("differences of the sidecar's account", len(differences), at_most=0),
        Bar("in flight at the end", state["inFlight"], at_most=0),
        Bar("queued at the end", state["queued"], at_most=0),
        Bar("requests left in the engine", engine_load, at_most=0),
        Bar("sidecar still the same process", int(fleet.sidecar.alive()), at_least=1),
        Bar("faults of the merging logic", account.grown("fallthrough_total"), at_most=0),
        # Less than this, and the run did not show what it is for.
        *(
            Bar(what, 100 * account.grown(metric) / ledger.sent, at_least=least)
            for what, metric, least in (
                ("share that joined another's call, %", "requests_merged_total", 1),
                ("share of whole answers made of a stream, %", "requests_crossed_total", 0.1),
                ("share answered from the cache, %", "cache_hits_total", 1),
            )
        ),
    ]
    report.notes += [
        f"{ledger.finished:,} requests in {took:.0f} s from {options.sessions} clients, seed "
        f"{options.seed}; the engine was killed {fleet.engine_restarts} times.",
        *differences,
        *ledger.findings,
    ]
    return report


if __name__ == "__main__":
    sys.exit(main())
