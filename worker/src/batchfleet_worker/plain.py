"""Heads of the plain kind, parsed by llhttp: those after which nothing can surprise.

Their body is as long as they announce, the connection is kept, and nothing about them asks for a
switch of protocol or a word in between.  Anything else is None here, errors included: it is parsed
again where it can be answered (``reader``, ``connection``).
"""

from __future__ import annotations

from dataclasses import replace

import httptools

from batchfleet_worker import http1
from batchfleet_worker.exchange import Refusal, ResponseHead
from batchfleet_worker.heads import Filling
from batchfleet_worker.opening import Opener, Opening

_SURPRISES = frozenset({b"expect", b"transfer-encoding", b"upgrade"})
_NO_BODY = (204, 304)


class _Seen:
    """What llhttp tells of one head."""

    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | httptools.HttpResponseParser
        self.url = b""
        self.raw: list[tuple[bytes, bytes]] = []
        self.keep_alive = False
        self.heads = 0
        self.more = False  # than this one head

    def read(self, head: bytes) -> bool:
        """Whether ``head`` is one head, to its last byte."""
        try:
            self.parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        return self.heads == 1 and not self.more and self.keep_alive

    def on_message_begin(self) -> None:
        self.more = self.heads > 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1
        # llhttp forgets it with the end of the message.
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self.more = True


class PlainRequests:
    """The ``judge`` of a client's heads."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener

    def __call__(self, head: bytes, filling: Filling) -> Opening | None:
        seen = _Seen()
        seen.parser = parser = httptools.HttpRequestParser(seen)
        if not seen.read(head):
            return None
        if not _SURPRISES.isdisjoint(name for name, _ in seen.raw):
            return None
        try:
            opening = self._opener.open(
                parser.get_method(),
                seen.url,
                seen.raw,
                http10=parser.get_http_version() == "1.0",
                keep_alive=True,
            )
        except http1.Refused:
            return None
        found = Filling(opening.length, (opening.request_id or "").encode(), opening.own)
        if isinstance(opening.judged, Refusal) or found != filling:
            return None
        return replace(opening, length=0, request_id=None, own=b"")  # each message has its own


def plain_response(head: bytes, filling: Filling) -> ResponseHead | None:
    """The ``judge`` of an engine's heads."""
    seen = _Seen()
    seen.parser = parser = httptools.HttpResponseParser(seen)
    if not seen.read(head) or not _SURPRISES.isdisjoint(name for name, _ in seen.raw):
        return None
    status = parser.get_status_code()
    if status < 200 or status in _NO_BODY:
        return None
    said = http1.read_response_head(status, seen.raw)
    if said.length is None or said.length != filling.length:
        return None
    said.wire = http1.response_wire(said)
    return said
