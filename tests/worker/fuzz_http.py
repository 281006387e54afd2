"""Fuzz of the HTTP handling, both sides, without sockets.

    python -m tests.worker.fuzz_http --seconds 60 [--seed N]

Starts from tests/worker/corpus/http and saves what breaks a promise there; each run of the tests
replays the corpus (test_fuzz_http).  The promises: no exception escapes; however bytes are cut, and
whether heads are known or parsed, the same comes out; nobody is answered twice, and nothing is
written after the end.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from batchfleet_worker.client import Client
from batchfleet_worker.connection import Call, Connection
from batchfleet_worker.exchange import (
    Head,
    Lost,
    Request,
    ResponseHead,
    Result,
    Route,
    Sink,
    Told,
)
from batchfleet_worker.heads import Heads
from batchfleet_worker.http1 import CONTINUE
from batchfleet_worker.intake import Intake
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.openai import Routes
from batchfleet_worker.plain import plain_response
from batchfleet_worker.relay import DataPort

CORPUS = Path(__file__).parent / "corpus" / "http"
CLIENT, ENGINE = "client", "engine"
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b" ", b":", b"\t", b"0", b"5", b"99999999999"),
    *(b"Content-Length: 5\r\n", b"content-length: 0\r\n", b"Content-Length: 300\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
    *(b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
    *(b"Traceparent: 00-a-b-01\r\n", b"tracestate: a=1, b=2\r\n", b"B3: 0\r\n", b"b3", b"\r\n \t"),
    *(b"X-Request-Id: a\r\n", b"HTTP/1.1", b"HTTP/1.0", b"5\r\nabcde\r\n", b"0\r\n\r\n"),
    *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"204", b"101"),
    b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
]


class Wire(asyncio.Transport):
    """Remembers what is written; complains of what is written after the end."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end"
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: object = None) -> object:
        raise AssertionError("no socket here")


