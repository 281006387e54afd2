"""Streams reach every client whole and its own: under its own id, with the token count only where
it asked, and with every character of the text, whatever the text looks like."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchfleet_worker.events import (
    Aligner,
    body_with_id,
    id_of,
    own_id,
    usage_of,
    with_id,
    without_usage,
)
from tests.worker import fuzz_events
from tests.worker.streams import (
    LOOKALIKES,
    NEW,
    OLD,
    Spoken,
    aligned,
    check,
    check_noise,
    cut,
    parsed,
    recorded,
)

TEXT = st.lists(st.sampled_from(LOOKALIKES) | st.text(max_size=8), max_size=6).map("".join)
LENGTHS = st.lists(st.integers(1, 400), max_size=12)
STREAMS = [
    *("chat-stream", "chat-stream-usage", "chat-stream-continuous-usage"),
    *("chat-stream-two-choices", "completion-stream", "completion-stream-usage"),
]
ANSWERS = st.builds(
    Spoken,
    texts=st.lists(TEXT, min_size=1, max_size=5),
    chat=st.booleans(),
    usage=st.booleans(),
    continuous=st.booleans(),
    tool_calls=st.booleans(),
    keep_alive=st.booleans(),
    crlf=st.booleans(),
    spaced=st.booleans(),
    model=TEXT,
    counts=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)),
)


@hypothesis_settings(deadline=None)
@given(spoken=ANSWERS, lengths=LENGTHS)
@example(Spoken(['"usage"', '\\"usage"']), [])
def test_no_text_is_touched_however_the_stream_is_cut(spoken: Spoken, lengths: list[int]) -> None:
    check(spoken, lengths)


@hypothesis_settings(deadline=None)
@given(data=st.binary(max_size=400) | TEXT.map(str.encode), lengths=LENGTHS)
def test_bytes_that_are_no_stream_pass_unharmed(data: bytes, lengths: list[int]) -> None:
    check_noise(data, lengths)


@pytest.mark.parametrize(
    "case", sorted(fuzz_events.CORPUS.glob("*.bin")), ids=lambda case: case.stem
)
def test_what_the_fuzzer_once_found_stays_mended(case: Path) -> None:
    fuzz_events.replay(case.read_bytes())


def test_the_corpus_is_there() -> None:
    assert len(list(fuzz_events.CORPUS.glob("*.bin"))) >= 10


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams_of_vllm_are_one_event_per_piece(name: str) -> None:
    stream = recorded(name).text.encode()
    one_byte_each = aligned(cut(stream, [1] * len(stream)))
    assert one_byte_each == [event + b"\n\n" for event in stream.split(b"\n\n")[:-1]]
    old = id_of(one_byte_each[0])
    assert old is not None
    new = own_id(old, b"me")
    renamed = b"".join(with_id(piece, old, new) for piece in one_byte_each)
    assert renamed == stream.replace(old, new)
    assert renamed.count(new) == len(one_byte_each) - 1


@pytest.mark.parametrize("name", STREAMS)
def test_recorded_usage_is_found_and_taken_out(name: str) -> None:
    stream = recorded(name).text.encode()
    bare = without_usage(stream)
    assert parsed(bare) == [
        event for event in parsed(stream) if event == "[DONE]" or event["choices"]
    ]
    assert usage_of(stream) == (
        None if "usage" not in name else (3, 6) if "completion" in name else (13, 6)
    )


def test_recorded_bodies_get_an_id_of_the_same_length_and_kind() -> None:
    for name, counts in (("chat", (13, 6)), ("chat-two-choices", (13, 12)), ("completion", (3, 6))):
        body = recorded(name).text.encode()
        old = id_of(body)
        assert old is not None
        new = own_id(old, b"me")
        assert new != old
        assert new.partition(b"-")[0] == old.partition(b"-")[0]
        assert body_with_id(body, old, new) == body.replace(old, new)
        assert len(body_with_id(body, old, new)) == len(body)
        assert usage_of(body) == counts


def test_two_clients_of_one_answer_get_two_ids() -> None:
    assert own_id(OLD, b"one") != own_id(OLD, b"two")
    assert own_id(b"no dash", b"one") != own_id(b"no dash", b"two")


def test_an_id_that_is_not_all_here_is_left_alone() -> None:
    assert id_of(b'data: {"id":"chatcmpl-12') is None
    assert id_of(b'data: {"id":"a\\"b"}\n\n') is None
    assert id_of(b": keep-alive\n\n") is None
    assert body_with_id(b'{"object":"x"}', OLD, NEW) == b'{"object":"x"}'


def test_another_id_that_begins_alike_is_left_alone() -> None:
    longer = b'data: {"id":"%b0"}\n\n' % OLD
    assert with_id(longer, OLD, NEW) == longer


def test_an_event_over_the_limit_passes_in_parts_and_the_next_is_aligned_again() -> None:
    aligner = Aligner(limit_bytes=10)
    assert aligner.feed(b"data: 123") == b""
    assert aligner.feed(b"4567") == b"data: 1234567"
    assert aligner.feed(b"89") == b"89"
    assert aligner.feed(b"\n") == b"\n"
    assert aligner.feed(b"\ndata: x") == b"\n"
    assert aligner.feed(b"\n\n") == b"data: x\n\n"
    assert aligner.end() == b""


def test_an_unfinished_event_comes_out_at_the_end() -> None:
    aligner = Aligner()
    assert aligner.feed(b"data: 1\n\ndata: 2") == b"data: 1\n\n"
    assert aligner.end() == b"data: 2"
    assert aligner.feed(b"data: 3\n\n") == b"data: 3\n\n"


def test_other_things_that_have_no_choices_stay() -> None:
    filters = b'data: {"id":"x","choices":[],"prompt_filter_results":[]}\n\n'
    unset = b'data: {"id":"x","choices":[],"usage":null}\n\n'
    text = b'data: {"id":"x","choices":[{"index":0,"text":"a"}],"usage":{"prompt_tokens":1}}\n\n'
    for event in (filters, unset, text):
        assert without_usage(event) == event


def test_an_embedding_has_prompt_tokens_only() -> None:
    assert usage_of(b'{"data":[],"usage":{"prompt_tokens":5,"total_tokens":5}}') == (5, 0)


def test_a_key_that_ends_like_usage_is_no_count() -> None:
    assert usage_of(b'{"a\\"usage":{"prompt_tokens":9,"completion_tokens":9}}') is None
    assert usage_of(b'{"my_usage":{"prompt_tokens":9,"completion_tokens":9}}') is None
