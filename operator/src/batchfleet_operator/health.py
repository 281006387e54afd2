"""Two small HTTP servers: is this process alive, and what has it counted.

Alive is a heartbeat of what does the work, kopf's watches and our loops, and not the age of the
last event: nothing ever happens in an empty cluster or on a standby, and both are healthy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

STARTED_SECONDS = 60.0
"""Time for the watches to come up, and for a dead one to bring kopf down by itself."""

LOOK_MOST_SECONDS = 300.0
"""A look is a few calls of 30 s at most each; one that takes this long hangs."""


class Heartbeat:
    """What the liveness probe asks; times are the event loop's."""

    def __init__(self, longest_look_seconds: Callable[[], float]) -> None:
        self.phase = "starting"
        self._longest_look_seconds = longest_look_seconds
        self._watches = 0
        self._leading_since: float | None = None

    def leads(self, watches: int) -> None:
        """From now on, so many watches should run."""
        self.phase = "leading"
        self._watches = watches
        self._leading_since = asyncio.get_running_loop().time()

    def ailment(self) -> str | None:
        """What is wrong with this process that only a restart heals."""
        look = self._longest_look_seconds()
        if look > LOOK_MOST_SECONDS:
            return f"a look at a service has been going on for {look:.0f} s"
        now = asyncio.get_running_loop().time()
        if self._leading_since is None or now < self._leading_since + STARTED_SECONDS:
            return None
        running = running_watches()
        if running < self._watches:
            return f"{running} of {self._watches} watches are running"
        return None


def running_watches() -> int:
    """kopf's watches, by the names that it gives to their tasks."""
    return sum(task.get_name().startswith("watcher for ") for task in asyncio.all_tasks())


@asynccontextmanager
async def serve(
    heartbeat: Heartbeat, metrics_text: Callable[[], bytes], health_port: int, metrics_port: int
) -> AsyncIterator[None]:
    """``/healthz`` and ``/metrics``, for the time of the block."""

    async def healthz(_: web.Request) -> web.Response:
        ailment = heartbeat.ailment()
        if ailment:
            return web.Response(status=503, text=f"{ailment}\n")
        return web.Response(text=f"{heartbeat.phase}\n")

    async def metrics(_: web.Request) -> web.Response:
        # A thousand services are a page of megabytes; lease and health do not wait for it.
        body = await asyncio.to_thread(metrics_text)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    runners = []
    try:
        for path, handler, port in (
            ("/healthz", healthz, health_port),
            ("/metrics", metrics, metrics_port),
        ):
            app = web.Application()
            app.router.add_get(path, handler)
            runner = web.AppRunner(app, access_log=None)
            runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, port=port).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
