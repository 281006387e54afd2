"""Every second pod's engine dies at start, until it is told to live.

An engine that is started with ``WRAPPER`` asks this program, which runs in a pod of its own,
whether it may: the first pod may, the second may not, and so on, and each is told the same when
it asks again.  ``/tmp/mercy`` ends that.
"""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

NAME = "turns"
PORT = 8080
MERCY = Path("/tmp/mercy")  # noqa: S108 - the pod's own

WRAPPER = f"""
import os, sys, urllib.request as web
me = os.environ["HOSTNAME"]
if web.urlopen(f"http://{NAME}:{PORT}/{{me}}", timeout=10).read() != b"live":
    sys.exit("it was not its turn to live")
os.execvp("batchfleet-worker", ["batchfleet-worker", "simulate", *sys.argv[1:]])
"""
"""A Python program for an engine's command; its arguments are the simulator's."""


def main() -> None:
    seen: dict[str, int] = {}

    async def turn(request: web.Request) -> web.Response:
        number = seen.setdefault(request.match_info["pod"], len(seen))
        lives = number % 2 == 0 or MERCY.exists()  # noqa: ASYNC240 - a file in memory
        return web.Response(text="live" if lives else "die")

    app = web.Application()
    app.router.add_get("/{pod}", turn)
    web.run_app(app, port=PORT, print=None)


if __name__ == "__main__":
    main()
