"""A client who did not ask for a stream gets from one what vLLM would have answered it, or nothing:
half an answer, or one that is more than text, never passes for the whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchfleet_worker.errors import ENGINE_BROKEN, TIMEOUT
from batchfleet_worker.exchange import Refusal, ResponseHead, Told
from batchfleet_worker.fold import Fold
from batchfleet_worker.memory import Budget
from batchfleet_worker.transcript import Unfolded
from tests.worker.streams import (
    EVENT_STREAM,
    NEW,
    OLD,
    TOKEN,
    TOLD,
    Heard,
    Spoken,
    cut,
    folded,
    recorded,
)

PAIRS = [
    ("chat-stream-usage", "chat"),
    ("chat-stream-continuous-usage", "chat"),
    ("completion-stream-usage", "completion"),
]


@pytest.mark.parametrize(("stream", "whole"), PAIRS)
def test_real_streams_fold_to_what_vllm_answered_to_the_byte(stream: str, whole: str) -> None:
    """But for ``id`` and ``created``, which are each call's own."""
    heard, why = folded([recorded(stream).text.encode()])
    assert why is None
    wanted = json.loads(recorded(whole).text)
    got = json.loads(heard.body)
    assert got["id"].partition("-")[0] == wanted["id"].partition("-")[0]
    assert len(got["id"]) == len(wanted["id"])
    wanted.update(id=got["id"], created=got["created"])
    assert heard.body.decode() == json.dumps(wanted, ensure_ascii=False, separators=(",", ":"))
    assert heard.ended


@pytest.mark.parametrize(("stream", "whole"), PAIRS)
def test_the_head_is_that_of_a_whole_answer(stream: str, whole: str) -> None:
    wanted = recorded(whole)
    headers = tuple((k.encode(), v.encode()) for k, v in recorded(stream).headers.items())
    heard = Heard()
    fold = Fold(heard, Budget(1 << 20), TOKEN)
    fold.start(ResponseHead(200, headers), TOLD)
    fold.data(recorded(stream).text.encode())
    fold.end()
    assert heard.head is not None
    assert heard.head.status == 200
    assert heard.head.length == len(heard.body) == int(wanted.headers["content-length"])
    told = {name.decode() for name, _ in heard.head.headers}
    assert told == wanted.headers.keys() - {"content-length"}
    assert dict(heard.head.headers)[b"content-type"] == b"application/json"


@hypothesis_settings(deadline=None)
@given(
    texts=st.lists(st.text(max_size=20), min_size=1, max_size=8),
    chat=st.booleans(),
    lengths=st.lists(st.integers(1, 300), max_size=20),
)
def test_folding_a_stream_gives_the_whole_answer(
    texts: list[str], chat: bool, lengths: list[int]
) -> None:
    spoken = Spoken(texts, chat=chat)
    heard, why = folded(cut(spoken.stream(), lengths))
    assert why is None
    assert heard.body == spoken.whole(NEW)


@hypothesis_settings(deadline=None)
@given(data=st.data())
def test_a_stream_cut_short_anywhere_is_no_answer(data: st.DataObject) -> None:
    stream = Spoken(["Pa", "ris"]).stream()
    heard, why = folded([stream[: data.draw(st.integers(0, len(stream) - 1))]])
    assert why is Unfolded.INCOMPLETE
    assert heard.head is None


