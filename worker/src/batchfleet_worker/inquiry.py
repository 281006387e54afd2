"""Questions of our own to the engine: the prober's and the warm-up's, a few in a second.

Over a pool of the same kind as the clients' requests go (``upstream``), but not the same one: a
question that is refused must not wake the prober that asked it.  Unlike there, whoever asks awaits.

    Prober, warm_up ──get, post──► Inquirer ──Request, Receiver──► Pool ──► engine
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson

from batchfleet_worker.exchange import Head, Headers, Lost, Request, ResponseHead, Route
from batchfleet_worker.upstream import Pool

MOST_BYTES = 64 * 1024 * 1024  # of an answer; an engine's metrics page has hundreds of KB
_ID = "sidecar"  # as x-request-id, in the engine's log
_READ: Headers = ((b"accept", b"*/*"), (b"user-agent", b"batchfleet-worker"))
_JSON: Headers = (*_READ, (b"content-type", b"application/json"))


class InquiryError(Exception):
    """There is no answer; the text says why."""


class RefusedError(InquiryError):
    """The engine does not accept connections."""


class Reply(NamedTuple):
    """A whole answer, whatever its status."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Raises ``ValueError``."""
        return orjson.loads(self.body)


class _Waiting:
    """The :class:`batchfleet_worker.exchange.Receiver` of one question."""

    def __init__(self, over: asyncio.Future[Reply | Lost]) -> None:
        self._over = over
        self._status = 0
        self._parts: list[bytes] = []
        self._bytes = 0

    def head(self, head: ResponseHead) -> None:
        self._status = head.status

    def data(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > MOST_BYTES:
            self._parts = []
            self._tell(Lost.BROKEN)
        else:
            self._parts.append(chunk)

    def end(self) -> None:
        self._tell(Reply(self._status, b"".join(self._parts)))

    def lost(self, why: Lost) -> None:
        self._tell(why)

    def _tell(self, outcome: Reply | Lost) -> None:
        if not self._over.done():
            self._over.set_result(outcome)


class Inquirer:
    """Asks through ``pool``, which it alone uses.

    Both questions raise :class:`InquiryError`, and ``TimeoutError`` after so many seconds.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, path: str, seconds: float) -> Reply:
        return await self._ask(b"GET", path, _READ, b"", seconds)

    async def post(self, path: str, fields: dict[str, Any], seconds: float) -> Reply:
        return await self._ask(b"POST", path, _JSON, orjson.dumps(fields), seconds)

    def close(self) -> None:
        self._pool.close()

    async def _ask(
        self, method: bytes, path: str, headers: Headers, body: bytes, seconds: float
    ) -> Reply:
        head = Head(method, path, path.encode(), headers, Route.PASS)
        request = Request(head, body, _ID)
        async with asyncio.timeout(seconds):
            outcome = await self._once(request)
            if outcome is Lost.UNANSWERED:  # the engine closed a kept connection meanwhile
                outcome = await self._once(request)
        if outcome is Lost.REFUSED:
            raise RefusedError("the engine does not accept connections")
        if isinstance(outcome, Lost):
            raise InquiryError(f"the engine's answer to {path} was not complete")
        return outcome

    async def _once(self, request: Request) -> Reply | Lost:
        over: asyncio.Future[Reply | Lost] = asyncio.get_running_loop().create_future()
        call = self._pool.send(request, _Waiting(over))
        try:
            return await over
        finally:
            call.cancel()  # has no effect after the end of an answer
