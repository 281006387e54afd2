"""Kept are whole, harmless answers only, and what client or engine say about keeping is obeyed."""

from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchfleet_worker.cacheable import ANY, NotCached, Wish, not_cacheable, wish_of
from batchfleet_worker.exchange import Headers, ResponseHead
from tests.worker.streams import LOOKALIKES, Spoken, recorded

JSON: Headers = ((b"content-type", b"application/json"),)
STREAM: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"),)
TEXTS = st.lists(
    st.lists(st.sampled_from(LOOKALIKES) | st.text(max_size=5), max_size=4).map("".join),
    min_size=1,
    max_size=4,
)


def judged(
    body: bytes,
    *more: tuple[bytes, bytes],
    headers: Headers = JSON,
    status: int = 200,
    length: int | None = None,
    wish: Wish = ANY,
    choices: int = 1,
) -> NotCached | None:
    head = ResponseHead(status, (*headers, *more), length)
    return not_cacheable(wish, head, body, 30.0, choices=choices)


@pytest.mark.parametrize(
    ("value", "wish"),
    [
        (b"no-store", Wish(False, False, 0.0)),
        (b"No-Cache", Wish(False, True)),
        (b"max-age=0", Wish(False, True, 0.0)),
        (b"max-age=5", Wish(True, True, 5.0)),
        (b'public, max-age="5"', Wish(True, True, 5.0)),
        (b"max-age=soon", Wish(False, True, 0.0)),
        (b"max-age=99999999999999999999", Wish(False, True, 0.0)),
        (b"no-cache, no-store", Wish(False, False, 0.0)),
        (b"only-if-cached", ANY),
    ],
)
def test_what_a_request_wishes(value: bytes, wish: Wish) -> None:
    assert wish_of(((b"accept", b"*/*"), (b"cache-control", value))) == wish


def test_several_headers_add_up() -> None:
    both = ((b"cache-control", b"max-age=3"), (b"cache-control", b"no-store"))
    assert not wish_of(both).write
    assert wish_of(()) == Wish(True, True, math.inf)


@pytest.mark.parametrize(
    "name", ["chat", "chat-two-choices", "completion", "completion-two-prompts"]
)
def test_whole_answers_of_vllm_are_kept(name: str) -> None:
    body = recorded(name).text.encode()
    assert judged(body, length=len(body)) is None
    assert judged(body[:-1]) is NotCached.UNREADABLE
    assert judged(body, length=len(body) + 1) is NotCached.INCOMPLETE


@pytest.mark.parametrize(
    "name", ["chat-stream", "chat-stream-usage", "chat-stream-two-choices", "completion-stream"]
)
def test_whole_streams_of_vllm_are_kept_and_no_part_of_one(name: str) -> None:
    body = recorded(name).text.encode()
    n = 2 if "two" in name else 1
    assert judged(body, headers=STREAM, choices=n) is None
    assert judged(body, headers=STREAM, choices=n + 1) is NotCached.INCOMPLETE
    events = body.split(b"\n\n")
    for n_events in range(len(events) - 1):
        part = b"".join(event + b"\n\n" for event in events[:n_events])
        assert judged(part, headers=STREAM, choices=n) is NotCached.INCOMPLETE
    lacking = body.replace(b'"finish_reason":"length"', b'"finish_reason":null', 1)
    assert judged(lacking, headers=STREAM, choices=n) is NotCached.INCOMPLETE


@hypothesis_settings(deadline=None)
@given(texts=TEXTS, chat=st.booleans(), crlf=st.booleans(), spaced=st.booleans())
def test_no_text_passes_for_an_ending_or_a_fault(
    texts: list[str], chat: bool, crlf: bool, spaced: bool
) -> None:
    spoken = Spoken(texts, chat=chat, crlf=crlf, spaced=spaced)
    stream = spoken.stream()
    assert judged(stream, headers=STREAM) is None
    assert judged(spoken.whole()) is None
    unfinished = stream.replace(b'"finish_reason":"length"', b'"finish_reason":null')
    unfinished = unfinished.replace(b'"finish_reason": "length"', b'"finish_reason": null')
    assert judged(unfinished, headers=STREAM) is NotCached.INCOMPLETE


@pytest.mark.parametrize("ending", ["tool_calls", "abort", "error", "content_filter"])
def test_other_endings_are_not_kept(ending: str) -> None:
    spoken = Spoken(["a"])
    assert judged(spoken.stream().replace(b"length", ending.encode()), headers=STREAM) is (
        NotCached.UNFINISHED
    )
    assert judged(spoken.whole().replace(b"length", ending.encode())) is NotCached.UNFINISHED


def test_tool_calls_are_not_kept_although_a_named_one_ends_with_stop() -> None:
    stream = Spoken(["a"], tool_calls=True).stream()
    assert judged(stream, headers=STREAM) is NotCached.TOOL_CALLS
    fields = orjson.loads(Spoken(["a"]).whole())
    fields["choices"][0]["message"]["tool_calls"] = [{"id": "x"}]
    assert judged(orjson.dumps(fields)) is NotCached.TOOL_CALLS


def test_a_stream_with_an_error_in_it_is_not_kept_although_vllm_says_done() -> None:
    whole = Spoken(["a"]).stream()
    error = b'data: {"error": {"message": "no", "code": 500}}\n\n'
    assert judged(error + whole, headers=STREAM) is NotCached.INCOMPLETE
    assert judged(whole.replace(b"data: [DONE]", error + b"data: [DONE]"), headers=STREAM) is (
        NotCached.INCOMPLETE
    )


@pytest.mark.parametrize("status", [201, 204, 206, 400, 401, 429, 500, 503])
def test_only_a_200_is_kept(status: int) -> None:
    assert judged(Spoken(["a"]).whole(), status=status) is NotCached.STATUS


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (b"cache-control", b"no-store", NotCached.ASKED),
        (b"cache-control", b"Private", NotCached.ASKED),
        (b"cache-control", b"no-cache", NotCached.ASKED),
        (b"cache-control", b"max-age=29", NotCached.ASKED),
        (b"cache-control", b"max-age=30", None),
        (b"set-cookie", b"a=b", NotCached.ASKED),
        (b"vary", b"*", NotCached.ASKED),
        (b"vary", b"Origin", None),
        (b"content-encoding", b"gzip", NotCached.UNREADABLE),
    ],
)
def test_what_the_engine_says_is_obeyed(name: bytes, value: bytes, why: NotCached | None) -> None:
    assert judged(Spoken(["a"]).whole(), (name, value)) is why


def test_a_client_may_forbid_it() -> None:
    wish = wish_of(((b"cache-control", b"no-store"),))
    assert judged(Spoken(["a"]).whole(), wish=wish) is NotCached.ASKED


def test_embeddings_are_kept() -> None:
    body = b'{"id":"embd-1","object":"list","data":[],"usage":{"prompt_tokens":5}}'
    assert judged(body, choices=0) is None
    assert judged(body) is NotCached.INCOMPLETE
    assert judged(b'{"error":{"code":400}}', choices=0) is NotCached.INCOMPLETE


def test_a_key_that_ends_like_a_finish_reason_ends_nothing() -> None:
    odd = b'data: {"id":"x","a\\"finish_reason":"stop","choices":[]}\n\ndata: [DONE]\n\n'
    assert judged(odd, headers=STREAM) is NotCached.INCOMPLETE
