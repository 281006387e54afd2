"""The words that the data port, the pipeline and the engine's side share.

One client's request becomes a :class:`Request`; the client that waits for it is a :class:`Sink`;
what the engine sends back arrives at a :class:`Receiver`; one upstream call that can be paused or
cancelled is a :class:`Call`.  Everything is a plain callback on one event loop: a task or a future
per request or per chunk would cost more than the whole hop may (docs/decisions).

    client ──► relay ──Request, Sink──► pipeline ──Request, Receiver──► upstream ──► engine
           ◄────────── start/data/end/refuse ◄──────── head/data/end/lost ◄────────
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

Headers = tuple[tuple[bytes, bytes], ...]
"""Name and value as they stood on the wire; names in lower case, hop-by-hop headers removed."""


class Route(StrEnum):
    """What may be done with a (method, path) of the allow-list."""

    MERGE = "merge"  # equal requests may share one engine call
    RELAY = "relay"  # passed on one by one, within the limit of requests in flight
    PASS = "pass"  # noqa: S105 - cheap reads (GET /v1/models): at once, outside limit and queue
    TUNNEL = "tunnel"  # a WebSocket: holds a slot until either side closes


class Result(StrEnum):
    """How an answer came about; the value of the ``x-batchfleet-result`` header."""

    DIRECT = "direct"  # this client's request reached the engine
    JOINED = "joined"  # an equal request's engine call was shared
    CACHED = "cached"  # an equal request had been answered before


class Caller(NamedTuple):
    """Who asks, as far as anything here depends on it."""

    tenant: str  # "" for all who show no credentials; never a metric label
    max_priority: int = 0  # what the client asks for is clamped to this
    may_opt_out: bool = True


ANYBODY = Caller("")


class Head:
    """What the head of a request says.

    Made once for all requests whose heads are equal to the byte, and shared by them: whatever is
    derived from a head alone is worked out once.  Nothing changes after it is made, but the two
    slots in which others keep what they derived.
    """

    __slots__ = (
        "caller",
        "headers",
        "merge_part",
        "method",
        "opted_out",
        "path",
        "priority",
        "route",
        "target",
        "timeout_seconds",
        "wire",
    )

    def __init__(
        self,
        method: bytes,
        path: str,
        target: bytes,
        headers: Headers,
        route: Route,
        caller: Caller = ANYBODY,
        *,
        priority: int = 0,
        timeout_seconds: float | None = None,
        opted_out: bool = False,
    ) -> None:
        self.method = method
        self.path = path  # percent-decoded, without the query: what the allow-list matched
        self.target = target  # the request target as received, with the query
        # Those that travel on: no hop-by-hop ones, none for us, none that are a request's own.
        self.headers = headers
        self.route = route
        self.caller = caller
        self.priority = priority  # higher first; already clamped to the caller's ceiling
        self.timeout_seconds = timeout_seconds  # the client's own; None: only the service's
        self.opted_out = opted_out  # of merging
        self.merge_part: Any = None  # kept here by ``key``
        self.wire: bytes | None = None  # kept here by ``http1``: what the engine is sent of it


class Outlet(Protocol):
    """Where the rest of a body goes: the connection to the engine."""

    def write(self, chunk: bytes) -> None: ...

    def finish(self) -> None:
        """The body is complete; never called for a tunnel, which ends with its connection."""


class Rest(Protocol):
    """What of a large body (or of a tunnel's input) had not arrived when its request was offered.

    The client is not read from until ``pump`` is called, once, by the engine's connection.
    """

    length: int | None  # bytes of the whole body as announced; None: the client sends chunks

    def pump(self, into: Outlet) -> None: ...

    def pause(self) -> None:
        """The engine takes no more for now."""

    def resume(self) -> None: ...


class Request:
    """One request, as it will be sent to the engine.

    ``body`` is all of it, or with ``rest`` its beginning; such a request is never merged and never
    sent twice.  What the body says is filled in by ``meaning`` before anybody asks for it;
    ``fields`` is there while the request is offered, and not kept afterwards.

    ``own`` are the header lines that are new with every request (ids of a trace), as the engine
    gets them: apart from the head, so that requests can share one.  They count for nothing here.
    """

    __slots__ = (
        "body",
        "fields",
        "head",
        "model",
        "names_priority",
        "own",
        "priority",
        "request_id",
        "rest",
        "stream",
        "weight",
    )

    def __init__(
        self,
        head: Head,
        body: bytes,
        request_id: str,
        rest: Rest | None = None,
        own: bytes = b"",
    ) -> None:
        self.head = head
        self.own = own
        self.body = body
        self.request_id = request_id
        self.rest = rest
        self.fields: dict[str, Any] | None = None  # the body's JSON object; None: it has none
        self.stream = False  # the answer is asked for as a stream of events
        self.weight = 1  # slots that it takes: prompts x n
        self.names_priority = False  # in its body, where the engine would see it
        self.priority = 0  # the head's, or what the body asks for within the same ceiling
        self.model = ""


class ResponseHead:
    """Status and end-to-end headers of an engine's answer; framing is never copied."""

    __slots__ = ("headers", "length", "status", "wire")

    def __init__(self, status: int, headers: Headers, length: int | None = None) -> None:
        self.status = status
        self.headers = headers
        self.length = length  # bytes of body the engine announced; None: it did not say
        self.wire: bytes | None = None  # kept here by ``answer``: what clients are sent of it


class Told:
    """What happened to a request, told to its client in response headers."""

    __slots__ = ("engine_seconds", "queue_seconds", "result")

    def __init__(self, result: Result, queue_seconds: float, engine_seconds: float) -> None:
        self.result = result
        self.queue_seconds = queue_seconds  # from offer until the engine call was sent (or joined)
        self.engine_seconds = engine_seconds  # from then until the head of the answer


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of our own making, rendered as an OpenAI-style error body."""

    status: int
    type: str  # OpenAI's error type: invalid_request_error, server_error, …
    code: str  # stable, for programs: queue_full, timeout, draining, no_engine, …
    message: str  # for people: what happened and what to do
    retry_after_seconds: int | None = None


class Lost(StrEnum):
    """Why an engine call ended without a complete answer."""

    REFUSED = "refused"  # no connection to the engine could be made
    UNANSWERED = "unanswered"  # a pooled connection closed before any byte: may be sent once more
    BROKEN = "broken"  # closed or malformed in the middle, or a fresh connection that said nothing


LAGGING_BYTES: Final = 65536
"""A client with more than this undelivered lags; the engine is paused when all its clients do.
Equals the default high-water mark of asyncio's transports, so that ``drained`` follows for sure."""


class Sink(Protocol):
    """One waiting client.  Exactly one of end/refuse is called, unless the client leaves first.

    The pipeline may call before ``offer`` has returned the ticket (a refusal, a replayed answer).
    A sink never raises; it may call ``Ticket.leave`` from inside, and is not called after that.
    """

    def start(self, head: ResponseHead, told: Told) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...

    def refuse(self, refusal: Refusal) -> None:
        """Before start: a whole error response.  After: an error event and the connection's end."""

    def backlog(self) -> int:
        """Bytes accepted for this client that its socket has not taken yet.

        After an answer above LAGGING_BYTES, ``Ticket.drained`` follows, or the client leaves.
        """


class Ticket(Protocol):
    """A sink's place in the pipeline."""

    def leave(self) -> None:
        """The client went away; idempotent.  The last to leave a flight cancels its call."""

    def drained(self) -> None:
        """The client's backlog fell below the low-water mark: the engine may go on."""


class Receiver(Protocol):
    """Where an engine call's answer arrives.  Exactly one of end/lost comes, unless cancelled."""

    def head(self, head: ResponseHead) -> None: ...

    def data(self, chunk: bytes) -> None: ...

    def end(self) -> None: ...

    def lost(self, why: Lost) -> None: ...


class Call(Protocol):
    """One request under way at the engine."""

    def cancel(self) -> None:
        """Idempotent.  Closes the connection, which makes the engine abort the request."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


Send = Callable[[Request, Receiver], Call]
"""Starts an engine call.  Never calls the receiver before it has returned."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time as the pipeline sees it: the event loop's, or a test's virtual one."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...
