"""Answers that are given again: to whom, for how long, in which form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batchfleet_worker.exchange import Caller, Lost
from batchfleet_worker.live import (
    LiveSettings,
    Merging,
    MergingSettings,
    RateLimit,
    RequestsSettings,
)
from batchfleet_worker.memory import Budget
from tests.worker.virtual import STREAM, STREAM_WITH_USAGE, World, chat, settings

CACHE = settings(cache_seconds=30)


def test_a_finished_answer_is_given_again_without_the_engine() -> None:
    world = World(CACHE)
    first = world.ask()
    world.calls[0].whole("forty-two")
    world.clock.advance(29)
    second = world.ask()
    assert second.ended
    assert (second.said, second.cached) == ("forty-two", True)
    assert first.ids != second.ids
    assert len(world.calls) == 1
    assert world.empty()
    metrics = world.metrics
    assert metrics.requests_offered_total == metrics.requests_admitted_total == 2
    world.pipeline.count()
    assert (metrics.cache_hits_total, metrics.cache_stored_total) == (1, 1)
    assert metrics.tokens_computed_total == {"prompt": 3, "completion": 2}
    assert metrics.tokens_served_total == {"prompt": 6, "completion": 4}


def test_not_longer_than_it_is_good_for() -> None:
    world = World(CACHE)
    world.ask()
    world.calls[0].whole()
    world.clock.advance(30)
    world.ask()
    assert len(world.calls) == 2


def test_an_answer_that_is_given_again_counts_against_the_callers_tokens() -> None:
    limit = RateLimit(tokens_per_minute=60)  # a bucket of 10; an answer takes 5
    live = LiveSettings(
        merging=MergingSettings(cache_ttl_seconds=30),
        requests=RequestsSettings(rate_limits=(limit,)),
    )
    world = World(live)
    world.ask()
    world.calls[0].whole()
    again = [world.ask() for _ in range(3)]
    assert [client.code for client in again] == [None, "rate_limited", "rate_limited"]
    assert len(world.calls) == 1


def test_off_by_default() -> None:
    world = World()
    world.ask()
    world.calls[0].whole()
    world.ask()
    assert len(world.calls) == 2


def test_a_hit_needs_no_slot_and_no_place_in_the_queue() -> None:
    world = World(settings(1, queue=0, cache_seconds=30))
    world.ask()
    world.calls[0].whole()
    world.ask(chat("other"))
    assert world.ask().cached


@pytest.mark.parametrize("form", ["", STREAM, STREAM_WITH_USAGE])
def test_a_stream_serves_every_form(form: str) -> None:
    world = World(CACHE)
    world.ask(chat(extra=STREAM))
    call = world.calls[0]
    call.head()
    call.token("a")
    call.token("b")
    call.done_streaming()
    client = world.ask(chat(extra=form))
    assert client.ended
    assert (client.said, client.cached, len(client.chunks)) == ("ab", True, 1)
    assert client.ids != {"cmpl-00000000"}
    assert (b'"usage"' in client.text) == (form != STREAM)
    assert len(world.calls) == 1


def test_a_whole_answer_serves_no_stream() -> None:
    world = World(CACHE)
    world.ask()
    world.calls[0].whole()
    assert not world.ask(chat(extra=STREAM)).cached


@pytest.mark.parametrize("ending", ["lost", "left", "500", "unfinished"])
def test_only_whole_answers_are_kept(ending: str) -> None:
    world = World(CACHE)
    client = world.ask(chat(extra=STREAM))
    call = world.calls[0]
    call.head(500 if ending == "500" else 200)
    call.token("a")
    if ending == "lost":
        call.lost(Lost.BROKEN)
    elif ending == "left":
        client.leave()
    else:
        call.end()
    assert not world.ask(chat(extra=STREAM)).cached


def test_tenants_have_their_own() -> None:
    world = World(CACHE)
    world.ask(chat(caller=Caller("a")))
    world.calls[0].whole()
    assert not world.ask(chat(caller=Caller("b"))).cached
    assert world.ask(chat(caller=Caller("a"))).cached


@pytest.mark.parametrize(
    ("value", "read", "kept"),
    [(b"no-store", False, False), (b"no-cache", False, True), (b"max-age=5", False, True)],
)
def test_a_client_says_what_it_thinks_of_caches(value: bytes, read: bool, kept: bool) -> None:
    wish = ((b"cache-control", value),)
    world = World(CACHE)
    world.ask()
    world.calls[0].whole()
    world.clock.advance(10)
    assert world.ask(chat(headers=wish)).cached is read
    other = chat("other")
    world.ask(chat("other", headers=wish))
    world.calls[-1].whole()
    assert world.ask(other).cached is kept


def test_another_engine_or_model_or_setting_starts_afresh() -> None:
    world = World(CACHE)
    changes: tuple[Callable[[], None], ...] = (
        world.pipeline.engine_restarted,
        lambda: world.pipeline.engine_changed(["other"]),
        lambda: world.pipeline.apply(settings(cache_seconds=31)),
        lambda: world.pipeline.apply(settings(cache_seconds=31, mode=Merging.OBSERVE)),
    )
    for prompt, change in enumerate(changes):
        world.ask(chat(str(prompt)))
        world.calls[-1].whole()
        assert world.ask(chat(str(prompt))).cached
        change()
        world.clock.advance(1)
        assert not world.ask(chat(str(prompt))).cached


def test_nobody_is_answered_from_it_in_observe() -> None:
    world = World(settings(mode=Merging.OBSERVE, cache_seconds=30))
    world.ask()
    world.calls[0].whole()
    world.ask()
    assert len(world.calls) == 2


def test_rate_limits_come_first() -> None:
    limits = (RateLimit(requests_per_minute=1.0),)
    world = World(
        LiveSettings(
            merging=MergingSettings(cache_ttl_seconds=30),
            requests=RequestsSettings(rate_limits=limits),
        )
    )
    world.ask()
    world.calls[0].whole()
    codes = {world.ask().code for _ in range(60)}
    assert codes - {None} == {"rate_limited"}


def test_bodies_come_before_answers_that_are_kept() -> None:
    budget = Budget(10_000)
    world = World(CACHE, budget=budget)
    world.ask()
    world.calls[0].whole("x" * 4000)
    assert budget.used_bytes > 4000
    assert budget.take(9_000)
    assert not world.ask().cached


def test_what_cannot_be_folded_after_all_is_asked() -> None:
    world = World(CACHE)
    world.ask(chat(extra=STREAM))
    call = world.calls[0]
    call.head()
    call.data(
        b'data: {"id":"c","object":"text_completion","choices":[{"index":0,"text":"x",'
        b'"finish_reason":"stop","odd":1}]}\n\ndata: [DONE]\n\n'
    )
    call.end()
    streaming, whole = world.ask(chat(extra=STREAM)), world.ask()
    assert streaming.cached
    assert not whole.cached
    world.calls[1].whole("own")
    assert whole.said == "own"
