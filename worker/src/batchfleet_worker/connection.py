"""One connection to the engine, and the one exchange at a time that it carries.

Everything that arrives in one read is parsed first and handed on afterwards: head, one piece of
body, end.  So a receiver that starts the next call from inside ``end`` can never be given the rest
of this read as its answer.  A connection is handed back for reuse only when nothing about it is in
doubt; otherwise it is closed, which also is what makes the engine abort a request.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from batchfleet_worker import http1
from batchfleet_worker.exchange import Lost, Receiver, Request, ResponseHead

HEAD_BYTES = 262144  # a response head beyond this is no head


class Home(Protocol):
    """Where a connection belongs: the pool."""

    authority: bytes  # host and port, for the Host header

    def made(self, connection: Connection) -> None: ...

    def put(self, connection: Connection) -> None:
        """It is ready for another call."""

    def forget(self, connection: Connection) -> None:
        """It is closed."""


class Call:
    """One request under way; see :class:`batchfleet_worker.exchange.Call`."""

    __slots__ = ("cancelled", "connection", "receiver", "request")

    def __init__(self, request: Request, receiver: Receiver) -> None:
        self.request = request
        self.receiver = receiver
        self.connection: Connection | None = None  # while the answer is under way
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.connection is not None:
            self.connection.abandon()

    def pause(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resume(self) -> None:
        if self.connection is not None:
            self.connection.resume()


class Connection(asyncio.Protocol):
    """One connection to the engine, and the parser of what it answers."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._call: Call | None = None
        self._pooled = False  # the call under way found this connection in the pool
        self._bodiless = False
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        self._answered = False  # a byte has arrived for this call
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head: ResponseHead | None = None  # parsed, not handed on yet
        self._head_read = False
        self._interim = False  # inside a 1xx
        self._until_close = False  # the body ends with the connection
        self._parts: list[bytes] = []  # parsed, not handed on yet
        self._complete = False
        self._reusable = False

    # --- for the pool and the call

    def start(self, call: Call, pooled: bool) -> None:
        self._call = call
        self._pooled = pooled
        call.connection = self
        request = call.request
        self._bodiless = request.method == b"HEAD"
        head = http1.write_request(request, self._home.authority)
        if request.body:
            self._transport.writelines(
                (head, request.body)
            )  # one write, without a copy of the body
        else:
            self._transport.write(head)

    def usable(self) -> bool:
        return not self._transport.is_closing()

    def abandon(self) -> None:
        """Nobody wants the answer any more; the closed connection tells the engine."""
        self._release()
        self._transport.abort()

    def hang_up(self) -> None:
        self._transport.abort()

    def pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._home.made(self)

    def data_received(self, data: bytes) -> None:
        if self._call is None:
            self._transport.abort()  # a byte outside an exchange: nobody's answer
            return
        self._answered = True
        try:
            if not self._head_read:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES:
                    raise httptools.HttpParserError("response head too large")
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._break()
        except httptools.HttpParserError as error:
            fault = error.__context__
            if fault is not None and not isinstance(fault, ValueError):
                raise  # ours, not the engine's: let it be seen
            if not self._complete:
                self._break()
        self._reusable = self._reusable and self._complete
        self._deliver()

    def connection_lost(self, exc: Exception | None) -> None:
        self._home.forget(self)
        call = self._release()
        if call is None:
            return
        if self._until_close and self._head_read and exc is None:
            call.receiver.end()
        elif self._pooled and not self._answered:
            call.receiver.lost(Lost.UNANSWERED)
        else:
            call.receiver.lost(Lost.BROKEN)

    # --- httptools

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False  # more than was asked for
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # after it: trailers, which end here
            self._raw.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._interim = True
            self._raw = []
            return
        self._head = http1.read_response_head(status, self._raw)
        self._head_read = True
        if self._bodiless:
            # The parser would take the next answer for this one's body: end here, never reuse.
            self._complete = True
        else:
            self._until_close = (
                self._head.length is None
                and status not in (204, 304)
                and not any(name == b"transfer-encoding" for name, _ in self._raw)
            )

    def on_body(self, data: bytes) -> None:
        if not self._complete:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()

    # --- handing on

    def _deliver(self) -> None:
        """Hand on what this read brought.  The receiver may cancel at any step."""
        call = self._call
        if call is None:
            return
        receiver = call.receiver
        if self._head is not None:
            head, self._head = self._head, None
            receiver.head(head)
        if self._parts and self._call is call:
            parts, self._parts = self._parts, []
            receiver.data(parts[0] if len(parts) == 1 else b"".join(parts))
        if self._complete and self._call is call:
            self._release()
            # An answer that came before all of the request was taken leaves the rest in the way.
            if self._reusable and self.usable() and not self._transport.get_write_buffer_size():
                self.resume()
                self._reset()
                self._home.put(self)
            else:
                self._transport.abort()
            receiver.end()

    def _break(self) -> None:
        call = self._release()
        self._transport.abort()
        if call is not None:
            call.receiver.lost(Lost.BROKEN)

    def _release(self) -> Call | None:
        call, self._call = self._call, None
        if call is not None:
            call.connection = None
        return call
