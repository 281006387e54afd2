"""What a client may send to the data port, and what the engine sees of it.

The traps of relaying HTTP/1.1, and where each is tested:
a HEAD's answer swallows the next one: here, head_is_answered_without_a_body · a body until close,
1xx, a byte outside an exchange, a stale pooled connection, one re-send: test_upstream · Expect is
answered here: here · rebuilt heads, hop-by-hop headers, framing never copied: here · what two
servers read differently, and known heads that mean another thing: test_smuggling, test_reader,
fuzz_http · heads and bodies that are too large or too slow: test_relay_limits ·
a client that leaves is noticed though it is not read: test_relay_answers, test_relay_bodies ·
requests sent ahead are held, bounded: test_relay_held · an answer before the whole request:
test_upstream, test_relay_bodies · encoded paths: here · WebSockets: test_relay_tunnel.
"""

from __future__ import annotations

import json

import pytest

from tests.worker.wire import EVENTS, OK, chunk, hop, post, relayed

GET_MODELS = b"GET /v1/models HTTP/1.1\r\nHost: pod\r\n\r\n"


async def test_a_request_reaches_the_engine_and_its_answer_the_client() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(b'{"a": 1}', "/v1/completions?x=1", b"X-Kept: Yes\r\n"))
        call = await between.engine.next()
        assert call.line == "POST /v1/completions?x=1 HTTP/1.1"
        assert call.body == b'{"a": 1}'
        assert call.header("x-kept") == ["Yes"]
        assert call.header("host") == [f"127.0.0.1:{between.engine.port}"]
        call.write(b"HTTP/1.1 418 Teapot\r\nx-engine: e\r\ncontent-length: 3\r\n\r\nabc")
        response = await client.response()
        assert (response.status, response.body) == (418, b"abc")
        assert response.headers["x-engine"] == "e"
        assert response.headers["x-batchfleet-result"] == "direct"
        assert response.headers["x-request-id"] == call.header("x-request-id")[0] == "made-1"
        assert response.headers["server-timing"].startswith("queue;dur=")


async def test_a_connection_is_kept_on_both_sides() -> None:
    async with hop() as between:
        client = await between.client()
        for _ in range(3):
            await relayed(between, client, post())
        assert between.engine.connections == 1


async def test_requests_sent_ahead_are_answered_one_by_one_in_order() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(b"".join(post(b'"%d"' % number, "/v1/plain") for number in range(5)))
        for number in range(5):
            call = await between.engine.next()
            assert call.body == b'"%d"' % number
            assert not between.engine.has_more()
            call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number)
            assert (await client.response()).body == b"%d" % number


async def test_a_request_sent_while_another_waits_is_held() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(b'"one"', "/v1/plain"))
        first = await between.engine.next()
        client.send(post(b'"two"', "/v1/plain")[:30])
        client.send(post(b'"two"', "/v1/plain")[30:])
        first.write(OK)
        await client.response()
        second = await between.engine.next()
        assert second.body == b'"two"'
        second.write(OK)
        assert (await client.response()).whole


async def test_any_number_of_requests_may_be_sent_ahead() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(b"GET /nope HTTP/1.1\r\nHost: pod\r\n\r\n" * 5000)
        statuses = [(await client.response()).status for _ in range(5000)]
        assert statuses == [404] * 5000
        await relayed(between, client, post())


async def test_a_chunked_body_arrives_whole_and_with_a_length() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        call = await between.engine.next()
        assert call.body == b"abcdefg"
        assert call.header("content-length") == ["7"]
        assert not call.header("transfer-encoding")
        assert not call.header("x-trailer")
        call.write(OK)
        assert (await client.response()).whole


async def test_hop_by_hop_headers_stop_here_with_those_that_connection_names() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(
            post(
                headers=b"Connection: keep-alive, X-Private\r\nX-Private: 1\r\nX-Public: 2\r\n"
                b"Keep-Alive: timeout=5\r\nTE: trailers\r\nProxy-Authorization: x\r\n"
            )
        )
        call = await between.engine.next()
        names = {name for name, _ in call.headers}
        assert names == {"host", "x-public", "x-request-id", "content-length"}
        call.write(
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-inner\r\nx-inner: 1\r\nx-outer: 2\r\n"
            b"keep-alive: timeout=5\r\ncontent-length: 2\r\n\r\n{}"
        )
        response = await client.response()
        assert response.headers["x-outer"] == "2"
        assert not {"connection", "keep-alive", "x-inner"} & set(response.headers)


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3", True), ("a" * 129, False), ("a b", False), ('"', False)]
)
async def test_a_sane_request_id_is_the_clients_own(given: str, kept: bool) -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(headers=f"X-Request-Id: {given}\r\n".encode()))
        call = await between.engine.next()
        call.write(OK)
        expected = given if kept else "made-1"
        assert call.header("x-request-id") == [expected]
        assert (await client.response()).headers["x-request-id"] == expected


async def test_expect_is_answered_here_and_not_passed_on() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\nExpect: 100-continue\r\n"
            b"Content-Length: 2\r\n\r\n"
        )
        assert (await client.head())[0] == 100
        client.send(b"{}")
        call = await between.engine.next()
        assert not call.header("expect")
        call.write(OK)
        assert (await client.response()).status == 200


