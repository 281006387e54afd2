"""However a client's bytes are cut into reads, the same requests come out."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.exchange import Refusal
from batchfleet_worker.openai import Routes
from batchfleet_worker.reader import PIPELINED, Asked, Intake, RequestReader

bodies = st.binary(max_size=300)
header_values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20)


def plain(body: bytes, value: str) -> bytes:
    return b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nX: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        "".join(c for c in value if c.isprintable()).encode("latin-1"),
        len(body),
        body,
    )


def chunked(body: bytes, value: str) -> bytes:
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    return (
        b"POST /v1/embeddings HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\nTrailer: t\r\n\r\n"
    )


def upgrading(body: bytes, value: str) -> bytes:
    return b"POST /v1/score HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + (
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def unknown(body: bytes, value: str) -> bytes:
    return b"POST /nope HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def garbage(body: bytes, value: str) -> bytes:
    return b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"


messages = st.lists(
    st.builds(
        lambda kind, body, value: kind(body, value),
        st.sampled_from([plain, chunked, upgrading, unknown, garbage]),
        bodies,
        header_values,
    ),
    min_size=1,
    max_size=5,
)


def read(pieces: list[bytes]) -> list[Asked]:
    intake = Intake(Routes(), lambda: "id", max_body_bytes=1000, max_header_bytes=1000)
    reader = RequestReader(intake)
    for piece in pieces:
        reader.feed(piece)
    asked = list(reader.asked)
    reader.close()
    assert intake.budget_bytes == 8000
    return asked


@given(messages, st.lists(st.integers(0, 2000)))
def test_cuts_do_not_matter(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert read(pieces) == read([stream])


@given(messages)
def test_every_message_before_the_first_malformed_one_comes_out_once(sent: list[bytes]) -> None:
    bad = garbage(b"", "")
    good = sent.index(bad) if bad in sent else len(sent)
    asked = read([b"".join(sent)])
    assert len(asked) == min(good + 1, len(sent))
    assert [one.keep_alive for one in asked[:good]] == [True] * good


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_never_raise_and_ask_little(data: bytes) -> None:
    assert len(read([data])) <= len(data) // 16 + 1


def test_what_is_parsed_but_not_served_is_bounded() -> None:
    asked = read([plain(b"", "") * 2000])
    assert len(asked) == PIPELINED + 1
    assert isinstance(asked[-1].what, Refusal)
    assert not asked[-1].keep_alive
