"""The admin port: for the kubelet, Prometheus and the operator, never for clients.

/livez is about the sidecar alone.  /readyz is the pod's.  /engine/livez is what the engine
container's own probes ask.  /drain answers when the drain is over; the kubelet's preStop can only
GET, and does not read the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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


def application(sidecar: Sidecar) -> web.Application:
    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    def verdict(ask: Callable[[], str]) -> Callable[[web.Request], Any]:
        async def answer(_: web.Request) -> web.Response:
            reason = ask()
            return web.Response(status=503 if reason else 200, text=(reason or "ok") + "\n")

        return answer

    async def metrics(_: web.Request) -> web.Response:
        body = sidecar.metrics_text().encode()
        return web.Response(body=body, headers={"content-type": METRICS_TYPE})

    async def state(_: web.Request) -> web.Response:
        return web.json_response(sidecar.state())

    async def drain(_: web.Request) -> web.Response:
        await sidecar.drained()
        return web.json_response(sidecar.state())

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", verdict(sidecar.unready))
    app.router.add_get("/engine/livez", verdict(sidecar.engine_ill))
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/state", state)
    app.router.add_get("/drain", drain, allow_head=False)
    app.router.add_post("/drain", drain)
    return app
