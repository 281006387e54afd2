"""Open-loop load: requests come when they come, however the others fare.

A closed loop would wait for slow answers and so ask less of a system the worse it is.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.overload.figures import Kind, Sample
from bench.traffic.wire import Malformed, Parser

PRIORITIES = {Kind.INTERACTIVE: 100, Kind.BATCH: -100}
OUTPUT_TOKENS = 16
GRACE_SECONDS = 12.0  # after the last arrival: batch requests have 10 s to begin


@dataclass(frozen=True, slots=True)
class Phase:
    """Seconds, and arrivals per second of each kind."""

    seconds: float
    rates: dict[Kind, float]


def arrivals(phases: Sequence[Phase], seed: int) -> Iterator[tuple[float, Kind]]:
    """When who comes: a Poisson stream per kind, in order of time, the same for every arm."""
    chance = random.Random(seed)
    begin = 0.0
    for phase in phases:
        coming = []
        for kind, rate in phase.rates.items():
            at = begin
            while rate:
                at += chance.expovariate(rate)
                if at >= begin + phase.seconds:
                    break
                coming.append((at, kind))
        yield from sorted(coming)
        begin += phase.seconds


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of the load; ``late_seconds``: how far the generator itself fell behind."""

    samples: list[Sample]
    late_seconds: list[float]


async def flow(port: int, phases: Sequence[Phase], seed: int) -> Flow:
    """Ask all of it of one port; whoever is not answered soon after goes away."""
    loop = asyncio.get_running_loop()
    zero = loop.time()
    samples: list[Sample] = []
    late: list[float] = []
    tasks: set[asyncio.Task[None]] = set()
    for number, (at, kind) in enumerate(arrivals(phases, seed)):
        ahead = zero + at - loop.time()
        if ahead > 0:
            await asyncio.sleep(ahead)
        late.append(max(0.0, loop.time() - zero - at))
        task = loop.create_task(_one(port, kind, number, zero, at, samples))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    end = zero + sum(phase.seconds for phase in phases) + GRACE_SECONDS
    while tasks and loop.time() < end:
        await asyncio.wait(tasks, timeout=end - loop.time())
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Flow(samples, late)


async def _one(
    port: int, kind: Kind, number: int, zero: float, due: float, samples: list[Sample]
) -> None:
    """One streamed request, timed from the moment at which it was due."""
    time = asyncio.get_running_loop().time
    parser = Parser()
    answer = parser.expect()
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_request(kind, number))
        data = b""
        while not parser.feed(data, time()):
            data = await reader.read(65536)
            if not data:
                break
    except (OSError, Malformed):
        pass
    finally:
        if writer is not None:
            writer.close()
        ended = time() - zero
        first = gap = None
        if answer.status == 200 and answer.whole and answer.body.endswith(b"data: [DONE]\n\n"):
            first = answer.first_at - zero - due
            gap = (answer.last_at - answer.first_at) / (OUTPUT_TOKENS - 1)
        samples.append(Sample(kind, due, ended, answer.status, first, gap))


def _request(kind: Kind, number: int) -> bytes:
    fields = {
        "model": "simulated",
        "messages": [{"role": "user", "content": f"Question {number:08d}: what is overload?"}],
        "max_tokens": OUTPUT_TOKENS,
        "ignore_eos": True,
        "temperature": 0.7,
        "stream": True,
    }
    body = json.dumps(fields).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\n"
        b"content-type: application/json\r\nauthorization: Bearer %b\r\n"
        b"x-batchfleet-priority: %d\r\ncontent-length: %d\r\n\r\n%b"
        % (kind.value.encode(), PRIORITIES[kind], len(body), body)
    )
