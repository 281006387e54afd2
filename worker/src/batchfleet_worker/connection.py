"""One connection to the engine, and the one exchange at a time that it carries.

An answer whose head is known, or of the plain kind, is cut out by its length (``heads``); any other
goes through llhttp.  Either way everything that arrives in one read is looked at first and handed
on afterwards: head, one piece of body, end.  So a receiver that starts the next call from inside
``end`` can never be given the rest of this read as its answer.  A connection is handed back for
reuse only when nothing about it is in doubt; otherwise it is closed, which also is what makes the
engine abort a request.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from batchfleet_worker import http1
from batchfleet_worker.exchange import Lost, Receiver, Request, ResponseHead, Route
from batchfleet_worker.heads import Heads, Known
from batchfleet_worker.outflow import Outflow

HEAD_BYTES = 262144  # a response head beyond this is no head


class Home(Protocol):
    """Where a connection belongs: the pool."""

    authority: bytes  # host and port, for the Host header
    heads: Heads[ResponseHead]

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
        self._last: Known[ResponseHead] | None = None
        self._call: Call | None = None
        self._pooled = False  # the call under way found this connection in the pool
        self._bodiless = False
        self._paused = False
        self._answered = False  # a byte has arrived for this call
        self._missing_bytes = 0  # of a body that is cut out by its length
        self._reset()

    def _reset(self) -> None:
        """Of what llhttp found."""
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head: ResponseHead | None = None  # parsed, not handed on yet
        self._head_read = False
        self._interim = False  # inside a 1xx
        self._until_close = False  # the body ends with the connection
        self._parts: list[bytes] = []  # parsed, not handed on yet
        self._tunnel = False  # the engine has agreed: no HTTP from here on
        self._complete = False
        self._reusable = False

    # --- for the pool and the call

    def start(self, call: Call, pooled: bool) -> None:
        self._call = call
        self._pooled = pooled
        self._answered = False
        call.connection = self
        request = call.request
        self._bodiless = request.head.method == b"HEAD"
        self._transport.write(http1.write_request(request, self._home.authority))
        if request.rest is not None:
            self._outflow.begin(request.rest, request.head.route is Route.TUNNEL)

    def pause_writing(self) -> None:
        self._outflow.pause()

    def resume_writing(self) -> None:
        self._outflow.resume()

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
        self._outflow = Outflow(self._transport)
        self._home.made(self)

    def data_received(self, data: bytes) -> None:
        if self._call is None:
            self._transport.abort()  # a byte outside an exchange: nobody's answer
            return
        if self._missing_bytes:
            self._fill(data)
            return
        if self._tunnel:
            self._call.receiver.data(data)
            return
        if not self._answered:
            self._answered = True
            if self._cut(data):
                return
        try:
            if not self._head_read:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES:
                    raise httptools.HttpParserError("response head too large")
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switched(data[upgrade.args[0] :])
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

    # --- answers of the plain kind, cut out by their length

    def _cut(self, data: bytes) -> bool:
        """Whether this was the beginning of such an answer, or all of it."""
        call = self._call
        if call is None or self._bodiless:
            return False
        found = self._home.heads.find(data, self._last)
        if found is None:
            return False
        known, body_at, length, _, _ = found
        have = len(data) - body_at
        if have > length:
            return False  # more than was asked for
        self._last = known
        shared = known.meaning
        head = ResponseHead(shared.status, shared.headers, length)
        head.wire = shared.wire
        self._missing_bytes = length - have
        receiver = call.receiver
        receiver.head(head)
        if have and self._call is call:
            receiver.data(data[body_at:])
        if have == length and self._call is call:
            self._end(call, reusable=True)
        return True

    def _fill(self, data: bytes) -> None:
        """More of a body that is cut out."""
        call, extra = self._call, len(data) - self._missing_bytes
        if call is None:
            return
        self._missing_bytes = max(0, -extra)
        call.receiver.data(data[: len(data) - extra] if extra > 0 else data)
        if not self._missing_bytes and self._call is call:
            self._end(call, reusable=extra == 0)

    # --- all others, parsed by llhttp

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False  # more than was asked for
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # after it: trailers, which end here
            self._raw.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        call = self._call
        tunnel = call is not None and call.request.head.route is Route.TUNNEL
        if status == 101 and tunnel and self._parser.should_upgrade():
            self._tunnel = self._head_read = self._until_close = True
            self._head = http1.read_response_head(status, self._raw)
            return
        if status < 100:
            raise ValueError("no status")  # llhttp would find a body in it
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
        if self._tunnel:
            return  # and never is
        if self._interim:
            self._interim = False
        elif not self._complete:
            self._complete = True
            self._reusable = self._parser.should_keep_alive()

    def _switched(self, rest: bytes) -> None:
        """The head says that another protocol follows."""
        if not self._tunnel:
            self._break()
        elif rest:
            self._parts.append(rest)

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
            reusable = self._reusable
            self._reset()
            self._end(call, reusable)

    def _end(self, call: Call, reusable: bool) -> None:
        """The answer is whole."""
        self._call = call.connection = None
        # An answer that came before all of the request was taken leaves the rest in the way.
        transport = self._transport
        if (
            reusable
            and self._outflow.rest is None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        ):
            if self._paused:
                self.resume()
            self._home.put(self)
        else:
            transport.abort()
        call.receiver.end()

    def _break(self) -> None:
        call = self._release()
        self._transport.abort()
        if call is not None:
            call.receiver.lost(Lost.BROKEN)

    def _release(self) -> Call | None:
        call, self._call = self._call, None
        self._outflow.drop()
        if call is not None:
            call.connection = None
        return call
