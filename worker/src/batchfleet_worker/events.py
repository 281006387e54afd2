"""Server-sent events and answer bodies of vLLM, cut and spliced without parsing the text in them.

Between the engine and the clients of a flight: pieces are first brought to event boundaries
(``Aligner``), then a client who did not ask for the token count gets the stream without it, and a
client who shares somebody else's call gets an ``id`` of its own.  Text passes through untouched.

Why searching bytes is safe: inside a JSON string every quote has a backslash before it.  A quote
that follows any other byte therefore opens or closes a string, and where it is followed by a bare
word it must open one.  So ``{"id":"`` and, without a backslash before it, ``"usage":{`` can only be
real keys, whatever the model wrote.  tests/worker/test_events.py tries to prove that wrong.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import orjson

EVENT_LIMIT_BYTES = 64 * 1024
"""An unfinished event is held back up to this size.  vLLM's are some 250 bytes; with logprobs of
twenty alternatives some kilobytes."""

DONE = b"[DONE]"
"""The data of a stream's last event."""

_ENDS = (b"\n\n", b"\n\r\n")  # what a blank line ends with, CRLF included
_BLANK_LINE = re.compile(rb"\n\r?\n")
_BODY = b'{"id":"'
_EVENT = b"data: " + _BODY
_USAGE = b'usage"'
# A backslash before the quote: not a key but the end of one, like "total\"usage".
_COUNTS = re.compile(rb'(?<!\\)"usage"\s*:\s*\{([^{}]*)')
_PROMPT = re.compile(rb'"prompt_tokens"\s*:\s*(\d{1,18})')
_COMPLETION = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,18})')