class Echo:
    """A pipeline and engine in one: answers with what was asked, when its body is complete."""

    def __init__(self, sink: Sink, request: Request) -> None:
        self.sink = sink
        self.body = request.body
        self.request = request
        self.complete = request.rest is None
        self.pumped = self.left = False

    def write(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        self.complete = True

    def answer(self) -> None:
        head = self.request.head
        said = repr((head.headers, self.request.own)).encode()
        text = b"|".join((head.method, head.target, said, self.body))
        self.sink.start(ResponseHead(200, (), len(text)), Told(Result.DIRECT, 0, 0))
        self.sink.data(text)
        self.sink.end()

    def leave(self) -> None:
        self.left = True

    def drained(self) -> None: ...


def client_side(
    pieces: list[bytes], known: bool, max_header_bytes: int = 16_000
) -> tuple[bytes, bool]:
    """What a client is written for what it sends, and whether its connection ends."""
    intake = Intake(
        Routes(), lambda: "id", 400, max_header_bytes, Budget(100_000), held_body_bytes=200
    )
    if not known:
        intake.heads = Heads(lambda head, filling: None)
    waiting: list[Echo] = []

    def offer(request: Request, sink: Sink) -> Echo:
        echo = Echo(sink, request)
        waiting.append(echo)
        return echo

    client = Client(DataPort(offer, intake, Metrics(), lambda: 0.0))
    wire = Wire()
    client.connection_made(wire)

    for piece in pieces:
        client.data_received(piece)
        while waiting:
            echo = waiting[-1]
            if echo.request.rest is not None and not echo.pumped:
                echo.pumped = True
                echo.request.rest.pump(echo)
            if not echo.complete or echo.left:
                break
            waiting.pop()
            echo.answer()
    ended = wire.ended
    client.connection_lost(None)
    assert intake.budget.used_bytes == 0, "bytes are still charged"
    # Whether a client has to wait for the word depends on how its bytes come.
    return wire.written.replace(CONTINUE, b""), ended


class Heard:
    """What came of one engine call."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.body = b""
        self.over = False

    def head(self, head: ResponseHead) -> None:
        assert not self.said, "two heads"
        self.said.append((head.status, head.headers, head.length))

    def data(self, chunk: bytes) -> None:
        assert self.said, "a body without a head"
        assert not self.over
        self.body += chunk

    def end(self) -> None:
        assert not self.over, "two ends"
        assert self.said
        self.over = True

    def lost(self, why: Lost) -> None:
        assert not self.over, "two ends"
        self.over = True
        self.said.append(why)


class Home:
    authority = b"engine"

    def __init__(self, known: bool) -> None:
        self.heads = Heads(plain_response if known else lambda head, filling: None)
        self.pooled: list[Connection] = []

    def made(self, connection: Connection) -> None: ...

    def put(self, connection: Connection) -> None:
        self.pooled.append(connection)

    def forget(self, connection: Connection) -> None: ...


def engine_side(pieces: list[bytes], known: bool) -> list[tuple[object, ...]]:
    """What calls on one connection get of what the engine sends; the next begins with its piece."""
    home, wire = Home(known), Wire()
    connection = Connection(home)
    connection.connection_made(wire)
    request = Request(Head(b"POST", "/v1/x", b"/v1/x", (), Route.RELAY), b"", "id")
    calls: list[Heard] = []
    home.pooled.append(connection)
    for piece in pieces:
        if home.pooled:
            heard = Heard()
            calls.append(heard)
            home.pooled.pop().start(Call(request, heard), pooled=bool(calls))
        if not wire.ended:
            connection.data_received(piece)
    connection.connection_lost(None)
    return [(*call.said, call.body, call.over) for call in calls]


def cuts_of(data: bytes, dice: random.Random) -> list[bytes]:
    edges = sorted({0, len(data), *(dice.randrange(len(data) + 1) for _ in range(4))})
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def check(side: str, data: bytes, dice: random.Random) -> None:
    """Raises ``AssertionError``, or whatever escapes, for a promise that is broken."""
    pieces = cuts_of(data, dice)
    if side == CLIENT:
        whole = client_side([data] if data else [], known=False)
        assert client_side(pieces, known=True) == whole
        assert client_side(pieces, known=False) == whole
        # Which error comes first, that of size or another, depends on how the bytes come.
        client_side(pieces, known=True, max_header_bytes=300)
    else:
        # One answer per call: what follows it in the same read is nobody's, so cuts matter here.
        assert engine_side(pieces, known=True) == engine_side(pieces, known=False)


def corpus() -> Iterator[tuple[str, bytes, str]]:
    for path in sorted(CORPUS.glob("*.bin")):
        yield path.name.partition("-")[0], path.read_bytes(), path.name


def mutated(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 5)):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + dice.randrange(1, 30))
        match dice.randrange(6):
            case 0:
                data = data[:at] + data[to:]
            case 1:
                data = data[:at] + dice.choice(TOKENS) + data[at:]
            case 2:
                data = data[:at] + dice.choice(TOKENS) + data[to:]
            case 3:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 4:
                other = dice.choice(others)
                data = data[:at] + other[dice.randrange(len(other) + 1) :]
            case _:
                data = data + data[at:to]
    return data[:4000]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the HTTP handling.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    seeds: dict[str, list[bytes]] = {CLIENT: [], ENGINE: []}
    for side, data, _ in corpus():
        seeds[side].append(data)
    ends, tried, failed = time.monotonic() + options.seconds, 0, 0
    while time.monotonic() < ends:
        side = dice.choice((CLIENT, ENGINE))
        data = mutated(dice.choice(seeds[side]), seeds[side], dice)
        tried += 1
        try:
            check(side, data, dice)
        except Exception as fault:  # noqa: BLE001 - whatever it is, it must not escape
            failed += 1
            name = f"{side}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
            (CORPUS / name).write_bytes(data)
            print(f"{name}: {type(fault).__name__}: {str(fault)[:200]}", file=sys.stderr)
    print(f"{tried} streams, {failed} broke a promise")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
