"""What the sidecar asks of the engine by itself: traps of kept connections, and of none at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from batchfleet_worker.inquiry import Inquirer, InquiryError, RefusedError, Reply
from batchfleet_worker.upstream import Pool
from tests.worker.test_process import free_port
from tests.worker.wire import EVENTS, OK, PATIENCE_SECONDS, Engine, chunk


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Engine, Inquirer]]:
    loop = asyncio.get_running_loop()
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    inquirer = Inquirer(Pool("127.0.0.1", server.sockets[0].getsockname()[1], loop))
    try:
        yield engine, inquirer
    finally:
        inquirer.close()
        server.close()
        engine.abort()


def asked(inquirer: Inquirer, seconds: float = PATIENCE_SECONDS) -> asyncio.Task[Reply]:
    return asyncio.create_task(inquirer.get("/health", seconds))


async def test_a_kept_connection_that_was_closed_is_no_sign_of_illness() -> None:
    async with scene() as (engine, inquirer):
        asking = asked(inquirer)
        (await engine.next()).write(OK)
        assert await asking == (200, b"{}")
        asking = asked(inquirer)
        call = await engine.next()
        assert call.connection == 1
        call.close()
        call = await engine.next()
        assert call.connection == 2
        call.write(OK)
        assert await asking == (200, b"{}")


async def test_an_answer_in_chunks_is_put_together() -> None:
    async with scene() as (engine, inquirer):
        asking = asked(inquirer)
        call = await engine.next()
        call.write(EVENTS + chunk(b"one "))
        await call.drained()
        call.write(chunk(b"two") + chunk(b""))
        assert await asking == (200, b"one two")


async def test_half_an_answer_is_none() -> None:
    async with scene() as (engine, inquirer):
        asking = asked(inquirer)
        call = await engine.next()
        call.write(OK[:-1])
        call.close()
        with pytest.raises(InquiryError):
            await asking


async def test_an_engine_that_is_silent_is_left_after_the_time() -> None:
    async with scene() as (engine, inquirer):
        asking = asked(inquirer)
        (await engine.next()).write(OK)
        await asking  # connected: what is asked next is on its way before any time is up
        asking = asked(inquirer, 0.01)
        call = await engine.next()
        with pytest.raises(TimeoutError):
            await asking
        async with asyncio.timeout(PATIENCE_SECONDS):
            await call.left.wait()


async def test_a_port_where_nobody_listens_is_told_from_one_that_is_slow() -> None:
    inquirer = Inquirer(Pool("127.0.0.1", free_port(), asyncio.get_running_loop()))
    with pytest.raises(RefusedError):
        await asked(inquirer)
    inquirer.close()


async def test_what_is_asked_is_json_for_the_engine() -> None:
    async with scene() as (engine, inquirer):
        asking = asyncio.create_task(inquirer.post("/v1/completions", {"n": 1}, PATIENCE_SECONDS))
        call = await engine.next()
        assert (call.line, call.body) == ("POST /v1/completions HTTP/1.1", b'{"n":1}')
        assert call.header("content-type") == ["application/json"]
        call.write(OK)
        assert (await asking).json() == {}
