"""What is sent ahead is held up to a bound; then the socket holds it, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from batchfleet_worker.exchange import Request, ResponseHead, Result, Sink, Told
from batchfleet_worker.intake import Intake
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.openai import Routes
from batchfleet_worker.relay import DataPort
from tests.worker.wire import post


class Wire(asyncio.Transport):
    """A socket that the test reads and writes by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True
        self.written = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)


class Place:
    def leave(self) -> None: ...

    def drained(self) -> None: ...


def test_a_client_that_sends_far_ahead_is_not_read_until_its_turn() -> None:
    waiting: list[Sink] = []

    def offer(request: Request, sink: Sink) -> Place:
        waiting.append(sink)
        return Place()

    ids: Callable[[], str] = map(str, itertools.count()).__next__
    budget = Budget(8 << 20)
    intake = Intake(Routes(), ids, 1 << 20, 65536, budget)
    client = DataPort(offer, intake, Metrics(), lambda: 0.0).client()
    wire = Wire()
    client.connection_made(wire)

    ahead = post(b"x" * 1000) * 100
    client.data_received(post())
    sent = 0
    while wire.reading and sent < len(ahead):
        client.data_received(ahead[sent : sent + 4096])
        sent += 4096
    assert 65536 < sent < len(ahead)

    answered = 0
    while waiting:
        sink = waiting.pop()
        sink.start(ResponseHead(204, ()), Told(Result.DIRECT, 0, 0))
        sink.end()
        answered += 1
        if wire.reading and sent < len(ahead):
            client.data_received(ahead[sent:])
            sent = len(ahead)
    assert answered == 101
    assert wire.written.count(b"HTTP/1.1 204") == 101
    assert budget.used_bytes == 0
