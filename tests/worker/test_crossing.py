"""Clients who ask the same in different forms share a stream, and each gets what it asked for."""

from __future__ import annotations

import pytest

from batchfleet_worker.exchange import Lost
from batchfleet_worker.live import Merging
from batchfleet_worker.memory import Budget
from tests.worker.virtual import (
    STREAM,
    STREAM_WITH_USAGE,
    Client,
    EngineCall,
    World,
    chat,
    settings,
)


def stream(call: EngineCall, tokens: int = 3) -> None:
    call.head()
    for _ in range(tokens):
        call.token()
    call.done_streaming()


def has_usage(client: Client) -> bool:
    return b'"usage"' in client.text


def test_a_mixed_burst_makes_at_most_two_calls() -> None:
    world = World()
    for _ in range(4):
        world.ask(chat())
        world.ask(chat(extra=STREAM))
        world.ask(chat(extra=',"stream":false'))
        world.ask(chat(extra=STREAM_WITH_USAGE))
    assert len(world.calls) == 2


def test_whole_answers_are_taken_from_a_stream_that_runs() -> None:
    world = World()
    streaming = world.ask(chat(extra=STREAM))
    world.calls[0].head()
    world.calls[0].token("Hel")
    late = world.ask(chat())
    world.calls[0].token("lo")
    heard_before_the_end = late.head is not None
    world.calls[0].done_streaming()
    assert len(world.calls) == 1
    assert (streaming.said, late.said) == ("Hello", "Hello")
    assert late.joined
    assert not heard_before_the_end
    assert late.head is not None
    assert (b"content-type", b"application/json") in late.head.headers
    assert late.head.length == len(late.text)
    assert late.whole["usage"]["completion_tokens"] == 3
    assert world.metrics.requests_crossed_total == 1
    assert world.empty()


def test_a_stream_is_never_made_of_a_whole_answer() -> None:
    world = World()
    world.ask(chat())
    world.ask(chat(extra=STREAM))
    assert len(world.calls) == 2


@pytest.mark.parametrize("extra", [',"n":2', ',"logprobs":1', ',"echo":true', ',"unknown":1'])
def test_what_is_not_plain_text_does_not_cross(extra: str) -> None:
    world = World()
    world.ask(chat(extra=extra + STREAM))
    world.ask(chat(extra=extra))
    assert len(world.calls) == 2


def test_a_token_count_reaches_those_who_asked_for_it() -> None:
    world = World()
    without, with_count = world.ask(chat(extra=STREAM)), world.ask(chat(extra=STREAM_WITH_USAGE))
    stream(world.calls[0])
    assert b'"include_usage":true' in world.calls[0].request.body
    assert (has_usage(without), has_usage(with_count)) == (False, True)
    assert without.text.endswith(b"data: [DONE]\n\n")
    assert without.said == with_count.said == "<0.0><0.1><0.2>"


def test_a_lone_stream_is_as_it_was_asked_for() -> None:
    world = World()
    client = world.ask(chat(extra=STREAM))
    call = world.calls[0]
    stream(call)
    asked_for = [each for each in call.sent if b'"usage"' not in each]
    assert client.chunks == asked_for
    assert client.ids == {"cmpl-00000000"}


def test_each_sharer_gets_an_id_of_its_own() -> None:
    world = World()
    clients = [world.ask(chat(extra=STREAM)) for _ in range(3)]
    clients.append(world.ask(chat()))
    stream(world.calls[0])
    assert all(len(client.ids) == 1 for client in clients)
    assert len(set.union(*(client.ids for client in clients))) == 4
    assert clients[0].ids == {"cmpl-00000000"}


def test_sharers_of_a_whole_answer_too() -> None:
    world = World()
    clients = [world.ask() for _ in range(3)]
    world.calls[0].whole()
    assert len(set.union(*(client.ids for client in clients))) == 3
    assert len({len(client.text) for client in clients}) == 1


def test_a_late_one_of_a_whole_answer_too() -> None:
    world = World()
    first = world.ask()
    call = world.calls[0]
    call.head()
    call.data(b'{"id":"cmpl-1",')
    late = world.ask()
    call.data(b'"choices":[]}')
    call.end()
    assert first.whole["id"] == "cmpl-1" != late.whole["id"]


