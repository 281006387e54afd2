"""The rest of a body that is too large to hold: on its way from a client to the engine.

    client's connection ──feed──► RequestReader ──take──► Inflow ──write──► engine's connection
                        ◄─────────────── flow ───────────┘

Nothing is kept here.  Until the engine's connection pumps, and whenever it takes no more, the
client's bytes stay unparsed with its connection, which soon stops reading.
"""

from __future__ import annotations

from collections.abc import Callable

from batchfleet_worker.exchange import Outlet


class Inflow:
    """See :class:`batchfleet_worker.exchange.Rest`."""

    __slots__ = ("_into", "_more", "complete", "flowing", "length")

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.flowing = False  # the engine takes what comes
        self.complete = False
        self._into: Outlet | None = None
        self._more: Callable[[], None] | None = None

    # --- the engine's side

    def pump(self, into: Outlet) -> None:
        self._into = into
        if self.complete:
            into.finish()
        else:
            self.resume()

    def pause(self) -> None:
        self.flowing = False

    def resume(self) -> None:
        self.flowing = self._into is not None
        if self.flowing and self._more is not None:
            self._more()

    # --- the client's side

    def attach(self, more: Callable[[], None]) -> None:
        """``more`` is called when the engine takes what comes (again)."""
        self._more = more

    def drop(self) -> None:
        """The answer is over: nobody takes anything any more."""
        self._into = self._more = None
        self.flowing = False

    def take(self, data: bytes) -> None:
        if self._into is not None and data:
            self._into.write(data)

    def finish(self) -> None:
        self.complete = True
        if self._into is not None:
            self._into.finish()
