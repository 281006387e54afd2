"""From a client's bytes to complete requests, without a socket.

The reader holds the rules about what may be asked (allow-list, sizes, framing); the connection
(``relay``) those about when.  However the bytes are cut into reads, the same requests come out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import httptools

from batchfleet_worker import errors, http1
from batchfleet_worker.exchange import Refusal, Request, Route
from batchfleet_worker.openai import Routes

PIPELINED = 1024  # messages parsed and not served; the connection feeds little enough at a time


class Asked(NamedTuple):
    """One message of a client, and what of it the answer must know."""

    what: Request | Refusal
    request_id: str
    keep_alive: bool  # the client's wish; draining may overrule it
    http10: bool
    bodiless: bool  # HEAD
    allow: bytes = b""  # the Allow header of a 405


class Intake:
    """What all readers of one data port share: the rules, and one budget for all bodies."""

    def __init__(
        self,
        routes: Routes,
        request_ids: Callable[[], str],
        max_body_bytes: int,
        max_header_bytes: int,
    ) -> None:
        """``request_ids`` makes one for a request that brings none."""
        self.routes = routes
        self.request_ids = request_ids
        self.max_body_bytes = max_body_bytes
        self.max_header_bytes = max_header_bytes
        self.budget_bytes = 8 * max_body_bytes  # left for bodies that are held, of all clients


class RequestReader:
    """The parser of one connection.  Complete messages are appended to ``asked``, in order."""

    def __init__(self, intake: Intake) -> None:
        self.asked: deque[Asked] = deque()
        self.deaf = False  # after an error nothing more is parsed
        self._intake = intake
        self._parser = httptools.HttpRequestParser(self)
        self._charged_bytes = 0  # of the intake's budget
        self._reset()

    def _reset(self) -> None:
        self.in_head = False
        self.in_body = False
        self.owes_continue = False  # the client waits for a 100 before it sends the body
        self._url = b""
        self._raw: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # parsed
        self._read_bytes = 0  # in reads that were nothing but head
        self._head: http1.RequestHead | None = None
        self._target = http1.Target("", b"")
        self._route: Route | None = None
        self._http10 = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wrong: Refusal | None = None  # answered once the request has been read
        self._allow = b""
        self._upgrade = False

    def feed(self, data: bytes) -> None:
        if self.deaf:
            return
        began_in_head = self.in_head
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, http1.Refused):
                self.reject(error.__context__.refusal)
            elif isinstance(error, httptools.HttpParserCallbackError):
                raise  # ours, not the client's: let it be seen
            else:
                self.reject(errors.bad_request(f"Malformed HTTP: {error}."))
        else:
            if began_in_head and self.in_head:  # llhttp may be holding one endless header
                self._read_bytes += len(data)
                if self._read_bytes > self._intake.max_header_bytes:
                    self.reject(errors.HEADERS_TOO_LARGE)

    def reject(self, refusal: Refusal) -> None:
        """Answer with an error when it is this message's turn, and parse nothing after it."""
        self.deaf = True
        head = self._head
        request_id = (head and head.request_id) or self._intake.request_ids()
        self.asked.append(Asked(refusal, request_id, False, self._http10, False, self._allow))

    def settle(self) -> None:
        """Nothing that was read is needed any more, but for a request that is half read."""
        if not self.asked and not self.in_body:
            self.close()

    def close(self) -> None:
        self._intake.budget_bytes += self._charged_bytes
        self._charged_bytes = 0

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as if the client had not offered another protocol.

        The parser has stopped after the head and would skip the body, which would then be read as
        the next request: a fresh one is given the same head without the offer.
        """
        method, url, raw = self._parser.get_method(), self._url, self._raw
        if method == b"CONNECT":
            self.reject(errors.method_not_allowed("CONNECT", "GET, POST"))
            return
        self._reset()
        self._parser = httptools.HttpRequestParser(self)
        head = [method, b" ", url, b" HTTP/1.1\r\n"]
        for name, value in raw:
            if name != b"upgrade":
                head += (name, b": ", value, b"\r\n")
        self.feed(b"".join((*head, b"\r\n", rest)))

    # --- httptools

    def on_message_begin(self) -> None:
        if len(self.asked) >= PIPELINED:
            raise http1.Refused(
                errors.bad_request(f"More than {PIPELINED} requests were sent ahead.")
            )
        self._reset()
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head_bytes += len(url)
        if self._head_bytes > self._intake.max_header_bytes:
            raise http1.Refused(errors.HEADERS_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._intake.max_header_bytes:
            raise http1.Refused(errors.HEADERS_TOO_LARGE)
        if self.in_head:  # after it: trailers, which end here
            name = name.lower()
            self._raw.append((name, value))
            if name == b"upgrade":
                self._upgrade = True

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self._upgrade and self._parser.should_upgrade():
            return  # the head will come again, without the offer
        self.in_body = True
        intake = self._intake
        self._http10 = self._parser.get_http_version() == "1.0"
        self._head = head = http1.read_request_head(self._raw, self._http10)
        self._target = target = http1.read_target(self._url)
        method = self._parser.get_method()
        self._route = intake.routes.route(method, target.path)
        if self._route is None:
            self._allow = b", ".join(intake.routes.allowed(target.path))
            self._wrong = (
                errors.method_not_allowed(method.decode(), self._allow.decode())
                if self._allow
                else errors.not_found(target.path)
            )
        if head.length > intake.max_body_bytes:
            raise http1.Refused(errors.body_too_large(intake.max_body_bytes))
        if head.expects_continue:
            if self._wrong is not None:
                raise http1.Refused(self._wrong)
            self.owes_continue = True

    def on_body(self, data: bytes) -> None:
        intake = self._intake
        self.owes_continue = False  # it did not wait
        self._body_bytes += len(data)
        if self._body_bytes > intake.max_body_bytes:
            raise http1.Refused(errors.body_too_large(intake.max_body_bytes))
        if self._wrong is None:
            self._charged_bytes += len(data)
            intake.budget_bytes -= len(data)
            if intake.budget_bytes < 0:
                raise http1.Refused(errors.OVERLOADED)
            self._body.append(data)

    def on_message_complete(self) -> None:
        head, route = self._head, self._route
        if head is None:
            return  # an upgrade: the head will come again
        self.in_body = self.owes_continue = False
        method = self._parser.get_method()
        request_id = head.request_id or self._intake.request_ids()
        what: Request | Refusal
        if self._wrong is not None or route is None:
            what = self._wrong or errors.not_found(self._target.path)
        else:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            path, target = self._target
            what = Request(method, path, target, head.headers, body, route, request_id)
        self._head = None
        keep_alive = self._parser.should_keep_alive()
        bodiless = method == b"HEAD"
        self.asked.append(Asked(what, request_id, keep_alive, self._http10, bodiless, self._allow))
