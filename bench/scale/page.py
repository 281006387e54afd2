"""What a worker's ``/metrics`` says: a real sidecar's page, whose counters go on as they began.

:func:`record` takes it from a sidecar in front of the engine simulator after some traffic, so the
series are the real ones, name by name and bucket by bucket.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import aiohttp

from bench.processes import Processes
from bench.traffic.fleet import Fleet
from bench.traffic.question import MODEL

REQUESTS = 60
RECORDED_SECONDS = 60.0
"""The recorded counts are taken for a minute's: a request a second and pod."""

STEP_SECONDS = 5.0
"""Scrapes within a step get the same page, which spares this machine half a core."""

COUNTED = re.compile(r"\w(_total|_count|_sum|_bucket)$")


class Page:
    """One worker's page over time."""

    def __init__(self, recorded: str) -> None:
        self._lines = [_split(line) for line in recorded.splitlines()]
        self._step = -1
        self._rendered = b""

    def of(self, pod: str, seconds: float) -> bytes:
        """The page ``seconds`` after the beginning; ``pod``: all are alike."""
        step = int(seconds / STEP_SECONDS)
        if step != self._step:
            times = 1 + step * STEP_SECONDS / RECORDED_SECONDS
            parts = [
                line if value is None else f"{line} {value * times!r}"
                for line, value in self._lines
            ]
            self._step, self._rendered = step, ("\n".join(parts) + "\n").encode()
        return self._rendered


def only(recorded: str, wanted: Callable[[str], bool]) -> str:
    """The samples whose metric's name is wanted, and nothing said about the others."""
    kept = []
    for line in recorded.splitlines():
        name = line.split()[2] if line.startswith("# ") else re.split(r"[{ ]", line)[0]
        if wanted(name) or wanted(re.sub(r"(_total|_count|_sum|_bucket)$", "", name)):
            kept.append(line)
    return "\n".join(kept) + "\n"


def _split(line: str) -> tuple[str, float | None]:
    """A counter's line as name and value; any other line as it is."""
    before, _, value = line.rpartition(" ")
    if line.startswith("#") or not COUNTED.search(before.partition("{")[0]):
        return line, None
    return before, float(value)


async def record(processes: Processes, folder: Path) -> str:
    """The page of a sidecar that has served :data:`REQUESTS` requests."""
    async with aiohttp.ClientSession() as session:
        fleet = Fleet(processes, folder, session, name="recorded-", engine_flags=("--step-ms=5",))
        await fleet.start({"batching": {"maxBatchSize": 64}})
        await asyncio.gather(*(_ask(session, fleet, number) for number in range(REQUESTS)))
        address = f"http://127.0.0.1:{fleet.ports.admin}/metrics"
        async with session.get(address) as answer:
            page = await answer.text()
    await asyncio.to_thread(fleet.sidecar.stop)
    await asyncio.to_thread(fleet.engine.stop)
    return page


async def _ask(session: aiohttp.ClientSession, fleet: Fleet, number: int) -> None:
    body = {
        "model": MODEL,
        "prompt": f"question {number}",
        "max_tokens": 16,
        "stream": number % 2 > 0,
    }
    address = f"http://127.0.0.1:{fleet.ports.data}/v1/completions"
    async with session.post(address, json=body) as answer:
        await answer.read()
        answer.raise_for_status()
