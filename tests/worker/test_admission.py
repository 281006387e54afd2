"""Limit, queue, held batches, timeouts and drain, as a client meets them."""

from __future__ import annotations

import math

import pytest

from batchfleet_worker.adaptive import Signals
from batchfleet_worker.exchange import Lost, Route
from batchfleet_worker.live import (
    BatchingSettings,
    LiveSettings,
    Mode,
    RateLimit,
    RequestsSettings,
)
from tests.worker.virtual import Client, World, chat, settings


def different(number: int) -> list[str]:
    return [f"prompt {n}" for n in range(number)]


def ask_all(world: World, prompts: list[str]) -> list[Client]:
    return [world.ask(chat(prompt)) for prompt in prompts]


def test_no_more_than_the_limit_is_sent_and_the_queue_goes_in_order() -> None:
    world = World(settings(2))
    ask_all(world, different(5))
    assert [world.pipeline.in_flight, world.pipeline.queued] == [2, 3]
    world.calls[1].answer()
    assert [world.pipeline.in_flight, world.pipeline.queued] == [2, 2]
    assert world.calls[2].request.body == chat("prompt 2").body
    assert (world.metrics.in_flight, world.metrics.queued) == (2, 2)


def test_without_a_limit_everything_is_sent() -> None:
    world = World(settings(None))
    ask_all(world, different(500))
    assert world.pipeline.in_flight == 500
    assert world.metrics.in_flight_limit == math.inf


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    world = World(settings(1, queue=2))
    *_, refused = ask_all(world, different(4))
    assert refused.refusal is not None
    assert (refused.refusal.status, refused.refusal.code) == (429, "queue_full")
    assert refused.refusal.retry_after_seconds
    assert world.metrics.requests_offered_total == 4
    assert world.metrics.requests_admitted_total == 3
    assert world.metrics.requests_refused_total["queue_full"] == 1


def test_a_refused_client_that_goes_away_is_not_counted_again() -> None:
    world = World(settings(1, queue=0))
    world.ask(chat("a"))
    refused = world.ask(chat("b"))
    assert refused.ticket is not None
    refused.ticket.leave()
    refused.ticket.drained()
    assert world.metrics.clients_left_total == 0


def test_a_queue_of_none_still_uses_the_slots() -> None:
    world = World(settings(2, queue=0))
    one, two, three = ask_all(world, different(3))
    assert (one.code, two.code, three.code) == (None, None, "queue_full")


def test_joining_needs_no_place_in_a_full_queue() -> None:
    world = World(settings(1, queue=1))
    ask_all(world, ["a", "b"])
    joiner = world.ask(chat("b"))
    world.calls[0].answer()
    world.calls[1].answer()
    assert joiner.text == b"<1.0>"


def test_a_queued_client_that_leaves_frees_its_place() -> None:
    world = World(settings(1))
    _, waiting, other = ask_all(world, different(3))
    waiting.leave()
    assert world.pipeline.queued == 1
    world.calls[0].answer()
    world.calls[1].answer()
    assert other.ended
    assert world.empty()


def test_a_raised_limit_releases_and_a_lowered_one_interrupts_nobody() -> None:
    world = World(settings(1))
    clients = ask_all(world, different(6))
    world.pipeline.apply(settings(4))
    assert len(world.engine.live) == 4
    world.pipeline.apply(settings(2))
    assert len(world.engine.live) == 4
    for _ in range(3):
        world.engine.live[0].answer()
    assert len(world.engine.live) == 2
    while world.engine.live:
        world.engine.live[0].answer()
    assert all(client.ended for client in clients)


def test_told_how_long_queue_and_engine_took() -> None:
    world = World(settings(1))
    _, second = ask_all(world, different(2))
    joiner = world.ask(second.request)
    world.clock.advance(3)
    world.calls[0].answer()
    world.clock.advance(2)
    world.calls[1].head()
    for client in (second, joiner):
        assert client.told is not None
        assert client.told.queue_seconds == pytest.approx(3)
        assert client.told.engine_seconds == pytest.approx(2)


def test_a_batch_goes_when_it_is_full() -> None:
    world = World(settings(3, wait_ms=500))
    ask_all(world, different(2))
    assert world.calls == []
    world.ask(chat("another"))
    assert len(world.calls) == 3


