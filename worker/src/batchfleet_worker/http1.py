"""HTTP/1.1 heads, read and written: which headers travel, how a body is framed, what is refused.

Heads are always rebuilt.  Hop-by-hop headers stop here in both directions, and framing is derived
from the body that we hold, never copied, so that no pair of headers can make the engine see
another request than we saw (request smuggling).  llhttp already refuses Transfer-Encoding beside
Content-Length, duplicate lengths, folded lines and bare line feeds; the rules here are the ones
that it leaves to its caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from batchfleet_worker import errors
from batchfleet_worker.exchange import Head, Headers, Refusal, Request, ResponseHead, Route

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

_BODILESS = (b"GET", b"HEAD")  # no length is announced where they bring no body

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
# Read here and said again in our own words, or not at all.
_REQUEST_STOPS = _HOP_BY_HOP | {b"content-length", b"host", b"expect", b"x-request-id"}
_RESPONSE_STOPS = _HOP_BY_HOP | {b"content-length", b"x-request-id", b"x-batchfleet-result"}

TRACE_HEADERS = frozenset(
    {
        b"traceparent",
        b"tracestate",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-flags",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
        b"x-correlation-id",
        # W3C, Sentry, Datadog, New Relic, Elastic, Application Insights
        b"baggage",
        b"sentry-trace",
        b"x-datadog-trace-id",
        b"x-datadog-parent-id",
        b"x-datadog-sampling-priority",
        b"x-datadog-origin",
        b"x-datadog-tags",
        b"newrelic",
        b"elastic-apm-traceparent",
        b"request-id",
        b"correlation-context",
        # ids that content delivery networks and gateways give
        b"cf-ray",
        b"x-amz-cf-id",
        b"x-azure-ref",
        b"x-client-trace-id",
    }
)
"""New with every request, and without a meaning for what is answered: no part of a merge key."""

_AUTHORITY_END = re.compile(rb"[/?#]")

# Request ids go into logs and other systems' headers: short, and nothing that needs quoting.
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Refused(Exception):  # noqa: N818 - it is not an error of ours
    """Raised inside a parser's callbacks to stop it: what the peer sent will not be served."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class RequestHead(NamedTuple):
    """What a request's headers say, framing apart from what travels on."""

    headers: Headers  # end-to-end ones, those for us included
    own: bytes  # and those that are new with every request, as they travel on
    length: int  # as announced; 0 for a chunked body
    chunked: bool
    expects_continue: bool
    request_id: str | None  # the client's own, if it is sane


class Target(NamedTuple):
    """A request target, taken apart."""

    path: str  # percent-decoded, without the query
    target: bytes  # what the engine will be asked for


def read_request_head(
    raw: Iterable[tuple[bytes, bytes]], http10: bool, own: frozenset[bytes] = TRACE_HEADERS
) -> RequestHead:
    """Sort a request's headers (names in lower case) into what travels and what is for us.

    ``own`` names those that travel apart from the head.  Raises :class:`Refused` for a head that
    two servers could read differently.
    """
    kept: list[tuple[bytes, bytes]] = []
    apart: list[tuple[bytes, bytes]] = []
    length, chunked, expects, request_id, hosts = 0, False, False, None, 0
    named: set[bytes] | None = None
    for pair in raw:
        name, value = pair
        if name not in _REQUEST_STOPS:
            (apart if name in own else kept).append(pair)
        elif name == b"content-length":
            length = int(value)
        elif name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if http10 or value.strip().lower() != b"chunked":
                raise Refused(
                    errors.bad_request("The only transfer encoding is chunked, in HTTP/1.1.")
                )
            chunked = True
        elif name == b"connection":
            named = (named or set()) | _tokens(value)
        elif name == b"x-request-id":
            request_id = value.decode() if _SANE_REQUEST_ID.fullmatch(value) else None
        elif name == b"expect" and not http10:
            if value.strip().lower() != b"100-continue":
                raise Refused(
                    Refusal(
                        417,
                        "invalid_request_error",
                        "unknown_expectation",
                        "The only expectation that can be met is 100-continue.",
                    )
                )
            expects = True
    if hosts != 1 and not (http10 and hosts == 0):
        raise Refused(errors.bad_request("Exactly one Host header is needed."))
    if named is not None:
        kept = [pair for pair in kept if pair[0] not in named]
        apart = [pair for pair in apart if pair[0] not in named]
    lines = b"".join(b"%b: %b\r\n" % pair for pair in apart)
    return RequestHead(tuple(kept), lines, length, chunked, expects, request_id)


