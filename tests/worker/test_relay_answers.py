"""How answers travel: piece by piece, at each client's own pace, never whole when broken."""

from __future__ import annotations

import asyncio
import json

import pytest

from batchfleet_worker import errors
from batchfleet_worker.exchange import Refusal, Request, Sink, Ticket
from tests.worker.wire import EVENTS, OK, PATIENCE_SECONDS, Client, Engine, chunk, hop, post

PLAIN = "/v1/plain"  # relayed one by one
SAME = post(b'{"prompt": "same", "temperature": 0, "stream": true}')


async def turn(client: Client, engine: Engine) -> None:
    """One request and its answer: the connection is in step."""
    client.send(post(path=PLAIN))
    (await engine.next()).write(OK)
    assert (await client.response()).whole


async def test_a_stream_arrives_event_by_event() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post())
        call = await between.engine.next()
        call.write(EVENTS)
        for number in range(3):
            call.write(chunk(b"data: %d\n\n" % number))
            if not number:
                status, headers = await client.head()
                assert (status, headers["transfer-encoding"]) == (200, "chunked")
            assert await client.piece() == b"data: %d\n\n" % number  # before the next is sent
        call.write(b"0\r\n\r\n")
        assert await client.piece() == b""
        await turn(client, between.engine)


async def test_equal_streams_share_one_call_and_a_late_one_gets_all_of_it() -> None:
    async with hop() as between:
        first, late = await between.client(), await between.client()
        first.send(SAME)
        call = await between.engine.next()
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        assert (await first.head())[1]["x-batchfleet-result"] == "direct"
        assert await first.piece() == b"data: 0\n\n"
        late.send(SAME)
        assert (await late.head())[1]["x-batchfleet-result"] == "joined"
        assert await late.piece() == b"data: 0\n\n"
        call.write(chunk(b"data: 1\n\n") + b"0\r\n\r\n")
        for client in (first, late):
            assert await client.piece() == b"data: 1\n\n"
            assert await client.piece() == b""
        assert not between.engine.has_more()


async def test_a_client_that_leaves_is_noticed_by_the_engine() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(path=PLAIN))
        call = await between.engine.next()
        client.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await call.left.wait()
        assert between.metrics.clients_left_total == 1


async def test_a_shared_call_outlives_its_first_client_and_ends_with_its_last() -> None:
    async with hop() as between:
        first, second = await between.client(), await between.client()
        first.send(SAME)
        call = await between.engine.next()
        second.send(SAME)
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        await second.head()
        assert await second.piece() == b"data: 0\n\n"
        first.close()
        await first.writer.wait_closed()
        call.write(chunk(b"data: 1\n\n"))
        assert await second.piece() == b"data: 1\n\n"
        assert not call.left.is_set()
        second.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await call.left.wait()


async def test_a_client_that_does_not_read_stops_the_engine_but_not_others() -> None:
    async with hop() as between:
        stuck, other = await between.client(receive_buffer_bytes=1024), await between.client()
        stuck.send(post(path=PLAIN))
        call = await between.engine.next()
        call.write(EVENTS)
        piece = chunk(b"x" * 65536)
        written = 0
        while call.unsent_bytes() < 1024 * 1024:  # the hop takes no more
            call.write(piece)
            written += 1
            assert written < 2000, "the hop has taken 128 MB for a client that does not read"
            await turn(other, between.engine)
        call.write(b"0\r\n\r\n")
        await stuck.head()
        received = 0
        while piece := await stuck.piece():
            received += len(piece)
        assert received == written * 65536


async def test_a_stream_that_breaks_ends_with_an_error_and_without_an_end() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post())
        call = await between.engine.next()
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        await client.head()
        assert await client.piece() == b"data: 0\n\n"
        call.abort()
        event = await client.piece()
        assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "engine_broken"
        assert await client.rest() == b"", "no last chunk: the answer must not look whole"


async def test_an_answer_of_known_length_that_breaks_stays_short() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post())
        call = await between.engine.next()
        call.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await client.head()
        assert await client.reader.readexactly(4) == b"half"
        call.abort()
        assert await client.rest() == b""


async def test_an_http10_stream_that_breaks_is_reset() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(b"POST /v1/plain HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        call = await between.engine.next()
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        await client.head()
        assert await client.reader.readexactly(9) == b"data: 0\n\n"
        call.abort()
        with pytest.raises(ConnectionResetError):
            await client.rest()


async def test_an_engine_that_fails_before_any_body_is_a_502() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post())
        call = await between.engine.next()
        call.write(EVENTS)
        await call.drained()
        call.close()
        response = await client.response()
        assert response.status == 502
        assert json.loads(response.body)["error"]["code"] == "engine_broken"
        await turn(client, between.engine)


async def test_an_engine_that_refuses_connections_is_a_503_that_can_be_tried_again() -> None:
    async with hop() as between:
        between.pool._address = ("127.0.0.1", 1)  # nobody listens on tcpmux
        client = await between.client()
        response = await client.ask(post())
        assert response.status == 503
        assert json.loads(response.body)["error"]["code"] == "no_engine"
        assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_leave_the_connection_in_step(status: int) -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(path=PLAIN))
        (await between.engine.next()).write(b"HTTP/1.1 %d Nothing\r\n\r\n" % status)
        assert (await client.head())[0] == status
        await turn(client, between.engine)


async def test_the_engines_errors_keep_their_status_and_body() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post(path=PLAIN))
        body = b'{"error": {"message": "no such model"}}'
        (await between.engine.next()).write(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        response = await client.response()
        assert (response.status, response.body) == (404, body)


async def test_draining_ends_connections_with_their_answers() -> None:
    async with hop() as between:
        busy, idle = await between.client(), await between.client()
        await turn(idle, between.engine)
        busy.send(post(path=PLAIN))
        call = await between.engine.next()
        between.port.draining = True
        between.port.close_idle()
        assert await idle.rest() == b""
        call.write(OK)
        response = await busy.response()
        assert (response.status, response.headers["connection"]) == (200, "close")
        assert await busy.rest() == b""


class _Gone:
    """The place of a request that was refused at once."""

    def leave(self) -> None: ...

    def drained(self) -> None: ...


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (errors.QUEUE_FULL, "saturated"),
        (errors.RATE_LIMITED, "rate-limited"),
        (errors.DRAINING, "draining"),
        (errors.NO_ENGINE, "no-engine"),
        (errors.ENGINE_BROKEN, None),
    ],
)
async def test_a_refusal_by_load_says_which_for_gateways(
    refusal: Refusal, reason: str | None
) -> None:
    def refuse(request: Request, sink: Sink) -> Ticket:
        sink.refuse(refusal)
        return _Gone()

    async with hop() as between:
        between.port.offer = refuse
        client = await between.client()
        response = await client.ask(post())
        assert response.status == refusal.status
        assert response.headers.get("x-batchfleet-reason") == reason