def test_a_batch_goes_when_its_oldest_has_waited() -> None:
    world = World(settings(3, wait_ms=500))
    world.ask(chat("a"))
    world.clock.advance(0.4)
    world.ask(chat("b"))
    world.clock.advance(0.09)
    assert world.calls == []
    world.clock.advance(0.02)
    assert len(world.calls) == 2


def test_a_wait_set_to_zero_lets_a_held_batch_go() -> None:
    world = World(settings(3, wait_ms=500))
    world.ask()
    world.pipeline.apply(settings(3))
    assert len(world.calls) == 1


def test_a_shorter_wait_holds_for_the_batch_that_fills() -> None:
    world = World(settings(3, wait_ms=5000))
    world.ask()
    world.pipeline.apply(settings(3, wait_ms=100))
    world.clock.advance(0.11)
    assert len(world.calls) == 1


def test_a_held_batch_goes_when_no_more_may_queue() -> None:
    world = World(settings(10, wait_ms=500, queue=2))
    ask_all(world, different(2))
    assert len(world.calls) == 2


def test_timeout_in_the_queue_and_at_the_engine() -> None:
    world = World(settings(1))
    served, queued = ask_all(world, different(2))
    world.clock.advance(299.9)
    assert served.waiting
    world.clock.advance(0.2)
    assert [client.code for client in (served, queued)] == ["timeout"] * 2
    assert served.refusal is not None
    assert served.refusal.status == 504
    assert world.calls[0].cancelled
    assert world.empty()


def test_everybody_has_a_deadline_of_their_own() -> None:
    world = World()
    early = world.ask(chat("a"))
    world.clock.advance(100)
    late = world.ask(chat("b"))
    world.clock.advance(201)
    assert (early.code, late.code) == ("timeout", None)
    world.clock.advance(100)
    assert late.code == "timeout"
    assert world.empty()


def test_a_timeout_in_the_middle_of_an_answer() -> None:
    world = World()
    client = world.ask()
    world.calls[0].head()
    world.clock.advance(301)
    assert (client.status, client.code) == (200, "timeout")


def test_a_timeout_removes_one_client_from_a_flight_and_the_call_goes_on() -> None:
    world = World()
    early = world.ask()
    world.clock.advance(200)
    late = world.ask()
    world.clock.advance(150)
    assert early.code == "timeout"
    world.calls[0].answer()
    assert late.ended


def test_a_shorter_timeout_holds_for_those_who_wait() -> None:
    world = World()
    client = world.ask()
    world.clock.advance(10)
    world.pipeline.apply(LiveSettings(requests=RequestsSettings(timeout_seconds=5)))
    world.clock.advance(0)
    assert client.code == "timeout"


def test_cheap_reads_go_past_limit_and_queue_and_are_not_counted_as_work() -> None:
    world = World(settings(1, queue=0))
    world.ask()
    read = world.ask(chat(route=Route.PASS))
    world.calls[1].answer()
    assert read.ended
    assert world.pipeline.in_flight == 1
    assert world.metrics.requests_offered_total == 1
    assert world.metrics.engine_calls_total == 1


def test_a_client_may_ask_again_from_inside_its_last_callback() -> None:
    world = World(settings(1))
    first = world.ask(chat("a"))
    again: list[Client] = []
    first.when_done = lambda: again.append(world.ask(chat("b")))
    world.calls[0].answer()
    world.calls[1].answer()
    assert again[0].ended
    assert world.empty()


def test_a_client_may_leave_from_inside_a_callback_of_another() -> None:
    world = World()
    first, second = world.ask(), world.ask()
    first.when_done = second.leave
    world.calls[0].answer()
    assert second.left
    assert not second.ended
    assert world.empty()


def test_a_drain_answers_what_is_under_way_and_hands_back_what_comes() -> None:
    world = World(settings(1))
    idle: list[bool] = []
    world.pipeline.when_idle = lambda: idle.append(True)
    world.pipeline.begin_drain()
    clients = ask_all(world, different(2))
    world.pipeline.stop_accepting()
    refused = world.ask(chat("late"))
    assert (refused.code, idle) == ("draining", [])
    world.calls[0].answer()
    world.calls[1].answer()
    assert all(client.ended for client in clients)
    assert idle == [True]
    account = world.pipeline.drain_account
    assert (account.drained, account.handed_back, account.aborted) == (2, 1, 0)


