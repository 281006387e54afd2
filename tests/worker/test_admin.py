"""The admin port as those who ask it see it: bytes on a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from batchfleet_worker import admin
from batchfleet_worker.settings import Settings
from batchfleet_worker.sidecar import serve
from tests.worker.test_process import free_port
from tests.worker.wire import PATIENCE_SECONDS, Client


class Shown:
    """What a sidecar shows, as the test says."""

    def __init__(self) -> None:
        self.page = "batchfleet_ready 1\n"
        self.draining = False
        self.begun, self.over = asyncio.Event(), asyncio.Event()

    def unready(self) -> str:
        return "draining" if self.draining else ""

    def engine_ill(self) -> str:
        return ""

    def metrics_text(self) -> str:
        return self.page

    def state(self) -> dict[str, Any]:
        return {"draining": self.draining}

    async def drained(self) -> None:
        self.draining = True
        self.begun.set()
        await self.over.wait()


@asynccontextmanager
async def asked(shown: Shown) -> AsyncIterator[Callable[[], Any]]:
    """Makes clients of the port."""
    loop = asyncio.get_running_loop()
    port = admin.port(shown, lambda: "id", 65536, loop.time)
    server = await loop.create_server(port.client, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = []

    async def client() -> Client:
        clients.append(Client(*await asyncio.open_connection(*address)))
        return clients[-1]

    try:
        yield client
    finally:
        server.close()
        for each in clients:
            each.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await port.empty.wait()


def ask(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: pod\r\n\r\n".encode()


async def test_one_connection_serves_scrape_after_scrape() -> None:
    shown = Shown()
    async with asked(shown) as connect:
        client = await connect()
        for number in range(3):
            shown.page = f"batchfleet_ready {number}\n" * 20_000 * number
            response = await client.ask(ask("/metrics"))
            assert (response.status, response.body.decode()) == (200, shown.page)
            assert response.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_head_has_no_body_and_what_is_not_there_is_said() -> None:
    async with asked(Shown()) as connect:
        client = await connect()
        response = await client.ask(ask("/readyz", "HEAD"), bodiless=True)
        assert (response.status, response.headers["content-length"]) == (200, "3")
        response = await client.ask(ask("/metrics", "POST"))
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
        assert (await client.ask(ask("/v1/models"))).status == 404
        assert (await client.ask(ask("/livez"))).body == b"ok\n"


async def test_a_drain_goes_on_without_who_asked_for_it() -> None:
    shown = Shown()
    async with asked(shown) as connect:
        hasty, patient, probe = [await connect() for _ in range(3)]
        hasty.send(ask("/drain"))
        patient.send(ask("/drain", "POST"))
        await shown.begun.wait()
        hasty.close()
        assert (await probe.ask(ask("/readyz"))).body == b"draining\n"
        shown.over.set()
        assert json.loads((await patient.response()).body) == {"draining": True}


async def test_whoever_waits_for_the_drain_is_told_before_the_process_ends() -> None:
    settings = Settings(
        host="127.0.0.1",
        port=free_port(),
        admin_host="127.0.0.1",
        admin_port=free_port(),
        upstream=f"http://127.0.0.1:{free_port()}",
        drain_settle_seconds=0.01,
    )
    stopped = asyncio.Event()
    running = asyncio.create_task(serve(settings, stopped))
    client = await connected(settings.admin_port)
    client.send(ask("/drain"))
    stopped.set()
    assert json.loads((await client.response()).body)["draining"]
    client.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running


async def connected(port: int) -> Client:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return Client(*await asyncio.open_connection("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0)
