"""What is sent ahead is held up to a bound; then the socket holds it, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from batchfleet_worker.client import Client
from batchfleet_worker.exchange import LAGGING_BYTES, Request, ResponseHead, Result, Sink, Told
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


class Stuck(Wire):
    """Its client takes nothing of what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def test_what_clients_do_not_take_counts_and_who_goes_past_the_budget_is_dropped() -> None:
    budget = Budget(100_000)
    metrics = Metrics()
    ids: Callable[[], str] = map(str, itertools.count()).__next__
    intake = Intake(Routes(), ids, 1 << 20, 65536, budget)
    port = DataPort(lambda request, sink: Place(), intake, metrics, lambda: 0.0)
    wires = [Stuck(), Stuck()]
    clients = [port.client() for _ in wires]
    for client, wire in zip(clients, wires, strict=True):
        client.connection_made(wire)
        wire.write(b"x" * 70_000)
        client.pause_writing()  # as the loop does, past the high-water mark
    assert [wire.aborted for wire in wires] == [False, True]
    assert budget.used_bytes == 70_000
    assert metrics.requests_refused_total["too_slow"] == 1

    wires[0].write(b"x" * 20_000)  # more for one who lags already: seen by the sweep
    port.sweep()
    assert budget.used_bytes == 90_000
    wires[0].write(b"x" * 20_000)
    port.sweep()
    assert wires[0].aborted
    for client in clients:
        client.connection_lost(None)
    assert budget.used_bytes == 0


def test_a_client_that_catches_up_costs_nothing_any_more() -> None:
    budget = Budget(100_000)
    ids: Callable[[], str] = map(str, itertools.count()).__next__
    intake = Intake(Routes(), ids, 1 << 20, 65536, budget)
    client = DataPort(lambda request, sink: Place(), intake, Metrics(), lambda: 0.0).client()
    wire = Stuck()
    client.connection_made(wire)
    wire.write(b"x" * 70_000)
    client.pause_writing()
    client.resume_writing()
    assert budget.used_bytes == 0


class Full(Stuck):
    """As the loop does: it says when enough is written, until the client reads again."""

    client: Client

    def write(self, data: bytes | bytearray | memoryview) -> None:
        before = len(self.written)
        super().write(data)
        if before <= LAGGING_BYTES < len(self.written):
            self.client.pause_writing()

    def taken(self) -> int:
        """The client has read all of it: how many answers that was."""
        answers = self.written.count(b"HTTP/1.1 404")
        self.written = b""
        self.client.resume_writing()
        return answers


def test_who_asks_on_and_on_and_reads_nothing_is_not_answered_on_and_on() -> None:
    budget = Budget(8 << 20)
    ids: Callable[[], str] = map(str, itertools.count()).__next__
    intake = Intake(Routes(), ids, 1 << 20, 65536, budget)
    client = DataPort(lambda request, sink: Place(), intake, Metrics(), lambda: 0.0).client()
    wire = Full()
    wire.client = client
    client.connection_made(wire)

    one = b"GET /nope HTTP/1.1\r\nHost: pod\r\n\r\n"
    sent = 0
    while wire.reading and sent < 20_000:
        client.data_received(one * 100)
        sent += 100
    assert len(wire.written) < 2 * LAGGING_BYTES
    assert not wire.reading
    assert sent < 20_000

    answered = 0
    while taken := wire.taken():
        answered += taken
    assert answered == sent
    assert (wire.reading, budget.used_bytes) == (True, 0)
