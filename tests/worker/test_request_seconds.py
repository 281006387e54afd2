"""How long requests take: whose time is counted, and whose is not."""

from __future__ import annotations

import pytest

from batchfleet_worker.exchange import Lost, Route
from tests.worker.virtual import STREAM, World, chat, settings


def seen(world: World) -> tuple[int, float]:
    """Requests that were counted, and their seconds."""
    world.pipeline.count()
    histogram = world.metrics.request_seconds
    return sum(histogram.counts), round(histogram.sum, 6)


def test_a_request_takes_from_its_arrival_to_its_last_byte_the_queue_included() -> None:
    world = World(settings(1))
    world.ask(chat("first"))
    world.ask(chat("second"))
    world.clock.advance(2)
    world.calls[0].whole()
    world.clock.advance(3)
    call = world.calls[1]
    call.head()
    call.data(call.body())
    world.clock.advance(0.5)
    call.end()
    assert seen(world) == (2, 2 + 5.5)


def test_of_those_who_share_an_answer_each_counts_from_its_own_arrival() -> None:
    world = World()
    world.ask(chat(extra=STREAM))
    world.clock.advance(4)
    call = world.calls[0]
    call.head()
    call.token()
    world.ask(chat(extra=STREAM))
    world.clock.advance(1)
    call.done_streaming()
    assert len(world.calls) == 1
    assert seen(world) == (2, 5 + 1)


def test_an_answer_from_the_cache_takes_no_time() -> None:
    world = World(settings(cache_seconds=30))
    world.ask()
    world.clock.advance(1)
    world.calls[0].whole()
    world.ask()
    assert seen(world) == (2, 1)
    assert world.metrics.request_seconds.counts[0] == 1


def test_who_waits_in_vain_counts_with_the_time_that_it_waited() -> None:
    """Else nothing would be known of a service that is so slow that nobody stays."""
    world = World(settings(1))
    leaving = world.ask(chat("left"))
    world.ask(chat("left in the queue")).leave()
    late = world.ask(chat("late", timeout_seconds=7))
    world.clock.advance(3)
    leaving.leave()
    world.clock.advance(4)
    assert late.code == "timeout"
    assert seen(world) == (3, 3 + 0 + 7)


def test_a_fast_error_is_no_fast_answer() -> None:
    world = World(settings(1, queue=1))
    broken = world.ask(chat("a"))
    world.ask(chat("b"))
    assert world.ask(chat("c")).code == "queue_full"
    world.calls[0].lost(Lost.BROKEN)
    assert broken.code == "engine_broken"
    world.calls[1].answer(status=500)
    world.ask(chat("d"))
    world.calls[2].answer(status=400)
    world.ask(chat("e"))
    world.pipeline.abort_all()
    assert seen(world) == (0, 0)


@pytest.mark.parametrize("route", [Route.PASS, Route.TUNNEL])
def test_cheap_reads_and_tunnels_are_no_requests_of_this_kind(route: Route) -> None:
    world = World()
    world.ask(chat(route=route))
    world.calls[0].whole()
    world.ask(chat(route=route)).leave()
    assert seen(world) == (0, 0)


def test_what_was_counted_stays_counted_when_it_is_read_again() -> None:
    world = World()
    for _ in range(2):
        world.ask()
        world.clock.advance(1)
        world.calls[-1].whole()
        seen(world)
    assert seen(world) == (2, 2)
    assert world.metrics.request_seconds.counts[world.metrics.request_seconds.edges.index(1)] == 2
