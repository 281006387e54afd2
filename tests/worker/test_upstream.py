"""Traps of the engine's side: whose bytes are these, and may this connection be used again?"""

from __future__ import annotations

import asyncio

import pytest

from tests.worker.wire import EVENTS, OK, PATIENCE_SECONDS, Client, Hop, chunk, hop, post

PLAIN = post(path="/v1/plain")


async def turn(between: Hop, client: Client, answer: bytes = OK) -> int:
    """One request and its answer; the number of the engine connection that carried it."""
    client.send(PLAIN)
    call = await between.engine.next()
    call.write(answer)
    assert (await client.response()).status == 200
    return call.connection


async def test_a_body_until_close_is_whole_and_its_connection_is_not_used_again() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        call = await between.engine.next()
        call.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await call.drained()
        call.close()
        response = await client.response()
        assert (response.body, response.whole) == (b"all of it", True)
        assert await turn(between, client) == 2


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\na: b\r\n\r\n"]
)
async def test_interim_answers_are_skipped(interim: bytes) -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        call = await between.engine.next()
        call.write(interim)
        call.write(OK)
        response = await client.response()
        assert (response.status, response.body) == (200, b"{}")
        assert "a" not in response.headers
        assert await turn(between, client) == 1


async def test_bytes_after_an_answer_are_nobodys_answer() -> None:
    async with hop() as between:
        client = await between.client()
        extra = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen"
        assert await turn(between, client, OK + extra) == 1
        client.send(PLAIN)
        call = await between.engine.next()
        assert call.connection == 2
        call.write(OK)
        assert (await client.response()).body == b"{}"


async def test_a_byte_outside_an_exchange_kills_the_connection() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        call = await between.engine.next()
        call.write(OK)
        await client.response()
        call.write(b"H")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await call.left.wait()
        assert await turn(between, client) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
    ],
)
async def test_a_malformed_answer_is_a_502_and_the_next_one_is_good(answer: bytes) -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        (await between.engine.next()).write(answer)
        assert (await client.response()).status == 502
        assert await turn(between, client) == 2


async def test_an_answer_that_says_close_is_not_followed_on_that_connection() -> None:
    async with hop() as between:
        client = await between.client()
        closing = OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        assert await turn(between, client, closing) == 1
        assert await turn(between, client) == 2


async def test_a_pooled_connection_that_closes_at_the_same_instant_costs_nothing() -> None:
    """The engine closes an idle connection while our request is on its way to it."""
    async with hop() as between:
        client = await between.client()
        await turn(between, client)
        client.send(PLAIN)
        stale = await between.engine.next()
        assert stale.connection == 1
        stale.close()
        again = await between.engine.next()
        assert again.connection == 2
        assert again.body == stale.body
        again.write(OK)
        assert (await client.response()).status == 200
        assert between.metrics.engine_errors_total["unanswered"] == 1


async def test_a_fresh_connection_that_closes_unanswered_is_the_engines_doing() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        (await between.engine.next()).close()
        assert (await client.response()).status == 502
        assert not between.engine.has_more()
        assert between.metrics.engine_errors_total["broken"] == 1


async def test_it_is_sent_again_only_once() -> None:
    async with hop() as between:
        client = await between.client()
        await turn(between, client)
        client.send(PLAIN)
        (await between.engine.next()).close()
        (await between.engine.next()).close()  # a fresh connection that says nothing: the engine
        assert (await client.response()).status == 502
        assert not between.engine.has_more()


async def test_one_answered_byte_forbids_sending_again() -> None:
    async with hop() as between:
        client = await between.client()
        await turn(between, client)
        client.send(PLAIN)
        call = await between.engine.next()
        call.write(b"H")
        await call.drained()
        call.close()
        assert (await client.response()).status == 502
        assert not between.engine.has_more()


async def test_connections_idle_for_longer_than_the_engine_keeps_them_are_not_used() -> None:
    async with hop() as between:
        client = await between.client()
        await turn(between, client)
        for connection in between.pool._idle:
            between.pool._idle[connection] -= 4.0
        assert await turn(between, client) == 2


async def test_a_cancelled_stream_leaves_nothing_in_the_pool() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(PLAIN)
        call = await between.engine.next()
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        await client.head()
        client.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await call.left.wait()
        assert not between.pool._idle
        assert await turn(between, await between.client()) == 2


async def test_an_answer_before_the_whole_request_ends_the_connection() -> None:
    async with hop(max_body_bytes=64 * 1024 * 1024) as between:
        between.engine.refuses_bodies_over = 1024
        client = await between.client()
        client.send(post(b"x" * 32 * 1024 * 1024, "/v1/plain"))
        call = await between.engine.next()
        call.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        assert (await client.response()).status == 413
        assert not between.pool._idle
