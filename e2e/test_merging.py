"""The same prompt from many clients at once: one call to the engine, a whole answer for each."""

from __future__ import annotations

from typing import Literal

import pytest

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.services import MODEL

CLIENTS = 16


@pytest.mark.parametrize(
    ("stream", "calls_at_most"),
    [("always", 1), ("never", 1), ("mixed", 2)],  # a stream and a whole answer do not join
)
def test_the_engine_is_asked_once(
    serve: Serve, clients: Kube, stream: Literal["always", "never", "mixed"], calls_at_most: int
) -> None:
    fleet = serve()
    warm_up = fleet.settled("vllm:request_success_total")

    account = ask(clients, Load(fleet.url, MODEL, CLIENTS, stream=stream, max_tokens=40))

    assert account.failures == []
    assert len(account.answers) == CLIENTS
    reached_the_engine = fleet.settled("vllm:request_success_total") - warm_up
    assert 1 <= reached_the_engine <= calls_at_most
    assert account.joined == CLIENTS - reached_the_engine
    assert fleet.total("batchfleet_requests_merged_total") == account.joined
    texts = {one.text for one in account.answers}
    assert len(texts) == 1
    calls = {one.headers["x-simulator-call"] for one in account.answers}
    assert len(calls) == reached_the_engine
    assert "" not in texts


def test_different_prompts_get_different_answers(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    warm_up = fleet.settled("vllm:request_success_total")

    account = ask(clients, Load(fleet.url, MODEL, CLIENTS, stream="mixed", unique=True))

    assert account.failures == []
    assert account.joined == 0
    assert len({one.text for one in account.answers}) == CLIENTS
    assert fleet.settled("vllm:request_success_total") - warm_up == CLIENTS
