"""What one client is written: the head, the body in the right framing, or an error.

The head is held until the first bytes of the body: one system call instead of two, and an engine
that fails in between is still told with a proper status.

An answer that broke must never look whole.  A stream of events gets an error event and then ends
without its last chunk; anything else just ends short of what was announced; where neither framing
can say so (HTTP/1.0, until close) the connection is reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchfleet_worker import errors, openai
from batchfleet_worker.exchange import Refusal, ResponseHead, Result, Told
from batchfleet_worker.http1 import LAST_CHUNK, STATUS_LINES, response_wire
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.opening import Manner

if TYPE_CHECKING:
    from batchfleet_worker.client import Client

_NO_BODY = (204, 304)
_DIRECT: Final = Result.DIRECT
_CLASSES: Final = ("1xx", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx", "5xx", "5xx")
_JOINED_BYTES: Final = 65536  # up to this much is copied behind its head, for one write


class Answer:
    """The :class:`batchfleet_worker.exchange.Sink` of one request."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_head",
        "_keep_alive",
        "_manner",
        "_metrics",
        "_request_id",
        "_response",
        "_until_close",
    )

    def __init__(
        self, connection: Client, request_id: str, manner: Manner, metrics: Metrics
    ) -> None:
        self._connection: Client | None = connection  # None: over, or the client left
        self._request_id = request_id
        self._manner = manner
        self._metrics = metrics
        self._response: ResponseHead | None = None  # what the answer began with
        self._head = b""  # rendered, not written yet
        self._keep_alive = False
        self._chunked = False
        self._until_close = False

    def start(self, head: ResponseHead, told: Told) -> None:
        connection = self._connection
        if connection is None:
            return
        self._response = head
        manner = self._manner
        keep_alive = manner.keep_alive and connection.may_stay()
        status, length = head.status, head.length
        framing = b""
        if status == 101:
            self._until_close = True
            keep_alive = False
            framing = b"connection: upgrade\r\nupgrade: websocket\r\n"
        elif length is not None and status != 204:
            framing = b"content-length: %d\r\n" % length
        elif manner.bodiless or status in _NO_BODY:
            pass
        elif manner.http10:
            self._until_close = True
            keep_alive = False
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        self._keep_alive = keep_alive
        plain = keep_alive and not manner.http10
        wire = head.wire
        if wire is None:
            wire = head.wire = response_wire(head)
        result = told.result
        queue, engine = _tenths(told.queue_seconds), _tenths(told.engine_seconds)
        # Bytes and whole numbers only: compiled code puts those together by itself.
        self._head = (
            b"%bx-request-id: %b\r\nx-batchfleet-result: %b\r\n"
            b"server-timing: queue;dur=%d.%d, engine;dur=%d.%d\r\n%b%b"
        ) % (
            wire,
            self._request_id.encode(),
            b"direct" if result is _DIRECT else result.encode(),
            queue // 10,
            queue % 10,
            engine // 10,
            engine % 10,
            framing,
            # The last line of the head, and the blank one after it.
            b"\r\n" if plain or status == 101 else self._connection_header(),
        )
        if status == 101:  # the client speaks next
            connection.transport.write(self._take_head())

    def data(self, chunk: bytes) -> None:
        connection = self._connection
        if connection is None or self._manner.bodiless or not chunk:
            return
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        head = self._head
        if head:
            self._take_head()
            if len(chunk) > _JOINED_BYTES:
                connection.transport.writelines((head, chunk))
                return
            chunk = head + chunk
        connection.transport.write(chunk)

    def end(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if self._head or self._chunked:
            last = self._take_head()
            connection.transport.write(last + LAST_CHUNK if self._chunked else last)
        self._connection = None
        connection.answered(self._keep_alive)

    def refuse(self, refusal: Refusal) -> None:
        connection = self._connection
        if connection is None:
            return
        begun = self._response
        if begun is None or self._head:  # nothing has been written
            # An engine that stalls will again: the client's next request finds another pod if it
            # comes on a new connection, and on this one it would wait here once more.
            gives_up = refusal is errors.TIMEOUT
            self._keep_alive = self._manner.keep_alive and not gives_up and connection.may_stay()
            _count(self._metrics, refusal.status)
            connection.transport.write(self._error_response(refusal))
            self._connection = None
            connection.answered(self._keep_alive)
            return
        if _is_events(begun):
            # But no last chunk: the client sees that this was not all.
            self.data(openai.error_event(refusal))
        self._connection = None
        if self._until_close:
            connection.reset()
        else:
            connection.answered(keep_alive=False)

    def backlog(self) -> int:
        connection = self._connection
        if connection is None or not connection.writing_stopped:
            return 0
        return connection.transport.get_write_buffer_size()

    def forsaken(self) -> None:
        """The client is gone: nothing more is written."""
        self._connection = None

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        if head and self._response is not None:
            _count(self._metrics, self._response.status)
        return head

    def _error_response(self, refusal: Refusal) -> bytes:
        manner = self._manner
        body = openai.error_body(refusal)
        lines = [
            STATUS_LINES[refusal.status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % self._request_id.encode(),
        ]
        if refusal.retry_after_seconds is not None:
            lines.append(b"retry-after: %d\r\n" % refusal.retry_after_seconds)
        reason = errors.reason_of(refusal)
        if reason is not None:
            lines.append(b"x-batchfleet-reason: %b\r\n" % reason.encode())
        if manner.allow:
            lines.append(b"allow: %b\r\n" % manner.allow)
        lines.append(self._connection_header())
        if not manner.bodiless:
            lines.append(body)
        return b"".join(lines)

    def _connection_header(self) -> bytes:
        if not self._keep_alive:
            return b"connection: close\r\n\r\n"
        return b"connection: keep-alive\r\n\r\n" if self._manner.http10 else b"\r\n"


def _count(metrics: Metrics, status: int) -> None:
    """Once per response head written to a client."""
    metrics.responses_total[_CLASSES[status // 100]] += 1


def _tenths(seconds: float) -> int:
    """Of a millisecond; a clock that went back is none."""
    return int(max(0.0, seconds) * 10000 + 0.5)


def _is_events(head: ResponseHead) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in head.headers
    )
