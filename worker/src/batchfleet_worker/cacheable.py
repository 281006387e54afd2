"""Which answers may be given again, and which requests take one that was given before.

Asked by the pipeline around ``cache``: the request's wish before a look-up, the answer's fitness
once it is complete.  Only what is whole and harmless is kept: a 200 whose every choice ended by
itself or at its length, without tool calls, which somebody is likely to act upon.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from batchfleet_worker.exchange import Headers, ResponseHead

_ENDINGS = frozenset({"stop", "length"})
_ENDINGS_BYTES = frozenset({b"stop", b"length"})

# A quote without a backslash before it is no part of a text (see ``events``).  The plain words are
# searched for first: a regular expression alone would take ten times as long.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"([^"\\]*)"')
_TOOLS = re.compile(rb'"(?:tool_calls"\s*:\s*\[\s*\{|function_call"\s*:\s*\{)')
_ERROR = re.compile(rb'(?m)^(?:data:\s*\{\s*"|event:\s*)error')
_FORBIDS = frozenset({b"no-store", b"no-cache", b"private"})


class NotCached(StrEnum):
    """Why an answer is not kept."""

    ASKED = "asked"  # the request or the answer says so (Cache-Control)
    STATUS = "status"  # not a 200
    INCOMPLETE = "incomplete"  # not all of it came, or it holds an error
    UNFINISHED = "unfinished"  # a choice ended otherwise than by stop or length
    TOOL_CALLS = "tool_calls"
    UNREADABLE = "unreadable"  # compressed, or no JSON


class Wish(NamedTuple):
    """What a request's Cache-Control asks for."""

    read: bool = True  # an earlier answer will do
    write: bool = True  # its own may be kept
    max_age_seconds: float = math.inf  # … if it is not older than this


ANY = Wish()


def wish_of(headers: Headers) -> Wish:
    """``no-store``: neither read nor kept; ``no-cache``: not read; ``max-age``: only younger ones.

    What cannot be read as a number of seconds counts as 0, the careful way.
    """
    for name, _ in headers:
        if name == b"cache-control":
            break
    else:
        return ANY
    directives = _directives(headers)
    if b"no-store" in directives:
        return Wish(read=False, write=False, max_age_seconds=0.0)
    max_age = _seconds(directives[b"max-age"]) if b"max-age" in directives else math.inf
    return Wish(b"no-cache" not in directives and max_age > 0, True, max_age)


def not_cacheable(
    wish: Wish, head: ResponseHead, body: bytes, ttl_seconds: float, *, choices: int
) -> NotCached | None:
    """None: may be kept for ``ttl_seconds``.

    ``body`` is all that came until the answer's orderly end.  ``choices``: how many texts a stream
    has to end (prompts times n; a whole answer's are counted), 0 for embeddings, scores and the
    like, which have none.
    """
    if not wish.write:
        return NotCached.ASKED
    if head.status != 200:
        return NotCached.STATUS
    streams = False
    for name, value in head.headers:
        if name == b"content-encoding":
            return NotCached.UNREADABLE
        if name in (b"set-cookie", b"vary") and (name == b"set-cookie" or b"*" in value):
            return NotCached.ASKED
        if name == b"content-type":
            streams = value.lower().startswith(b"text/event-stream")
    directives = _directives(head.headers)
    if not directives.keys().isdisjoint(_FORBIDS):
        return NotCached.ASKED
    if any(
        _seconds(directives.get(age, b"inf")) < ttl_seconds for age in (b"max-age", b"s-maxage")
    ):
        return NotCached.ASKED
    if head.length is not None and head.length != len(body):
        return NotCached.INCOMPLETE
    return _of_stream(body, choices) if streams else _of_whole(body, choices > 0)


def _of_stream(body: bytes, choices: int) -> NotCached | None:
    whole = body.endswith((b"data: [DONE]\n\n", b"data: [DONE]\r\n\r\n"))
    if not whole or _found(body, b"error", _ERROR):
        return NotCached.INCOMPLETE
    if _found(body, b"_call", _TOOLS):
        return NotCached.TOOL_CALLS
    endings = _found(body, b'_reason":"', _FINISH) or _found(body, b'_reason": "', _FINISH)
    if not endings or len(endings) != choices:
        return NotCached.INCOMPLETE
    return None if _ENDINGS_BYTES.issuperset(endings) else NotCached.UNFINISHED


def _found(body: bytes, word: bytes, pattern: re.Pattern[bytes]) -> list[bytes]:
    """What the pattern found (its group, if it has one) wherever the word stands."""
    found = []
    at = body.find(word)
    while at >= 0:
        match = pattern.search(body, max(0, at - 16), at + 64)
        if match is not None and body[match.start() - 1 : match.start()] != b"\\":
            found.append(match[pattern.groups])
            at = match.end() - 1
        at = body.find(word, at + 1)
    return found


def _of_whole(body: bytes, generated: bool) -> NotCached | None:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return NotCached.UNREADABLE
    if type(fields) is not dict or fields.get("error"):
        return NotCached.INCOMPLETE
    return _of_choices(fields.get("choices")) if generated else None


def _of_choices(choices: Any) -> NotCached | None:
    if type(choices) is not list or not choices:
        return NotCached.INCOMPLETE
    for choice in choices:
        if type(choice) is not dict:
            return NotCached.UNREADABLE
        message = choice.get("message")
        if type(message) is dict and (message.get("tool_calls") or message.get("function_call")):
            return NotCached.TOOL_CALLS
        ending = choice.get("finish_reason")
        if type(ending) is not str or ending not in _ENDINGS:
            return NotCached.UNFINISHED
    return None


def _directives(headers: Headers) -> dict[bytes, bytes]:
    found = {}
    for name, value in headers:
        if name == b"cache-control":
            for part in value.lower().split(b","):
                directive, _, argument = part.partition(b"=")
                found[directive.strip()] = argument.strip()
    return found


def _seconds(argument: bytes) -> float:
    if argument == b"inf":
        return math.inf
    digits = argument.strip(b'"')
    return float(digits) if digits.isdigit() and len(digits) < 12 else 0.0
