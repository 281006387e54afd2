"""The hop bench measures what it says: its requests, its load generator, its ratios."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cache
from bench.hop import parts, traffic
from bench.hop.proxies import Hop
from bench.hop.rounds import Rounds, Runs
from bench.hop.traffic import MARK, Load, Sent, Shape
from bench.processes import Processes, free_port
from bench.report import Report

HERE = Path(traffic.__file__).parent
SECONDS = 0.2


def sent(requests: int, seconds: float = 1.0) -> Sent:
    return Sent(requests, seconds, 0, 0, 0, 0, 0, requests, 10.0, 20.0, 30.0, 40.0)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    return Load(cache.compiled(HERE / "load.c"), tmp_path_factory.mktemp("requests"), core=0)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        port = free_port()
        program = cache.compiled(HERE / "engine.c")
        running.start("engine", [str(program), str(port), "100"], port=port)
        yield port


@pytest.fixture
def parrot() -> Iterator[int]:
    """A proxy that gives everybody the same answer."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope")

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("shape", list(Shape))
def test_requests_are_whole_and_their_answers_can_be_told_apart(shape: Shape) -> None:
    for message in traffic.requests(shape):
        head, _, body = message.partition(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
        fields = json.loads(body)
        assert fields["temperature"] == 0
        assert MARK in fields["messages"][-1]["content"]
        assert (MARK.encode() in head) is (shape is Shape.TRACED)


def test_the_shapes_are_as_the_tables_say() -> None:
    assert 912 <= len(traffic.body(Shape.PLAIN)) <= 980
    assert len(traffic.requests(Shape.PLAIN)) == 1
    assert len({len(message) for message in traffic.requests(Shape.VARIED)}) > 500


def test_every_request_gets_its_own_answer(load: Load, engine: int) -> None:
    for shape in (Shape.PLAIN, Shape.TRACED, Shape.VARIED):
        assert load.send(engine, shape, 8, SECONDS).requests > 100


def test_every_event_of_every_stream_is_counted(load: Load, engine: int) -> None:
    streams = load.send(engine, Shape.STREAM, 4, SECONDS)
    assert streams.events == streams.requests * traffic.EVENTS


def test_an_open_loop_sends_what_was_asked_for(load: Load, engine: int) -> None:
    assert load.send(engine, Shape.PLAIN, 8, 0.5, rate=200).requests == 100


def test_another_requests_answer_is_an_error(load: Load, parrot: int) -> None:
    with pytest.raises(RuntimeError, match="not its own answer"):
        load.send(parrot, Shape.PLAIN, 2, SECONDS)


def test_a_proxy_that_fails_costs_nobody_else_their_figures(
    load: Load, engine: int, parrot: int
) -> None:
    rounds = Rounds(load, rounds=2)
    hops = [Hop("good", engine, engine), Hop("bad", parrot, parrot)]
    results = rounds.throughput(hops, Shape.PLAIN, SECONDS, SECONDS)
    assert len(results["good"].sent) == 2
    assert "bad" not in results
    assert rounds.failures[0].startswith("bad failed")


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was ten times slower in the second round, for both."""
    ours, theirs = Runs(), Runs()
    for mine, other in ((80, 100), (8, 10), (85, 100)):
        ours.add(sent(mine), 0.5)
        theirs.add(sent(other), 0.5)
    assert ours.ratio(theirs) == pytest.approx(0.8)
    assert ours.cpu_us_per_request == pytest.approx(1.5e6 / 173)


async def test_every_part_of_the_sidecar_can_still_be_driven_alone() -> None:
    report = Report("hop.parts", quick=True)
    await parts.measure(report, count=20, batches=1)
    assert report.notes == []
    [rows] = report.tables.values()
    assert {row["part"].strip() for row in rows} >= {"whole hop", "reader", "one streamed chunk"}
