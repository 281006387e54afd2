"""Sharing one engine call: who gets whose answer, and what happens when it goes wrong."""

from __future__ import annotations

import pytest

from batchfleet_worker.dispatch import RESEND_WITHIN_SECONDS
from batchfleet_worker.exchange import LAGGING_BYTES, Lost, Request, Route
from batchfleet_worker.key import NotMerged
from batchfleet_worker.live import Merging
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.pipeline import Bounds, Pipeline
from tests.worker.virtual import Client, Engine, VirtualClock, World, chat, settings


def test_equal_requests_reach_the_engine_once_and_each_gets_the_whole_answer() -> None:
    world = World()
    clients = [world.ask() for _ in range(16)]
    world.calls[0].answer(chunks=3)
    assert len(world.calls) == 1
    assert {client.text for client in clients} == {b"<0.0><0.1><0.2>"}
    assert all(client.ended for client in clients)
    assert [client.joined for client in clients] == [False] + [True] * 15
    assert world.metrics.requests_merged_total == 15
    assert world.metrics.engine_calls_total == 1
    assert world.empty()


def test_different_requests_do_not_share() -> None:
    world = World()
    one, two = world.ask(chat("a")), world.ask(chat("b"))
    world.calls[1].answer()
    world.calls[0].answer()
    assert (one.text, two.text) == (b"<0.0>", b"<1.0>")


def test_streaming_and_not_make_two_calls() -> None:
    world = World()
    for _ in range(4):
        world.ask(chat())
        world.ask(chat(extra=',"stream":true'))
    assert len(world.calls) == 2


def test_a_late_joiner_gets_the_past_in_one_write_and_then_follows() -> None:
    world = World()
    world.ask()
    world.clock.advance(2)
    world.calls[0].head()
    world.calls[0].data(b"one ")
    world.calls[0].data(b"two ")
    late = world.ask()
    assert late.chunks == [b"one two "]
    assert late.told is not None
    assert (late.told.queue_seconds, late.told.engine_seconds) == (0, 0)
    world.calls[0].data(b"three")
    world.calls[0].end()
    assert late.text == b"one two three"
    assert late.ended


def test_past_the_replay_bound_a_new_arrival_starts_its_own_flight() -> None:
    world = World(bounds=Bounds(replay_bytes=10))
    world.ask()
    world.calls[0].head()
    world.calls[0].data(b"0123456789")
    assert world.ask().text == b"0123456789"
    world.calls[0].data(b"x")
    later = world.ask()
    assert len(world.calls) == 2
    world.calls[1].answer()
    assert later.text == b"<1.0>"


def test_an_answer_that_is_over_is_not_shared() -> None:
    world = World()
    world.ask()
    world.calls[0].answer()
    world.ask()
    assert len(world.calls) == 2


def test_the_first_client_may_leave_and_the_last_cancels() -> None:
    world = World()
    first, second = world.ask(), world.ask()
    first.leave()
    assert world.calls[0].live
    second.leave()
    assert world.calls[0].cancelled
    assert world.metrics.clients_left_total == 2
    assert world.empty()


def test_a_cancelled_flight_is_not_joined() -> None:
    world = World()
    world.ask().leave()
    client = world.ask()
    world.calls[1].answer()
    assert client.text == b"<1.0>"


def test_an_error_about_the_request_is_shared() -> None:
    world = World()
    clients = [world.ask() for _ in range(3)]
    world.calls[0].answer(400)
    assert [client.status for client in clients] == [400] * 3
    assert len(world.calls) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_error_that_may_be_one_clients_bad_luck_makes_the_others_ask_once_more(
    status: int,
) -> None:
    world = World()
    first, *others = [world.ask() for _ in range(4)]
    world.calls[0].answer(status)
    assert first.status == status
    assert len(world.calls) == 2
    world.calls[1].answer(200)
    assert [client.status for client in others] == [200] * 3
    assert world.empty()


