"""``python -m bench.overload``: three times more than the engine can do, and who still gets served.

Interactive requests (a priority above 0) are to start within their target while batch requests
(below 0) wait or are shed.  The limit that finds itself (mode Adaptive) is held against the best
of a sweep of fixed ones, against the bare engine, and against nginx with ``limit_conn``.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import aiohttp
import uvloop

from bench import cache
from bench.overload import arms
from bench.overload.figures import (
    Kind,
    Sample,
    Target,
    first_token_quantile,
    goodput,
    recovery,
    within,
)
from bench.overload.load import OUTPUT_TOKENS, Flow, Phase, flow
from bench.processes import Processes
from bench.report import CANNOT_RUN, Bar, Report, arguments, finish
from bench.traffic.fleet import Fleet

INTER_TOKEN_SECONDS = 0.050
TOLERANCE = 1.05
"""The limit is told to aim at 50 ms; an answer with a mean of 5 % more still counts as good."""
FIRST_TOKEN_SECONDS = 1.0
BATCH_FIRST_TOKEN_SECONDS = 10.0  # nobody sits and waits for it
TARGETS = {
    Kind.INTERACTIVE: Target(FIRST_TOKEN_SECONDS, INTER_TOKEN_SECONDS * TOLERANCE),
    Kind.BATCH: Target(BATCH_FIRST_TOKEN_SECONDS, INTER_TOKEN_SECONDS * TOLERANCE),
}

CAPACITY_SEQUENCES = (INTER_TOKEN_SECONDS - 0.0288) / 0.000336
CAPACITY = CAPACITY_SEQUENCES / (OUTPUT_TOKENS * INTER_TOKEN_SECONDS)
"""Requests per second of the engine at 50 ms between tokens, by its own table."""

OVERLOAD = {Kind.INTERACTIVE: 0.5 * CAPACITY, Kind.BATCH: 2.5 * CAPACITY}
AFTERWARDS = {Kind.INTERACTIVE: 0.3 * CAPACITY, Kind.BATCH: 0.2 * CAPACITY}

LIMITS, QUICK_LIMITS = (16, 32, 48, 56, 64, 72, 80, 96, 128), (48, 64, 80)
LATE_SECONDS = 0.05  # of the load generator, above which the figures are called into question
WATCH_SECONDS = 0.5
CEILING = 256  # of the adaptive limit: the engine's own max_num_seqs


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds.  ``settle``: of the overload, before anything is counted."""

    settle: float
    overload: float
    afterwards: float

    def phases(self) -> tuple[Phase, Phase]:
        return Phase(self.overload, OVERLOAD), Phase(self.afterwards, AFTERWARDS)


TIMES, QUICK_TIMES = Times(15, 50, 15), Times(10, 15, 3)
ARMS_AT_ONCE, QUICK_ARMS_AT_ONCE = 1, 3
"""Three at once take about a core; a quick look is worth that noise."""


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    samples: list[Sample]
    goodput: float
    first_token_p99: float  # of interactive requests
    recovery: float
    late_p99: float  # of the load generator itself
    limit: float | None = None  # mean, of calls under way at once

    @classmethod
    def of(cls, name: str, seen: Flow, times: Times) -> Outcome:
        samples = seen.samples
        window = within(samples, times.settle, times.overload)
        interactive = [sample for sample in window if sample.kind is Kind.INTERACTIVE]
        return cls(
            name,
            samples,
            goodput(samples, TARGETS, times.settle, times.overload),
            first_token_quantile(interactive, 0.99),
            recovery(samples, TARGETS, times.overload, times.overload + times.afterwards),
            sorted(seen.late_seconds)[int(0.99 * len(seen.late_seconds))],
        )


def main() -> int:
    parser = arguments("overload", __doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=3, help="of the arrivals")
    parser.add_argument("--limits", type=int, nargs="+", help="the fixed ones of the sweep")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs in this folder")
    parser.add_argument("--plain", action="store_true", help="the sidecar's source, not compiled")
    options = parser.parse_args()
    try:
        sidecar = cache.worker(plain=options.plain)
    except cache.MissingError as missing:
        print(f"overload: {missing}", file=sys.stderr)
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix="batchfleet-overload-") as folder:
        logs = options.logs or Path(folder)
        with Processes(logs) as processes:
            report = uvloop.run(measure(options, processes, logs, sidecar))
    return finish(report, options)


