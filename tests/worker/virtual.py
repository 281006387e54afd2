"""The pipeline's surroundings in virtual time: a clock, an engine that does as told, clients.

They check the seam's rules (``exchange``) on every call, so that each test also tests those.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from batchfleet_worker.exchange import (
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
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.pipeline import Bounds, Pipeline


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
    done: bool = False
    cancelled: bool = False
    paused: bool = False
    sent: list[bytes] = field(default_factory=list)

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

    def head(self, status: int = 200) -> None:
        assert self.live
        self.answered = True
        headers = ((b"x-call", b"%d" % self.number),)
        self.receiver.head(ResponseHead(status, headers))

    def data(self, text: bytes | None = None) -> None:
        assert self.live
        chunk = b"<%d.%d>" % (self.number, len(self.sent)) if text is None else text
        self.sent.append(chunk)
        self.receiver.data(chunk)

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


def chat(prompt: str = "hello", *, route: Route = Route.MERGE, extra: str = "") -> Request:
    """A deterministic chat completion; ``extra`` is more JSON members, after a comma."""
    body = f'{{"model":"m","temperature":0,"prompt":"{prompt}"{extra}}}'.encode()
    return Request(
        method=b"POST",
        path="/v1/completions",
        target=b"/v1/completions",
        headers=((b"content-type", b"application/json"),),
        body=body,
        route=route,
        request_id="r",
    )


def settings(
    limit: int | None = None,
    *,
    wait_ms: int = 0,
    queue: int = 1000,
    mode: Merging = Merging.ENFORCE,
) -> LiveSettings:
    return LiveSettings(
        batching=BatchingSettings(
            max_batch_size=limit, max_wait_milliseconds=wait_ms, max_queue_length=queue
        ),
        merging=MergingSettings(mode=mode),
    )


class World:
    """A pipeline with everything around it."""

    def __init__(self, live: LiveSettings | None = None, bounds: Bounds | None = None) -> None:
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
        )

    def ask(self, request: Request | None = None) -> Client:
        client = Client(request or chat())
        client.ticket = self.pipeline.offer(client.request, client)
        return client

    @property
    def calls(self) -> list[EngineCall]:
        return self.engine.calls

    def empty(self) -> bool:
        pipeline = self.pipeline
        return not (pipeline.clients or pipeline.in_flight or pipeline.queued or self.engine.live)
