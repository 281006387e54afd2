"""An optional door for Alertmanager: a notification makes the operator look at once.

Nothing of what is posted is believed or even read: notifications come late, more than once and cut
short, and anybody could send one.  The operator asks Prometheus itself, as it would at the next
tick, so the most that a stranger can do here is to have it ask a little earlier.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

PATH = "/alerts"
BODY_MOST_BYTES = 1 << 20
"""A notification of a thousand alerts; it is thrown away unread."""


@asynccontextmanager
async def serve(soon: Callable[[], None], port: int | None) -> AsyncIterator[None]:
    """``POST /alerts`` calls ``soon``, for the time of the block; without a port, nothing listens.

    ``soon`` is called as often as somebody posts: it must not cost more for that.
    """
    if port is None:
        yield
        return

    async def alerts(_: web.Request) -> web.Response:
        soon()
        return web.Response(status=202, text="will look\n")

    app = web.Application(client_max_size=BODY_MOST_BYTES)
    app.router.add_post(PATH, alerts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
