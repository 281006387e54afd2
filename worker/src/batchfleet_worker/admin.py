"""The admin port: for the kubelet, Prometheus and the operator, never for clients.

/livez is about the sidecar alone.  /readyz is the pod's.  /engine/livez is what the engine
container's own probes ask.  /drain answers when the drain is over; the kubelet's preStop can only
GET, and does not read the answer.

A second data port, whose requests are answered here instead of by the pipeline: its reading and
writing is what all of ``tests/worker`` is about, and another HTTP server would be a third of the
process's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from batchfleet_worker.exchange import Headers, Request, ResponseHead, Result, Route, Sink, Told
from batchfleet_worker.intake import Intake
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.openai import Routes
from batchfleet_worker.relay import DataPort

_READ = {b"GET": Route.PASS, b"HEAD": Route.PASS}
PATHS = {
    **dict.fromkeys(("/livez", "/readyz", "/engine/livez", "/metrics", "/state"), _READ),
    "/drain": {b"GET": Route.PASS, b"POST": Route.PASS},
}

_MOST_BODY_BYTES = 64 * 1024  # of which nothing is read
_BUDGET_BYTES = 1024 * 1024  # of bodies at once; not the clients', who must not shut out a probe
_TEXT: Headers = ((b"content-type", b"text/plain; charset=utf-8"),)
_JSON: Headers = ((b"content-type", b"application/json; charset=utf-8"),)
_METRICS: Headers = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
_TOLD = Told(Result.DIRECT, 0.0, 0.0)


class Sidecar(Protocol):
    """What the admin port shows, and the one thing that it can do."""

    def unready(self) -> str:
        """Why the pod should get no requests; empty when it should."""

    def engine_ill(self) -> str:
        """Why the engine is not alive; empty while it is."""

    def metrics_text(self) -> str: ...

    def state(self) -> dict[str, Any]:
        """What the operator reads: settings' hash, readiness, requests in flight, the drain."""

    async def drained(self) -> None:
        """Begin to drain, and return when that is over."""


class Admin:
    """``offer`` is the port's."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._drains: set[asyncio.Task[None]] = set()  # those who wait for the end of one

    def offer(self, request: Request, sink: Sink) -> _Place:
        sidecar, path = self._sidecar, request.head.path
        if path == "/drain":
            task = asyncio.get_running_loop().create_task(self._drain(sink))
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)
        elif path == "/readyz":
            _judge(sink, sidecar.unready())
        elif path == "/engine/livez":
            _judge(sink, sidecar.engine_ill())
        elif path == "/metrics":
            _answer(sink, 200, _METRICS, sidecar.metrics_text().encode())
        elif path == "/state":
            _answer(sink, 200, _JSON, orjson.dumps(sidecar.state()))
        else:
            _judge(sink, "")
        return _PLACE

    async def _drain(self, sink: Sink) -> None:
        await self._sidecar.drained()
        _answer(sink, 200, _JSON, orjson.dumps(self._sidecar.state()))


class _Place:
    """The ticket of who asks: one who leaves changes nothing, not even a drain."""

    def leave(self) -> None: ...

    def drained(self) -> None: ...


_PLACE = _Place()


def port(
    sidecar: Sidecar,
    request_ids: Callable[[], str],
    max_header_bytes: int,
    now: Callable[[], float],
) -> DataPort:
    """Its clients are not counted in the sidecar's metrics; nobody has to say who they are."""
    intake = Intake(
        Routes(known=PATHS), request_ids, _MOST_BODY_BYTES, max_header_bytes, Budget(_BUDGET_BYTES)
    )
    return DataPort(Admin(sidecar).offer, intake, Metrics(), now)


def _judge(sink: Sink, reason: str) -> None:
    _answer(sink, 503 if reason else 200, _TEXT, f"{reason or 'ok'}\n".encode())


def _answer(sink: Sink, status: int, headers: Headers, body: bytes) -> None:
    sink.start(ResponseHead(status, headers, len(body)), _TOLD)
    sink.data(body)
    sink.end()
