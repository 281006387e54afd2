"""What is asked of the engine beside its health: its signals, its models, the warm-up prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from batchfleet_worker.live import BatchingSettings, LiveSettings, Mode
from batchfleet_worker.prober import MODELS_SECONDS
from batchfleet_worker.settings import SettingsError, from_environment
from batchfleet_worker.sidecar import Sidecar
from tests.worker.virtual import Client, chat

PROMPTS = ["You are terse.", "You are kind."]


class Engine:
    """Remembers what it was asked; what it answers may be changed at any time."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "m", "root": "m", "created": 1}]
        self.chat: list[int] = []  # statuses, in turn; then 200
        self.metrics = ""
        self.answers = asyncio.Event()  # clients wait for it
        self.answers.set()
        self.asked: list[tuple[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/metrics":
            return web.Response(text=self.metrics)
        if request.path == "/v1/models":
            self.asked.append((request.path, None))
            return web.json_response({"object": "list", "data": self.models})
        if request.method == "POST":
            self.asked.append((request.path, await request.json()))
            await self.answers.wait()
            if request.path == "/v1/chat/completions" and self.chat:
                return web.json_response({}, status=self.chat.pop(0))
        return web.json_response({})

    def prompts(self) -> list[str]:
        """The warm-up prompts it was asked, by where they stood."""
        return [
            body["messages"][0]["content"] if "messages" in body else body["prompt"]
            for path, body in self.asked
            if body is not None
        ]


@asynccontextmanager
async def scene(engine: Engine, **environment: str) -> AsyncIterator[Sidecar]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.answer)
    async with TestServer(app) as server:
        given = {f"BATCHFLEET_{name}": value for name, value in environment.items()}
        settings = from_environment(
            {"BATCHFLEET_UPSTREAM": f"http://127.0.0.1:{server.port}", **given}
        )
        sidecar = Sidecar(settings, asyncio.get_running_loop())
        try:
            yield sidecar
        finally:
            sidecar.close()


async def look(sidecar: Sidecar) -> None:
    await sidecar.prober.look()
    if sidecar.prober.warming is not None:
        await sidecar.prober.warming


async def test_warm_up_prompts_are_asked_once_before_ready_as_a_chat_begins() -> None:
    engine = Engine()
    async with scene(engine, WARMUP_PROMPTS='["You are terse.", "You are kind."]') as sidecar:
        await look(sidecar)
        assert engine.prompts() == ["Hi", *PROMPTS]
        path, body = engine.asked[-1]
        assert path == "/v1/chat/completions"
        assert body["model"] == "m"
        assert body["max_tokens"] == 1
        assert body["messages"][0]["role"] == "system"
        assert not sidecar.unready()
        await look(sidecar)
        assert engine.prompts() == ["Hi", *PROMPTS]


@pytest.mark.parametrize("status", [400, 404])
async def test_a_model_without_chat_is_asked_them_as_they_are(status: int) -> None:
    engine = Engine()
    engine.chat = [status, status]
    async with scene(engine, WARMUP_PROMPTS='["You are terse.", "You are kind."]') as sidecar:
        await look(sidecar)
        plain = [body["prompt"] for path, body in engine.asked if path == "/v1/completions"]
        assert plain == ["Hi", *PROMPTS]


async def test_a_warm_up_prompt_that_fails_keeps_nobody_waiting() -> None:
    engine = Engine()
    engine.chat = [500]
    async with scene(engine, WARMUP_PROMPTS='["You are terse.", "You are kind."]') as sidecar:
        await look(sidecar)
        assert engine.prompts() == ["Hi", *PROMPTS]
        assert not sidecar.unready()


@pytest.mark.parametrize("value", ["terse", "{}", "[1]", str(["x"] * 17).replace("'", '"')])
def test_warm_up_prompts_that_are_none_are_refused_in_a_sentence(value: str) -> None:
    with pytest.raises(SettingsError, match="BATCHFLEET_WARMUP_PROMPTS"):
        from_environment({"BATCHFLEET_WARMUP_PROMPTS": value})


async def test_the_models_that_the_engine_lists_name_the_metric_and_are_looked_at_again() -> None:
    engine = Engine()
    async with scene(engine) as sidecar:
        now = [1000.0]
        sidecar.prober._now = lambda: now[0]
        changes: list[list[str]] = []

        class Listening:
            """In front of the pipeline, whose methods cannot be replaced where it is compiled."""

            def __getattr__(self, name: str) -> Any:
                return getattr(sidecar.pipeline, name)

            def engine_changed(self, models: Iterable[str]) -> None:
                changes.append(list(models))
                sidecar.pipeline.engine_changed(models)

        sidecar.prober._listener = cast(Any, Listening())
        await look(sidecar)
        assert changes == [["m"]]
        engine.models = [
            {"id": "m", "root": "m", "created": 2},
            {"id": "adapter", "root": "/a", "created": 2},
            "nonsense",  # type: ignore[list-item]
        ]
        await look(sidecar)
        assert changes == [["m"]]
        now[0] += MODELS_SECONDS
        await look(sidecar)
        assert changes == [["m"], ["m", "adapter"]]
        engine.models[1] = {"id": "adapter", "root": "/another", "created": 3}
        now[0] += MODELS_SECONDS
        await look(sidecar)
        assert len(changes) == 3, "the same name for something else"
        engine.models[0]["created"] = 4
        now[0] += MODELS_SECONDS
        await look(sidecar)
        assert len(changes) == 3, "vLLM says that its models are made anew for every answer"
        assert set(sidecar.metrics.requests_by_model_total) == {"m", "adapter", "other"}


async def test_what_the_engine_says_of_itself_moves_the_limit() -> None:
    engine = Engine()
    async with scene(engine) as sidecar:
        sidecar.pipeline.apply(LiveSettings(batching=BatchingSettings(mode=Mode.ADAPTIVE)))
        await look(sidecar)
        engine.answers.clear()
        for number in range(10):
            request = chat(f"prompt {number}")
            sidecar.pipeline.offer(request, Client(request))
        assert sidecar.pipeline.watched
        for step in (1, 2):
            engine.metrics = (
                f"vllm:inter_token_latency_seconds_sum {step}.0\n"
                f"vllm:inter_token_latency_seconds_count {100 * step}.0\n"
                "vllm:num_requests_running 8\n"
            )
            await look(sidecar)
        assert sidecar.pipeline.limit == 16
        assert sidecar.pipeline.in_flight == 10
        engine.answers.set()