def read_own(own: bytes) -> Headers:
    """The headers in ``Request.own``."""
    lines = (line.partition(b": ") for line in own.split(b"\r\n") if line)
    return tuple((name, value) for name, _, value in lines)


def read_target(url: bytes) -> Target:
    """Take a request target apart, the path decoded exactly once.

    An encoded path is asked of the engine decoded, as it was matched: what the allow-list let
    through and what the engine serves cannot differ.  Raises :class:`Refused`.
    """
    if not url.startswith(b"/"):
        for scheme in (
            b"http://",
            b"https://",
        ):  # absolute form: a client that takes us for a proxy
            if url.lower().startswith(scheme):
                after = _AUTHORITY_END.search(url, len(scheme))
                url = url[after.start() :] if after else b"/"
                break
    if b"#" in url:
        raise Refused(errors.bad_request("A request target has no fragment."))
    path, mark, query = url.partition(b"?")
    if b"%" not in path:
        return Target(path.decode("ascii", "replace"), url)
    decoded = unquote_to_bytes(path)
    if not decoded.isascii() or not decoded.decode().isprintable() or set(decoded) & set(b" ?#%"):
        return Target(decoded.decode("utf-8", "replace"), url)  # on no allow-list: a 404
    return Target(decoded.decode(), decoded + mark + query)


def request_wire(head: Head, authority: bytes) -> bytes:
    """The part of a request to the engine that all requests with this head share."""
    lines = [head.method, b" ", head.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in head.headers:
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


def write_request(request: Request, authority: bytes) -> bytes:
    """A request as the engine gets it, up to what ``rest`` still has to bring."""
    head, own, body, rest = request.head, request.own, request.body, request.rest
    wire = head.wire
    if wire is None:
        wire = head.wire = request_wire(head, authority)
    request_id = request.request_id.encode()
    if rest is None:
        if not body and head.method in _BODILESS:
            return b"%b%bx-request-id: %b\r\n\r\n" % (wire, own, request_id)
        return b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            wire,
            own,
            request_id,
            len(body),
            body,
        )
    if head.route is Route.TUNNEL:
        framing = b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    elif rest.length is not None:
        framing = b"content-length: %d\r\n\r\n" % rest.length
    else:
        framing = b"transfer-encoding: chunked\r\n\r\n"
        body = chunk(body)
    return b"%b%bx-request-id: %b\r\n%b%b" % (wire, own, request_id, framing, body)


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body; nothing for no data, which would be the last chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def response_wire(head: ResponseHead) -> bytes:
    """The part of an answer that all answers with this head share, whatever their length."""
    lines = [STATUS_LINES.get(head.status) or b"HTTP/1.1 %d \r\n" % head.status]
    for name, value in head.headers:
        lines += (name, b": ", value, b"\r\n")
    return b"".join(lines)


def read_response_head(status: int, raw: Iterable[tuple[bytes, bytes]]) -> ResponseHead:
    """Sort a response's headers.  Raises ``ValueError`` for an encoding that is not chunked."""
    kept: list[tuple[bytes, bytes]] = []
    length: int | None = None
    named: set[bytes] | None = None
    for pair in raw:
        name, value = pair
        if name not in _RESPONSE_STOPS:
            kept.append(pair)
        elif name == b"content-length":
            length = int(value)
        elif name == b"connection":
            named = (named or set()) | _tokens(value)
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise ValueError("a transfer encoding other than chunked")
    if named is not None:
        kept = [pair for pair in kept if pair[0] not in named]
    return ResponseHead(status, tuple(kept), length)


def _tokens(value: bytes) -> set[bytes]:
    return {token.strip().lower() for token in value.split(b",")}
