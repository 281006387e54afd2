"""The same prompt from many clients at once: one call to the engine, a whole answer for each."""

from __future__ import annotations

from typing import Literal

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.services import MODEL

CLIENTS = 16


# What is asked, and how many calls it may take: a stream and a whole answer do not join.
CALLS_AT_MOST: dict[Literal["always", "never", "mixed"], int] = {
    "always": 1,
    "never": 1,
    "mixed": 2,
}


def test_the_engine_is_asked_once(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    reached, merged = "vllm:request_success_total", "batchfleet_requests_merged_total"
    reached_before = fleet.settled(reached)

    for stream, calls_at_most in CALLS_AT_MOST.items():
        merged_before = fleet.total(merged)
        question = f"Why is the sky blue? {stream}"
        # Three seconds: all have come before the first is answered.
        load = Load(fleet.url, MODEL, CLIENTS, stream=stream, question=question, max_tokens=60)
        account = ask(clients, load)

        assert account.failures == []
        assert len(account.answers) == CLIENTS
        reached_now = fleet.settled(reached)
        asked, reached_before = reached_now - reached_before, reached_now
        assert 1 <= asked <= calls_at_most
        assert account.joined == CLIENTS - asked
        assert fleet.total(merged) - merged_before == account.joined
        texts = {one.text for one in account.answers}
        assert len(texts) == 1
        assert "" not in texts
        calls = {one.headers["x-simulator-call"] for one in account.answers}
        assert len(calls) == asked


def test_different_prompts_get_different_answers(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    warm_up = fleet.settled("vllm:request_success_total")

    account = ask(clients, Load(fleet.url, MODEL, CLIENTS, stream="mixed", unique=True))

    assert account.failures == []
    assert account.joined == 0
    assert len({one.text for one in account.answers}) == CLIENTS
    assert fleet.settled("vllm:request_success_total") - warm_up == CLIENTS
