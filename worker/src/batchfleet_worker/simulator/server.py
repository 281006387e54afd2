"""The simulator's HTTP side: vLLM's paths on aiohttp, each a short walk from parse to answer.

    parse (protocol) ──► ask (text) ──► engine (time) ──► answer, whole or as it comes (stream)

A client that goes away cancels its handler (the runner is told to), which aborts its generation.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn
from weakref import WeakSet

from aiohttp import web

from . import answers, text
from .answers import ChatShape, CompletionShape, Shape, Stamp
from .asked import Asked, ask
from .batch import Sequence
from .engine import Engine, Generation
from .faults import Switchboard
from .protocol import (
    Chat,
    Completion,
    Embedding,
    Generate,
    Refused,
    Tokenize,
    bad,
    conversation,
    parse,
    sized,
)
from .settings import Settings
from .stream import Stream

VERSION = "0.32.0"  # of the vLLM that it imitates; tests/contract/recordings are that one's
MAX_BODY_BYTES = 64 * 2**20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The handlers of one simulated engine."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        switchboard: Switchboard,
        crash: Callable[[], None],
        started: float,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._switchboard = switchboard
        self._crash = crash
        self._started = started  # seconds since 1970
        self._in_flight = 0
        self._served: WeakSet[asyncio.Transport] = WeakSet()  # connections that answered before
        self.idle = asyncio.Event()  # set while no request is in flight
        self.idle.set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._answer])
        route = app.router
        for path in ("/health", "/ping"):
            route.add_get(path, self._health, allow_head=False)
        route.add_post("/ping", self._health)
        route.add_get("/load", self._load, allow_head=False)
        route.add_get("/version", self._version, allow_head=False)
        route.add_get("/metrics", self._metrics, allow_head=False)
        route.add_get("/v1/models", self._models, allow_head=False)
        route.add_post("/tokenize", self._tokenize)
        if self._settings.pooling:
            route.add_post("/v1/embeddings", self._embeddings)
        else:
            route.add_post("/v1/chat/completions", self._chat)
            route.add_post("/v1/completions", self._completions)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count what is in flight, and put refusals into vLLM's shapes."""
        self._in_flight += 1
        self.idle.clear()
        try:
            return await handler(request)
        except Refused as refused:
            return _json(refused.body(), refused.status)
        except web.HTTPNotFound:
            return _json(b'{"detail":"Not Found"}', 404)
        except web.HTTPMethodNotAllowed as error:
            response = _json(b'{"detail":"Method Not Allowed"}', 405)
            response.headers["allow"] = ", ".join(sorted(error.allowed_methods))
            return response
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _load(self, request: web.Request) -> web.Response:
        return _json(b'{"server_load":%d}' % len(self._engine.batch))

    async def _version(self, request: web.Request) -> web.Response:
        return _json(b'{"version":"%s"}' % VERSION.encode())

    async def _metrics(self, request: web.Request) -> web.Response:
        page = self._engine.metrics.page(self._settings.names[0], self._engine.batch, self._started)
        return web.Response(text=page, content_type="text/plain", charset="utf-8")

    async def _models(self, request: web.Request) -> web.Response:
        settings = self._settings
        return _json(
            answers.models(
                settings.names, settings.model, settings.max_model_len, int(self._started)
            )
        )

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = parse(Tokenize, request.content_type, await request.read())
        self._known(body.model)
        prompt = body.prompt if body.messages is None else conversation(body.messages)
        if prompt is None:
            raise bad("Either prompt or messages must be provided.", "prompt")
        return _json(
            answers.tokens(prompt, self._settings.max_model_len, bool(body.return_token_strs))
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = parse(Chat, request.content_type, await request.read())
        self._known(body.model)
        prompt = body.prompt()
        return await self._generate(request, ChatShape(), body, [(prompt, text.count(prompt))])

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = parse(Completion, request.content_type, await request.read())
        self._known(body.model)
        return await self._generate(request, CompletionShape(), body, body.prompts())

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = parse(Embedding, request.content_type, await request.read())
        self._known(body.model)
        inputs = sized(body.input)
        for _, length in inputs:
            if length > self._settings.max_model_len:
                raise bad(f"The input of {length} tokens is longer than the model's context.")
        joined = "\n".join(prompt for prompt, _ in inputs)
        await self._fail(request, joined)
        stamp = self._stamp(request, await request.read(), "embd", body.model)
        sequences = tuple(Sequence(length, 1) for _, length in inputs)
        reasons = ("stop",) * len(inputs)
        async with self._generation(joined, sequences, reasons, 1) as (generation, progress):
            while not generation.finished:
                await progress.wait()
                progress.clear()
        vectors = [text.embedding(prompt, self._settings.embedding_size) for prompt, _ in inputs]
        total = sum(length for _, length in inputs)
        as_base64 = body.encoding_format == "base64"
        return _json(answers.embeddings(stamp, vectors, total, as_base64), headers=stamp.headers())

    async def _generate(
        self, request: web.Request, shape: Shape, body: Generate, prompts: list[tuple[str, int]]
    ) -> web.StreamResponse:
        asked = ask(shape, body, prompts, self._settings)
        await self._fail(request, asked.prompt)
        stamp = self._stamp(request, await request.read(), shape.prefix, body.model)
        sequences = tuple(choice.sequence() for choice in asked.choices)
        reasons = tuple(choice.reply.finish_reason for choice in asked.choices)
        async with self._generation(asked.prompt, sequences, reasons, asked.max_tokens) as (
            generation,
            progress,
        ):
            if body.stream:
                return await self._stream(request, asked, stamp, generation, progress)
            while not generation.finished:
                await progress.wait()
                progress.clear()
                await self._break(request, generation)
        return _json(asked.whole(stamp), headers=stamp.headers())

    async def _stream(
        self,
        request: web.Request,
        asked: Asked,
        stamp: Stamp,
        generation: Generation,
        progress: asyncio.Event,
    ) -> web.StreamResponse:
        """Send each token when it is there; those that come while one is written, together."""
        response = web.StreamResponse(headers=stamp.headers())
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        response.enable_chunked_encoding()
        stream = Stream(asked, stamp)
        await progress.wait()  # vLLM says nothing, not even the status, before the first token
        await response.prepare(request)
        for event in stream.opening():
            await response.write(event)
        while not stream.complete:
            await progress.wait()
            progress.clear()
            await self._break(request, generation)
            for event in stream.news([s.generated for s in generation.sequences]):
                await response.write(event)
        await response.write(stream.closing())
        await response.write_eof()
        return response

    @asynccontextmanager
    async def _generation(
        self,
        prompt: str,
        sequences: tuple[Sequence, ...],
        finish_reasons: tuple[str, ...],
        max_tokens: int,
    ) -> AsyncIterator[tuple[Generation, asyncio.Event]]:
        """A generation, aborted when its handler ends early, and the event of its progress."""
        progress = asyncio.Event()
        try:
            generation = self._engine.submit(
                prompt, sequences, finish_reasons, max_tokens, progress.set
            )
        except ValueError as error:
            raise bad(str(error)) from None
        try:
            yield generation, progress
        finally:
            self._engine.abort(generation)

    def _known(self, model: str | None) -> None:
        names = self._settings.names
        if model is None or model in names:
            return
        message = f"The model `{model}` does not exist."
        if self._settings.pooling:
            raise Refused(404, "NotFoundError", message)
        aliases = ", ".join(names)
        raise Refused(404, "NotFoundError", f"{message} Valid aliases: {aliases}.", "model")

    def _stamp(self, request: web.Request, raw: bytes, prefix: str, model: str | None) -> Stamp:
        nonce = secrets.token_hex(8)
        request_id = request.headers.get("x-request-id", nonce)
        return Stamp(
            id=f"{prefix}-{request_id}",
            created=int(time.time()),
            model=model or self._settings.names[0],
            body_hash=answers.body_hash(raw),
            headers_hash=answers.headers_hash(request.raw_headers),
            call=nonce,
            asked=answers.asked_hash(raw),
            caller=answers.caller_hash(request.raw_headers),
        )

    async def _fail(self, request: web.Request, prompt: str) -> None:
        """Do what the faults say of a request that comes in."""
        switchboard = self._switchboard
        if switchboard.now.crash and switchboard.now.hits((prompt,)):
            self._crash()
        transport = request.transport
        if transport is not None:
            if transport in self._served and switchboard.drops(prompt):
                await _hang_up(transport)
            self._served.add(transport)
        if switchboard.closes(prompt):
            request.protocol.close()  # once the answer is out
        if switchboard.errs(prompt):
            self._engine.metrics.finished["error"] += 1
            raise Refused(500, "InternalServerError", "injected by the simulator")

    async def _break(self, request: web.Request, generation: Generation) -> None:
        """Close the connection in the middle of an answer, if the faults say so."""
        faults = self._switchboard.now
        if faults.break_after_tokens is None or not faults.hits((generation.prompt,)):
            return
        if sum(s.generated for s in generation.sequences) < faults.break_after_tokens:
            return
        if request.transport is not None:
            await _hang_up(request.transport)


async def _hang_up(transport: asyncio.Transport) -> NoReturn:
    """Close a client's connection as a crash would; its loss cancels whoever waits here."""
    transport.abort()
    while True:
        await asyncio.Event().wait()


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
