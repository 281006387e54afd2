"""The pipeline's surroundings in virtual time: a clock, an engine that does as told, clients.

They check the seam's rules (``exchange``) on every call, so that each test also tests those.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from batchfleet_worker.exchange import (
    ANYBODY,
    Caller,
    Head,
    Headers,
    Lost,
    Receiver,
    Refusal,
    Request,
    ResponseHead,
    Result,
    Route,
    Ticket,
    Told,
)
from batchfleet_worker.key import MergeKeys
from batchfleet_worker.live import BatchingSettings, LiveSettings, Merging, MergingSettings
from batchfleet_worker.meaning import EnginePriority
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.pipeline import Bounds, Pipeline
from batchfleet_worker.salt import Salts


class VirtualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """Moves only by ``advance``; timers ring in order, each at its own time."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._ids = count()

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None], /) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._ids), timer))
        return timer

    def advance(self, seconds: float) -> None:
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            if timer.callback is not None:
                timer.callback()
        self._now = end


@dataclass(eq=False)
class EngineCall:
    """One call at the engine; every chunk of its answer carries the call's own number."""

    number: int
    request: Request
    receiver: Receiver
    answered: bool = False
    status: int = 0
    done: bool = False
    cancelled: bool = False
    paused: bool = False
    sent: list[bytes] = field(default_factory=list)
    tokens: int = 0
    texts: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return not (self.done or self.cancelled)

    def cancel(self) -> None:
        assert not self.done, "cancelled after its end"
        self.cancelled = True

    def pause(self) -> None:
        assert self.live
        assert not self.paused
        self.paused = True

    def resume(self) -> None:
        assert self.live
        assert self.paused
        self.paused = False

    @property
    def streams(self) -> bool:
        return b'"stream":true' in self.request.body

    def head(self, status: int = 200) -> None:
        assert self.live
        self.answered = True
        self.status = status
        kind = b"text/event-stream" if self.streams and status == 200 else b"application/json"
        headers = ((b"x-call", b"%d" % self.number), (b"content-type", kind))
        self.receiver.head(ResponseHead(status, headers))

    def data(self, text: bytes | None = None) -> None:
        assert self.live
        chunk = b"<%d.%d>" % (self.number, len(self.sent)) if text is None else text
        self.sent.append(chunk)
        self.receiver.data(chunk)

    def token(self, text: str | None = None, finish_reason: str | None = None) -> None:
        """One event of a stream, as vLLM writes it; its text carries the call's number too."""
        text = f"<{self.number}.{self.tokens}>" if text is None else text
        self.tokens += 1
        self.texts.append(text)
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
        self.data(self._event(choices=[choice]))

    def done_streaming(self) -> None:
        """The last events, the token count among them if it was asked for, and the end."""
        assert self.live
        self.token("", "stop")
        if self.live and b'"include_usage":true' in self.request.body:
            usage = {
                "prompt_tokens": 3,
                "total_tokens": 3 + self.tokens,
                "completion_tokens": self.tokens,
            }
            self.data(self._event(choices=[], usage=usage))
        if self.live:
            self.data(b"data: [DONE]\n\n")
        if self.live:
            self.end()

    def body(self, text: str = "whole") -> bytes:
        """An answer that is no stream."""
        usage = {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2}
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}
        self.texts.append(text)
        return orjson.dumps(self._fields(choices=[choice], usage=usage))

    def whole(self, text: str = "whole") -> None:
        """All of it at once."""
        self.head()
        self.data(self.body(text))
        self.end()

    def _event(self, **fields: object) -> bytes:
        return b"data: " + orjson.dumps(self._fields(**fields)) + b"\n\n"

    def _fields(self, **fields: object) -> dict[str, object]:
        about = {"object": "text_completion", "created": 1, "model": "m"}
        return {"id": f"cmpl-{self.number:08}", **about, **fields}

    def end(self) -> None:
        assert self.live
        self.done = True
        self.receiver.end()

    def lost(self, why: Lost) -> None:
        assert self.live
        self.done = True
        self.receiver.lost(why)

    def answer(self, status: int = 200, chunks: int = 1) -> None:
        """The whole answer, as far as anybody still wants it."""
        self.head(status)
        for _ in range(chunks):
            if self.live:
                self.data()
        if self.live:
            self.end()


class Engine:
    """``watch`` is told of every call as it arrives."""

    def __init__(self) -> None:
        self.calls: list[EngineCall] = []
        self.watch: Callable[[EngineCall], None] | None = None

    def send(self, request: Request, receiver: Receiver) -> EngineCall:
        call = EngineCall(len(self.calls), request, receiver)
        self.calls.append(call)
        if self.watch is not None:
            self.watch(call)
        return call

    @property
    def live(self) -> list[EngineCall]:
        return [call for call in self.calls if call.live]


