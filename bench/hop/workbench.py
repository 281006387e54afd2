"""The sidecar's parts in this process, assembled as the real process assembles them, without
sockets: what a test bench for the hot path needs.

Only public entry points are driven (a client connection's ``data_received``, ``Pipeline.offer``, a
receiver's ``head``/``data``/``end``), so that a figure survives changes behind them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from unittest.mock import patch

from batchfleet_worker import sidecar as process
from batchfleet_worker.exchange import (
    Call,
    Receiver,
    Refusal,
    Request,
    ResponseHead,
    Sink,
    Ticket,
    Told,
)
from batchfleet_worker.settings import Settings
from batchfleet_worker.sidecar import Sidecar
from batchfleet_worker.upstream import Pool

ENGINE_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 03:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-length: %d\r\ncontent-type: application/json\r\n\r\n"
)
ENGINE_ANSWER = ENGINE_HEAD % 800 + b"a" * 800


class Wire(asyncio.Transport):
    """A socket that takes everything at once and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writes += 1

    def writelines(self, list_of_data: Any) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default


class Unsent:
    """An engine call that went nowhere."""

    __slots__ = ()

    def cancel(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Silence:
    """A client that takes an answer and does nothing with it."""

    __slots__ = ()

    def start(self, head: ResponseHead, told: Told) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...

    def refuse(self, refusal: Refusal) -> None:
        raise AssertionError(f"refused: {refusal}")

    def backlog(self) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        """What a sink may be asked beyond that: nothing to say."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


class Recorder(Silence):
    """A client that remembers its answer."""

    __slots__ = ("body", "started")

    def __init__(self) -> None:
        self.body = b""
        self.started: tuple[ResponseHead, Told]

    def start(self, head: ResponseHead, told: Told) -> None:
        self.started = (head, told)

    def data(self, chunk: bytes) -> None:
        self.body += chunk


class Deaf:
    """A receiver of an engine's answer that does nothing with it."""

    __slots__ = ()

    def head(self, head: ResponseHead) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...

    def lost(self, why: object) -> None:
        raise RuntimeError(f"the engine call was lost: {why}")

    def __getattr__(self, name: str) -> Any:
        """What a receiver may be told beyond that: it does not matter."""
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_: None


class Workbench:
    """One assembled sidecar.  ``receivers``: of the engine calls that no pool has taken."""

    def __init__(self, sidecar: Sidecar, receivers: list[Receiver]) -> None:
        self.sidecar = sidecar
        self.pipeline = sidecar.pipeline
        self.receivers = receivers

    def client(self) -> asyncio.Protocol:
        """A client connection as the server makes it."""
        client = cast(asyncio.Protocol, self.sidecar.port.client())
        client.connection_made(Wire())
        return client

    def read(self, message: bytes) -> Request:
        """The request that the data port makes of these bytes."""
        with self._caught() as caught:
            client = self.client()
            client.data_received(message)
            client.connection_lost(None)
        return caught[0][0]

    def waiting(self, messages: Sequence[bytes]) -> list[tuple[asyncio.Protocol, Sink]]:
        """For each message a connection whose request is with the pipeline, and its answer."""
        clients = [self.client() for _ in messages]
        with self._caught() as caught:
            for client, message in zip(clients, messages, strict=True):
                client.data_received(message)
        return [(client, sink) for client, (_, sink) in zip(clients, caught, strict=True)]

    @contextmanager
    def _caught(self) -> Iterator[list[tuple[Request, Sink]]]:
        """What the data port offers meanwhile, in place of the pipeline."""
        port = self.sidecar.port
        caught: list[tuple[Request, Sink]] = []
        offer = port.offer

        def catch(request: Request, sink: Sink) -> Ticket:
            caught.append((request, sink))
            return _Nobody()

        port.offer = catch
        try:
            yield caught
        finally:
            port.offer = offer


class _Nobody:
    def leave(self) -> None: ...

    def drained(self) -> None: ...


@asynccontextmanager
async def workbench(*, engine: bool, **settings: Any) -> AsyncIterator[Workbench]:
    """``engine`` False: calls are collected instead of sent; True: through the real pool."""
    receivers: list[Receiver] = []
    call = Unsent()

    class Collecting:
        """A pool that sends nothing; not a kind of ``Pool``, which may be compiled."""

        def __init__(self, *address: object) -> None:
            self.on_refused: Callable[[], None] | None = None

        def send(self, request: Request, receiver: Receiver) -> Any:
            receivers.append(receiver)
            return cast(Call, call)

    with patch.object(process, "Pool", Pool if engine else Collecting):
        made = Sidecar(Settings(**settings), asyncio.get_running_loop())
    yield Workbench(made, receivers)