class Aligner:
    """Holds back what follows the last blank line, so that pieces are whole events.

    An event over ``limit_bytes`` passes in parts, unaligned, and the next one is aligned again.
    """

    __slots__ = ("_before", "_busy", "_held", "_limit", "_torn")

    def __init__(self, limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._busy = False  # a part of an event is held, or was passed on
        self._torn = False  # the beginning of the present event is gone already
        self._before = b""  # … and these were its last bytes
        self._held = bytearray()

    def feed(self, piece: bytes) -> bytes:
        """What may be passed on now; empty while an event is incomplete."""
        if not self._busy and piece.endswith(_ENDS):
            return piece  # vLLM writes one whole event at a time
        held = self._held
        # Two bytes are what a boundary can have before this piece.
        searched = max(0, len(held) - 2)
        held += piece
        if self._torn:
            cut = _last_end(self._before + held, 0) - len(self._before)
        else:
            cut = _last_end(held, searched)
        if cut > 0:
            self._torn = False
        rest = len(held) - max(cut, 0)
        if self._torn or rest > self._limit:
            cut = len(held)
            self._torn = rest > 0
            self._before = bytes((self._before + held)[-2:])
        out = bytes(held[:cut]) if cut > 0 else b""
        del held[: max(cut, 0)]
        self._busy = self._torn or bool(held)
        if not self._torn:
            self._before = b""
        return out

    def end(self) -> bytes:
        """What is left: an event that was never finished, if anything."""
        tail = bytes(self._held)
        self._held.clear()
        self._busy = self._torn = False
        self._before = b""
        return tail


def _last_end(held: bytes | bytearray, since: int) -> int:
    """Where the last whole event ends; 0: none does."""
    lf = held.rfind(b"\n\n", since)
    crlf = held.rfind(b"\n\r\n", since)
    if lf < 0 and crlf < 0:
        return 0
    return max(lf + 2, crlf + 3) if crlf >= 0 else lf + 2


def split(piece: bytes) -> list[bytes]:
    """The events of an aligned piece, each without its blank line."""
    events = piece.split(b"\n\n") if b"\r" not in piece else _BLANK_LINE.split(piece)
    if not events[-1]:
        events.pop()
    return events


def data_of(event: bytes) -> bytes:
    """An event's data; empty for comments (vLLM's keep-alive is one) and other fields."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:].rstrip(b"\r")
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" ").rstrip(b"\r"))
    return b"\n".join(lines)


def json_of(event: bytes) -> dict[str, Any] | None:
    """An event's JSON object; None where its data is something else."""
    try:
        fields = orjson.loads(data_of(event))
    except orjson.JSONDecodeError:
        return None
    return fields if type(fields) is dict else None


def without_usage(piece: bytes) -> bytes:
    """An aligned piece less the events that carry nothing but the token count.

    They come once per stream, if asked for; events with text and a count stay as they are.
    """
    if piece.rfind(_USAGE) < 0:  # where it is missing, rfind is twice as fast as ``in``
        return piece
    kept = []
    done = 0
    at = piece.find(_USAGE)
    while at >= 0:
        # Never back past ``done``: a replay log of many events is looked at once.
        lf = piece.rfind(b"\n\n", done, at)
        crlf = piece.rfind(b"\n\r\n", done, at)
        start = max(lf + 2 if lf >= 0 else done, crlf + 3 if crlf >= 0 else done)
        boundary = _BLANK_LINE.search(piece, at)
        end = boundary.end() if boundary else len(piece)
        kept.append(piece[done:start])
        if boundary is None or not _only_usage(piece[start : boundary.start()]):
            kept.append(piece[start:end])
        done = end
        at = piece.find(_USAGE, done)
    kept.append(piece[done:])
    return b"".join(kept)


def _only_usage(event: bytes) -> bool:
    fields = json_of(event)
    return fields is not None and fields.get("choices") == [] and type(fields.get("usage")) is dict


def usage_of(piece: bytes) -> tuple[int, int] | None:
    """(prompt tokens, completion tokens) of a usage event or of a whole body's end.

    The last count in the piece; None where there is none.  An embedding completes 0 tokens.
    """
    at = piece.rfind(_USAGE)
    while at >= 0:
        counts = _COUNTS.match(piece, at - 1)
        if counts:
            prompt = _PROMPT.search(counts[1])
            if prompt is not None:
                completion = _COMPLETION.search(counts[1])
                return int(prompt[1]), int(completion[1]) if completion else 0
        at = piece.rfind(_USAGE, 0, at)
    return None


def id_of(piece: bytes) -> bytes | None:
    """The answer's id: of the first event, or of a whole body's beginning.

    None where it is not the first field, or not all here: then the answer keeps it for everybody.
    """
    if piece.startswith(_EVENT):
        start = len(_EVENT)
    elif piece.startswith(_BODY):
        start = len(_BODY)
    else:
        return None
    end = piece.find(b'"', start)
    if end <= start:  # before anything is cut: compiled code cannot cut from its end to before it
        return None
    found = piece[start:end]
    return None if b"\\" in found else found


def own_id(old: bytes, token: bytes) -> bytes:
    """An id like ``old``, of the same length and kind (``chatcmpl-…``), made from ``token``, which
    is the client's own (its request id)."""
    kind, dash, rest = old.partition(b"-")
    if not dash:
        kind, rest = b"", old
    digest = sha256(b"%b\n%b" % (old, token)).hexdigest().encode()
    return kind + dash + (digest * (len(rest) // len(digest) + 1))[: len(rest)]


class Renaming:
    """An answer under another id: ``new`` instead of ``old``, both as ``own_id`` relates them.

    Only the id of an event or a body itself; ids inside (of tool calls) and texts stay.
    """

    __slots__ = ("_new", "_old")

    def __init__(self, old: bytes, new: bytes) -> None:
        self._old = b'%b%b"' % (_EVENT, old)
        self._new = b'%b%b"' % (_EVENT, new)

    def events(self, piece: bytes) -> bytes:
        """An aligned piece of a stream."""
        return piece.replace(self._old, self._new)

    def body(self, piece: bytes) -> bytes:
        """A whole body, or its first piece."""
        old = self._old[len(_EVENT) - len(_BODY) :]
        if not piece.startswith(old):
            return piece
        return self._new[len(_EVENT) - len(_BODY) :] + piece[len(old) :]


def with_id(piece: bytes, old: bytes, new: bytes) -> bytes:
    """``Renaming.events`` for once."""
    return Renaming(old, new).events(piece)


def body_with_id(piece: bytes, old: bytes, new: bytes) -> bytes:
    """``Renaming.body`` for once."""
    return Renaming(old, new).body(piece)
