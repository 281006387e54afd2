"""The engine's side of the hop: a pool of our own, one request per connection at a time.

Pool.send ──► Connection (pooled: at once; else connected first) ──► head/data/end/lost
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from batchfleet_worker.connection import Call, Connection
from batchfleet_worker.exchange import Lost, Receiver, Request
from batchfleet_worker.heads import Heads
from batchfleet_worker.plain import plain_response

# vLLM closes an idle connection after 5 s; one that is about to be closed must not be chosen.
IDLE_SECONDS: Final = 3.5
CONNECT_SECONDS = 5.0
# Its heads carry a date: what is kept of them is of use for a second.
KEPT_HEAD_BYTES = 64 * 1024


class Pool:
    """Connections to one engine.  Their number is counted, not bounded: the limit is upstream."""

    def __init__(
        self,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.authority = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        self.heads = Heads(plain_response, kept_bytes=KEPT_HEAD_BYTES)
        self.on_refused: Callable[[], None] | None = None  # hears of every failed connect
        self.connections: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the newest last
        self._connecting: set[asyncio.Task[None]] = set()
        self._address = (host, port)
        self._loop = loop
        self._now = loop.time

    def send(self, request: Request, receiver: Receiver) -> Call:
        call = Call(request, receiver)
        connection = self._take()
        if connection is not None:
            connection.start(call, pooled=True)
        else:
            task = self._loop.create_task(self._connect(call))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        return call

    def made(self, connection: Connection) -> None:
        self.connections.add(connection)

    def put(self, connection: Connection) -> None:
        self._idle[connection] = self._now()

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Drop every connection; calls under way are lost as broken."""
        for task in self._connecting:
            task.cancel()
        for connection in list(self.connections):
            connection.hang_up()

    def _take(self) -> Connection | None:
        """The most recently used idle connection; the others are left to the engine's timeout."""
        idle = self._idle
        while idle:
            connection, since = idle.popitem()
            if self._now() - since < IDLE_SECONDS and connection.usable():
                return connection
            connection.hang_up()
        return None

    async def _connect(self, call: Call) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), *self._address
                )
        except OSError:
            if self.on_refused is not None:
                self.on_refused()
            if not call.cancelled:
                call.receiver.lost(Lost.REFUSED)
            return
        if call.cancelled:
            self.put(connection)
        else:
            connection.start(call, pooled=False)
