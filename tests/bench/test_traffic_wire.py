"""The benches' own HTTP parser: an answer is whole only when its framing says so."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.traffic.wire import Malformed, Parser

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\ntrailer: x\r\n\r\n"
)


@given(cuts=st.lists(st.integers(0, len(CHUNKED) + len(PLAIN)), max_size=8))
def test_answers_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    wire = CHUNKED + PLAIN
    parser = Parser()
    answers = [parser.expect()]
    edges = [0, *sorted(cuts), len(wire)]
    for begin, end in pairwise(edges):
        data = wire[begin:end]
        while parser.feed(data, 0.0) and len(answers) < 2:
            answers.append(parser.expect())
            data = b""
    assert [bytes(answer.body) for answer in answers] == [b"hello", b"hello"]
    assert all(answer.whole and answer.keeps for answer in answers)
    assert not parser.untaken


def test_an_answer_to_head_has_no_body_and_takes_none_of_the_next() -> None:
    parser = Parser()
    head = parser.expect(bodiless=True)
    assert parser.feed(b"HTTP/1.1 405 X\r\ncontent-length: 31\r\n\r\n" + PLAIN, 0.0)
    assert head.whole
    after = parser.expect()
    assert parser.feed(b"", 0.0)
    assert bytes(after.body) == b"hello"


@pytest.mark.parametrize("cut", [b"HTTP/1.1 200", PLAIN[:-1], CHUNKED[:-2], CHUNKED[:50]])
def test_an_answer_cut_short_is_not_whole(cut: bytes) -> None:
    parser = Parser()
    answer = parser.expect()
    assert not parser.feed(cut, 0.0)
    parser.closed()
    assert not answer.whole
    assert not answer.keeps


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    parser = Parser()
    answer = parser.expect()
    assert not parser.feed(b"HTTP/1.1 200 OK\r\n\r\nall", 0.0)
    parser.closed()
    assert answer.whole
    assert not answer.keeps


@pytest.mark.parametrize(
    "wire",
    [
        b"data: nobody's event\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_said(wire: bytes) -> None:
    parser = Parser()
    parser.expect()
    with pytest.raises(Malformed):
        parser.feed(wire, 0.0)
