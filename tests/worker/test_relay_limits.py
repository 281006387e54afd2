"""What a client may send at most, how slowly, and how long it may keep its connection."""

from __future__ import annotations

import json

import pytest

from batchfleet_worker.live import RequestsSettings
from tests.worker.wire import OK, chunk, hop, post, relayed


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(10_000)),
        b"X-Long: " + b"y" * 70_000 + b"\r\n",
    ],
)
async def test_a_head_over_the_limit_is_431(head: bytes) -> None:
    async with hop(max_header_bytes=65536) as between:
        client = await between.client()
        assert (await client.ask(post(headers=head))).status == 431
        assert await client.rest() == b""


async def test_a_head_that_never_ends_is_431() -> None:
    async with hop(max_header_bytes=65536) as between:
        client = await between.client()
        client.send(b"POST /v1/completions HTTP/1.1\r\nX-Endless: ")
        while not client.reader.at_eof():
            client.send(b"y" * 20_000)
            await client.writer.drain()
            if between.metrics.requests_refused_total.get("headers_too_large"):
                break
        assert (await client.response()).status == 431


async def test_a_body_over_the_limit_is_413_announced_or_not() -> None:
    async with hop(max_body_bytes=1000) as between:
        client = await between.client()
        announced = b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\nContent-Length: 1001\r\n\r\n"
        assert (await client.ask(announced)).status == 413
        client = await between.client()
        chunked = (
            b"POST /v1/completions HTTP/1.1\r\nHost: pod\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert (await client.ask(chunked + chunk(b"x" * 501) * 2)).status == 413
        client = await between.client()
        _, body = await relayed(between, client, post(b"x" * 1000))
        assert len(body) == 1000


async def test_all_bodies_together_have_a_bound() -> None:
    async with hop(max_body_bytes=1000, memory_bytes=8000) as between:
        holders = [await between.client() for _ in range(8)]
        for holder in holders:
            holder.send(post(b"x" * 1000, "/v1/plain"))
        calls = [await between.engine.next() for _ in holders]
        client = await between.client()
        response = await client.ask(post(b"xx"))
        assert response.status == 503
        assert json.loads(response.body)["error"]["code"] == "overloaded"
        assert response.headers["retry-after"] == "1"
        for call in calls:
            call.write(OK)
        for holder in holders:
            assert (await holder.response()).status == 200
        await relayed(between, await between.client(), post(b"x" * 1000))


async def test_a_slow_head_is_408_and_an_unused_connection_is_closed() -> None:
    now = 0.0
    async with hop() as between:
        between.port.now = lambda: now
        between.port.sweep()
        slow, unused, used = [await between.client() for _ in range(3)]
        await relayed(between, used, post())
        await relayed(between, slow, post() + b"POST /v1/com")
        now = 61.0
        between.port.sweep()
        response = await slow.response()
        assert response.status == 408
        assert await unused.rest() == b""
        await relayed(between, used, post())
        now += 700
        between.port.sweep()
        assert await used.rest() == b""


async def test_an_old_connection_ends_with_its_next_answer_and_a_young_one_stays() -> None:
    """So that clients which keep their connections find new pods."""
    now = 0.0
    async with hop() as between:
        between.port.now = lambda: now
        between.port.sweep()
        between.port.apply(RequestsSettings(max_connection_age_seconds=100))
        old = await between.client()
        await relayed(between, old, post())
        now = 80.0
        between.port.sweep()
        await relayed(between, old, post())
        young = await between.client()
        await relayed(between, young, post())
        now = 120.0
        between.port.sweep()
        old.send(post())
        (await between.engine.next()).write(OK)
        response = await old.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await old.rest() == b""
        young.send(post())
        (await between.engine.next()).write(OK)
        assert "connection" not in (await young.response()).headers
        between.port.apply(RequestsSettings(max_connection_age_seconds=0))
        now = 500.0
        between.port.sweep()
        await relayed(between, young, post())


@pytest.mark.parametrize(("dice", "age"), [(0.0, 90), (0.5, 100), (0.999, 109)])
async def test_connections_that_came_together_do_not_leave_together(dice: float, age: int) -> None:
    async with hop() as between:
        port = between.port
        port.apply(RequestsSettings(max_connection_age_seconds=100))
        port._random = lambda: dice
        born, spread = port.about_now, port.spread()
        port.about_now = born + age - 1
        assert port.may_stay(born, spread)
        port.about_now = born + age + 2
        assert not port.may_stay(born, spread)
