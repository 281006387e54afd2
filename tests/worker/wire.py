"""Real sockets on loopback: an engine that does what the test says, and a client that sees bytes.

Nothing here knows the sidecar's code but :func:`hop`, which puts it between the two.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from batchfleet_worker.intake import Intake
from batchfleet_worker.key import MergeKeys
from batchfleet_worker.live import LiveSettings
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.openai import Routes
from batchfleet_worker.pipeline import Pipeline
from batchfleet_worker.relay import DataPort
from batchfleet_worker.upstream import Pool

PATIENCE_SECONDS = 30.0  # for what must happen; a test that waits longer has failed
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def post(body: bytes = b"{}", path: str = "/v1/completions", headers: bytes = b"") -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: pod\r\nContent-Length: %d\r\n" % (path.encode(), len(body))
    return head + headers + b"\r\n" + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool  # ended as its framing says


class Call:
    """One request as the engine got it."""

    def __init__(
        self,
        head: bytes,
        body: bytes,
        connection: int,
        writer: asyncio.StreamWriter,
        reader: asyncio.StreamReader,
    ):
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        ]
        self.body = body
        self.connection = connection
        self.left = asyncio.Event()  # the hop closed this connection
        self.reader = reader  # of what follows the head, where the engine takes heads only
        self.read = asyncio.Event()  # by the test; the engine goes on with the next request
        self._writer = writer

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def drained(self) -> None:
        """What was written has left this process."""
        await self._writer.drain()

    def unsent_bytes(self) -> int:
        return self._writer.transport.get_write_buffer_size()


class Engine:
    """Accepts connections; ``await next()`` gives each request, to be answered by the test."""

    port: int

    def __init__(self) -> None:
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.refuses_bodies_over: int | None = None  # bytes; a longer body is not read
        self.heads_only = False  # what follows a head is read by the test
        self._calls: asyncio.Queue[Call] = asyncio.Queue()

    async def next(self) -> Call:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._calls.get()

    def has_more(self) -> bool:
        return not self._calls.empty()

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.append(writer)
        call: Call | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                unwanted = (
                    self.refuses_bodies_over is not None and length > self.refuses_bodies_over
                )
                heads_only = self.heads_only
                body = b"" if unwanted or heads_only else await reader.readexactly(length)
                call = Call(head[:-4], body, number, writer, reader)
                self._calls.put_nowait(call)
                if unwanted:
                    return
                if heads_only:
                    await call.read.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            if call is not None:
                call.left.set()
            writer.close()


class Client:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    async def ask(self, data: bytes, bodiless: bool = False) -> Response:
        self.send(data)
        return await self.response(bodiless)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = text[:-4].split("\r\n")
        pairs = [header.partition(":") for header in rest]
        return int(line.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def piece(self) -> bytes:
        """The next chunk of a chunked body; empty for the last."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def response(self, bodiless: bool = False) -> Response:
        status, headers = await self.head()
        body, whole = b"", True
        try:
            if bodiless:
                pass
            elif "transfer-encoding" in headers:
                while piece := await self.piece():
                    body += piece
            elif "content-length" in headers:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self.rest()
        except asyncio.IncompleteReadError as cut:
            body, whole = body + cut.partial, False
        return Response(status, headers, body, whole)

    async def rest(self) -> bytes:
        """Everything until the end of the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read()


@dataclass
class Hop:
    """The sidecar's data path between a scripted engine and clients."""

    engine: Engine
    pool: Pool
    pipeline: Pipeline
    port: DataPort
    metrics: Metrics
    number: int  # of the data port
    _clients: list[Client] = field(default_factory=list)

    async def client(self, receive_buffer_bytes: int = 65536) -> Client:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.number, limit=receive_buffer_bytes
        )
        client = Client(reader, writer)
        self._clients.append(client)
        return client

    async def settled(self) -> None:
        """Everybody has left and nothing is under way."""
        for client in self._clients:
            client.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.port.empty.wait()
        assert self.pipeline.clients == 0
        assert self.pipeline.in_flight == 0
        assert self.pipeline.queued == 0
        assert self.port.intake.budget.used_bytes == 0


@asynccontextmanager
async def hop(
    settings: LiveSettings | None = None,
    max_body_bytes: int = 1024 * 1024,
    max_header_bytes: int = 65536,
    memory_bytes: int = 256 * 1024 * 1024,
    held_body_bytes: int = 256 * 1024,
) -> AsyncIterator[Hop]:
    """Checks at the end that nothing is left behind."""
    loop = asyncio.get_running_loop()
    engine = Engine()
    engine_server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    engine.port = engine_server.sockets[0].getsockname()[1]
    metrics = Metrics()
    pool = Pool("127.0.0.1", engine.port, loop)
    pipeline = Pipeline(pool.send, loop, metrics, MergeKeys(b"secret", 65536), settings)
    numbers = itertools.count(1)
    intake = Intake(
        Routes("POST:/v1/plain=relay"),
        lambda: f"made-{next(numbers)}",
        max_body_bytes,
        max_header_bytes,
        Budget(memory_bytes),
        held_body_bytes=held_body_bytes,
    )
    port = DataPort(pipeline.offer, intake, metrics, loop.time)
    server = await loop.create_server(port.client, "127.0.0.1", 0)
    between = Hop(engine, pool, pipeline, port, metrics, server.sockets[0].getsockname()[1])
    try:
        yield between
        await between.settled()
    finally:
        server.close()
        port.abort()
        pool.close()
        engine_server.close()
        engine.abort()
        for client in between._clients:
            client.writer.transport.abort()


async def relayed(between: Hop, client: Client, request: bytes) -> tuple[str, bytes]:
    """The request line and body that the engine got for one request."""
    client.send(request)
    call = await between.engine.next()
    call.write(OK)
    response = await client.response()
    assert (response.status, response.body) == (200, b"{}")
    return call.line, call.body