def test_events_cut_anywhere_are_put_together() -> None:
    world = World()
    first, second = world.ask(chat(extra=STREAM)), world.ask(chat(extra=STREAM))
    call = world.calls[0]
    call.head()
    event = (
        b'data: {"id":"cmpl-7","object":"text_completion","created":1,"model":"m",'
        b'"choices":[{"index":0,"text":"x"}]}\n\n'
    )
    for at in range(0, len(event), 7):
        call.data(event[at : at + 7])
    call.done_streaming()
    assert first.said == second.said == "x"


def test_a_stream_that_is_no_plain_text_after_all_is_asked_again_alone_once() -> None:
    world = World()
    streaming = world.ask(chat(extra=STREAM))
    crossing = [world.ask(chat()) for _ in range(2)]
    call = world.calls[0]
    call.head()
    call.data(call._event(choices=[{"index": 0, "text": "x", "logprobs": {"tokens": []}}]))
    assert len(world.calls) == 3
    call.done_streaming()
    world.calls[1].whole("one")
    world.calls[2].whole("two")
    assert streaming.ended
    assert [client.said for client in crossing] == ["one", "two"]
    assert world.metrics.fallthrough_total == 2
    assert world.empty()


def test_one_that_ends_without_its_count_too() -> None:
    world = World()
    world.ask(chat(extra=STREAM))
    crossing = world.ask(chat())
    world.calls[0].head()
    world.calls[0].token()
    world.calls[0].end()
    world.calls[1].whole("again")
    assert crossing.said == "again"
    assert world.empty()


def test_but_not_of_the_next_engine() -> None:
    world = World()
    world.ask(chat(extra=STREAM))
    crossing = world.ask(chat())
    world.calls[0].head()
    world.pipeline.engine_restarted()
    world.calls[0].end()
    assert crossing.code == "engine_broken"
    assert len(world.calls) == 1
    assert world.empty()


def test_an_error_about_the_request_is_shared_as_it_is() -> None:
    world = World()
    clients = [world.ask(chat(extra=STREAM)), world.ask(chat())]
    world.calls[0].head(400)
    world.calls[0].data(b'{"error":{}}')
    world.calls[0].end()
    assert [(client.status, client.text) for client in clients] == [(400, b'{"error":{}}')] * 2


def test_after_a_moments_error_those_who_cross_ask_again_with_the_others() -> None:
    world = World()
    clients = [world.ask(chat(extra=STREAM)) for _ in range(2)] + [world.ask(chat())]
    world.calls[0].answer(503)
    stream(world.calls[1])
    assert len(world.calls) == 2
    assert clients[0].status == 503
    assert [client.said for client in clients[1:]] == ["<1.0><1.1><1.2>"] * 2
    assert not has_usage(clients[1])
    assert world.empty()


def test_a_broken_stream_is_a_proper_error_for_who_wants_the_whole() -> None:
    world = World()
    world.ask(chat(extra=STREAM))
    crossing = world.ask(chat())
    world.calls[0].head()
    world.calls[0].token()
    world.calls[0].lost(Lost.BROKEN)
    assert (crossing.head, crossing.code) == (None, "engine_broken")
    assert world.empty()


def test_what_a_crossing_client_holds_is_given_back_when_it_leaves() -> None:
    budget = Budget(1 << 20)
    world = World(budget=budget)
    world.ask(chat(extra=STREAM))
    crossing = world.ask(chat())
    world.calls[0].head()
    world.calls[0].token("x" * 10_000)
    held = budget.used_bytes
    crossing.leave()
    assert 0 < budget.used_bytes < held
    world.calls[0].done_streaming()
    assert budget.used_bytes == 0


def test_the_last_client_may_be_one_who_crossed() -> None:
    world = World()
    streaming = world.ask(chat(extra=STREAM))
    crossing = world.ask(chat())
    world.calls[0].head()
    world.calls[0].token("a")
    streaming.leave()
    assert world.calls[0].live
    world.calls[0].done_streaming()
    assert crossing.said == "a"


def test_observe_asks_the_engine_for_nothing_that_the_client_did_not() -> None:
    world = World(settings(mode=Merging.OBSERVE))
    asked = chat(extra=STREAM)
    world.ask(asked)
    assert world.calls[0].request is asked
    world.ask(chat(extra=STREAM))
    assert world.metrics.requests_would_merge_total == 1


def test_odd_streams_join_only_their_own_kind() -> None:
    odd = ',"stream":true,"stream_options":{"continuous_usage_stats":true,"include_usage":true}'
    world = World()
    world.ask(chat(extra=odd))
    world.ask(chat(extra=odd))
    world.ask(chat(extra=STREAM))
    world.ask(chat())
    assert len(world.calls) == 2
