"""What one client is written: the head, the body in the right framing, or an error.

The head is held until the first bytes of the body: one system call instead of two, and an engine
that fails in between is still told with a proper status.

An answer that broke must never look whole.  A stream of events gets an error event and then ends
without its last chunk; anything else just ends short of what was announced; where neither framing
can say so (HTTP/1.0, until close) the connection is reset.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from batchfleet_worker import openai
from batchfleet_worker.exchange import Refusal, ResponseHead, Told
from batchfleet_worker.http1 import STATUS_LINES
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.reader import Asked


class Connection(Protocol):
    """What an answer needs of the connection that it is written to."""

    transport: asyncio.Transport
    writing_stopped: bool  # the socket takes no more for now

    def may_stay(self) -> bool:
        """Whether the connection may outlive this answer; False while draining."""

    def answered(self, keep_alive: bool) -> None: ...

    def reset(self) -> None:
        """End without any sign of a proper end."""


class Answer:
    """The :class:`batchfleet_worker.exchange.Sink` of one request."""

    __slots__ = (
        "_asked",
        "_chunked",
        "_connection",
        "_events",
        "_head",
        "_keep_alive",
        "_metrics",
        "_status",
        "_transport",
        "_until_close",
    )

    def __init__(self, asked: Asked, connection: Connection, metrics: Metrics) -> None:
        self._asked = asked
        self._connection: Connection | None = connection  # None: over, or the client left
        self._transport = connection.transport
        self._metrics = metrics
        self._keep_alive = asked.keep_alive
        self._status = 0
        self._head = b""  # rendered, not written yet
        self._chunked = False
        self._until_close = False
        self._events = False

    def start(self, head: ResponseHead, told: Told) -> None:
        connection = self._connection
        if connection is None:
            return
        asked = self._asked
        status = head.status
        self._status = status
        self._keep_alive = self._keep_alive and connection.may_stay()
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status]
        for name, value in head.headers:
            lines += (name, b": ", value, b"\r\n")
            if name == b"content-type" and value.startswith(b"text/event-stream"):
                self._events = True
        lines.append(
            b"x-request-id: %b\r\nx-batchfleet-result: %b\r\n"
            b"server-timing: queue;dur=%.1f, engine;dur=%.1f\r\n"
            % (
                asked.request_id.encode(),
                told.result.encode(),
                told.queue_seconds * 1000,
                told.engine_seconds * 1000,
            )
        )
        if head.length is not None and status != 204:
            lines.append(b"content-length: %d\r\n" % head.length)
        elif asked.bodiless or status in (204, 304):
            pass
        elif asked.http10:
            self._until_close = True
            self._keep_alive = False
        else:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(self._connection_header())
        self._head = b"".join(lines)

    def data(self, chunk: bytes) -> None:
        if self._connection is None or self._asked.bodiless or not chunk:
            return
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if self._head:
            chunk = self._take_head() + chunk
        self._transport.write(chunk)

    def end(self) -> None:
        if self._connection is None:
            return
        last = self._take_head()
        if self._chunked:
            last += b"0\r\n\r\n"
        if last:
            self._transport.write(last)
        self._finish(self._keep_alive)

    def refuse(self, refusal: Refusal) -> None:
        connection = self._connection
        if connection is None:
            return
        if self._head or not self._status:  # nothing has been written
            self._keep_alive = self._asked.keep_alive and connection.may_stay()
            self._metrics.response(refusal.status)
            self._transport.write(self._error_response(refusal))
            self._finish(self._keep_alive)
            return
        if self._events:
            # But no last chunk: the client sees that this was not all.
            self.data(openai.error_event(refusal))
        if self._until_close:
            self._connection = None
            connection.reset()
        else:
            self._finish(keep_alive=False)

    def backlog(self) -> int:
        connection = self._connection
        if connection is None or not connection.writing_stopped:
            return 0
        return self._transport.get_write_buffer_size()

    def forsaken(self) -> None:
        """The client is gone: nothing more is written."""
        self._connection = None

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        if head:
            self._metrics.response(self._status)
        return head

    def _finish(self, keep_alive: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.answered(keep_alive)

    def _error_response(self, refusal: Refusal) -> bytes:
        asked = self._asked
        body = openai.error_body(refusal)
        lines = [
            STATUS_LINES[refusal.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % asked.request_id.encode(),
        ]
        if refusal.retry_after_seconds is not None:
            lines.append(b"retry-after: %d\r\n" % refusal.retry_after_seconds)
        if asked.allow:
            lines.append(b"allow: %b\r\n" % asked.allow)
        lines.append(self._connection_header())
        if not asked.bodiless:
            lines.append(body)
        return b"".join(lines)

    def _connection_header(self) -> bytes:
        """The last line of the head, and the blank one after it."""
        if not self._keep_alive:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if self._asked.http10 else b"\r\n"
