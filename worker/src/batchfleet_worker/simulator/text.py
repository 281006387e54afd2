"""The text of the simulated model: a pure function of the prompt.

A token is four bytes of UTF-8.  The words of an answer are four bytes long, too, blank included,
so the tokens of a text can be counted from its length, and a text of n tokens is n words.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from itertools import accumulate

BYTES_PER_TOKEN = 4
VOCABULARY = 32_000
WORDS = tuple(f" {a}{b}{c}" for a in "bdfgklmn" for b in "aeio" for c in "lmnprstz")


def count(text: str) -> int:
    """Tokens of a text, at least 1."""
    return max(1, math.ceil(len(text.encode()) / BYTES_PER_TOKEN))


def tokens(text: str) -> list[str]:
    """The pieces that :func:`count` counts; a piece that splits a character shows U+FFFD."""
    raw = text.encode()
    return [
        raw[i : i + BYTES_PER_TOKEN].decode(errors="replace")
        for i in range(0, max(1, len(raw)), BYTES_PER_TOKEN)
    ]


def token_id(token: str) -> int:
    return zlib.crc32(token.encode()) % VOCABULARY


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice of an answer, complete; ``ends[i]`` is the length of the text at token i + 1."""

    text: str
    ends: tuple[int, ...]
    finish_reason: str  # stop | length
    stop_reason: str | None  # the stop string that ended it

    @property
    def tokens(self) -> int:
        return len(self.ends)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request says about the length of an answer."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()


def reply(prompt: str, choice: int, wish: Wish, mean_tokens: int) -> Reply:
    """The answer to a prompt; every choice has a text of its own.

    Its natural length is spread evenly over 1 .. 2 x mean - 1 tokens.
    """
    source = hashlib.shake_256(f"{choice} {prompt}".encode())
    natural = 1 + int.from_bytes(source.digest(8)) % (2 * mean_tokens - 1)
    natural = max(natural, wish.min_tokens)
    if wish.ignore_eos or natural > wish.max_tokens:
        length, finish_reason = wish.max_tokens, "length"
    else:
        length, finish_reason = natural, "stop"
    words = [WORDS[byte] for byte in source.digest(8 + length)[8:]]
    text = "".join(words)
    ends = tuple(accumulate(map(len, words)))
    found = [(text.find(stop), stop) for stop in wish.stop if stop and stop in text]
    if not found:
        return Reply(text, ends, finish_reason, None)
    position, stop = min(found)
    needed = math.ceil((position + len(stop)) / BYTES_PER_TOKEN)
    return Reply(text[:position], tuple(min(end, position) for end in ends[:needed]), "stop", stop)


def embedding(text: str, size: int) -> list[float]:
    """A unit vector that depends on the whole text."""
    raw = hashlib.shake_256(text.encode()).digest(size)
    values = [byte - 127.5 for byte in raw]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]