def test_a_second_error_is_everybodys() -> None:
    world = World()
    _, *others = [world.ask() for _ in range(4)]
    world.calls[0].answer(503)
    world.calls[1].answer(503)
    assert [client.status for client in others] == [503] * 3
    assert len(world.calls) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_credentials_is_never_shared(status: int) -> None:
    world = World()
    clients = [world.ask() for _ in range(3)]
    while world.engine.live:
        world.engine.live[0].answer(status)
    assert [client.status for client in clients] == [status] * 3
    assert len({client.text for client in clients}) == 3


def test_asking_again_keeps_to_the_limit() -> None:
    world = World(settings(1))
    clients = [world.ask() for _ in range(4)]
    world.calls[0].head(401)
    assert len(world.engine.live) == 1
    world.calls[0].end()
    while world.engine.live:
        assert len(world.engine.live) == 1
        world.engine.live[0].answer(200)
    assert all(client.ended for client in clients)


def test_what_an_engine_answered_with_an_error_is_not_asked_of_the_next_engine() -> None:
    world = World(settings(1))
    _, other = world.ask(), world.ask()
    world.calls[0].head(500)
    world.pipeline.engine_restarted()
    assert other.code == "engine_broken"
    world.calls[0].end()
    assert len(world.calls) == 1
    assert world.empty()


def test_nor_when_the_error_arrives_after_the_restart_was_seen() -> None:
    world = World()
    first, other = world.ask(), world.ask()
    world.pipeline.engine_restarted()
    world.calls[0].answer(500)
    assert (first.status, other.code) == (500, "engine_broken")
    assert len(world.calls) == 1


def test_a_break_before_the_head_is_an_error_for_all() -> None:
    world = World()
    clients = [world.ask() for _ in range(2)]
    world.calls[0].lost(Lost.BROKEN)
    assert [client.code for client in clients] == ["engine_broken"] * 2
    assert clients[0].refusal is not None
    assert clients[0].refusal.status == 502
    assert len(world.calls) == 1


def test_a_break_in_the_middle_is_an_error_for_all() -> None:
    world = World()
    clients = [world.ask() for _ in range(2)]
    world.calls[0].head()
    world.calls[0].data()
    world.calls[0].lost(Lost.BROKEN)
    assert [(client.status, client.code) for client in clients] == [(200, "engine_broken")] * 2
    assert world.metrics.engine_errors_total["broken"] == 1


def test_no_connection_is_a_503_with_a_time_to_come_back() -> None:
    world = World()
    client = world.ask()
    world.calls[0].lost(Lost.REFUSED)
    assert client.refusal is not None
    assert (client.refusal.status, client.refusal.code) == (503, "no_engine")
    assert client.refusal.retry_after_seconds


def test_a_stale_connection_is_tried_once_more() -> None:
    world = World(settings(1))
    clients = [world.ask() for _ in range(2)]
    world.calls[0].lost(Lost.UNANSWERED)
    world.calls[1].answer()
    assert {client.text for client in clients} == {b"<1.0>"}
    assert world.empty()


def test_but_not_twice() -> None:
    world = World()
    client = world.ask()
    world.calls[0].lost(Lost.UNANSWERED)
    world.calls[1].lost(Lost.UNANSWERED)
    assert client.code == "engine_broken"
    assert len(world.calls) == 2


def test_nor_after_an_engine_restart() -> None:
    world = World()
    client = world.ask()
    world.pipeline.engine_restarted()
    world.calls[0].lost(Lost.UNANSWERED)
    assert client.code == "engine_broken"
    assert len(world.calls) == 1


def test_nor_when_the_engine_had_time_to_die_over_it() -> None:
    world = World()
    client = world.ask()
    world.clock.advance(RESEND_WITHIN_SECONDS + 0.1)
    world.calls[0].lost(Lost.UNANSWERED)
    assert client.code == "engine_broken"


def test_the_engine_is_paused_only_while_every_client_lags() -> None:
    world = World()
    slow, fast = world.ask(), world.ask()
    call = world.calls[0]
    call.head()
    slow.unread = LAGGING_BYTES + 1
    call.data()
    paused = [call.paused]
    fast.unread = LAGGING_BYTES + 1
    call.data()
    paused.append(call.paused)
    fast.catch_up()
    paused.append(call.paused)
    assert paused == [False, True, False]