def event(**fields: object) -> bytes:
    chunk = {"id": OLD.decode(), "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    return b"data: " + json.dumps({**chunk, **fields}).encode() + b"\n\n"


def delta(**fields: object) -> bytes:
    return event(choices=[{"index": 0, "delta": fields, "finish_reason": None}])


ODD = {
    "reasoning": (delta(reasoning="hm"), Unfolded.NOT_PLAIN),
    "reasoning-content": (delta(reasoning_content="hm"), Unfolded.NOT_PLAIN),
    "tool-calls": (delta(tool_calls=[{"index": 0}]), Unfolded.NOT_PLAIN),
    "refusal": (delta(refusal="no"), Unfolded.NOT_PLAIN),
    "content-is-no-text": (delta(content=["a"]), Unfolded.NOT_PLAIN),
    "logprobs": (
        event(choices=[{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": []}}]),
        Unfolded.NOT_PLAIN,
    ),
    "second-choice": (event(choices=[{"index": 1, "delta": {}}]), Unfolded.NOT_PLAIN),
    "two-choices": (event(choices=[{"index": 0}, {"index": 1}]), Unfolded.NOT_PLAIN),
    "no-choices": (event(), Unfolded.NOT_PLAIN),
    "tool-ending": (
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
        Unfolded.NOT_PLAIN,
    ),
    "prompt-tokens": (event(choices=[], prompt_token_ids=[1]), Unfolded.NOT_PLAIN),
    "error": (b'data: {"error": {"message": "no", "code": 500}}\n\n', Unfolded.ENGINE_ERROR),
    "no-json": (b"data: {\n\n", Unfolded.UNREADABLE),
    "no-object": (b"data: []\n\n", Unfolded.UNREADABLE),
    "another-stream": (event(id="other", choices=[]), Unfolded.UNREADABLE),
    "unknown-and-not-constant": (event(choices=[], novel=1), Unfolded.UNREADABLE),
    "after-the-end": (b"data: [DONE]\n\n" + event(choices=[]), Unfolded.UNREADABLE),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_is_not_plain_text_is_told_and_not_guessed(name: str) -> None:
    piece, wanted = ODD[name]
    stream = Spoken(["Pa", "ris"]).stream()
    opening = stream.index(b"\n\n") + 2
    heard, why = folded([stream[:opening], piece, stream[opening:]])
    assert why is wanted
    assert heard.head is None
    assert heard.refusal is None


def test_nobody_to_ask_again_means_an_explicit_error() -> None:
    heard = Heard()
    fold = Fold(heard, Budget(1 << 20), TOKEN)
    fold.start(EVENT_STREAM, TOLD)
    fold.data(delta(reasoning="hm"))
    fold.data(delta(content="a"))
    fold.end()
    assert heard.refusal is ENGINE_BROKEN
    assert fold.why is Unfolded.NOT_PLAIN


def test_what_every_event_says_stands_in_the_answer() -> None:
    """As the simulator's stamp does, by which a test sees whose answer it got."""
    stream = Spoken(["Paris"]).stream().replace(b'"model":', b'"simulator":{"call":7},"model":')
    heard, why = folded([stream])
    assert why is None
    assert json.loads(heard.body)["simulator"] == {"call": 7}


def test_token_details_are_kept_where_the_engine_gives_them() -> None:
    stream = Spoken(["Paris"]).stream()
    details = b'"completion_tokens":6,"prompt_tokens_details":{"cached_tokens":4}'
    heard, _ = folded([stream.replace(b'"completion_tokens":6', details)])
    usage = json.loads(heard.body)["usage"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4}
    assert list(usage) == list(json.loads(recorded("chat").text)["usage"])


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_passes_as_it_is(status: int) -> None:
    heard = Heard()
    fold = Fold(heard, Budget(1 << 20), TOKEN)
    head = ResponseHead(status, ((b"content-type", b"application/json"),), 2)
    fold.start(head, TOLD)
    fold.data(b"{}")
    fold.end()
    assert heard.head is head
    assert (heard.body, heard.ended) == (b"{}", True)


def test_a_refusal_before_the_end_is_a_proper_error() -> None:
    heard = Heard()
    fold = Fold(heard, Budget(1 << 20), TOKEN)
    fold.start(EVENT_STREAM, TOLD)
    fold.refuse(TIMEOUT)
    fold.data(b"data: [DONE]\n\n")
    fold.end()
    assert heard.refusal is TIMEOUT
    assert heard.head is None


def test_the_text_comes_out_of_the_budget_and_goes_back() -> None:
    budget = Budget(100_000)
    heard = Heard()
    fold = Fold(heard, budget, TOKEN)
    fold.start(EVENT_STREAM, TOLD)
    for _ in range(40):
        fold.data(delta(content="a" * 1000))
    assert 40_000 <= budget.used_bytes < 45_000
    fold.drop()
    fold.end()
    assert budget.used_bytes == 0
    assert heard.head is None


def test_an_answer_over_the_budget_is_given_up() -> None:
    stream = Spoken(["a" * 1000] * 20).stream()
    heard, why = folded(cut(stream, [500] * 20), Budget(10_000))
    assert why is Unfolded.OVERLOADED
    assert heard.head is None


class Leaver(Heard):
    """Leaves as soon as the head arrives."""

    fold: Fold

    def start(self, head: ResponseHead, told: Told) -> None:
        super().start(head, told)
        self.fold.drop()

    def data(self, chunk: bytes) -> None:
        raise AssertionError("called after it left")

    def end(self) -> None:
        raise AssertionError("called after it left")

    def refuse(self, refusal: Refusal) -> None:
        raise AssertionError("called after it left")


def test_a_client_who_leaves_over_the_head_is_left_alone() -> None:
    leaver = Leaver()
    leaver.fold = Fold(leaver, Budget(1 << 20), TOKEN)
    leaver.fold.start(EVENT_STREAM, TOLD)
    leaver.fold.data(Spoken(["Paris"]).stream())
    leaver.fold.end()
    assert leaver.head is not None