async def measure(
    options: argparse.Namespace, processes: Processes, folder: Path, sidecar: dict[str, str]
) -> Report:
    times = QUICK_TIMES if options.quick else TIMES
    report = Report("overload", options.quick)
    async with aiohttp.ClientSession() as session:
        bench = _Bench(options.seed, times, processes, folder, session, sidecar)
        gate = asyncio.Semaphore(QUICK_ARMS_AT_ONCE if options.quick else ARMS_AT_ONCE)
        limits = options.limits or (QUICK_LIMITS if options.quick else LIMITS)
        sweep = [bench.fixed(limit) for limit in limits]
        fixed = await asyncio.gather(*(_through(gate, arm) for arm in sweep))
        best = max(fixed, key=lambda outcome: outcome.goodput)
        others = [bench.adaptive(), bench.direct()]
        if arms.has_nginx():
            others.append(bench.nginx(limits[fixed.index(best)]))
        else:
            report.notes.append(arms.NO_NGINX)
        adaptive, *rest = await asyncio.gather(*(_through(gate, arm) for arm in others))
    for outcome in (*fixed, adaptive, *rest):
        report.add("Overload", **_row(outcome, times))
    share = adaptive.goodput / best.goodput if best.goodput else None
    p99 = adaptive.first_token_p99
    report.bars += [
        Bar("interactive P99 time to first token, s", _finite(p99), at_most=FIRST_TOKEN_SECONDS),
        Bar(f"goodput, adaptive over the best fixed ({best.name})", share, at_least=0.9),
        Bar("recovery after the load falls, s", _finite(adaptive.recovery), at_most=10),
    ]
    report.notes.append(
        f"Capacity is {CAPACITY:.0f} requests/s ({OUTPUT_TOKENS} tokens each) at "
        f"{1000 * INTER_TOKEN_SECONDS:.0f} ms between tokens. Offered for {times.overload:g} s: "
        f"{OVERLOAD[Kind.INTERACTIVE]:.0f}/s interactive and {OVERLOAD[Kind.BATCH]:.0f}/s batch, "
        f"then a sixth of it for {times.afterwards:g} s. The first {times.settle:g} s do not "
        "count. An unanswered request has waited for ever. Goodput: requests finished per second "
        "with their targets met. Recovery: until 95 % of the arrivals of every further half second "
        "meet their targets. A dash is never."
    )
    late = [o.name for o in (*fixed, adaptive, *rest) if o.late_p99 > LATE_SECONDS]
    if late:
        report.notes.append(
            f"The load generator itself was late in {', '.join(late)}: this machine was too busy "
            "for those figures to mean much. (In front of an engine alone it is so by itself: "
            "thousands of requests are open.)"
        )
    return report


async def _through(gate: asyncio.Semaphore, arm: Any) -> Outcome:
    async with gate:
        outcome: Outcome = await arm
        return outcome


class _Bench:
    """The arms, each with an engine of its own."""

    def __init__(
        self,
        seed: int,
        times: Times,
        processes: Processes,
        folder: Path,
        session: aiohttp.ClientSession,
        environment: dict[str, str],
    ) -> None:
        self._seed = seed
        self._times = times
        self._processes = processes
        self._folder = folder
        self._session = session
        self._environment = environment  # of the sidecars

    async def fixed(self, limit: int) -> Outcome:
        name = f"fixed {limit}"
        return await self._sidecar(name, {"mode": "Fixed", "maxBatchSize": limit})

    async def adaptive(self) -> Outcome:
        target = round(1000 * INTER_TOKEN_SECONDS)
        batching = {"mode": "Adaptive", "maxBatchSize": CEILING}
        return await self._sidecar("adaptive", {**batching, "targetInterTokenMilliseconds": target})

    async def direct(self) -> Outcome:
        port = await arms.engine(self._processes, "direct")
        return await self._flow("engine alone", port)

    async def nginx(self, limit: int) -> Outcome:
        port = await arms.nginx(self._processes, self._folder, limit)
        return await self._flow(f"nginx limit_conn {limit}", port)

    async def _sidecar(self, name: str, batching: dict[str, Any]) -> Outcome:
        fleet = await arms.sidecar(
            self._processes,
            self._folder,
            self._session,
            name.replace(" ", "-"),
            batching,
            self._environment,
        )
        limits: list[float] = []
        watch = asyncio.create_task(self._watch(fleet, limits))
        outcome = await self._flow(name, fleet.ports.data)
        watch.cancel()
        await asyncio.to_thread(fleet.sidecar.stop)
        await asyncio.to_thread(fleet.engine.stop)
        return replace(outcome, limit=fmean(limits) if limits else None)

    async def _watch(self, fleet: Fleet, limits: list[float]) -> None:
        """The limit in force while the overload is counted."""
        await asyncio.sleep(self._times.settle)
        for _ in range(int((self._times.overload - self._times.settle) / WATCH_SECONDS)):
            limits.append((await fleet.state())["limit"])
            await asyncio.sleep(WATCH_SECONDS)

    async def _flow(self, name: str, port: int) -> Outcome:
        return Outcome.of(name, await flow(port, self._times.phases(), self._seed), self._times)


def _row(outcome: Outcome, times: Times) -> dict[str, Any]:
    window = within(outcome.samples, times.settle, times.overload)
    row: dict[str, Any] = {
        "arm": outcome.name,
        "limit": outcome.limit,
        "goodput_per_s": outcome.goodput,
    }
    for kind in Kind:
        of_kind = [sample for sample in window if sample.kind is kind]
        met = sum(sample.met(TARGETS) for sample in of_kind)
        shed = sum(sample.status in (429, 503) for sample in of_kind)
        p50, p99 = (first_token_quantile(of_kind, share) for share in (0.5, 0.99))
        row[f"{kind}_met_%"] = 100 * met / max(1, len(of_kind))
        row[f"{kind}_shed_%"] = 100 * shed / max(1, len(of_kind))
        if kind is Kind.INTERACTIVE:
            row["ttft_p50_s"], row["ttft_p99_s"] = _finite(p50), _finite(p99)
    gaps = sorted(s.inter_token_seconds for s in window if s.inter_token_seconds is not None)
    row["itl_p50_ms"] = 1000 * gaps[len(gaps) // 2] if gaps else None
    row["recovery_s"] = _finite(outcome.recovery)
    row["late_p99_ms"] = 1000 * outcome.late_p99
    return row


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
