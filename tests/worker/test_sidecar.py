"""All parts together, in one process: readiness, state, and what a restart of the engine does.

The engine is a small real server; the loops that would poll it are stepped by the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from batchfleet_worker.drain import Phase
from batchfleet_worker.settings import AccessType, Settings, Warmup
from batchfleet_worker.sidecar import Sidecar


class Engine:
    """What it answers may be changed at any time."""

    def __init__(self) -> None:
        self.models = 200
        self.health = 200
        self.statuses = {"/v1/completions": 200, "/v1/chat/completions": 200, "/v1/embeddings": 200}
        self.metrics = "vllm:iteration_tokens_total_count 5.0\nprocess_start_time_seconds 1.0\n"
        self.asked: list[str] = []
        self._server: TestServer | None = None
        self._port = 0

    async def start(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app, port=self._port)
        await self._server.start_server()
        self._port = self._server.port or 0
        return str(self._server.make_url("")).rstrip("/")

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == "/health":
            return web.Response(status=self.health)
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        self.asked.append(request.path)
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]}, status=self.models)
        assert (await request.json())["model"] == "m"
        return web.json_response({}, status=self.statuses[request.path])


class Scene:
    def __init__(
        self, engine: Engine, sidecar: Sidecar, session: aiohttp.ClientSession, address: str
    ) -> None:
        self.engine = engine
        self.sidecar = sidecar
        self._session = session
        self._address = address

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        async with self._session.request(method, self._address + path) as response:
            return response.status, await response.text()

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((await self.get("/state"))[1])
        return state

    async def look(self) -> None:
        """One step of the prober, with the warm-up that it may start."""
        await self.sidecar.prober.look()
        if self.sidecar.prober.warming is not None:
            await self.sidecar.prober.warming


@asynccontextmanager
async def scene(**settings: Any) -> AsyncIterator[Scene]:
    engine = Engine()
    upstream = await engine.start()
    loop = asyncio.get_running_loop()
    settings = {"drain_settle_seconds": 0, **settings}
    sidecar = Sidecar(Settings(upstream=upstream, **settings), loop)
    server = await loop.create_server(sidecar.admin.client, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with aiohttp.ClientSession() as session:
        try:
            yield Scene(engine, sidecar, session, address)
        finally:
            server.close()
            sidecar.close()
            await engine.stop()


async def test_ready_only_after_a_real_completion() -> None:
    async with scene() as here:
        assert (await here.get("/livez"))[0] == 200
        assert (await here.get("/readyz"))[0] == 503
        assert (await here.get("/engine/livez"))[0] == 503
        here.engine.statuses["/v1/completions"] = 503  # still loading
        await here.look()
        status, why = await here.get("/readyz")
        assert (status, why) == (503, "no warm-up request was answered: /v1/completions 503\n")
        assert (await here.get("/engine/livez"))[0] == 200
        here.engine.statuses["/v1/completions"] = 200
        await here.look()
        assert (await here.get("/readyz"))[0] == 200
        assert here.engine.asked[-2:] == ["/v1/models", "/v1/completions"]
        asked = len(here.engine.asked)
        await here.look()
        assert len(here.engine.asked) == asked, "warm once is warm"


@pytest.mark.parametrize(
    ("served", "ready"),
    [
        ("/v1/completions", True),
        ("/v1/chat/completions", True),
        ("/v1/embeddings", True),
        ("none", False),
    ],
)
async def test_warming_up_finds_what_the_model_serves(served: str, ready: bool) -> None:
    async with scene() as here:
        for path in here.engine.statuses:
            here.engine.statuses[path] = 200 if path == served else 404
        await here.look()
        assert ((await here.get("/readyz"))[0] == 200) == ready


async def test_an_engine_with_a_key_is_taken_as_warm() -> None:
    async with scene() as here:
        here.engine.models = 401
        await here.look()
        assert (await here.get("/readyz"))[0] == 200
        assert here.engine.asked == ["/v1/models"]


async def test_without_warm_up_health_is_enough() -> None:
    async with scene(warmup=Warmup.DISABLED) as here:
        await here.look()
        assert (await here.get("/readyz"))[0] == 200
        assert here.engine.asked == []


async def test_once_warm_only_a_failing_engine_or_a_drain_is_unready() -> None:
    async with scene() as here:
        await here.look()
        here.engine.statuses["/v1/completions"] = 500
        await here.look()
        assert (await here.get("/readyz"))[0] == 200
        here.engine.health = 503
        await here.look()
        assert (await here.get("/readyz"))[0] == 503
        assert (await here.get("/engine/livez"))[0] == 503
        here.engine.health = 200
        await here.look()
        assert (await here.get("/readyz"))[0] == 200


async def test_one_scrape_has_ours_and_the_engines() -> None:
    async with scene() as here:
        await here.look()
        status, text = await here.get("/metrics")
        lines = text.splitlines()
        assert status == 200
        assert "batchfleet_ready 1" in lines
        assert "vllm:iteration_tokens_total_count 5.0" in lines
        await here.engine.stop()
        await here.look()
        lines = (await here.get("/metrics"))[1].splitlines()
        assert "batchfleet_ready 0" in lines
        assert "vllm:iteration_tokens_total_count 5.0" not in lines, "stale figures mislead"


async def test_state_has_the_contracts_shape() -> None:
    async with scene() as here:
        await here.look()
        state = await here.state()
        version = state.pop("version")
        assert version
        assert state == {
            "ready": True,
            "reason": "",
            "draining": False,
            "inFlight": 0,
            "queued": 0,
            "limit": None,
            "settings": {"hash": None, "error": None},
            "access": {"error": None},
            "engine": {"warm": True, "restarts": 0},
            "drain": {"drained": 0, "handedBack": 0, "aborted": 0},
        }


async def test_live_settings_reach_the_pipeline_and_state(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"batching": {"maxBatchSize": 7}}')
    async with scene(live_settings=path) as here:
        assert here.sidecar.live is not None
        here.sidecar.live.poll()
        state = await here.state()
        assert state["limit"] == 7
        good = state["settings"]["hash"]
        assert len(good) == 16
        path.write_text('{"batching": {"maxBatchSize": 0}}')
        here.sidecar.live.poll()
        state = await here.state()
        assert (state["limit"], state["settings"]["hash"]) == (7, good)
        assert "maxBatchSize" in state["settings"]["error"]


async def test_keys_that_are_missing_are_told_in_state_until_they_come(tmp_path: Path) -> None:
    async with scene(access=AccessType.API_KEYS, api_keys=tmp_path) as here:
        here.sidecar.access.poll()
        assert "holds no keys" in (await here.state())["access"]["error"]
        (tmp_path / "alice").write_text("key-1")
        here.sidecar.access.poll()
        assert (await here.state())["access"] == {"error": None}


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_drain_answers_when_it_is_over(method: str) -> None:
    async with scene() as here:
        await here.look()
        status, text = await here.get("/drain", method)
        assert status == 200
        assert json.loads(text)["draining"]
        assert (await here.get("/readyz")) == (503, "draining\n")
        assert here.sidecar.drain.phase is Phase.DRAINED


async def test_an_engine_restarted_by_its_probe_ends_the_drain_and_is_warmed_again() -> None:
    async with scene() as here:
        await here.look()
        await here.get("/drain")  # the kubelet's preStop, before it kills the engine
        await here.engine.stop()
        await here.look()
        status, why = await here.get("/engine/livez")
        assert (status, why) == (503, "the engine does not accept connections\n")
        await here.engine.start()
        here.engine.statuses["/v1/completions"] = 503
        await here.look()
        state = await here.state()
        assert (state["draining"], state["ready"]) == (False, False)
        assert state["engine"] == {"warm": False, "restarts": 1}
        here.engine.statuses["/v1/completions"] = 200
        await here.look()
        assert (await here.state())["ready"]
        metrics = (await here.get("/metrics"))[1]
        assert "batchfleet_engine_restarts_total 1" in metrics.splitlines()


async def test_what_the_data_port_refuses_by_itself_is_in_the_access_log(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    async with scene(access_log_percent=100) as here:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(here.sidecar.port.client, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"GET /nowhere HTTP/1.1\r\nhost: pod\r\nx-request-id: mine\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 404 ")
        writer.close()
        server.close()
    (line,) = capfdbinary.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["status"], said["code"], said["requestId"]) == (404, "not_found", "mine")
