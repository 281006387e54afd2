"""From a client's bytes to complete requests, without a socket.

The reader holds the rules about how a message may come (sizes, framing); the connection (``relay``)
those about when.  However the bytes are cut into reads, the same requests come out.

A message whose head is known, or of the plain kind, is cut out by its length (``heads``); any other
goes through llhttp.  Both end in the same few methods (``messages``), where the rules are.
"""

from __future__ import annotations

from typing import Final

import httptools

from batchfleet_worker import errors, http1
from batchfleet_worker.exchange import Refusal
from batchfleet_worker.heads import Known
from batchfleet_worker.intake import Intake
from batchfleet_worker.messages import Messages
from batchfleet_worker.opening import Opening

PIPELINED: Final = 1024  # messages parsed and not served; SLICE_BYTES hold hardly more
SLICE_BYTES = (
    16384  # parsed at a time outside a body, or a read of tiny requests would be thousands
)


class RequestReader(Messages):
    """The parser of one connection."""

    def __init__(self, intake: Intake) -> None:
        super().__init__(intake)
        self.in_head = False
        self.in_tunnel = False  # what comes is no HTTP any more
        self.owes_continue = False  # the client waits for a 100 before it sends the body
        self._another = False  # message began within this read
        self._last_message = False  # said its client; llhttp minds what comes after it
        self._last: Known[Opening] | None = None
        self._generation = intake.generation
        self._missing_bytes = 0  # of a body that is cut out by its length
        self._parser = httptools.HttpRequestParser(self)
        self._reset()

    def _reset(self) -> None:
        self._opening = self._request_id = None
        self._own = b""
        self._body = []
        self._body_bytes = 0
        self._url = b""
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # parsed
        self._read_bytes = 0  # in reads that were nothing but head, or trailer, so far
        self._upgrade = False

    def feed(self, data: bytes) -> bytes:
        """Read one message, or as much of it as there is; gives back what was not looked at."""
        if self.deaf:
            return b""
        if self._missing_bytes:
            return self._fill(data)
        if self.in_tunnel and self._inflow is not None:
            self._inflow.take(data)
            return b""
        if not (self.in_head or self.in_body or self._last_message):
            rest = self._cut(data)
            if rest is not None:
                return rest
        self._parse(data[:SLICE_BYTES])
        return data[SLICE_BYTES:]

    # --- messages of the plain kind, cut out by their length

    def _cut(self, data: bytes) -> bytes | None:
        """What follows the message; None: it has to be parsed."""
        intake = self._intake
        generation = intake.access.generation
        if generation != self._generation:
            intake.callers_changed(generation)
            self._generation, self._last = generation, None
        found = intake.heads.find(data, self._last)
        if found is None:
            return None
        self._last, body_at, length, sent_id, own = found
        if length > intake.max_body_bytes or len(self.asked) >= PIPELINED:
            return None  # there the error is made
        opening = self._last.meaning
        request_id = sent_id.decode() if sent_id else None
        end = body_at + length
        if len(data) < end:
            self._reset()
            self._opening, self._request_id, self._own = opening, request_id, own
            self._missing_bytes, self.in_body = length, True
            rest = self._fill(data[body_at:])
            if length > intake.held_body_bytes and not self.deaf:
                self._begin(opening, length)
            return rest
        try:
            if length:
                self._charge(length)
        except http1.Refused as refused:
            self._opening, self._request_id = opening, request_id
            self.reject(refused.refusal)
            return b""
        self._ask(opening, data[body_at:end], request_id, own, opening.manner)
        return data[end:]

    def _fill(self, data: bytes) -> bytes:
        """More of a body that is cut out; gives what follows it."""
        piece = data[: self._missing_bytes]
        self._missing_bytes -= len(piece)
        self.in_body = self._missing_bytes > 0
        if self._inflow is not None:
            self._inflow.take(piece)
            if not self.in_body:
                self._end()
            return data[len(piece) :]
        try:
            self._charge(len(piece))
        except http1.Refused as refused:
            self.reject(refused.refusal)
            return b""
        self._body.append(piece)
        opening = self._opening
        if not self.in_body and opening is not None:
            body = b"".join(self._body)
            self._ask(opening, body, self._request_id, self._own, opening.manner)
            self._reset()
        return data[len(piece) :]

    # --- all others, parsed by llhttp

    def _parse(self, data: bytes) -> None:
        began_in_head, began_in_body, self._another = self.in_head, self.in_body, False
        had_bytes = self._body_bytes
        other_protocol: int | None = None  # where it begins
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            other_protocol = upgrade.args[0]
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, http1.Refused):
                self.reject(error.__context__.refusal)
            elif isinstance(error, httptools.HttpParserCallbackError):
                raise  # ours, not the client's: let it be seen
            else:
                self.reject(errors.bad_request(f"Malformed HTTP: {error}."))
        if self.deaf:
            return
        if other_protocol is not None:
            self._switch(data[other_protocol:])
        elif self.in_head and began_in_head and not self._another:
            self._count_read(len(data))
        elif self.in_body:
            if began_in_body and self._body_bytes == had_bytes:
                self._count_read(len(data))
            else:
                self._read_bytes = 0
            if self._inflow is None and not self.deaf:
                self._consider_passing_on()

    def _count_read(self, n_bytes: int) -> None:
        """Of a read that brought nothing: llhttp may be holding one endless header, or trailer."""
        self._read_bytes += n_bytes
        if self._read_bytes > self._intake.max_header_bytes:
            self.reject(errors.HEADERS_TOO_LARGE)

    def _switch(self, rest: bytes) -> None:
        """The head that was read offers another protocol."""
        if self._opening is None:
            self._decline_upgrade(rest)
            return
        self.in_tunnel = self.in_body = True
        self._body = [rest]
        self._request_id, self._own = self._opening.request_id, self._opening.own
        self._begin(self._opening, None)

    def _consider_passing_on(self) -> None:
        opening = self._opening
        if opening is None or isinstance(opening.judged, Refusal):
            return
        if max(opening.length, self._body_bytes) > self._intake.held_body_bytes:
            self._begin(opening, None if opening.chunked else opening.length)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1, as if the client had not offered another protocol.

        The parser has stopped after the head and would skip the body, which would then be read as
        the next request: a fresh one is given the same head without the offer.
        """
        parser, url, raw = self._parser, self._url, self._raw
        spoken = parser.get_http_version().encode()
        self._reset()
        self._parser = httptools.HttpRequestParser(self)
        head = [parser.get_method(), b" ", url, b" HTTP/", spoken, b"\r\n"]
        for name, value in raw:
            if name != b"upgrade":
                head += (name, b": ", value, b"\r\n")
        self._parse(b"".join((*head, b"\r\n", rest)))

    def on_message_begin(self) -> None:
        if len(self.asked) >= PIPELINED:
            raise http1.Refused(
                errors.bad_request(f"More than {PIPELINED} requests were sent ahead.")
            )
        self._reset()
        self.in_head = self._another = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        if self.in_head:  # after it: trailers, which end here
            name = name.lower()
            self._raw.append((name, value))
            if name == b"upgrade":
                self._upgrade = True

    def _count_head(self, n_bytes: int) -> None:
        self._head_bytes += n_bytes
        if self._head_bytes > self._intake.max_header_bytes:
            raise http1.Refused(errors.HEADERS_TOO_LARGE)

    def on_headers_complete(self) -> None:
        parser = self._parser
        self.in_head = False
        if parser.get_method() == b"CONNECT":
            raise http1.Refused(errors.method_not_allowed("CONNECT", "GET, POST"))
        intake = self._intake
        if self._upgrade and parser.should_upgrade():
            self._opening = intake.opener.tunnel(parser.get_method(), self._url, self._raw)
            return  # without a tunnel: the head will come again, without the offer
        self.in_body = True
        self._opening = opening = intake.opener.open(
            parser.get_method(),
            self._url,
            self._raw,
            http10=parser.get_http_version() == "1.0",
            keep_alive=parser.should_keep_alive(),
        )
        self._request_id, self._own = opening.request_id, opening.own
        if opening.length > intake.max_body_bytes:
            raise http1.Refused(errors.body_too_large(intake.max_body_bytes))
        if opening.expects_continue:
            if isinstance(opening.judged, Refusal):
                raise http1.Refused(opening.judged)
            self.owes_continue = True

    def on_body(self, data: bytes) -> None:
        opening, intake = self._opening, self._intake
        self.owes_continue = False  # it did not wait
        self._body_bytes += len(data)
        if self._body_bytes > intake.max_body_bytes:
            raise http1.Refused(errors.body_too_large(intake.max_body_bytes))
        if self._inflow is not None:
            self._inflow.take(data)
        elif opening is not None and not isinstance(opening.judged, Refusal):
            self._charge(len(data))
            self._body.append(data)

    def on_message_complete(self) -> None:
        opening = self._opening
        if opening is None or not self.in_body:
            return  # an upgrade: no body belongs to this head
        self.in_body = self.owes_continue = False
        if self._inflow is not None:
            self._end()
            self._opening = None
            return
        # A trailer may have ended the connection's life.
        manner = opening.manner.kept(self._parser.should_keep_alive())
        self._last_message = not manner.keep_alive
        self._ask(opening, b"".join(self._body), self._request_id, self._own, manner)
        self._opening = None
