"""What a call owes each of its clients: order, time, memory, accounts; and the calls of one kind
that are nobody else's."""

from __future__ import annotations

import orjson
import pytest

from batchfleet_worker.exchange import Lost, Outlet, Route
from batchfleet_worker.key import NotMerged
from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.memory import Budget
from tests.worker.virtual import STREAM, World, chat, settings


class Rest:
    """Of a body that has not arrived yet."""

    length: int | None = None

    def pump(self, into: Outlet) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


# --- many clients, one call ----------------------------------------------------------------


def test_a_call_that_waits_has_the_highest_priority_of_its_clients() -> None:
    world = World(settings(1))
    world.ask(chat("busy"))
    low, _ = world.ask(chat("low")), world.ask(chat("middle", priority=5))
    world.ask(chat("low", priority=9))
    world.calls[0].answer()
    assert world.calls[1].request.body == low.request.body


def test_the_engine_hears_of_the_priority_that_a_call_has_by_then() -> None:
    world = World(settings(1), engine_priority=EnginePriority.NEGATE)
    world.ask(chat("busy"))
    world.ask(chat("x", priority=-3))
    world.ask(chat("x", priority=4))
    world.calls[0].answer()
    assert orjson.loads(world.calls[1].request.body)["priority"] == -4


def test_an_own_time_limit_ends_one_client_and_no_other() -> None:
    world = World()
    patient = world.ask()
    hasty = world.ask(chat(timeout_seconds=2))
    world.clock.advance(1.9)
    assert hasty.waiting
    world.clock.advance(0.2)
    assert hasty.code == "timeout"
    world.calls[0].answer()
    assert patient.ended


def test_an_own_time_limit_only_shortens_the_services() -> None:
    world = World()
    client = world.ask(chat(timeout_seconds=10_000))
    world.clock.advance(301)
    assert client.code == "timeout"


def test_what_a_call_cost_counts_once_and_what_it_served_for_each() -> None:
    world = World()
    for _ in range(3):
        world.ask()
    world.calls[0].whole()
    world.pipeline.count()
    metrics = world.metrics
    assert metrics.tokens_computed_total == {"prompt": 3, "completion": 2}
    assert metrics.tokens_served_total == {"prompt": 9, "completion": 6}
    assert metrics.subscribers_per_flight.sum == 3
    assert metrics.subscribers_per_flight.counts[2] == 1  # up to 4


def test_times_to_first_token_and_between_tokens() -> None:
    world = World()
    first = world.ask(chat(extra=STREAM))
    world.clock.advance(0.4)
    call = world.calls[0]
    call.head()
    call.token()
    world.clock.advance(0.1)
    call.token()
    late = world.ask(chat(extra=STREAM))
    call.done_streaming()
    assert first.ended
    assert late.ended
    metrics = world.metrics
    assert metrics.time_to_first_token_seconds.sum == pytest.approx(0.4)
    assert sum(metrics.time_to_first_token_seconds.counts) == 2
    assert metrics.inter_token_seconds.sum == pytest.approx(0.1)


def test_requests_are_counted_by_the_models_that_the_engine_lists() -> None:
    world = World()
    world.pipeline.engine_changed(["m"])
    world.ask()
    world.ask(chat(extra=',"model":"made up"'))
    assert world.metrics.requests_by_model_total == {"other": 1, "m": 1}
    world.pipeline.engine_changed(["n"])
    world.ask()
    assert world.metrics.requests_by_model_total == {"other": 2, "n": 0}


def test_a_body_that_still_arrives_is_sent_as_it_is_and_once() -> None:
    world = World()
    requests = [chat(), chat()]
    for request in requests:
        request.rest = Rest()
    one, two = map(world.ask, requests)
    assert [call.request for call in world.calls] == requests
    world.calls[0].lost(Lost.UNANSWERED)
    assert (one.code, two.waiting) == ("engine_broken", True)
    assert world.metrics.requests_not_merged_total[NotMerged.TOO_LARGE] == 2


def test_replay_logs_give_way_to_bodies_the_largest_first() -> None:
    budget = Budget(10_000)
    world = World(budget=budget)
    for prompt, size in (("a", 2000), ("b", 6000)):
        world.ask(chat(prompt))
        world.calls[-1].head()
        world.calls[-1].data(b"x" * size)
    assert budget.take(4000)
    world.ask(chat("a"))
    world.ask(chat("b"))
    assert len(world.calls) == 3
    assert world.metrics.replays_closed_total["memory"] == 1


def test_without_memory_for_the_log_a_call_is_not_joined_late() -> None:
    budget = Budget(100)
    world = World(budget=budget)
    first = world.ask()
    world.calls[0].head()
    world.calls[0].data(b"x" * 101)
    world.ask()
    assert len(world.calls) == 2
    world.calls[0].end()
    assert first.text == b"x" * 101
    assert budget.used_bytes == 0


# --- tunnels -------------------------------------------------------------------------------


def test_a_tunnel_holds_a_slot_and_has_no_end() -> None:
    world = World(settings(1))
    tunnel = world.ask(chat(route=Route.TUNNEL))
    waiting = world.ask(chat("x"))
    world.clock.advance(100)
    assert (world.pipeline.in_flight, world.pipeline.queued) == (1, 1)
    world.clock.advance(10_000)
    assert (tunnel.waiting, waiting.code) == (True, "timeout")
    tunnel.leave()
    assert world.empty()


def test_a_tunnel_is_closed_when_arrivals_are_handed_back() -> None:
    world = World()
    tunnel, request = world.ask(chat(route=Route.TUNNEL)), world.ask(chat("x"))
    world.calls[0].head(101)
    world.pipeline.begin_drain()
    assert tunnel.waiting
    world.pipeline.stop_accepting()
    assert (tunnel.code, request.waiting) == ("draining", True)
    assert world.ask(chat(route=Route.TUNNEL)).code == "draining"
    world.calls[1].answer()
    assert world.pipeline.drain_account.drained == 1
    assert world.empty()


def test_what_was_sent_before_a_change_of_models_is_not_given_to_who_comes_after() -> None:
    world = World(settings(cache_seconds=30))
    before = world.ask()
    world.pipeline.engine_changed(["m"])
    world.clock.advance(1)
    after = world.ask()
    world.calls[0].whole("old")
    world.calls[1].whole("new")
    assert (before.said, after.said, world.ask().said) == ("old", "new", "new")
