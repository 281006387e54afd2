"""HTTP/1.1 answers read byte by byte, by a parser that shares nothing with the sidecar's.

It never guesses: an answer is whole only when its framing says so, and what follows it in the same
read belongs to the next answer on the connection.
"""

from __future__ import annotations

from dataclasses import dataclass, field


class Malformed(Exception):  # noqa: N818 - a finding
    """What came is no HTTP answer."""


@dataclass(slots=True)
class Answer:
    """What came back for one request; ``status`` 0: no head."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False  # by its framing
    keeps: bool = False  # the connection may carry another request
    first_at: float = 0.0  # when the first byte of the body came, on the reader's clock
    last_at: float = 0.0

    @property
    def events(self) -> bool:
        return self.headers.get(b"content-type", b"").startswith(b"text/event-stream")


class Parser:
    """The answers on one connection, one after the other: ``expect``, then ``feed`` until True."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.answer = Answer()
        self._bodiless = False
        self._left: int | None = None  # bytes of the body or of the chunk
        self._chunked = False
        self._trailing = False

    @property
    def untaken(self) -> int:
        """Bytes that no request has asked for, so far."""
        return len(self._buffer)

    def expect(self, *, bodiless: bool = False) -> Answer:
        """The next answer is to a HEAD (``bodiless``) or not."""
        self.answer = Answer()
        self._bodiless = bodiless
        self._left = None
        self._chunked = self._trailing = False
        return self.answer

    def feed(self, data: bytes, now: float) -> bool:
        """Whether the answer is whole.  Raises :class:`Malformed`."""
        self._buffer += data
        answer = self.answer
        while not answer.status:
            if not self._take_head():
                return False
        if answer.whole:
            return True
        before = len(answer.body)
        done = self._take_chunks() if self._chunked else self._take_bytes(self._left)
        if len(answer.body) != before:
            answer.first_at = answer.first_at or now
            answer.last_at = now
        answer.whole = done
        return done

    def closed(self) -> None:
        """The connection ended: that is the end of a body without a length."""
        answer = self.answer
        answer.keeps = False
        if answer.status and not answer.whole and self._left is None and not self._chunked:
            answer.whole = True

    def _take_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        version, _, rest = first.partition(b" ")
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not rest[:3].isdigit():
            raise Malformed(f"no status line: {first[:80]!r}")
        status = int(rest[:3])
        if status < 200:
            return True  # an interim answer: go on with the next head
        answer = self.answer
        answer.status = status
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise Malformed(f"no header: {line[:80]!r}")
            answer.headers[name.strip().lower()] = value.strip()
        self._frame(version)
        return True

    def _frame(self, version: bytes) -> None:
        answer = self.answer
        headers = answer.headers
        said = headers.get(b"connection", b"").lower()
        answer.keeps = said != b"close" if version == b"HTTP/1.1" else said == b"keep-alive"
        length = headers.get(b"content-length")
        if self._bodiless or answer.status in (204, 304):
            answer.whole = True
        elif headers.get(b"transfer-encoding") == b"chunked":
            if length is not None:
                raise Malformed("both a length and chunks")
            self._chunked = True
        elif length is not None:
            self._left = int(length)
            answer.whole = not self._left
        else:
            answer.keeps = False

    def _take_bytes(self, left: int | None) -> bool:
        take = len(self._buffer) if left is None else min(left, len(self._buffer))
        self.answer.body += self._buffer[:take]
        del self._buffer[:take]
        if left is None:
            return False
        self._left = left - take
        return not self._left

    def _take_chunks(self) -> bool:
        buffer = self._buffer
        while True:
            if self._left is None or self._trailing:
                end = buffer.find(b"\r\n")
                if end < 0:
                    return False
                line = bytes(buffer[:end])
                del buffer[: end + 2]
                if self._trailing:
                    if not line:
                        return True
                    continue
                try:
                    size = int(line.partition(b";")[0], 16)
                except ValueError:
                    raise Malformed(f"no chunk size: {line[:80]!r}") from None
                if not size:
                    self._trailing = True
                    continue
                self._left = size + 2
            take = min(self._left, len(buffer))
            if not take:
                return False
            data = min(take, max(0, self._left - 2))
            self.answer.body += buffer[:data]
            if bytes(buffer[data:take]) not in (b"", b"\r", b"\n", b"\r\n"):
                raise Malformed("a chunk longer than it said")
            del buffer[:take]
            self._left = self._left - take or None
