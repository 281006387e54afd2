"""What keeps tenants apart in the engine's prefix cache, and that it changes nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.exchange import Caller, Head, Request, Route
from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.salt import Salts
from batchfleet_worker.settings import Settings
from tests.worker.virtual import STREAM, World, chat

SALTS = Salts(b"secret")
ALICE, BOB = Caller("alice"), Caller("bob")


def sent(body: bytes, path: str = "/v1/completions") -> bytes:
    head = Head(b"POST", path, path.encode(), (), Route.MERGE, ALICE)
    return SALTS.into(Request(head, body, "r"), body)


def salts_of(world: World) -> list[str]:
    return [json.loads(call.request.body)["cache_salt"] for call in world.calls]


def test_each_tenant_has_a_salt_and_nobody_else_knows_it() -> None:
    assert SALTS.of("alice") == SALTS.of("alice")
    assert len({SALTS.of("alice"), SALTS.of("bob"), Salts(b"another pod").of("alice")}) == 3


def test_vllm_takes_a_salt_of_whomever() -> None:
    """At most 128 characters, and none of those that its caches' names may not have."""
    for tenant in ("", "alice", "a/b@c", "\u00e9"):
        assert re.fullmatch(rb"[0-9a-f]{64}", SALTS.of(tenant))


FIELDS = st.dictionaries(
    st.text(max_size=3) | st.sampled_from(["prompt", "cache_salt"]),
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
    min_size=1,
)


@given(FIELDS, st.sampled_from(["", " ", "\r\n\t"]), st.sampled_from([None, 1]))
def test_all_that_the_client_said_is_said_and_its_own_salt_counts(
    fields: dict[str, Any], before: str, indent: int | None
) -> None:
    body = (before + json.dumps(fields, indent=indent)).encode()
    assert json.loads(sent(body)) == {"cache_salt": SALTS.of("alice").decode(), **fields}


@pytest.mark.parametrize("body", [b"", b"{}", b"{ }", b"[1]", b"{1", b"--x\r\n{", b'"{"'])
def test_what_is_no_object_with_fields_stays_as_it_is(body: bytes) -> None:
    assert sent(body) is body


@pytest.mark.parametrize("path", ["/tokenize", "/v1/audio/transcriptions", "/v1/models"])
def test_who_reads_no_salt_gets_none(path: str) -> None:
    assert sent(b'{"input":"x"}', path) == b'{"input":"x"}'


def test_equal_requests_of_a_tenant_still_share_and_tenants_have_different_salts() -> None:
    world = World(salts=SALTS)
    for caller in (ALICE, ALICE, BOB):
        world.ask(chat(caller=caller))
    assert len(world.calls) == 2
    one, two = salts_of(world)
    assert one != two
    world.calls[0].answer()
    world.calls[1].answer()
    assert world.empty()


def test_an_answer_is_found_again_under_what_was_asked() -> None:
    """And a call that is sent once more has its salt too."""
    world = World(salts=SALTS)
    clients = [world.ask(chat(caller=ALICE)) for _ in range(2)]
    world.calls[0].answer(503)  # the first client's own bad luck: the other one asks again
    world.calls[1].answer()
    assert [client.status for client in clients] == [503, 200]
    assert len(set(salts_of(world))) == 1


def test_a_stream_is_asked_for_its_tokens_beside_the_salt() -> None:
    world = World(salts=SALTS)
    world.ask(chat(extra=STREAM, caller=ALICE))
    body = json.loads(world.calls[0].request.body)
    assert body["stream_options"] == {"include_usage": True}
    assert body["cache_salt"] == SALTS.of("alice").decode()
    assert body["prompt"] == "hello"


def test_without_the_setting_a_body_reaches_the_engine_as_it_came() -> None:
    world = World()
    request = chat(caller=ALICE)
    world.ask(request)
    assert world.calls[0].request.body is request.body


@pytest.mark.parametrize(
    ("settings", "held_bytes"),
    [
        (Settings(), 256 * 1024),
        (Settings(prefix_cache="PerTenant"), 32 * 1024 * 1024),
        (Settings(engine_priority=EnginePriority.NEGATE), 32 * 1024 * 1024),
    ],
)
def test_what_has_to_be_changed_is_read_whole_first(settings: Settings, held_bytes: int) -> None:
    """Else a long body would pass with a priority of its own, or without a salt."""
    assert settings.held_body_bytes == held_bytes