def test_a_lagging_client_that_left_no_longer_counts() -> None:
    world = World()
    gone, slow, fast = world.ask(), world.ask(), world.ask()
    call = world.calls[0]
    call.head()
    gone.unread = LAGGING_BYTES + 1
    call.data()
    gone.leave()
    slow.unread = LAGGING_BYTES + 1
    call.data()
    assert not call.paused
    call.end()
    assert fast.ended


def test_a_lone_slow_client_is_waited_for() -> None:
    world = World(bounds=Bounds(lag_bytes=100_000))
    client = world.ask()
    world.calls[0].head()
    client.unread = 10_000_000
    world.calls[0].data()
    assert world.calls[0].paused
    assert client.waiting
    client.catch_up()
    world.calls[0].end()
    assert client.ended


def test_a_client_too_far_behind_the_others_is_dropped_alone() -> None:
    world = World(bounds=Bounds(lag_bytes=100_000))
    slow, fast = world.ask(), world.ask()
    world.calls[0].head()
    slow.unread = 100_001
    world.calls[0].data()
    assert slow.code == "too_slow"
    world.calls[0].end()
    assert fast.ended


def test_a_joiner_that_keeps_up_wakes_a_paused_engine() -> None:
    world = World()
    slow = world.ask()
    call = world.calls[0]
    call.head()
    slow.unread = LAGGING_BYTES + 1
    call.data()
    paused_before = call.paused
    world.ask()
    assert (paused_before, call.paused) == (True, False)


def test_observe_counts_and_never_joins() -> None:
    world = World(settings(mode=Merging.OBSERVE))
    for _ in range(3):
        world.ask()
    assert len(world.calls) == 3
    assert world.metrics.requests_would_merge_total == 2
    assert world.metrics.requests_merged_total == 0


def test_observe_sees_the_replay_bound_too() -> None:
    world = World(settings(mode=Merging.OBSERVE), Bounds(replay_bytes=10))
    world.ask()
    world.calls[0].head()
    world.calls[0].data(b"more than ten bytes")
    world.ask()
    assert world.metrics.requests_would_merge_total == 0


def test_turning_merging_on_does_not_join_what_has_no_log() -> None:
    world = World(settings(mode=Merging.OBSERVE))
    world.ask()
    world.calls[0].head()
    world.calls[0].data()
    world.pipeline.apply(settings(mode=Merging.ENFORCE))
    client = world.ask()
    world.calls[1].answer()
    assert client.text == b"<1.0>"
    world.calls[0].end()


def test_disabled_merges_nothing() -> None:
    world = World(settings(mode=Merging.DISABLED))
    world.ask()
    world.ask()
    assert len(world.calls) == 2
    assert world.metrics.requests_not_merged_total[NotMerged.DISABLED] == 2


def test_relayed_paths_and_sampled_requests_stay_alone() -> None:
    world = World()
    for _ in range(2):
        world.ask(chat(route=Route.RELAY))
        world.ask(chat(extra=',"temperature":1'))
    assert len(world.calls) == 4
    assert world.metrics.requests_not_merged_total[NotMerged.ROUTE] == 2
    assert world.metrics.requests_not_merged_total[NotMerged.NONDETERMINISTIC] == 2


def test_a_fault_in_the_merging_logic_costs_no_answer() -> None:
    def broken(request: Request) -> bytes | NotMerged:
        raise RecursionError(request.head.path)

    engine, metrics = Engine(), Metrics.of("test")
    pipeline = Pipeline(engine.send, VirtualClock(), metrics, broken)
    clients = [Client(chat()) for _ in range(2)]
    for client in clients:
        client.ticket = pipeline.offer(client.request, client)
    for call in engine.calls:
        call.answer()
    assert all(client.ended for client in clients)
    assert metrics.fallthrough_total == 2
