"""Bodies too large to hold are passed on while they come, at the engine's pace."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

from tests.worker.wire import OK, PATIENCE_SECONDS, Call, Client, Hop, chunk, hop, post

MIB = 1024 * 1024
LARGE = bytes(range(256)) * 4096 * 4  # 4 MiB
PLAIN = "/v1/plain"


def head(length: int, headers: bytes = b"") -> bytes:
    return post(b"", PLAIN, headers).replace(b"Length: 0", b"Length: %d" % length)


async def taken(call: Call, length: int) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await call.reader.readexactly(length)


async def follows(between: Hop, client: Client) -> None:
    """The connection is in step: the next request is answered."""
    client.send(post(path=PLAIN))
    (await between.engine.next()).write(OK)
    assert (await client.response()).whole


async def closed(call: Call) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await call.reader.read(65536):
            pass


async def test_a_large_body_reaches_the_engine_as_it_was_announced() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(len(LARGE)) + LARGE)
        call = await between.engine.next()
        assert call.header("content-length") == [str(len(LARGE))]
        assert await taken(call, len(LARGE)) == LARGE
        call.write(OK)
        assert (await client.response()).whole
        between.engine.heads_only = False
        call.read.set()
        await follows(between, client)


async def test_a_large_chunked_body_stays_chunked() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(
            post(b"", PLAIN, b"Transfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n", b""
            )
        )
        for start in range(0, len(LARGE), 100_000):
            client.send(chunk(LARGE[start : start + 100_000]))
        client.send(b"0\r\nX-Trailer: t\r\n\r\n")
        call = await between.engine.next()
        assert call.header("transfer-encoding") == ["chunked"]
        assert not call.header("content-length")
        body = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while size := int(await call.reader.readuntil(b"\r\n"), 16):
                body += (await call.reader.readexactly(size + 2))[:-2]
            assert await call.reader.readexactly(2) == b"\r\n"
        assert body == LARGE
        call.write(OK)
        assert (await client.response()).whole
        between.engine.heads_only = False
        call.read.set()
        await follows(between, client)


async def test_the_engine_hears_of_a_large_body_before_it_is_there() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(MIB) + b"begin")
        call = await between.engine.next()
        assert await taken(call, 5) == b"begin"
        client.send(b"x" * (MIB - 5) + post(b"next", PLAIN))
        assert await taken(call, MIB - 5) == b"x" * (MIB - 5)
        call.write(OK)
        assert (await client.response()).whole
        between.engine.heads_only = False
        call.read.set()
        following = await between.engine.next()
        assert following.body == b"next"
        following.write(OK)
        assert (await client.response()).whole


async def test_a_slow_engine_slows_its_client_and_no_one_else() -> None:
    async with hop(max_body_bytes=1024 * MIB) as between:
        between.engine.heads_only = True
        client, other = await between.client(), await between.client()
        size = 512 * MIB
        client.send(head(size))
        call = await between.engine.next()
        between.engine.heads_only = False
        piece, sent = b"y" * MIB, 0
        while client.writer.transport.get_write_buffer_size() < 4 * MIB:  # the hop takes no more
            client.send(piece)
            sent += MIB
            assert sent < 128 * MIB, "the hop has taken 128 MB for an engine that does not read"
            await follows(between, other)
        client.send(b"y" * (MIB * 140 - sent))
        assert await taken(call, 140 * MIB) == b"y" * (140 * MIB)
        client.close()
        await closed(call)


async def test_a_large_body_is_not_asked_for_before_the_engine_takes_it() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(MIB, b"Expect: 100-continue\r\n"))
        call = await between.engine.next()
        assert (await client.head())[0] == 100
        client.send(b"z" * MIB)
        assert await taken(call, MIB) == b"z" * MIB
        call.write(OK)
        assert (await client.response()).whole


async def test_an_engine_that_answers_early_ends_both_connections() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(MIB) + b"begin")
        call = await between.engine.next()
        call.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        response = await client.response()
        assert (response.status, response.headers["connection"]) == (413, "close")
        assert not between.pool._idle
        await closed(call)


async def test_a_client_that_leaves_in_the_middle_cancels_the_call() -> None:
    async with hop(max_body_bytes=64 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(MIB) + b"begin")
        call = await between.engine.next()
        client.close()
        await closed(call)
        assert between.metrics.clients_left_total == 1


async def test_a_client_that_leaves_while_the_engine_takes_nothing_is_noticed() -> None:
    """Nothing is read from it then, so nothing would tell."""
    async with hop(max_body_bytes=1024 * MIB) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(512 * MIB))
        call = await between.engine.next()
        while client.writer.transport.get_write_buffer_size() < 4 * MIB:
            client.send(b"y" * MIB)
            await asyncio.sleep(0)
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
        client.writer.transport.abort()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while between.pipeline.clients:
                between.port.sweep()
                await asyncio.sleep(0)
        await closed(call)


async def test_a_large_body_that_stops_coming_is_408_and_the_engine_is_told() -> None:
    now = 0.0
    async with hop(max_body_bytes=64 * MIB) as between:
        between.port.now = lambda: now
        between.port.sweep()
        between.engine.heads_only = True
        client = await between.client()
        client.send(head(MIB) + b"begin")
        call = await between.engine.next()
        now = 119.0
        between.port.sweep()
        client.send(b"more")
        assert await taken(call, 9) == b"beginmore"
        now = 238.0
        between.port.sweep()
        assert between.pipeline.clients == 1
        now = 240.0
        between.port.sweep()
        response = await client.response()
        assert (response.status, response.headers["connection"]) == (408, "close")
        await closed(call)
        assert between.metrics.requests_refused_total["request_timeout"] == 1


async def test_a_chunked_body_that_grows_past_the_limit_is_413_and_the_engine_is_told() -> None:
    async with hop(max_body_bytes=MIB, held_body_bytes=1000) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(
            post(b"", PLAIN, b"Transfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n", b""
            )
            + chunk(b"x" * 2000)
        )
        call = await between.engine.next()
        client.send(chunk(b"x" * MIB))
        response = await client.response()
        assert response.status == 413
        assert json.loads(response.body)["error"]["code"] == "body_too_large"
        await closed(call)


async def test_a_large_chunked_body_that_is_malformed_is_400_and_the_engine_is_told() -> None:
    async with hop(max_body_bytes=MIB, held_body_bytes=1000) as between:
        between.engine.heads_only = True
        client = await between.client()
        client.send(
            post(b"", PLAIN, b"Transfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n", b""
            )
            + chunk(b"x" * 2000)
        )
        call = await between.engine.next()
        client.send(b"no size\r\n")
        assert (await client.response()).status == 400
        assert await client.rest() == b""
        await closed(call)


async def test_a_large_body_is_never_sent_twice() -> None:
    async with hop(max_body_bytes=MIB, held_body_bytes=1000) as between:
        client = await between.client()
        await follows(between, client)  # its engine connection is pooled
        between.engine.heads_only = True
        client.send(head(5000) + b"begin")
        (await between.engine.next()).close()
        assert (await client.response()).status == 502
        assert not between.engine.has_more()
