"""Where the sidecar's CPU time goes, part by part, in one process and without sockets.

    python -m bench.hop.parts [--count N] [--batches N] [--profile] [--json FILE]

The whole way of a request is driven with transports that forget what is written; then each part
is driven alone.  What has no entry point of its own is the difference.  Figures are CPU µs per
request, the least of several batches; the kernel's part (reads, writes, epoll) comes on top in the
real hop.  A part whose entry point has changed shows "–", and why below the table.
"""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import uvloop

from batchfleet_worker import meaning
from batchfleet_worker.connection import Connection
from batchfleet_worker.exchange import Request
from batchfleet_worker.key import MergeKeys
from batchfleet_worker.live import Merging
from batchfleet_worker.reader import RequestReader
from bench.hop.inside import settings, unique
from bench.hop.traffic import EVENTS, Shape, request
from bench.hop.workbench import ENGINE_ANSWER, Deaf, Recorder, Silence, Wire, Workbench, workbench
from bench.report import Report, arguments, finish

SHAPES = (Shape.PLAIN, Shape.TRACED)
EVENT = b"data: {%b}\n\n" % (b"x" * 200)
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 03:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)

Timed = Callable[[list[bytes]], float]
"""Drives a part with these messages; CPU seconds of the part alone."""


class Parts:
    """Every part as a :data:`Timed`.  ``real``: with a pool; ``bare``: calls go nowhere."""

    def __init__(self, real: Workbench, bare: Workbench) -> None:
        self._real = real
        self._bare = bare
        self._wire = Wire()
        self._keys = MergeKeys(b"k" * 32, 1 << 20)

    def _engine(self) -> Connection:
        """A fresh connection to the engine, the one that the pool will choose."""
        pool = self._real.sidecar.pool
        connection, self._wire = Connection(pool), Wire()
        connection.connection_made(self._wire)
        pool.put(connection)
        return connection

    def ask(self, messages: list[bytes]) -> float:
        """From the client's bytes to the bytes for the engine."""
        return self._both(messages)[0]

    def answer(self, messages: list[bytes]) -> float:
        """From the engine's bytes to the bytes for the client."""
        return self._both(messages)[1]

    def whole(self, messages: list[bytes]) -> float:
        return sum(self._both(messages))

    def _both(self, messages: list[bytes]) -> tuple[float, float]:
        client, engine = self._real.client(), self._engine()
        asking = answering = 0
        for message in messages:
            begin = time.thread_time_ns()
            client.data_received(message)
            middle = time.thread_time_ns()
            self._was_asked()
            again = time.thread_time_ns()
            engine.data_received(ENGINE_ANSWER)
            end = time.thread_time_ns()
            asking += middle - begin
            answering += end - again
        client.connection_lost(None)
        return asking / 1e9, answering / 1e9

    def _was_asked(self) -> None:
        """Or the pool is about to connect to an engine that is not there."""
        if not self._wire.writes or self._wire.closed:
            raise RuntimeError(
                f"the engine's connection was not used (closed: {self._wire.closed})"
            )
        self._wire.writes = 0

    def chunks(self, messages: list[bytes]) -> float:
        """Of one streamed answer of as many events as there are messages."""
        client, engine = self._real.client(), self._engine()
        client.data_received(messages[0])
        self._was_asked()
        engine.data_received(STREAM_HEAD)

        def feed() -> None:
            for _ in messages:
                engine.data_received(CHUNK)

        spent = _timed(feed)
        engine.data_received(b"0\r\n\r\n")
        client.connection_lost(None)
        return spent

    def reader(self, messages: list[bytes]) -> float:
        reader = RequestReader(self._bare.sidecar.port.intake)

        def feed() -> None:
            for message in messages:
                reader.feed(message)
                reader.asked.popleft()
                reader.settle()

        return _timed(feed)

    def key(self, messages: list[bytes]) -> float:
        """What the body says, and the key."""
        requests = [self._bare.read(message) for message in messages]

        def both(request: Request) -> None:
            meaning.read(request)
            self._keys(request)

        return _timed(lambda: _each(both, requests))

    def offer(self, messages: list[bytes]) -> float:
        """The pipeline with the key, up to the engine call."""
        requests = [self._bare.read(message) for message in messages]
        tickets: list[Any] = []
        sinks = [Silence() for _ in requests]
        offer = self._bare.pipeline.offer

        def run() -> None:
            for parsed, sink in zip(requests, sinks, strict=True):
                tickets.append(offer(parsed, sink))

        spent = _timed(run)
        for ticket in tickets:
            ticket.leave()
        self._bare.receivers.clear()
        return spent

    def send(self, messages: list[bytes]) -> float:
        return self._call(messages)[0]

    def receive(self, messages: list[bytes]) -> float:
        return self._call(messages)[1]

    def _call(self, messages: list[bytes]) -> tuple[float, float]:
        requests = [self._bare.read(message) for message in messages]
        pool, engine, nobody = self._real.sidecar.pool, self._engine(), Deaf()
        sending = receiving = 0
        for parsed in requests:
            begin = time.thread_time_ns()
            pool.send(parsed, nobody)
            middle = time.thread_time_ns()
            self._was_asked()
            again = time.thread_time_ns()
            engine.data_received(ENGINE_ANSWER)
            end = time.thread_time_ns()
            sending += middle - begin
            receiving += end - again
        return sending / 1e9, receiving / 1e9

    def render(self, messages: list[bytes]) -> float:
        """The answer: head rendered, written, the connection's next turn."""
        seen = Recorder()
        engine = self._engine()
        self._real.pipeline.offer(self._real.read(messages[0]), seen)
        self._was_asked()
        engine.data_received(ENGINE_ANSWER)
        spent = 0
        for client, sink in self._bare.waiting(messages):
            begin = time.thread_time_ns()
            sink.start(*seen.started)
            sink.data(seen.body)
            sink.end()
            spent += time.thread_time_ns() - begin
            client.connection_lost(None)
        return spent / 1e9


