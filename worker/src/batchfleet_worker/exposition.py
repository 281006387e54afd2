"""Prometheus' text, version 0.0.4: how a number is written, and what of the engine's page follows.

``metrics`` knows what there is to tell; the admin port sends what comes of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from batchfleet_worker.histogram import Histogram

PREFIX = "batchfleet_"
_MIXED_UP = "http_request_duration_highr_seconds"
_MADE_AT = "_created"
_NAME_END = re.compile("[{ ]")


def samples(name: str, label: str | None, value: Any) -> Iterator[str]:
    if isinstance(value, Histogram):
        total = 0
        for edge, count in zip((*value.edges, math.inf), value.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{_number(edge)}"}} {total}'
        yield f"{name}_sum {_number(value.sum)}"
        yield f"{name}_count {total}"
    elif label is None:
        yield f"{name} {_number(value)}"
    else:
        for which, number in value.items():
            yield f'{name}{{{label}="{which}"}} {_number(number)}'


def passed_through(text: str) -> Iterator[str]:
    """The engine's lines, less what would spoil the whole page for a scraper.

    That is: names under our prefix, a second HELP or TYPE for a name, OpenMetrics' end mark.

    And less what nobody can use and every pod would have stored, a fifth of vLLM's page: when
    each of its counters was made (``_created``, a suffix reserved for that), and FastAPI's times of
    all paths together, in which our own looks at its health are most of the requests.
    """
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) < 3 or words[1] not in ("HELP", "TYPE"):
                continue
            about = (words[1], words[2])
            if about in seen or _is_left_out(words[2]):
                continue
            seen.add(about)
        elif not line or line.isspace() or _is_left_out(line):
            continue
        yield line


def _is_left_out(line: str) -> bool:
    """``line`` begins with a metric's name."""
    if line.startswith((PREFIX, _MIXED_UP)):
        return True
    return _MADE_AT in line and _NAME_END.split(line, 1)[0].endswith(_MADE_AT)


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)
