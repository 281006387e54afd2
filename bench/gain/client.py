"""The clients: a fixed number of kept-alive connections that work one list off, in its order.

Closed loop: each connection sends the next request of the list when its answer is whole.  The
engine then never has more than that many, and a cheap answer brings the next request sooner; so
it is the time for the whole list that is compared, never the requests of a given time.

Callbacks instead of coroutines, because the clients share their core with the sidecar.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httptools

from bench.gain.figures import Outcome

RESULT_HEADER = b"x-batchfleet-result"
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
)
_END = b"[DONE]"
_TAIL_BYTES = 64  # of an answer, in which its end is looked for


async def run(
    bodies: Sequence[bytes],
    ports: Sequence[int],
    connections: int,
    *,
    seed: int,
    within_seconds: float,
) -> Outcome:
    """Send all of ``bodies``; what is not answered ``within_seconds`` has failed.

    Which port, each connection draws when it is opened: so does kube-proxy with the pods of a
    Service, at random, per connection and not per request.
    """
    load = _Load(bodies, ports, seed)
    clients = [await load.connect() for _ in range(connections)]
    began = time.perf_counter()
    for client in clients:
        client.send_next()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(load.done, within_seconds)
    seconds = time.perf_counter() - began
    await load.close()
    return Outcome(
        seconds=seconds,
        ttft_seconds=tuple(load.ttft_seconds),
        results=dict(load.results),
        failures=len(bodies) - len(load.ttft_seconds),
    )


class _Load:
    """The list, how far it is, and what came back."""

    def __init__(self, bodies: Sequence[bytes], ports: Sequence[int], seed: int) -> None:
        self.ttft_seconds: list[float] = []
        self.results: Counter[str] = Counter()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting = iter(bodies)
        self._unanswered = len(bodies)
        self._ports = ports
        self._rng = random.Random(seed)
        self._clients: set[_Client] = set()
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._closing = False

    async def connect(self) -> _Client:
        port = self._rng.choice(self._ports)
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", port)
        self._clients.add(client)
        return client

    def take(self) -> bytes | None:
        return next(self._waiting, None)

    def answered(self, ttft_seconds: float | None, result: str) -> None:
        """``ttft_seconds`` None: the answer was wrong or not whole."""
        if ttft_seconds is not None:
            self.ttft_seconds.append(ttft_seconds)
            self.results[result] += 1
        self._unanswered -= 1
        if not self._unanswered and not self.done.done():
            self.done.set_result(None)

    def lost(self, client: _Client) -> None:
        """Its connection is closed: another takes its place while there is work."""
        self._clients.discard(client)
        if not self._closing and not self.done.done():
            task = asyncio.get_running_loop().create_task(self._reconnect())
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    async def _reconnect(self) -> None:
        with contextlib.suppress(OSError):
            (await self.connect()).send_next()

    async def close(self) -> None:
        self._closing = True
        for task in tuple(self._reconnecting):
            task.cancel()
        clients = tuple(self._clients)
        for client in clients:
            client.close()
        await asyncio.gather(*(client.closed for client in clients))


class _Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, load: _Load) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._load = load
        self._transport: Any = None
        self._sent_at: float | None = None  # None: nothing is under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send_next(self) -> None:
        body = self._load.take()
        if body is None:
            return
        self._parser = httptools.HttpResponseParser(self)
        self._ttft_seconds: float | None = None
        self._result = ""
        self._tail = b""
        self._sent_at = time.perf_counter()
        self._transport.write(_HEAD % (len(body), body))

    def close(self) -> None:
        self._sent_at = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == RESULT_HEADER:
            self._result = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        if self._ttft_seconds is None and self._sent_at is not None:
            self._ttft_seconds = time.perf_counter() - self._sent_at
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        if self._sent_at is None:
            return
        whole = self._parser.get_status_code() == 200 and _END in self._tail
        self._sent_at = None
        self._load.answered(self._ttft_seconds if whole else None, self._result)
        if self._parser.should_keep_alive():
            # Not from inside the parser, which send_next replaces.
            asyncio.get_running_loop().call_soon(self.send_next)
        else:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._sent_at is not None:
            self._sent_at = None
            self._load.answered(None, "")
        self._load.lost(self)
        self.closed.set_result(None)
