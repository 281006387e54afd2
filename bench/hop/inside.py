"""Merge logic by itself: how long an offer takes with large bodies, what a flight holds in memory.

    python -m bench.hop.inside [--count N] [--flights N]

Prints one line of JSON; ``bench.hop`` runs it on the proxy's core.  The pipeline is the sidecar's
own, its engine calls go nowhere, and its requests were made by the data port from bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
import tracemalloc
from statistics import quantiles
from typing import Any

from batchfleet_worker.exchange import Request
from batchfleet_worker.live import BatchingSettings, LiveSettings, Merging, MergingSettings
from bench.hop.traffic import MARK, Shape, body, request
from bench.hop.workbench import Silence, Workbench, workbench

LARGE_BYTES = 65536


def unique(message: bytes, number: int) -> bytes:
    return message.replace(MARK.encode(), b"%016x" % number)


def microseconds(nanoseconds: list[int]) -> dict[str, float]:
    cuts = quantiles(nanoseconds, n=100)
    return {
        "p50_us": cuts[49] / 1000,
        "p99_us": cuts[98] / 1000,
        "max_us": max(nanoseconds) / 1000,
    }


def settings(mode: Merging) -> LiveSettings:
    return LiveSettings(
        batching=BatchingSettings(max_queue_length=1_000_000), merging=MergingSettings(mode=mode)
    )


def offer_times(bench: Workbench, count: int) -> dict[str, dict[str, float]]:
    """Of ``offer`` alone: meaning, key, flight, admission; first a new flight, then a joiner.

    CPU time, so that what else runs on the machine is not in it.
    """
    message = request(Shape.PLAIN, extra=LARGE_BYTES - len(body(Shape.PLAIN)))
    first: list[int] = []
    joined: list[int] = []
    for number in range(count + 50):
        text = unique(message, number)
        both: list[tuple[Request, list[int]]] = [
            (bench.read(text), first),
            (bench.read(text), joined),
        ]
        tickets = []
        for parsed, times in both:
            begin = time.thread_time_ns()
            tickets.append(bench.pipeline.offer(parsed, Silence()))
            times.append(time.thread_time_ns() - begin)
        for ticket in tickets:
            ticket.leave()
        if len(bench.receivers) != 1:
            raise RuntimeError(f"{len(bench.receivers)} engine calls for two equal requests")
        bench.receivers.clear()
    return {"new": microseconds(first[50:]), "joined": microseconds(joined[50:])}


def state_bytes(bench: Workbench, shape: Shape, flights: int) -> dict[str, float]:
    """Of each of so many flights with one request: what the parsed request holds beside its body,
    and what the pipeline adds to it (flight, key, tables, place in the queue)."""
    message = request(shape)
    sinks = [Silence() for _ in range(flights)]
    bench.pipeline.offer(bench.read(unique(message, flights)), Silence()).leave()  # what is lazy
    gc.collect()
    tracemalloc.start()
    empty = tracemalloc.get_traced_memory()[0]
    requests = [bench.read(unique(message, number)) for number in range(flights)]
    gc.collect()
    parsed = tracemalloc.get_traced_memory()[0]
    tickets = [bench.pipeline.offer(requests[at], sinks[at]) for at in range(flights)]
    gc.collect()
    offered = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for ticket in tickets:
        ticket.leave()
    bench.receivers.clear()
    return {
        "request_bytes": (parsed - empty) / flights - len(body(shape)),
        "flight_bytes": (offered - parsed) / flights,
    }


async def measure(count: int, flights: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"flights": flights}
    async with workbench(engine=False) as bench:
        bench.pipeline.apply(settings(Merging.ENFORCE))
        figures["offer"] = offer_times(bench, count)
    for name, shape, mode in (
        ("enforce", Shape.PLAIN, Merging.ENFORCE),
        ("disabled", Shape.PLAIN, Merging.DISABLED),
        ("unique_heads", Shape.TRACED, Merging.ENFORCE),
    ):
        async with workbench(engine=False) as bench:
            bench.pipeline.apply(settings(mode))
            figures[name] = state_bytes(bench, shape, flights)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.hop.inside", description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--flights", type=int, default=10_000)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.count, options.flights))))


if __name__ == "__main__":
    main()
