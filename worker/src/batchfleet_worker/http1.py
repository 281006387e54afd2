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
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from batchfleet_worker import errors
from batchfleet_worker.exchange import Headers, Refusal, Request, ResponseHead

STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

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

# Request ids go into logs and other systems' headers: short, and nothing that needs quoting.
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Refused(Exception):  # noqa: N818 - it is not an error of ours
    """Raised inside a parser's callbacks to stop it: what the peer sent will not be served."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class RequestHead(NamedTuple):
    """What a request's headers say, framing apart from what travels on."""

    headers: Headers
    length: int  # as announced; 0 for a chunked body
    expects_continue: bool
    request_id: str | None  # the client's own, if it is sane


class Target(NamedTuple):
    """A request target, taken apart."""

    path: str  # percent-decoded, without the query
    target: bytes  # what the engine will be asked for


def read_request_head(raw: Iterable[tuple[bytes, bytes]], http10: bool) -> RequestHead:
    """Sort a request's headers (names in lower case) into what travels and what is for us.

    Raises :class:`Refused` for a head that two servers could read differently.
    """
    kept: list[tuple[bytes, bytes]] = []
    length, expects, request_id, hosts = 0, False, None, 0
    named: set[bytes] | None = None
    for pair in raw:
        name, value = pair
        if name not in _REQUEST_STOPS:
            kept.append(pair)
        elif name == b"content-length":
            length = int(value)
        elif name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if http10 or value.strip().lower() != b"chunked":
                raise Refused(
                    errors.bad_request("The only transfer encoding is chunked, in HTTP/1.1.")
                )
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
    return RequestHead(tuple(kept), length, expects, request_id)


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
                slash = url.find(b"/", len(scheme))
                url = url[slash:] if slash >= 0 else b"/"
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


def write_request(request: Request, authority: bytes) -> bytes:
    """The head of a request to the engine, for a body of ``len(request.body)`` bytes."""
    lines = [request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in request.headers:
        lines += (name, b": ", value, b"\r\n")
    lines += (b"x-request-id: ", request.request_id.encode(), b"\r\n")
    if request.body or request.method not in (b"GET", b"HEAD"):
        lines.append(b"content-length: %d\r\n" % len(request.body))
    lines.append(b"\r\n")
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
