"""Asks a Prometheus: the only importer of prometheus-api-client, and of ``requests``.

The library is synchronous, so every call runs in a thread; it keeps session, authorisation and
retries.  Its own query functions are not used: they drop an answer's type and warnings, give errors
as a repr of bytes, and read without bounds.  Here every answer is bounded in time and in size,
redirects are errors (credentials would follow them), and nothing of the process' environment
(proxies, netrc) takes part.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Executor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect

from batchfleet_operator.errors import NoAnswerError, PrometheusError
from batchfleet_operator.metering import credentials, wire
from batchfleet_operator.metering.answers import Alert, Answer
from batchfleet_operator.metering.credentials import Credentials

T = TypeVar("T")

CONNECT_SECONDS = 3.0
PATIENCE = 3.0
"""Times the allowed seconds, waiting for a thread included."""
CHUNK_BYTES = 1 << 16
OWN_MOST_BYTES = 128 << 20
"""A thousand services' snapshot takes 4 MB."""
THEIRS_MOST_BYTES = 4 << 20
"""A service's own Prometheus is asked about that service alone."""


class Server:
    """One address under one set of credentials.  Blocking; may be used by several threads."""

    def __init__(
        self,
        url: str,
        who: Credentials,
        *,
        timeout_seconds: float,
        max_age_seconds: float,
        most_bytes: int = OWN_MOST_BYTES,
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or url
        self._url = urlunsplit(parts._replace(query="", fragment="")).rstrip("/")
        self.timeout_seconds = timeout_seconds
        self._max_age_seconds = max_age_seconds
        self._most_bytes = most_bytes
        with contextlib.ExitStack() as stack:
            ca, certificate, key = stack.enter_context(
                credentials.as_files(who.ca, who.certificate, who.key)
            )
            session = requests.Session()
            session.trust_env = False
            session.verify = ca or True
            session.cert = (certificate, key) if certificate and key else None
            # Packed, a small answer could become a large one.
            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            if who.authorization is not None:
                headers["Authorization"] = who.authorization
            connection = PrometheusConnect(
                url=self._url,
                headers=headers,
                session=session,
                timeout=timeout_seconds,
                # Once more where nothing was sent; the next tick is the retry of all else.
                retry=urllib3.Retry(total=1, connect=1, read=0, status=0, other=0, redirect=0),
            )
            stack.callback(connection.close)
            self._headers, self._session = headers, session
            self._open = stack.pop_all()

    def query(self, promql: str, at: float | None = None) -> Answer:
        """An instant query.  Samples older than the allowed age do not count.

        ``at``: a moment that the server has told, in Unix time; ``None``: now.
        Raises :class:`PrometheusError`.
        """
        asked = {
            "query": promql,
            "timeout": f"{self.timeout_seconds:g}s",
            "lookback_delta": f"{self._max_age_seconds:g}s",
        }
        if at is not None:
            asked["time"] = f"{at:.3f}"
        body, now = self._fetch("POST", "/api/v1/query", data=asked)
        return wire.answer(body, now.timestamp() if at is None else at, self._max_age_seconds)

    def alerts(self, names: Collection[str]) -> list[Alert]:
        """The alert rules of these names.  Raises :class:`PrometheusError`."""
        params = [("type", "alert"), *(("rule_name[]", name) for name in sorted(names))]
        return wire.alerts(*self._fetch("GET", "/api/v1/rules", params=params))

    def close(self) -> None:
        self._open.close()

    def _fetch(self, method: str, path: str, **what: Any) -> tuple[bytes, datetime]:
        """The body, and the server's time."""
        deadline = time.monotonic() + self.timeout_seconds
        timeout = (min(CONNECT_SECONDS, self.timeout_seconds), self.timeout_seconds)
        try:
            with self._session.request(
                method,
                self._url + path,
                headers=self._headers,
                timeout=timeout,
                stream=True,
                allow_redirects=False,
                **what,
            ) as response:
                body = self._read(response, deadline)
                if response.status_code != 200:
                    raise wire.failure(response.status_code, body)
                return body, _date(response.headers.get("Date"))
        except PrometheusError as error:
            raise type(error)(f"{self.host}: {error}") from None
        # OSError: requests' own are, and so is what a certificate file that is none raises.
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise NoAnswerError(f"{self.host}: {self._reason(error)}") from None

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        """Its body: within the time for the whole call, and not too large."""
        body = bytearray()
        # What has come, not whole chunks: somebody may send a byte now and then.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self._most_bytes:
                raise NoAnswerError(f"its answer has more than {self._most_bytes >> 20} MiB")
            if time.monotonic() > deadline:
                raise NoAnswerError(f"no whole answer within {self.timeout_seconds:g} s")
        return bytes(body)

    def _reason(self, error: BaseException) -> str:
        """What went wrong, without the address: that may hold what is not for everybody's eyes."""
        link: BaseException | None = error
        while link is not None:
            if isinstance(link, ssl.SSLCertVerificationError):
                return f"TLS: {link.verify_message}"
            if isinstance(link, ssl.SSLError):
                return f"TLS: {link.reason or 'it failed'}"
            if isinstance(link, OSError) and link.strerror and link.errno:
                return link.strerror
            link = link.__cause__ or link.__context__
        if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
            return f"no answer within {self.timeout_seconds:g} s"
        return "no answer that could be read"


class Prometheus:
    """The same for coroutines, always with the credentials of now.  One session at a time."""

    def __init__(
        self,
        serve: Callable[[Credentials], Server],
        who: Callable[[], Awaitable[Credentials]],
        threads: Executor,
    ) -> None:
        self._serve = serve
        self._who = who
        self._threads = threads
        self._server: Server | None = None
        self._as: Credentials | None = None
        self._late: set[asyncio.Future[Any]] = set()

    async def query(self, promql: str, at: float | None = None) -> Answer:
        """Raises :class:`PrometheusError`."""
        return await self._call(lambda server: server.query(promql, at))

    async def alerts(self, names: Collection[str]) -> list[Alert]:
        """Raises :class:`PrometheusError`."""
        return await self._call(lambda server: server.alerts(names))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None

    async def _call(self, ask: Callable[[Server], T]) -> T:
        who = await self._who()
        if self._server is None or who != self._as:
            self.close()
            self._server, self._as = self._serve(who), who
        server = self._server
        if self._late:
            raise NoAnswerError(f"{server.host}: it still has not answered the last question")
        asked = asyncio.get_running_loop().run_in_executor(self._threads, ask, server)
        # A thread cannot be stopped; a server that knows how to hold one gets no second one.
        _, late = await asyncio.wait([asked], timeout=PATIENCE * server.timeout_seconds)
        if late:
            self._late.add(asked)
            asked.add_done_callback(self._answered_late)
            raise NoAnswerError(f"{server.host}: no answer within {server.timeout_seconds:g} s")
        return asked.result()

    def _answered_late(self, asked: asyncio.Future[Any]) -> None:
        self._late.discard(asked)
        asked.exception()


def _date(header: str | None) -> datetime:
    try:
        return parsedate_to_datetime(header or "")
    except ValueError:
        return datetime.now(UTC)
