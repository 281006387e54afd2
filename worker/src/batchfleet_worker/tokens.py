"""What an answer cost in tokens, read off its end as the engine wrote it.

Asked once per engine call, so the way vLLM writes it is tried first; ``events`` reads the others.
"""

from __future__ import annotations

import re

from batchfleet_worker.events import usage_of

USAGE_BYTES = 2048
"""The token count stands within so many bytes of an answer's end, two final events included."""

_NEAR_BYTES = 512
# Inside a text every quote has a backslash before it: there no quote stands before a colon so.
_USAGE = b'"usage":{'
_COUNTS = re.compile(
    rb'"usage":\{"prompt_tokens":(\d{1,18}),"total_tokens":\d+,"completion_tokens":(\d{1,18})'
)


def tokens_at_end(before: bytes, last: bytes) -> tuple[int, int]:
    """(prompt, completion) from the last two pieces of an answer; (0, 0): it does not say."""
    at = last.rfind(_USAGE, -_NEAR_BYTES)
    if at < 0:
        return _elsewhere(before, last)
    counts = _COUNTS.match(last, at)
    if counts is None:
        return _elsewhere(before, last)
    prompt, completion = counts.groups()
    return int(prompt), int(completion)


def _elsewhere(before: bytes, last: bytes) -> tuple[int, int]:
    """In the piece before, across both, further from the end, or written in another way."""
    end = last if len(last) >= USAGE_BYTES else before[-USAGE_BYTES:] + last
    return usage_of(end[-USAGE_BYTES:]) or (0, 0)
