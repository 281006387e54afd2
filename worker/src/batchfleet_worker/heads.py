"""Heads that were parsed before, known again by their bytes.

On a connection that is kept, one head after another is the same but for a few values: its length,
its request id, the ids of its trace.  So a head is cut at those (its holes), and what it means is
looked up by the rest of its bytes.  Nothing is parsed here: what a head means is told by ``judge``,
a function of its bytes, the first time it comes.

Why that is exact: a hole is a whole value, on a line of its own, of visible characters that say
nothing to a parser.  ``judge`` sees to it that the parser found just these values, and no others
of their names; then it would have found any other such values in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

Meaning = TypeVar("Meaning")

HEAD_BYTES: Final = 8192  # longer heads are not kept
KEPT_BYTES = 512 * 1024  # of heads that are kept; what they mean takes some ten times as much
VALUE_BYTES: Final = 512  # a longer value makes its head one that is parsed

_ZERO: Final = 48  # of ASCII
_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length"
_REQUEST_ID: Final = b"x-request-id"
# A longer number is no length that anybody would accept, a longer id none that ``http1`` takes.
_MOST_BYTES = {_LENGTH: 10, _REQUEST_ID: 128}
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]+")
_VISIBLE = re.compile(rb"[!-~](?:[ -~]*[!-~])?")


class Filling(NamedTuple):
    """What stood in the holes of one head."""

    length: int  # of the body; 0 where none was found
    request_id: bytes  # empty where none was found
    own: bytes  # the other lines, as ``exchange.Request.own`` has them


class _Hole:
    """Where one value stands: its header's name in lower case, and the bytes behind it."""

    __slots__ = ("after", "after_bytes", "is_length", "is_request_id", "most_bytes", "name")

    def __init__(self, name: bytes, after: bytes) -> None:
        self.name = name
        self.after = after
        self.after_bytes = len(after)
        self.is_length = name == _LENGTH
        self.is_request_id = name == _REQUEST_ID
        self.most_bytes = _MOST_BYTES.get(name, VALUE_BYTES)


class Known(Generic[Meaning]):
    """A head's bytes around its holes, and what it means."""

    __slots__ = ("_first", "_first_bytes", "_holes", "meaning")

    def __init__(self, first: bytes, holes: Iterable[tuple[bytes, bytes]]) -> None:
        """``holes``: the name in front of each, in lower case, and the bytes behind it."""
        self._first = first
        self._first_bytes = len(first)
        self._holes = tuple(_Hole(name, after) for name, after in holes)
        self.meaning: Meaning  # before anybody is given it

    def match(self, data: bytes) -> Found[Meaning] | None:
        """``data`` as beginning with such a head."""
        if not data.startswith(self._first):
            return None
        at, length, request_id, own = self._first_bytes, 0, b"", b""
        for hole in self._holes:
            if hole.is_length:
                length, stop = _number(data, at, hole.most_bytes)
            else:
                stop = data.find(b"\r", at, at + hole.most_bytes + 1)
            if stop < 0 or data[stop : stop + hole.after_bytes] != hole.after:
                return None
            if hole.is_request_id:
                request_id = data[at:stop]
                if _SANE_REQUEST_ID.fullmatch(request_id) is None:
                    return None
            elif not hole.is_length:
                value = data[at:stop]
                if _VISIBLE.fullmatch(value) is None:
                    return None
                own += b"%b: %b\r\n" % (hole.name, value)
            at = stop + hole.after_bytes
        return self, at, length, request_id, own


def _number(data: bytes, at: int, most_bytes: int) -> tuple[int, int]:
    """The digits at ``at``, as a number, and where they end; -1: there are none."""
    begin, end, number = at, min(at + most_bytes, len(data)), 0
    while at < end:
        digit = data[at] - _ZERO
        if digit < 0 or digit > 9:
            break
        number = 10 * number + digit
        at += 1
    return number, at if at > begin else -1


Found = tuple[Known[Meaning], int, int, bytes, bytes]
"""The head, its length in bytes, and what its holes hold (see :class:`Filling`).  A plain tuple: a
class of its own would cost as much as finding the head does."""


class Heads(Generic[Meaning]):
    """``judge`` is given a whole head, blank line included, and what its holes hold; None: it is
    not of the plain kind, or the parser did not find the same.

    ``own``: headers in lower case that are new with every message and mean nothing to ``judge``.
    """

    def __init__(
        self,
        judge: Callable[[bytes, Filling], Meaning | None],
        head_bytes: int = HEAD_BYTES,
        kept_bytes: int = KEPT_BYTES,
        own: Iterable[bytes] = (),
    ) -> None:
        self._judge = judge
        self._head_bytes = min(head_bytes, HEAD_BYTES)
        self._half_bytes = kept_bytes // 2
        self._holes = _holes((_LENGTH, _REQUEST_ID, *own))
        # Two generations: whatever is used moves to the young one, and when that is full the old
        # one is dropped.
        self._young: dict[tuple[bytes, ...], Known[Meaning]] = {}
        self._old: dict[tuple[bytes, ...], Known[Meaning]] = {}
        self._young_bytes = 0

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def forget(self) -> None:
        """What heads mean has changed."""
        self._young, self._old, self._young_bytes = {}, {}, 0

    def find(self, data: bytes, last: Known[Meaning] | None) -> Found[Meaning] | None:
        """The head that ``data`` begins with, if all of it is there and it is of the plain kind.

        ``last``, the one found before on the same connection, is tried first.
        """
        if last is not None and (found := last.match(data)) is not None:
            return found
        end = data.find(_END, 0, self._head_bytes)
        if end <= 0:
            return None
        # Text, name, value, text, name, value, …, text.
        parts = self._holes.split(data[: end + len(_END)])
        del parts[2::3]
        key = tuple(parts)
        known = self._young.get(key)
        if known is None:
            known = self._old.get(key)
            if known is None:
                return self._learn(key, data)
            self._remember(key, known)
        return known.match(data)

    def _learn(self, key: tuple[bytes, ...], data: bytes) -> Found[Meaning] | None:
        texts, names = key[::2], key[1::2]
        lines = [b"\r\n%b: " % name for name in names] + [b""]
        pieces = [text + line for text, line in zip(texts, lines, strict=True)]
        holes = [(name.lower(), after) for name, after in zip(names, pieces[1:], strict=True)]
        known: Known[Meaning] = Known(pieces[0], holes)
        found = known.match(data)
        if found is None:
            return None
        _, end, length, request_id, own = found
        meaning = self._judge(data[:end], Filling(length, request_id, own))
        if meaning is None:
            return None
        known.meaning = meaning
        self._remember(key, known)
        return found

    def _remember(self, key: tuple[bytes, ...], known: Known[Meaning]) -> None:
        n_bytes = sum(map(len, key))
        if self._young_bytes + n_bytes > self._half_bytes:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = known
        self._young_bytes += n_bytes


def _holes(names: Iterable[bytes]) -> re.Pattern[bytes]:
    """Splits a head into text, name, value, text, …, text, as ``Known`` puts it together again."""
    by_initial: dict[bytes, list[bytes]] = {}  # twice as fast as one list of names
    for name in names:
        by_initial.setdefault(name[:1], []).append(re.escape(name[1:]))
    some = b"|".join(b"%b(?:%b)" % (one, b"|".join(rest)) for one, rest in by_initial.items())
    return re.compile(rb"\r\n(" + some + rb"): ([!-~][^\r\n]*)(?=\r\n)", re.IGNORECASE)
