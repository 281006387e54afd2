"""What the engine has still to be sent of a body that is too large to hold; see ``inflow``."""

from __future__ import annotations

import asyncio

from batchfleet_worker import http1
from batchfleet_worker.exchange import Rest


class Outflow:
    """The :class:`batchfleet_worker.exchange.Outlet` of one connection to the engine."""

    __slots__ = ("_chunked", "_full", "_transport", "rest")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.rest: Rest | None = None  # None: the engine has all that it was told to expect
        self._chunked = False
        self._full = False  # the transport takes no more for now

    def begin(self, rest: Rest, tunnel: bool) -> None:
        """Behind a head and the beginning of a body, which have been written."""
        self.rest = rest
        self._chunked = rest.length is None and not tunnel
        rest.pump(self)
        if self._full and self.rest is not None:
            rest.pause()

    def drop(self) -> None:
        """The exchange is over."""
        self.rest = None

    def write(self, chunk: bytes) -> None:
        if self.rest is not None and not self._transport.is_closing():
            self._transport.write(http1.chunk(chunk) if self._chunked else chunk)

    def finish(self) -> None:
        rest, self.rest = self.rest, None
        if rest is not None and self._chunked and not self._transport.is_closing():
            self._transport.write(http1.LAST_CHUNK)

    def pause(self) -> None:
        self._full = True
        if self.rest is not None:
            self.rest.pause()

    def resume(self) -> None:
        self._full = False
        if self.rest is not None:
            self.rest.resume()
