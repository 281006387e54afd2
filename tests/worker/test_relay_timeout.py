"""What a client's connection comes to when its request has waited too long."""

from __future__ import annotations

from tests.worker.wire import OK, hop, post

SHORT = b"x-batchfleet-timeout-ms: 20\r\n"


async def test_after_a_timeout_the_next_request_may_find_another_pod() -> None:
    async with hop() as between:
        client = await between.client()
        client.send(post())
        (await between.engine.next()).write(OK)
        await client.response()  # connected: the next one reaches the engine before its time is up
        client.send(post(headers=SHORT))
        call = await between.engine.next()
        response = await client.response()
        assert response.status == 504
        assert response.headers["connection"] == "close"
        assert await client.rest() == b""
        await call.left.wait()


async def test_other_errors_of_a_request_leave_its_connection_alone() -> None:
    async with hop() as between:
        client = await between.client()
        response = await client.ask(post(path="/nothing"))
        assert (response.status, response.headers.get("connection")) == (404, None)
        client.send(post())
        (await between.engine.next()).write(OK)
        assert (await client.response()).status == 200
