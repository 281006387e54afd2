"""What an answer cost in tokens, read off its end as the engine wrote it.

Asked once per engine call, so the way vLLM writes it is tried first; ``events`` reads the others.
"""

from __future__ import annotations

from typing import Final

from batchfleet_worker.events import usage_of

USAGE_BYTES: Final = 2048
"""The token count stands within so many bytes of an answer's end, two final events included."""

_NEAR_BYTES: Final = 512
# Inside a text every quote has a backslash before it: there no quote stands before a colon so.
_USAGE: Final = b'"usage":{'
_PROMPT: Final = b'"prompt_tokens":'
_TOTAL: Final = b',"total_tokens":'
_COMPLETION: Final = b',"completion_tokens":'
_DIGITS: Final = 18
_ZERO: Final = 48  # of ASCII


def tokens_at_end(before: bytes, last: bytes) -> tuple[int, int]:
    """(prompt, completion) from the last two pieces of an answer; (0, 0): it does not say."""
    at = last.rfind(_USAGE, -_NEAR_BYTES)
    if at < 0:
        return _elsewhere(before, last)
    # By hand, since this is compiled: a regular expression takes ten times as long.
    prompt, at = _count(last, at + len(_USAGE), _PROMPT)
    _, at = _count(last, at, _TOTAL)
    completion, at = _count(last, at, _COMPLETION)
    return (prompt, completion) if at >= 0 else _elsewhere(before, last)


def _count(text: bytes, at: int, name: bytes) -> tuple[int, int]:
    """The number behind ``name``, which stands at ``at``, and where it ends; -1: not so."""
    begin = at + len(name)
    if at < 0 or begin > len(text) or text[at:begin] != name:
        return 0, -1
    at, end, number = begin, min(begin + _DIGITS, len(text)), 0
    while at < end:
        digit = text[at] - _ZERO
        if digit < 0 or digit > 9:
            break
        number = 10 * number + digit
        at += 1
    return number, at if at > begin else -1


def _elsewhere(before: bytes, last: bytes) -> tuple[int, int]:
    """In the piece before, across both, further from the end, or written in another way."""
    end = last if len(last) >= USAGE_BYTES else before[-USAGE_BYTES:] + last
    return usage_of(end[-USAGE_BYTES:]) or (0, 0)
