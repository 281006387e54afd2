"""Sidecars that say what a test has them say, at the loopback addresses of simulated pods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from aiohttp import web

ADMIN_PORT = 9090


class Sidecars:
    """Answer ``/state`` for the time of a ``with`` block; :meth:`says` may change any time."""

    def __init__(self) -> None:
        self.asked = 0
        self._hashes: dict[str, str | None] = {}
        self._access_errors: dict[str, str | None] = {}
        self._in_flight: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        app = web.Application()
        app.router.add_get("/state", self._state)
        self._runner = web.AppRunner(app, access_log=None)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._runner.setup())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def says(
        self, addresses: Iterable[str], settings_hash: str | None, access_error: str | None = None
    ) -> None:
        """From now on these pods run the settings of that hash, and have their keys or not."""
        for address in addresses:
            if address not in self._hashes:
                self._do(web.TCPSite(self._runner, address, ADMIN_PORT).start())
            self._hashes[address] = settings_hash
            self._access_errors[address] = access_error

    def serves(self, address: str, in_flight: int) -> None:
        """From now on this pod, of which :meth:`says` has told, has so many requests."""
        self._in_flight[address] = in_flight

    async def _state(self, request: web.Request) -> web.Response:
        self.asked += 1
        address = request.host.split(":")[0]
        return web.json_response(
            {
                "settings": {"hash": self._hashes[address], "error": None},
                "access": {"error": self._access_errors[address]},
                "draining": False,
                "inFlight": self._in_flight.get(address, 0),
            }
        )

    def _do(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)  # type: ignore[arg-type]
