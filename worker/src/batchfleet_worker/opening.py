"""What the head of a request comes to: a head for the pipeline, or the error that answers it.

Here are the rules about *what* may be asked (allow-list, who asks, our own headers).  A head is
judged once, however often it comes (``heads``); the body that follows never changes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from batchfleet_worker import errors, http1
from batchfleet_worker.exchange import ANYBODY, Caller, Head, Headers, Refusal, Route
from batchfleet_worker.openai import Routes

_OURS = b"x-batchfleet-"  # headers of our own, known or not, end here
_MERGE = _OURS + b"merge"
_PRIORITY = _OURS + b"priority"
_TIMEOUT = _OURS + b"timeout-ms"
_INTEGER = re.compile(rb"\s*([+-]?[0-9]{1,9})\s*")
LOWEST_PRIORITY = -1000
HIGHEST_PRIORITY = 1000


class Access(Protocol):
    """Tells callers apart; see ``access``."""

    reads: frozenset[bytes]
    stops: frozenset[bytes]

    @property
    def generation(self) -> int: ...

    def identify(self, headers: Headers) -> Caller | Refusal: ...


class Everybody:
    """For tests and tools: all are the same caller."""

    reads: frozenset[bytes] = frozenset()
    stops: frozenset[bytes] = frozenset()
    generation = 0

    def identify(self, headers: Headers) -> Caller | Refusal:
        return ANYBODY


class Manner:
    """How a message wants to be answered, apart from what the answer is."""

    __slots__ = ("allow", "bodiless", "http10", "keep_alive")

    def __init__(
        self, keep_alive: bool, http10: bool = False, bodiless: bool = False, allow: bytes = b""
    ) -> None:
        self.keep_alive = keep_alive  # the client's wish; draining may overrule it
        self.http10 = http10
        self.bodiless = bodiless  # HEAD
        self.allow = allow  # the Allow header of a 405

    def kept(self, keep_alive: bool) -> Manner:
        """The same, with another wish."""
        return Manner(keep_alive, self.http10, self.bodiless, self.allow)


@dataclass(frozen=True, slots=True)
class Opening:
    """A message's head, judged."""

    judged: Head | Refusal  # the refusal answers it, once the body has been read and dropped
    length: int  # of the body, as announced; 0 for a chunked one
    chunked: bool
    expects_continue: bool
    request_id: str | None  # the client's own
    own: bytes  # see ``Request.own``
    manner: Manner


class Opener:
    """The rules.  ``open`` depends on nothing but what it is given, until ``access.generation``
    grows."""

    def __init__(self, routes: Routes, access: Access) -> None:
        self.access = access
        self.own = http1.TRACE_HEADERS - access.reads
        self._routes = routes

    def open(
        self,
        method: bytes,
        url: bytes,
        raw: Iterable[tuple[bytes, bytes]],
        *,
        http10: bool,
        keep_alive: bool,
    ) -> Opening:
        """Raises :class:`http1.Refused` for what two servers could read differently."""
        said = http1.read_request_head(raw, http10, self.own)
        path, target = http1.read_target(url)
        route = self._routes.route(method, path)
        allow = b""
        judged: Head | Refusal
        if route is Route.TUNNEL:
            judged = errors.NOT_A_TUNNEL
        elif route is not None:
            judged = self._judge(method, path, target, said.headers, route)
        elif allowed := self._routes.allowed(path):
            allow = b", ".join(allowed)
            judged = errors.method_not_allowed(method.decode(), allow.decode())
        else:
            judged = errors.not_found(path)
        return Opening(
            judged,
            said.length,
            said.chunked,
            said.expects_continue,
            said.request_id,
            said.own,
            Manner(keep_alive, http10, method == b"HEAD", allow),
        )

    def tunnel(
        self, method: bytes, url: bytes, raw: Iterable[tuple[bytes, bytes]]
    ) -> Opening | None:
        """For a head that offers another protocol; None: the offer is declined.

        Raises :class:`http1.Refused`.
        """
        said = http1.read_request_head(raw, False, self.own)
        path, target = http1.read_target(url)
        offers = [value.strip().lower() for name, value in raw if name == b"upgrade"]
        if self._routes.route(method, path) is not Route.TUNNEL or offers != [b"websocket"]:
            return None
        if said.length or said.chunked:
            raise http1.Refused(errors.bad_request("A request for a WebSocket has no body."))
        judged = self._judge(method, path, target, said.headers, Route.TUNNEL)
        if isinstance(judged, Refusal):
            raise http1.Refused(judged)
        return Opening(judged, 0, False, False, said.request_id, said.own, Manner(keep_alive=False))

    def _judge(
        self, method: bytes, path: str, target: bytes, headers: Headers, route: Route
    ) -> Head | Refusal:
        caller = self.access.identify(headers)
        if isinstance(caller, Refusal):
            return caller
        stops = self.access.stops
        kept: list[tuple[bytes, bytes]] = []
        priority, timeout_seconds, opted_out = 0, None, False
        for pair in headers:
            name, value = pair
            if not name.startswith(_OURS):
                if name not in stops:
                    kept.append(pair)
            elif name == _MERGE:
                opted_out = caller.may_opt_out and value.strip().lower() == b"off"
            elif name == _PRIORITY:
                said = _INTEGER.fullmatch(value)
                if said is None:
                    return errors.INVALID_PRIORITY
                priority = min(max(int(said[1]), LOWEST_PRIORITY), HIGHEST_PRIORITY)
            elif name == _TIMEOUT:
                said = _INTEGER.fullmatch(value)
                if said is None or int(said[1]) <= 0:
                    return errors.INVALID_TIMEOUT
                timeout_seconds = int(said[1]) / 1000
        return Head(
            method,
            path,
            target,
            tuple(kept),
            route,
            caller,
            priority=min(priority, caller.max_priority),
            timeout_seconds=timeout_seconds,
            opted_out=opted_out,
        )