def test_at_the_end_of_a_drain_the_queue_is_handed_back_and_the_rest_aborted() -> None:
    world = World(settings(1))
    answering, queued = ask_all(world, different(2))
    world.calls[0].head()
    world.pipeline.stop_accepting()
    world.pipeline.abort_all()
    assert (answering.code, queued.code) == ("draining", "draining")
    assert len(world.calls) == 1
    assert world.calls[0].cancelled
    account = world.pipeline.drain_account
    assert (account.drained, account.handed_back, account.aborted) == (0, 1, 1)
    assert world.empty()


def test_a_drain_can_end() -> None:
    world = World()
    world.pipeline.stop_accepting()
    world.pipeline.end_drain()
    client = world.ask()
    world.calls[0].answer()
    assert client.ended
    assert world.pipeline.drain_account.drained == 0


def test_priorities_come_from_the_requests_and_a_joiner_lends_its_own() -> None:
    world = World(settings(1))
    world.ask(chat("busy"))
    plain = world.ask(chat("plain"))
    merged = world.ask(chat("merged"))
    urgent = chat("merged")
    urgent.head.priority = 5
    joiner = world.ask(urgent)
    world.calls[0].answer()
    world.calls[1].answer()
    assert merged.ended
    assert joiner.ended
    assert not plain.ended


def test_a_client_that_waits_too_long_in_the_queue_is_told_to_try_again() -> None:
    live = settings(1)
    requests = RequestsSettings(queue_timeout_seconds=5)
    world = World(live.model_copy(update={"requests": requests}))
    served, queued = ask_all(world, different(2))
    world.clock.advance(5.1)
    assert (served.code, queued.code) == (None, "queue_timeout")
    assert queued.refusal is not None
    assert queued.refusal.status == 503
    assert queued.refusal.retry_after_seconds
    assert world.metrics.requests_refused_total["queue_timeout"] == 1
    world.calls[0].answer()
    assert world.empty()


def test_a_clients_own_deadline_is_kept_beside_the_services() -> None:
    world = World()
    slow, quick = chat("a"), chat("b")
    quick.head.timeout_seconds = 2.5
    early, late = world.ask(slow), world.ask(quick)
    world.clock.advance(2.4)
    assert late.waiting
    world.clock.advance(0.2)
    assert late.code == "timeout"
    world.clock.advance(297)
    assert early.waiting
    world.clock.advance(1)
    assert early.code == "timeout"
    assert world.empty()


def test_own_deadlines_of_answered_requests_are_not_kept() -> None:
    world = World()
    for number in range(500):
        asked = chat(f"prompt {number}")
        asked.head.timeout_seconds = 300.0
        world.ask(asked)
        world.calls[-1].answer()
    assert len(world.pipeline._deadlines._own) < 100
    assert world.empty()


def test_calls_of_which_none_is_answered_open_the_circuit_and_a_new_engine_closes_it() -> None:
    world = World()
    for prompt in different(8):
        world.ask(chat(prompt))
        world.calls[-1].lost(Lost.REFUSED)
    refused = world.ask(chat("one more"))
    assert refused.code == "circuit_open"
    world.pipeline.engine_back()
    answered = world.ask(chat("one more"))
    world.calls[-1].answer()
    assert answered.ended


def test_rate_limits_count_also_those_who_would_join() -> None:
    limits = (RateLimit(requests_per_minute=6),)
    requests = RequestsSettings(rate_limits=limits)
    world = World(settings(4).model_copy(update={"requests": requests}))
    first, second = world.ask(chat("same")), world.ask(chat("same"))
    assert first.waiting
    assert second.code == "rate_limited"


def test_the_limit_finds_itself_from_what_the_engine_says() -> None:
    live = LiveSettings(
        batching=BatchingSettings(mode=Mode.ADAPTIVE, target_inter_token_milliseconds=50)
    )
    world = World(live)
    ask_all(world, different(100))
    assert world.pipeline.in_flight == 8
    assert world.pipeline.watched
    for _ in range(4):
        world.clock.advance(0.5)
        world.pipeline.tick(world.clock.time(), Signals(0.01, running=world.pipeline.in_flight))
    assert world.pipeline.in_flight == 32
    world.clock.advance(0.5)
    world.pipeline.tick(world.clock.time(), Signals(0.01, preempted=1))
    world.pipeline.tick(world.clock.time(), Signals(0.01, preempted=1))
    assert world.metrics.limit_cuts_total["preemption"] == 1
    assert world.metrics.in_flight_limit == world.pipeline.limit
    world.pipeline.apply(settings(None))
    assert world.pipeline.in_flight == 100
    assert not world.pipeline.watched
