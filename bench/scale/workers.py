"""The program that stands for every worker pod: it answers ``/state`` and ``/metrics``, no more.

``python -m bench.scale.workers``: one process, since five thousand sidecars fit on no machine.
``/state`` is asked at each pod's own loopback address, as the operator does; ``/metrics/POD`` at
one port for all pods, where Prometheus is sent by its list of targets.  All pods run the settings
of one hash, told by ``PUT /hash``: before that none has an answer, like a sidecar that is not up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import time
from pathlib import Path
from typing import cast

import uvloop

from bench.scale.page import Page

ADMIN_PORT = 9090
ACCEPTED_AT_ONCE = 1024


class Workers:
    """What all connections share."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._begun = time.monotonic()
        self._state: bytes | None = None

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """The whole answer to a request."""
        if path.startswith("/metrics/"):
            pod = path.removeprefix("/metrics/")
            page = self._page.of(pod, time.monotonic() - self._begun)
            return _response(200, page, "text/plain; version=0.0.4")
        if path == "/hash" and method == "PUT":
            self._state = json.dumps(
                {
                    "settings": {"hash": body.decode(), "error": None},
                    "access": {"error": None},
                    "draining": False,
                    "inFlight": 0,
                }
            ).encode()
            return _response(200, b"")
        if path == "/state" and self._state is not None:
            return _response(200, self._state)
        return _response(404, b"")


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection whose requests come one after the other."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of it

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            request, *headers = self._received[:end].decode("latin-1").split("\r\n")
            length = next(
                (int(h.split(":")[1]) for h in headers if h.lower().startswith("content-length:")),
                0,
            )
            whole = end + 4 + length
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            method, path, _ = request.split(" ")
            self._transport.write(self._workers.answer(method, path, body))


def _response(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def serve(workers: Workers, port: int, addresses: list[str]) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()
    for address in addresses:
        listening = socket.create_server((address, ADMIN_PORT), backlog=8)
        await loop.create_server(lambda: Connection(workers), sock=listening)
    await loop.create_server(
        lambda: Connection(workers), "127.0.0.1", port, backlog=ACCEPTED_AT_ONCE
    )
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale.workers")
    parser.add_argument("--port", type=int, required=True, help="of /metrics/POD and /hash")
    parser.add_argument("--page", type=Path, required=True, help="a worker's metrics, see page.py")
    parser.add_argument("--addresses", type=Path, required=True, help="one pod's address a line")
    options = parser.parse_args()
    page = Page(options.page.read_text())
    addresses = options.addresses.read_text().split()
    uvloop.run(serve(Workers(page), options.port, addresses))


if __name__ == "__main__":
    main()