ROWS: dict[str, str | tuple[str, ...]] = {
    "whole hop": "whole",
    "asking: bytes in, bytes to the engine": "ask",
    "  reader": "reader",
    "  offer": "offer",
    "    key": "key",
    "    pipeline (offer less key)": ("offer", "key"),
    "  send (pool, connection)": "send",
    "  relay (the rest)": ("ask", "reader", "offer", "send"),
    "answering: bytes in, bytes to the client": "answer",
    "  connection (parse, hand on)": "receive",
    "  answer (render, write, next turn)": "render",
    "  flight (the rest)": ("answer", "receive", "render"),
    "one streamed chunk": "chunks",
}
"""A part, or a part less others."""


def _timed(run: Callable[[], object]) -> float:
    begin = time.thread_time_ns()
    run()
    return (time.thread_time_ns() - begin) / 1e9


def _each(function: Callable[[Any], object], values: Iterable[Any]) -> None:
    for value in values:
        function(value)


async def measure(report: Report, count: int, batches: int) -> None:
    columns = {shape: await _column(report, shape, count, batches) for shape in SHAPES}
    for row, wanted in ROWS.items():
        report.add(
            "CPU µs per request, no sockets; merging Enforce, all unique",
            part=row,
            **{str(shape): _value(column, wanted) for shape, column in columns.items()},
        )


async def _column(
    report: Report, shape: Shape, count: int, batches: int
) -> dict[str, float | None]:
    names = [wanted for wanted in ROWS.values() if isinstance(wanted, str)]
    column: dict[str, float | None] = {}
    message = request(shape)
    serial = iter(range(1 << 60))
    async with workbench(engine=True) as real, workbench(engine=False) as bare:
        for bench in (real, bare):
            bench.pipeline.apply(settings(Merging.ENFORCE))
        parts = Parts(real, bare)
        for name in names:
            part: Timed = getattr(parts, name)
            try:
                column[name] = min(
                    1e6 * part([unique(message, next(serial)) for _ in range(count)]) / count
                    for _ in range(batches)
                )
            except Exception as error:  # noqa: BLE001 - the parts change; the others still count
                column[name] = None
                report.notes.append(f"{name} ({shape}): {type(error).__name__}: {error}")
    return column


def _value(column: dict[str, float | None], wanted: str | tuple[str, ...]) -> float | None:
    if isinstance(wanted, str):
        return column[wanted]
    first, *others = (column[name] for name in wanted)
    if first is None or None in others:
        return None
    return first - sum(cast(list[float], others))


async def profile(count: int, shape: Shape) -> str:
    message = request(shape)
    async with workbench(engine=True) as real, workbench(engine=False) as bare:
        parts = Parts(real, bare)
        messages = [unique(message, number) for number in range(count)]
        parts.whole(messages[:EVENTS])
        profiler = cProfile.Profile()
        profiler.runcall(parts.whole, messages[EVENTS:])
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(30)
    return text.getvalue()


def main() -> int:
    parser = arguments("hop.parts", "Where the sidecar's CPU time goes.")
    parser.add_argument("--count", type=int, default=2000, help="requests in a batch")
    parser.add_argument("--batches", type=int, default=7)
    parser.add_argument(
        "--profile",
        choices=[str(shape) for shape in SHAPES],
        help="a profile of the whole way instead, for requests of this shape",
    )
    options = parser.parse_args()
    if options.profile:
        print(asyncio.run(profile(10 * options.count, Shape(options.profile))))
        return 0
    report = Report("hop.parts", options.quick)
    batches = 3 if options.quick else options.batches
    uvloop.run(measure(report, options.count, batches))
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
