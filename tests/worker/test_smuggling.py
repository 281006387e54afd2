"""What a client sends to make two servers see different requests, or one server hold too much.

Each request gets one answer, and what cannot be read in one way only is refused before the engine
sees any of it.  The cuts and the known heads are test_reader's.
"""

from __future__ import annotations

import json

import pytest

from batchfleet_worker.exchange import Refusal
from batchfleet_worker.intake import Intake
from batchfleet_worker.memory import Budget
from batchfleet_worker.openai import Routes
from batchfleet_worker.reader import RequestReader
from tests.worker.wire import OK, hop, post

HEADER_BYTES = 65536
GET_MODELS = b"GET /v1/models HTTP/1.1\r\nHost: pod\r\n\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def reader(held_body_bytes: int = 1024) -> RequestReader:
    intake = Intake(
        Routes(),
        lambda: "made",
        1024 * 1024,
        HEADER_BYTES,
        Budget(1024 * 1024),
        held_body_bytes=held_body_bytes,
    )
    return RequestReader(intake)


def feed(to: RequestReader, data: bytes) -> None:
    while data:
        data = to.feed(data)


@pytest.mark.parametrize("begun", [b"0\r\nX: ", b"0\r\n", b"2\r\n{}\r\n0\r\nX: ", b"2;"])
def test_an_endless_trailer_or_extension_is_refused(begun: bytes) -> None:
    """llhttp would keep all of a trailer until it ends, and copy it for every read."""
    asked = reader()
    feed(asked, CHUNKED + begun)
    for _ in range(HEADER_BYTES // 1024 + 1):
        feed(asked, b"a" * 1024)
    assert asked.deaf
    (what, _, manner) = asked.asked.popleft()
    assert isinstance(what, Refusal)
    assert what.code in ("headers_too_large", "bad_request")
    assert not manner.keep_alive


def test_an_endless_trailer_ends_a_body_that_is_being_passed_on() -> None:
    passing = reader(held_body_bytes=4)
    feed(passing, CHUNKED + b'8\r\n{"a": 1}\r\n')
    assert passing.asked
    feed(passing, b"0\r\nX: ")
    for _ in range(HEADER_BYTES // 1024 + 1):
        feed(passing, b"a" * 1024)
    assert passing.broken is not None
    assert passing.broken.code == "headers_too_large"


def test_a_body_of_tiny_chunks_is_no_trailer() -> None:
    slow = reader(held_body_bytes=1024 * 1024)
    feed(slow, CHUNKED)
    for _ in range(30_000):  # more framing than a head may have, and read byte by byte at times
        feed(slow, b"1")
        feed(slow, b"\r\nx\r\n")
    feed(slow, b"0\r\nX: y\r\n\r\n")
    (what, _, _) = slow.asked.popleft()
    assert not isinstance(what, Refusal)
    assert what.body == b"x" * 30_000


async def test_connect_gets_one_answer() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(b"CONNECT pod:80 HTTP/1.1\r\nHost: pod\r\n\r\n")
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert not between.engine.has_more()


async def test_http_1_0_has_no_chunks_with_an_upgrade_either() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(
            b"POST /v1/completions HTTP/1.0\r\nHost: pod\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        )
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert not between.engine.has_more()


@pytest.mark.parametrize("target", [b"http://pod?/v1/models", b"https://pod?a=/v1/models"])
async def test_a_path_in_a_query_is_no_path(target: bytes) -> None:
    """A gateway that lets through by path has seen none here."""
    async with hop() as between:
        client = await between.client()
        response = await client.ask(b"GET %b HTTP/1.1\r\nHost: pod\r\n\r\n" % target)
        assert response.status == 404
        assert not between.engine.has_more()


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(headers=b"Transfer-Encoding: chunked\r\n"),
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 0x2\r\n\r\n{}",
        POST + b"Content-Length:\r\n\r\n",
        post(headers=b"X-Bare: a\n"),
        post(headers=b": a\r\n"),
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post(headers=b"Content-Length: 2\r\n"),
        post(headers=b"Content-Length : 2\r\n"),
        post(headers=b"X-Fold: a\r\n b\r\n"),
        post(headers=b"X-Bare: a\rb\r\n"),
        post(headers=b"X-Nul: a\x00b\r\n"),
        post(headers=b"Host: other\r\n"),
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\nHost: pod\n\n",
        b"POST /v1/completions#x HTTP/1.1\r\nHost: pod\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_two_servers_could_read_differently_is_400_and_the_end(
    request_bytes: bytes,
) -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(request_bytes + GET_MODELS)
        assert response.status == 400
        assert response.headers["connection"] == "close"
        assert json.loads(response.body)["error"]["code"] == "bad_request"
        assert await client.rest() == b""
        assert not between.engine.has_more()


async def test_a_malformed_request_sent_ahead_does_not_harm_the_one_before() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post() + b"garbage\r\n\r\n")
        (await between.engine.next()).write(OK)
        assert (await client.response()).status == 200
        assert (await client.response()).status == 400
        assert await client.rest() == b""