async def test_expect_in_a_request_sent_ahead_waits_for_its_turn() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(
            post(b'"one"', "/v1/plain") + b"POST /v1/plain HTTP/1.1\r\nHost: pod\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        (await between.engine.next()).write(OK)
        assert (await client.response()).status == 200
        assert (await client.head())[0] == 100
        client.send(b"{}")
        (await between.engine.next()).write(OK)
        assert (await client.response()).status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /nope HTTP/1.1\r\nHost: pod\r\nContent-Length: 2\r\n", 404),
        (b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\nContent-Length: 2000000\r\n", 413),
    ],
)
async def test_a_body_that_would_be_refused_is_not_asked_for(head: bytes, status: int) -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(head + b"Expect: 100-continue\r\n\r\n")
        assert response.status == status
        assert response.headers["connection"] == "close"
        assert await client.rest() == b""


async def test_an_unknown_expectation_is_417() -> None:
    async with hop() as between:
        client = await between.client()
        assert (await client.ask(post(headers=b"Expect: magic\r\n"))).status == 417


async def test_head_is_answered_without_a_body_and_the_next_answer_is_its_own() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(GET_MODELS.replace(b"GET", b"HEAD"))
        call = await between.engine.next()
        assert call.line == "HEAD /v1/models HTTP/1.1"
        call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
        response = await client.response(bodiless=True)
        assert (response.status, response.headers["content-length"]) == (200, "1234")
        client.send(GET_MODELS)
        call = await between.engine.next()
        assert call.connection == 2, "an engine connection is not used again after HEAD"
        call.write(OK)
        assert (await client.response()).body == b"{}"


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (b"/v1/%63ompletions?a=%20", "/v1/completions?a=%20"),
        (b"/v1%2Fcompletions", "/v1/completions"),
        (b"http://pod/v1/completions?b", "/v1/completions?b"),
    ],
)
async def test_the_engine_is_asked_for_the_path_that_was_matched(target: bytes, seen: str) -> None:
    async with hop() as between:
        client = await between.client()
        line, _ = await relayed(
            between, client, b"POST %b HTTP/1.1\r\nHost: pod\r\nContent-Length: 0\r\n\r\n" % target
        )
        assert line == f"POST {seen} HTTP/1.1"


@pytest.mark.parametrize(
    "target",
    [
        b"/sleep",
        b"/v1/%2563ompletions",
        b"//v1/completions",
        b"/v1/../v1/completions",
        b"/v1/completions/",
        b"/v1/completions%00",
        b"/v1/completions%3Fa",
        b"/%ff",
        b"http://pod",
    ],
)
async def test_what_is_not_on_the_list_is_404_and_the_connection_stays(target: bytes) -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(
            b"POST %b HTTP/1.1\r\nHost: pod\r\nContent-Length: 3\r\n\r\nabc" % target
        )
        error = json.loads(response.body)["error"]
        assert (response.status, error["type"]) == (404, "invalid_request_error")
        await relayed(between, client, post())


async def test_a_wrong_method_is_405_with_allow() -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(GET_MODELS.replace(b"/v1/models", b"/v1/completions"))
        assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_an_http10_client_gets_its_answer_and_the_end_of_the_connection() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(b"POST /v1/plain HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        call = await between.engine.next()
        call.write(EVENTS + chunk(b"data: a\n\n") + chunk(b"data: b\n\n") + b"0\r\n\r\n")
        response = await client.response()
        assert "transfer-encoding" not in response.headers
        assert response.body == b"data: a\n\ndata: b\n\n"


async def test_an_http10_client_may_keep_the_connection_where_the_length_is_known() -> None:
    async with hop() as between:
        client = await between.client()
        for _ in range(2):
            client.send(
                b"POST /v1/plain HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
            )
            (await between.engine.next()).write(OK)
            assert (await client.response()).headers["connection"] == "keep-alive"


async def test_an_offer_of_http2_is_declined_and_the_body_is_not_lost() -> None:
    """Java's client offers h2c on every request; the parser would take its body for a request."""
    async with hop() as between:
        client = await between.client()
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
        body = b"GET /v1/models HTTP/1.1\r\nHost: pod\r\n\r\n"
        assert await relayed(between, client, post(body, headers=offer)) == (
            "POST /v1/completions HTTP/1.1",
            body,
        )
        await relayed(between, client, GET_MODELS[:-2] + offer + b"\r\n")
        await relayed(between, client, post())


@pytest.mark.parametrize(
    "framing",
    [b"content-length: 2\r\n\r\n{}", b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
)
async def test_what_a_trace_needs_travels_untouched(framing: bytes) -> None:
    async with hop() as between:
        client = await between.client()
        for number in (b"00-0af7-b7ad-01", b"00-1be8-c8be-01"):
            traced = b"traceparent: %b\r\ntracestate: a=1\r\nb3: 0\r\nX-B3-TraceId: 4f\r\n" % number
            client.send(b"POST /v1/completions HTTP/1.1\r\nhost: h\r\n" + traced + framing)
            call = await between.engine.next()
            assert call.header("traceparent") == [number.decode()]
            assert call.header("tracestate") == ["a=1"]
            assert call.header("b3") == ["0"]
            assert call.header("x-b3-traceid") == ["4f"]
            call.write(OK)
            await client.response()


async def test_a_trace_that_its_client_keeps_to_this_connection_ends_here() -> None:
    async with hop() as between:
        client = await between.client()
        for _ in range(2):
            client.send(post(headers=b"traceparent: 00\r\nconnection: traceparent\r\n"))
            call = await between.engine.next()
            assert call.header("traceparent") == []
            call.write(OK)
            await client.response()


async def test_headers_of_our_own_do_not_travel() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(headers=b"x-batchfleet-priority: 3\r\nx-batchfleet-else: 1\r\n"))
        call = await between.engine.next()
        assert not [name for name, _ in call.headers if name.startswith("x-batchfleet")]
        call.write(OK)
        await client.response()
