"""A Prometheus that lies: it passes questions on to the real one, and spoils the answers.

Runs in a pod, in the worker image.  ``/tmp/mode`` says how: ``honest``; ``nan``, every number is
NaN; ``empty``, nothing is known; ``old``, every number is of an hour ago, as a cache has it;
``broken``, status 500 in Prometheus' own words.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

NAME = "unsteady"
PORT = 9090
MODE = Path("/tmp/mode")  # noqa: S108 - the pod's own

HOUR_SECONDS = 3600

Answer = tuple[int, bytes]


def spoil(answer: Answer, mode: str) -> Answer:
    """The answer to a query as the mode would have it."""
    if mode == "broken":
        told = {"status": "error", "errorType": "internal", "error": "e2e: broken on purpose"}
        return 500, json.dumps(told).encode()
    document: dict[str, Any] = json.loads(answer[1])
    found = document.get("data", {}).get("result")
    if not isinstance(found, list):
        return answer
    if mode == "empty":
        found.clear()
    for sample in (series["value"] for series in found if "value" in series):
        if mode == "nan":
            sample[1] = "NaN"
        elif mode == "old":
            sample[0] -= HOUR_SECONDS
    return answer[0], json.dumps(document).encode()


def application(real: str) -> web.Application:
    """``real``: address of the true Prometheus."""

    async def ask(request: web.Request) -> Answer:
        body = await request.read()
        kept = {"Content-Type": request.headers.get("Content-Type", "")} if body else {}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, real + str(request.rel_url), data=body or None, headers=kept
            ) as answer,
        ):
            return answer.status, await answer.read()

    async def relay(request: web.Request) -> web.Response:
        mode = MODE.read_text().strip()  # noqa: ASYNC240 - a few bytes in memory
        status, text = spoil(await ask(request), mode)
        return web.Response(status=status, body=text, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", relay)
    return app


def main() -> None:
    MODE.write_text("honest")
    web.run_app(application(sys.argv[1]), port=PORT, print=None)


if __name__ == "__main__":
    main()