@dataclass(eq=False)
class Client:
    """A sink that remembers, and fails the test when it is called out of turn."""

    request: Request
    asked: bytes = b""  # the body as it was offered; the pipeline may have it say more
    ticket: Ticket | None = None
    head: ResponseHead | None = None
    told: Told | None = None
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False
    refusal: Refusal | None = None
    left: bool = False
    unread: int = 0
    drained_due: bool = False
    when_done: Callable[[], None] | None = None

    @property
    def waiting(self) -> bool:
        return not (self.ended or self.refusal or self.left)

    @property
    def text(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[dict[str, Any]]:
        """A stream's, without the mark of its end."""
        lines = [line[6:] for line in self.text.split(b"\n\n") if line]
        assert all(b"\n" not in line for line in lines)
        return [orjson.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def whole(self) -> dict[str, Any]:
        fields = orjson.loads(self.text)
        assert isinstance(fields, dict)
        return fields

    @property
    def said(self) -> str:
        """The answer's text, in whatever form it came."""
        answers = self.events if self.text.startswith(b"data:") else [self.whole]
        return "".join(choice["text"] for each in answers for choice in each["choices"])

    @property
    def ids(self) -> set[str]:
        answers = self.events if self.text.startswith(b"data:") else [self.whole]
        return {each["id"] for each in answers}

    @property
    def cached(self) -> bool:
        return self.told is not None and self.told.result is Result.CACHED

    @property
    def status(self) -> int | None:
        return self.head.status if self.head else None

    @property
    def code(self) -> str | None:
        return self.refusal.code if self.refusal else None

    @property
    def joined(self) -> bool:
        return self.told is not None and self.told.result is Result.JOINED

    def start(self, head: ResponseHead, told: Told) -> None:
        assert self.waiting
        assert self.head is None
        assert told.queue_seconds >= 0
        assert told.engine_seconds >= 0
        self.head, self.told = head, told

    def data(self, chunk: bytes) -> None:
        assert self.waiting
        assert self.head is not None
        self.chunks.append(chunk)

    def end(self) -> None:
        assert self.waiting
        assert self.head is not None
        self.ended = True
        self._done()

    def refuse(self, refusal: Refusal) -> None:
        assert self.waiting
        self.refusal = refusal
        self._done()

    def backlog(self) -> int:
        self.drained_due = self.drained_due or self.unread > 0
        return self.unread

    def leave(self) -> None:
        assert self.ticket is not None
        self.left = self.waiting
        self.ticket.leave()

    def catch_up(self) -> None:
        assert self.ticket is not None
        self.unread = 0
        self.drained_due = False
        self.ticket.drained()

    def _done(self) -> None:
        if self.when_done is not None:
            self.when_done()


_REQUEST_IDS = count()


def chat(
    prompt: str = "hello",
    *,
    route: Route = Route.MERGE,
    extra: str = "",
    priority: int = 0,
    timeout_seconds: float | None = None,
    headers: Headers = (),
    caller: Caller = ANYBODY,
) -> Request:
    """A deterministic completion; ``extra`` is more JSON members, after a comma."""
    body = f'{{"model":"m","temperature":0,"prompt":"{prompt}"{extra}}}'.encode()
    head = Head(
        b"POST",
        "/v1/completions",
        b"/v1/completions",
        ((b"content-type", b"application/json"), *headers),
        route,
        caller,
        priority=priority,
        timeout_seconds=timeout_seconds,
    )
    return Request(head, body, f"r-{next(_REQUEST_IDS)}")


STREAM = ',"stream":true'
STREAM_WITH_USAGE = ',"stream":true,"stream_options":{"include_usage":true}'


def settings(
    limit: int | None = None,
    *,
    wait_ms: int = 0,
    queue: int = 1000,
    mode: Merging = Merging.ENFORCE,
    cache_seconds: int = 0,
) -> LiveSettings:
    return LiveSettings(
        batching=BatchingSettings(
            max_batch_size=limit, max_wait_milliseconds=wait_ms, max_queue_length=queue
        ),
        merging=MergingSettings(mode=mode, cache_ttl_seconds=cache_seconds),
    )


class World:
    """A pipeline with everything around it."""

    def __init__(
        self,
        live: LiveSettings | None = None,
        bounds: Bounds | None = None,
        budget: Budget | None = None,
        engine_priority: EnginePriority = EnginePriority.STRIP,
        salts: Salts | None = None,
    ) -> None:
        self.clock = VirtualClock()
        self.engine = Engine()
        self.metrics = Metrics.of("test")
        self.pipeline = Pipeline(
            self.engine.send,
            self.clock,
            self.metrics,
            MergeKeys(b"secret", max_body_bytes=10_000),
            live,
            bounds,
            budget,
            engine_priority,
            salts=salts,
        )

    def ask(self, request: Request | None = None) -> Client:
        request = request or chat()
        client = Client(request, request.body)
        client.ticket = self.pipeline.offer(client.request, client)
        return client

    @property
    def calls(self) -> list[EngineCall]:
        return self.engine.calls

    def empty(self) -> bool:
        pipeline = self.pipeline
        return not (pipeline.clients or pipeline.in_flight or pipeline.queued or self.engine.live)
