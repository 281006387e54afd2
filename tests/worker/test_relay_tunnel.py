"""WebSockets: a tunnel for bytes that are no HTTP, at the pace of either side."""

from __future__ import annotations

import asyncio

import pytest

from tests.worker.wire import OK, PATIENCE_SECONDS, Call, Client, Hop, hop, post

OFFER = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: pod\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a2V5\r\n\r\n"
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: yes\r\n\r\n"
)


async def opened(between: Hop, client: Client) -> Call:
    between.engine.heads_only = True
    client.send(OFFER)
    call = await between.engine.next()
    call.write(AGREED)
    status, headers = await client.head()
    assert (status, headers["sec-websocket-accept"]) == (101, "yes")
    assert (headers["connection"], headers["upgrade"]) == ("upgrade", "websocket")
    return call


async def closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await reader.read(65536):
            pass


async def test_the_offer_and_the_agreement_travel() -> None:
    async with hop() as between:
        client = await between.client()
        call = await opened(between, client)
        assert call.line == "GET /v1/realtime?model=m HTTP/1.1"
        assert call.header("connection") == ["upgrade"]
        assert call.header("upgrade") == ["websocket"]
        assert call.header("sec-websocket-key") == ["a2V5"]
        assert not call.header("content-length")
        assert not call.header("transfer-encoding")


async def test_bytes_pass_both_ways_as_they_are() -> None:
    async with hop() as between:
        client = await between.client()
        call = await opened(between, client)
        async with asyncio.timeout(PATIENCE_SECONDS):
            for number in range(3):
                frame = b"\x81\x05" + post(b"%d" % number)
                client.send(frame)
                assert await call.reader.readexactly(len(frame)) == frame
                call.write(frame)
                assert await client.reader.readexactly(len(frame)) == frame


async def test_what_comes_behind_the_heads_at_once_is_not_lost() -> None:
    async with hop() as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(OFFER + b"early")
        call = await between.engine.next()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await call.reader.readexactly(5) == b"early"
        call.write(AGREED + b"also early")
        await client.head()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await client.reader.readexactly(10) == b"also early"


async def test_it_holds_its_slot_until_either_side_closes() -> None:
    async with hop() as between:
        for engine_closes in (True, False):
            client = await between.client()
            call = await opened(between, client)
            assert between.pipeline.in_flight == 1
            if engine_closes:
                call.write(b"bye")
                await call.drained()
                call.close()
                assert await client.rest() == b"bye"
                client.close()
            else:
                client.close()
                await closed(call.reader)
            await between.port.empty.wait()
            assert between.pipeline.in_flight == 0
        assert not between.pool._idle


async def test_an_idle_tunnel_stays() -> None:
    now = 0.0
    async with hop() as between:
        between.port.now = lambda: now
        between.port.sweep()
        client = await between.client()
        call = await opened(between, client)
        now = 10_000.0
        between.port.sweep()
        async with asyncio.timeout(PATIENCE_SECONDS):
            client.send(b"still here")
            assert await call.reader.readexactly(10) == b"still here"


async def test_a_client_that_does_not_read_stops_the_engine() -> None:
    async with hop() as between:
        client = await between.client(receive_buffer_bytes=1024)
        call = await opened(between, client)
        written = 0
        while call.unsent_bytes() < 1024 * 1024:  # the hop takes no more
            call.write(b"x" * 65536)
            written += 65536
            assert written < 128 * 1024 * 1024, "the hop has taken 128 MB"
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await client.reader.readexactly(written) == b"x" * written


async def test_an_engine_that_declines_gives_an_ordinary_answer() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(OFFER)
        call = await between.engine.next()
        call.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        response = await client.response()
        assert (response.status, response.body) == (403, b"no")
        assert response.headers["connection"] == "close"
        assert not between.pool._idle


async def test_without_the_offer_it_is_426_and_the_connection_stays() -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(b"GET /v1/realtime HTTP/1.1\r\nHost: pod\r\n\r\n")
        assert response.status == 426
        client.send(post(path="/v1/plain"))
        (await between.engine.next()).write(OK)
        assert (await client.response()).whole


async def test_a_tunnel_is_closed_by_a_drain() -> None:
    async with hop() as between:
        client = await between.client()
        call = await opened(between, client)
        between.pipeline.begin_drain()
        between.pipeline.stop_accepting()
        between.pipeline.abort_all()
        await closed(call.reader)
        with pytest.raises(ConnectionResetError):
            await client.rest()
